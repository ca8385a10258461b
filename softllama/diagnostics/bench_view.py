"""How a benchmark looks in a terminal: tables of medians, with the least and the largest in brackets.

Knows the result of bench.everything. Measures nothing.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from softllama.diagnostics.bench_parts import OURS
from softllama.report.data import Cell, Table
from softllama.report.text import Grids
from softllama.vectors.statistics import Estimate


def bench(result: dict[str, Any]) -> RenderableType:
    """The tables of a result of softllama.diagnostics.bench.everything."""
    n = int(result["repeat"])

    def of(r: dict[str, Any], key: str, factor: float = 1) -> Cell:
        if (spread := r.get(key)) is None:
            return None
        value, low, high = (factor * spread[k] for k in ("median", "min", "max"))
        return Estimate(value, low, high, n)

    def middle(r: dict[str, Any], key: str) -> Cell:
        return float(r[key]["median"]) if key in r else None

    def whole(r: dict[str, float]) -> Cell:
        return round(1e6 * r["median"])

    def quarters(r: dict[str, float]) -> Cell:
        middle, low, high = (round(1e6 * r[k]) for k in ("median", "q1", "q3"))
        return f"{middle} [{low}, {high}]"

    def row(name: str, r: dict[str, Any]) -> tuple[Cell, ...]:
        rate = 1 / r["seconds"]["median"]
        return name, of(r, "seconds", 1e3), of(r, "ratio"), rate, middle(r, "tokens"), middle(r, "entropy")

    tables = [
        Table(
            name="steps",
            title="One step",
            head=("", "ms", "x llama.cpp", "tokens/s", "ids fed", "entropy"),
            rows=tuple(row(name, r) for name, r in result["policies"].items()),
            note="Medians, with the least and the largest. The ratio is to llama.cpp's greedy loop before and after.",
        ),
        Table(
            name="parts",
            title="Where a step's microseconds go",
            head=("", "llama.cpp", "outside", *OURS),
            rows=tuple(
                (name, whole(r["llama.cpp"]), quarters(r["outside"]), *(quarters(r[p]) for p in OURS))
                for name, r in result["parts"].items()
            ),
            note='Medians, with the quartiles. "outside": all that is not llama.cpp, in generations without marks between the '
            "parts, which take some microseconds each.",
        ),
    ]
    if streams := result.get("streams"):
        keys = (("soft", 1), ("hard", 1), ("ratio", 1), ("outside", 1e6), ("more", 1e6))
        rows = ((k, *(of(r, key, factor) for key, factor in keys)) for k, r in streams.items())
        columns = ("streams", "soft", "hard", "soft / hard", "µs a step outside", "more a stream")
        note = "Outside of llama.cpp: all that a step of all streams takes, and how much that grows with each stream."
        tables.append(Table("streams", "Streams, tokens/s", columns, tuple(rows), note=note))
    if sweep := result.get("sweep"):
        cells = (of(sweep, "softllama", 1e3), of(sweep, "llama.cpp", 1e3), of(sweep, "ratio"))
        head = ("softllama, ms", "llama.cpp, the same batches", "ratio")
        tables.append(Table("sweep", f"A sweep of {sweep['positions']} positions", head, (cells,)))
    parts: list[RenderableType] = []
    for t in tables:
        parts += [Text(t.title, style="bold"), *([Text(t.note, style="dim")] if t.note else []), Grids(t), Text()]
    memory = ", ".join(f"{v / 2**20:.0f} MiB {k}" for k, v in result["memory"].items())
    how = f"instruction set {result['isa']}, {result['n_threads']} threads, {result['steps']} steps, {n} times"
    return Group(*parts, Text(f"memory: {memory}"), Text(how))
