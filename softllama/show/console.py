"""How results look: tables for a terminal, CSV, HTML for notebooks. The only module that knows rich."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from softllama.vectors.distribution import Distribution, Token

if TYPE_CHECKING:
    from softllama.probe.result import ProbeResult

Renderable: TypeAlias = RenderableType


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console on stdout or stderr; plain in a pipe and with NO_COLOR."""
    height = None if width is None else 25  # rich takes a width on a dumb terminal only together with a height
    return Console(stderr=stderr, width=width, height=height, highlight=False, soft_wrap=False)


def to_text(renderable: RenderableType, width: int = 100) -> str:
    """What a renderable looks like, without colours; lines end without spaces."""
    out = Console(file=io.StringIO(), width=width, highlight=False, color_system=None, force_terminal=False)
    out.print(renderable)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines())  # type: ignore[attr-defined]


def visible(text: str) -> str:
    """A token's text in one line: spaces at its ends as ␣, control characters as escapes, ∅ for nothing."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    core = shown.strip(" ")
    if not core:
        return "␣" * len(shown) or "∅"
    return "␣" * (len(shown) - len(shown.lstrip(" "))) + core + "␣" * (len(shown) - len(shown.rstrip(" ")))


def number(p: float) -> str:
    """A probability in four characters: .512, 1.00, .000."""
    return "1.00" if p >= 0.9995 else f"{p:.3f}"[1:]


@dataclass(frozen=True)
class Flow:
    """Pieces side by side; lines break between them only, as rich breaks at every kind of space."""

    pieces: tuple[Text, ...]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        widths = [p.cell_len for p in self.pieces]
        return Measurement(max(widths), sum(widths) + 2 * (len(widths) - 1)).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for p in self.pieces:
            if line and line.cell_len + 2 + p.cell_len > options.max_width:
                yield line
                line = Text()
            line.append("  " if line else "").append_text(p)
        yield line


def tokens(found: list[Token]) -> Flow:
    """Tokens with their probabilities, those that would show as .000 left out."""
    pieces = []
    for i, t in enumerate([t for t in found if t.p >= 0.0005] or found[:1]):
        shown = visible(t.text)
        core = shown.lstrip("␣") or shown
        start = Text(shown[: len(shown) - len(core)], style="dim")
        pieces.append(Text.assemble(start, (core, "bold" if i == 0 else ""), (f" {number(t.p)}", "dim")))
    return Flow(tuple(pieces))


# ---- probe -----------------------------------------------------------------------------------------------------------


def probe(r: ProbeResult) -> RenderableType:
    """The mixture, its baselines, what they have in common, the sweep and the continuations."""
    parts: list[RenderableType] = [Text(_title(r), style="bold"), _probe_table(r), _verdict(r)]
    if r.sweep is not None:
        parts += [_sweep_table(r)]
    if r.continuations:
        parts += [Text("\ngreedy continuation", style="bold"), _continuations(r)]
    return Group(*parts)


def _probe_table(r: ProbeResult) -> Table:
    table = _plain_table()
    table.add_column("input", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("next tokens", ratio=1, min_width=14)
    table.add_column("entropy", justify="right", no_wrap=True)
    table.add_column("JS to mix", justify="right", no_wrap=True)
    for name, weight, d in r.rows():
        label = Text(name, style="bold" if weight is None else "")
        if weight is not None:
            label.append(f" {weight:.3g}", style="dim")
        js = "" if d is r.next else f"{d.js(r.next):.4f}"
        table.add_row(label, tokens(d.top(r.n_top)), f"{d.entropy():.3f}", js)
    return table


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _title(r: ProbeResult) -> str:
    text = r.prompt
    for m in r.mixtures:
        shown = " + ".join(f"{c.weight:.3g} {c.label}" for c in m.components[:4])
        if len(m.components) > 4:
            shown += f" + {len(m.components) - 4} more"
        place = "{" + m.name + "}"
        text = (
            text.replace(place, f"[{shown}]")
            if m.name
            else text.replace("{}", f"[{shown}]", 1 if len(r.mixtures) > 1 else -1)
        )
    return text


def _verdict(r: ProbeResult) -> Text:
    text = Text("\n")
    if r.average is not None:
        text.append(f"JS to the heaviest component ({r.heaviest}) {r.next.js(r.baselines[r.heaviest]):.4f}")
        text.append(f", to the average of the outputs {r.next.js(r.average):.4f} nats (0 to 0.6931).\n")
    text.append(f"Mass on tokens that no component favours: {r.stray:.4f}.")
    if r.third:
        text.append(f" Its likeliest token, {visible(r.next.top(1)[0].text)!r}, is that of no component.")
    if r.covered < 1:
        text.append(f"\nThe {len(r.baselines)} heaviest components ran alone; they hold {r.covered:.4f} of the weight.")
    return text


def _sweep_table(r: ProbeResult) -> RenderableType:
    s = r.sweep
    assert s is not None
    title = Text(f"\nfrom {s.start} (α = 0) to {s.end} (α = 1), {len(s.alphas)} points", style="bold")
    table = _plain_table()
    table.add_column("α", justify="right", no_wrap=True)
    for c in s.curves:
        table.add_column(Text(visible(c.text)), justify="right", no_wrap=True)
    table.add_column("entropy", justify="right", no_wrap=True)
    shown = (
        range(len(s.alphas))
        if len(s.alphas) <= 41
        else sorted({round(i * (len(s.alphas) - 1) / 40) for i in range(41)})
    )
    for i in shown:
        row = [
            f"{s.alphas[i]:.3f}".rstrip("0").rstrip("."),
            *(number(float(c.p[i])) for c in s.curves),
            f"{s.entropy[i]:.3f}",
        ]
        table.add_row(*row)
    table.add_section()
    gap = [""]
    table.add_row("midpoint", *("-" if c.midpoint is None else f"{c.midpoint:.3f}" for c in s.curves), *gap)
    table.add_row("sharpness", *(f"{c.sharpness:.2f}" for c in s.curves), *gap)
    table.add_row("above", *(f"{c.above:.3f}" for c in s.curves), *gap)
    table.add_row("below", *(f"{c.below:.3f}" for c in s.curves), *gap)
    mid = "never as far from the one as from the other" if s.midpoint is None else f"α = {s.midpoint:.3f}"
    note = Text(f"\nThe output is as far from {s.start} as from {s.end} at {mid}.")
    if s.midpoint is None:
        note = Text(f"\nThe output is {mid}.")
    note.append(
        " Sharpness: steepest slope over the range (1: a straight line). Above, below: excursion beyond the ends.",
        style="dim",
    )
    return Group(title, table, note)


def _continuations(r: ProbeResult) -> Table:
    table = _plain_table()
    table.add_column("input", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("text", ratio=1)
    for name, text in r.continuations.items():
        table.add_row(name, Text("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)))
    return table


def probe_csv(r: ProbeResult) -> str:
    """Columns: kind (mixture, component, average, sweep, continuation), name, weight, alpha, rank, token_id, token, p,
    entropy, js_to_mixture. One line for each token; a continuation has its text as the token."""
    out = io.StringIO()
    w = csv.writer(out, lineterminator="\n")
    w.writerow(["kind", "name", "weight", "alpha", "rank", "token_id", "token", "p", "entropy", "js_to_mixture"])

    def add(kind: str, name: str, weight: Any, alpha: Any, d: Distribution, found: list[Token]) -> None:
        js = f"{d.js(r.next):.9g}"
        for rank, t in enumerate(found, 1):
            w.writerow([kind, name, weight, alpha, rank, t.id, t.text, f"{t.p:.9g}", f"{d.entropy():.9g}", js])

    for name, weight, d in r.rows():
        kind = "component" if weight is not None else name
        add(kind, name, "" if weight is None else f"{weight:.9g}", "", d, d.top(r.n_top))
    if r.sweep is not None:
        for a, d in zip(r.sweep.alphas, r.sweep.distributions, strict=True):
            add("sweep", "", "", f"{a:.9g}", d, [d[c.id] for c in r.sweep.curves])
    for name, text in r.continuations.items():
        w.writerow(["continuation", name, "", "", "", "", text, "", "", ""])
    return out.getvalue()


def probe_html(r: ProbeResult) -> str:
    """A small table for notebooks."""
    rows = []
    for name, weight, d in r.rows():
        top = ", ".join(f"<b>{html.escape(visible(t.text))}</b> {t.p:.3f}" for t in d.top(r.n_top))
        share = "" if weight is None else f"{weight:.3g}"
        rows.append(
            f"<tr><td>{html.escape(name)}</td><td>{share}</td><td style='text-align:left'>{top}</td>"
            f"<td>{d.entropy():.3f}</td><td>{d.js(r.next):.4f}</td></tr>"
        )
    head = "<tr><th>input</th><th>weight</th><th>next tokens</th><th>entropy</th><th>JS to mixture</th></tr>"
    return f"<table><caption>{html.escape(_title(r))}</caption>{head}{''.join(rows)}</table>"
