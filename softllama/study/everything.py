"""All studies one after the other, on the bundled models or on one model. Knows which study runs on which model, and nothing
of a study.
"""

from __future__ import annotations

from dataclasses import replace

from softllama.api import Model, load
from softllama.hub import bundled
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import adapter, answers, feedback, mixing, sizes, thinking

MODELS = ("words", "words-mixed")  # what mixing and feedback look at; thinking has its own pairs


def run(
    model: Model | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    quick: bool = False,
    tick: Tick | None = None,
) -> list[Report]:
    """Run mixing, feedback and thinking on one model, and adapter before thinking where it has an adapter; or mixing and feedback
    on each bundled model of the small world, then thinking on the bundled pairs.

    Args:
        model: The model that is asked; None for the bundled ones.
        seed: Of every random choice.
        limit: Take the first problems of thinking only.
        quick: Look at few cases only, for a first impression.
        tick: Called with what is being done, how many are done, and how many there are.

    Returns:
        The reports, in that order. A study on a second model has the model's name after its own.

    Raises:
        SoftLlamaError: A study fails, or the bundled pairs are not installed.
    """
    if model is not None:
        looked = [study(model, seed=seed, quick=quick, tick=tick) for study in (mixing.run, feedback.run)]
        if model.lora:
            looked.append(adapter.run(model, seed=seed, quick=quick, tick=tick))
        return [*looked, thinking.run(model, seed=seed, limit=limit, quick=quick, tick=tick)]
    reports = []
    for name in [n for n in MODELS if n in bundled.names()]:
        with load(f"bundled:{name}") as m:
            for study in (mixing.run, feedback.run):
                r = study(m, seed=seed, quick=quick, tick=None if tick is None else _labelled(tick, name))
                reports.append(r if name == MODELS[0] else replace(r, name=f"{r.name}-{name}"))
    n = sizes.QUICK_PROBLEMS if quick and limit is None else limit
    reports.append(answers.run(seed=seed, limit=n, tick=tick))
    return reports


def _labelled(tick: Tick, model: str) -> Tick:
    return lambda what, done, total: tick(f"{what}, {model}", done, total)
