"""The text of a diffusion model while its masks are filled: diffusion.py has the formulas, and what they come from.

Knows contexts that see both ways. Does not know how a prompt is made, or what becomes of the text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from softllama.base import arguments
from softllama.engine.engine import Engine, Item
from softllama.errors import UsageError
from softllama.generation.cost import Cost
from softllama.generation.state import TOP, Generation
from softllama.policy import filters
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture, blend

Order = Literal["confidence", "entropy", "margin"]
SoftBy = Literal["confidence", "entropy"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How masks become tokens: see `diffusion`."""

    steps: int = 0
    block: int = 32
    temperature: float = 0.0
    order: Order = "confidence"
    r: float = 0.0
    top_p: float = 0.9
    refine: int = 0
    tau_refine: float = 0.1
    tau_decode: float = 0.0
    soft_by: SoftBy = "confidence"

    def __post_init__(self) -> None:
        arguments.integer("steps", self.steps, 0)
        arguments.integer("block", self.block, 0)
        arguments.integer("refine", self.refine, 0)
        for name, high in (
            ("temperature", 1e6),
            ("r", 1.0),
            ("top_p", 1.0),
            ("tau_refine", None),
            ("tau_decode", None),
        ):
            arguments.number(name, getattr(self, name), 0, high)
        for name, kind in (("order", Order), ("soft_by", SoftBy)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name} = {getattr(self, name)!r} is not allowed", f"use {' or '.join(get_args(kind))}"
                )


def soft_mask(d: Distribution, mask: int, r: float, top_p: float = 0.9, soft_by: SoftBy = "confidence") -> Mixture:
    """What a masked position is fed: (1 - a) [MASK] + a q, q the top-p tokens of d, renormalised."""
    h = d.entropy() / math.log(len(d))
    a = r * (1 - h if soft_by == "confidence" else h)
    if a <= 0:
        return Mixture.one_hot(mask)
    return blend([Mixture.one_hot(mask), filters.support(d, 1.0, 0, top_p).mixture()], [1 - a, a])


def mean_kl(now: Sequence[Distribution], before: Sequence[Distribution]) -> float:
    """The mean KL(now || before) in nats, over positions."""
    return float(np.mean([a.kl(b) for a, b in zip(now, before, strict=True)]))


def sureness(d: Distribution, token: int, order: Order) -> float:
    """How sure the model is of a position: the higher, the earlier it is filled."""
    if order == "entropy":
        return -d.entropy()
    if order == "confidence":
        return d.logp(token)
    (_, first), (_, second) = d._top_probs(2)
    return first - second


@dataclass(frozen=True)
class Filled:
    """A token, and what is known of its position in the round that filled it."""

    token: int
    entropy: float
    logp: float
    top: tuple[tuple[int, float], ...]
    round: int
    seconds: float


@dataclass
class Canvas:
    """The text while it is filled."""

    model: Engine
    g: Generation
    length: int
    settings: Settings
    rounds: int = 0
    refined: int = 0
    early: int = 0
    cost: Cost = field(default_factory=Cost)
    filled: dict[int, Filled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mask = self.model.tokenizer.mask
        assert mask is not None
        self.mask = mask
        self.began = time.perf_counter()
        self.rng = np.random.default_rng(self.g.seed)
        self.items: list[Item] = [*self.g.prompt, *([Mixture.one_hot(mask)] * self.length)]
        n = len(self.items)
        self.context = self.model.new_context(n, causal=False, n_batch=n, n_outputs=n) if self.length else None
        # with shifted logits, position i is predicted at position i - 1
        self.shift = int(self.model.metadata.get("diffusion.shift_logits", True) in (True, "true"))

    def fill(self) -> None:
        """Fill block after block, until one holds the end of the text."""
        size = self.settings.block or self.length
        for start in range(0, self.length, size):
            block = list(range(start, min(start + size, self.length)))
            self._fill_block(block)
            if any(self.model.is_eog(self.filled[i].token) for i in block):
                return

    def _fill_block(self, masked: list[int]) -> None:
        s = self.settings
        rounds = len(masked) if s.steps == 0 else max(1, round(s.steps * len(masked) / self.length))
        counts = [len(masked) // rounds + (k < len(masked) % rounds) for k in range(min(rounds, len(masked)))]
        ds = self._refine(masked)
        before: dict[int, Distribution] = {}
        for k, n in enumerate(counts):
            if k or ds is None:
                ds = self._read(masked)
            now = dict(zip(masked, ds, strict=True))
            still = before and mean_kl(ds, [before[i] for i in masked]) < s.tau_decode
            tokens = {
                i: d.argmax if still or s.temperature == 0 else d.sample(self.rng, s.temperature)
                for i, d in now.items()
            }
            self.rounds += 1
            best = sorted(masked, key=lambda i: -sureness(now[i], tokens[i], s.order))
            chosen = masked if still else best[:n]
            self.early += len(masked) if still else 0
            for i in chosen:
                self._put(i, tokens[i], now[i])
            masked = [i for i in masked if i not in chosen]
            if not masked:
                return
            self._soften(masked, now)
            before = now

    def _refine(self, masked: Sequence[int]) -> list[Distribution] | None:
        """Refine soft masks; the last predictions, or None where there is nothing to refine."""
        before: list[Distribution] | None = None
        for _ in range(self.settings.refine):
            ds = self._read(masked)
            self.refined += 1
            if before is not None and mean_kl(ds, before) < self.settings.tau_refine:
                return ds
            self._soften(masked, dict(zip(masked, ds, strict=True)))
            before = ds
        return None

    def _read(self, masked: Sequence[int]) -> list[Distribution]:
        """The predictions for some positions of the text."""
        assert self.context is not None
        n, first = len(self.items), len(self.g.prompt) - self.shift
        want = np.zeros(n, dtype=np.bool_)
        want[[first + i for i in masked]] = True
        logits = self.context.decode([0] * n, range(n), want, rows=self.model.rows(self.items))
        logits = np.array(logits)  # one row is read-only
        logits[:, self.mask] = -np.inf
        return self.model.distributions(logits)

    def _soften(self, masked: Sequence[int], ds: dict[int, Distribution]) -> None:
        s = self.settings
        if s.r > 0:
            for i in masked:
                self.items[len(self.g.prompt) + i] = soft_mask(ds[i], self.mask, s.r, s.top_p, s.soft_by)

    def _put(self, i: int, token: int, d: Distribution) -> None:
        self.items[len(self.g.prompt) + i] = Mixture.one_hot(token)
        seconds = time.perf_counter() - self.began
        self.filled[i] = Filled(token, d.entropy(), d.logp(token), d._top_probs(TOP), self.rounds, seconds)

    def close(self) -> None:
        """Count what it took, and free the memory."""
        self.cost.seconds, self.cost.tokens = time.perf_counter() - self.began, len(self.filled)
        if self.context is not None:
            self.cost.evaluated, self.cost.calls = self.context.evaluated, self.context.calls
            self.context.close()
