"""Words, frames and prompts that the studies use. Knows texts; which of them are single tokens is asked of the model.

Two sets: one for the world of the bundled `words`, in which every fact is known, and ordinary English for any other model.
A user's own cases are JSON lines: {"prompt": "The {} says", "a": "dog", "b": "cat", "kind": "pairs"}.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments
from softllama.errors import MixtureError, SoftLlamaError, UsageError
from softllama.prompts import slots as prompts
from softllama.prompts import words as vocab
from softllama.prompts.words import Encoded
from softllama.vectors import mixture as mx

if TYPE_CHECKING:
    from softllama.api import Model

PAIRS, SYNONYMS, RANDOM, NOISE = "two words", "near-synonyms", "random tokens", "word and noise"
KINDS = (PAIRS, SYNONYMS, RANDOM, NOISE)
ANIMALS = tuple(
    re.findall(
        r"\w+",
        """dog cat mouse cow horse pig sheep goat hen duck frog bee crow lion wolf bear snake monkey cricket whale fox
    parrot seal tiger camel penguin donkey rabbit""",
    )
)
ANIMAL_FRAMES = ("The {} says", "The {} eats", "The {} lives in the")
ANIMAL_SAME = {  # pairs of which the frame says the same: the nearest that this world has to synonyms
    "The {} lives in the": ("dog cat", "cow pig", "horse donkey", "mouse rabbit", "duck frog", "wolf fox", "monkey parrot",
                            "whale seal", "snake camel", "tiger monkey"),
    "The {} eats": ("lion wolf", "cow sheep", "horse donkey", "pig crow", "hen parrot", "seal penguin", "bee bear", "cat seal"),
}  # fmt: skip
NOUNS = tuple(
    re.findall(
        r"\w+",
        """dog cat car house tree river king doctor apple book knife bird fish train table baby snake flower phone ship
    piano teacher mountain cake""",
    )
)
NOUN_FRAMES = ("The {} was", "I saw a {} and", "A {} is a kind of", "She was afraid of the {} because")
NOUN_SAME = (
    "car automobile", "kid child", "road street", "shop store", "boat ship", "rock stone", "photo picture", "gift present",
    "doctor physician", "forest woods", "ocean sea", "movie film",
)  # fmt: skip
STORIES = (
    "The dog", "One day, the cat", "The bear lives in", "The animal that", "In the morning, the", "The whale is", "The fox",
    "At night, every", "The animal that eats", "A hen", "This monkey", "The",
)  # fmt: skip
OPENINGS = (
    "The weather today is", "Once upon a time there was", "The most important thing about", "In the city of", "She said that",
    "The reason why", "He opened the door and", "My favourite animal is", "It is often said that", "The best way to",
    "In the year", "They went to the",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """Two things that may stand in a frame. a, b: token ids, or a vector (n_embd,) in the table's scale for noise."""

    kind: str
    frame: str
    label_a: str
    label_b: str
    a: int
    b: int | NDArray[np.float32]


def is_words(model: Model) -> bool:
    """Is this one of the bundled models of the small world?"""
    return model.name.lower().startswith("words")


def encode(model: Model, frame: str) -> Encoded:
    """A frame with one place. Raises UsageError for another number."""
    parsed = prompts.parse(arguments.check_text(frame))
    if len(parsed.slots) != 1:
        raise UsageError(f"{frame!r} has {len(parsed.slots)} slots", "a frame has one: The {} says")
    return vocab.encode(parsed, model.tokenizer)


def token(model: Model, encoded: Encoded, word: str) -> int | None:
    """The one token that a word is in the frame's place; None if it is several."""
    spec = mx.MixSpec((mx.Part(word=word),), (1.0,))
    try:
        return vocab.resolve(spec, model.tokenizer, space=encoded.spaces[0], lead=encoded.leads[0]).mixture.heaviest
    except MixtureError:
        return None


def cases(model: Model, seed: int, pairs: int, controls: int) -> list[Case]:
    """The built-in cases: `pairs` pairs of words in every frame, and `controls` of each control in every frame."""
    rng = np.random.default_rng([seed, 1])
    words, frames = (ANIMALS, ANIMAL_FRAMES) if is_words(model) else (NOUNS, NOUN_FRAMES)
    chosen = [list(combinations(words, 2))[i] for i in rng.permutation(len(words) * (len(words) - 1) // 2)]
    chosen.sort(key=lambda p: p != tuple(words[:2]))  # the first two words are always among them
    out = []
    for frame in frames:
        encoded = encode(model, frame)
        known = [(a, b, token(model, encoded, a), token(model, encoded, b)) for a, b in chosen]
        found = [(a, b, i, j) for a, b, i, j in known if i is not None and j is not None]
        out += [Case(PAIRS, frame, a, b, i, j) for a, b, i, j in found[:pairs]]
        same = ANIMAL_SAME.get(frame, ()) if is_words(model) else NOUN_SAME
        for text in same[:controls]:
            a, b = text.split()
            x, y = token(model, encoded, a), token(model, encoded, b)
            if x is not None and y is not None:
                out.append(Case(SYNONYMS, frame, a, b, x, y))
        out += [_random(model, frame, rng) for _ in range(controls)]
        out += [_noise(model, frame, a, i, rng) for a, _, i, _ in found[:controls]]
    if not any(c.kind == PAIRS for c in out):
        raise SoftLlamaError("none of the built-in words is one token in this model", "give your own with --cases FILE")
    return out


def _random(model: Model, frame: str, rng: np.random.Generator) -> Case:
    def draw() -> int:
        while True:
            i = int(rng.integers(model.n_vocab))
            text = model.tokenizer.piece(i).decode("utf-8", "replace")
            if text.strip() and text.isprintable() and "\ufffd" not in text and not model.is_eog(i):
                return i

    a, b = draw(), draw()
    while a == b:
        b = draw()
    return Case(RANDOM, frame, vocab.label(model.tokenizer, a), vocab.label(model.tokenizer, b), a, b)


def _noise(model: Model, frame: str, word: str, i: int, rng: np.random.Generator) -> Case:
    row = model.embed(mx.Mixture.one_hot(i))
    noise = rng.standard_normal(model.n_embd)
    noise *= np.linalg.norm(row) / np.linalg.norm(noise)
    return Case(NOISE, frame, word, "noise", i, noise.astype(np.float32))


def read_cases(model: Model, path: Path) -> list[Case]:
    """The user's cases. Raises SoftLlamaError with the line."""
    form = '{"prompt": "The {} says", "a": "dog", "b": "cat"} in each line'
    out = []
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise SoftLlamaError(
            f"cannot read {str(path)!r}: {getattr(e, 'strerror', None) or 'not UTF-8'}", form
        ) from None
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            frame, a, b = (record[k] for k in ("prompt", "a", "b"))
            if not all(isinstance(x, str) and x for x in (frame, a, b)):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise SoftLlamaError(f"{path.name}, line {n} is no case", form) from None
        encoded = encode(model, frame)
        ids = [token(model, encoded, w) for w in (a, b)]
        for w, i in zip((a, b), ids, strict=True):
            if i is None:
                raise SoftLlamaError(
                    f"{path.name}, line {n}: {w!r} is not one token in this model", "take another word"
                )
        assert ids[0] is not None
        assert ids[1] is not None
        out.append(Case(str(record.get("kind", PAIRS)), frame, a, b, ids[0], ids[1]))
    if not out:
        raise SoftLlamaError(f"{path.name} has no cases", form)
    return out


def beginnings(model: Model) -> tuple[str, ...]:
    """Prompts to go on from."""
    return STORIES if is_words(model) else OPENINGS
