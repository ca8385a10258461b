"""A probe as a page: its results in the form of a report, with the bars and curves of the picture. Knows no model.

What reports look like is softllama.report's.
"""

from __future__ import annotations

import numpy as np

from softllama.probe import view
from softllama.probe.data import ProbeData
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.show.printable import number, small, visible
from softllama.vectors.sweep import Sweep

ROWS = 8  # inputs, and curves, that a figure has a colour for
HOW = (
    "The first row is the model's next-token distribution after the prompt with the mixture in its slot: one vector, the weighted "
    "sum of the words' rows in the embedding table.",
    "Below are the same prompt with each word alone, and the average of their distributions, which is what one gets by drawing "
    "the word first.",
    "Entropy and JS (Jensen-Shannon divergence; 0 for equal, 0.6931 for nothing in common) are in nats.",
)
SWEEP_HOW = (
    "Along the sweep the first word has the weight 1 - α and the others α. Midpoint: where a curve crosses the middle of its "
    "two ends. Sharpness: its steepest slope over its range; 1 is a straight line. Above, below: how far it leaves its ends."
)


def report(r: ProbeData, command: str = "") -> Report:
    """The results as a report.

    Args:
        r: the results.
        command: the command line that repeats them; "" if there is none.
    """
    best = r.next.top(1)[0]
    about = "What comes next?" if r.alternatives else "What does the model make of this mixture?"
    answer = [f"{visible(best.text)} is the likeliest next token: {number(best.p, r.noise.digits_of(best.p))}."]
    answer += [line for line in view.verdict(r).plain.splitlines() if line]
    tables, figures, method = [_distributions(r)], [_bars(r)], list(HOW)
    if r.sweep is not None:
        answer.append(view.turning_point(r.sweep))
        tables.append(_curves_table(r.sweep))
        figures = [*_curves(r.sweep), *figures]
        method.append(SWEEP_HOW)
    if r.continuations:
        rows = tuple(r.continuations.items())
        tables.append(Table(name="continuations", title="Greedy continuations", head=("input", "text"), rows=rows))
    return Report(
        name="probe",
        title=r.title,
        question=f"{about} {r.model}".strip(),
        answer=tuple(answer),
        tables=tuple(tables),
        figures=tuple(figures),
        method=tuple(method),
        command=command,
        manifest=r.manifest,
    )


def _distributions(r: ProbeData) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, weight, d in r.rows():
        tokens = "  ".join(f"{visible(t.text)} {number(t.p, r.noise.digits_of(t.p))}" for t in d.top(r.n_top))
        js = "" if d is r.next else r.noise.js_text(d.js(r.next))
        rows.append((name, "" if weight is None else f"{weight:.3g}", tokens, f"{d.entropy():.3f}", js))
    head = ("input", "weight", "next tokens", "entropy", "JS to the first")
    return Table(name="next", title="The next tokens", head=head, rows=tuple(rows))


def _bars(r: ProbeData) -> Figure:
    texts = tuple(visible(r.next[i].text) for i in r.compared_tokens)
    series = tuple(
        Series(
            name=name if weight is None else f"{name} {weight:.3g}",
            x=texts,
            y=tuple(d[i].p for i in r.compared_tokens),
        )
        for name, weight, d in r.rows()[:ROWS]
    )
    note = "If a mixture were taken for one of its words, by chance, its bars would be those of the average."
    label = "probability"
    return Figure(name="next", title="The next token", kind="bars", x_label="", y_label=label, series=series, note=note)


def _curves(s: Sweep) -> list[Figure]:
    at = tuple(s.alphas.tolist())
    x_label = f"α, from {s.start} (0) to {s.end} (1)"
    curves = []
    for c in s.curves[:ROWS]:
        half = s.noise.of_probability(c.p) / 2 if s.noise.log_odds else None
        low, high = ((), ()) if half is None else (np.maximum(c.p - half, 0.0), np.minimum(c.p + half, 1.0))
        curves.append(Series(name=visible(c.text), x=at, y=tuple(map(float, c.p)), low=tuple(low), high=tuple(high)))
    away = [
        Series(name=f"to {s.start}", x=at, y=tuple(map(float, s.js_start))),
        Series(name=f"to {s.end}", x=at, y=tuple(map(float, s.js_end))),
    ]
    note = "An average of the two answers would be a straight line." + (
        " Shaded: noise of rounding." if s.noise.log_odds else ""
    )
    return [
        Figure(
            name="sweep",
            title=f"From {s.start} to {s.end}",
            kind="lines",
            x_label=x_label,
            y_label="probability",
            series=tuple(curves),
            note=note,
        ),
        Figure(
            name="distance",
            title="How far the output is from each end",
            kind="lines",
            x_label=x_label,
            y_label="JS (nats)",
            series=tuple(away),
        ),
    ]


def _curves_table(s: Sweep) -> Table:
    def dash(x: float | None, digits: int) -> str:
        return "-" if x is None else f"{x:.{digits}f}"

    rows = tuple(
        (
            visible(c.text),
            small(float(c.p[0])),
            small(float(c.p[-1])),
            dash(c.midpoint, 3),
            dash(c.sharpness, 2),
            f"{c.above:.3f}",
            f"{c.below:.3f}",
        )
        for c in s.curves
    )
    head = ("token", f"at {s.start}", f"at {s.end}", "midpoint", "sharpness", "above", "below")
    return Table(name="curves", title="The curves", head=head, rows=rows)
