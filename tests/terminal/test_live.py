"""An answer while it is being made: what goes to which stream, step by step. Terminals are in tests/cli."""

from __future__ import annotations

import io
import sys

import pytest

from softllama.terminal.format import answer_numbers, step_line
from softllama.terminal.live import AnswerPrinter, TokenCount
from softllama.terminal.screen import Screen
from softllama.trace.step import Step
from softllama.vectors.mixture import Mixture

WORDS = ["dog", "cat", " says", "\x1b"]


def step(index: int, text: str, *, thinking: bool = False, soft: bool = False, why: str = "") -> Step:
    mixture = Mixture([0, 1], [0.75, 0.25]) if soft else Mixture.one_hot(0)
    return Step(
        index=index, position=index, mode="soft" if soft else "forced" if why else "hard", thinking=thinking, token=0,
        text=text, mixture=mixture, entropy=0.5, top=(), why=why,
    )  # fmt: skip


THOUGHT = [step(0, "<think>", thinking=True), step(1, " hm ", thinking=True, soft=True), step(2, "\n", thinking=True)]
ANSWER = [step(3, "\n\n"), step(4, " woof"), step(5, " \n")]


def printed(
    capsys: pytest.CaptureFixture[str], *, quiet: bool = False, view: str = "show", verbatim: bool = False,
    every_step: bool = False, answer: bool = True, tail: tuple[str, str] = ("", ""),
) -> tuple[str, str]:  # fmt: skip
    printer = AnswerPrinter(
        Screen(quiet=quiet), WORDS.__getitem__, view=view, verbatim=verbatim, every_step=every_step, answer=answer
    )
    for s in (*THOUGHT, *ANSWER):
        printer(s)
    printer.end(tail)
    out, err = capsys.readouterr()
    return out, err


def test_a_message_is_stripped_and_a_continuation_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == ("woof\n", "<think> hm\n")
    assert printed(capsys, verbatim=True) == ("woof \n\n", "<think> hm\n")
    assert printed(capsys, tail=("", "!")) == ("woof \n!\n", "<think> hm\n")


def test_the_views(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, view="hide") == ("woof\n", "")
    assert printed(capsys, quiet=True) == ("woof\n", "")
    out, err = printed(capsys, view="mixtures")
    assert out == "woof\n"
    assert err == ("    0 hard   H  0.50  dog\n    1 soft   H  0.50  dog 0.750  cat 0.250\n    2 hard   H  0.50  dog\n")
    assert printed(capsys, view="mixtures", every_step=True)[1].count("\n") == 6
    assert printed(capsys, answer=False) == ("", "<think> hm\n")


def test_nothing_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    for verbatim, out in ((False, "\n"), (True, "")):
        AnswerPrinter(Screen(), WORDS.__getitem__, verbatim=verbatim).end(("", ""))
        assert capsys.readouterr() == (out, "")


def test_steps_that_are_listed_do_not_cut_the_answer_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both streams are one terminal, the answer follows the list of its steps."""

    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Tty()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    printer = AnswerPrinter(Screen(), WORDS.__getitem__, view="mixtures", every_step=True, verbatim=True)
    for s in (step(0, "woof"), step(1, " woof", soft=True), step(2, "\x1b")):
        printer(s)
    printer.end(("", ""))
    assert terminal.getvalue() == (
        "    0 hard   H  0.50  dog\n    1 soft   H  0.50  dog 0.…\n    2 hard   H  0.50  dog\nwoof woof\\x1b\n"
    )


def test_lines() -> None:
    assert step_line(step(7, "", why="closing tag"), WORDS.__getitem__) == "    7 forced H  0.50  dog  (closing tag)"
    assert step_line(step(7, "", soft=True), WORDS.__getitem__, n=1) == "    7 soft   H  0.50  dog 0.750  + 1 more"
    assert answer_numbers({}) == "0 thinking + 0 answer tokens, mean entropy 0.00 nats"
    assert answer_numbers({"n_soft": 2, "effective_tokens": 1.5, "stop_reason": "interrupted"}) == (
        "0 thinking + 0 answer tokens, mean entropy 0.00 nats, 1.5 tokens in a mixture; interrupted"
    )


def test_numbers_say_how_much_was_soft() -> None:
    """A speed that is not known is not a speed of 0."""
    assert answer_numbers({"n_thinking": 6, "n_answer": 2, "n_soft": 4, "effective_tokens": 2.0}) == (
        "6 thinking + 2 answer tokens, 50% soft, mean entropy 0.00 nats, 2.0 tokens in a mixture"
    )
    assert answer_numbers({"n_answer": 2, "tokens_per_second": 0.25}) == (
        "0 thinking + 2 answer tokens, none soft, mean entropy 0.00 nats, 0.25 tokens/s"
    )


class Typewriter(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_tokens_are_counted_on_a_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    err, now = Typewriter(), 0.0
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "dumb")  # no line is redrawn there
    count = TokenCount(Screen(), lambda: now)
    count("thinking")
    count.end()
    assert err.getvalue() == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    count = TokenCount(Screen(), lambda: now)
    for i in range(11):
        now = i / 16
        count("thinking")
    lines = err.getvalue().split("\r\x1b[K")[1:]
    assert lines[0] == "thinking, 1 tokens"
    assert lines[-1] == "thinking, 11 tokens, 16/s"
    assert len(lines) == 6  # of 11: ten in a second at most
    count.end()
    assert err.getvalue().endswith("\r\x1b[K")


def test_an_answer_in_a_pipe_is_counted_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    err = Typewriter()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    assert printed(capsys, view="hide")[0] == "woof\n"
    assert "thinking, 1 tokens" in err.getvalue()
    assert err.getvalue().endswith("\r\x1b[K")
    err.truncate(0)
    assert printed(capsys, quiet=True)[0] == "woof\n"
    assert err.getvalue().strip("\0") == ""
