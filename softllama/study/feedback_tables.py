"""Tables, figures and sentences of the feedback study. Knows the numbers of its walks. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import share, unclear, value
from softllama.study import floor
from softllama.study.feedback_walk import OTHERS, WalkStep
from softllama.vectors import measures, statistics
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.statistics import Estimate

GUESSES = ("knowing the tokens' order and the usual weights", "only the top token", "knowing nothing")


def _mean(steps: Sequence[WalkStep], values: Sequence[float], seed: int) -> Estimate:
    """A mean over steps; those of one prompt hang together."""
    return statistics.mean(values, seed, groups=[s.prompt for s in steps])


def _js(steps: Sequence[WalkStep], other: int, seed: int) -> Estimate:
    return _mean(steps, [s.after.js(s.others[other]) for s in steps], seed)


def kind_of(steps: Sequence[WalkStep]) -> str:
    """What the steps that are looked at are called."""
    return "undecided steps" if all(s.undecided for s in steps) else "steps, none of them undecided"


def next_table(walked: Sequence[WalkStep], unsure: Sequence[WalkStep], noise: NoiseFloor, seed: int) -> Table:
    """JS of what follows the vector to what follows each of OTHERS, at undecided steps and at all."""
    rows: list[tuple[Cell, ...]] = []
    for name, steps in (("undecided steps", unsure), ("all steps", walked)):
        covered = float(np.mean([s.weight_covered for s in steps])) if steps else None
        rows.append((name, len(steps), *(_js(steps, k, seed) for k in range(len(OTHERS))), covered))
    js = tuple(f"JS to {o}" for o in OTHERS)
    title, head = "What follows the whole vector, against what follows ...", ("", "n", *js, "mass covered")
    return Table(
        "next", title, head, tuple(rows), "Means, nats.", floors=dict.fromkeys(js, noise.js) if noise.js else {}
    )


def entropies(steps: Sequence[WalkStep], seed: int) -> Table:
    """Entropy of what follows the vector and each of OTHERS."""
    rows: list[tuple[Cell, ...]] = [("whole vector", _mean(steps, [s.after.entropy() for s in steps], seed))]
    rows += [(o, _mean(steps, [s.others[k].entropy() for s in steps], seed)) for k, o in enumerate(OTHERS)]
    return Table(
        name="entropy",
        title=f"Entropy of what follows, at {len(steps)} {kind_of(steps)}",
        head=("after", "entropy, nats"),
        rows=tuple(rows),
        note="A model that kept all possibilities open would come near the average's.",
    )


def next_figure(steps: Sequence[WalkStep], seed: int) -> Figure:
    """The first row of `next_table` as bars."""
    bars = Series.of("JS", OTHERS, [_js(steps, k, seed) for k in range(len(OTHERS))])
    return Figure(
        name="next",
        title="How far what follows the whole vector is from what follows a token",
        kind="bars",
        x_label="",
        y_label="JS, nats",
        series=(bars,),
        note=f"{kind_of(steps).capitalize()}. 0: the vector says just what the token says; ln 2 = 0.693 is the most.",
    )


def answer(steps: Sequence[WalkStep], n_all: int, noise: NoiseFloor, seed: int) -> list[str]:
    """Two sentences on what follows the vector. n_all: how many steps there are, undecided or not."""
    gap = _mean(steps, [s.after.js(s.others[3]) - s.after.js(s.others[0]) for s in steps], seed)
    nearest = [int(np.argmin([s.after.js(s.others[k]) for k in (0, 1, 3)])) for s in steps]
    top = statistics.wilson(nearest.count(0), len(nearest))
    text = floor.verdict(
        gap,
        noise,
        "it is nearer to what follows the top token than to the average over tokens",
        "it is nearer to the average over tokens than to what follows the top token",
        "its distance to what follows the top token and to the average over tokens",
    )
    second = _mean(steps, [s.after.js(s.others[1]) - s.after.js(s.others[0]) for s in steps], seed)
    farther = floor.verdict(
        second,
        noise,
        "the second token is farther than the top one",
        "the second token is nearer than the top one",
        "the distances to the second and to the top token",
    )
    return [
        f"After the whole vector, {text} (JS to the average minus JS to the top token: {value(gap)} nats; nearest to the top "
        f"token in {share(top)} of {len(steps)} {kind_of(steps)}, of {n_all}).",
        f"JS of what follows the vector to what follows the top token is {value(_js(steps, 0, seed))}, to what follows a "
        f"sampled token {value(_js(steps, 2, seed))}; {farther} (JS to the second minus JS to the top token: {value(second)}).",
    ]


def _errors(fits: Sequence[WalkStep], layer: int) -> list[float]:
    return [measures.total_variation(s.fits[layer], s.weights) for s in fits if s.fits is not None]


def _guesses(fits: Sequence[WalkStep]) -> dict[str, list[float]]:
    """Errors of what can be guessed without the state: GUESSES[0] is the strictest."""
    usual = []
    for s in fits:  # of the other prompts' steps with as many tokens; weights are in falling order
        others = [t.weights for t in fits if t.prompt != s.prompt and len(t.weights) == len(s.weights)]
        guess = np.mean(others, axis=0) if others else np.full(len(s.weights), 1 / len(s.weights))
        usual.append(measures.total_variation(s.weights, guess))
    none = [measures.total_variation(s.weights, np.full(len(s.weights), 1 / len(s.weights))) for s in fits]
    return dict(zip(GUESSES, (usual, [1 - float(s.weights.max()) for s in fits], none), strict=True))


def recovery(fits: Sequence[WalkStep], seed: int) -> Table:
    """Errors of the recovered weights: a row for each layer, and for each guess without the state."""
    assert fits[0].fits is not None
    rows: list[tuple[Cell, ...]] = [
        (f"layer {layer}", _mean(fits, _errors(fits, layer), seed)) for layer in range(len(fits[0].fits))
    ]
    rows += [(name, _mean(fits, errors, seed)) for name, errors in _guesses(fits).items()]
    return Table(
        name="recovery",
        title="How much of the weights the states still hold",
        head=("read from", "error (total variation)"),
        rows=tuple(rows),
        note=f"{len(fits)} undecided steps. 0: all of it.",
    )


def recovery_figure(fits: Sequence[WalkStep], seed: int) -> Figure:
    """The table of `recovery` as lines over the layers."""
    assert fits[0].fits is not None
    n = len(fits[0].fits)
    es = [_mean(fits, _errors(fits, layer), seed) for layer in range(n)]
    guesses = {name: float(np.mean(errors)) for name, errors in _guesses(fits).items()}
    x = tuple(range(n))
    read = Series.of("read from the state", x, es)
    return Figure(
        name="recovery",
        title="Error of the weights that are read from each layer's state",
        kind="lines",
        x_label="layer",
        y_label="total variation",
        series=(read, *(Series(name, x, (error,) * n) for name, error in guesses.items())),
        y_range=(0.0, max(0.6, *guesses.values(), *(e.high for e in es if np.isfinite(e.high)))),
        note="A state that had become its top token would give the error of the top token.",
    )


def recovery_sentence(fits: Sequence[WalkStep], seed: int) -> str:
    """How much of the weights the first and the last layer still hold, in words."""
    assert fits[0].fits is not None
    last = len(fits[0].fits) - 1
    usual = _guesses(fits)[GUESSES[0]]
    gains = [
        _mean(fits, (np.array(usual) - np.array(_errors(fits, layer))).tolist(), seed) for layer in range(last + 1)
    ]

    return (
        f"From the first layer's state the weights are recovered with an error of {value(_mean(fits, _errors(fits, 0), seed))}, "
        f"from the last one's with {value(_mean(fits, _errors(fits, last), seed))}; {GUESSES[0]} gives "
        f"{value(_mean(fits, usual, seed))}. Against that guess: {verdict(gains[0])} in the first layer, {verdict(gains[last])} "
        "in the last one."
    )


def verdict(gain: Estimate) -> str:
    """A gain over a guess, in a few words."""
    word = unclear(gain) if not gain.clear else "better" if gain.value > 0 else "worse"
    return f"{word} (gain {value(gain)})"
