"""A model's noise floor in the reports of the studies: a table, a sentence, and what of a difference it leaves.

Knows the floor as numbers. Does not measure it: softllama.engine.noise does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from softllama.report.data import Table
from softllama.report.sentences import unclear
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.statistics import Estimate

METHOD = (
    "Noise floor: the largest JS between two of 8 copies of one prompt, of which a row is moved by 1e-5 of its size, which in "
    "exact arithmetic changes nothing that is shown. What is below the floor is shown as < and the floor; two distances that "
    "differ by less than twice the floor are not told apart; of a slope only what exceeds the noise of its two points counts."
)


def table(noise: NoiseFloor) -> Table:
    """The floor as a row of numbers."""
    head = ("JS, largest", "JS, median", "logit, largest", "±p at p = .5", "copies")
    row = (noise.js, noise.js_median, noise.logit, around_half(noise), noise.copies)
    note = "What rounding makes of one input that is moved by 1e-5 of its size; nats, and in probability. 0: nothing that shows."
    return Table("noise", "The noise floor", head, (row,), note)


def around_half(noise: NoiseFloor) -> float:
    """How far rounding moves a probability of .5 to either side."""
    return float(noise.of_probability(0.5)) / 2


def sentence(noise: NoiseFloor) -> str:
    """The floor in words."""
    if not noise.js:
        return "Noise floor of this model: rounding changes nothing that the figures here show."
    return (
        f"Noise floor of this model: JS {noise.js:.2g} nats, and about ±{around_half(noise):.2g} of a probability of .5. Smaller "
        "figures are llama.cpp's rounding."
    )


def verdict(gap: Estimate, noise: NoiseFloor, positive: str, negative: str, between: str) -> str:
    """What a mean difference of two JS says: one of two clauses, or that none was seen `between` two things.

    A difference that is clear, and smaller than the noise floor, is one that rounding may make.
    """
    if not gap.clear:
        return f"{unclear(gap)} between {between}"
    if abs(gap.value) < noise.js:
        return f"no difference beyond the noise floor between {between}"
    return positive if gap.value > 0 else negative


def manifest(noise: NoiseFloor) -> dict[str, Any]:
    """The floor in a report's manifest."""
    return {"noise": asdict(noise)}
