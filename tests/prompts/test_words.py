"""Words of several tokens: what all of them begin with is fed once, and what cannot be mixed is an error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama.chat.messages import Mix
from softllama.errors import MixtureError
from softllama.prompts import build, slots, words

Load = Callable[..., sl.Model]
DIGITS = ("3", "7")  # " 3" is a space and a digit in the small vocabulary, as in those of Qwen and SmolLM


@pytest.fixture
def model(load: Load) -> sl.Model:
    return load("llama")


def items(model: sl.Model, prompt: str, mix: str) -> tuple[build.Item, ...]:
    return build.filled(slots.parse(prompt), [0], words.read_mixes(mix), model.tokenizer)


@pytest.mark.parametrize("prompt", ["The {} says", "The dog {}", "a{} b"])
@pytest.mark.parametrize("pair", [DIGITS, ("dogx", "dogz"), ("dog", "cat")])
def test_each_word_alone_is_the_prompt_with_the_word(model: sl.Model, prompt: str, pair: tuple[str, str]) -> None:
    r = model.probe(prompt, ",".join(pair))
    for word in pair:
        with model.session() as s:
            want = s.feed(model.tokenize(prompt.replace("{}", word), bos=True))
        np.testing.assert_allclose(r.baselines[word].logits, want.logits, atol=2e-5)


def test_the_shared_beginning_is_fed_once_before_the_mixture(model: sl.Model) -> None:
    (three, seven), space = (model.tokenize(x)[0] for x in DIGITS), model.tokenize(" ")
    assert model.tokenize(" 3") == [*space, three]
    want = [*model.tokenize("The", bos=True), *space, sl.Mixture([three, seven], [0.5, 0.5]), *model.tokenize(" says")]
    assert list(items(model, "The {} says", "3,7")) == want
    assert model.probe("The {} says", "3,7").tokens[-3:] == [" ", "{}", " says"]
    trace = model.generate("The {} says", mix="3,7", max_tokens=1)
    assert list(trace.prompt) == want
    assert "[0.5 3 + 0.5 7]" in trace.prompt_text


def test_a_mixture_alone_has_no_place_for_it(model: sl.Model) -> None:
    with pytest.raises(MixtureError, match="begin with the same 1 token") as e:
        model.mix("3,7")
    assert "fill a slot" in e.value.hint
    assert model.mix("3,7", space=False).ids.tolist() == sorted(model.tokenize(x)[0] for x in DIGITS)


@pytest.mark.parametrize(
    ("mix", "split", "message"),
    [
        ("dogx,catx", "last", "--split last makes 'dogx' and 'catx' the same: 'x'"),
        ("dogx,dogz", "first", "--split first makes 'dogx' and 'dogz' the same: ' dog'"),
        ("3,7", "first", "--split first makes '3' and '7' the same: ' '"),
        ("dog,dogz", "first", "--split first makes 'dog' and 'dogz' the same"),
        ("dogx,catx", None, "'dogx' is 2 tokens here"),
        ("dogxx,dogz", None, "'dogxx' is 3 tokens here"),
        ("dog,dogz", None, "'dogz' is 2 tokens here"),
        ("dogx", None, "'dogx' is 2 tokens here"),
    ],
)
def test_what_cannot_be_mixed(model: sl.Model, mix: str, split: str | None, message: str) -> None:
    with pytest.raises(MixtureError, match=message) as e:
        model.probe("The {} says", mix, split=split)
    assert "--split" in e.value.hint


def test_the_weights_of_a_word_that_is_there_twice_are_added(model: sl.Model) -> None:
    r = model.probe("The {} says", "dog:0.25,cat:0.5,dog:0.25")
    assert r.weights == {"dog": 0.5, "cat": 0.5}
    assert r.mixtures[0].mixture == model.mix("dog:0.5,cat:0.5")
    assert r.title == "The [0.5 dog + 0.5 cat] says"
    assert list(model.probe("The {} says", "dogx:0.5,dogx:0.5", split="first").baselines) == ["dogx"]


@pytest.mark.parametrize("mix", ["dog;cat", "dog|cat", "dog / cat"])
def test_signs_that_divide_no_words_are_named(model: sl.Model, mix: str) -> None:
    with pytest.raises(MixtureError) as e:
        model.probe("The {} says", mix)
    assert e.value.hint.startswith('a comma goes between words: "dog,cat"')


def test_in_a_chat(load: Load) -> None:
    from tests.support.tiny import CHAT_TEMPLATE

    model = load("llama", chat_template=CHAT_TEMPLATE)
    c = sl.Conversation(model, seed=1, max_tokens=2)
    c.define("n", Mix("3,7"))
    trace = c.reply("What is 2 + {n}?")
    assert any(isinstance(i, sl.Mixture) and len(i) == 2 for i in trace.prompt)


def test_a_mixture_by_words(model: sl.Model) -> None:
    weights = {"dog": 0.25, "cat": 0.75}
    text = "dog:0.25,cat:0.75"
    assert model.mix(weights) == model.mix(text)
    assert repr(model.mix(weights)) == "Mixture(2 tokens; ' cat': 0.75, ' dog': 0.25)"
    want = model.probe("The {} says", text).next.logits
    for mix in (weights, [weights], [text]):
        assert np.array_equal(model.probe("The {} says", mix).next.logits, want)
    assert np.array_equal(model.probe("The {x} says", {"x": weights}).next.logits, want)
    assert (
        model.generate("The {} says", mix=weights, max_tokens=2).prompt
        == model.generate("The {} says", mix=text, max_tokens=2).prompt
    )
