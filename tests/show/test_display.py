"""How values show and save themselves: distributions, mixtures, probes, traces and reports."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.errors import SoftLlamaError, UsageError
from softllama.report.data import Figure, Series, Table
from softllama.report.report import Report
from softllama.trace.record import Trace
from softllama.vectors.statistics import Estimate
from tests.conftest import ROOT
from tests.support.traces import hostile, trace

BAD = "<script>x</script>&\"'\x1b\u202e"
TEXTS = {0: " dog", 1: BAD, 2: ""}


def distribution() -> sl.Distribution:
    return sl.Distribution.from_probs([0.5, 0.375, 0.125], spell=TEXTS.__getitem__)


def report(text: str = BAD) -> Report:
    table = Table(
        "t", text, ("what", "share", "n"), ((text, Estimate(0.5, 0.25, 0.75, 10), 3), ("b", float("nan"), None))
    )
    bars = Figure("f", text, "bars", "x", "y", (Series(text, (text, "b"), (0.5, 1.0)),))
    return Report(
        name="r", title=text, question=text, answer=(text,), tables=(table,), figures=(bars,), method=(text,), controls=(text,),
        command=text, manifest={text: text},
    )  # fmt: skip


@pytest.fixture(scope="module")
def probe(model: sl.Model) -> sl.ProbeResult:
    return model.probe("The {} <says>\x1b", "dog:0.75,cat:0.25", sweep=3, continue_tokens=2)


@pytest.fixture
def values(probe: sl.ProbeResult) -> dict[str, Any]:
    mixture = sl.Mixture([3, 5], [0.75, 0.25])
    return {"distribution": distribution(), "mixture": mixture, "probe": probe, "trace": hostile(), "report": report()}


class Elements(HTMLParser):
    """Start tags; and whether every element that was opened is closed, in order."""

    VOID = ("br", "meta", "rect", "line", "circle", "polyline", "polygon")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


NAMES = ("distribution", "mixture", "probe", "trace", "report")


@pytest.mark.parametrize("name", NAMES)
def test_html_for_notebooks_is_whole_and_escapes_every_text(values: dict[str, Any], name: str) -> None:
    text = values[name]._repr_html_()
    page = Elements(text)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.names)
    assert "table" in page.names
    assert all(c.isprintable() or c in "\n\t" for c in text)


@pytest.mark.parametrize("name", NAMES)
def test_show_prints_and_returns_nothing(
    values: dict[str, Any], name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert values[name].show() is None
    out, err = capsys.readouterr()
    assert out.count("\n") > 1
    assert err == ""
    assert all(c.isprintable() or c == "\n" for c in out)


def test_a_distribution_shows_its_likeliest_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    sl.Distribution.from_probs([0.75, 0.25], spell=[" dog", "\x1b"].__getitem__).show()
    assert capsys.readouterr().out == (
        "2 tokens, entropy 0.562 nats\n      id  p       token\n"
        "       0  0.7500  ' dog'\n       1  0.2500  '\\x1b'\n"
    )  # fmt: skip
    sl.Distribution.from_probs([0.75, 0.25]).show(1)
    assert capsys.readouterr().out.endswith("       0  0.7500  #0\n")


def test_a_mixture_shows_ids_and_texts_where_they_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    m = sl.Mixture([3, 5], [0.25, 0.75])
    m.show()
    assert capsys.readouterr().out == "mixture of 2 tokens\n      id  weight\n       5  0.75\n       3  0.25\n"
    m.show({3: "cat", 5: "dog"}.__getitem__)
    assert "       5  0.75      'dog'\n" in capsys.readouterr().out
    sl.Mixture(range(12), np.full(12, 1 / 12)).show()
    assert capsys.readouterr().out.endswith("and 2 more\n")


def test_show_prints_what_the_command_line_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from softllama.cli import main

    monkeypatch.setenv("COLUMNS", "80")
    trace().save(tmp_path / "t.jsonl")
    with pytest.raises(SystemExit):
        main(["trace", "show", str(tmp_path / "t.jsonl")])
    expected = capsys.readouterr().out
    t = sl.trace.load(tmp_path / "t.jsonl")
    t.show()
    assert capsys.readouterr().out == expected
    assert t.table(80).rstrip("\n") == expected.rstrip("\n")


# ---- frames


def test_frames(probe: sl.ProbeResult) -> None:
    pandas = pytest.importorskip("pandas")
    d = distribution().to_dataframe()
    assert isinstance(d, pandas.DataFrame)
    assert d.to_dict("list") == {"id": [0, 1, 2], "text": [" dog", BAD, ""], "p": [0.5, 0.375, 0.125]}
    assert len(distribution().to_dataframe(2)) == 2
    m = sl.Mixture([3, 5], [0.25, 0.75])
    assert m.to_dataframe().to_dict("list") == {"id": [5, 3], "weight": [0.75, 0.25]}
    assert m.to_dataframe(str).to_dict("list") == {"id": [5, 3], "text": ["5", "3"], "weight": [0.75, 0.25]}
    p = probe.to_dataframe()
    assert set(p.kind) == {"mixture", "component", "average", "sweep", "continuation"}
    assert p[p.kind == "component"].groupby("name").weight.first().to_dict() == {"cat": 0.25, "dog": 0.75}
    assert p[p.kind == "mixture"].p.tolist() == [t.p for t in probe.next.top(5)]
    t = trace().to_dataframe()
    assert t.entropy.tolist() == [1.0, 2.0, 9.0, 3.0]
    assert t["mode"].tolist() == ["soft", "soft", "forced", "hard"]
    assert t.effective_tokens.tolist() == pytest.approx([2, 1, 1, 1])
    assert t.n_tokens.tolist() == [2, 1, 1, 1]
    frames = report().to_dataframe()
    assert list(frames) == ["t"]
    assert list(frames["t"]) == ["what", "share", "share low", "share high", "share n", "n"]
    assert report().to_dataframe("t").iloc[0].tolist() == [BAD, 0.5, 0.25, 0.75, 10, 3]
    with pytest.raises(UsageError, match="no table 'u'"):
        report().to_dataframe("u")


def test_without_pandas_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SoftLlamaError, match="needs pandas") as e:
        distribution().to_dataframe()
    assert e.value.hint == "pip install pandas"


# ---- files


def test_a_distribution_saves_itself(tmp_path: Path) -> None:
    d = distribution()
    for suffix in ("csv", "json", "npy"):
        d.save(tmp_path / f"d.{suffix}")
    with (tmp_path / "d.csv").open(encoding="utf-8", newline="") as f:
        assert [(int(r["id"]), r["text"], float(r["p"])) for r in csv.DictReader(f)] == [
            tuple(t[i] for i in (0, 2, 1)) for t in d.top(3)
        ]
    assert json.loads((tmp_path / "d.json").read_text())[1] == {"id": 1, "text": BAD, "p": 0.375}
    assert np.array_equal(np.load(tmp_path / "d.npy"), d.probs)


def test_a_distribution_that_was_saved_is_fed_again(model: sl.Model, tmp_path: Path) -> None:
    d = model.probe("The {}", "dog").next
    d.save(tmp_path / "d.npy")
    m = model.mix(f"@{tmp_path / 'd.npy'}")
    assert np.array_equal(m.weights, d.probs[m.ids])


def test_a_mixture_saves_itself(tmp_path: Path) -> None:
    m = sl.Mixture([3, 5], [0.25, 0.75])
    m.save(tmp_path / "m.csv")
    m.save(tmp_path / "m.json")
    assert (tmp_path / "m.csv").read_text() == "id,weight\n5,0.75\n3,0.25\n"
    assert json.loads((tmp_path / "m.json").read_text()) == [{"id": 5, "weight": 0.75}, {"id": 3, "weight": 0.25}]


def test_a_probe_saves_itself(probe: sl.ProbeResult, tmp_path: Path) -> None:
    probe.save(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == probe.csv()
    probe.save(tmp_path / "p.JSON")
    assert json.loads((tmp_path / "p.JSON").read_text())["covered"] == probe.weight_covered
    pytest.importorskip("matplotlib")
    probe.save(tmp_path / "p.svg")
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_a_trace_saves_itself(tmp_path: Path) -> None:
    t = trace()
    t.save(tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == t.csv()
    t.save(tmp_path / "t.html")
    t.page(tmp_path / "u.html")
    assert (tmp_path / "t.html").read_bytes() == (tmp_path / "u.html").read_bytes()
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UsageError, match="is not a page of softllama"):
        t.save(tmp_path / "mine.html")


def test_a_report_saves_itself(tmp_path: Path) -> None:
    r = report("x")
    for suffix in ("json", "csv", "html"):
        r.save(tmp_path / f"r.{suffix}")
    assert json.loads((tmp_path / "r.json").read_text())["name"] == "r"
    assert (tmp_path / "r.csv").read_text() == r.csv()
    assert (tmp_path / "r.html").read_text() == r.page()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_kind_is_refused(values: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot save") as e:
        values[name].save(tmp_path / "x.txt")
    assert e.value.hint.startswith("end the name in .")
    with pytest.raises(UsageError, match="a path is text"):
        values[name].save(5)
    assert list(tmp_path.iterdir()) == []


# ---- notebooks


def test_in_ipython_they_show_themselves(values: dict[str, Any]) -> None:
    shell_module = pytest.importorskip("IPython.core.interactiveshell")
    shell = shell_module.InteractiveShell.instance()
    try:
        shell.user_ns.update(values)
        for name in NAMES:
            result = shell.run_cell(name, store_history=False)
            assert result.error_in_exec is None
            data, _ = shell.display_formatter.format(result.result)
            assert data["text/html"] == values[name]._repr_html_()
            assert "text/plain" in data
        assert shell.run_cell("trace.show()", store_history=False).success
    finally:
        shell_module.InteractiveShell.clear_instance()


def test_reading_a_trace_loads_no_view(tmp_path: Path) -> None:
    trace().save(tmp_path / "t.jsonl")
    code = f"""
import sys
import softllama as sl
sl.trace
print("numpy" in sys.modules)
sl.trace.load({str(tmp_path / "t.jsonl")!r})
print(sorted({{"rich", "jinja2", "llama_cpp", "pandas"}} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out == "False\n[]\n"
    assert isinstance(trace(), Trace)


def test_the_api_loads_no_view() -> None:
    code = "import sys, softllama.api; print(sorted({'rich', 'matplotlib', 'pandas', 'softllama.show.page'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out == "[]\n"
