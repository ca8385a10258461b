"""Progress on stderr: bars that move by tokens, estimates, and nothing of it where stderr is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from softllama.base.meter import Meter
from softllama.show import bar, progress


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter()
    monkeypatch.setattr(bar, "evaluated", meter)
    return meter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(bars: bar.Bars) -> str:
    out = Console(file=io.StringIO(), width=100, color_system=None)
    out.print(*bars.get_renderables())
    return out.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_between_two_answers_a_bar_moves_by_tokens(meter: Meter) -> None:
    clock = Clock()
    bars = bar.Bars(terminal(), unit=100, clock=clock)
    bars.tick("answers", 0, 4)
    (task,) = bars.tasks
    meter.add(50)  # of 100 at most: half an answer
    clock.now = 10
    assert " 0/4 50 tokens, 5/s about 70.0 s left" in shown(bars)
    assert task.completed == pytest.approx(0.5)
    meter.add(30)
    bars.tick("answers", 1, 4)
    assert task.completed == 1  # one took 80 tokens
    meter.add(20)
    clock.now = 20
    assert " 1/4 100 tokens, 5/s about 44.0 s left" in shown(bars)
    assert task.completed == pytest.approx(1.25)
    meter.add(1000)  # it is long, and not yet done
    shown(bars)
    assert task.completed == pytest.approx(1 + bar.ALMOST)
    bars.tick("answers", 4, 4)
    assert not task.visible


def test_work_that_goes_on_counts_what_is_new(meter: Meter) -> None:
    clock = Clock()
    bars = bar.Bars(terminal(), clock=clock)
    bars.tick("answers", 2, 4)
    meter.add(10)
    assert "left" not in shown(bars)  # nothing is known yet
    clock.now = 5
    bars.tick("answers", 3, 4)
    assert "about 5.0 s left" in shown(bars)


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.counting("searching"):
        pass
    with progress.progress() as tick:
        tick("answers", 0, 2)
        tick("answers", 1, 2)
    assert capsys.readouterr() == ("", "")
