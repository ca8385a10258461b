"""Long texts are read from where they differ from the last ones: the tokens are those of llama.cpp for the whole text."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable

import pytest

import softllama as sl
from softllama.generation.feed import PIECE, shared
from softllama.llama import beginnings
from softllama.llama.beginnings import Beginnings
from softllama.llama.tokenizer import Tokenizer

PARTS = (
    *("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<|bos|>", "<|im", "_start|>", "|>", "<|", "s|>", "_end|>"),
    *("dog", " cat", "\n", "\n\n", "x", "y", " ", "  ", "é", "犬", "The ball", ".", "assistant\n", "<", ">", "|"),
)


@pytest.mark.parametrize(
    "vocabulary", ["bpe", "bpe-overlap", "spm", "spm-noprefix", "spm-nobytes", "bpe-partial", "ugm"]
)
def test_tokens_are_those_of_the_whole_text(
    load: Callable[..., sl.Model], vocabulary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginnings, "SHORTEST", 1)
    tokenizer = load("llama", tokenizer=vocabulary).tokenizer
    rng, text, read_again = random.Random(vocabulary), "", 0
    for _ in range(1500):
        kept = text[: rng.choice((rng.randrange(len(text) + 1), len(text), len(text)))] if len(text) < 400 else ""
        text = kept + "".join(rng.choices(PARTS, k=rng.randrange(1, 12)))
        if vocabulary in ("bpe-partial", "spm-nobytes", "ugm"):
            text = "".join(c for c in text if c in "dogcatTheballxy .<>|_/")
        try:
            ids = tokenizer.tokenize(text)
        except sl.PromptError:
            continue
        assert ids == tokenizer._call(text.encode(), True) if text else not ids
        read_again += tokenizer._beginnings.find(text.encode()).n > 0
    if vocabulary in ("bpe", "bpe-overlap", "spm-noprefix"):
        assert read_again > 500


def test_a_short_text_is_not_kept(load: Callable[..., sl.Model]) -> None:
    tokenizer = load("llama").tokenizer
    tokenizer.tokenize("<|im_start|>dog<|im_end|>" * 5)
    assert len(tokenizer._beginnings) == 0
    long = "<|im_start|>dog<|im_end|>" * 1000
    for more in ("", "The cat says"):
        assert tokenizer.tokenize(long + more) == tokenizer._call((long + more).encode(), True)
    assert len(tokenizer._beginnings) == 2


def test_a_tokenizer_that_kept_texts_goes_with_its_last_reference(load: Callable[..., sl.Model]) -> None:
    """What refers to itself would keep a model's weights until the garbage collector comes."""
    tokenizer = Tokenizer(load("llama")._weights)
    tokenizer.tokenize("<|im_start|>dog<|im_end|>" * 1000)
    tokenizer.control_tokens_in("<|im_end|>")
    gone = weakref.ref(tokenizer)
    gc.disable()
    try:
        del tokenizer
        assert gone() is None
    finally:
        gc.enable()


def test_what_is_left_begins_with_a_special_token() -> None:
    known = Beginnings(lambda i: i == 0, 3)
    text = b"<s>" + b"dog" * 9 + b"<s>" + b"cat" * 9
    ids = [0, *[1] * 9, 0, *[2] * 9]
    known.keep(text, known.find(text), ids, [(b"<s>", b"dog", b"cat")[i] for i in ids])
    begun = known.find(text + b"more")
    assert (begun.ids, begun.n) == (ids[:10], 30)
    assert known.find(text[:33]).n == 0  # what parts the texts could belong to a longer token
    assert known.find(b"another").n == 0
    known.keep(b"other", known.find(b"other"), [1], [b"not it"])
    assert len(known) == 1


@pytest.mark.parametrize("n", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_the_shared_beginning_of_two_sequences(n: int) -> None:
    m = sl.Mixture([1, 2], [0.5, 0.5])
    both: list[int | sl.Mixture | None] = [*range(n)]
    assert shared(both, tuple(both)) == n
    assert shared([*both, m, 5], [*both, sl.Mixture([1, 2], [0.5, 0.5]), 6]) == n + 1
    assert shared([*both, None, 5], [*both, None, 5]) == n
    assert shared(both, [*both, 3]) == n
