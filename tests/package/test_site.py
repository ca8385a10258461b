"""What the site is made of (scripts/dev/site.py): navigation, links, pages of commands, policies and the API. Sphinx is not needed.

scripts/test builds all of it, with warnings as errors.
"""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.generation.search_text import SEARCHES
from softllama.generation.search_text import describe as describe_search
from tests.conftest import ROOT

DEV = ROOT / "scripts" / "dev"
POLICIES = ROOT / "docs" / "policies"
site: dict[str, Any] = runpy.run_path(str(DEV / "site.py"))
api: dict[str, Any] = runpy.run_path(str(DEV / "site_api.py"))
links: dict[str, Any] = runpy.run_path(str(DEV / "site_links.py"))


def test_the_lists_of_the_front_page_are_the_navigation() -> None:
    index = "# x\n\n- [no](list.md)\n\n## Start\n\n- [A](a.md): one\n- [B](b.ipynb): two\n\n## Words\n\nnone\n"
    assert site["contents"](index, ["a.md", "b.md", "c.md", "index.md", "d/index.md", "d/e.md"]) == {
        "Start": ["A <a>", "B <b>"],
        "More": ["c", "d/index"],
    }


def test_pages_of_a_folder_stand_below_the_page_of_its_name() -> None:
    names = ["p.md", "p/a.md", "p/b.md", "p/c.md", "q/index.md", "q/x.md", "pp.md"]
    assert site["children"]("p.md", "[b](p/b.md), [a](p/a.md)", names) == ["p/b", "p/a", "p/c"]
    assert site["children"]("q/index.md", "[x](x.md)", names) == ["x"]
    assert site["children"]("pp.md", "", names) == site["children"]("p/a.md", "", names) == []


@pytest.mark.parametrize(
    ("origin", "name", "written", "made"),
    [
        ("docs/a.md", "a.md", "[x](b.md#c)", "[x](b.md#c)"),
        ("docs/a.md", "a.md", "[b.md](b.md)", "[b](b.md)"),
        ("docs/a.md", "a.md", "[x](../CONTRIBUTING.md)", "[x](contributing.md)"),
        ("docs/p/a.md", "p/a.md", "[x](../b.md)", "[x](../b.md)"),
        ("CONTRIBUTING.md", "contributing.md", "[x](docs/b.md)", "[x](b.md)"),
        ("docs/a.md", "a.md", "![x](images/sweep.png)", "![x](images/sweep.png)"),
        ("docs/a.md", "a.md", "[x](../LICENSE)", f"[x]({site['REPOSITORY']}LICENSE)"),
        ("docs/a.md", "a.md", "[x](https://e.org/a.md)", "[x](https://e.org/a.md)"),
        ("docs/a.md", "a.md", "```\n[x](../LICENSE)\n```", "```\n[x](../LICENSE)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_to_the_repository(origin: str, name: str, written: str, made: str) -> None:
    page = site["Page"](name, origin, written)
    assert site["relinked"](page, {"docs/b.md": "b.md", "CONTRIBUTING.md": "contributing.md"}) == made


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("[x](g/y.html)", '<a href="g/y.html">x</a>'),
        ("[![t](t.png)](y.html) [z](z.md)", '<a href="y.html">![t](t.png)</a> [z](z.md)'),
        ("[x](https://e.org/y.html)", "[x](https://e.org/y.html)"),
    ],
)
def test_links_to_whole_pages_are_no_downloads(written: str, made: str) -> None:
    assert site["to_whole_pages"](written) == made


def test_a_notebook_becomes_words_code_and_outputs(tmp_path: Path) -> None:
    badge = "[![Open in Colab](https://c.org/b.svg)](https://c.org/n.ipynb)"
    outputs = [
        {"output_type": "stream", "text": ["1\n"]},
        {"output_type": "execute_result", "data": {"text/html": ["<table></table>"], "text/plain": ["T"]}},
        {"output_type": "display_data", "data": {"image/png": "AA=="}},
        {"output_type": "execute_result", "data": {"text/plain": ["'x'"]}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", badge]},
        {"cell_type": "code", "source": ["x = 1"], "outputs": outputs},
        {"cell_type": "code", "source": ["%pip install x"], "outputs": []},
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    assert site["notebook"](tmp_path / "n.ipynb").split("\n\n") == [
        "# T\n[Open in Colab](https://c.org/n.ipynb)",
        "```python\nx = 1\n```",
        "```text\n1\n```",
        '```{raw} html\n<div class="output"><table></table></div>\n```',
        '```{raw} html\n<img alt="" src="data:image/png;base64,AA==">\n```',
        "```text\n'x'\n```",
        "```text\n%pip install x\n```\n",
    ]


def test_every_command_has_a_page_with_an_example() -> None:
    reference = runpy.run_path(str(DEV / "reference.py"))
    pages = {p.name: p.text for p in site["command_pages"]()}
    for name, _ in reference["commands"]():
        top, *rest = name.split()[1:]
        text = pages[f"commands/{top}.md"]
        assert text.startswith(f"# softllama {top}\n")
        assert "## Worked examples" in text
        assert not rest or f"\n## {name}\n" in text
        assert f"commands/{top}.md" in pages["commands.md"]


def parameters(page: str) -> dict[str, str]:
    """Name -> default of the table below "## Parameters" of a policy's page."""
    table = page.partition("## Parameters")[2].partition("\n## ")[0]
    found = {}
    for first, second in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE):
        names = re.findall(r"`(\w+)`", first)
        defaults = re.split(r", (?![^(]*\))", second.replace("`", ""))
        assert len(names) == len(defaults), first
        found |= dict(zip(names, defaults, strict=True))
    return found


@pytest.mark.parametrize("name", [*sl.policy.names(), *SEARCHES])
def test_every_policy_has_a_page_with_its_parameters(name: str) -> None:
    text = (POLICIES / f"{name}.md").read_text("utf-8")
    assert text.startswith(f"# {name}\n")
    assert "\n## Formula\n" in text
    assert "\n## When not to use it\n" in text
    assert f"(policies/{name}.md)" in (ROOT / "docs" / "policies.md").read_text("utf-8")
    described = sl.policy.describe(name) if name in sl.policy.names() else describe_search(name)
    real = dict(re.findall(r"^  (\w+) *= (\S*)  \(", described, re.MULTILINE))
    stated = parameters(text)
    if not stated:  # controls name theirs
        assert {p for p in real if f"`{p}`" not in text} == set()
        return
    assert stated.keys() == real.keys()
    for parameter, default in real.items():
        if default:
            assert same(stated[parameter], default), parameter


def same(a: str, b: str) -> bool:
    """The same default, as a number if both are one."""
    try:
        return float(a) == float(b)
    except ValueError:
        return a.lower() == b.lower()


def test_no_page_is_about_a_policy_that_is_not() -> None:
    assert {p.stem for p in POLICIES.glob("*.md")} == {*sl.policy.names(), *SEARCHES}


def test_every_public_name_is_in_the_api() -> None:
    listed = {n for _, _, names in api["PAGES"].values() for n in names}
    parts = {part for name in listed for part in name.split(".")}
    missing = [n for n in sl.__all__ if n != "__version__" and n not in parts]
    assert missing == []
    for name in listed:
        for full in api["expanded"](name):
            assert api["directive"](full).startswith(".. auto")


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.html").write_text('<h1 id="top">x</h1><a href="../index.html">up</a>')
    good = '<link rel="stylesheet" href="s.css"><a href="a/b.html#top">b</a><a href="#">t</a><a href="https://e.org/">e</a>'
    (tmp_path / "s.css").write_text("")
    (tmp_path / "index.html").write_text(good)
    assert links["problems"](tmp_path) == []
    bad = '<script src="https://e.org/x.js"></script><a href="a/c.html">c</a><a href="a/b.html#down">d</a><img src="p.png">'
    (tmp_path / "index.html").write_text(bad)
    assert links["problems"](tmp_path) == [
        "index.html: fetches https://e.org/x.js",
        "index.html: nothing is at a/c.html",
        "index.html: no place a/b.html#down",
        "index.html: nothing is at p.png",
    ]


def test_llms_txt_is_the_front_page_with_addresses(tmp_path: Path) -> None:
    index = "# s\n\n> what\n\n## Start\n\n- [A](a.md): one\n- [e](https://e.org/x.md)\n"
    pages = [site["Page"](n, n, t) for n, t in {"z.md": "Z", "a/b.md": "B", "a.md": "A", "index.md": index}.items()]
    site["write_llms"](pages, tmp_path, "https://s.io/")
    assert (tmp_path / "llms.txt").read_text() == index.replace("(a.md)", "(https://s.io/a.md)")
    full = (tmp_path / "llms-full.txt").read_text()
    assert re.findall(r"<!-- (\S+) -->", full) == ["index.md", "a.md", "a/b.md", "z.md"]
    assert (tmp_path / "a" / "b.md").read_text() == "B"


def test_messages_that_troubleshooting_quotes_are_those_of_the_code() -> None:
    code = " ".join(p.read_text("utf-8") for p in (ROOT / "softllama").rglob("*.py"))
    code = re.sub(r'"\s*f?"', "", code)  # a message over several lines
    headings = re.findall(r"^### (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    quotes = [q for h in headings for q in re.findall(r'"([^"]+)"', h)]
    assert len(quotes) > 20
    missing = []
    for quote in quotes:  # without what the code fills in: names, numbers, words in quotes
        parts = re.split(r"…|'[^']+'|[\d.,]+ ?|\bNAME\b|\b\w+_\w+\b|-{2}\w+", quote)
        missing += [(quote, p.strip()) for p in parts if len(p.strip()) > 4 and p.strip() not in code]
    assert missing == []
