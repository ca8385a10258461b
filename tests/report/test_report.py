"""Reports as data, text and pages."""

from __future__ import annotations

import csv
import io
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from softllama.errors import UsageError
from softllama.report import data, report, sentences, svg
from softllama.report.data import Figure, Series, Table
from softllama.report.report import Report
from softllama.vectors.statistics import Estimate, Paired, paired

HOSTILE = '<script>alert("x")</script>&\u202e'
NAN = float("nan")


def make(name: str = "test", text: str = "plain") -> Report:
    table = Table(
        "t", f"Title {text}", ("what", "share", "n"), ((text, Estimate(0.5, 0.4, 0.6, 10), 3), ("b", NAN, None))
    )
    lines = Figure(
        "l", text, "lines", "x", "y", (Series(text, (0, 1, 2), (0.0, 0.5, NAN), (0, 0.4, NAN), (0, 0.6, NAN)),)
    )
    bars = Figure("b", text, "bars", "", "y", (Series("s", (text, "b"), (0.2, 0.8), (0.1, 0.7), (0.3, 0.9)),) * 2)
    return Report(
        name,
        f"A {text}",
        "Why?",
        ("Because.", text),
        (table,),
        (lines, bars),
        ("so",),
        ("c",),
        "softllama x",
        {"a": text},
    )


def test_json_has_no_nan_and_keeps_intervals() -> None:
    d = json.loads(make().json())
    assert d["results"]["tables"][0]["rows"] == [
        {"what": "plain", "share": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}, "n": 3},
        {"what": "b", "share": None, "n": None},
    ]


def test_csv_has_a_line_for_each_number() -> None:
    rows = list(csv.DictReader(io.StringIO(make().csv())))
    assert rows[0] == {
        "table": "t",
        "row": "plain",
        "column": "share",
        "value": "0.5",
        "low": "0.4",
        "high": "0.6",
        "n": "10",
    }
    assert sum(r["table"] == "figure b" for r in rows) == 4


def test_a_page_escapes_what_it_is_given_and_asks_for_nothing() -> None:
    page = make(text=HOSTILE).page()
    assert "<script" not in page
    assert "\u202e" not in page
    assert "default-src 'none'" in page
    for f in make(text=HOSTILE).figures:
        ET.fromstring(svg.figure(f))


def test_plots_stay_inside_and_numbers_are_round() -> None:
    assert svg.ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert svg.ticks(3, 3) == [3]
    out = Figure("f", "f", "lines", "x", "y", (Series("s", (0, 1), (-5.0, 5.0)),), (0.0, 1.0))
    points = ET.fromstring(svg.figure(out)).find("polyline").get("points")  # type: ignore[union-attr]
    ys = [float(p.split(",")[1]) for p in str(points).split()]
    assert min(ys) >= svg.TOP
    assert max(ys) <= svg.HEIGHT - svg.BOTTOM
    ET.fromstring(svg.figure(Figure("f", "f", "lines", "x", "y", ())))


def test_the_terminal_shows_all_of_it() -> None:
    text = make().table(100)
    for part in ("A plain", "Because.", "0.500 [0.400, 0.600]", "control: c", "repeat: softllama x"):
        assert part in text
    assert text.index("0.500") < text.index("Because.") < text.index("repeat:")  # the answer is what is read last


def test_a_long_table_is_in_the_page_only() -> None:
    r = replace(make(), tables=(*make().tables, Table("long", "Every one", ("a",), (("x",),), in_terminal=False)))
    assert "Every one" not in r.table()
    assert "Every one" in r.page()
    assert "long" in r.json()


def test_narrow_terminals_break_no_word_and_keep_the_columns_that_tell_rows_apart() -> None:
    e = Estimate(9.8e-05, 8.2e-05, 1.4e-04, 9)
    head = ("place", "layer", "dominance", "KL nearer", "KL farther", "cosine", "perplexity of readouts")
    rows = tuple((place, n, *(e,) * 5) for place in ("at the mixture", "at the end") for n in (0, 1))
    r = replace(make(), tables=(Table("t", "T", head, rows), Table("none", "Nothing in it", head, ())))
    for width, parts in ((40, 5), (60, 2), (100, 1)):
        text = r.table(width)
        lines = text.splitlines()
        assert max(map(len, lines)) <= width
        assert sum("place" in line for line in lines) == parts
        assert sum(line.split()[:4] == ["at", "the", "mixture", "1"] for line in lines) == parts
        for word in ("dominance", "perplexity", "readouts", "[8.2e-05,", "1.4e-04]"):
            assert word in text, (width, text)
        assert "Nothing in it" not in text


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    report.save_all([make("a"), make("b")], tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").glob("*.html")) == ["a.html", "b.html", "index.html"]
    report.save_all([make("a")], tmp_path / "out")
    (tmp_path / "out" / "a.html").write_text("mine")
    with pytest.raises(UsageError, match="is not a report"):
        report.save_all([make("a")], tmp_path / "out")
    with pytest.raises(UsageError, match="no folder"):
        report.check_folder(tmp_path / "none" / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        report.check_folder(tmp_path / "file")


def test_sentences_say_no_more_than_the_test() -> None:
    same = paired([1, 0] * 10, [0, 1] * 10)
    assert sentences.versus("a", "b", same).startswith("no difference seen between a and b (a minus b: +0.0 points")
    far = paired([0] * 12, [1] * 12)
    assert sentences.versus("a", "b", far) == "b solves more than a (+100.0 points [47.1, 100.0], p = 0.0005, n = 12)"
    assert sentences.versus("a", "b", far, p=0.2).startswith("no difference seen")
    assert "n = 20, 80 % power for " in sentences.versus("a", "b", same)
    few = paired([0] * 8, [0] * 8)
    assert sentences.versus("a", "b", few).startswith(
        "too few problems to compare a with b (n = 8, fewer than 10; +0.0 points [-36.9"
    )
    assert [sentences.verdict(x) for x in (same, far, few)] == [
        "no difference seen", "fewer", "too few cases (n = 8, fewer than 10) to see a difference"]  # fmt: skip
    tiny = Paired(Estimate(0.5, 0.4, 0.6, 100), 50, 0, 1e-9)
    assert "p < 0.0001" in sentences.versus("a", "b", tiny)
    assert sentences.share(Estimate(0.123, 0.1, 0.149, 9)) == "12.3 % [10.0, 14.9]"
    assert sentences.share(Estimate(math.nan, NAN, NAN, 0)) == "unknown (no cases)"
    assert data.cell_text(Estimate(0.5, NAN, NAN, 1)) == "0.500"
    assert [data.cell_text(x) for x in (None, 0, 0.0, 1234.5, 5e-5, "x", NAN)] == [
        "",
        "0",
        "0",
        "1,234",
        "5.0e-05",
        "x",
        "",
    ]


def test_what_is_below_its_floor_is_marked_everywhere() -> None:
    low, high = Estimate(0.001, 0.0005, 0.002, 10), Estimate(0.1, 0.05, 0.2, 10)
    t = Table(
        "js",
        "JS",
        ("of", "JS", "n"),
        (("a", low, 1), ("b", high, 2), ("c", NAN, 3), ("d", None, 4)),
        floors={"JS": 0.00224},
    )
    assert [t.text(1, row[1]) for row in t.rows] == ["<0.0022", "0.100 [0.050, 0.200]", "", ""]
    assert t.text(2, 1) == "1"  # another column
    r = replace(make(), tables=(t,))
    shown = r.table()
    assert "<0.0022" in shown
    assert "1.0e-03" not in shown
    assert '<td class="number noise">&lt;0.0022</td>' in r._repr_html_()
    d = json.loads(r.json())["results"]["tables"][0]
    assert d["floors"] == {"JS": 0.00224}
    assert d["rows"][0]["JS"]["value"] == 0.001  # numbers stay
    assert "floors" not in json.loads(make().json())["results"]["tables"][0]
