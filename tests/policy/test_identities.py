"""The equations that tie the methods together: each one's limits are greedy decoding, sampling, or another method.

Statistical tests have fixed seeds. Their thresholds are such that a correct implementation with another seed would fail
with a probability below 1e-5 for each test, as stated beside each.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from softllama import policy
from softllama.policy import filters
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

RNG = np.random.default_rng(2024)
DISTRIBUTIONS = [Distribution(RNG.normal(size=n) * s) for n in (1, 2, 20, 1000) for s in (0.5, 2, 6)]
# ln of five probabilities, whose filtered weights are themselves
PI = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
FIVE = Distribution.from_probs(PI)
OPEN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}  # no filter
CHI2_4 = 33.377  # the 1 - 1e-6 quantile of chi-square with 4 degrees of freedom


@pytest.fixture(params=DISTRIBUTIONS, ids=lambda d: f"{len(d)}-{d.entropy():.2f}")
def d(request):
    return request.param


def rng(seed=0):
    return np.random.default_rng(seed)


def same(a, b):
    return a.mixture == b.mixture and a.token == b.token


def chi_square(counts, p):
    expected = p * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def greedy(d):
    return policy.greedy()(d, rng())


# ---- greedy as a limit ---------------------------------------------------------------------------------------------


def test_greedy_is_the_argmax_and_the_lowest_among_equals(d):
    assert greedy(d).token == d.argmax
    assert greedy(d).mixture == Mixture.one_hot(d.argmax)
    assert greedy(Distribution([0.0, 3.0, 3.0])).token == 1


@pytest.mark.parametrize("make", [policy.soft_thinking, policy.gumbel, policy.top_mean])
def test_n_1_is_greedy(d, make):
    assert same(make(n=1)(d, rng()), greedy(d))


@pytest.mark.parametrize("name", [n for n in policy.names() if "temperature" in policy.parse(n).parameters])
@pytest.mark.parametrize("temperature", [0, 1e-9])
def test_temperature_0_is_greedy(d, name, temperature):
    fixed = {"moi": {"beta": math.inf}, "selar": {"tau": 1.1}}.get(name, {})  # p of MoI is at temperature 1
    if name in ("random_mix", "swir"):  # feed something else on purpose; the readout is greedy all the same
        decision = policy.parse(f"{name}:temperature={temperature}")(d, rng())
        assert decision.token == d.argmax
    else:
        make = getattr(policy, name)
        assert same(make(temperature=temperature, **fixed)(d, rng()), greedy(d))


# ---- sampling as a limit -------------------------------------------------------------------------------------------


FILTERS = {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.01}


def test_multiplex_of_one_is_sampling(d):
    one, sample = policy.multiplex(k=1, **FILTERS), policy.sample(**FILTERS)
    for seed in range(20):
        assert same(one(d, rng(seed)), sample(d, rng(seed)))


def test_moi_with_infinite_beta_is_sampling(d):
    infinite, large = policy.moi(beta=math.inf, **FILTERS), policy.moi(beta=1e12, **FILTERS)
    sample = policy.sample(**FILTERS)
    for seed in range(20):
        expected = sample(d, rng(seed))
        assert same(infinite(d, rng(seed)), expected)
        assert large(d, rng(seed)).mixture.top(1) == [(expected.token, 1.0)]


def test_moi_without_entropy_feeds_the_sample_alone():
    sure = Distribution([-np.inf, 0.0, -np.inf])
    assert same(policy.moi(beta=0)(sure, rng()), greedy(sure))


def test_moi_keeps_the_mass_of_a_sample_outside_its_top_k():
    z = np.zeros(1000)
    z[:20] = 1e-3  # the top 20, by a hair
    decision = policy.moi(temperature=1, top_p=1)(Distribution(z), rng(3))
    assert decision.token >= 20
    assert len(decision.mixture) == 21
    weights = dict(decision.mixture.top())
    assert weights[decision.token] == pytest.approx(0.5)  # Hn = 1, beta = 1: half to y
    assert weights[0] == pytest.approx(0.5 / 20)


def test_selar_with_tau_above_1_is_sampling(d):
    selar, sample = policy.selar(tau=1.01, **FILTERS), policy.sample(**FILTERS)
    for seed in range(20):
        assert same(selar(d, rng(seed)), sample(d, rng(seed)))


def test_selar_weights_sum_to_1_and_may_be_negative(d):
    decision = policy.selar(tau=0, c=5, temperature=1)(d, rng())
    assert float(decision.mixture.weights.astype(np.float64).sum()) == pytest.approx(1, abs=1e-5)
    assert decision.mixture.signed
    by_hand = policy.selar(tau=0, c=1, k=2, temperature=1, top_p=1)(Distribution([0.0, 0.0, -9.0]), rng())
    assert dict(by_hand.mixture.top()) == {0: 0.0, 1: 1.0}  # Hbar = 1: 2 * 0.5 - 1, 2 * 0.5


def test_gumbel_readouts_are_exact_samples():
    decide = policy.gumbel(tau=0.5, **OPEN)
    r = rng(11)
    counts = np.bincount([decide(FIVE, r).token for _ in range(20_000)], minlength=5)
    assert chi_square(counts, PI) < CHI2_4  # error rate 1e-6


@pytest.mark.parametrize("tau", [0, 1e-9])
def test_gumbel_with_tau_near_0_is_sampling(tau):
    decide = policy.gumbel(tau=tau, **OPEN)
    r = rng(12)
    decisions = [decide(FIVE, r) for _ in range(5_000)]
    assert all(x.mixture == Mixture.one_hot(x.token) for x in decisions)
    assert chi_square(np.bincount([x.token for x in decisions], minlength=5), PI) < CHI2_4  # error rate 1e-6


def test_gumbel_with_a_large_tau_is_the_plain_mean():
    decision = policy.gumbel(tau=math.inf, **OPEN)(FIVE, rng())
    assert decision.mixture == policy.top_mean(**OPEN)(FIVE, rng()).mixture


def test_sampling_has_the_frequencies_of_the_filtered_weights():
    decide = policy.sample(temperature=0.5, top_k=3)
    r = rng(13)
    counts = np.bincount([decide(FIVE, r).token for _ in range(20_000)], minlength=5)
    p = np.array([0.16, 0.0625, 0.04]) / 0.2625
    assert counts[3:].sum() == 0
    assert chi_square(counts[:3], p) < 27.631  # 2 degrees of freedom, error rate 1e-6


# ---- Dirichlet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1, 4, 10])
def test_dirichlet_mean_and_variance(gamma):
    n = 10_000
    decide = policy.dirichlet(gamma=gamma, **OPEN)
    r = rng(14)
    w = np.zeros((n, 5))
    for row in w:
        m = decide(FIVE, r).mixture
        row[m.ids] = m.weights
    variance = PI * (1 - PI) / (gamma + 1)
    # 5 standard errors each way: error rate 6e-7 for each of 10 numbers, 6e-6 in all
    assert (np.abs(w.mean(0) - PI) < 5 * np.sqrt(variance / n)).all()
    squares = (w - PI) ** 2
    assert (np.abs(squares.mean(0) - variance) < 5 * squares.std(0) / math.sqrt(n)).all()


def test_dirichlet_with_a_large_gamma_is_soft_thinking():
    decision = policy.dirichlet(gamma=1e6, **OPEN)(FIVE, rng())
    np.testing.assert_allclose(decision.mixture.weights, PI, atol=5e-3)


def test_dirichlet_with_a_small_gamma_is_sampling():
    decide = policy.dirichlet(gamma=1e-6, **OPEN)
    r = rng(15)
    decisions = [decide(FIVE, r) for _ in range(5_000)]
    assert np.mean([x.mixture.weights.max() > 0.999 for x in decisions]) > 0.99
    assert chi_square(np.bincount([x.token for x in decisions], minlength=5), PI) < CHI2_4  # error rate 1e-6


# ---- the rest ------------------------------------------------------------------------------------------------------


def test_multiplex_mean_is_the_distribution():
    decide = policy.multiplex(k=3)
    r = rng(16)
    n = 5_000
    total = np.zeros(5)
    for _ in range(n):
        m = decide(FIVE, r).mixture
        total[m.ids] += m.weights
    assert (np.abs(total / n - PI) < 5 * np.sqrt(PI * (1 - PI) / (3 * n))).all()  # error rate 3e-6 in all


def test_random_mix_draws_every_id_alike():
    decide = policy.random_mix(**OPEN)
    d = Distribution(np.array([3.0, 2.0, 1.0, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]))
    r = rng(17)
    heaviest = np.bincount([decide(d, r).mixture.argmax for _ in range(10_000)], minlength=10)
    assert chi_square(heaviest, np.full(10, 0.1)) < 44.811  # 9 degrees of freedom, error rate 1e-6


def test_swir_b0_1_never_blends_the_tag_and_epsilon_0_is_full(d):
    whole = policy.full(epsilon=0)(d, rng()).mixture
    assert policy.swir(epsilon=0)(d, rng()).mixture == whole


def test_a_seed_fixes_every_decision(d):
    for name in policy.names():
        decide = policy.parse(name)
        assert decide(d, rng(5)) == decide(d, rng(5))


EXTREME = [[3e38, -3e38, 0.0], [3e38, 3e38], [-3e38] * 4, [1e-45, 0.0], [-np.inf, -1e-45, -np.inf], [88.0, -88.0] * 300]


@pytest.mark.parametrize("name", policy.names())
@pytest.mark.parametrize("temperature", [0, 1e-40, 1, 1e6])
def test_extreme_logits_still_give_a_mixture(name, temperature):
    settings = {"temperature": temperature} if "temperature" in policy.parse(name).parameters else {}
    decide = getattr(policy, name)(**settings)
    for z in EXTREME:
        decision = decide(Distribution(z), rng())
        assert float(decision.mixture.weights.astype(np.float64).sum()) == pytest.approx(1, abs=1e-5)
        assert z[decision.token] > -np.inf


def test_filters_keep_the_argmax(d):
    for settings in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 0}):
        assert d.argmax in filters.support(d, **settings).ids
