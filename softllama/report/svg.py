"""Small plots as SVG text, for pages that need nothing else. Knows Figure; colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from softllama.base import tables
from softllama.report.data import Figure
from softllama.show.printable import printable

WIDTH, HEIGHT = 680, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 14, 52
LEGEND = 20  # height of a line of the legend
SLANT = 36  # more height for slanted names
COLOURS = 8  # --c0 to --c7 in the page's style


def figure(f: Figure) -> str:
    """The plot with its legend below."""
    rows = _legend(f)
    top = HEIGHT + (SLANT if _slanted(f) else 0)
    height = top + LEGEND * len(rows)
    body = _bars(f) if f.kind == "bars" else _lines(f)
    legend = "".join(
        f'<g transform="translate({x:.0f},{top + LEGEND * j + 4})"><rect width="12" height="12" rx="2" '
        f'fill="var(--c{i % COLOURS})"/><text x="17" y="10">{escape(name)}</text></g>'
        for j, row in enumerate(rows)
        for x, i, name in row
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(f.title)}">'
        f"<title>{escape(f.title)}</title>{body}{legend}</svg>"
    )


def _legend(f: Figure) -> list[list[tuple[float, int, str]]]:
    """(x, series, name) by lines."""
    if len(f.series) < 2:
        return []
    rows: list[list[tuple[float, int, str]]] = [[]]
    x = float(LEFT)
    for i, s in enumerate(f.series):
        wide = 34 + 6.6 * len(s.name)
        if rows[-1] and x + wide > WIDTH - RIGHT:
            rows.append([])
            x = float(LEFT)
        rows[-1].append((x, i, s.name))
        x += wide
    return rows


def _range(f: Figure) -> tuple[float, float]:
    if f.y_range is not None:
        return f.y_range
    values = [v for s in f.series for part in (s.y, s.low, s.high) for v in part if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(*values, 0.0) if f.kind == "bars" or min(values) >= 0 else min(values), max(values)
    return low, high if high > low else low + 1.0


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About n round numbers (1, 2 or 5 times a power of ten apart) from low to high."""
    if not high > low:
        return [low]
    raw = (high - low) / n
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _axes(f: Figure, low: float, high: float, at_x: Sequence[tuple[float, str]], slanted: bool = False) -> str:
    """Grid, numbers, names. at_x: (place in pixels, text) of each tick. slanted: for long texts."""
    out = []
    for v in ticks(low, high):
        y = _y(v, low, high)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{v:g}</text>')
    bottom = HEIGHT - BOTTOM
    for x, text in at_x:
        place = f'text-anchor="middle" x="{x:.1f}" y="{bottom + 16}"'
        if slanted:
            place = f'text-anchor="end" transform="translate({x + 4:.1f},{bottom + 14}) rotate(-28)"'
        out.append(f'<text class="tick" {place}>{escape(text)}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    out.append(f'<text text-anchor="middle" x="{middle:.0f}" y="{HEIGHT - 12}">{escape(f.x_label)}</text>')
    y = TOP + (bottom - TOP) / 2
    out.append(
        f'<text text-anchor="middle" transform="translate(14,{y:.0f}) rotate(-90)">{escape(f.y_label)}</text>'
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
    )
    return "".join(out)


def _y(v: float, low: float, high: float) -> float:
    v = min(max(v, low), high)
    return HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - BOTTOM - TOP)


def _lines(f: Figure) -> str:
    xs = [float(x) for s in f.series for x in s.x] or [0.0, 1.0]
    left, right = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    low, high = _range(f)

    def px(x: float) -> float:
        return LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    at = ticks(left, right, 8)
    if all(float(x).is_integer() for x in xs):  # steps and layers have no halves
        at = [v for v in at if float(v).is_integer()]
    out = [_axes(f, low, high, [(px(v), f"{v:g}") for v in at])]
    for i, s in enumerate(f.series):
        colour = f"var(--c{i % COLOURS})"
        points = [(px(float(x)), _y(y, low, high)) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
        if s.low and s.high:
            ends = [
                (px(float(x)), _y(a, low, high), _y(b, low, high))
                for x, a, b in zip(s.x, s.low, s.high, strict=True)
                if math.isfinite(a) and math.isfinite(b)
            ]
            around = [(x, a) for x, a, _ in ends] + [(x, b) for x, _, b in reversed(ends)]
            if around:
                out.append(f'<polygon points="{_points(around)}" fill="{colour}" opacity="0.15"/>')
        out.append(f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 30:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
    return "".join(out)


def _names(f: Figure) -> list[str]:
    return list(dict.fromkeys(str(x) for s in f.series for x in s.x))


def _slanted(f: Figure) -> bool:
    """Are the names of the bars too long to stand side by side?"""
    names = _names(f) if f.kind == "bars" else []
    return max(map(len, names), default=0) * 6.3 > (WIDTH - LEFT - RIGHT) / max(1, len(names))


def _bars(f: Figure) -> str:
    names = _names(f)
    low, high = _range(f)
    room = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    width = 0.8 * room / max(1, len(f.series))
    at = [(LEFT + room * (j + 0.5), n) for j, n in enumerate(names)]
    out = [_axes(f, low, high, at, _slanted(f))]
    zero = _y(0.0, low, high)
    for i, s in enumerate(f.series):
        for k, (x, y) in enumerate(zip(s.x, s.y, strict=True)):
            if not math.isfinite(y):
                continue
            left = LEFT + room * (names.index(str(x)) + 0.1) + i * width
            top = _y(y, low, high)
            out.append(
                f'<rect x="{left:.1f}" y="{min(top, zero):.1f}" width="{max(1.0, width - 2):.1f}" '
                f'height="{abs(top - zero):.1f}" fill="var(--c{i % COLOURS})"><title>{escape(s.name)}, {escape(str(x))}: '
                f"{y:.3g}</title></rect>"
            )
            if s.low and s.high and math.isfinite(s.low[k]) and math.isfinite(s.high[k]):
                x0, a, b = left + (width - 2) / 2, _y(s.low[k], low, high), _y(s.high[k], low, high)
                out.append(f'<line class="error" x1="{x0:.1f}" x2="{x0:.1f}" y1="{a:.1f}" y2="{b:.1f}"/>')
    return "".join(out)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def escape(text: str) -> str:
    """Text for SVG, in an element or an attribute; what cannot be printed becomes an escape."""
    return tables.escape(printable(text))
