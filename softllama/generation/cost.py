"""What work took: positions, calls, seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass
class Cost:
    """What work took. tokens: positions generated, those of dropped beams too. evaluated: positions that the model
    evaluated, prompts included. calls: of llama.cpp's decode, each for one batch. seconds: from start to end.
    """

    tokens: int = 0
    evaluated: int = 0
    calls: int = 0
    seconds: float = 0.0

    def add(self, tokens: int, evaluated: int, calls: int, seconds: float) -> None:
        """Add what more work took."""
        self.tokens += tokens
        self.evaluated += evaluated
        self.calls += calls
        self.seconds += seconds

    def to_dict(self) -> dict[str, int | float]:
        """Ready for JSON."""
        return asdict(self)
