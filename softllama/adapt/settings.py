"""What a training run is asked to do. Plain values only: no torch, so that options can be checked before it is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from softllama.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an adapter is trained.

    Attributes:
        rank: of the adapter's matrices.
        layers: how many have an adapter, from the first on; None: all.
        learning_rate: the highest one: it rises over the first 3 % of a run and falls as a cosine.
        steps: of the optimizer; None where `minutes` decides.
        minutes: of training, without what comes before it; the schedule follows the clock, so that a run is repeatable only
            with `steps`.
        pure_weight: of KL on ordinary text beside KL on mixtures, which counts 1.
        state_weight: of the distance between the student's states and the average of the worlds' states.
        tokens: positions that a step reads, about.
        priors: cases of a group: so many weights for the same words in the same text.
        texts: how many texts the model writes. text_length: tokens of each.
        seed: of everything that is drawn.
        device: torch's, "cpu", "cuda", "mps".
    """

    rank: int = 8
    layers: int | None = None
    learning_rate: float = 8e-4
    steps: int | None = None
    minutes: float | None = 50.0
    pure_weight: float = 4.0
    state_weight: float = 1.0
    tokens: int = 700
    priors: int = 5
    texts: int = 160
    text_length: int = 100
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise UsageError("give either --steps or --minutes", "--minutes 50")
        for name in ("rank", "layers", "learning_rate", "steps", "minutes", "tokens", "priors", "texts"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name.replace('_', '-')} is {value}", "it must be above 0")
        if self.text_length < 32:
            raise UsageError(f"the texts have {self.text_length} tokens", "use 32 or more")

    @property
    def alpha(self) -> float:
        """The adapter counts alpha / rank times: 2."""
        return 2.0 * self.rank

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
