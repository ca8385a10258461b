"""Intervals and tests against published tables, numbers by hand, and scipy where it is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softllama.errors import UsageError
from softllama.vectors import statistics


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_newcombes_table(hits: int, n: int, low: float, high: float) -> None:
    e = statistics.wilson(hits, n)  # Newcombe 1998, Table I, method 3
    assert (round(e.low, 4), round(e.high, 4)) == (low, high)
    assert e.value == hits / n


def test_wilson_is_symmetric_and_stays_inside() -> None:
    for hits in range(21):
        a, b = statistics.wilson(hits, 20), statistics.wilson(20 - hits, 20)
        assert 0 <= a.low <= a.value <= a.high <= 1
        assert a.low == pytest.approx(1 - b.high, abs=1e-12)
    assert math.isnan(statistics.wilson(0, 0).value)
    with pytest.raises(UsageError):
        statistics.wilson(3, 2)


def test_mcnemar_by_hand() -> None:
    assert statistics.mcnemar(1, 9) == statistics.mcnemar(9, 1) == 2 * (1 + 10) / 2**10
    assert statistics.mcnemar(0, 5) == 2 / 2**5
    assert statistics.mcnemar(3, 3) == statistics.mcnemar(0, 0) == 1.0


def test_intervals_and_tests_are_scipys() -> None:
    scipy = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n in (1, 7, 200, 1319, 5000):
        for hits in {0, n, *rng.integers(0, n + 1, 4).tolist()}:
            test = scipy.binomtest(hits, n, 0.5)
            e, other = statistics.wilson(hits, n), test.proportion_ci(method="wilson")
            assert (e.low, e.high) == pytest.approx((other.low, other.high), abs=1e-12)
            assert statistics.mcnemar(hits, n - hits) == pytest.approx(test.pvalue, rel=1e-9)
    v = rng.standard_normal(60)
    mine = statistics.mean(v, 3)
    other = scipy.bootstrap((v,), np.mean, method="percentile", n_resamples=20_000, rng=rng).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((other.low, other.high), abs=0.03)


def test_a_bootstrap_repeats_and_covers() -> None:
    v = np.random.default_rng(1).standard_normal(100)
    assert statistics.mean(v, 5) == statistics.mean(v, 5)
    assert statistics.mean([0.25] * 10) == statistics.Estimate(0.25, 0.25, 0.25, 10)
    assert statistics.bootstrap([1.0, 2.0, 9.0], np.median).value == 2.0
    assert statistics.mean([1.0, math.nan, 3.0]).n == 2
    rng = np.random.default_rng(2)
    inside = [e.low <= 0.5 <= e.high for e in (statistics.mean(rng.random(50), i) for i in range(300))]
    assert 0.90 <= np.mean(inside) <= 0.98


def test_cases_that_hang_together_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    group = rng.standard_normal(20)
    v = np.repeat(group, 10)
    alone, together = statistics.mean(v), statistics.mean(v, groups=[i // 10 for i in range(200)])
    assert alone.value == pytest.approx(together.value)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(10), rel=0.2)
    assert statistics.mean(group).high - statistics.mean(group).low == pytest.approx(
        together.high - together.low, rel=0.15
    )


def test_a_paired_comparison_counts_what_only_one_solved() -> None:
    a = np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 0], bool)
    b = np.array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0], bool)
    r = statistics.paired(a, b)
    assert (r.only_first, r.only_second, r.difference.value) == (6, 1, 0.5)
    assert r.p == 2 * (1 + 7) / 2**7
    assert r.difference.clear
    same = statistics.paired(a, a)
    assert (same.p, same.difference.value, same.difference.clear) == (1.0, 0.0, False)
    with pytest.raises(UsageError):
        statistics.paired([True], [True, False])


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


def test_pairs_that_are_all_alike_have_an_exact_interval() -> None:
    none = statistics.paired([False] * 8, [False] * 8)
    u = 1 - 0.025 ** (1 / 8)  # Clopper and Pearson: 0 of 8
    assert (none.difference.value, none.difference.low, none.difference.high) == pytest.approx((0, -u, u))
    assert (none.p, none.only_first, none.only_second) == (1.0, 0, 0)
    all_first = statistics.paired([True] * 20, [False] * 20).difference
    assert (all_first.value, all_first.low, all_first.high) == pytest.approx((1, 2 * 0.025 ** (1 / 20) - 1, 1))
    all_second = statistics.paired([False] * 20, [True] * 20).difference
    assert (all_second.low, all_second.high) == (-all_first.high, -all_first.low)
    assert statistics.paired([True], [True]).difference.high == pytest.approx(0.975)
    assert statistics.paired([], []).difference.n == 0


def test_a_verdict_takes_ten_cases() -> None:
    assert not statistics.Estimate(1.0, 0.9, 1.1, 9).clear
    assert statistics.Estimate(1.0, 0.9, 1.1, 10).clear


def test_the_power_of_a_comparison_by_hand_and_by_simulation() -> None:
    # 5 pairs: even 5 of 5 has p = 1/16. 6 pairs: 6 of 6 has p = 1/32, so all 6 must differ the same way: d^6 = 0.8
    assert math.isnan(statistics.detectable(5, 0))
    assert statistics.detectable(6, 0) == pytest.approx(0.8 ** (1 / 6), abs=2e-4)
    rng = np.random.default_rng(0)
    for n, discordant in ((50, 9), (200, 30), (500, 60)):
        d = statistics.detectable(n, discordant)
        share = max((discordant + 1) / (n + 2), d)
        draws = rng.multinomial(n, [(share + d) / 2, (share - d) / 2, 1 - share], 4000)
        seen = np.mean([statistics.mcnemar(int(a), int(b)) < 0.05 for a, b, _ in draws])
        assert seen == pytest.approx(0.8, abs=0.03)
    assert statistics.detectable(1000, 100) < statistics.detectable(100, 10) < statistics.detectable(20, 2)
