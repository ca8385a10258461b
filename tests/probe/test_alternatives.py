"""Words as whole alternatives: the average of the outputs after the prompt with each word, whatever its length."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from numpy.typing import NDArray

import softllama as sl
from softllama.chat.messages import Mix
from softllama.errors import MixtureError
from tests.conftest import Cli

WHOLE = "alternatives"
UNEQUAL = {"dog": 0.2, "doghouse": 0.5, "catx": 0.3}


def after(model: sl.Model, text: str) -> NDArray[np.float64]:
    """The probabilities after a text, (n_vocab,), fed by a session."""
    with model.session() as s:
        return s.feed(model.tokenize(text, bos=True)).probs.astype(np.float64)


def written(weights: dict[str, float]) -> str:
    return ",".join(f"{word}:{w}" for word, w in weights.items())


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("prompt", ["The {} says", "The dog {}", "{} is", "a {} and a {}"])
def test_it_is_the_average_of_the_outputs(model: sl.Model, prompt: str) -> None:
    """sum_i w_i p(next | prompt with word i)"""
    lengths = {len(model.tokenize(f" {word}")) for word in UNEQUAL}
    assert len(lengths) > 1
    r = model.probe(prompt, UNEQUAL, split=WHOLE)
    want = sum(w * after(model, prompt.replace("{}", word)) for word, w in UNEQUAL.items())
    np.testing.assert_allclose(r.next.probs, want, atol=1e-6)
    for word in UNEQUAL:
        np.testing.assert_allclose(r.baselines[word].probs, after(model, prompt.replace("{}", word)), atol=1e-6)


@pytest.mark.usefixtures("exact")
def test_a_sweep_moves_the_weights(model: sl.Model) -> None:
    """At α: (1 - α) p_1 + α (the others in their proportion)."""
    r = model.probe("The {} says", UNEQUAL, split=WHOLE, sweep=5)
    assert r.sweep is not None
    p = {word: after(model, f"The {word} says") for word in UNEQUAL}
    for a, d in zip(r.sweep.alphas, r.sweep.distributions, strict=True):
        want = (1 - a) * p["dog"] + a * (0.5 * p["doghouse"] + 0.3 * p["catx"]) / 0.8
        np.testing.assert_allclose(d.probs, want, atol=1e-6)
    assert r.sweep.emergent == []


@pytest.mark.usefixtures("exact")
def test_two_mixtures_have_products_of_weights(model: sl.Model) -> None:
    mixes = {"a": {"dog": 0.25, "doghouse": 0.75}, "b": {"catx": 0.4, "hen": 0.6}}
    r = model.probe("The {a} sees the {b}", {k: written(m) for k, m in mixes.items()}, split=WHOLE)
    pairs = itertools.product(mixes["a"].items(), mixes["b"].items())
    want = sum(v * w * after(model, f"The {x} sees the {y}") for (x, v), (y, w) in pairs)
    np.testing.assert_allclose(r.next.probs, want, atol=1e-6)


def test_for_words_of_one_token_it_is_what_a_probe_calls_the_average(model: sl.Model) -> None:
    mixed = model.probe("The {} says", "dog:0.25,cat:0.75")
    whole = model.probe("The {} says", "dog:0.25,cat:0.75", split=WHOLE)
    assert mixed.average is not None
    np.testing.assert_allclose(whole.next.probs, mixed.average.probs, atol=1e-7)
    assert np.abs(whole.next.probs - mixed.next.probs).max() > 1e-4  # the mixture is something else


def test_it_is_said_that_no_mixture_is_fed(model: sl.Model) -> None:
    r = model.probe("The {} says", UNEQUAL, split=WHOLE, continue_tokens=2, repeats=2)
    assert r.title == "The [0.2 dog | 0.5 doghouse | 0.3 catx] says"
    assert [name for name, _, _ in r.rows()] == ["average", *UNEQUAL]
    assert "No mixture was fed" in r.table()
    assert "emergent" not in r.table()
    assert list(r.continuations) == list(UNEQUAL)  # an average of outputs has no tokens to go on with
    data = json.loads(r.json())
    assert data["alternatives"] is True
    assert data["average"] is None
    words = [c["word"] for c in data["mixtures"][0]["components"]]
    assert words == [model.tokenize(f" {word}") for word in UNEQUAL]
    assert not model.probe("The {} says", "dog,cat").to_dict()["alternatives"]


def test_a_prompt_is_found_for_them(model: sl.Model) -> None:
    r = model.probe(mix="dog,doghouse", split=WHOLE)
    assert len(r.frames) > 1
    assert r.frames[r.prompt] == max(r.frames.values())


def test_ids_and_vectors_are_words_of_one_token(model: sl.Model) -> None:
    m = model.mix("dog:0.5,cat:0.5")
    r, text = model.probe("The {} says", m, split=WHOLE), model.probe("The {} says", "dog,cat", split=WHOLE)
    np.testing.assert_allclose(r.next.probs, text.next.probs, atol=1e-7)


def test_where_one_vector_is_needed_it_is_refused(model: sl.Model, cli: Cli) -> None:
    def refused(message: str = "only a probe does") -> pytest.RaisesExc[MixtureError]:
        return pytest.raises(MixtureError, match=message)

    with refused():
        model.generate("The {} says", mix="dog,doghouse", split=WHOLE)
    with refused():
        model.mix("dog,doghouse", split=WHOLE)
    with refused():
        Mix("dog,doghouse", split=WHOLE).resolve(model)
    with refused("no average has signed weights"):
        model.probe("The {} says", "dog:2,cat:-1", signed=True, split=WHOLE)
    code, out, err = cli("run", "The {} says", "-m", "no-such-model", "--mix", "dog,doghouse", "--split", WHOLE)
    assert (code > 0, out) == (True, "")
    assert "softllama probe --split alternatives" in err


def test_the_hint_for_a_long_word_names_it(model: sl.Model) -> None:
    with pytest.raises(MixtureError) as e:
        model.probe("The {} says", "dog,doghouse")
    assert "--split alternatives" in e.value.hint


def test_in_a_notebook(model: sl.Model) -> None:
    html = model.probe("The {} says", "dog,doghouse", split=WHOLE)._repr_html_()
    assert "JS to average" in html
    assert "0.5 dog | 0.5 doghouse" in html
