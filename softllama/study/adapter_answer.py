"""Sentences and figures of the study of adapters. Knows the numbers of its measurements. Knows no model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from softllama.report.data import Figure, Series
from softllama.report.sentences import share, unclear, value, versus
from softllama.study import adapter_tables, inputs
from softllama.study.adapter_price import ChoiceResult, TextResult
from softllama.study.adapter_tables import WITH, WITHOUT, inner, paired, perplexity_ratio, ratio
from softllama.study.adapter_walk import SoftStep
from softllama.study.adapter_words import ALPHAS, PairResult, SettledResult, SeveralResult
from softllama.study.rollout import Rollout
from softllama.vectors import statistics
from softllama.vectors.statistics import Estimate

Number = Callable[[PairResult], float]


def _change(before: Estimate, after: Estimate, change: Estimate, unit: str = " nats") -> str:
    """ "falls from 0.263 [...] to 0.120 [...] nats", or that no difference is seen."""
    numbers = f"{value(before)} to {value(after)}{unit}"
    if not change.enough:
        return f"goes from {numbers} (too few cases for a verdict: n = {change.n})"
    if not change.clear:
        return f"does not clearly change: {numbers}"
    return f"{'falls' if change.value < 0 else 'rises'} from {numbers}"


def _ratio(e: Estimate) -> str:
    return "" if np.isnan(e.value) else f", {value(e, 2)} times as much"


def words(results: Sequence[PairResult], seed: int, *, held_out: bool = True) -> list[str]:
    """Sentences on two words: the average, the weights, other tokens. held_out: are they none that adapters are trained with?"""
    kl: tuple[Number, Number] = (lambda r: inner(r.kl_before)), (lambda r: inner(r.kl_after))
    alpha: tuple[Number, Number] = (lambda r: r.alpha_error(r.before)), (lambda r: r.alpha_error(r.after))
    wide: tuple[Number, Number] = (lambda r: r.before.width), (lambda r: r.after.width)
    near: tuple[Number, Number] = (
        lambda r: r.before.js_nearest - r.js_before,
        lambda r: r.after.js_nearest - r.js_after,
    )

    def both(numbers: tuple[Number, Number]) -> tuple[Estimate, Estimate, Estimate]:
        return paired(results, *numbers, lambda r: r.key, seed)

    target = statistics.mean([r.target_width for r in results], seed, groups=[r.key for r in results])
    where = "held-out words in held-out frames" if held_out else "these words"
    third = [
        statistics.wilson(sum(x), len(x))
        for x in ([r.before.is_third_token for r in results], [r.after.is_third_token for r in results])
    ]
    return [
        f"On {where}, KL from the exact average of what the words say {_change(*both(kl))}"
        f"{_ratio(ratio(results, *kl, lambda r: r.key, seed))}. JS to the nearer word minus JS to the average "
        f"{_change(*both(near))}: above 0 the output is nearer to the average.",
        flattened(results, seed),
        f"The error of the weight that the output shows {_change(*both(alpha), unit='')}"
        f"{_ratio(ratio(results, *alpha, lambda r: r.key, seed))}. The width of the transition {_change(*both(wide), unit='')}; "
        f"the exact average's is {value(target, 2)}.",
        f"At half and half, the likeliest token is that of neither word in {share(third[0])} without the adapter and in "
        f"{share(third[1])} with it.",
    ]


def flattened(results: Sequence[PairResult], seed: int) -> str:
    """A sentence on the control: is the adapter's output only less certain?"""
    temperature, kl = adapter_tables.flattened(results)
    groups = [r.key for r in results]
    level = statistics.mean(kl, seed, groups=groups)
    gain = statistics.mean([x - inner(r.kl_after) for x, r in zip(kl, results, strict=True)], seed, groups=groups)
    better = (
        unclear(gain) if not gain.clear else "nearer to the average" if gain.value > 0 else "farther from the average"
    )
    return (
        f"Control, the output without adapter flattened by the one temperature that fits best ({temperature:g}): a KL of "
        f"{value(level)} nats. Against that, with the adapter: {better} (gain {value(gain)})."
    )


def several(results: Sequence[SeveralResult], seed: int) -> str:
    """A sentence on mixtures of more than two words."""
    kl = paired(results, lambda r: r.kl_before, lambda r: r.kl_after, lambda r: r.frame, seed)
    much = ratio(results, lambda r: r.kl_before, lambda r: r.kl_after, lambda r: r.frame, seed)
    return f"In mixtures of 3 to 8 words, KL from the exact average {_change(*kl)}{_ratio(much)}."


def settled(results: Sequence[SettledResult], seed: int) -> str:
    """A sentence on texts that settle which word it was."""
    kl = paired(results, lambda r: r.kl_before, lambda r: r.kl_after, lambda r: r.frame, seed)
    weight = paired(results, lambda r: r.weight_before, lambda r: r.weight_after, lambda r: r.frame, seed)
    right = float(np.mean([r.posterior for r in results])) if results else float("nan")
    shown = (
        f"; the weight of that word in the output {_change(*weight, unit='')}, where {right:.2f} is right"
        if weight[0].n
        else ""
    )
    return (
        f"Once a text has settled which of the two words it was (n = {len(results)}), KL from the exact average "
        f"{_change(*kl)}{shown}."
    )


def steps(results: Sequence[SoftStep], seed: int) -> str:
    """A sentence on soft steps along generations."""
    unsure = [s for s in results if s.undecided] or list(results)
    kl = paired(unsure, lambda s: s.kl_before, lambda s: s.kl_after, lambda s: s.prompt, seed)
    much = ratio(unsure, lambda s: s.kl_before, lambda s: s.kl_after, lambda s: s.prompt, seed)
    js = paired(unsure, lambda s: s.js_before, lambda s: s.js_after, lambda s: s.prompt, seed)
    token = statistics.mean([s.js_token for s in unsure], seed, groups=[s.prompt for s in unsure])
    return (
        f"Along generations, at {len(unsure)} undecided steps of {len(results)}, KL of what follows a soft step from the exact "
        f"average over its tokens {_change(*kl)}{_ratio(much)}; JS to it {_change(*js)}, where that of the likeliest token alone "
        f"is {value(token)}."
    )


def rollouts(before: Sequence[Rollout], after: Sequence[Rollout], seed: int) -> str:
    """A sentence on text that only vectors wrote."""
    both = list(zip(before, after, strict=True))
    order = {id(x): i for i, x in enumerate(both)}
    coherent = paired(both, lambda x: x[0].coherent, lambda x: x[1].coherent, lambda x: order[id(x)], seed)
    surprise = paired(both, lambda x: _mean(x[0]), lambda x: _mean(x[1]), lambda x: order[id(x)], seed)
    return (
        f"Text that only vectors wrote: the number of coherent steps {_change(*coherent, unit='')}; the surprise of its readouts "
        f"{_change(*surprise)}."
    )


def _mean(r: Rollout) -> float:
    return float(np.mean(r.surprise)) if r.surprise else float("nan")


def price(
    texts: Sequence[TextResult], choices: Sequence[ChoiceResult], seconds: Sequence[tuple[float, float]], seed: int
) -> list[str]:
    """What it costs where nothing is mixed: a sentence or two."""
    more = perplexity_ratio(texts, seed)
    kl = statistics.mean([float(np.mean(t.kl)) for t in texts], seed)
    time = statistics.bootstrap([a / b for b, a in seconds], np.median, seed) if seconds else None
    slower = "" if time is None else f"; a token takes {value(time, 2)} times the processor time"
    out = [
        f"Where nothing is mixed, perplexity on ordinary text becomes {value(more)} times as large, with a KL of {value(kl, 4)} "
        f"nats from the model without adapter{slower}."
    ]
    if choices:
        test = statistics.paired([c.after for c in choices], [c.before for c in choices], seed)
        out.append(f"Multiple choice: {versus(WITH, WITHOUT, test)}.")
    return out


def controls(by: dict[str, list[PairResult]], seed: int) -> list[str]:
    """A sentence for each control."""
    out = []
    for kind in (inputs.RANDOM, inputs.SYNONYMS):
        if results := by.get(kind):
            kl = paired(results, lambda r: inner(r.kl_before), lambda r: inner(r.kl_after), lambda r: r.key, seed)
            out.append(f"Control, {kind}: KL from the exact average {_change(*kl)}.")
    if results := by.get(inputs.NOISE):
        third = paired(
            results,
            lambda r: float(r.before.is_third_token),
            lambda r: float(r.after.is_third_token),
            lambda r: r.key,
            seed,
        )
        out.append(f"Control, {inputs.NOISE}: the share with a third token on top {_change(*third, unit='')}.")
    return out


def figures(results: Sequence[PairResult], walked: Sequence[SoftStep], seed: int) -> list[Figure]:
    """The weight shown over the weight that is right; KL over α; distances along generations."""
    return [_calibration(results, seed), _kl(results, seed), _steps(walked, seed)]


def _calibration(results: Sequence[PairResult], seed: int) -> Figure:
    moving = [r for r in results if r.before.moves]
    bins = np.linspace(0.0, 1.0, 11)
    right = np.array([r.posterior for r in moving]) if moving else np.empty((0, len(ALPHAS)))  # (cases, POINTS)
    series = []
    for name, shown in ((WITHOUT, [r.before.progress for r in moving]), (WITH, [r.after.progress for r in moving])):
        xs, es = [], []
        for low, high in itertools.pairwise(bins):
            at = [(i, j) for i in range(len(moving)) for j in range(1, len(ALPHAS) - 1) if low <= right[i, j] < high]
            if len(at) >= 2:
                xs.append(float(np.mean([right[i, j] for i, j in at])))
                es.append(statistics.mean([shown[i][j] for i, j in at], seed, groups=[moving[i].key for i, _ in at]))
        series.append(Series.of(name, xs, es))
    series.append(Series("exact average", (0.0, 1.0), (0.0, 1.0)))
    return Figure(
        name="calibration",
        title="The weight that the output shows, over the weight that is right",
        kind="lines",
        x_label="posterior weight of the second word",
        y_label="shown",
        series=tuple(series),
        y_range=(-0.1, 1.1),
        note="Means over held-out pairs in ten ranges of the weight, with 95 % intervals. A model that averages is on the line.",
    )


def _kl(results: Sequence[PairResult], seed: int) -> Figure:
    x = tuple(float(round(a, 6)) for a in ALPHAS)
    series = [
        Series.of(
            name,
            x,
            [statistics.mean([r[i] for r in rows], seed, groups=[r.key for r in results]) for i in range(len(x))],
        )
        for name, rows in ((WITHOUT, [r.kl_before for r in results]), (WITH, [r.kl_after for r in results]))
    ]
    return Figure(
        name="kl",
        title="KL from the exact average",
        kind="lines",
        x_label="α, share of the second word",
        y_label="KL, nats",
        series=tuple(series),
        note="Means over held-out pairs. At both ends stands one word alone: what is there is the price on ordinary text.",
    )


def _steps(walked: Sequence[SoftStep], seed: int) -> Figure:
    unsure = [s for s in walked if s.undecided] or list(walked)
    names = ("exact average", "likeliest token")

    def bars(name: str, *numbers: Callable[[SoftStep], float]) -> Series:
        groups = [s.prompt for s in unsure]
        return Series.of(name, names, [statistics.mean([f(s) for s in unsure], seed, groups=groups) for f in numbers])

    return Figure(
        name="steps",
        title="How far what follows a soft step is from ...",
        kind="bars",
        x_label="",
        y_label="JS, nats",
        series=(
            bars(WITHOUT, lambda s: s.js_before, lambda s: s.js_top_before),
            bars(WITH, lambda s: s.js_after, lambda s: s.js_top_after),
        ),
        note="Undecided steps of generations. The likeliest token is what greedy decoding feeds.",
    )
