"""Prompts with places: the text form, which mixture goes where, and what a session is fed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import softllama as sl
from softllama.errors import PromptError
from softllama.prompts import encoded, words
from softllama.prompts.slots import PromptTemplate, assign, parse
from softllama.vectors import mix_text

Load = Callable[..., sl.Model]


@pytest.mark.parametrize(
    ("text", "texts", "places"),
    [
        ("The {} says", ("The ", " says"), ("",)),
        ("{}", ("", ""), ("",)),
        ("{ }", ("", ""), ("",)),
        ("{}{}", ("", "", ""), ("", "")),
        ("The {a} sees the {b} and", ("The ", " sees the ", " and"), ("a", "b")),
        ("{a}{}{a}", ("", "", "", ""), ("a", "", "a")),
        ("{ a }", ("", ""), ("a",)),
        ("{_x9}", ("", ""), ("_x9",)),
        ("a {{b}} c", ("a {b} c",), ()),
        ("{{}}", ("{}",), ()),
        ("{{{}}}", ("{", "}"), ("",)),
        ("{{{{", ("{{",), ()),
        ("no place", ("no place",), ()),
        ("", ("",), ()),
        ("line\n{}\tend", ("line\n", "\tend"), ("",)),
        ("犬 {} é", ("犬 ", " é"), ("",)),
    ],
)
def test_parse(text: str, texts: tuple[str, ...], places: tuple[str, ...]) -> None:
    assert parse(text) == PromptTemplate(texts, places)


def test_filled() -> None:
    assert parse("The {a} sees {}. {{x}}").filled(["dog", "it"]) == "The dog sees it. {x}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a { b", "lone '{' at character 3"),
        ("a } b", "lone '}' at character 3"),
        ("}", "lone '}' at character 1"),
        ("{{}", "lone '}' at character 3"),
        ("{a b}", "'{a b}' in the prompt is not a slot"),
        ("{1}", "'{1}' in the prompt is not a slot"),
        ("{a:0.5}", "not a slot"),
        ("{é}", "not a slot"),
        ("{{a}", "lone '}'"),
    ],
)
def test_bad_braces(text: str, message: str) -> None:
    with pytest.raises(PromptError) as e:
        parse(text)
    assert message in str(e.value)
    assert "{}" in e.value.hint


@pytest.mark.parametrize(
    ("text", "names", "which"),
    [
        ("{}", [""], [0]),
        ("{} and {}", [""], [0, 0]),
        ("{} and {}", ["", ""], [0, 1]),
        ("{a} {b}", ["a", "b"], [0, 1]),
        ("{a} {b}", ["b", "a"], [1, 0]),
        ("{a} {b} {a}", ["a", "b"], [0, 1, 0]),
        ("{} {a}", ["a", ""], [1, 0]),
        ("{a} {} {} {a}", ["", "a", ""], [1, 0, 2, 1]),
    ],
)
def test_assign(text: str, names: list[str], which: list[int]) -> None:
    assert assign(parse(text), names) == which


@pytest.mark.parametrize(
    ("text", "names", "message", "hint"),
    [
        ("none", [""], "no slot for the mixture", "{}"),
        ("{}", ["a"], "no slot {a} for the mixture 'a'", "its slots are {}"),
        ("{a}", [""], "no {} for the mixture without a name", "--mix a="),
        ("{a} {b}", ["a"], "no mixture for the slot {b}", "--mix b="),
        ("{a} {}", ["a"], "no mixture for the slot {}", "--mix"),
        ("{a}", ["a", "a"], "two mixtures are called 'a'", "own name"),
        ("{}", ["", ""], "2 mixtures without a name and 1 {}", "names"),
        ("{} {} {}", ["", ""], "2 mixtures without a name and 3 {}", "names"),
    ],
)
def test_what_does_not_fit(text: str, names: list[str], message: str, hint: str) -> None:
    with pytest.raises(PromptError) as e:
        assign(parse(text), names)
    assert message in str(e.value)
    assert hint in e.value.hint


# ---- with a vocabulary: a bare word is the token that its place would give it


def spell(model: sl.Model, text: str, word: str) -> list[str]:
    """Pieces of the prompt with the mixture's token in its place."""
    prompt = parse(text)
    e = encoded.encode(prompt, model.tokenizer)
    out = []
    for t in e.items:
        if t >= 0:
            out.append(model.spell(t))
        else:
            m = words.resolve(mix_text.parse(word), model.tokenizer, space=e.spaces[~t], lead=e.leads[~t]).mixture
            out.append("*" + model.spell(m.argmax))
    return out


TOKENIZERS = ("bpe", "spm", "spm-noprefix", "spm-nobytes")
TEXTS = ("The {} says", "The {}", "{} says", "the {} sees the ball", "dog and{}says", "The  {} says")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_prompt_with_a_word_is_tokenized_as_that_text(load: Load, tokenizer: str, text: str) -> None:
    """What the mixture's place gives "dog" is what the tokenizer gives the whole text, wherever both can agree."""
    model = load("llama", tokenizer=tokenizer)
    prompt = parse(text)
    e = encoded.encode(prompt, model.tokenizer)
    place = e.items[e.first_slot]
    dog = words.resolve(
        mix_text.parse("dog"),
        model.tokenizer,
        space=e.spaces[~place],
        lead=e.leads[~place],
    ).mixture
    fed = [m.argmax if isinstance(m, sl.Mixture) else m for m in encoded.items_with(e, [dog])]
    assert fed == model.tokenize(prompt.filled(["dog"]), bos=True)


def test_the_space_before_a_place_belongs_to_the_word(load: Load) -> None:
    model = load("llama")
    assert spell(model, "The {} says", "dog") == ["<|bos|>", "The", "* dog", " says"]
    assert spell(model, "the{}", "dog") == ["<|bos|>", "the", "*dog"]
    assert spell(model, "{} says", "dog") == ["<|bos|>", "*dog", " says"]
    assert spell(model, "The  {}", "dog") == ["<|bos|>", "The", " ", "* dog"]


def test_bos_comes_once(load: Load) -> None:
    model = load("llama")
    for text in ("The {}", "<|bos|>The {}"):
        e = encoded.encode(parse(text), model.tokenizer)
        assert [model.spell(t) for t in e.items if t >= 0].count("<|bos|>") == 1
    e = encoded.encode(parse("The {}"), model.tokenizer, bos=False)
    assert model.spell(e.items[0]) == "The"


def test_a_quoted_word_is_the_text_itself(load: Load) -> None:
    model = load("llama")
    assert model.mix('" dog"') == model.mix("dog")
    assert model.mix("dog") != model.mix("dog", space=False)
    assert model.mix('"dog"', space=False) == model.mix("dog", space=False)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    "text", ["The dog says", " the  cat", "and ", "a", "   ", "The cat says the ball and the bone"]
)
def test_tokens_spell_the_text(load: Load, tokenizer: str, text: str) -> None:
    model = load("llama", tokenizer=tokenizer)
    back = model.detokenize(model.tokenize(text))
    prefix = " " if tokenizer in ("spm", "spm-nobytes") else ""
    assert back == prefix + text


@pytest.mark.parametrize("tokenizer", ["bpe", "spm", "spm-noprefix"])
@pytest.mark.parametrize("text", ["犬 é ☃ \U0001f415", "tab\tnew\nline", "\x00\x01", "~`", "\u00a0", "a\r\nb"])
def test_any_text_is_bytes(load: Load, tokenizer: str, text: str) -> None:
    model = load("llama", tokenizer=tokenizer)
    back = model.detokenize(model.tokenize(text))
    assert back.removeprefix(" " if tokenizer == "spm" else "") == text


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_text_that_goes_on_has_no_space_of_its_own(load: Load, tokenizer: str) -> None:
    model = load("llama", tokenizer=tokenizer)
    for text in ("dog", " dog", "  dog", "the cat"):
        ids = model.tokenizer.tokenize(text, lead=False)
        assert model.detokenize(ids) == text


def test_special_tokens_are_read_or_spelt(load: Load) -> None:
    model = load("llama")
    (im_start,) = model.tokenize("<|im_start|>")
    assert model.spell(im_start) == "<|im_start|>"
    assert len(model.tokenize("<|im_start|>", special=False)) > 1
    assert model.detokenize(model.tokenize("<|im_start|>", special=False)) == "<|im_start|>"
    assert model.is_eog(model.tokenize("<|im_end|>")[0])
