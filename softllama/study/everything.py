"""All studies on the bundled models, one after the other."""

from __future__ import annotations

from dataclasses import replace

from softllama.api import load
from softllama.hub import bundled
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import answers, feedback, mixing

MODELS = ("words", "words-mixed")  # what mixing and feedback look at; thinking has its own pairs


def run(*, seed: int = 0, limit: int | None = None, tick: Tick | None = None) -> list[Report]:
    """Mixing and feedback on each model of the small world, then thinking. limit: problems of thinking."""
    reports = []
    for name in [n for n in MODELS if n in bundled.names()]:
        with load(f"bundled:{name}") as model:
            for study in (mixing.run, feedback.run):
                r = study(model, seed=seed, tick=None if tick is None else _labelled(tick, name))
                reports.append(r if name == MODELS[0] else replace(r, name=f"{r.name}-{name}"))
    reports.append(answers.study(seed=seed, limit=limit, tick=tick))
    return reports


def _labelled(tick: Tick, model: str) -> Tick:
    return lambda what, done, total: tick(f"{what}, {model}", done, total)
