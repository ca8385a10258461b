"""How the results of a lens look in a terminal and in a notebook. Knows no model."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from softllama.base import tables
from softllama.probe.lens.data import LensData, LensRun
from softllama.show.printable import number, printable, visible
from softllama.show.width import columns as columns_of

CELL = 11  # columns of a readout in the grid
SURE, UNSURE = 0.5, 0.1  # probabilities from which, and below which, a readout looks different
TOP = 3  # tokens of a readout in the table of one position


def table(r: LensData, width: int) -> RenderableType:
    """The likeliest token of each layer and position, and the last position in numbers, beside what stands beside it."""
    parts: list[RenderableType] = [Text(printable(r.title), style="bold")]
    if len(r.positions) > 1:
        parts += [*_grid(r, width), Text()]
    parts += [_position(r, len(r.positions) - 1), Text(_legend(r), style="dim")]
    return Group(*parts)


def _short(text: str, n: int) -> str:
    shown = visible(text)
    while columns_of(shown) > n:
        shown = shown[:-2] + "…" if len(shown) > 2 else shown[:-1]
    return shown


def _grid(r: LensData, width: int) -> list[RenderableType]:
    """Layers by positions: as many of the last positions as fit."""
    shown = max(1, min(len(r.positions), (width - 6) // (CELL + 2)))
    places = range(len(r.positions) - shown, len(r.positions))
    grid = _table_without_lines()
    grid.add_column("layer", justify="right", no_wrap=True)
    for j in places:
        grid.add_column(Text(_short(r.first.inputs[j], CELL)), no_wrap=True)
    for i, layer in enumerate(r.layers):
        grid.add_row(str(layer), *(_readout(r, r.first, i, j) for j in places))
    left = len(r.positions) - shown
    note = [Text(f"{left} more to the left: --output lens.html has all of them", style="dim")] if left else []
    return [grid, *note]


def _readout(r: LensData, run: LensRun, i: int, j: int) -> Text:
    p = float(run.probs[i, j, 0])
    style = "bold" if p >= SURE else "dim" if p < UNSURE else ""
    return Text(_short(r.spell(int(run.ids[i, j, 0])), CELL), style=style)


def _position(r: LensData, j: int) -> RenderableType:
    """One position in every layer."""
    out = _table_without_lines()
    out.add_column("layer", justify="right", no_wrap=True)
    out.add_column("next tokens", ratio=2)
    for name in ("entropy", "KL to last"):
        out.add_column(name, justify="right", no_wrap=True)
    for run in r.beside:
        label = printable(run.name) if run.weight is None else f"{printable(run.name)} {run.weight:.3g}"
        out.add_column(Text(label), ratio=1)
        out.add_column("cosine", justify="right", no_wrap=True)
        out.add_column("JS", justify="right", no_wrap=True)
    for i, layer in enumerate(r.layers):
        cells: list[Text | str] = [str(layer), _tokens(r, r.first, i, j, TOP)]
        cells += [_float(r.first.entropy[i, j]), _float(r.first.kl[i, j])]
        for run in r.beside:
            assert run.cosine is not None
            assert run.js is not None
            cells += [_tokens(r, run, i, j, 1), _float(run.cosine[i, j]), _float(run.js[i, j])]
        out.add_row(*cells)
    where = visible(r.first.inputs[j])
    return Group(Text(f"after {where} (position {r.positions[j]} of {r.n_positions})", style="bold"), out)


def _tokens(r: LensData, run: LensRun, i: int, j: int, n: int) -> Text:
    text = Text()
    for rank, (t, p) in enumerate(zip(run.ids[i, j, :n], run.probs[i, j, :n], strict=True)):
        text.append("  " * (rank > 0)).append(visible(r.spell(int(t))), style="bold" if rank == 0 else "")
        text.append(f" {number(float(p), 2)}", style="dim")
    return text


def _float(x: float) -> str:
    return f"{x:.3f}"


def _legend(r: LensData) -> str:
    of = "Entropy and KL(output ‖ layer) in nats."
    if not r.beside:
        return of
    return f"{of} Cosine: of the state and the first run's. JS: of the readout and the first run's, 0 to 0.6931 nats."


def _table_without_lines() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def html(r: LensData) -> str:
    """A small table for notebooks: the likeliest token of each layer and position."""
    head = ("layer", *(visible(t) for t in r.first.inputs))
    rows = []
    for i, layer in enumerate(r.layers):
        cells = [tables.Markup(_notebook_cell(r, i, j)) for j in range(len(r.positions))]
        rows.append((layer, *cells))
    return tables.html_table(head, rows, printable(r.title))


def _notebook_cell(r: LensData, i: int, j: int) -> str:
    run = r.first
    top = ", ".join(f"{visible(r.spell(int(t)))} {p:.3f}" for t, p in zip(run.ids[i, j], run.probs[i, j], strict=True))
    shown = tables.escape(visible(r.spell(int(run.ids[i, j, 0]))))
    return f'<span title="{tables.escape(top)}">{shown}</span> {run.probs[i, j, 0]:.2f}'
