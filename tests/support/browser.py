"""A Chromium without a window, driven by playwright, that reaches one server and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def program() -> str:
    """The browser, or the test is skipped."""
    found = os.environ.get("SOFTLLAMA_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium or Chrome on the path (or SOFTLLAMA_BROWSER)")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = program()
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as e:
            pytest.skip(f"{path} does not start here: {str(e)[-300:]}")
        yield browser
        browser.close()


class Tab:
    """A page of one server. What it asks of others is refused and kept in `strangers`, what is wrong in `problems`.

    url: of the server. page: playwright's page, which has loaded it.
    """

    def __init__(self, browser: Any, url: str, fragment: str = "", **options: Any) -> None:
        self.url = url
        self.strangers: list[str] = []
        self.problems: list[str] = []
        self.asked: list[str] = []
        self._context = browser.new_context(accept_downloads=True, **options)
        self._context.route("**/*", self._route)
        self.page = self._context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.problems.append(str(e)))
        self.page.goto(url + "/" + fragment)

    def _route(self, route: Any) -> None:
        address = route.request.url
        if address.startswith(self.url + "/"):
            self.asked.append(urlsplit(address).path)
            route.continue_()
        else:
            self.strangers.append(address)
            route.abort()

    def ready(self) -> Any:
        """Wait until the page knows its model; returns playwright's page."""
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def close(self) -> None:
        """Close it, and check that it asked nobody else and met no error."""
        error = self.page.evaluate("document.documentElement.dataset.error")
        self._context.close()
        wrong = [f"asked {a}" for a in self.strangers] + self.problems + ([error] if error else [])
        assert wrong == [], "\n".join(wrong)


def until(page: Any, condition: str, argument: Any = None, seconds: float = 60) -> None:
    """Wait until a function in JavaScript is true. (wait_for_function is forbidden by the page's security policy.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


@contextmanager
def server(model: str | Path, *options: str) -> Iterator[str]:
    """The URL of `softllama serve` with a model, in a process of its own."""
    command = [sys.executable, "-m", "softllama", "serve", "-m", str(model), "--port", "0", "--threads", "1", *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"serving at (http://\S+?),", line):
                yield found[1]
                break
        else:
            raise AssertionError("the server did not start: " + "".join(lines))
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(30)
