"""A choice as the lines of a trace file, while it runs: what the page draws, saves, and goes on from.

`"trace": "record"` asks for it. The lines are those of `softllama run --jsonl`: a header, a step each, and an end. Knows
generations and their record. Knows no HTTP.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from softllama.engine.engine import Engine
from softllama.generation import run
from softllama.generation.state import Generation
from softllama.trace.data import stepper
from softllama.trace.step import Step, heavy


class Recorder:
    """The lines of one choice.

    Args:
        g: it keeps its steps from now on, and has not begun.
        local: whether whoever asks may learn where the model's file is.

    Attributes:
        header: the first line.
    """

    def __init__(self, model: Engine, g: Generation, *, local: bool) -> None:
        g.keep = True
        self._model, self._g, self._line = model, g, stepper(model.spell)
        self.header: dict[str, Any] = run.record(model, g).header()
        if not local:
            self.header["manifest"]["model"]["path"] = None

    def step(self, step: Step) -> dict[str, Any]:
        """The line of the next step."""
        return self._line(heavy(step))

    def end(self, tail: tuple[str, str]) -> dict[str, Any]:
        """The last line. tail: text at the end of thinking and answer that belongs to no step."""
        return replace(run.record(self._model, self._g), tail=tail).footer()
