"""The gate: its limits are Soft Thinking and sampling, and its weights those of a dense version."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softllama import policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from tests.policy.test_weights import CASES, close, dense, draw, entropy, filtered, keep_first, softmax

SETTINGS = {"temperature": 0.7, "top_k": 12, "top_p": 0.9, "min_p": 0.01}
SIGNALS = ["pmax", "entropy", "margin"]


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def z(request: pytest.FixtureRequest) -> np.ndarray:
    return request.param  # type: ignore[no-any-return]


def signal_of(z: np.ndarray, name: str, temperature: float) -> float:
    p = np.sort(softmax(z, temperature))[::-1]
    if name == "entropy":
        return entropy(p)
    return float(p[0]) if name == "pmax" else float(p[0] - (p[1] if len(p) > 1 else 0))


def moments(seed: int) -> tuple[policy.Moment, policy.Moment]:
    a, b = (policy.Moment(np.random.default_rng(seed), think_close=0) for _ in range(2))
    return a, b


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("above", ["soft", "hard"])
def test_weights_equal_the_formula(z: np.ndarray, signal: str, above: str) -> None:
    value = signal_of(z, signal, 0.7)
    p = filtered(z, **SETTINGS)
    for tau in (value * (1 - 1e-9), value * (1 + 1e-6) + 1e-9, 0.0, 0.5):
        decide = policy.route(tau=tau, signal=signal, above=above, n=4, cold_tau=0, **SETTINGS)  # type: ignore[arg-type]
        d = decide(Distribution(z), np.random.default_rng(3))
        if (value >= tau) == (above == "soft"):
            close(dense(d.mixture, len(z)), keep_first(p, 4))
            assert (d.mode, d.token) == ("soft", int(np.argmax(z)))
        else:
            assert d.mixture == Mixture.one_hot(draw(p, np.random.default_rng(3).random()))


def test_tau_0_is_soft_thinking(z: np.ndarray) -> None:
    routed, soft = policy.route(tau=0, **SETTINGS), policy.soft_thinking(**SETTINGS)
    for a, b in map(moments, range(3)):
        first, second = routed(Distribution(z), a), soft(Distribution(z), b)
        assert (first.mixture, first.token, first.mode) == (second.mixture, second.token, second.mode)
    assert (
        policy.parse("route").answer(Distribution(z), a).token
        == policy.parse("soft_thinking").answer(Distribution(z), b).token
    )


def test_tau_above_1_is_sampling_and_cold_stop_on_tokens(z: np.ndarray) -> None:
    sampled = policy.sample(**SETTINGS)
    for seed in range(10):
        d = policy.route(tau=1.01, cold_tau=0, **SETTINGS)(Distribution(z), np.random.default_rng(seed))
        assert d.mixture == sampled(Distribution(z), np.random.default_rng(seed)).mixture
        a, b = moments(seed)
        d = policy.route(tau=1.01, cold_tau=2, cold_k=1, **SETTINGS)(Distribution(z), a)
        cold = policy.cold_stop(tau=2, k=1, **SETTINGS)(Distribution(z), b)
        assert (d.mixture, d.end_thinking) == (cold.mixture, cold.end_thinking)


def test_the_gates_of_entropy_and_confidence_are_opposite(z: np.ndarray) -> None:
    low = policy.route(tau=math.inf, signal="entropy", above="hard", cold_tau=0, **SETTINGS)
    assert low(Distribution(z), np.random.default_rng(0)).mode == "soft"


def test_cold_stop_counts_both_kinds_of_steps() -> None:
    decide = policy.route(tau=0.7, cold_tau=1, cold_k=3)
    m = policy.Moment(np.random.default_rng(0), think_close=11)
    sure, even = Distribution(np.eye(12)[0] * 50), Distribution(np.where(np.arange(12) < 2, 0.0, -np.inf))
    decisions = [decide(d, m) for d in (sure, even, sure)]
    assert [d.mode for d in decisions[:2]] == ["soft", "hard"]
    assert [d.end_thinking for d in decisions] == [False, False, True]
