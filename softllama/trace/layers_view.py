"""How the layers along a generation look in a terminal: the likeliest token of some layers after each step. Knows no model."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from softllama.show.printable import visible
from softllama.show.width import columns
from softllama.trace.data import TraceData

CELL, NAME = 10, 14  # columns of a readout, and of what a step fed


def layers(t: TraceData, width: int) -> RenderableType:
    """A line for each step whose layers were read, with as many of the layers as fit, the last among them."""
    n = len(t.layers[0].layers)
    k = max(1, min(n, (width - NAME - 8) // (CELL + 1)))
    shown = sorted({round(i * (n - 1) / max(1, k - 1)) for i in range(k)} | {n - 1}) if k > 1 else [n - 1]
    head = (
        "step".rjust(5)
        + "  "
        + "reads as".ljust(NAME)
        + " ".join(f"layer {t.layers[0].layers[i].layer}".ljust(CELL) for i in shown)
    )
    lines = [Text("what the layers would say next", style="bold"), Text(head.rstrip(), style="dim")]
    for s in t.layers:
        if s.step >= len(t.steps) or len(s.layers) != n:
            continue  # of a file that was cut off
        line = (
            Text(f"{s.step:>5}  ")
            .append(_cell(visible(t.spell(t.steps[s.step].token)), NAME - 1), style="cyan")
            .append(" ")
        )
        for i in shown:
            token, p = s.layers[i].top[0]
            line.append(
                _cell(visible(t.spell(token)), CELL) + " ", style="bold" if p >= 0.5 else "dim" if p < 0.1 else ""
            )
        lines.append(line)
    return Group(*lines)


def _cell(text: str, n: int) -> str:
    while columns(text) > n:
        text = text[:-2] + "…" if len(text) > 2 else text[:-1]
    return text + " " * (n - columns(text))
