"""Every weight rule against a plain numpy oracle that sorts the whole vocabulary and keeps dense vectors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from softllama import policy
from softllama.errors import SoftLlamaError
from softllama.policy import filters
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

SETTINGS = [
    {"temperature": 0.6, "top_k": 30, "top_p": 0.95, "min_p": 0.001},
    {"temperature": 1.0, "top_k": 0, "top_p": 0.9, "min_p": 0.0},
    {"temperature": 1.7, "top_k": 5, "top_p": 1.0, "min_p": 0.2},
    {"temperature": 0.3, "top_k": 0, "top_p": 1.0, "min_p": 0.05},
    {"temperature": 2.5, "top_k": 0, "top_p": 0.999, "min_p": 0.0},  # needs more than the first 256 of 1000
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0},
]


def cases():
    for n_vocab in (1, 2, 20, 1000):
        for seed in range(2):
            rng = np.random.default_rng([n_vocab, seed])
            z = (rng.normal(size=n_vocab) * 2).astype(np.float32)
            yield f"{n_vocab}-{seed}", z
            yield f"{n_vocab}-{seed}-ties", np.round(z)
            if n_vocab > 1:
                holes = z.copy()
                holes[rng.permutation(n_vocab)[: n_vocab // 2]] = -np.inf
                yield f"{n_vocab}-{seed}-inf", holes


CASES = dict(cases())


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def z(request):
    return request.param


@pytest.fixture(params=SETTINGS, ids=lambda s: "T{temperature}-k{top_k}-p{top_p}-m{min_p}".format(**s))
def settings(request):
    return request.param


# ---- the oracle ----------------------------------------------------------------------------------------------------


def softmax(z, temperature=1.0):
    e = np.exp(z.astype(np.float64) / temperature - z.max() / temperature)
    return e / e.sum()


def keep_first(p, n):
    """The n largest of p, the lower index first among equals, renormalised."""
    q = np.zeros_like(p)
    for i in sorted(range(len(p)), key=lambda i: (-p[i], i))[:n]:
        q[i] = p[i]
    return q / q.sum()


def filtered(z, temperature, top_k, top_p, min_p):
    p = softmax(z, temperature)
    if top_k:
        p = keep_first(p, top_k)
    if top_p < 1:
        n, total = 0, 0.0
        for x in sorted(p, reverse=True):
            n, total = n + 1, total + x
            if total >= top_p:
                break
        p = keep_first(p, n)
    p = np.where(p >= min_p * p.max(), p, 0)
    return p / p.sum()


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def dense(mixture, n_vocab):
    w = np.zeros(n_vocab)
    w[mixture.ids] = mixture.weights
    return w


def draw(p, u):
    """The first id whose cumulative probability exceeds u."""
    total = 0.0
    for i, x in enumerate(p):
        total += x
        if total > u:
            return i
    return int(np.flatnonzero(p)[-1])


def close(w, expected):
    np.testing.assert_allclose(w, expected, rtol=2e-6, atol=2e-7)


# ---- filters -------------------------------------------------------------------------------------------------------


def test_filters(z, settings):
    s = filters.support(Distribution(z), **settings)
    p = np.zeros(len(z))
    p[s.ids] = s.p
    np.testing.assert_allclose(p, filtered(z, **settings), rtol=1e-12)
    assert s.argmax == int(np.argmax(z))
    assert list(s.ids) == sorted(s.ids)


def test_the_order_is_temperature_top_k_top_p_min_p():
    d = Distribution(np.log([0.4, 0.3, 0.2, 0.1]))
    # top-k first: 0.4/0.7 = 0.571 reaches 0.5 alone. Without renormalising it would take 0.4 + 0.3.
    assert list(filters.support(d, top_k=2, top_p=0.5).ids) == [0]
    assert list(filters.support(d, top_p=0.5).ids) == [0, 1]
    # temperature first: at 0.5 the squares 16, 9, 4, 1 of 30 leave 0.533
    assert list(filters.support(d, 0.5, top_p=0.5).ids) == [0]
    # min-p is relative to the largest: 0.6 * 0.4 = 0.24
    assert list(filters.support(d, min_p=0.6).ids) == [0, 1]


def test_top_p_keeps_the_token_that_crosses():
    d = Distribution(np.log([0.5, 0.25, 0.125, 0.125]))
    assert list(filters.support(d, top_p=0.75).ids) == [0, 1]
    assert list(filters.support(d, top_p=0.76).ids) == [0, 1, 2]
    assert list(filters.support(d, top_p=1e-9).ids) == [0]
    assert list(filters.support(Distribution(np.zeros(4)), top_p=0.5).ids) == [0, 1]  # exactly reached


def test_the_lower_id_is_kept_first_among_equals():
    d = Distribution(np.zeros(9))
    assert list(filters.support(d, top_k=3).ids) == [0, 1, 2]
    assert list(filters.support(d).top(2).ids) == [0, 1]
    assert filters.support(d, temperature=0).argmax == d.argmax == 0


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-12, 1e6])
def test_extreme_temperatures(temperature):
    d = Distribution([1.0, 3.0, 2.0, -np.inf])
    s = filters.support(d, temperature)
    assert s.argmax == 1
    assert 0 <= filters.entropy(d, temperature) <= math.log(3)
    assert len(s) == (3 if temperature > 1 else 1)


def test_hot_temperatures_do_not_lose_the_argmax():
    z = np.array([1e-4, np.nextafter(np.float32(1e-4), np.float32(1))], dtype=np.float32)
    s = filters.support(Distribution(z), 1e6)
    assert s.p[0] == s.p[1]  # in double precision
    assert s.argmax == 1


def test_entropy_is_taken_before_the_filters():
    d = Distribution(np.zeros(100))
    assert filters.entropy(d, 0.6) == pytest.approx(math.log(100))
    assert filters.entropy(Distribution([0.0, 1.0]), 0.5) == pytest.approx(entropy(softmax(np.array([0.0, 1.0]), 0.5)))


def test_repetition_penalty_divides_positive_logits_and_multiplies_others():
    d = Distribution([2.0, -2.0, 0.0, 1.0, -np.inf])
    z = filters.penalised(d, [0, 1, 2, 4, 0], 2.0, -1).logits
    assert list(z) == [1, -4, 0, 1, -np.inf]
    assert list(filters.penalised(d, [3, 0], 2.0, 1).logits) == [1, -2, 0, 1, -np.inf]
    assert filters.penalised(d, [0], 2.0, 0) is d
    assert filters.penalised(d, [0], 1.0, -1) is d
    assert np.isfinite(filters.penalised(Distribution([3e38, -3e38]), [0, 1], 1e-3, -1).logits).all()
    with pytest.raises(SoftLlamaError, match="readout 5 is outside the vocabulary of 5"):
        filters.penalised(d, [5], 2.0, -1)


def test_sample_penalises_readouts_within_the_window():
    d = Distribution([5.0, 4.0])
    m = policy.Moment(np.random.default_rng(0), readouts=[0, 1, 1])
    decide = policy.sample(temperature=0, repetition_penalty=2.0, penalty_last_n=3)
    assert decide(d, m).token == 0  # 2.5 against 2
    assert policy.sample(temperature=0, repetition_penalty=2.0, penalty_last_n=2)(d, m).token == 0  # 5 against 2
    m.readouts = [0]
    assert decide(d, m).token == 1  # 2.5 against 4


# ---- weights -------------------------------------------------------------------------------------------------------


def test_sample(z, settings):
    for seed in range(5):
        y = policy.sample(**settings)(Distribution(z), np.random.default_rng(seed))
        u = np.random.default_rng(seed).random()
        assert y.token == draw(filtered(z, **settings), u)
        assert y.mixture == Mixture.one_hot(y.token)
        assert y.mode == "hard"


def test_unfiltered_sample_is_the_sample_of_the_distribution(z):
    d = Distribution(z)
    for seed in range(5):
        assert policy.sample()(d, np.random.default_rng(seed)).token == d.sample(np.random.default_rng(seed))


def test_soft_thinking_and_top_mean(z, settings):
    rng = np.random.default_rng(0)
    for n in (1, 3, 10, 2000):
        expected = keep_first(filtered(z, **settings), n)
        d = policy.soft_thinking(n=n, **settings)(Distribution(z), rng)
        close(dense(d.mixture, len(z)), expected)
        assert d.token == int(np.argmax(z)) == d.mixture.argmax
        mean = policy.top_mean(n=n, **settings)(Distribution(z), rng)
        close(dense(mean.mixture, len(z)), (expected > 0) / np.count_nonzero(expected))
        assert mean.token == d.token
    assert rng.random() == np.random.default_rng(0).random()  # nothing was drawn


def test_random_mix_moves_the_weights_to_other_ids(z, settings):
    soft = policy.soft_thinking(n=5, **settings)(Distribution(z), np.random.default_rng(0))
    d = policy.random_mix(n=5, **settings)(Distribution(z), np.random.default_rng(0))
    assert d.token == soft.token
    assert len(d.mixture) == len(soft.mixture)
    close(np.sort(d.mixture.weights), np.sort(soft.mixture.weights))


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 1e-2, 0.5])
def test_full_and_its_left_out_mass(z, epsilon):
    p = softmax(z, 1.3)
    d = policy.full(temperature=1.3, epsilon=epsilon)(Distribution(z), np.random.default_rng(0))
    kept = np.zeros(len(z), dtype=bool)
    kept[d.mixture.ids] = True
    assert 0 <= d.left_out <= epsilon
    assert d.left_out == pytest.approx(p[~kept].sum(), abs=1e-12)
    close(dense(d.mixture, len(z)), np.where(kept, p, 0) / p[kept].sum())
    assert d.token == int(np.argmax(z)) == d.mixture.argmax
    smallest = p[kept].min()
    group = p[kept][p[kept] == smallest].sum()
    assert (p[~kept] < smallest).all()  # only the smallest went, and no more could go
    assert epsilon == 0 or d.left_out + group > epsilon - 1e-12


def test_full_by_hand():
    d = policy.full(epsilon=0.05)(Distribution(np.log([0.5, 0.4, 0.06, 0.03, 0.01])), np.random.default_rng(0))
    assert d.left_out == pytest.approx(0.04, abs=1e-7)
    close(d.mixture.weights, np.array([0.5, 0.4, 0.06]) / 0.96)


def test_soft_noise_is_the_whole_vector_at_half_the_temperature(z):
    d = policy.soft_noise(epsilon=0)(Distribution(z), np.random.default_rng(0))
    close(dense(d.mixture, len(z)), softmax(z, 0.5))
    assert (d.noise, d.token, d.mode) == (0.33, int(np.argmax(z)), "soft")


def test_gumbel(z, settings):
    pi = keep_first(filtered(z, **settings), 15)
    ids = np.flatnonzero(pi)
    for seed in range(3):
        d = policy.gumbel(tau=0.5, **settings)(Distribution(z), np.random.default_rng(seed))
        g = np.random.default_rng(seed).gumbel(size=len(ids))
        w = np.zeros(len(z))
        w[ids] = (pi[ids] * np.exp(g)) ** 2  # 1/tau = 2
        close(dense(d.mixture, len(z)), w / w.sum())
        assert d.token == int(np.argmax(w))


@pytest.mark.parametrize("n", [1, 3, 15])
def test_dirichlet_keeps_the_n_heaviest_of_a_draw_on_all_filtered_tokens(z, settings, n):
    p = filtered(z, **settings)
    ids = np.flatnonzero(p.astype(np.float32))
    for seed in range(3):
        d = policy.dirichlet(n=n, gamma=4, **settings)(Distribution(z), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)  # ln Gamma(a) = ln Gamma(a + 1) - Exp(1)/a
        v = np.zeros(len(z))
        with np.errstate(over="ignore"):
            s = np.log(rng.standard_gamma(4 * p[ids] + 1)) - rng.standard_exponential(len(ids)) / (4 * p[ids])
        v[ids] = np.exp(s - s.max())
        close(dense(d.mixture, len(z)), keep_first(v, n))
        assert d.token == int(np.argmax(v))


def test_moi(z, settings):
    for seed, (beta, k) in enumerate(itertools.product([0.0, 0.5, 1.0, 2.0], [2, 20])):
        p = keep_first(softmax(z), k)
        hn = min(entropy(p) / math.log(k), 1)
        d = policy.moi(beta=beta, k=k, **settings)(Distribution(z), np.random.default_rng(seed))
        y = draw(filtered(z, **settings), np.random.default_rng(seed).random())
        w = hn * p
        w[y] += beta + 1 - hn
        assert d.token == y
        close(dense(d.mixture, len(z)), w / (beta + 1))


def test_selar(z, settings):
    p = filtered(z, **settings)
    for c, k in itertools.product([0.0, 1.0, 3.0], [2, 3, 7]):
        q = keep_first(p, k)
        hbar = entropy(q) / math.log(k)
        for tau in (0.0, hbar * 0.999, hbar * 1.001 + 1e-9):
            d = policy.selar(k=k, tau=tau, c=c, **settings)(Distribution(z), np.random.default_rng(7))
            y = draw(p, np.random.default_rng(7).random())
            w = np.zeros(len(z))
            if hbar >= tau:
                w = (1 + c * hbar) * q
                w[np.argmax(z)] -= c * hbar
            else:
                w[y] = 1
            assert d.token == y
            close(dense(d.mixture, len(z)), w)
            assert d.mixture.weights.sum() == pytest.approx(1, abs=1e-5)


def test_multiplex(z, settings):
    p = filtered(z, **settings)
    for seed, weighted in itertools.product(range(3), [False, True]):
        d = policy.multiplex(k=4, weighted=weighted, **settings)(Distribution(z), np.random.default_rng(seed))
        ys = [draw(p, u) for u in np.random.default_rng(seed).random(4)]
        w = np.zeros(len(z))
        for y in ys:
            w[y] += p[y] if weighted else 1
        assert d.token == ys[0]
        close(dense(d.mixture, len(z)), w / w.sum())


def test_swir_first_step_is_the_whole_vector(z):
    d = policy.swir(epsilon=0)(Distribution(z), np.random.default_rng(0))
    close(dense(d.mixture, len(z)), softmax(z))


def test_hidden_reads_out_the_argmax(z):
    d = policy.hidden()(Distribution(z), np.random.default_rng(0))
    assert (d.hidden, d.token, d.mode) == (True, int(np.argmax(z)), "soft")
