"""Text that can be printed, and how far work is."""

from __future__ import annotations

import pytest

from softllama.base.tables import Markup, html_table, to_csv
from softllama.show import progress
from softllama.show.page import render
from softllama.show.printable import number, printable, visible


def test_control_characters_become_escapes() -> None:
    assert printable("a\x1b[31m\u202e\ud800é\n\t") == "a\\x1b[31m\\u202e\\ud800é\n\t"
    assert printable("\n\t", keep="\n") == "\n\\t"


def test_a_token_in_one_line() -> None:
    assert [visible(t) for t in (" dog", "dog ", "", "  ", "\n", "a b")] == ["␣dog", "dog␣", "∅", "␣␣", "\\n", "a b"]


def test_probabilities_take_four_characters() -> None:
    assert [number(p) for p in (0, 0.5, 0.9994, 0.9995, 1)] == [".000", ".500", ".999", "1.00", "1.00"]


def test_tables_escape_what_is_no_markup() -> None:
    text = html_table(("<a>",), [("<b>",), (Markup("<b>x</b>"),), (0.123456,), (None,)], "<c>")
    assert "<caption>&lt;c&gt;</caption>" in text
    assert '<th style="text-align:left">&lt;a&gt;</th>' in text  # as its words
    assert '<td style="text-align:left">&lt;b&gt;</td>' in text
    assert "<b>x</b>" in text
    assert "<td>0.1235</td>" in text
    assert text.endswith("<td></td></tr></tbody></table>")
    assert to_csv(("a", "b"), [(None, 'x"y')]) == 'a,b\n,"x""y"\n'


def test_templates_escape_values_and_refuse_names_they_lack() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("softllama.trace", "page.html", csp="")


def test_a_line_for_each_tenth_of_a_download() -> None:
    lines: list[str] = []
    tick = progress.tenths(lines.append)
    for done in (0, 1, 10, 15, 100):
        tick("a\x1b.gguf", done, 100)
    tick("empty", 0, 0)
    assert lines == [
        "a\\x1b.gguf: 0 % of 100 B",
        "a\\x1b.gguf: 10 % of 100 B",
        "a\\x1b.gguf: 100 % of 100 B",
        "empty: 100 % of 0 B",
    ]


def test_lines_now_and_then_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    tick = progress.lines(lines.append)
    for done in range(5):
        tick("work", done, 10)
        now[0] += 10
    assert lines == ["work: 2 of 10, about 80 s left", "work: 4 of 10, about 60 s left"]


def test_quiet_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress(quiet=True) as tick:
        tick("work", 1, 2)
    assert capsys.readouterr() == ("", "")
