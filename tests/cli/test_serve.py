"""`softllama serve` as typed: it starts, answers, and stops as signals say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytest.importorskip("fastapi", reason="needs the extra serve")
httpx = pytest.importorskip("httpx", reason="needs httpx")
Cli = Callable[..., tuple[int, str, str]]
USER = [{"role": "user", "content": "What does the dog say?"}]


class Process:
    """A server in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        line = [sys.executable, "-m", "softllama", "serve", "--port", "0", "--n-threads", "1", *arguments]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.url, self.notes = "", []
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.notes.append(text)
            if m := re.search(r"serving at (\S+),", text):
                self.url = m[1]
                break

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def server() -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def start(*arguments: str) -> Process:
        made.append(Process(*arguments))
        return made[-1]

    yield start
    for p in made:
        if p.process.poll() is None:
            p.process.kill()
        for stream in (p.process.stdout, p.process.stderr):
            if stream is not None:
                stream.close()
        p.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_runs_and_ends_it(server: Callable[..., Process], number: int) -> None:
    p = server("--policy", "gumbel")
    body = {"messages": USER, "stream": True, "max_tokens": 300, "softllama": {"policy": "random_mix:where=everywhere"}}
    with httpx.stream("POST", p.url + "/v1/chat/completions", json=body, timeout=60) as r:
        lines = r.iter_lines()
        next(lines)
        ended: list[Any] = []
        thread = threading.Thread(target=lambda: ended.append(p.end(number)))
        thread.start()
        rest = list(lines)
    thread.join()
    code, err = ended[0]
    assert code == 0, err
    assert "Traceback" not in err
    assert rest[-2] == "data: [DONE]"


@pytest.mark.slow
def test_after_the_grace_a_stream_ends_with_an_error(server: Callable[..., Process]) -> None:
    p = server("--grace", "0", "--n-ctx", "512")
    body = {"messages": USER, "stream": True, "softllama": {"policy": "random_mix:where=everywhere"}}
    with httpx.stream("POST", p.url + "/v1/chat/completions", json=body, timeout=60) as r:
        lines = r.iter_lines()
        next(lines)
        p.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        rest = list(lines)
    assert p.process.wait(30) == 0
    assert time.monotonic() - began < 10
    assert "event: error" in rest or rest[-2] == "data: [DONE]"  # it may have ended by itself


@pytest.mark.slow
def test_what_was_typed_reaches_the_server(server: Callable[..., Process]) -> None:
    p = server(
        "--api-key", "k", "--streams", "2", "--policy", "full", "--cors", "https://page.example", "--fixed-batch"
    )
    assert any("2 streams" in line for line in p.notes)
    key = {"Authorization": "Bearer k"}
    assert httpx.get(p.url + "/v1/models").status_code == 401
    got = httpx.post(p.url + "/v1/chat/completions", json={"messages": USER, "max_tokens": 9}, headers=key, timeout=60)
    assert got.json()["choices"][0]["softllama"]["policy"] == "full"
    r = httpx.get(p.url + "/health", headers={"Origin": "https://page.example"})
    assert r.headers["access-control-allow-origin"] == "https://page.example"
    assert p.end()[0] == 0


@pytest.mark.slow
def test_a_policy_of_a_file_is_the_command_lines(server: Callable[..., Process], tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "import softllama as sl\n\ndef likeliest(distribution, moment):\n"
        "    t = distribution.argmax\n    return sl.policy.Decision(sl.Mixture.one_hot(t), t, 'hard')\n"
    )
    other = tmp_path / "other.py"
    other.write_text("raise SystemExit('run by a request')\n")
    p = server("--policy", f"{mine}:likeliest")

    def ask(**block: Any) -> httpx.Response:
        body = {"messages": USER, "max_tokens": 9, "softllama": block}
        return httpx.post(p.url + "/v1/chat/completions", json=body, timeout=60)

    assert ask().json()["choices"][0]["softllama"]["policy"] == f"{mine}:likeliest"
    refused = ask(policy=f"{other}:likeliest")
    assert refused.status_code == 400
    assert "a file is run only where the command line names it" in refused.json()["error"]["message"]
    assert p.end()[0] == 0


def test_a_port_that_is_taken_is_said(cli: Cli) -> None:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        code, out, err = cli("serve", "--port", s.getsockname()[1])
    assert (code, out) == (2, "")
    assert "cannot listen on" in err
    assert "--port 0" in err


def test_another_host_needs_a_key(cli: Cli) -> None:
    code, _, err = cli("serve", "--host", "0.0.0.0")
    assert code == 2
    assert "SOFTLLAMA_SERVE_API_KEY" in err


def test_a_policy_that_is_none_is_said_before_the_model_is_loaded(cli: Cli) -> None:
    code, _, err = cli("serve", "--policy", "gumbl")
    assert code == 2
    assert "gumbel" in err


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no model")
    line = [sys.executable, "-m", "softllama", "serve", "--port", "0", "-m", str(tmp_path / "x.gguf")]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=60, env=dict(os.environ), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr


def test_the_extra_is_named_where_it_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    code, _, err = cli("serve")
    assert code == 1
    assert "softllama[serve]" in err
