"""How a trace looks in a terminal: a line for each step, and the text that the steps read as.

Knows widths and colours, no model; the numbers come from the trace.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from softllama.show.printable import number, printable, visible
from softllama.trace import layers_view
from softllama.trace.data import TraceData
from softllama.trace.step import FORCED, SOFT, Step
from softllama.trace.summary import summary

DEFAULT_TOP = 5
STYLES = {SOFT: "cyan", FORCED: "yellow"}
BLOCKS = " ▏▎▍▌▋▊▉█"
WIDE = 100  # columns from which there is room for every step's reason


def trace(t: TraceData, width: int, top: int | None = None) -> RenderableType:
    """A header, a line for each step, and the hard reading below.

    width: columns. top: tokens of a mixture, on more than one line if they need it; None for up to 5 that fit on one.
    """
    lines: list[RenderableType] = [*_header(t, width), Text()]
    if t.steps:
        lines += [*_steps(t, width, top), Text()]
    more = [Text(), layers_view.layers(t, width)] if t.layers else []
    return Group(*lines, *_reading(t), *more)


def _header(t: TraceData, width: int) -> list[RenderableType]:
    facts = [*summary(t), ("prompt", printable(t.prompt_text.strip(), keep="\n"))]
    pad = max(len(name) for name, _ in facts) + 2
    lines: list[RenderableType] = []
    for name, value in facts:
        parts = [w for line in value.split("\n") for w in textwrap.wrap(line, max(20, width - pad)) or [""]]
        line = Text(name.ljust(pad), style="dim")
        line.append(("\n" + " " * pad).join(parts), style="not dim bold" if name == "policy" else "not dim")
        lines.append(line)
    return lines


def _steps(t: TraceData, width: int, top: int | None) -> list[Text]:
    """The steps, with a line where thinking begins and where the answer does."""
    line = liner(t.spell, width, top, index_width=len(str(len(t.steps) - 1)), most=max(s.entropy for s in t.steps))
    lines: list[Text] = []
    blocks = any(s.thinking for s in t.steps)
    before: Step | None = None
    for s in t.steps:
        if blocks and (before is None or before.thinking != s.thinking):
            name = " thinking " if s.thinking else " answer "
            lines.append(Text(f"──{name}".ljust(min(width, WIDE), "─"), style="bold" if s.thinking else "dim bold"))
        lines += line(s)
        before = s
    return lines


def liner(
    spell: Callable[[int], str], width: int, top: int | None = None, *, index_width: int = 4, most: float = 5.0
) -> Callable[[Step], list[Text]]:
    """A function from a step to its lines. most: the entropy, in nats, that fills the bar."""
    cells = 3 if width < 72 else 6 if width < WIDE else 10
    indent = index_width + 2 + 6 + 2 + cells + 5 + 2
    why_width = min(28, width // 4) if width >= WIDE else 0
    room = min(72 if top is None else width, max(8, width - indent - (why_width + 2 if why_width else 0)))

    def lines(s: Step) -> list[Text]:
        line = Text(no_wrap=True)
        line.append(f"{s.index:>{index_width}}  ", style="dim")
        line.append(f"{s.mode:<6}  ", style=STYLES.get(s.mode, ""))
        line.append(_bar(s.entropy / max(most, 1e-9), cells), style="cyan" if s.mode == SOFT else "dim")
        line.append(f"{s.entropy:5.2f}  ", style="dim")
        packed = _pack(_chunks(s, spell, top or DEFAULT_TOP), room, wrap=top is not None)
        first = packed[0]
        why = printable(s.why, keep="")
        if why and why_width:
            first.pad_right(max(0, room - first.cell_len) + 2)
            first.append_text(_cut(Text(why, style="dim"), why_width))
        elif why and s.mode == FORCED:
            first.append_text(_cut(Text(f"  ({why})", style="dim"), room - first.cell_len))
        return [line + first, *(Text(" " * indent) + more for more in packed[1:])]

    return lines


def _chunks(s: Step, spell: Callable[[int], str], top: int) -> list[Text]:
    """What a step fed: its heaviest tokens with their weights, one chunk each, and how many more there are."""
    if s.mode != SOFT:
        return [Text(visible(spell(s.token)), style=STYLES.get(s.mode, "") or "bold")]
    chunks: list[Text] = []
    shown = s.mixture.top(top)
    if s.hidden:
        chunks.append(Text("hidden state, reads as", style="dim"))
    elif s.token != shown[0][0]:  # the readout is not the heaviest
        chunks.append(Text("→ ", style="dim") + Text(visible(spell(s.token)), style="bold"))
    for i, w in shown:
        chunk = Text(visible(spell(i)), style="bold" if i == s.token else "")
        if len(s.mixture) > 1 or w != 1:
            chunk.append(f" {_weight(w)}", style="dim")
        chunks.append(chunk)
    if s.n_tokens > len(shown):
        chunks.append(Text(f"+{s.n_tokens - len(shown):,}", style="dim"))
    if s.noise:
        chunks.append(Text(f"noise {s.noise:.3g}", style="dim"))
    return chunks


def _weight(w: float) -> str:
    if not 0 <= w <= 1.0005:  # of a signed mixture
        return f"{w:.3g}"
    return "<.001" if w < 0.0005 else number(w)


def _pack(chunks: list[Text], room: int, *, wrap: bool) -> list[Text]:
    """Chunks side by side, two columns apart, in lines of `room` columns; without `wrap`, what fits in the first."""
    lines = [Text()]
    for chunk in chunks:
        gap = 2 if lines[-1].cell_len else 0
        if gap and lines[-1].cell_len + gap + chunk.cell_len > room:
            if not wrap:
                break
            lines.append(Text())
            gap = 0
        lines[-1].append(" " * gap)
        lines[-1].append_text(_cut(chunk, room))
    return lines


def _cut(text: Text, width: int) -> Text:
    text.truncate(max(0, width), overflow="ellipsis")
    return text


def _bar(share: float, cells: int) -> str:
    eighths = round(min(1.0, max(0.0, share)) * cells * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (BLOCKS[rest] if rest else "")).ljust(cells)


def _reading(t: TraceData) -> list[RenderableType]:
    """The readouts as text: the thinking dim, the answer below it."""
    parts: list[Any] = []
    for name, text, style in (("thinking", t.thinking, "dim"), ("answer", t.answer, "")):
        if text.strip():
            head = "the steps read" if not t.thinking.strip() else f"the {name} reads"
            parts += [Text(head, style="bold"), Text(printable(text.strip("\n"), keep="\n"), style=style), Text()]
    if not parts:
        return [Text("It reads as nothing.", style="dim")]
    return parts[:-1]
