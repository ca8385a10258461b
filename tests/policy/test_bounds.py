"""A few tokens bound what a pass over the vocabulary measures, and decide the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softllama import Distribution
from softllama.policy import filters
from softllama.policy.route import compared, measured


@pytest.mark.parametrize("temperature", [0.05, 0.6, 1.0, 1.7, 5.0])
@pytest.mark.parametrize("k", [1, 2, 5, 32])
def test_entropy_and_largest_probability_lie_within_the_bounds(temperature: float, k: int) -> None:
    rng = np.random.default_rng(k)
    for sharpness in (0.0, 0.5, 2.0, 5.0, 20.0):
        for n in (1, 2, 6, 40, 5000):
            for lead in (0.0, 10.0, 30.0):
                z = rng.standard_normal(n) * sharpness
                z[rng.integers(n)] += lead
                d = Distribution(z)
                low, high = filters.entropy_bounds(d, temperature, k)
                assert low <= d.entropy(temperature) <= high
                low, high = filters.largest_bounds(d, temperature, k)
                assert low <= measured(d, "pmax", temperature) <= high


def some_logits(rng: np.random.Generator) -> np.ndarray:
    z = (rng.standard_normal(3000) * rng.choice([0.5, 2.0, 4.0])).astype(np.float32)
    z[7] += rng.choice([0.0, 8.0, 15.0, 25.0])
    return z


def test_whether_the_entropy_is_below_tau_is_what_a_pass_says() -> None:
    rng, without_a_pass = np.random.default_rng(1), 0
    for _ in range(300):
        z, tau = some_logits(rng), rng.choice([0.001, 0.01, 0.1, 1.0])
        d = Distribution._owning(z.copy())
        assert filters.cold(d, 0.6, tau) == (Distribution(z).entropy(0.6) < tau)
        without_a_pass += 0.6 not in d._sum_cache
    assert without_a_pass > 240
    h = Distribution(z).entropy(0.6)
    assert not filters.cold(Distribution(z), 0.6, h)  # strictly
    assert filters.cold(Distribution(z), 0.6, math.nextafter(h, 9))


def test_the_gate_decides_and_says_what_a_pass_gives() -> None:
    rng, without_a_pass = np.random.default_rng(2), 0
    for _ in range(300):
        z, tau = some_logits(rng), rng.choice([0.1, 0.5, 0.9, 0.999])
        d, value = Distribution._owning(z.copy()), measured(Distribution(z), "pmax", 0.6)
        assert compared(d, "pmax", 0.6, tau) == (value >= tau, f"{value:.3g}")
        without_a_pass += 0.6 not in d._sum_cache
    assert without_a_pass > 100
    d = Distribution(z)
    assert compared(d, "pmax", 0.6, measured(d, "pmax", 0.6))[0]
    for signal in ("entropy", "margin"):
        assert compared(d, signal, 0.6, 0.5)[1] == f"{measured(d, signal, 0.6):.3g}"  # type: ignore[arg-type]
