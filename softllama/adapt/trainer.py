"""The training run: steps, held-out measures, checkpoints. Knows a network and a pool; does not know files of adapters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softllama.adapt import heldout
from softllama.adapt.cases import Group
from softllama.adapt.heldout import HeldOut
from softllama.adapt.network import Network
from softllama.adapt.pool import Pool
from softllama.adapt.settings import Settings
from softllama.adapt.training import Loss, rate, step
from softllama.base import signals
from softllama.errors import SoftLlamaError

SHARES = {"frame": 0.4, "word": 0.25, "text": 0.2, "chain": 0.1, "two": 0.05}  # of the groups of a step, by kind
PURE_LENGTH = 64  # tokens of the ordinary text in a step
CLIP = 1.0  # largest norm of the gradient


@dataclass(kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        step: done. seconds: of training.
        losses: (mixed, pure) of each step, nats per position.
        measured: (step, seconds, what was measured), the first before training.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)
    measured: list[tuple[int, float, HeldOut]] = field(default_factory=list)

    def recent(self, n: int = 20) -> tuple[float, float]:
        """The mean losses of the last n steps."""
        if not self.losses:
            return float("nan"), float("nan")
        mixed, pure = np.mean(self.losses[-n:], axis=0)
        return float(mixed), float(pure)


class Trainer:
    """A run that can be stopped after any step and goes on from a checkpoint as if it had not been."""

    def __init__(self, network: Network, pool: Pool, settings: Settings) -> None:
        import torch

        self.network, self.pool, self.settings = network, pool, settings
        self.progress = Progress()
        self.rng = np.random.default_rng(settings.seed)
        self.kinds = {k: found for k in SHARES if (found := [t for t in pool.train if t.kind == k])}
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)

    @property
    def done(self) -> float:
        """The share of the run that is done, 0 to 1."""
        s, p = self.settings, self.progress
        return min(1.0, p.step / s.steps if s.steps is not None else p.seconds / 60 / (s.minutes or 1.0))

    def batch(self) -> list[Group]:
        """The groups of a step: one ordinary text, and groups of cases until there are enough tokens."""
        s = self.settings
        text = self.pool.pure[self.rng.integers(len(self.pool.pure))]
        at = int(self.rng.integers(0, max(1, len(text) - PURE_LENGTH)))
        groups = [heldout.text(text[at : at + PURE_LENGTH])]
        tokens = 0
        shares = np.array([SHARES[k] for k in self.kinds])
        while tokens < s.tokens:
            of_kind = self.kinds[str(self.rng.choice(list(self.kinds), p=shares / shares.sum()))]
            groups.append(of_kind[self.rng.integers(len(of_kind))].draw(self.rng, s.priors))
            tokens += groups[-1].tokens
        return groups

    def step(self) -> Loss:
        """One step of the optimizer. An interrupt leaves everything as it was before the step, or as it is after it."""
        import torch

        start, drawn = time.monotonic(), self.rng.bit_generator.state
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.done, self.settings.learning_rate)
        try:
            result = step(self.network, self.batch(), self.settings.pure_weight, self.settings.state_weight)
            if not math.isfinite(result.mixed + result.pure):
                raise SoftLlamaError(
                    f"the loss is no longer finite after {self.progress.step:,} steps",
                    "a lower --learning-rate may help",
                )
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        except BaseException:
            self.rng.bit_generator.state = drawn
            self.optimizer.zero_grad()
            raise
        with signals.deferred():
            self.optimizer.step()
            self.optimizer.zero_grad()
            p = self.progress
            p.step += 1
            p.losses.append((result.mixed, result.pure))
            p.seconds += time.monotonic() - start
        return result

    def measure(self) -> HeldOut:
        """Measure held-out cases, and note it."""
        found = heldout.measure(self.network, self.pool.held_out, self.pool.held_out_pure)
        self.progress.measured.append((self.progress.step, self.progress.seconds, found))
        return found

    def run(self, every: int, tick: Callable[[Trainer], None], saved: Callable[[Trainer], None]) -> None:
        """Train to the end.

        Args:
            every: so many times in the whole run held-out cases are measured.
            tick: called after each step. saved: called after each measurement.
        """
        if not self.progress.measured:
            self.measure()
            saved(self)
        while self.done < 1:
            before = int(self.done * every)
            self.step()
            tick(self)
            if int(self.done * every) > before:
                self.measure()
                saved(self)

    def state(self) -> dict[str, Any]:
        """Everything that a run needs to go on: plain values and tensors, so that a checkpoint can hold no code."""
        p = self.progress
        measured = [[step, seconds, found.as_dict()] for step, seconds, found in p.measured]
        return {
            "settings": self.settings.to_dict(),
            "progress": {"step": p.step, "seconds": p.seconds, "losses": p.losses, "measured": measured},
            "pool": self.pool.state(),
            "rng": self.rng.bit_generator.state,
            "adapter": [p.detach().cpu() for p in self.network.parameters()],
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        import torch

        p = state["progress"]
        measured = [(step, seconds, HeldOut.of(found)) for step, seconds, found in p["measured"]]
        losses = [(mixed, pure) for mixed, pure in p["losses"]]
        self.progress = Progress(step=p["step"], seconds=p["seconds"], losses=losses, measured=measured)
        self.rng.bit_generator.state = state["rng"]
        with torch.no_grad():
            for parameter, value in zip(self.network.parameters(), state["adapter"], strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
