"""One generated position, as data, and why a generation ended. Knows vectors only: the loop makes steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from softllama.vectors.mixture import Mixture


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

    @classmethod
    def of(cls, text: str) -> StopReason | str:
        """The reason that a text names, or the text where it names none."""
        return cls._value2member_map_.get(text, text)  # type: ignore[return-value]


SOFT, HARD, FORCED = Mode.SOFT, Mode.HARD, Mode.FORCED
MODES: dict[str, Mode] = {m.value: m for m in Mode}  # a look-up, where Mode(text) would be a call for each step


@dataclass(frozen=True, eq=False)
class Step:
    """One generated position.

    index: from 0. position: its place in the sequence. mode: "soft", "hard", or "forced" (a tag that the loop or the
    policy put there). thinking: does it belong to the thinking block, tags included? token: the readout; text: what
    became readable with it ("" while a character or a stop string is incomplete). mixture: what was fed (with `noise`
    or `hidden`, what was fed is that much different). entropy: of the distribution before any filter, at temperature 1,
    in nats. top: its likeliest (id, p). why: the policy's reason. left_out: mass that an epsilon left out. seconds:
    since the generation began. logp: ln p of the readout, at temperature 1 and before any filter; of a forced one too.
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
    seconds: float = 0.0
    logp: float = 0.0

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
