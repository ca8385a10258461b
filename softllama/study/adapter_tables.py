"""Tables of the study of adapters. Knows the numbers of its measurements. Knows no model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from softllama.report.data import Cell, Table
from softllama.study import inputs
from softllama.study.adapter_price import ChoiceResult, TextResult, perplexity
from softllama.study.adapter_walk import SoftStep
from softllama.study.adapter_words import SIZES, TEMPERATURES, PairResult, SettledResult, SeveralResult
from softllama.study.mixing_sweep import SweepResult
from softllama.study.rollout import Rollout
from softllama.vectors import measures, statistics
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.statistics import Estimate

T = TypeVar("T")

WITHOUT, WITH = "without adapter", "with adapter"
JS = ("JS to the average", "JS to the nearer word")  # columns with a noise floor


def paired(
    items: Sequence[T],
    before: Callable[[T], float],
    after: Callable[[T], float],
    group: Callable[[T], Hashable],
    seed: int,
) -> tuple[Estimate, Estimate, Estimate]:
    """Means before and after, and of the difference after - before, over the cases in which both are known."""
    pairs = [(b, a, group(x)) for x in items for b, a in [(before(x), after(x))] if not np.isnan(b + a)]
    groups = [g for _, _, g in pairs]
    means = [[b for b, _, _ in pairs], [a for _, a, _ in pairs], [a - b for b, a, _ in pairs]]
    first, second, change = (statistics.mean(values, seed, groups=groups) for values in means)
    return first, second, change


def ratio(
    items: Sequence[T],
    before: Callable[[T], float],
    after: Callable[[T], float],
    group: Callable[[T], Hashable],
    seed: int,
) -> Estimate:
    """Mean after over mean before, with a bootstrap interval over groups."""
    pairs = [(b, a, group(x)) for x in items for b, a in [(before(x), after(x))] if not np.isnan(b + a)]
    index = {g: i for i, g in enumerate(dict.fromkeys(g for _, _, g in pairs))}
    sums = np.zeros((len(index), 2))
    for b, a, g in pairs:
        sums[index[g]] += b, a
    if not pairs or sums[:, 0].sum() == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), len(pairs))
    value = float(sums[:, 1].sum() / sums[:, 0].sum())
    if len(index) < 2:
        return Estimate(value, float("nan"), float("nan"), len(pairs))
    drawn = sums[np.random.default_rng(seed).integers(len(index), size=(statistics.DRAWS, len(index)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    return Estimate(value, float(low), float(high), len(pairs))


def inner(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The mean over the inner weights of a sweep, without its two pure ends."""
    return float(np.mean(np.asarray(values)[1:-1]))


Sweeps = Callable[[PairResult], SweepResult]
SWEEPS: dict[str, Sweeps] = {WITHOUT: lambda r: r.before, WITH: lambda r: r.after}


def _kl(r: PairResult, way: str) -> float:
    return inner(r.kl_before if way == WITHOUT else r.kl_after)


def flattened(results: Sequence[PairResult]) -> tuple[float, list[float]]:
    """The temperature at which the outputs without adapter are nearest to the exact average, and each pair's KL there."""
    every = np.array([[inner(row) for row in r.kl_flat] for r in results])  # (pairs, TEMPERATURES)
    best = int(np.argmin(every.mean(axis=0)))
    return TEMPERATURES[best], every[:, best].tolist()


Columns = dict[str, Callable[[Sequence[PairResult], str], Cell]]


def _mean(results: Sequence[PairResult], number: Callable[[PairResult], float], seed: int) -> Estimate:
    return statistics.mean([number(r) for r in results], seed, groups=[r.key for r in results])


def _rows(by: dict[str, list[PairResult]], columns: Columns) -> tuple[tuple[Cell, ...], ...]:
    """Two rows for each kind of case: without and with the adapter."""
    return tuple(
        (kind, way, len(results), *(cell(results, way) for cell in columns.values()))
        for kind, results in by.items()
        for way in SWEEPS
    )


def words(by: dict[str, list[PairResult]], noise: NoiseFloor, seed: int) -> Table:
    """How far mixtures are from the exact average and from the words, before and after."""
    columns: Columns = {
        "KL from the average": lambda rs, way: _mean(rs, lambda r: _kl(r, way), seed),
        JS[0]: lambda rs, way: _mean(rs, lambda r: r.js_before if way == WITHOUT else r.js_after, seed),
        JS[1]: lambda rs, way: _mean(rs, lambda r: SWEEPS[way](r).js_nearest, seed),
        "third token on top": lambda rs, way: statistics.wilson(
            sum(SWEEPS[way](r).is_third_token for r in rs), len(rs)
        ),
        "to neither, beyond one word": lambda rs, way: _mean(
            rs, lambda r: SWEEPS[way](r).mass_outside_nuclei - SWEEPS[way](r).mass_alone, seed
        ),
    }
    title, head = "Mixtures against the exact average", ("mixture of", "", "n", *columns)
    note = "KL: mean over α = 0.1 to 0.9; the others at 0.5."
    return Table("words", title, head, _rows(by, columns), note, floors=dict.fromkeys(JS, noise.js) if noise.js else {})


def weights(by: dict[str, list[PairResult]], seed: int) -> Table:
    """The weight that outputs show, before and after, of the kinds of case that have a transition."""
    columns: Columns = {
        "error of the weight": lambda rs, way: _mean(rs, lambda r: r.alpha_error(SWEEPS[way](r)), seed),
        "width": lambda rs, way: _mean(rs, lambda r: SWEEPS[way](r).width, seed),
        "width of the average": lambda rs, _: _mean(rs, lambda r: r.target_width, seed),
        "sharpness": lambda rs, way: _mean(rs, lambda r: SWEEPS[way](r).sharpness, seed),
    }
    moving = {kind: some for kind, rs in by.items() if (some := [r for r in rs if r.before.moves])}
    note = "Pairs whose own outputs differ. Error: mean over α = 0.1 to 0.9. Of noise no weight is right."
    return Table(
        "weights", "The weight that the output shows", ("mixture of", "", "n", *columns), _rows(moving, columns), note
    )


def several(results: Sequence[SeveralResult], seed: int) -> Table:
    """A row for each number of words."""
    rows: list[tuple[Cell, ...]] = []
    for size in SIZES:
        some = [r for r in results if r.size == size]
        kl = paired(some, lambda r: r.kl_before, lambda r: r.kl_after, lambda r: r.frame, seed)
        js = paired(some, lambda r: r.js_before, lambda r: r.js_after, lambda r: r.frame, seed)
        rows.append((f"{size} words", len(some), *kl[:2], *js[:2]))
    head = ("mixture of", "n", f"KL {WITHOUT}", f"KL {WITH}", f"JS {WITHOUT}", f"JS {WITH}")
    note = "Weights uniform over the simplex. KL and JS from the exact average."
    return Table("several", "Mixtures of several words", head, tuple(rows), note)


def settled(results: Sequence[SettledResult], seed: int) -> Table:
    """Two rows: without and with the adapter."""
    kl = paired(results, lambda r: r.kl_before, lambda r: r.kl_after, lambda r: r.frame, seed)
    weight = paired(results, lambda r: r.weight_before, lambda r: r.weight_after, lambda r: r.frame, seed)
    rows = tuple((way, len(results), kl[i], weight[i]) for i, way in enumerate((WITHOUT, WITH)))
    right = float(np.mean([r.posterior for r in results])) if results else float("nan")
    note = (
        f"Half and half, and behind it a text that one of the two wrote: on average the text leaves {right:.3f} for that word. "
        "Its weight in the output should be as much."
    )
    head = ("", "n", "KL from the average", "weight of the word that wrote it")
    return Table("settled", "Once the text has settled which word it was", head, rows, note)


def steps(results: Sequence[SoftStep], noise: NoiseFloor, seed: int) -> Table:
    """Rows for a soft step without and with the adapter, and for the likeliest token."""

    def mean(number: Callable[[SoftStep], float], some: Sequence[SoftStep]) -> Estimate:
        return statistics.mean([number(s) for s in some], seed, groups=[s.prompt for s in some])

    unsure = [s for s in results if s.undecided]
    rows: tuple[tuple[Cell, ...], ...] = (
        (
            f"soft step, {WITHOUT}",
            len(unsure),
            mean(lambda s: s.kl_before, unsure),
            mean(lambda s: s.js_before, unsure),
            mean(lambda s: s.js_top_before, unsure),
            mean(lambda s: s.kl_before, results),
        ),
        (
            f"soft step, {WITH}",
            len(unsure),
            mean(lambda s: s.kl_after, unsure),
            mean(lambda s: s.js_after, unsure),
            mean(lambda s: s.js_top_after, unsure),
            mean(lambda s: s.kl_after, results),
        ),
        ("likeliest token alone", len(unsure), None, mean(lambda s: s.js_token, unsure), 0.0, None),
    )
    head = (
        "fed",
        "n",
        "KL from the average",
        "JS to the average",
        "JS to what the likeliest token says",
        "KL, decided steps too",
    )
    floors = dict.fromkeys((head[3], head[4]), noise.js) if noise.js else {}
    note = "At undecided steps of generations. The likeliest token alone: what greedy decoding is off by."
    return Table("steps", "A soft step along generations", head, rows, note, floors=floors)


def rollouts(rows_of: Mapping[str, Sequence[Rollout]], seed: int) -> Table:
    """A row for each way of writing."""
    rows: list[tuple[Cell, ...]] = []
    for name, rs in rows_of.items():
        surprise = statistics.mean([float(np.mean(r.surprise)) for r in rs if r.surprise], seed)
        rows.append(
            (
                name,
                len(rs),
                statistics.mean([len(r.ids) for r in rs], seed),
                statistics.mean([r.coherent for r in rs], seed),
                surprise,
                statistics.mean([measures.repetition(r.ids) for r in rs], seed),
                statistics.mean([float(np.mean(r.entropy)) for r in rs if r.entropy], seed),
            )
        )
    head = ("fed", "n", "steps", "coherent steps", "surprise of readouts, nats", "repetition", "entropy")
    note = "Means over prompts. The model without the adapter reads all of them."
    return Table("rollout", "Text that only vectors wrote", head, tuple(rows), note)


def price(
    texts: Sequence[TextResult], choices: Sequence[ChoiceResult], seconds: Sequence[tuple[float, float]], seed: int
) -> Table:
    """What the adapter costs where nothing is mixed."""
    before, after = ([x for t in texts for x in getattr(t, name)] for name in ("before", "after"))
    kl = statistics.mean([float(np.mean(t.kl)) for t in texts], seed)
    rows: list[tuple[Cell, ...]] = [
        (
            "perplexity on ordinary text",
            perplexity(before),
            perplexity(after),
            perplexity_ratio(texts, seed),
            len(before),
        ),
        ("KL from the model without adapter, nats", 0.0, kl, None, len(before)),
    ]
    if choices:
        shares = [statistics.wilson(sum(x), len(x)) for x in ([c.before for c in choices], [c.after for c in choices])]
        test = statistics.paired([c.after for c in choices], [c.before for c in choices], seed)
        rows.append(("multiple choice, share right", *shares, test.difference, len(choices)))
    if seconds:
        ms = [1000 * float(np.median(x)) for x in zip(*seconds, strict=True)]
        faster = statistics.bootstrap([a / b for b, a in seconds], np.median, seed)
        rows.append(("processor time of a token, ms", *ms, faster, len(seconds)))
    note = "Change: the ratio for perplexity and time, the difference for shares. n: tokens, questions or rounds."
    return Table("price", "What it costs where nothing is mixed", ("", WITHOUT, WITH, "change", "n"), tuple(rows), note)


def perplexity_ratio(texts: Sequence[TextResult], seed: int) -> Estimate:
    """Perplexity with the adapter over that without, with an interval over texts."""
    e = statistics.mean(
        [a - b for t in texts for a, b in zip(t.after, t.before, strict=True)],
        seed,
        groups=[i for i, t in enumerate(texts) for _ in t.after],
    )
    return Estimate(float(np.exp(e.value)), float(np.exp(e.low)), float(np.exp(e.high)), e.n)


def examples(results: Sequence[PairResult]) -> Table:
    """A row for each of some pairs at half and half."""
    rows = tuple(
        (
            r.case.frame.replace("{}", f"[{r.case.label_a}/{r.case.label_b}]"),
            r.before.top.strip() or "␣",
            r.after.top.strip() or "␣",
            r.posterior[len(r.posterior) // 2],
            inner(r.kl_before),
            inner(r.kl_after),
        )
        for r in results
        if r.case.kind == inputs.PAIRS
    )
    head = (
        "mixture",
        f"likeliest {WITHOUT}",
        f"likeliest {WITH}",
        "posterior of the second",
        f"KL {WITHOUT}",
        f"KL {WITH}",
    )
    return Table("examples", "Some of them", head, rows, in_terminal=False)
