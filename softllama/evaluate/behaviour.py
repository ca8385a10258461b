"""What ways of decoding did beside being right, and what it cost: tables and a figure. Knows results. Knows no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softllama.evaluate.results import Result
from softllama.report.data import Cell, Figure, Series, Table
from softllama.vectors import statistics
from softllama.vectors.statistics import Estimate

Ways = dict[str, dict[int, Result]]  # way -> problem -> result
POINTS = 24  # budgets in the figure
METHOD = (
    "Right within a budget: the answer is right, and no more tokens than that were generated for it. A line of the figure, read at "
    "one budget, is the accuracy at equal cost; read at one share, it is the cost at equal accuracy.",
    "Unread: the share of answers in which the rule found no answer. Mixture tokens and entropy: means over a problem's soft steps "
    "and over its steps, then over problems; the entropy is in nats, before any filter.",
)


def steps(by: Ways) -> Table:
    """A row for each way: what its steps were like, and how many answers could not be read."""
    rows: list[tuple[Cell, ...]] = []
    for name, results in by.items():
        rs = list(results.values())
        row = (soft_share(rs), _mean([r.mixture_tokens for r in rs]), _mean([r.entropy for r in rs]))
        rows.append((name, *row, unread(rs), degenerate_share(rs)))
    return Table(
        "steps",
        "What the steps were like",
        ("policy", "share soft", "mixture tokens", "entropy", "unread", "degenerate"),
        tuple(rows),
        "Share soft: of the steps, those that fed a mixture. Unread: no rule found an answer. Degenerate: answers that loop, "
        "repeat themselves or surprise the model, right ones included.",
    )


def endings(by: Ways) -> Table:
    """How thinking blocks ended, by way; no rows where there were none."""
    counts = {w: Counter(str(r.thinking_end) for r in results.values() if r.thinking_end) for w, results in by.items()}
    reasons = [k for k, _ in sum(counts.values(), Counter[str]()).most_common()]
    rows: list[tuple[Cell, ...]] = [(k, *(counts[w][k] for w in by)) for k in reasons]
    note = "By itself: the model closed the block. Budget, room: the limit of its steps, and the room that the answer needs."
    return Table("endings", "How thinking ended", ("reason", *by), tuple(rows), note)


def soft_share(results: Sequence[Result]) -> float:
    """The share of steps that fed a mixture, of the texts that were judged; NaN where older files do not tell."""
    counts = [(r.n_soft, r.n_thinking + r.n_answer) for r in results if r.n_soft is not None]
    if not counts:
        return float("nan")
    soft, all_steps = (sum(x) for x in zip(*counts, strict=True))
    return soft / all_steps if all_steps else 0.0


def degenerate_share(results: Sequence[Result]) -> Estimate | float:
    """The share of texts that loop or are garbage, with its Wilson interval; NaN where older files do not tell."""
    signs = [r.degenerate for r in results if r.degenerate is not None]
    return statistics.wilson(sum(map(bool, signs)), len(signs)) if signs else float("nan")


def unread(results: Sequence[Result]) -> Estimate:
    """The share of answers that no rule could read, with its Wilson interval."""
    return statistics.wilson(sum(r.answer is None for r in results), len(results))


def within(results: Sequence[Result], budgets: Sequence[float]) -> list[Estimate]:
    """The share that is right within each budget of tokens, with its Wilson interval."""
    return [statistics.wilson(sum(r.right and r.tokens <= b for r in results), len(results)) for b in budgets]


def cost_table(by: Ways) -> Table:
    """Accuracy at equal cost and cost at equal accuracy: a row for each way."""
    asked = {w: list(rs.values()) for w, rs in by.items() if rs}
    tokens = sorted(r.tokens for rs in asked.values() for r in rs)
    budget = tokens[len(tokens) // 2] if tokens else 0
    share = min((sum(r.right for r in rs) / len(rs) for rs in asked.values()), default=0.0)
    rows: list[tuple[Cell, ...]] = []
    for name, rs in asked.items():
        rows.append((name, within(rs, [budget])[0], float(np.mean([r.tokens for r in rs])), _cost_of(rs, share)))
    head = ("policy", f"right within {budget} tokens", "mean tokens", f"tokens for {100 * share:.1f} %")
    note = (
        f"{budget} tokens: the median of all answers. {100 * share:.1f} %: the lowest share that any way reaches; beside it "
        "the budget with which each way reaches it."
    )
    return Table("cost", "Equal cost, equal accuracy", head, tuple(rows), note)


def _cost_of(results: Sequence[Result], share: float) -> int | None:
    """The least budget within which so large a share is right; None where nothing is."""
    costs = sorted(r.tokens for r in results if r.right)
    n = round(share * len(results))
    return costs[n - 1] if 0 < n <= len(costs) else None


def cost_figure(by: Ways) -> Figure:
    """The share right within a budget of tokens, over budgets: a line for each way."""
    asked = {w: list(rs.values()) for w, rs in by.items() if rs}
    most = max((r.tokens for rs in asked.values() for r in rs), default=0)
    budgets: NDArray[np.int64] = np.unique(np.linspace(0, most, POINTS).round().astype(np.int64))
    series = tuple(Series.of(w, budgets.tolist(), within(rs, budgets.tolist())) for w, rs in asked.items())
    return Figure(
        name="cost",
        title="Right within a budget of tokens",
        kind="lines",
        x_label="tokens generated for a problem, at most",
        y_label="share right",
        series=series if len(budgets) > 1 else (),
        y_range=(0.0, 1.0),
        note="Read upwards: accuracy at equal cost. Read sideways: cost at equal accuracy. Bands: 95 % intervals.",
    )


def _mean(values: Sequence[float | None]) -> float:
    kept = [v for v in values if v is not None]
    return float(np.mean(kept)) if kept else float("nan")
