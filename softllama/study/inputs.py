"""Words, frames and prompts that the studies use. Knows texts; asks the model which of them are single tokens.
Does not know what the studies do with them.

Two sets: one for the world of the bundled `words`, in which every fact is known, and ordinary English for any other model.
A user's own cases are JSON lines: {"prompt": "The {} says", "a": "dog", "b": "cat", "kind": "pairs"}.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import MixtureError, SoftLlamaError, UsageError
from softllama.prompts import encoded as encoding
from softllama.prompts import slots as prompts
from softllama.prompts import words as vocab
from softllama.prompts.encoded import Encoded
from softllama.vectors import mix_text
from softllama.vectors import mixture as mx

logger = logging.getLogger(__name__)

PAIRS, SYNONYMS, RANDOM, NOISE = "two words", "near-synonyms", "random tokens", "word and noise"
KINDS = (PAIRS, SYNONYMS, RANDOM, NOISE)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _items(text: str) -> tuple[str, ...]:
    """The texts between the bars."""
    return tuple(" ".join(item.split()) for item in text.split("|"))


ANIMALS = _words(
    """dog cat mouse cow horse pig sheep goat hen duck frog bee crow lion wolf bear snake monkey cricket whale fox
    parrot seal tiger camel penguin donkey rabbit"""
)
ANIMAL_FRAMES = ("The {} says", "The {} eats", "The {} lives in the")
ANIMAL_SAME = {  # pairs of which the frame says the same: the nearest that this world has to synonyms
    "The {} lives in the": _items(
        """dog cat | cow pig | horse donkey | mouse rabbit | duck frog | wolf fox | monkey parrot | whale seal
        | snake camel | tiger monkey"""
    ),
    "The {} eats": _items(
        """lion wolf | cow sheep | horse donkey | pig crow | hen parrot | seal penguin | bee bear | cat seal"""
    ),
}
GENERAL = {  # frame -> words, of which any two lead to different continuations in models of 0.1 to 0.5 billion parameters
    "The capital of {} is": _words(
        """France Germany Japan Italy Spain Russia China Greece Turkey Sweden Cuba Korea Israel Austria England Portugal
        Kenya Thailand Ireland Argentina Australia Brazil India Canada"""
    ),
    "The opposite of {} is": _words(
        """hot up left black good big fast old true rich strong hard open high long wet north male inside young"""
    ),
    "The {} is used to": _words("knife pen car boat oven camera hammer drum bell bed phone clock"),
    "Animals and their sounds: cow - moo, {} -": _words(
        "dog cat sheep duck bee lion wolf snake horse crow frog bird mouse owl pig"
    ),
    "Things and their colors: grass - green, sky - blue, {} -": _words(
        "snow blood lemon wood ice wine fire silver coal chocolate"
    ),
}
GENERAL_SAME = {  # pairs of which the frame says the same
    "The capital of {} is": _items("England Britain | Holland Netherlands | America USA | Russia Moscow"),
    "The opposite of {} is": _items(
        "big large | fast quick | start begin | hard difficult | rich wealthy | happy glad | smart clever | end finish"
    ),
    "The {} is used to": _items(
        "car automobile | boat ship | photo picture | shop store | bed mattress | phone telephone"
    ),
    "Animals and their sounds: cow - moo, {} -": _items("dog hound | hen chicken | cat kitten | pig hog"),
    "Things and their colors: grass - green, sky - blue, {} -": _items(
        "wood timber | ice snow | fire flame | coal charcoal | silver steel"
    ),
}
STORIES = _items(
    """The dog | One day, the cat | The bear lives in | The animal that | In the morning, the | The whale is | The
    fox | At night, every | The animal that eats | A hen | This monkey | The"""
)
OPENINGS = _items(
    """The weather today is | Once upon a time there was | The most important thing about | In the city of | She
    said that | The reason why | He opened the door and | My favourite animal is | It is often said that | The
    best way to | In the year | They went to the"""
)


@dataclass(frozen=True, eq=False)
class Case:
    """Two things that may stand in a frame.

    Attributes:
        kind: One of KINDS, or the user's own.
        frame: A prompt with one slot: "The {} says".
        label_a, label_b: Names of the two things.
        a: The first thing's token id.
        b: The second's, or for noise a vector (n_embd,) float32 in the table's scale.
    """

    kind: str
    frame: str
    label_a: str
    label_b: str
    a: int
    b: int | NDArray[np.float32]


def is_words(model: Engine) -> bool:
    """Is this one of the bundled models of the small world?"""
    return model.title.lower().startswith("words")


def model_label(model: Engine) -> str:
    """The model as people know it: a bundled model's name, else its file's, with the quantization."""
    return model.name


def encode(model: Engine, frame: str) -> Encoded:
    """A frame with one slot, as ids. Raises UsageError for another number of slots."""
    parsed = prompts.parse(arguments.text("prompt", frame))
    if len(parsed.slots) != 1:
        raise UsageError(f"{frame!r} has {len(parsed.slots)} slots", "a frame has one: The {} says")
    return encoding.encode(parsed, model.tokenizer)


def token(model: Engine, encoded: Encoded, word: str) -> int | None:
    """The one token that a word is in the frame's slot; None if it is several."""
    spec = mix_text.MixSpec((mix_text.Part(word=word),), (1.0,))
    try:
        return vocab.resolve(spec, model.tokenizer, space=encoded.spaces[0], lead=encoded.leads[0]).as_mixture.argmax
    except MixtureError:
        return None


def cases(
    model: Engine,
    seed: int,
    pairs: int,
    controls: int,
    general: Mapping[str, tuple[str, ...]] = GENERAL,
    general_same: Mapping[str, tuple[str, ...]] = GENERAL_SAME,
) -> list[Case]:
    """The built-in cases for a model.

    Args:
        model: The model, which must have the words as single tokens.
        seed: Of the pairs and of the controls.
        pairs: Pairs of words in every frame.
        controls: Of each control, in every frame.
        general, general_same: Frames with their words, and with pairs of which the frame says the same, for any model but those
            of the small world.

    Raises:
        SoftLlamaError: None of the words is one token.
    """
    rng = np.random.default_rng([seed, 1])
    small_world = is_words(model)
    words_of = dict.fromkeys(ANIMAL_FRAMES, ANIMALS) if small_world else general
    same = ANIMAL_SAME if small_world else general_same
    orders: dict[
        tuple[str, ...], list[tuple[str, str]]
    ] = {}  # words -> their pairs: drawn once, as frames may share words
    out = []
    for frame, words in words_of.items():
        if words not in orders:
            orders[words] = _pairs(words, rng)
        encoded = encode(model, frame)
        tokens = [(a, b, token(model, encoded, a), token(model, encoded, b)) for a, b in orders[words]]
        usable = [(a, b, i, j) for a, b, i, j in tokens if i is not None and j is not None]
        out += [Case(PAIRS, frame, a, b, i, j) for a, b, i, j in usable[:pairs]]
        for text in same.get(frame, ())[:controls]:
            a, b = text.split()
            x, y = token(model, encoded, a), token(model, encoded, b)
            if x is not None and y is not None:
                out.append(Case(SYNONYMS, frame, a, b, x, y))
        out += [_random(model, frame, rng) for _ in range(controls)]
        out += [_noise(model, frame, a, i, rng) for a, _, i, _ in usable[:controls]]
    world = "the small world" if small_world else "ordinary English"
    logger.info("%s: %d cases from the words of %s", model.name, len(out), world)
    if not any(c.kind == PAIRS for c in out):
        raise SoftLlamaError("none of the built-in words is one token in this model", "give your own with --cases FILE")
    return out


def _pairs(words: tuple[str, ...], rng: np.random.Generator) -> list[tuple[str, str]]:
    """All pairs, in a random order; that of the first two words comes first."""
    every = list(combinations(words, 2))
    chosen = [every[i] for i in rng.permutation(len(every))]
    return sorted(chosen, key=lambda p: p != tuple(words[:2]))


def _random(model: Engine, frame: str, rng: np.random.Generator) -> Case:
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


def _noise(model: Engine, frame: str, word: str, i: int, rng: np.random.Generator) -> Case:
    row = model.embed(mx.Mixture.one_hot(i))
    noise = rng.standard_normal(model.n_embd)
    noise *= np.linalg.norm(row) / np.linalg.norm(noise)
    return Case(NOISE, frame, word, "noise", i, noise.astype(np.float32))


def read_cases(model: Engine, path: Path) -> list[Case]:
    """The user's cases, from a file of JSON lines. Raises SoftLlamaError, whose message names the line."""
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


def beginnings(model: Engine) -> tuple[str, ...]:
    """Prompts to go on from."""
    return STORIES if is_words(model) else OPENINGS
