"""One generated position, as data, and why a generation ended. Knows vectors only: the loop makes steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from softllama.vectors import passes
from softllama.vectors.alignment import Align
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import WholeVector

HEAVY = 100  # entries of a mixture that a record holds, where the others can be computed again


class Mode(StrEnum):
    """What a step fed: a mixture, a token, or a token that was not chosen from the distribution (a tag)."""

    SOFT = "soft"
    HARD = "hard"
    FORCED = "forced"


class StopReason(StrEnum):
    """Why a generation ended. A policy may give a reason of its own, which is then plain text."""

    END_OF_GENERATION = "end of generation"
    MAX_TOKENS = "max tokens"
    STOP_STRING = "stop string"
    CONTEXT_FULL = "context full"
    INTERRUPTED = "interrupted"
    END_OF_THINKING = "end of thinking"
    LOOP = "loop"  # these three only where on_loop is "stop"
    REPETITION = "repetition"
    SURPRISE = "surprise"

    @classmethod
    def of(cls, text: str) -> StopReason | str:
        """The reason that a text names, or the text where it names none."""
        return cls._value2member_map_.get(text, text)  # type: ignore[return-value]


SOFT, HARD, FORCED = Mode.SOFT, Mode.HARD, Mode.FORCED
MODES: dict[str, Mode] = {m.value: m for m in Mode}  # a look-up, where Mode(text) would be a call for each step


@dataclass(frozen=True)
class Rest:
    """What a step fed beyond the entries that its record holds.

    n: tokens. weight: their sum. effective_tokens: exp(H(w)) of all that was fed, these tokens included.
    """

    n: int
    weight: float
    effective_tokens: float


@dataclass(frozen=True, eq=False)
class Step:
    """One generated position.

    index: from 0. position: its place in the sequence. mode: "soft", "hard", or "forced" (a tag that the loop or the
    policy put there). thinking: does it belong to the thinking block, tags included? token: the readout; text: what
    became readable with it ("" while a character or a stop string is incomplete). mixture: what was fed (with `noise`
    or `hidden`, what was fed is that much different). entropy: of the distribution before any filter, at temperature 1,
    in nats. top: its likeliest (id, p). why: the policy's reason. left_out: mass that an epsilon left out. seconds:
    since the generation began. logp: ln p of the readout, at temperature 1 and before any filter; of a forced one too.
    align: how a hidden state became an input, if one was fed.
    whole: how `mixture` comes out of the model's whole distribution, to the last bit; None where it does not. rest: what was
    fed beyond `mixture`, which then holds the heaviest entries only, with the weights that they were fed with; None where
    `mixture` is all of it. A step with a rest has `whole`, so a replay computes the rest again.
    """

    index: int
    position: int
    mode: Mode
    thinking: bool
    token: int
    text: str
    mixture: Mixture
    entropy: float
    top: tuple[tuple[int, float], ...]
    why: str = ""
    left_out: float = 0.0
    noise: float = 0.0
    hidden: bool = False
    align: Align = "none"
    seconds: float = 0.0
    logp: float = 0.0
    whole: WholeVector | None = None
    rest: Rest | None = None

    @classmethod
    def of(cls, **fields: object) -> Step:
        """A step of all its fields: a frozen dataclass sets them one by one, which is a tenth of a small model's step."""
        step = cls.__new__(cls)
        step.__dict__.update(fields)
        return step

    @property
    def forced(self) -> bool:
        """Was the token put there, rather than chosen from the distribution?"""
        return self.mode == FORCED

    @property
    def n_tokens(self) -> int:
        """How many tokens were fed, whether the record holds them or not."""
        return len(self.mixture) + (self.rest.n if self.rest else 0)

    @property
    def effective_tokens(self) -> float:
        """exp(H(w)) of the weights that were fed: 1 for one token, n for n equal ones."""
        return self.rest.effective_tokens if self.rest else effective(self.mixture)


def heavy(s: Step, n: int = HEAVY) -> Step:
    """The step with the n heaviest entries of its mixture, if the others can be computed again; else the step as it is."""
    if s.whole is None or s.rest is not None or len(s.mixture) <= n:
        return s
    ids, w = s.mixture.ids, s.mixture.weights  # (k,) each, in the order of ids
    kept = np.sort(passes.top(w, n))
    m = Mixture.trusted(ids[kept], w[kept], signed=True)  # it does not sum to 1
    total = float(w.sum(dtype=np.float64))
    rest = Rest(len(w) - n, max(0.0, total - float(m.weights.sum(dtype=np.float64))), effective(s.mixture))
    return Step.of(**{**s.__dict__, "mixture": m, "rest": rest})


def effective(m: Mixture) -> float:
    """exp of the entropy of a mixture's weights: 1 for one token, n for n equal ones. Negative weights count as 0."""
    w = m.weights  # (k,) float32: its logarithms are enough in float32, their sum is not
    w = w if w.min() > 0 else w[w > 0]
    if not len(w):
        return 1.0
    total = float(w.sum(dtype=np.float64))
    inner = float((w * np.log(w)).sum(dtype=np.float64))
    return math.exp(max(0.0, math.log(total) - inner / total))  # H = ln s - Σ w ln w / s
