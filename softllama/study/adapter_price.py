"""What an adapter costs: perplexity on ordinary text, multiple choice, processor time. Knows models and numbers, no report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softllama.api import Model
from softllama.base import system
from softllama.show.progress import Tick
from softllama.study import adapter_cases, sizes
from softllama.study.adapter_models import Models

READ = 32  # tokens that are read at once
ROUNDS, TOKENS = 7, 24  # of the measurement of speed, and tokens of each


@dataclass(frozen=True)
class TextResult:
    """One text, token by token.

    Attributes:
        before, after: -ln p of each token in nats, without and with the adapter.
        kl: KL(without ‖ with) at each place.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    kl: tuple[float, ...]


@dataclass(frozen=True)
class ChoiceResult:
    """One multiple-choice question: was the likeliest answer the right one?"""

    question: str
    before: bool
    after: bool


def text(models: Models, ids: Sequence[int]) -> TextResult:
    """Read a text, an id at a time, without and with the adapter. The first id is given."""
    contexts = [m.new_context(len(ids), n_batch=READ, n_outputs=READ) for m in (models.plain, models.adapted)]
    before: list[float] = []
    after: list[float] = []
    kl: list[float] = []
    try:
        for start in range(0, len(ids) - 1, READ):
            part = range(start, min(start + READ, len(ids) - 1))
            want = np.ones(len(part), dtype=np.bool_)
            plain, adapted = (
                m.distributions(c.decode([0] * len(part), part, want, tokens=[ids[t] for t in part]))
                for m, c in zip((models.plain, models.adapted), contexts, strict=True)
            )
            for t, p, q in zip(part, plain, adapted, strict=True):
                before.append(-p.logp(ids[t + 1]))
                after.append(-q.logp(ids[t + 1]))
                kl.append(p.kl(q))
    finally:
        for c in contexts:
            c.close()
    return TextResult(tuple(before), tuple(after), tuple(kl))


def texts(models: Models, every: Sequence[Sequence[int]], tick: Tick | None = None) -> list[TextResult]:
    """Read several texts. tick: called with "ordinary text", how many are done, and how many there are."""
    out = []
    for n, ids in enumerate(every):
        if len(ids) > 1:
            out.append(text(models, ids))
        if tick is not None:
            tick("ordinary text", n + 1, len(every))
    return out


def choices(models: Models, seed: int, limit: int | None = None, tick: Tick | None = None) -> list[ChoiceResult]:
    """Multiple choice by ln p of the answers. limit: the first questions only, of all kinds."""
    out = []
    asked = sizes.spread(adapter_cases.choices(seed), limit)
    for n, c in enumerate(asked):
        out.append(ChoiceResult(c.question, _right(models.plain, c), _right(models.adapted, c)))
        if tick is not None:
            tick("multiple choice", n + 1, len(asked))
    return out


def _right(model: Model, c: adapter_cases.Choice) -> bool:
    scores = model.score_pairs([(c.question, f" {a}") for a in c.answers])
    return int(np.argmax([s.logprob for s in scores])) == 0


def seconds(models: Models) -> list[tuple[float, float]]:
    """Processor time of the same greedy generation without and with the adapter, in turn, ROUNDS times. Does not repeat."""
    out = []
    for _ in range(ROUNDS):
        before, after = (_seconds(m) for m in (models.plain, models.adapted))
        out.append((before, after))
    return out


def _seconds(model: Model) -> float:
    ids = [i % model.n_vocab for i in (1, 2, 3, 4)]
    n = max(1, min(TOKENS, model.n_ctx - len(ids) - 1))
    with model.session(len(ids) + n) as s:
        d = s.feed(ids)
        start, _ = system.work()
        for _ in range(n):
            d = s.feed([d.argmax])
        return (system.work()[0] - start) / n  # of all threads; other processes on the machine do not count


def perplexity(surprises: Sequence[float]) -> float:
    """exp of the mean of -ln p."""
    return math.exp(float(np.mean(surprises))) if surprises else math.nan
