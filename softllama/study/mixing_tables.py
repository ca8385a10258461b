"""Tables, figures and sentences of the mixing study. Knows the numbers of its sweeps. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import share, unclear, value
from softllama.study import inputs
from softllama.study.mixing_sweep import NEAREST, POINTS, SweepResult
from softllama.vectors import statistics
from softllama.vectors.statistics import Estimate

ByKind = dict[str, list[SweepResult]]


def _mean(results: Sequence[SweepResult], number: Callable[[SweepResult], float], seed: int) -> Estimate:
    groups = [(r.case.label_a, r.case.label_b) for r in results]
    return statistics.mean([number(r) for r in results], seed, groups=groups)


def _share(results: Sequence[SweepResult], test: Callable[[SweepResult], bool]) -> Estimate:
    return statistics.wilson(sum(test(r) for r in results), len(results))


def _is_near_a_word(r: SweepResult) -> bool:
    return r.nearest == NEAREST[0]


def _moving(results: Sequence[SweepResult]) -> list[SweepResult]:
    """Those that have a transition."""
    return [r for r in results if not np.isnan(r.progress).any()]


def transition(by: ByKind, seed: int) -> Table:
    """How the output comes from one word's to the other's: a row for each kind of case."""
    rows: list[tuple[Cell, ...]] = []
    numbers: tuple[Callable[[SweepResult], float], ...] = (
        lambda r: abs(r.midpoint - 0.5),
        lambda r: r.width,
        lambda r: r.sharpness,
    )
    for kind, results in by.items():
        moving = _moving(results)
        rows.append((kind, len(moving), *(_mean(moving, number, seed) for number in numbers)))
    rows.append(("average of the outputs", None, 0.0, 0.8, 1.0))
    head = ("mixture of", "n", "|midpoint - 0.5|", "width", "sharpness")
    return Table(
        "transition", "From one to the other", head, tuple(rows), "The last row is what sampling the word gives."
    )


def half(by: ByKind, seed: int) -> Table:
    """What comes of half and half: a row for each kind of case."""
    columns: dict[str, Callable[[list[SweepResult]], Cell]] = {
        "n": len,
        "nearest to one of the two": lambda rs: _share(rs, _is_near_a_word),
        "JS to the nearer": lambda rs: _mean(rs, lambda r: r.js_nearest, seed),
        "JS to their average": lambda rs: _mean(rs, lambda r: r.js_average, seed),
        "JS between the two": lambda rs: _mean(rs, lambda r: r.js_ends, seed),
        "to neither": lambda rs: _mean(rs, lambda r: r.mass_outside_nuclei, seed),
        "third token on top": lambda rs: _share(rs, lambda r: r.is_third_token),
    }
    rows = tuple((kind, *(cell(results) for cell in columns.values())) for kind, results in by.items())
    return Table("half", "At half and half", ("mixture of", *columns), rows)


def curves(by: ByKind, seed: int) -> Figure:
    """Progress over α: a line for each kind of case, and the straight line of an average."""
    alphas = tuple(float(round(a, 6)) for a in np.linspace(0.0, 1.0, POINTS))
    series = []
    for kind, results in by.items():
        es = [_mean(results, lambda r, i=i: float(r.progress[i]), seed) for i in range(POINTS)]  # type: ignore[misc]
        if es[0].n:
            series.append(Series.of(kind, alphas, es))
    series.append(Series("average of the outputs", alphas, alphas))
    return Figure(
        name="progress",
        title="How far the output has come from the first word's to the second's",
        kind="lines",
        x_label="α, share of the second",
        y_label="progress",
        series=tuple(series),
        y_range=(-0.1, 1.1),
        note="Means over mixtures with 95 % intervals. A switch in the middle is a step.",
    )


def answer(results: Sequence[SweepResult], seed: int) -> list[str]:
    """What the main kind of cases says, in three sentences."""
    near = _share(results, _is_near_a_word)
    wide = _mean(_moving(results), lambda r: r.width, seed)
    gap = _mean(results, lambda r: r.js_average - r.js_nearest, seed)
    if not gap.clear:
        where = f"{unclear(gap)} between its distance to one of the words and to the average of both"
    elif gap.value > 0:
        where = "it is closer to what one of the words gives alone than to the average of both"
    else:
        where = "it is closer to the average of both outputs than to what either word gives alone"
    third, outside = _share(results, lambda r: r.is_third_token), _mean(results, lambda r: r.mass_outside_nuclei, seed)
    return [
        f"At half and half, {where} (JS to the average minus JS to the nearer word: {value(gap)} nats; {share(near)} of "
        f"{near.n} mixtures are nearer to a word).",
        f"From one word to the other, the output turns over within a range of {value(wide, 2)} of α; an average of the outputs "
        "would take 0.80, a switch 0.",
        f"At half and half, {share(outside)} of the probability is on tokens that neither word favours, and in {share(third)} of "
        "the mixtures the likeliest token is that of neither.",
    ]


def control_sentences(by: ByKind, main: str, seed: int) -> list[str]:
    """A sentence for each control that was run."""
    out = []
    for kind in (inputs.RANDOM, inputs.NOISE):
        if kind in by and kind != main:
            results = by[kind]
            out.append(
                f"Control, {kind}: {share(_share(results, _is_near_a_word))} nearer to one of the two, "
                f"{share(_mean(results, lambda r: r.mass_outside_nuclei, seed))} of the probability to neither, a third token "
                f"on top in {share(_share(results, lambda r: r.is_third_token))}."
            )
    return out


def examples(results: Sequence[SweepResult]) -> Table:
    """A row for each of some cases."""
    columns: dict[str, Callable[[SweepResult], Cell]] = {
        "mixture": lambda r: r.case.frame.replace("{}", f"[{r.case.label_a}/{r.case.label_b}]"),
        "likeliest at 0.5": lambda r: r.top.strip() or "␣",
        "nearest": lambda r: r.nearest,
        "midpoint": lambda r: r.midpoint,
        "width": lambda r: r.width,
        "JS nearer": lambda r: r.js_nearest,
        "JS average": lambda r: r.js_average,
        "to neither": lambda r: r.mass_outside_nuclei,
    }
    rows = tuple(tuple(cell(r) for cell in columns.values()) for r in results)
    return Table("examples", "Some of them", tuple(columns), rows)
