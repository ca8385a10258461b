"""The number of threads on a busy machine: decided from measured times, and what it changes in results."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama.engine import manifest
from softllama.llama.pace import Pace

IDLE, CROWDED = (0.95, 0), (0.3, 50)  # the share of the threads' time that they get, and interruptions of a call


def run(pace: Pace, n: int, seconds: Callable[[int], float], state: tuple[float, int], shape: int = 1) -> list[int]:
    """The threads of n calls that take seconds(threads) each."""
    used = []
    for _ in range(n):
        threads, (share, switches) = pace.n_threads, state
        wall = seconds(threads)
        pace.after(shape, threads, wall, share * wall * threads, switches)
        used.append(threads)
    return used


def test_nothing_changes_on_an_idle_machine_however_slow() -> None:
    pace = Pace(4)
    assert set(run(pace, 100, lambda n: 10 / n, IDLE)) == {4}
    assert pace.used == {4}


def test_waiting_for_a_disk_is_no_contention() -> None:
    assert set(run(Pace(4), 50, lambda n: 2.0, (0.1, 0))) == {4}


def test_interruptions_alone_are_none_either() -> None:
    assert set(run(Pace(4), 50, lambda n: 2.0, (0.95, 50))) == {4}


def test_it_steps_down_where_fewer_are_faster_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    pace = Pace(2)
    with caplog.at_level(logging.WARNING, "softllama"):
        used = run(pace, 40, lambda n: 1.0 if n == 2 else 0.1, CROWDED)
    assert used == [2, 2] + [1] * 38
    assert [r.getMessage() for r in caplog.records] == [
        "the machine is busy: 2 threads take 1000 ms where 1 takes 100, so it goes on with 1; later digits of the numbers may "
        "differ (--n-threads N keeps to N threads)"
    ]
    assert pace.used == {1, 2}


def test_short_calls_are_watched_longer_before_anything_is_tried() -> None:
    used = run(Pace(2), 20, lambda n: 0.05, CROWDED)
    assert used[:10] == [2] * 10
    assert 1 in used[10:]


def test_it_goes_on_as_before_where_fewer_are_slower_and_tries_less_and_less() -> None:
    pace = Pace(2)
    used = run(pace, 2000, lambda n: 0.2 if n == 2 else 0.4, CROWDED)  # 400 seconds
    tried = [i for i, n in enumerate(used) if n == 1]
    assert 6 <= len(tried) <= 40
    gaps = np.diff([i for i, j in zip(tried, [-10, *tried], strict=False) if i - j > 5])
    assert (np.diff(gaps) >= 0).all()


def test_a_trial_that_is_much_slower_ends_at_once() -> None:
    used = run(Pace(2), 6, lambda n: 1.0 if n == 2 else 20.0, CROWDED)
    assert used == [2, 2, 1, 2, 2, 2]


def test_it_goes_on_halving_while_that_helps() -> None:
    pace = Pace(16)
    run(pace, 100, lambda n: 0.3 * n, CROWDED)
    assert pace.n_threads == 1
    assert pace.used == {16, 8, 4, 2, 1}


def test_the_first_number_comes_back_when_the_machine_is_idle_again(caplog: pytest.LogCaptureFixture) -> None:
    pace = Pace(2)
    run(pace, 10, lambda n: 1.0 if n == 2 else 0.1, CROWDED)
    assert pace.n_threads == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, "softllama"):
        used = run(pace, 1000, lambda n: 0.1 / n, IDLE)
    assert used[-1] == 2
    assert used.count(1) <= 320  # 30 seconds
    assert not caplog.records
    run(pace, 10, lambda n: 1.0 if n == 2 else 0.1, CROWDED)
    assert pace.n_threads == 1  # and goes again


def test_calls_of_different_shapes_are_not_compared() -> None:
    pace = Pace(2)
    for _ in range(30):
        run(pace, 1, lambda n: 5.0, CROWDED, shape=512)
        run(pace, 1, lambda n: 0.1, CROWDED, shape=1)
    assert pace.used == {2}
    run(pace, 2, lambda n: 5.0, CROWDED, shape=512)
    assert pace.n_threads == 1
    run(pace, 1, lambda n: 0.1, CROWDED, shape=1)
    assert pace.n_threads == 2


def test_a_number_that_the_user_chose_stays(write: Callable[..., object]) -> None:
    with sl.load(write("llama"), n_threads=2) as model:  # type: ignore[arg-type]
        assert model.pace is None
        assert "n_threads_used" not in manifest.build(model, {})
    with sl.load(write("llama")) as model:  # type: ignore[arg-type]
        assert model.n_threads == 1  # it is small
        assert model.pace is None


def test_a_change_reaches_llama_cpp_keeps_the_bits_of_short_contexts_and_is_recorded(
    write: Callable[..., object],
) -> None:
    def logits(pace: Pace | None, change: int) -> tuple[list[bytes], sl.Model]:
        model = sl.load(write("llama"))  # type: ignore[arg-type]
        model.n_threads, model.pace = 2, pace
        context, out = model.new_context(64), []
        for i in range(8):
            if pace is not None and i == 4:
                pace.n_threads = change
            out.append(model.feed(context, 0, [i], i).tobytes())
        assert context.n_threads == (2 if pace is None else change)
        return out, model

    steady, model = logits(None, 2)
    assert "n_threads_used" not in manifest.build(model, {})
    changed, model = logits(Pace(2), 1)
    assert changed == steady
    record = manifest.build(model, {})
    assert (record["n_threads"], record["n_threads_used"]) == (2, [1, 2])
