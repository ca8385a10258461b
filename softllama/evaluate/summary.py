"""Results -> a Report: shares with intervals, paired comparisons, tokens, failures. Knows results only, no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from softllama.evaluate.results import Result
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.report.sentences import ALPHA, share, versus
from softllama.vectors import statistics
from softllama.vectors.statistics import Paired

PAIRS = 6  # arms up to which every pair is compared; with more, each with the first
METHOD = (
    "Right: the extracted answer is one of the right answers, as text or as a number. Intervals of shares: Wilson, 95 %.",
    "Differences: on the problems that both arms have answered, with a 95 % bootstrap interval (2,000 draws) and "
    "McNemar's exact test, its p corrected for the number of comparisons by Holm's rule. p of 0.05 or more is reported as "
    "no difference seen, which is not the same as no difference.",
    "Tokens: positions generated for a problem, those of all samples and beams included; thinking and answer tokens are "
    "those of the text that was judged. Seconds: from start to end of a problem; with several streams they overlap.",
)


def summarize(
    header: dict[str, Any], results: Sequence[Result], pairs: Sequence[tuple[str, str]] | None = None
) -> Report:
    """The report of an evaluation. pairs: which arms to compare; all, or each with the first if there are many."""
    arms = [name for name, _ in header["arms"]]
    by = {a: {r.problem: r for r in results if r.arm == a} for a in arms}
    compared = compare(by, default_pairs(arms) if pairs is None else pairs)
    n = len({r.problem for r in results})
    info = header.get("info", {})
    wanted = max(int(info.get("problems", n)), n)
    model, data = header["model"]["name"], header["data"]["name"]
    scores = Figure(
        "accuracy", "Share of problems solved", "bars", "", "share right",
        (
            Series(
                model, tuple(arms), tuple(accuracy(by[a]).value for a in arms), tuple(accuracy(by[a]).low for a in arms),
                tuple(accuracy(by[a]).high for a in arms),
            ),
        ),
        (0.0, 1.0), "Lines: 95 % intervals. They are for each bar alone; the paired comparisons below are sharper.",
    )  # fmt: skip
    missing = sum(len(by[a]) < n for a in arms)
    done = [f"{n} of {wanted} problems have been asked so far."] if n < wanted or missing else []
    return Report(
        "eval", f"{model} on {data}", f"How many of {n} problems does the model solve, by way of decoding?",
        (*done, *sentences(compared, {a: accuracy(by[a]) for a in arms})),
        (arm_table(by), pair_table(compared), failure_table(by)), (scores,), METHOD,
        manifest={**info.get("manifest", {}), "settings": header["settings"], "arms": header["arms"], "data": header["data"]},
        seconds=float(sum(r.seconds for r in results)),
    )  # fmt: skip


Arms = dict[str, dict[int, Result]]
Compared = list[tuple[str, str, Paired, float]]


def default_pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """(second, first): the later arm comes first in a difference, so that it is the gain over the earlier."""
    if len(arms) <= PAIRS:
        return [(b, a) for a, b in combinations(arms, 2)]
    return [(b, arms[0]) for b in arms[1:]]


def accuracy(results: dict[int, Result]) -> statistics.Estimate:
    """The share of right answers."""
    return statistics.wilson(sum(r.right for r in results.values()), len(results))


def compare(by: Arms, pairs: Sequence[tuple[str, str]]) -> Compared:
    """(first, second, comparison, p after Holm's correction) for each pair that has problems in common."""
    found = []
    for a, b in pairs:
        both = sorted(by[a].keys() & by[b].keys())
        if both:
            found.append((a, b, statistics.paired([by[a][i].right for i in both], [by[b][i].right for i in both])))
    corrected = statistics.holm([r.p for _, _, r in found])
    return [(a, b, r, p) for (a, b, r), p in zip(found, corrected, strict=True)]


def sentences(compared: Compared, scores: dict[str, statistics.Estimate]) -> list[str]:
    """What the numbers say."""
    if len(scores) == 1:
        ((name, e),) = scores.items()
        return [f"{name} solves {share(e)} of {e.n} problems."]
    best = max(scores, key=lambda a: (scores[a].value, -list(scores).index(a)))
    clear = [c for c in compared if c[3] < ALPHA]
    out = []
    if not clear:
        out.append(
            f"No difference seen between any two of the ways of decoding that were compared; {best} has the highest share, "
            f"{share(scores[best])}."
        )
    else:
        out.append(f"{best} solves most: {share(scores[best])} of {scores[best].n} problems.")
    ranked = sorted(clear, key=lambda c: c[3])[:6]
    out += [_sentence(versus(a, b, r, p)) for a, b, r, p in ranked]
    if clear and len(clear) < len(compared):
        out.append(f"In {len(compared) - len(clear)} of {len(compared)} comparisons no difference was seen.")
    return out


def _sentence(text: str) -> str:
    return text + "."


def arm_table(by: Arms) -> Table:
    """A row for each arm."""
    rows: list[tuple[Cell, ...]] = []
    for a, found in by.items():
        rs = list(found.values())
        rows.append((a, accuracy(found), len(rs), *(_mean([getattr(r, k) for r in rs]) for k in _COLUMNS)))
    head = ("policy", "right", "n", "thinking tokens", "answer tokens", "tokens", "seconds")
    return Table("accuracy", "Share right, and what it costs", head, tuple(rows), "Means for a problem.")


_COLUMNS = ("thinking", "said", "tokens", "seconds")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def pair_table(compared: Compared) -> Table:
    """A row for each comparison."""
    rows = tuple((f"{a} − {b}", r.difference, r.only_first, r.only_second, r.p, p) for a, b, r, p in compared)
    head = ("comparison", "difference", "only first", "only second", "p", "p (Holm)")
    return Table(
        "paired", "Paired differences", head, rows, "On the same problems; p below 0.05 is called a difference."
    )


def failure_table(by: Arms) -> Table:
    """Why answers were not right, by arm."""
    counts = {a: Counter(r.failure for r in found.values() if not r.right) for a, found in by.items()}
    reasons = [k for k, _ in sum(counts.values(), Counter[str]()).most_common()]
    rows: list[tuple[Cell, ...]] = [(k, *(counts[a][k] for a in by)) for k in reasons]
    return Table("failures", "Why answers were not right", ("reason", *by), tuple(rows))
