"""The measurement of the mixing study: a sweep from one word to another, at the output. Knows how a sweep is fed and measured.

Does not know which cases are swept, or what is made of the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softllama.engine import branches
from softllama.engine import noise as noise_floor
from softllama.engine.engine import Engine
from softllama.show.progress import Tick
from softllama.study import inputs
from softllama.study.inputs import Case
from softllama.vectors import measures
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.measures import Emergent
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.sweep import sharpness
from softllama.vectors.vector import Vector

POINTS = 21
AT_ONCE = 8  # cases that are fed together: whole batches, and progress that moves; all of a frame in the small world
SAME = 0.05  # JS in nats between the two pure outputs below which there is no transition to speak of
NEAREST = ("one of the two", "their average", "not told apart")
N_EMERGENT = 3  # of a mixture, at most


@dataclass(frozen=True, eq=False, kw_only=True)
class SweepResult:
    """The numbers of one case. What is undefined is NaN.

    Attributes:
        case: What was mixed, and where.
        progress: (POINTS,) float64, how far the output has come from the first thing's to the second's.
        midpoint, width, sharpness: Of the progress; see softllama.vectors.measures.
        js_ends: JS divergence between the two pure outputs, in nats.
        js_nearest, js_average: JS of the output at α = 0.5 to the nearer pure output, and to the average of both, in nats.
        nearest: One of NEAREST; the last where the two distances differ by less than twice the noise floor.
        mass_outside_nuclei: Probability at α = 0.5 on tokens outside the 0.95 nuclei of both pure outputs.
        mass_alone: The most that a pure output has there: the floor of that number.
        is_third_token: Is the likeliest token at α = 0.5 that of neither pure output, by more than the noise floor?
        emergent: Tokens that are likelier at α = 0.5 than in both pure outputs, by more than the noise floor.
        top: The text of the likeliest token at α = 0.5.
    """

    case: Case
    progress: NDArray[np.float64]  # (POINTS,)
    midpoint: float
    width: float
    sharpness: float
    js_ends: float
    js_nearest: float
    js_average: float
    nearest: str
    mass_outside_nuclei: float
    mass_alone: float
    is_third_token: bool
    emergent: tuple[Emergent, ...]
    top: str

    @property
    def moves(self) -> bool:
        """Has the output a transition: are its two ends apart?"""
        return not np.isnan(self.progress).any()


def between(model: Engine, c: Case, alpha: float) -> Mixture | Vector:
    """The input (1 - α) of the first thing and α of the second: a mixture, or a vector (n_embd,) float32 for noise."""
    if isinstance(c.b, np.ndarray):
        row = model.embed(Mixture.one_hot(c.a))
        return Vector((1 - alpha) * row + alpha * c.b, scale="table")
    if c.a == c.b or alpha in (0.0, 1.0):
        return Mixture.one_hot(c.b if alpha == 1.0 else c.a)
    return Mixture([c.a, c.b], [1 - alpha, alpha])


def measure(
    case: Case, alphas: NDArray[np.float64], points: Sequence[Distribution], noise: NoiseFloor = NO_NOISE
) -> SweepResult:
    """The numbers of one sweep.

    Args:
        case: What was mixed.
        alphas: (POINTS,) float64, from 0 to 1, with 0.5 in the middle.
        points: The output at each of them.
        noise: The model's noise floor.

    Returns:
        The numbers.
    """
    a, b, half = points[0], points[-1], points[len(points) // 2]
    ends, mean = a.js(b), average([a, b], [0.5, 0.5])
    moves = ends >= max(SAME, 2 * noise.js)
    t = measures.progress(points, a, b)
    error = measures.progress_noise(points, a, b, noise)
    to_nearer, to_mean = min(half.js(a), half.js(b)), half.js(mean)
    nan = float("nan")
    return SweepResult(
        case=case,
        progress=t if moves else np.full(len(alphas), nan),
        midpoint=measures.midpoint(alphas, t) if moves else nan,
        width=measures.width(alphas, t) if moves else nan,
        sharpness=sharpness(alphas, t, error) if moves else nan,
        js_ends=ends,
        js_nearest=to_nearer,
        js_average=to_mean,
        nearest=_nearest(to_nearer, to_mean, noise),
        mass_outside_nuclei=measures.mass_outside_nuclei(half, [a, b]),
        mass_alone=measures.mass_outside_nuclei_alone([a, b]),
        is_third_token=_is_third_token(half, a, b, noise),
        emergent=tuple(measures.emergent_tokens(half, [a, b], noise, N_EMERGENT)),
        top=half.top(1)[0].text,
    )


def _nearest(to_nearer: float, to_mean: float, noise: NoiseFloor) -> str:
    """Which distance is the smaller. Each is moved by rounding; on a 135M model by the floor or two (see docs/trust.md)."""
    if abs(to_nearer - to_mean) < 2 * noise.js:
        return NEAREST[2]
    return NEAREST[0] if to_nearer <= to_mean else NEAREST[1]


def _is_third_token(half: Distribution, a: Distribution, b: Distribution, noise: NoiseFloor) -> bool:
    """Is the likeliest token that of neither end, and likelier than theirs by more than the noise of its probability?"""
    first, others = half.argmax, (a.argmax, b.argmax)
    if first in others:
        return False
    p = half[first].p
    return p - max(half[i].p for i in others) >= float(noise.of_probability(p))


def sweep(model: Engine, cases: Sequence[Case], tick: Tick | None = None) -> list[SweepResult]:
    """Measure all cases, a frame at a time: its beginning is computed once.

    Args:
        model: The model.
        cases: What is mixed, and where.
        tick: Called with "mixing", how many cases are done, and how many there are.

    Returns:
        The numbers of each case, in their order.
    """
    alphas = np.linspace(0.0, 1.0, POINTS)
    noise = noise_floor.floor(model)
    results: dict[int, SweepResult] = {}
    for frame in dict.fromkeys(c.frame for c in cases):
        encoded = inputs.encode(model, frame)
        at = encoded.first_slot
        mine = [(i, c) for i, c in enumerate(cases) if c.frame == frame]
        part = len(mine) if inputs.is_words(model) else AT_ONCE
        for start in range(0, len(mine), part):
            now = mine[start : start + part]
            tails = [[between(model, c, float(x)), *encoded.items[at + 1 :]] for _, c in now for x in alphas]
            ends = branches.run(model, encoded.items[:at], tails, n_ctx=model.n_ctx_given)
            for k, (i, c) in enumerate(now):
                results[i] = measure(c, alphas, [e.next for e in ends[k * POINTS : (k + 1) * POINTS]], noise)
            if tick is not None:
                tick("mixing", len(results), len(cases))
    return [results[i] for i in range(len(cases))]
