"""The page of a probe: its sentences, its numbers, and nothing that a browser would run or fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

import softllama as sl
from softllama.probe.page import report
from tests.conftest import Cli


def test_it_has_the_numbers_of_the_result(model: sl.Model) -> None:
    r = model.probe("The {} says", "dog,cat", sweep=5)
    made = report(r, "softllama probe")
    assert made.title == "The [0.5 dog + 0.5 cat] says"
    assert r.next.top(1)[0].text.strip() in made.answer[0]
    assert [t.name for t in made.tables] == ["next", "curves"]
    assert [row[0] for row in made.tables[0].rows] == ["mixture", "dog", "cat", "average"]
    sweep, distance, bars = made.figures
    assert r.sweep is not None
    assert [s.y for s in sweep.series] == [tuple(map(float, c.p)) for c in r.sweep.curves[:8]]
    assert distance.series[0].y[0] == pytest.approx(0.0, abs=1e-9)
    assert bars.series[0].y == tuple(r.next[i].p for i in r.compared_tokens)
    assert made.command == "softllama probe"


def test_without_a_sweep_and_with_continuations(model: sl.Model) -> None:
    made = report(model.probe("The {} says", "dog,cat"))
    assert [f.name for f in made.figures] == ["next"]
    assert [t.name for t in made.tables] == ["next"]


def test_it_is_saved_and_needs_nothing_else(model: sl.Model, tmp_path: Path) -> None:
    r = model.probe("The <b>{}</b> says", "dog,cat", sweep=3)
    r.save(tmp_path / "probe.html")
    text = (tmp_path / "probe.html").read_text("utf-8")
    assert "<b>[" not in text
    assert "&lt;b&gt;[0.5 dog" in text
    assert "<script" not in text
    assert "http" not in text.split("<details>")[0].replace("http-equiv", "")


def test_the_command_writes_it(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "p.html"
    code, out, err = cli("probe", "--mix", "dog,cat", "--prompt", "The {} says", "--sweep", "3", "--html", page)
    assert (code, "woof" in out, f"page: {page}" in err) == (0, True, True)
    assert "From dog to cat" in page.read_text("utf-8")
    other = tmp_path / "other.html"
    other.write_text("mine")
    code, _, err = cli("probe", "--mix", "dog,cat", "--prompt", "The {} says", "--html", other)
    assert code == 2
    assert other.read_text() == "mine"
