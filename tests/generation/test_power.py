"""Power sampling: its limits, its ratio, and the distribution that it draws from, by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation.power import log_ratio, power
from softllama.generation.replay import replay

TEXT = "The dog"


@pytest.mark.parametrize("alpha", [1.0, 4.0])
@pytest.mark.parametrize("blocks", [1, 3])
def test_without_moves_it_is_sampling_at_the_inverse_temperature(model: sl.Model, alpha: float, blocks: int) -> None:
    for seed in range(4):
        ours = power(model, TEXT, chat=False, alpha=alpha, blocks=blocks, moves=0, max_tokens=10, seed=seed)
        plain = model.generate(TEXT, chat=False, policy=policy.sample(temperature=1 / alpha), max_tokens=10, seed=seed)
        assert [s.token for s in ours.trace.steps] == [s.token for s in plain.steps]
        assert ours.trace.stop_reason == plain.stop_reason


def test_alpha_1_is_sampling_every_proposal_is_accepted(model: sl.Model) -> None:
    """q is p, so that the ratio of texts of one length is 1."""
    ours = power(model, TEXT, chat=False, alpha=1, blocks=4, moves=5, max_tokens=8, seed=1)
    assert (ours.moves, ours.accepted) == (20, 20)
    assert len(ours.trace.steps) == 8


def test_the_ratio_is_in_detailed_balance() -> None:
    """pi(a) P(a -> b) = pi(b) P(b -> a), P = q(end)/n min(1, r), for texts that share a beginning."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        (pa, qa, pb, qb), alpha = -rng.random(4) * 9, 1 + 4 * rng.random()
        na, nb = (int(n) for n in rng.integers(1, 9, 2))
        there = alpha * pa + qb - math.log(na) + min(0, log_ratio((pa, qa, na), (pb, qb, nb), alpha))
        back = alpha * pb + qa - math.log(nb) + min(0, log_ratio((pb, qb, nb), (pa, qa, na), alpha))
        assert there == pytest.approx(back)


def logps(model: sl.Model, items: list[int]) -> np.ndarray:
    session = model.session()
    z = session.feed(items).logits.astype(np.float64)
    session.close()
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def test_what_is_drawn_has_the_moments_of_the_sharpened_distribution(model: sl.Model) -> None:
    """All texts of two tokens, by enumeration: E[ln p] under p^alpha, against the mean of independent chains."""
    alpha, prompt = 2.0, model.tokenize(TEXT, bos=True)
    first = logps(model, prompt)
    texts: list[float] = []
    for i, x in enumerate(first):
        texts += [x] if model.is_eog(i) else (x + logps(model, [*prompt, i])).tolist()
    p = np.array(texts)
    w = np.exp(alpha * (p - p.max()))
    w /= w.sum()
    mean, sd = float((w * p).sum()), float(np.sqrt((w * (p - (w * p).sum()) ** 2).sum()))
    plain = float((np.exp(p) * p).sum())
    n = 250
    drawn = [
        power(model, TEXT, chat=False, alpha=alpha, blocks=1, moves=12, max_tokens=2, seed=s).logp for s in range(n)
    ]
    error = sd / math.sqrt(n)
    assert abs(np.mean(drawn) - mean) < 4.5 * error
    assert abs(plain - mean) > 9 * error  # the test can tell the two


def test_the_record_is_that_of_a_generation(model: sl.Model) -> None:
    ours = power(model, TEXT, chat=False, blocks=3, moves=3, max_tokens=9, seed=2)
    again = power(model, TEXT, chat=False, blocks=3, moves=3, max_tokens=9, seed=2)
    assert [s.token for s in ours.trace.steps] == [s.token for s in again.trace.steps]
    assert ours.trace.policy == "power:alpha=4.0,blocks=3,moves=3"
    assert replay(model, ours.trace) == pytest.approx([0.0] * len(ours.trace.steps), abs=1e-3)  # other batches
    ended = ours.trace.stop_reason == "end of generation"
    assert ended or ours.logp == pytest.approx(sum(s.logp for s in ours.trace.steps))
    assert ours.moves == 9
    assert ours.cost.tokens > len(ours.trace.steps)
    assert ours.to_dict()["accepted"] == ours.accepted <= ours.moves


def test_a_recurrent_model_reads_again(load: Callable[..., sl.Model]) -> None:
    model = load("mamba")
    ours = power(model, TEXT, chat=False, blocks=2, moves=3, max_tokens=6, seed=1)
    assert len(ours.trace.steps) == 6
    assert replay(model, ours.trace) == pytest.approx([0.0] * 6, abs=1e-4)


def test_what_cannot_be(model: sl.Model) -> None:
    for settings, message in (({"alpha": 0.5}, "alpha"), ({"policy": "greedy"}, "power sampling has no policy")):
        with pytest.raises(sl.UsageError, match=message):
            power(model, TEXT, chat=False, **settings)  # type: ignore[arg-type]
