"""How the results of a probe look: a table for a terminal, CSV, and HTML for notebooks. Knows no model."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from softllama.base import tables
from softllama.probe.data import COLUMNS, ProbeData
from softllama.show.console import tokens
from softllama.show.printable import number, printable, small, visible
from softllama.vectors.sweep import Sweep

POINTS = 41  # rows of a sweep's table
SHOWN = 0.0005  # the least probability of a token in a notebook


def table(r: ProbeData) -> RenderableType:
    """The mixture, its baselines, what they have in common, the sweep and the continuations."""
    parts: list[RenderableType] = [Text(printable(r.title), style="bold"), _distributions(r), verdict(r)]
    if r.sweep is not None:
        parts += [_sweep(r.sweep)]
    if r.continuations:
        parts += [Text("\ngreedy continuation", style="bold"), _continuations(r)]
    return Group(*parts)


def _distributions(r: ProbeData) -> Table:
    table = _table_without_lines()
    table.add_column("input", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("next tokens", ratio=1, min_width=14)
    table.add_column("entropy", justify="right", no_wrap=True)
    table.add_column("JS to average" if r.alternatives else "JS to mix", justify="right", no_wrap=True)
    for name, weight, d in r.rows():
        label = Text(name, style="bold" if weight is None else "")
        if weight is not None:
            label.append(f" {weight:.3g}", style="dim")
        js = "" if d is r.next else r.noise.js_text(d.js(r.next))
        style = "dim" if js.startswith("<") else ""
        table.add_row(label, tokens(d.top(r.n_top), r.noise.digits_of), f"{d.entropy():.3f}", Text(js, style=style))
    return table


def _table_without_lines() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def verdict(r: ProbeData) -> Text:
    """What the mixture and its components have in common, in sentences: a line for each."""
    text = Text("\n")
    if r.alternatives:
        text.append(
            "No mixture was fed: each word stood in the prompt as its own tokens, and the outputs were averaged."
        )
    else:
        text.append_text(_beside_components(r))
    for t in r.watched_in(r.next):
        alone = ", ".join(f"{k} {small(d[t.id].p)}" for k, d in r.baselines.items())
        text.append(f"\n{visible(t.text)} {small(t.p)}, alone: {alone}.")
    if r.weight_covered < 1:
        text.append(
            f"\nThe {len(r.baselines)} heaviest components ran alone; they hold {r.weight_covered:.4f} of the weight."
        )
    text.append_text(_noise(r))
    return text


def _beside_components(r: ProbeData) -> Text:
    """How far the mixture's output is from those of its components, and what it has that they have not."""
    text = Text()
    if r.average is not None:
        text.append(_to_heaviest(r))
        text.append(f", to the average of the outputs {r.noise.js_text(r.next.js(r.average))} nats (0 to 0.6931).\n")
    text.append(f"Mass on tokens that no component favours: {r.mass_outside_nuclei:.4f}")
    text.append(f" (a component alone has up to {r.mass_outside_nuclei_alone:.4f} there).")
    if r.is_third_token:
        text.append(f" Its likeliest token, {visible(r.next.top(1)[0].text)!r}, is that of no component.")
    return text.append_text(_emergent(r))


def _to_heaviest(r: ProbeData) -> str:
    """How far the mixture is from its heaviest component; from the nearest of them where several weigh the same."""
    most = r.weights[r.heaviest]
    heaviest = [k for k, w in r.weights.items() if math.isclose(w, most, rel_tol=1e-6)]
    nearest = min(heaviest, key=lambda k: r.next.js(r.baselines[k]))
    of = "heaviest component" if len(heaviest) == 1 else f"nearest of {len(heaviest)} components of equal weight"
    return f"JS to the {of} ({nearest}) {r.noise.js_text(r.next.js(r.baselines[nearest]))}"


def _emergent(r: ProbeData) -> Text:
    """ "emergent: ␣Strasbourg .099, at most .0085 alone": nothing where there is none."""
    if not r.emergent:
        return Text()
    text = Text("\nemergent: ", style="bold")
    text.append("; ".join(f"{visible(e.text)} {small(e.p)}, at most {small(e.alone)} alone" for e in r.emergent), "")
    return text


def _noise(r: ProbeData) -> Text:
    """The noise floor, and what to do about it; nothing where there is none."""
    if not r.noise.js:
        return Text()
    copies = f", over {r.repeats} copies" if r.repeats > 1 else "; --repeats 8 averages"
    text = f"\nNoise floor: JS {r.noise.js:.2g}, about ±{float(r.noise.of_probability(0.5)) / 2:.2g} of a probability of .5"
    return Text(f"{text}: llama.cpp's rounding on this model{copies}.", style="dim")


def _sweep(s: Sweep) -> RenderableType:
    title = Text(f"\nfrom {s.start} (α = 0) to {s.end} (α = 1), {len(s.alphas)} points", style="bold")
    table = _table_without_lines()
    table.add_column("α", justify="right", no_wrap=True)
    for c in s.curves:
        table.add_column(Text(visible(c.text)), justify="right", no_wrap=True)
    table.add_column("entropy", justify="right", no_wrap=True)
    last = len(s.alphas) - 1
    for i in sorted({round(k * last / (POINTS - 1)) for k in range(POINTS)}) if last >= POINTS else range(last + 1):
        row = [
            f"{s.alphas[i]:.3f}".rstrip("0").rstrip("."),
            *(number(float(c.p[i]), s.noise.digits_of(float(c.p[i]))) for c in s.curves),
            f"{s.entropy[i]:.3f}",
        ]
        table.add_row(*row)
    table.add_section()
    gap = [""]
    table.add_row("midpoint", *("-" if c.midpoint is None else f"{c.midpoint:.3f}" for c in s.curves), *gap)
    table.add_row("sharpness", *("-" if c.sharpness is None else f"{c.sharpness:.2f}" for c in s.curves), *gap)
    table.add_row("above", *(f"{c.above:.3f}" for c in s.curves), *gap)
    table.add_row("below", *(f"{c.below:.3f}" for c in s.curves), *gap)
    note = Text(f"\n{turning_point(s)}")
    if any(c.sharpness is None for c in s.curves):
        note.append(" A curve that stays within the noise floor has no midpoint and no sharpness.")
    if any(c.midpoint is None and c.sharpness is not None for c in s.curves):
        note.append(" A curve that ends where it began has no midpoint.")
    note.append(
        " Sharpness: steepest slope over the range (1: a straight line). Above, below: excursion beyond the ends.",
        style="dim",
    )
    return Group(title, table, note)


def turning_point(s: Sweep) -> str:
    """Where the output turns from one end to the other, as a sentence."""
    if s.midpoint is None:
        return "The output is never as far from the one as from the other."
    return f"The output is as far from {s.start} as from {s.end} at α = {s.midpoint:.3f}."


def _continuations(r: ProbeData) -> Table:
    table = _table_without_lines()
    table.add_column("input", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("text", ratio=1)
    for name, text in r.continuations.items():
        table.add_row(name, Text(printable(text, keep="\n")))
    return table


def csv(r: ProbeData) -> str:
    """A line for each token of each distribution: see `ProbeData.token_rows`. Numbers have 9 digits."""
    return tables.to_csv(COLUMNS, ([_short(cell) for cell in row] for row in r.token_rows()))


def _short(cell: object) -> object:
    return f"{cell:.9g}" if isinstance(cell, float) else cell


def html(r: ProbeData) -> str:
    """A small table for notebooks, and below it what no component brings. Tokens that would show as 0.000 are left out."""
    rows = []
    for name, weight, d in r.rows():
        most = d.top(r.n_top)
        shown = [t for t in most if t.p >= SHOWN] or most[:1]
        top = ", ".join(f"<b>{tables.escape(visible(t.text))}</b> {t.p:.3f}" for t in shown)
        rows.append((printable(name), weight, tables.Markup(top), d.entropy(), d.js(r.next)))
    head = ("input", "weight", "next tokens", "entropy", "JS to average" if r.alternatives else "JS to mixture")
    table = tables.html_table(head, rows, printable(r.title))
    emergent = "" if r.alternatives else _emergent(r).plain.strip()
    return f"{table}<p>{tables.escape(emergent)}</p>" if emergent else table
