"""Tables, figures and sentences of the mixing study. Knows the numbers of its sweeps. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import points, share, unclear, value
from softllama.show.printable import small, visible
from softllama.study import floor, inputs
from softllama.study.mixing_sweep import NEAREST, POINTS, SweepResult
from softllama.vectors import statistics
from softllama.vectors.measures import Emergent
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.statistics import Estimate

ByKind = dict[str, list[SweepResult]]
JS = (
    "JS to the nearer",
    "JS to their average",
    "JS between the two",
    "JS nearer",
    "JS average",
)  # columns with a noise floor
EMERGENT_ROWS = 12


def _mean(results: Sequence[SweepResult], number: Callable[[SweepResult], float], seed: int) -> Estimate:
    groups = [(r.case.label_a, r.case.label_b) for r in results]
    return statistics.mean([number(r) for r in results], seed, groups=groups)


def _share(results: Sequence[SweepResult], test: Callable[[SweepResult], bool]) -> Estimate:
    return statistics.wilson(sum(test(r) for r in results), len(results))


def _near_a_word(results: Sequence[SweepResult]) -> Estimate:
    """The share that is nearer to a word than to the average, among those of which this can be told."""
    return _share([r for r in results if r.nearest != NEAREST[2]], lambda r: r.nearest == NEAREST[0])


def _moving(results: Sequence[SweepResult]) -> list[SweepResult]:
    """Those that have a transition."""
    return [r for r in results if r.moves]


def _floors(noise: NoiseFloor) -> dict[str, float]:
    return dict.fromkeys(JS, noise.js) if noise.js else {}


def mixture_text(r: SweepResult) -> str:
    """ "The [dog/cat] says"."""
    return r.case.frame.replace("{}", f"[{r.case.label_a}/{r.case.label_b}]")


def strongest(results: Sequence[SweepResult]) -> list[tuple[SweepResult, Emergent]]:
    """The emergent tokens of all mixtures, those that exceed the larger of both words' probabilities by most first."""
    every = [(r, e) for r in results for e in r.emergent]
    return sorted(every, key=lambda x: x[1].alone - x[1].p)


def tables(by: ByKind, main: str, noise: NoiseFloor, seed: int) -> list[Table]:
    """The transition, half and half, and the emergent tokens of the main kind of cases."""
    return [transition(by, seed), half(by, noise, seed), emergent(by[main], noise)]


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


def half(by: ByKind, noise: NoiseFloor, seed: int) -> Table:
    """What comes of half and half: a row for each kind of case."""
    columns: dict[str, Callable[[list[SweepResult]], Cell]] = {
        "n": len,
        "nearest to one of the two": _near_a_word,
        "told apart": lambda rs: sum(r.nearest != NEAREST[2] for r in rs),
        "JS to the nearer": lambda rs: _mean(rs, lambda r: r.js_nearest, seed),
        "JS to their average": lambda rs: _mean(rs, lambda r: r.js_average, seed),
        "JS between the two": lambda rs: _mean(rs, lambda r: r.js_ends, seed),
        "to neither": lambda rs: _mean(rs, lambda r: r.mass_outside_nuclei, seed),
        "of one alone": lambda rs: _mean(rs, lambda r: r.mass_alone, seed),
        "third token on top": lambda rs: _share(rs, lambda r: r.is_third_token),
        "emergent tokens": lambda rs: _share(rs, lambda r: bool(r.emergent)),
    }
    rows = tuple((kind, *(cell(results) for cell in columns.values())) for kind, results in by.items())
    note = "To neither: mass outside the nuclei of both, beside the most that one of the two alone has there."
    return Table("half", "At half and half", ("mixture of", *columns), rows, note, floors=_floors(noise))


def emergent(results: Sequence[SweepResult], noise: NoiseFloor) -> Table:
    """A row for each of the strongest emergent tokens; none where there is none."""
    rows = tuple(
        (mixture_text(r), visible(e.text), e.p, e.alone, float(noise.of_probability(e.p)) / 2)
        for r, e in strongest(results)[:EMERGENT_ROWS]
    )
    head = ("mixture", "token", "p", "at most alone", "± noise of p")
    note = "Tokens that are likelier in the mixture, half and half, than with either of the two, by 0.01 and by the noise floor."
    return Table("emergent", "Tokens that neither word brings", head, rows, note)


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


def answer(results: Sequence[SweepResult], noise: NoiseFloor, seed: int) -> list[str]:
    """What the main kind of cases says, in four sentences."""
    near = _near_a_word(results)
    wide = _mean(_moving(results), lambda r: r.width, seed)
    gap = _mean(results, lambda r: r.js_average - r.js_nearest, seed)
    where = floor.verdict(
        gap,
        noise,
        "it is closer to what one of the words gives alone than to the average of both",
        "it is closer to the average of both outputs than to what either word gives alone",
        "its distance to one of the words and to the average of both",
    )
    third = _share(results, lambda r: r.is_third_token)
    apart = "mixtures" if near.n == len(results) else f"mixtures of which this can be told, of {len(results)},"
    moving = _moving(results)
    return [
        f"At half and half, {where} (JS to the average minus JS to the nearer word: {value(gap)} nats; {share(near)} of "
        f"{near.n} {apart} are nearer to a word).",
        f"From one word to the other, the output turns over within a range of {value(wide, 2)} of α; an average of the outputs "
        "would take 0.80, a switch 0."
        if moving
        else "From one word to the other, no output changes enough to speak of a transition.",
        f"At half and half, {_outside(results, seed)}; and in {share(third)} of the mixtures the likeliest token is that of "
        "neither.",
        _emergent_sentence(results),
    ]


def _outside(results: Sequence[SweepResult], seed: int) -> str:
    """The mass on tokens that neither favours, beside its own floor."""
    here, alone = (
        _mean(results, lambda r: r.mass_outside_nuclei, seed),
        _mean(results, lambda r: r.mass_alone, seed),
    )
    more = _mean(results, lambda r: r.mass_outside_nuclei - r.mass_alone, seed)
    verdict = unclear(more) if not more.clear else "more" if more.value > 0 else "less"
    return (
        f"{share(here)} of the probability is on tokens that neither word favours, where one of the two alone has up to "
        f"{share(alone)} ({verdict}: {points(more)})"
    )


def _emergent_sentence(results: Sequence[SweepResult]) -> str:
    """How many mixtures bring a token that neither word brings, and the strongest of them."""
    some = _share(results, lambda r: bool(r.emergent))
    text = f"In {share(some)} of {len(results)} mixtures a token is likelier, by 0.01 and by the noise floor, than with either word"
    if not (best := strongest(results)):
        return f"{text}: there is none."
    r, e = best[0]
    token = f"emergent {visible(e.text)} {small(e.p)}, at most {small(e.alone)} alone"
    return f"{text}; the strongest, in {mixture_text(r)!r}: {token}."


def control_sentences(by: ByKind, main: str, seed: int) -> list[str]:
    """A sentence for each control that was run."""
    out = []
    for kind in (inputs.RANDOM, inputs.NOISE):
        if kind in by and kind != main:
            results = by[kind]
            out.append(
                f"Control, {kind}: {share(_near_a_word(results))} nearer to one of the two, "
                f"{share(_mean(results, lambda r: r.mass_outside_nuclei, seed))} of the probability to neither "
                f"({share(_mean(results, lambda r: r.mass_alone, seed))} with one of the two alone), a third token "
                f"on top in {share(_share(results, lambda r: r.is_third_token))}, an emergent token in "
                f"{share(_share(results, lambda r: bool(r.emergent)))}."
            )
    return out


def examples(results: Sequence[SweepResult], noise: NoiseFloor) -> Table:
    """A row for each of some cases."""
    columns: dict[str, Callable[[SweepResult], Cell]] = {
        "mixture": mixture_text,
        "likeliest at 0.5": lambda r: r.top.strip() or "␣",
        "nearest": lambda r: r.nearest,
        "midpoint": lambda r: r.midpoint,
        "width": lambda r: r.width,
        "JS nearer": lambda r: r.js_nearest,
        "JS average": lambda r: r.js_average,
        "to neither": lambda r: r.mass_outside_nuclei,
    }
    rows = tuple(tuple(cell(r) for cell in columns.values()) for r in results)
    return Table("examples", "Some of them", tuple(columns), rows, floors=_floors(noise))
