"""Pictures of a lens: layers by positions, and how the last position goes from layer to layer. Knows no model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import arguments
from softllama.base.files import replacing
from softllama.probe.lens.data import LensData
from softllama.probe.plot import check_path, figure_class, no_formula, token_label

LETTERS = 10  # of a token in a cell
MOST = 16  # positions in a picture, the last ones


def figure(r: LensData, path: str | os.PathLike[str] | None = None) -> Any:
    """The likeliest token of each layer and position, shaded by its probability; below, the last position in numbers.

    Args:
        path: where to write the picture (.png, .svg, .pdf); None for nowhere.

    Raises:
        UsageError: the picture cannot be written there.
        SoftLlamaError: matplotlib is not installed.
    """
    if path is not None:
        check_path(str(path := arguments.path(path)))
    n_positions, n_layers = min(MOST, len(r.positions)), len(r.layers)
    size = (max(7.0, 2.0 + 0.95 * n_positions), 1.5 + 0.24 * n_layers + 2.6)
    picture = figure_class()(figsize=size, layout="constrained")
    grid, lines = picture.subplots(2, 1, height_ratios=(1 + 0.24 * n_layers, 2.6))
    _grid(r, grid, n_positions)
    _lines(r, lines)
    picture.suptitle(no_formula(r.title), fontsize=11)
    if path is not None:
        with replacing(path) as f:
            picture.savefig(f, format=Path(path).suffix[1:].lower(), dpi=150, metadata=None)
    return picture


def _grid(r: LensData, axes: Any, n: int) -> None:
    run, skipped = r.first, len(r.positions) - n
    p = run.probs[:, skipped:, 0]  # (layers, n)
    axes.imshow(p, aspect="auto", cmap="Blues", vmin=0, vmax=1, origin="lower")
    for i in range(len(r.layers)):
        for j in range(n):
            text = token_label(r.spell(int(run.ids[i, skipped + j, 0])))
            shown = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
            axes.text(j, i, shown, ha="center", va="center", fontsize=7, color="white" if p[i, j] > 0.6 else "black")
    axes.set_xticks(range(n), [token_label(t) for t in run.inputs[skipped:]], rotation=30, ha="right", fontsize=8)
    step = max(1, len(r.layers) // 12)
    axes.set_yticks(range(0, len(r.layers), step), r.layers[::step], fontsize=8)
    axes.set_ylabel("layer")
    axes.set_xlabel("shade: probability of the likeliest token")


def _lines(r: LensData, axes: Any) -> None:
    x = np.asarray(r.layers)
    marker = "o" if len(x) == 1 else None
    axes.plot(x, r.first.kl[:, -1], color="black", marker=marker, label="KL of the output to the layer")
    axes.set_ylabel("KL (nats)")
    axes.set_xlabel("layer, at the last position")
    axes.spines[["top"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if r.beside:
        right = axes.twinx()
        for k, run in enumerate(r.beside):
            assert run.js is not None
            right.plot(x, run.js[:, -1], color=f"C{k}", marker=marker, label=no_formula(f"JS to {run.name}"))
        right.set_ylabel("JS (nats)")
        right.set_ylim(0, np.log(2) * 1.02)
        right.spines[["top"]].set_visible(False)
        more, names = right.get_legend_handles_labels()
        handles, labels = handles + more, labels + names
    axes.set_ylim(bottom=0)
    axes.legend(handles, labels, frameon=False, fontsize=8)
