"""Logits are read where llama.cpp has them: a distribution that somebody keeps must not change with the next batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.errors import SoftLlamaError
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.policy import Decision, Moment, as_policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

Seen = list[tuple[Distribution, Any, float]]


def run(model: sl.Model, rule: Callable[[Distribution, Moment], Decision], prompts: int = 1, steps: int = 6) -> Any:
    gs = [
        prepare(model, [1, 2, 3 + i], GenerationOptions(policy=as_policy(rule), max_tokens=steps, seed=i))
        for i in range(prompts)
    ]
    return loop.run(model, gs, at_once=prompts)


def keeper(seen: Seen) -> Callable[[Distribution, Moment], Decision]:
    """A rule that keeps every distribution, with a copy of its logits and its entropy as they were."""

    def rule(d: Distribution, moment: Moment) -> Decision:
        seen.append((d, d._view.copy(), d.entropy(0.7)))
        ids = np.argsort(-d._view, kind="stable")[:2]
        return Decision(Mixture(ids, [0.5, 0.5]), int(ids[0]), "soft")

    return rule


def check(seen: Seen) -> None:
    for d, logits, entropy in seen:
        assert np.array_equal(d.logits, logits)
        assert not d.logits.flags.writeable
        again = sl.Distribution(logits)
        assert again.entropy(0.7) == entropy == d.entropy(0.7)
        assert again.entropy(0.3) == d.entropy(0.3)  # computed only now
        assert again.top(8) == [t._replace(text="") for t in d.top(8)]
    assert len({logits.tobytes() for _, logits, _ in seen}) == len(seen)


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_distribution_that_a_policy_keeps_stays_as_it_is(model: sl.Model, prompts: int) -> None:
    seen: Seen = []
    for _ in run(model, keeper(seen), prompts):
        pass
    assert len(seen) >= 2 * prompts
    check(seen)  # the context is freed by now


def test_one_that_nobody_keeps_is_not_copied(model: sl.Model) -> None:
    lent = []

    def rule(d: Distribution, moment: Moment) -> Decision:
        lent.append("logits" not in vars(d))
        return Decision(Mixture.one_hot(d.argmax), d.argmax, "hard")

    for _ in run(model, rule):
        pass
    assert len(lent) > 1
    assert all(lent[1:])  # the first comes from the prompt, whose logits are a copy


def test_closing_the_model_between_two_steps_keeps_what_was_lent(write: Callable[..., Path]) -> None:
    seen: Seen = []
    own = sl.load(write("llama"), n_threads=1)
    steps = run(own, keeper(seen))
    next(steps)
    next(steps)
    own.close()
    check(seen)
    with pytest.raises(SoftLlamaError, match="closed"):
        next(steps)


def test_another_batch_in_the_context_keeps_what_was_lent(model: sl.Model) -> None:
    context = model.new_context(64)
    (d,) = model.distributions(context.evaluate([0], [0], [True], tokens=[1]), context)
    before = d._view.copy()
    assert not np.array_equal(context.decode([0], [1], [True], tokens=[2])[0], before)
    assert np.array_equal(d.logits, before)
    context.close()
    assert np.array_equal(d.logits, before)


def test_a_thread_that_closes_the_model_waits_until_the_logits_are_read(write: Callable[..., Path]) -> None:
    own, closing, seen = sl.load(write("llama"), n_threads=1), [], Seen()

    def rule(d: Distribution, moment: Moment) -> Decision:
        if moment.step == 2:
            closing.append(threading.Thread(target=own.close))
            closing[0].start()
            closing[0].join(0.2)
            assert closing[0].is_alive()
            assert "logits" not in vars(d)
        return keeper(seen)(d, moment)

    steps = run(own, rule)
    assert len([next(steps) for _ in range(3)]) == 3
    closing[0].join(60)
    with pytest.raises(SoftLlamaError, match="closed"):
        next(steps)
    check(seen)
