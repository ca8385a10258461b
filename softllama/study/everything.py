"""All studies on the bundled models, one after the other. Knows which study runs on which model, and nothing of a study."""

from __future__ import annotations

from dataclasses import replace

from softllama.api import load
from softllama.hub import bundled
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import answers, feedback, mixing

MODELS = ("words", "words-mixed")  # what mixing and feedback look at; thinking has its own pairs


def run(*, seed: int = 0, limit: int | None = None, tick: Tick | None = None) -> list[Report]:
    """Run mixing and feedback on each model of the small world, then thinking.

    Args:
        seed: Of every random choice.
        limit: Take the first problems of thinking only.
        tick: Called with what is being done, how many are done, and how many there are.

    Returns:
        The reports, in that order. A study on a second model has the model's name after its own.

    Raises:
        SoftLlamaError: A study fails, or the bundled pairs are not installed.
    """
    reports = []
    for name in [n for n in MODELS if n in bundled.names()]:
        with load(f"bundled:{name}") as model:
            for study in (mixing.run, feedback.run):
                r = study(model, seed=seed, tick=None if tick is None else _labelled(tick, name))
                reports.append(r if name == MODELS[0] else replace(r, name=f"{r.name}-{name}"))
    reports.append(answers.run(seed=seed, limit=limit, tick=tick))
    return reports


def _labelled(tick: Tick, model: str) -> Tick:
    return lambda what, done, total: tick(f"{what}, {model}", done, total)
