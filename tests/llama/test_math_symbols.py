"""The tokens that SwiReasoning and SeLaR never mix."""

from __future__ import annotations

import softllama as sl
from softllama.errors import PromptError
from softllama.llama import math_symbols


def test_every_token_of_a_text_counts() -> None:
    def letters(text: str) -> list[int]:
        if "(" in text:
            raise PromptError("no parentheses here")
        return [ord(c) for c in text]

    ids = math_symbols.ids_of(letters)
    assert {chr(i) for i in ids} >= set("0123456789+-*/^=<>\\frac")
    assert ord("(") not in ids
    assert not {ord(c) for c in " .,:;?!\n\"'é"} & ids


def test_the_ids_of_a_vocabulary(model: sl.Model) -> None:
    ids = model.tokenizer.math_ids
    assert {model.spell(i) for i in ids} >= set("0123456789=+x")
    assert not any(model.spell(i).startswith(" ") for i in ids)
    assert ids is model.tokenizer.math_ids
