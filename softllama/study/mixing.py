"""What does a model make of a mixture of two words? Sweeps from one to the other, at the output and layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softllama.engine import branches, manifest
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.report.sentences import share, value
from softllama.show.progress import Tick
from softllama.study import inputs, layers
from softllama.study.inputs import Case
from softllama.vectors import measures, statistics
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.statistics import Estimate
from softllama.vectors.sweep import sharpness
from softllama.vectors.vector import Vector

if TYPE_CHECKING:
    from softllama.api import Model

POINTS = 21
SAME = 0.05  # JS in nats between the two pure outputs below which there is no transition to speak of
NEAREST = ("one of the two", "their average")
METHOD = (
    "α goes from 0 (the first word alone) to 1 (the second alone); the input is (1 - α) E[first] + α E[second].",
    "Progress: the output's projection on the line from the first word's output to the second's. If the model answered with "
    "the average of the two outputs, progress would be α: midpoint 0.5, width 0.8, sharpness 1.",
    "Width: the range of α from progress 0.1 to 0.9. Sharpness: the steepest step over the whole rise (Marro et al., arXiv "
    f"2504.03933). Pairs whose own outputs differ by less than {SAME} nats of JS have no transition and are left out there.",
    "Nearest: of the two words' own outputs and their average, the one with the smallest Jensen-Shannon divergence (JS, 0 to "
    "0.6931 nats) from the mixture's output at α = 0.5.",
    "To neither: probability on tokens outside the 0.95 nuclei of both words' outputs. The average has at most 0.05 there.",
    "Intervals: 95 %, bootstrap over pairs (all frames of a pair together), 2,000 draws; of shares, Wilson.",
)
CONTROLS = (
    "near-synonyms: pairs of which the frame says (nearly) the same, so that a mixture can hardly go wrong",
    "random tokens: two tokens drawn from the vocabulary",
    "word and noise: a word and a random vector of the same length in place of the second word: what a mixture with nothing "
    "in it does",
)


@dataclass(frozen=True, eq=False)
class Measured:
    """One case. progress: (POINTS,). The rest is of α = 0.5, and NaN where it is undefined."""

    case: Case
    progress: NDArray[np.float64]
    midpoint: float
    width: float
    sharpness: float
    js_ends: float
    js_nearest: float
    js_average: float
    nearest: str
    stray: float
    third: bool
    top: str


def between(model: Model, c: Case, alpha: float) -> Mixture | Vector:
    """(1 - α) of the first thing and α of the second."""
    if isinstance(c.b, np.ndarray):
        row = model.embed(Mixture.one_hot(c.a))
        return Vector(np.asarray((1 - alpha) * row + alpha * c.b, dtype=np.float32))
    if c.a == c.b or alpha in (0.0, 1.0):
        return Mixture.one_hot(c.b if alpha == 1.0 else c.a)
    return Mixture([c.a, c.b], [1 - alpha, alpha])


def measure(case: Case, alphas: NDArray[np.float64], points: Sequence[Distribution]) -> Measured:
    """The numbers of one sweep; points[i] is the output at alphas[i]."""
    a, b, half = points[0], points[-1], points[len(points) // 2]
    ends, mean = a.js(b), average([a, b], [0.5, 0.5])
    moves = ends >= SAME
    t = measures.progress(points, a, b)
    to_a, to_b, to_mean = half.js(a), half.js(b), half.js(mean)
    nan = float("nan")
    return Measured(
        case, t if moves else np.full(len(alphas), nan), measures.midpoint(alphas, t) if moves else nan,
        measures.width(alphas, t) if moves else nan, sharpness(alphas, t) if moves else nan, ends, min(to_a, to_b), to_mean,
        NEAREST[0] if min(to_a, to_b) <= to_mean else NEAREST[1], measures.mass_outside_nuclei(half, [a, b]),
        half.argmax not in (a.argmax, b.argmax), half.top(1)[0].text,
    )  # fmt: skip


def sweep(model: Model, cases: Sequence[Case], tick: Tick | None = None) -> list[Measured]:
    """All cases, a frame at a time: its beginning is computed once."""
    alphas = np.linspace(0.0, 1.0, POINTS)
    frames = list(dict.fromkeys(c.frame for c in cases))
    found: dict[int, Measured] = {}
    for frame in frames:
        encoded = inputs.encode(model, frame)
        at = encoded.first_slot
        mine = [(i, c) for i, c in enumerate(cases) if c.frame == frame]
        tails = [[between(model, c, float(x)), *encoded.items[at + 1 :]] for _, c in mine for x in alphas]
        ends = branches.run(model, encoded.items[:at], tails, n_ctx=model.n_ctx_given)
        for k, (i, c) in enumerate(mine):
            found[i] = measure(c, alphas, [e.next for e in ends[k * POINTS : (k + 1) * POINTS]])
        if tick is not None:
            tick("mixing", len(found), len(cases))
    return [found[i] for i in range(len(cases))]


def run(
    model: Model,
    cases: Sequence[Case] | None = None,
    *,
    seed: int = 0,
    pairs: int = 24,
    controls: int = 8,
    with_layers: bool = True,
    tick: Tick | None = None,
) -> Report:
    """The study. cases: the built-in ones for this model if None, `pairs` of them in each frame and `controls` of each
    control. Raises SoftLlamaError.
    """
    began = time.perf_counter()
    given = inputs.cases(model, seed, pairs, controls) if cases is None else list(cases)
    found = sweep(model, given, tick)
    kinds = [
        k for k in dict.fromkeys([*inputs.KINDS, *(m.case.kind for m in found)]) if any(m.case.kind == k for m in found)
    ]
    by = {k: [m for m in found if m.case.kind == k] for k in kinds}
    main = kinds[0]
    tables = [_transition(by, seed), _half(by, seed)]
    figures = [_curves(by, seed)]
    answer = _answer(model, by[main], main, seed)
    if with_layers:
        seen = layers.study(model, [m.case for m in by[main]], tick)
        tables.append(layers.table(seen, seed))
        figures.append(layers.figure(seen, seed))
        answer.append(layers.sentence(seen, seed))
    answer += _control_sentences(by, main, seed)
    tables.append(_examples(by[main][:12]))
    arguments = {
        "pairs": pairs,
        "controls": controls,
        "layers": with_layers,
        "cases": len(given),
        "built_in": cases is None,
    }
    return Report(
        "mixing", f"Mixing two words: {model.name}",
        "What happens when the input holds half of one word and half of another, where a model has only ever seen one?",
        tuple(answer), tuple(tables), tuple(figures), METHOD + (layers.METHOD if with_layers else ()),
        CONTROLS if cases is None else (), manifest=manifest.build(model, arguments, seed=seed),
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _mean(found: Sequence[Measured], what: Callable[[Measured], float], seed: int) -> Estimate:
    groups = [(m.case.label_a, m.case.label_b) for m in found]
    return statistics.mean([what(m) for m in found], seed, groups=groups)


def _share(found: Sequence[Measured], what: Callable[[Measured], bool]) -> Estimate:
    return statistics.wilson(sum(what(m) for m in found), len(found))


def _transition(by: dict[str, list[Measured]], seed: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for kind, found in by.items():
        moving = [m for m in found if not np.isnan(m.progress).any()]
        cells = [
            _mean(moving, f, seed) for f in (lambda m: abs(m.midpoint - 0.5), lambda m: m.width, lambda m: m.sharpness)
        ]
        rows.append((kind, len(moving), *cells))
    rows.append(("average of the outputs", None, 0.0, 0.8, 1.0))
    head = ("mixture of", "n", "|midpoint - 0.5|", "width", "sharpness")
    return Table(
        "transition", "From one to the other", head, tuple(rows), "The last row is what sampling the word gives."
    )


def _half(by: dict[str, list[Measured]], seed: int) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            kind, len(found), _share(found, lambda m: m.nearest == NEAREST[0]), _mean(found, lambda m: m.js_nearest, seed),
            _mean(found, lambda m: m.js_average, seed), _mean(found, lambda m: m.js_ends, seed),
            _mean(found, lambda m: m.stray, seed), _share(found, lambda m: m.third),
        )
        for kind, found in by.items()
    ]  # fmt: skip
    head = (
        "mixture of", "n", "nearest to one of the two", "JS to the nearer", "JS to their average", "JS between the two",
        "to neither", "third token on top",
    )  # fmt: skip
    return Table("half", "At half and half", head, tuple(rows))


def _curves(by: dict[str, list[Measured]], seed: int) -> Figure:
    alphas = np.linspace(0.0, 1.0, POINTS)
    series = []
    for kind, found in by.items():
        groups = [(m.case.label_a, m.case.label_b) for m in found]
        es = [statistics.mean([float(m.progress[i]) for m in found], seed, groups=groups) for i in range(POINTS)]
        if es[0].n:
            x = tuple(float(round(a, 6)) for a in alphas)
            series.append(
                Series(kind, x, tuple(e.value for e in es), tuple(e.low for e in es), tuple(e.high for e in es))
            )
    line = tuple(float(round(a, 6)) for a in alphas)
    series.append(Series("average of the outputs", line, line))
    return Figure(
        "progress", "How far the output has come from the first word's to the second's", "lines", "α, share of the second",
        "progress", tuple(series), (-0.1, 1.1), "Means over mixtures with 95 % intervals. A switch in the middle is a step.",
    )  # fmt: skip


def _answer(model: Model, found: list[Measured], kind: str, seed: int) -> list[str]:
    near = _share(found, lambda m: m.nearest == NEAREST[0])
    moving = [m for m in found if not np.isnan(m.progress).any()]
    wide = _mean(moving, lambda m: m.width, seed)
    gap = _mean(found, lambda m: m.js_average - m.js_nearest, seed)
    if not gap.clear:
        where = "no difference seen between its distance to one of the words and to the average of both"
    elif gap.value > 0:
        where = "it is closer to what one of the words gives alone than to the average of both"
    else:
        where = "it is closer to the average of both outputs than to what either word gives alone"
    third, stray = _share(found, lambda m: m.third), _mean(found, lambda m: m.stray, seed)
    return [
        f"At half and half, {where} (JS to the average minus JS to the nearer word: {value(gap)} nats; {share(near)} of "
        f"{near.n} mixtures are nearer to a word).",
        f"From one word to the other, the output turns over within a range of {value(wide, 2)} of α; an average of the outputs "
        "would take 0.80, a switch 0.",
        f"At half and half, {share(stray)} of the probability is on tokens that neither word favours, and in {share(third)} of "
        "the mixtures the likeliest token is that of neither.",
    ]


def _control_sentences(by: dict[str, list[Measured]], main: str, seed: int) -> list[str]:
    out = []
    for kind in (inputs.RANDOM, inputs.NOISE):
        if kind in by and kind != main:
            found = by[kind]
            out.append(
                f"Control, {kind}: {share(_share(found, lambda m: m.nearest == NEAREST[0]))} nearer to one of the two, "
                f"{share(_mean(found, lambda m: m.stray, seed))} of the probability to neither, a third token on top in "
                f"{share(_share(found, lambda m: m.third))}."
            )
    return out


def _examples(found: Sequence[Measured]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{m.case.frame.replace('{}', f'[{m.case.label_a}/{m.case.label_b}]')}", m.top.strip() or "␣", m.nearest,
            m.midpoint, m.width, m.js_nearest, m.js_average, m.stray,
        )
        for m in found
    ]  # fmt: skip
    head = ("mixture", "likeliest at 0.5", "nearest", "midpoint", "width", "JS nearer", "JS average", "to neither")
    return Table("examples", "Some of them", head, tuple(rows))


def columns(found: Sequence[Measured]) -> dict[str, list[Any]]:
    """The numbers of all cases, by name."""
    names = ("midpoint", "width", "sharpness", "js_ends", "js_nearest", "js_average", "nearest", "stray", "third")
    return {n: [getattr(m, n) for m in found] for n in names}
