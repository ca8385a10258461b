"""The penalties of `sample` and its typical filter, against dense numpy versions of their formulas."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from softllama import policy
from softllama.policy import filters
from softllama.vectors.distribution import Distribution
from tests.policy.test_weights import CASES, draw, filtered, softmax


def dense(s: filters.Support, n: int) -> np.ndarray:
    p = np.zeros(n)
    p[s.ids] = s.p
    return p


def typical(p: np.ndarray, mass: float) -> np.ndarray:
    """Meister et al., word for word: the tokens in the order of |H + ln p|, until their sum reaches the mass."""
    h = -sum(x * np.log(x) for x in p if x > 0)
    order = sorted(np.flatnonzero(p), key=lambda i: (abs(h + np.log(p[i])), -p[i], i))
    q, total = np.zeros_like(p), 0.0
    for i in order:
        q[i] = p[i]
        total += p[i]
        if total >= mass:
            break
    return q / q.sum()


@pytest.mark.parametrize("mass", [0.2, 0.9, 0.999])
@pytest.mark.parametrize("name", [n for n in CASES if "ties" not in n])
def test_typical_equals_its_formula(name: str, mass: float) -> None:
    z = CASES[name]
    for top_k in (0, 7):
        expected = typical(filtered(z, 0.8, top_k, 1.0, 0.0), mass)
        got = filters.typical(filters.support(Distribution(z), 0.8, top_k), mass)
        np.testing.assert_allclose(dense(got, len(z)), expected, atol=1e-9)


def test_typical_by_hand() -> None:
    s = filters.support(Distribution(np.log([0.6, 0.2, 0.2])))  # H = 0.95; -ln p = 0.51 is 0.44 away, 1.61 is 0.66 away
    assert list(filters.typical(s, 0.5).ids) == [0]
    assert list(filters.typical(s, 0.7).ids) == [0, 1]
    assert filters.typical(s, 1.0).p == pytest.approx(s.p)


def test_typical_may_leave_out_the_most_probable() -> None:
    p = np.array([0.3, *[0.01] * 70])  # H = 3.59: -ln 0.3 is 2.4 away, -ln 0.01 only 1.0
    s = filters.typical(filters.support(Distribution(np.log(p))), 0.3)
    assert 0 not in s.ids
    assert s.argmax == 1


@pytest.mark.parametrize("settings", [{"top_p": 0.7}, {"min_p": 0.3}, {"top_p": 0.9, "min_p": 0.1}, {}])
def test_top_p_and_min_p_of_filtered_tokens_are_those_of_support(settings: dict[str, float]) -> None:
    for z in CASES.values():
        s = filters.nucleus(filters.support(Distribution(z)), settings.get("top_p", 1), settings.get("min_p", 0))
        expected = filtered(z, 1.0, 0, settings.get("top_p", 1.0), settings.get("min_p", 0.0))
        np.testing.assert_allclose(dense(s, len(z)), expected, atol=1e-9)


def test_typical_1_is_sampling() -> None:
    d = Distribution(np.random.default_rng(5).normal(size=200))
    for seed in range(20):
        y = policy.sample(typical_p=1.0, top_k=40)(d, np.random.default_rng(seed)).token
        assert y == policy.sample(top_k=40)(d, np.random.default_rng(seed)).token


def test_a_typical_sample_is_drawn_from_its_formula() -> None:
    z = CASES["1000-0"]
    for seed in range(20):
        p = typical(filtered(z, 1.0, 50, 1.0, 0.0), 0.8)
        y = policy.sample(typical_p=0.8, top_k=50)(Distribution(z), np.random.default_rng(seed)).token
        assert y == draw(p, np.random.default_rng(seed).random())


@pytest.mark.parametrize(
    ("repetition", "presence", "frequency"), [(1, 1.5, 0), (1, 0, 0.5), (1.3, 0.25, -2), (1, 0, 0)]
)
@pytest.mark.parametrize("last_n", [-1, 3, 0])
def test_penalties_equal_their_formula(repetition: float, presence: float, frequency: float, last_n: int) -> None:
    z, readouts = CASES["20-1"], [3, 5, 3, 3, 7, 19]
    seen = readouts if last_n < 0 else readouts[len(readouts) - last_n :]
    expected = z.astype(np.float64)
    for v in set(seen):
        x = expected[v]
        expected[v] = (x / repetition if x > 0 else x * repetition) - presence - frequency * seen.count(v)
    got = filters.penalised(Distribution(z), readouts, repetition, last_n, presence, frequency).logits
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    m = policy.Moment(np.random.default_rng(1), readouts=list(readouts))
    decide = policy.sample(
        repetition_penalty=repetition, penalty_last_n=last_n, presence_penalty=presence, frequency_penalty=frequency
    )
    assert decide(Distribution(z), m).token == draw(softmax(got), np.random.default_rng(1).random())


def test_infinite_logits_stay() -> None:
    z = filters.penalised(Distribution([1.0, -np.inf]), [0, 1, 1], 1.0, -1, 1.0, 2.0).logits
    assert list(z) == [-2, -np.inf]


def test_a_tally_that_grows_counts_what_a_new_one_counts() -> None:
    history = [int(i) for i in np.random.default_rng(3).integers(0, 12, 400)]
    state: dict[str, Any] = {}
    d, before = Distribution(CASES["20-1"]), None
    for n in (*range(1, 60), 100, 101, 400):
        got = filters.penalised(d, history[:n], 1.3, -1, 0.25, 0.5, state).logits
        np.testing.assert_array_equal(got, filters.penalised(d, history[:n], 1.3, -1, 0.25, 0.5).logits)
        tally = state[filters.TALLY]
        assert dict(zip(tally.ids.tolist(), tally.counts.tolist(), strict=True)) == Counter(history[:n])
        assert before is None or before[0].n != tally.n
        assert before is None or before[1] == (before[0].ids.tolist(), before[0].counts.tolist())  # forks may hold it
        before = tally, (tally.ids.tolist(), tally.counts.tolist())
