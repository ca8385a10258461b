"""Does it help to think in mixtures? Two-by-two: trained on tokens or on mixtures, decoded in tokens or in mixtures.

The bundled pairs are asked held-out problems in every way, with the baselines and controls that a comparison needs, in
groups of equal cost; the same on any other model is `softllama eval`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from softllama.api import Model, load
from softllama.errors import ModelError, UsageError
from softllama.evaluate import data, run, summary
from softllama.evaluate import ways as arms
from softllama.evaluate.results import Result
from softllama.hub import bundled
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.report.sentences import ALPHA, share, significant, versus
from softllama.show.progress import Tick
from softllama.vectors import statistics
from softllama.vectors.statistics import Estimate, Paired

SAMPLES = 4
STREAMS = 8  # problems side by side: the same every time, so the study repeats to the digit
ONE, MANY = "one pass", f"{SAMPLES} passes"
_DRAWN = "temperature=0.6,top_k=30,top_p=0.95"  # the defaults of the random soft methods, so that sampling matches them
ARMS = {  # name -> written form; the order of the tables
    "greedy": "greedy",
    "sampling": f"sample:{_DRAWN}",
    "Cold Stop alone": "cold_stop",
    "whole vector": "full",
    "soft thinking": "soft_thinking:answer=greedy",
    "gumbel": "gumbel",
    "random mixture": "random_mix:answer=greedy",
    "plain mean": "top_mean:answer=greedy",
    f"majority of {SAMPLES} sampled": f"vote:samples={SAMPLES},policy=sample({_DRAWN})",
    f"majority of {SAMPLES} gumbel": f"vote:samples={SAMPLES},policy=gumbel",
    f"beam search, {SAMPLES}": f"beam:beams={SAMPLES}",
}
DISCRETE, SOFT = "greedy", "whole vector"
COMPARED = (  # first minus second; at equal cost
    (SOFT, DISCRETE),
    ("soft thinking", DISCRETE),
    ("gumbel", "sampling"),
    ("Cold Stop alone", "sampling"),
    (SOFT, "random mixture"),
    (f"majority of {SAMPLES} gumbel", f"majority of {SAMPLES} sampled"),
)
METHOD = (
    "Two-by-two: rows are what a model was trained on, columns what is fed while it thinks: the likeliest token, or the whole "
    "vector. The answer is always decoded in tokens: greedily, or for the random ways (sampling, Cold Stop, gumbel) by the "
    "same sampling for all: temperature 0.6, top-k 30, top-p 0.95. Other settings are the policies' defaults.",
    "The problems are held out from training, by multiset for sums; orders of one multiset are counted as separate problems, "
    "which makes its intervals a little too narrow. One pass: the positions of one "
    f"generation. {SAMPLES} passes: {SAMPLES} samples or beams, so {SAMPLES} times the positions.",
    *summary.METHOD[:2],
    "Between two models: the same problems, paired; one model of each kind, so that the difference is between these two files, "
    "not between ways of training; words-mixed is words with further training, so part of its gain may be that. The model "
    "cards have several seeds, and settings in which mixtures lose.",
)
CONTROLS = (
    "random mixture: the same weights on random tokens: what a mixture with nothing in it does",
    "plain mean: the same tokens with equal weights: do the weights matter?",
    "Cold Stop alone: tokens, but thinking ends when the model is sure: does the stopping rule explain it?",
    f"majority of {SAMPLES} and beam search: what the same question costs and gives with more positions",
)


@dataclass(frozen=True)
class Pair:
    """A task with two models: the same network trained on tokens and on mixtures."""

    name: str
    title: str
    discrete: str
    soft: str
    max_tokens: int


PAIRS = {
    "sums": Pair("sums", "minimum non-negative sums", "bundled:sums", "bundled:sums-soft", 24),
    "words": Pair("words", "questions about a small world", "bundled:words", "bundled:words-mixed", 96),
}
By = dict[str, dict[int, Result]]


def problems(pair: Pair, limit: int | None = None) -> data.Dataset:
    """The held-out problems of a pair."""
    return data.load(Path(str(files("softllama.study") / "data" / f"{pair.name}.jsonl")), limit)


def available(names: Sequence[str] | None = None) -> list[Pair]:
    """The pairs whose models are there. Raises UsageError for a name that is none, ModelError if there is no pair."""
    for n in names or ():
        if n not in PAIRS:
            raise UsageError(f"there is no pair {n!r}", f"there are {', '.join(PAIRS)}")
    there = {f"bundled:{n}" for n in bundled.names()}
    found = [p for p in PAIRS.values() if (not names or p.name in names) and {p.discrete, p.soft} <= there]
    if not found:
        raise ModelError(
            "the bundled pairs are not in this installation", "softllama eval compares policies on any model"
        )
    return found


def study(
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    streams: int = STREAMS,
    tick: Tick | None = None,
    open_model: Callable[[str], Model] = load,
) -> Report:
    """The study on the bundled pairs. names: of some of them. limit: the first problems only. open_model: loads a model."""
    began = time.perf_counter()
    pairs = available(names)
    tables: list[Table] = []
    figures: list[Figure] = []
    answer: list[str] = []
    models: dict[str, Any] = {}
    rows_of: dict[str, dict[str, tuple[str, str, Paired, float]]] = {}
    for pair in pairs:
        asked = problems(pair, limit)
        found: dict[str, By] = {}
        for what, path in (("tokens", pair.discrete), ("mixtures", pair.soft)):
            with open_model(path) as model:
                settings = run.Settings(max_tokens=pair.max_tokens, seed=seed, streams=streams)
                label = f"{pair.name}, trained on {what}"
                ways = [arms.parse(f"{k.replace(',', '')}={v}") for k, v in ARMS.items()]
                header, results = run.evaluate(
                    model, asked, ways, settings, tick=None if tick is None else _labelled(tick, label)
                )
            models[path] = header["info"]["manifest"]
            by_name = {a.name: k for k, a in zip(ARMS, ways, strict=True)}
            found[what] = {k: {r.problem: r for r in results if by_name[r.arm] == k} for k in ARMS}
        compared = {what: summary.compare(by, COMPARED) for what, by in found.items()}
        tables += [_square(pair, found), _ways(pair, found), _compared(pair, compared)]
        figures.append(_figure(pair, found))
        answer += _sentences(pair, found, compared)
        rows_of[pair.name] = {what: rows[0] for what, rows in compared.items()}
    answer.insert(0, _headline(rows_of))
    manifest = {"models": models, "arguments": {"limit": limit, "seed": seed, "streams": streams, "policies": ARMS}}
    return Report(
        "thinking", "Thinking in mixtures: the bundled pairs",
        "Does a model answer better when it thinks in probability vectors than when it thinks in tokens, at equal cost?",
        tuple(answer), tuple(tables), tuple(figures), METHOD, CONTROLS, manifest=manifest,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _headline(rows_of: dict[str, dict[str, tuple[str, str, Paired, float]]]) -> str:
    """Vectors against tokens, in each cell of training and task."""
    parts = []
    for what in ("tokens", "mixtures"):
        cells = []
        for name, rows in rows_of.items():
            _, _, r, p = rows[what]
            d = r.difference
            verdict = "no difference seen" if p >= ALPHA else "more" if d.value > 0 else "fewer"
            cells.append(f"{verdict} on {name} ({100 * d.value:+.1f} points [{100 * d.low:.1f}, {100 * d.high:.1f}])")
        parts.append(f"models trained on {what}: {', '.join(cells)}")
    return f"Problems solved by feeding whole vectors instead of the likeliest tokens: {'; '.join(parts)}."


def _labelled(tick: Tick, label: str) -> Tick:
    return lambda _, done, total: tick(label, done, total)


def _square(pair: Pair, found: dict[str, By]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for what, by in found.items():
        r = _paired(by[SOFT], by[DISCRETE])
        rows.append((what, summary.accuracy(by[DISCRETE]), summary.accuracy(by[SOFT]), r.difference, r.p))
    between = [_paired(found["mixtures"][a], found["tokens"][a]) for a in (DISCRETE, SOFT)]
    rows.append(("mixtures − tokens", *(r.difference for r in between), None, None))
    head = ("trained on", "fed tokens", "fed whole vectors", "vectors − tokens", "p")
    return Table(f"{pair.name}-square", f"{pair.title}: two by two", head, tuple(rows), "Share right.")


def _paired(a: dict[int, Result], b: dict[int, Result]) -> Paired:
    both = sorted(a.keys() & b.keys())
    return statistics.paired([a[i].right for i in both], [b[i].right for i in both])


def _ways(pair: Pair, found: dict[str, By]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, written in ARMS.items():
        cells: list[Cell] = []
        for by in found.values():
            rs = list(by[name].values())
            cells += [summary.accuracy(by[name]), float(np.mean([r.tokens for r in rs]))]
        rows.append((name, ONE if ":" not in written else MANY, *cells))
    head = ("decoding", "cost", "trained on tokens", "tokens used", "trained on mixtures", "tokens used ")
    note = "Share right, and positions generated for a problem."
    return Table(f"{pair.name}-ways", f"{pair.title}: every way of decoding", head, tuple(rows), note)


def _compared(pair: Pair, compared: dict[str, summary.Compared]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (f"{a} − {b}", what, r.difference, r.only_first, r.only_second, p)
        for what, found in compared.items()
        for a, b, r, p in found
    ]
    head = ("comparison", "trained on", "difference", "only first", "only second", "p (Holm)")
    return Table(f"{pair.name}-paired", f"{pair.title}: paired differences at equal cost", head, tuple(rows))


def _figure(pair: Pair, found: dict[str, By]) -> Figure:
    series = []
    for what, by in found.items():
        es = [summary.accuracy(by[a]) for a in ARMS]
        series.append(
            Series(
                f"trained on {what}", tuple(ARMS), tuple(e.value for e in es), tuple(e.low for e in es),
                tuple(e.high for e in es),
            )
        )  # fmt: skip
    return Figure(
        f"{pair.name}-accuracy", f"{pair.title}: share right, by way of decoding", "bars", "", "share right", tuple(series),
        (0.0, 1.0), f"The last three cost {SAMPLES} times as many positions. Lines: 95 % intervals.",
    )  # fmt: skip


def _sentences(pair: Pair, found: dict[str, By], compared: dict[str, summary.Compared]) -> list[str]:
    out = []
    for what, rows in compared.items():
        a, b, r, p = rows[0]
        text = versus(f"feeding the {a}", f"{b} decoding", r, p)
        out.append(f"{pair.name}, trained on {what}: {text}.")
    best = {what: summary.accuracy(by[DISCRETE if what == "tokens" else SOFT]) for what, by in found.items()}
    r = _paired(found["mixtures"][SOFT], found["tokens"][DISCRETE])
    out.append(_each_at_home(pair, best, r))
    majority = f"majority of {SAMPLES} sampled"
    m = _paired(found["mixtures"][SOFT], found["tokens"][majority])
    cost = [
        float(np.mean([x.tokens for x in by.values()])) for by in (found["mixtures"][SOFT], found["tokens"][majority])
    ]
    text = versus("the mixture-trained model with whole vectors", f"the token-trained one with a {majority}", m)
    out.append(f"{pair.name}, {cost[0]:.1f} positions a problem against {cost[1]:.1f}: {text}.")
    return out


def _each_at_home(pair: Pair, best: dict[str, Estimate], r: Paired) -> str:
    d = r.difference
    verdict = "no difference seen" if r.p >= ALPHA else "more" if d.value > 0 else "fewer"
    return (
        f"{pair.name}, each model decoded as it was trained: {share(best['mixtures'])} with mixtures, {share(best['tokens'])} "
        f"with tokens: {verdict} ({100 * d.value:+.1f} points [{100 * d.low:.1f}, {100 * d.high:.1f}], p {significant(r.p)})."
    )
