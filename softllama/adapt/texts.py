"""Where texts come from, and all cases of a run. Knows a loaded model for its tokenizer and its chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from softllama.adapt import frames, openings
from softllama.adapt.network import Network
from softllama.adapt.pool import (
    Pool,
    frame_templates,
    held_out_words,
    text_templates,
    two_templates,
    without,
    write_texts,
)
from softllama.adapt.settings import Settings
from softllama.adapt.substitutes import word_templates
from softllama.api import Model
from softllama.errors import SoftLlamaError, UsageError

PLACES = 8  # in a text that cases come from
HELD_OUT = 8  # one in so many texts is held out
MEASURED_TEXTS = 12  # held-out texts on which the price is measured

T = TypeVar("T")
Tick = Callable[[str, int, int], None]  # what is being done, how much is done, how much there is


def make_pool(model: Model, net: Network, settings: Settings, text: str | None, tick: Tick) -> Pool:
    """Ordinary texts, and templates of cases: for training and held out."""
    import torch

    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)

    def encode(s: str) -> list[int]:
        return model.tokenize(s) if s else []

    begin = model.tokenize("", bos=True)
    tick("texts", 0, settings.texts)
    if text is None:
        texts = write_texts(net, _starts(model, encode, begin), settings.texts, settings.text_length, settings.seed)
    else:
        texts = _cut([*begin, *encode(text)], settings)
    tick("texts", settings.texts, settings.texts)
    n = max(1, len(texts) // HELD_OUT)
    pool = Pool(pure=texts[n:], held_out_pure=texts[:n])
    banned = held_out_words(encode)
    found = _counted(frame_templates(net, encode, begin, rng), "frames", sum(map(len, frames.FRAMES.values())), tick)
    for held_out, template in found:
        (pool.held_out if held_out else pool.train).append(template)
    pool.train += two_templates(net, encode, begin, rng)
    places = text_templates(net, pool.pure, PLACES, rng)
    pool.train += _counted(places, "places in texts", PLACES * len(pool.pure), tick)
    pool.train += word_templates(encode, pool.pure, PLACES, rng)
    pool.train = [t for x in pool.train if (t := without(x, banned)) is not None]
    pool.held_out += text_templates(net, pool.held_out_pure, 2, rng)
    pool.held_out_pure = pool.held_out_pure[:MEASURED_TEXTS]
    return pool


def _starts(model: Model, encode: Callable[[str], list[int]], begin: Sequence[int]) -> list[list[int]]:
    """How texts begin: openings, and answers to questions where the model has a chat template that takes them."""
    starts = [[*begin, *encode(s)] for s in openings.OPENINGS]
    if not model.template_source:
        return starts
    for question in openings.QUESTIONS:
        with suppress(SoftLlamaError):  # a template may want something else; ordinary texts do
            starts.append(encode(model.chat_template.render([{"role": "user", "content": question}])))
    return starts


def _cut(ids: Sequence[int], settings: Settings) -> list[list[int]]:
    """A text in pieces."""
    n = settings.text_length
    pieces = [list(ids[i : i + n]) for i in range(0, len(ids) - n + 1, n)]
    if len(pieces) < 2:
        raise UsageError(f"the text has {len(ids)} tokens", f"use one of {2 * n} or more")
    np.random.default_rng(settings.seed).shuffle(pieces)
    return pieces[: settings.texts]


def _counted(found: Iterator[T], what: str, total: int, tick: Tick) -> Iterator[T]:
    for i, x in enumerate(found):
        tick(what, min(i, total), total)
        yield x
    tick(what, total, total)
