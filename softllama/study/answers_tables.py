"""Tables, figures and sentences of the study of thinking. Knows results of evaluations. Knows no model."""

from __future__ import annotations

import numpy as np

from softllama.evaluate import summary, ways
from softllama.evaluate.results import Result
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import p_text, share, verdict, versus
from softllama.study.answers_ways import DISCRETE, SAMPLES, SOFT, WAYS, Pair
from softllama.vectors import statistics
from softllama.vectors.statistics import Estimate, Paired

ByWay = dict[str, dict[int, Result]]  # way -> problem -> result


def headline(compared: dict[str, dict[str, summary.Compared]]) -> str:
    """Vectors against tokens, in each cell of training and task. compared: pair -> training -> comparisons."""
    parts = []
    for kind in ("tokens", "mixtures"):
        cells = []
        for name, rows in compared.items():
            _, _, r, p = rows[kind][0]
            d = r.difference
            cells.append(
                f"{verdict(r, p)} on {name} ({100 * d.value:+.1f} points [{100 * d.low:.1f}, {100 * d.high:.1f}])"
            )
        parts.append(f"models trained on {kind}: {', '.join(cells)}")
    return f"Problems solved by feeding whole vectors instead of the likeliest tokens: {'; '.join(parts)}."


def square(pair: Pair, by: dict[str, ByWay]) -> Table:
    """Two by two: trained on, and fed."""
    rows: list[tuple[Cell, ...]] = []
    for kind, results in by.items():
        r = _paired(results[SOFT], results[DISCRETE])
        rows.append((kind, summary.accuracy(results[DISCRETE]), summary.accuracy(results[SOFT]), r.difference, r.p))
    between = [_paired(by["mixtures"][w], by["tokens"][w]) for w in (DISCRETE, SOFT)]
    rows.append(("mixtures − tokens", *(r.difference for r in between), None, None))
    head = ("trained on", "fed tokens", "fed whole vectors", "vectors − tokens", "p")
    return Table(f"{pair.name}-square", f"{pair.title}: two by two", head, tuple(rows), "Share right.")


def _paired(a: dict[int, Result], b: dict[int, Result]) -> Paired:
    both = sorted(a.keys() & b.keys())
    return statistics.paired([a[i].right for i in both], [b[i].right for i in both])


def _mean_tokens(results: dict[int, Result]) -> float:
    return float(np.mean([r.tokens for r in results.values()]))


def cost(text: str) -> str:
    """How many generations a way takes: "one pass", "4 passes"."""
    n = ways.parse(text).passes
    return "one pass" if n == 1 else f"{n} passes"


def every_way(pair: Pair, by: dict[str, ByWay]) -> Table:
    """A row for each way of decoding."""
    rows: list[tuple[Cell, ...]] = []
    for name, text in WAYS.items():
        cells: list[Cell] = []
        for results in by.values():
            cells += [summary.accuracy(results[name]), _mean_tokens(results[name])]
        rows.append((name, cost(text), *cells))
    head = ("decoding", "cost", "trained on tokens", "tokens used", "trained on mixtures", "tokens used ")
    note = "Share right, and positions generated for a problem."
    return Table(f"{pair.name}-ways", f"{pair.title}: every way of decoding", head, tuple(rows), note)


def differences(pair: Pair, compared: dict[str, summary.Compared]) -> Table:
    """A row for each comparison at equal cost."""
    rows: list[tuple[Cell, ...]] = [
        (f"{a} − {b}", kind, r.difference, r.only_first, r.only_second, p, r.detectable)
        for kind, comparisons in compared.items()
        for a, b, r, p in comparisons
    ]
    head = ("comparison", "trained on", "difference", "only first", "only second", "p (Holm)", "detectable")
    return Table(f"{pair.name}-paired", f"{pair.title}: paired differences at equal cost", head, tuple(rows))


def figure(pair: Pair, by: dict[str, ByWay]) -> Figure:
    """Shares right by way of decoding, a bar for each kind of training."""
    series = [
        Series.of(f"trained on {kind}", tuple(WAYS), [summary.accuracy(results[w]) for w in WAYS])
        for kind, results in by.items()
    ]
    return Figure(
        name=f"{pair.name}-accuracy",
        title=f"{pair.title}: share right, by way of decoding",
        kind="bars",
        x_label="",
        y_label="share right",
        series=tuple(series),
        y_range=(0.0, 1.0),
        note=f"{_costly()} Lines: 95 % intervals.",
    )


def _costly() -> str:
    """Which ways take more than one pass, and how many."""
    passes = {name: ways.parse(text).passes for name, text in WAYS.items()}
    by = {n: [name for name, k in passes.items() if k == n] for n in sorted(set(passes.values())) if n > 1}
    return " ".join(f"{n} passes: {', '.join(names)}." for n, names in by.items())


def sentences(pair: Pair, by: dict[str, ByWay], compared: dict[str, summary.Compared]) -> list[str]:
    """What the numbers of a pair say: for each model, for both as they were trained, and at equal cost."""
    out = []
    for kind, rows in compared.items():
        a, b, r, p = rows[0]
        text = versus(f"feeding the {a}", f"{b} decoding", r, p)
        out.append(f"{pair.name}, trained on {kind}: {text}.")
    best = {kind: summary.accuracy(rs[DISCRETE if kind == "tokens" else SOFT]) for kind, rs in by.items()}
    out.append(_each_as_trained(pair, best, _paired(by["mixtures"][SOFT], by["tokens"][DISCRETE])))
    majority = f"majority of {SAMPLES} sampled"
    soft, voted = by["mixtures"][SOFT], by["tokens"][majority]
    text = versus(
        "the mixture-trained model with whole vectors", f"the token-trained one with a {majority}", _paired(soft, voted)
    )
    out.append(f"{pair.name}, {_mean_tokens(soft):.1f} positions a problem against {_mean_tokens(voted):.1f}: {text}.")
    return out


def _each_as_trained(pair: Pair, best: dict[str, Estimate], r: Paired) -> str:
    d = r.difference
    return (
        f"{pair.name}, each model decoded as it was trained: {share(best['mixtures'])} with mixtures, {share(best['tokens'])} "
        f"with tokens: {verdict(r)} ({100 * d.value:+.1f} points [{100 * d.low:.1f}, {100 * d.high:.1f}], {p_text(r.p)})."
    )
