"""Distributions without a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from softllama.errors import SoftLlamaError
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution, Token
from softllama.vectors.mixture import Mixture

INF, NAN = float("inf"), float("nan")
LN2 = float(np.log(2))


def d(*p: float) -> Distribution:
    return Distribution.from_probs(p)


def test_probabilities_by_hand() -> None:
    x = Distribution(np.log([1, 2, 5]))
    np.testing.assert_allclose(x.probs, [0.125, 0.25, 0.625], rtol=1e-6)
    assert x.probs.dtype == x.logits.dtype == np.float32
    assert len(x) == 3
    assert x.argmax == 2
    assert x.entropy() == pytest.approx(0.125 * np.log(8) + 0.25 * np.log(4) - 0.625 * np.log(0.625), rel=1e-6)


def test_a_shift_of_all_logits_changes_nothing() -> None:
    z = np.random.default_rng(0).standard_normal(100)
    np.testing.assert_allclose(Distribution(z + 50).probs, Distribution(z).probs, rtol=1e-4)


def test_it_cannot_be_changed() -> None:
    z = np.zeros(3, dtype=np.float32)
    x = Distribution(z)
    z[0] = 9
    assert x.logits.tolist() == [0, 0, 0]
    for a in (x.logits, x.probs):
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        x.logits = z  # type: ignore[misc]


def test_top_and_items() -> None:
    x = Distribution(np.log([0.25, 0.5, 0.25]), spell=lambda i: "abc"[i])
    assert x.top(2) == [Token(1, pytest.approx(0.5), "b"), Token(0, pytest.approx(0.25), "a")]
    assert [t.id for t in x.top(99)] == [1, 0, 2]
    assert x[2].text == "c"
    assert x[np.int64(2)].id == 2  # type: ignore[index]
    assert d(0.5, 0.5)[0] == Token(0, 0.5, "")


def test_entropy_by_temperature() -> None:
    x = Distribution([0.0, 1.0, 2.0])
    assert x.entropy(1e6) == pytest.approx(np.log(3), rel=1e-9)
    assert x.entropy(1e-3) == pytest.approx(0, abs=1e-9)
    assert d(1, 0, 0).entropy() == 0
    assert Distribution([5.0]).entropy() == 0


def test_divergences_by_hand() -> None:
    a, b = d(0.5, 0.5, 0), d(0, 0.5, 0.5)
    assert a.js(b) == pytest.approx(LN2 / 2, rel=1e-6)
    assert a.js(a) == a.kl(a) == 0
    assert d(1, 0).js(d(0, 1)) == pytest.approx(LN2, rel=1e-12)
    assert a.kl(b) == INF
    assert d(0.5, 0.5).kl(d(0.25, 0.75)) == pytest.approx(0.5 * LN2 + 0.5 * np.log(2 / 3), rel=1e-6)


def test_from_probs_round_trip() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(500))
    np.testing.assert_allclose(Distribution.from_probs(p).probs, p, rtol=1e-5)
    assert d(0.0, 1.0).logits[0] == -INF


def test_to_mixture_and_back() -> None:
    p = np.random.default_rng(2).dirichlet(np.ones(50))
    x = Distribution.from_probs(p)
    m = x.to_mixture()
    assert len(m) == 50
    np.testing.assert_allclose(m.weights, p, rtol=1e-4)
    assert x.to_mixture(n=1) == Mixture.one_hot(x.argmax)
    assert len(x.to_mixture(mass=0.5)) < 50
    assert d(0, 1, 0).to_mixture() == Mixture.one_hot(1)


def test_sample() -> None:
    x = d(0.1, 0.0, 0.6, 0.3)
    drawn = np.bincount([x.sample(np.random.default_rng(i)) for i in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, [0.1, 0, 0.6, 0.3], atol=0.03)
    assert x.sample(np.random.default_rng(5)) == x.sample(np.random.default_rng(5))
    assert {x.sample(np.random.default_rng(i), temperature=1e-6) for i in range(50)} == {2}


class _Ends:
    """A generator that draws the ends of [0, 1)."""

    def __init__(self, u: float) -> None:
        self.u = u

    def random(self) -> float:
        return self.u


def test_the_ends_of_the_unit_interval_never_draw_an_impossible_token() -> None:
    x = d(0, 0.5, 0.5, 0)
    assert x.sample(_Ends(0.0)) == 1  # type: ignore[arg-type]
    assert x.sample(_Ends(np.nextafter(1, 0))) == 2  # type: ignore[arg-type]


def test_average() -> None:
    a, b = d(1, 0, 0), d(0, 0.5, 0.5)
    np.testing.assert_allclose(average([a, b], [0.5, 0.5]).probs, [0.5, 0.25, 0.25], rtol=1e-6)
    np.testing.assert_allclose(average([a, b], [3, 1]).probs, [0.75, 0.125, 0.125], rtol=1e-6)
    np.testing.assert_allclose(average([a, b], [0, 1]).probs, b.probs, atol=1e-7)
    named = Distribution([0.0, 1.0], spell=str)
    assert average([named], [1]).spell is str


def test_the_average_of_one_distribution_is_that_one() -> None:
    x = Distribution(np.random.default_rng(3).standard_normal(1000))
    assert x.js(average([x], [1])) < 1e-12


def test_how_it_shows_itself() -> None:
    x = Distribution(np.log([0.25, 0.75]), spell=lambda i: "<b>"[: i + 1])
    assert repr(x) == "Distribution(n_vocab=2, entropy=0.562 nats, top=['<b': 0.750, '<': 0.250])"
    assert "&lt;b" in x._repr_html_()
    assert "<td><b" not in x._repr_html_()
    assert "#1" in repr(d(0.25, 0.75))
    assert "#1" in d(0.25, 0.75)._repr_html_()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Distribution([]), r"shape \(n_vocab,\), not \(0,\)"),
        (lambda: Distribution(1.0), r"not \(\)"),
        (lambda: Distribution([[1.0]]), r"\(1, 1\)"),
        (lambda: Distribution([0.0, NAN]), "element 1 is nan"),
        (lambda: Distribution([INF, 0.0]), "element 0 is inf"),
        (lambda: Distribution([-INF, -INF]), "all -inf"),
        (lambda: Distribution([0.0, 1e39]), "element 1 is inf"),
        (lambda: Distribution(["a"]), "numbers"),
        (lambda: Distribution(None), "numbers|shape|nan"),
        (lambda: Distribution.from_probs([0.5, 0.6]), "sum 1.1"),
        (lambda: Distribution.from_probs([1.5, -0.5]), "non-negative"),
        (lambda: Distribution.from_probs([NAN, 1.0]), "sum nan"),
        (lambda: Distribution.from_probs([]), r"\(0,\)"),
        (lambda: Distribution.from_probs([[1.0]]), r"\(1, 1\)"),
        (lambda: Distribution.from_probs(["a"]), "numbers"),
        (lambda: d(0.5, 0.5)[2], "token id 2 is outside the vocabulary of 2"),
        (lambda: d(0.5, 0.5)[-1], "token id -1"),
        (lambda: d(0.5, 0.5).top(0), "k >= 1, not 0"),
        (lambda: d(0.5, 0.5).js(d(0.2, 0.3, 0.5)), "2 and 3 tokens"),
        (lambda: d(0.5, 0.5).kl(d(1.0)), "2 and 1 tokens"),
        (lambda: d(0.5, 0.5).entropy(0), "temperature"),
        (lambda: d(0.5, 0.5).sample(np.random.default_rng(0), -1), "temperature"),
        (lambda: d(0.5, 0.5).to_mixture(n=0), "n = 0"),
        (lambda: d(0.5, 0.5).to_mixture(mass=2), "mass"),
        (lambda: average([], []), "0 distributions"),
        (lambda: average([d(0.5, 0.5)], [1, 2]), "1 distributions"),
        (lambda: average([d(0.5, 0.5)], [0]), r"weights \[0"),
        (lambda: average([d(0.5, 0.5)], [-1]), r"weights \[-1"),
        (lambda: average([d(0.5, 0.5)], [NAN]), r"weights \[nan"),
        (lambda: average([d(0.5, 0.5), d(0.2, 0.3, 0.5)], [0.5, 0.5]), "2 and 3 tokens|cannot be averaged"),
    ],
)
def test_what_is_no_distribution(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SoftLlamaError, match=message):
        make()


def test_a_token_by_its_text() -> None:
    texts = [" Paris", "Paris", " the", " Paris", "x"]
    d = Distribution([0.0, 1.0, 2.0, 3.0, -np.inf], texts.__getitem__)
    assert d[" Paris"] == d[3]  # the likelier of two with the same text
    assert d["Paris"].id == 1
    assert d["x"].p == 0
    with pytest.raises(SoftLlamaError, match="no single token reads 'the'") as e:
        d["the"]
    assert "did you mean ' the'?" in e.value.hint
    with pytest.raises(SoftLlamaError, match="no single token reads ' London'") as e:
        d[" London"]
    assert "model.tokenize" in e.value.hint
    with pytest.raises(SoftLlamaError, match="no vocabulary is known"):
        Distribution([0.0, 1.0])["a"]
