"""Results -> a Report: shares with intervals, paired comparisons, tokens, failures.

Knows results and statistics only. Knows no model, and not how a report looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from softllama.evaluate import behaviour, shards
from softllama.evaluate.behaviour import Ways
from softllama.evaluate.results import Result
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.report.sentences import ALPHA, share, versus
from softllama.vectors import statistics
from softllama.vectors.statistics import FEWEST, POWER, Paired

MOST = 300  # characters of an answer in the table of problems; the file of results has all of it
PAIRS = 6  # ways up to which every pair is compared; with more, each with the first
METHOD = (
    "Right: the extracted answer is one of the right answers, as text or as a number. Intervals of shares: Wilson, 95 %.",
    "Differences: on the problems that both ways have answered, with a 95 % bootstrap interval (2,000 draws; an exact one where "
    "all pairs are alike) and "
    "McNemar's exact test, its p corrected for the number of comparisons by Holm's rule. p of 0.05 or more is reported as "
    "no difference seen, which is not the same as no difference: beside it stands the smallest difference that this many problems "
    f"would show with {100 * POWER:.0f} % probability before Holm's correction. Fewer than {FEWEST} problems give no verdict.",
    "Needed: how many problems would show the difference that was seen, with the same share of problems in which the two differ, "
    f"with {100 * POWER:.0f} % probability.",
    "Tokens: positions generated for a problem, those of all samples and beams included; thinking and answer tokens are "
    "those of the text that was judged. Seconds: from start to end of a problem; with several streams they overlap.",
    *behaviour.METHOD,
)
Compared = list[tuple[str, str, Paired, float]]


def summarize(
    header: dict[str, Any],
    results: Sequence[Result],
    pairs: Sequence[tuple[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """The report of an evaluation.

    Args:
        header: What `evaluate` or `read` gives.
        results: Of the same evaluation; some may still be missing.
        pairs: (first, second) of the ways to compare. None: all pairs, or each way with the first if there are many.
        notes: Sentences about the files, which come first.

    Returns:
        The report: sentences, tables and a figure.
    """
    ways = [name for name, _ in header["ways"]]
    by = {w: {r.problem: r for r in results if r.way == w} for w in ways}
    scores = {w: accuracy(by[w]) for w in ways}
    compared = compare(by, default_pairs(ways) if pairs is None else pairs)
    n = len({r.problem for r in results})
    info = header.get("info", {})
    total = max(int(info.get("problems", n)), n)
    model, data = header["model"]["name"], header["data"]["name"]
    missing = sum(len(by[w]) < n for w in ways)
    progress = [f"{n} of {total} problems have been asked so far."] if n < total or missing else []
    return Report(
        name="eval",
        title=f"{model} on {data}",
        question=f"How many of {n} problems does the model solve, by way of decoding?",
        answer=(*progress, *notes, *sentences(compared, scores), *_mixed(results)),
        tables=tuple(t for t in _tables(by, compared, info) if t.rows),
        figures=(figure(model, scores), *([lines] if (lines := behaviour.cost_figure(by)).series else [])),
        method=METHOD,
        manifest={
            **info.get("manifest", {}),
            "settings": header["settings"],
            "ways": header["ways"],
            "data": header["data"],
        },
        command="\n".join(info.get("commands", ())),
        seconds=float(sum(r.wall for r in results) or sum(r.seconds for r in results)),
    )


def _tables(by: Ways, compared: Compared, info: dict[str, Any]) -> list[Table]:
    rest = [behaviour.steps(by), behaviour.endings(by), behaviour.cost_table(by), failure_table(by)]
    return [way_table(by), pair_table(compared), *rest, problem_table(by, info.get("questions", ()))]


def _mixed(results: Sequence[Result]) -> list[str]:
    """A warning where results come from different machines or builds, whose last bits and times differ."""
    hosts = shards.hosts(results)
    if len(hosts) < 2:
        return []
    return [
        f"The results come from {len(hosts)} kinds of machines or builds, so their times do not compare: {'; '.join(hosts)}."
    ]


def figure(model: str, scores: dict[str, statistics.Estimate]) -> Figure:
    """Shares right: a bar for each way."""
    return Figure(
        name="accuracy",
        title="Share of problems solved",
        kind="bars",
        x_label="",
        y_label="share right",
        series=(Series.of(model, tuple(scores), tuple(scores.values())),),
        y_range=(0.0, 1.0),
        note="Lines: 95 % intervals. They are for each bar alone; the paired comparisons below are sharper.",
    )


def default_pairs(ways: Sequence[str]) -> list[tuple[str, str]]:
    """(second, first): the later way comes first in a difference, so that it is the gain over the earlier."""
    if len(ways) <= PAIRS:
        return [(b, a) for a, b in combinations(ways, 2)]
    return [(b, ways[0]) for b in ways[1:]]


def accuracy(results: dict[int, Result]) -> statistics.Estimate:
    """The share of right answers, with its Wilson interval."""
    return statistics.wilson(sum(r.right for r in results.values()), len(results))


def compare(by: Ways, pairs: Sequence[tuple[str, str]]) -> Compared:
    """(first, second, comparison, p after Holm's correction) for each pair that has problems in common."""
    rows = []
    for a, b in pairs:
        both = sorted(by[a].keys() & by[b].keys())
        if both:
            rows.append((a, b, statistics.paired([by[a][i].right for i in both], [by[b][i].right for i in both])))
    corrected = statistics.holm([r.p for _, _, r in rows])
    return [(a, b, r, p) for (a, b, r), p in zip(rows, corrected, strict=True)]


def sentences(compared: Compared, scores: dict[str, statistics.Estimate]) -> list[str]:
    """What the numbers say, the shortest answer first."""
    if len(scores) == 1:
        ((name, e),) = scores.items()
        return [f"{name} solves {share(e)} of {e.n} problems."]
    most = max((e.n for _, _, r, _ in compared for e in (r.difference,)), default=0)
    if most < FEWEST:
        return [f"{most} problems are too few for a verdict (fewer than {FEWEST}). {_highest(scores)}"]
    if not any(e.value for e in scores.values()):
        return [f"None of the ways of decoding solves any of the {most} problems, so nothing tells them apart."]
    clear = [c for c in compared if c[3] < ALPHA and c[2].difference.enough]
    if not clear:
        power = [r.detectable for _, _, r, _ in compared]
        seen = (
            f" {most} problems would show a difference of about {100 * max(power):.0f} points."
            if max(power) < 1
            else ""
        )
        return [
            f"No difference seen between any two of the ways of decoding that were compared.{seen} {_highest(scores)}"
        ]
    out = [_highest(scores, clear)]
    out += [f"{versus(a, b, r, p)}." for a, b, r, p in sorted(clear, key=lambda c: c[3])[:6]]
    if len(clear) < len(compared):
        out.append(f"In {len(compared) - len(clear)} of {len(compared)} comparisons no difference was seen.")
    return out


def _highest(scores: dict[str, statistics.Estimate], clear: Compared | None = None) -> str:
    """Which way has the highest share. It "solves most" only where it is clearly better than each other way."""
    asked = {w: e for w, e in scores.items() if e.n}
    if not asked:
        return "None was asked anything."
    top = max(e.value for e in asked.values())
    best = [w for w, e in asked.items() if e.value == top]
    if len(best) == len(asked):
        return f"All have the same share, {share(asked[best[0]])}."
    if len(best) > 1:
        return f"{', '.join(best[:-1])} and {best[-1]} have the highest share, {share(asked[best[0]])}."
    better = {(a if r.difference.value > 0 else b, b if r.difference.value > 0 else a) for a, b, r, _ in clear or ()}
    if all((best[0], w) in better for w in asked if w != best[0]):
        return f"{best[0]} solves most: {share(asked[best[0]])} of {asked[best[0]].n} problems."
    return f"{best[0]} has the highest share, {share(asked[best[0]])} of {asked[best[0]].n} problems."


def way_table(by: Ways) -> Table:
    """A row for each way."""
    columns = ("n_thinking", "n_answer", "tokens", "seconds")
    rows: list[tuple[Cell, ...]] = []
    for name, results in by.items():
        rs = list(results.values())
        means = [_mean([getattr(r, k) for r in rs]) for k in columns]
        rows.append(
            (name, accuracy(results), len(rs), behaviour.soft_share(rs), behaviour.degenerate_share(rs), *means)
        )
    head = ("policy", "right", "n", "share soft", "degenerate", "thinking tokens", "answer tokens", "tokens", "seconds")
    return Table(
        "accuracy",
        "Share right, and what it costs",
        head,
        tuple(rows),
        "Means for a problem. Share soft: of its steps, those that fed a mixture. Degenerate: the share of answers that loop, "
        "repeat themselves or surprise the model, right ones included.",
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def pair_table(compared: Compared) -> Table:
    """A row for each comparison."""
    rows = tuple(
        (f"{a} − {b}", r.difference, r.only_first, r.only_second, r.p, p, r.detectable, _needed(r))
        for a, b, r, p in compared
    )
    head = ("comparison", "difference", "only first", "only second", "p", "p (Holm)", "detectable", "needed")
    note = (
        f"On the same problems; p below 0.05 is called a difference, in {FEWEST} problems or more. Detectable: the difference "
        f"that would be found with {100 * POWER:.0f} % probability."
    )
    return Table("paired", "Paired differences", head, rows, note)


def _needed(r: Paired) -> int | None:
    n = r.difference.n
    return statistics.needed(abs(r.difference.value), (r.only_first + r.only_second) / n) if n else None


def failure_table(by: Ways) -> Table:
    """Why answers were not right, by way."""
    counts = {w: Counter(r.failure for r in results.values() if not r.right) for w, results in by.items()}
    reasons = [k for k, _ in sum(counts.values(), Counter[str]()).most_common()]
    rows: list[tuple[Cell, ...]] = [(k, *(counts[w][k] for w in by)) for k in reasons]
    return Table("failures", "Why answers were not right", ("reason", *by), tuple(rows))


def problem_table(by: Ways, questions: Sequence[Any]) -> Table:
    """A row for each problem, with its answers in every way. questions: [index, question, right answers] of each."""
    texts = {q[0]: (str(q[1]), " or ".join(map(str, q[2]))) for q in questions}
    rows: list[tuple[Cell, ...]] = []
    for i in sorted({i for results in by.values() for i in results}):
        answers = [_marked(results.get(i)) for results in by.values()]
        rows.append((str(i + 1), *texts.get(i, ("", "")), *answers))
    head = ("problem", "question", "right answer", *by)
    note = "✓ right, ✗ not; in parentheses why there is no answer."
    return Table("problems", "Every problem", head, tuple(rows), note, in_terminal=False)


def _cut(text: str) -> str:
    return text if len(text) <= MOST else text[:MOST].rstrip() + " …"


def _marked(r: Result | None) -> str:
    if r is None:
        return ""
    answer = f"({r.failure})" if r.answer is None else _cut(r.answer)
    return f"{'✓' if r.right else '✗'} {answer}"
