"""Pictures of probes. The only module that imports matplotlib, which the extra `plot` installs. Knows no model."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import arguments
from softllama.base.files import replacing
from softllama.errors import SoftLlamaError, UsageError
from softllama.probe.data import AVERAGE, MIXTURE, ProbeData
from softllama.show.printable import printable, visible

FORMATS = (".png", ".svg", ".pdf")


def check_path(path: str) -> None:
    """Raise UsageError for a file that a plot cannot be written to, before any work is done."""
    p = Path(path)
    if p.suffix.lower() not in FORMATS:
        raise UsageError(f"cannot plot to {path!r}", f"end the name in one of {', '.join(FORMATS)}")
    if p.is_dir() or not p.parent.is_dir():
        raise UsageError(f"cannot write {path!r}: there is no folder {str(p.parent)!r}", "make the folder first")
    figure_class()


def figure_class() -> Any:
    """matplotlib's Figure, which a notebook shows as a picture also where pyplot was never imported."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SoftLlamaError("plots need matplotlib", "pip install 'softllama[plot]'") from None

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=100)
            return out.getvalue()

    return ShownFigure


def figure(r: ProbeData, path: str | os.PathLike[str] | None = None) -> Any:
    """Bars of the most probable tokens for each input, or the curves of the sweep.

    Args:
        r: the results.
        path: where to write the picture (.png, .svg, .pdf); None for nowhere.

    Returns:
        The matplotlib Figure.

    Raises:
        UsageError: the picture cannot be written there.
        SoftLlamaError: matplotlib is not installed.
    """
    if path is not None:
        check_path(str(path := arguments.path(path)))
    picture = figure_class()(figsize=(8, 4.5), layout="constrained")
    if r.sweep is None:
        _bars(r, picture.subplots())
    else:
        _curves(r, picture)
    picture.suptitle(no_formula(f"{r.title}\n{r.model}".strip()), fontsize=11)
    if path is not None:
        with replacing(path) as f:
            picture.savefig(f, format=Path(path).suffix[1:].lower(), dpi=150, metadata=None)
    return picture


def no_formula(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return printable(text).replace("$", r"\$")


def token_label(text: str) -> str:
    """A token's text for a picture."""
    return no_formula(visible(text))


def _bars(r: ProbeData, axes: Any) -> None:
    rows, ids = r.rows()[:8], r.compared_tokens
    x, width = np.arange(len(ids)), 0.8 / len(rows)
    for j, (name, weight, d) in enumerate(rows):
        label = name if weight is None else f"{name} ({weight:.3g})"
        colour = {MIXTURE: "black", AVERAGE: "0.65"}.get(name, f"C{j - 1}")
        axes.bar(
            x + (j - (len(rows) - 1) / 2) * width,
            [d[i].p for i in ids],
            width,
            label=no_formula(label),
            color=colour,
        )
    emergent = {e.id for e in r.emergent}
    names = [token_label(r.next[i].text) + "\n(emergent)" * (i in emergent) for i in ids]
    axes.set_xticks(x, names, rotation=30, ha="right")
    axes.set_ylabel("probability of the next token")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _curves(r: ProbeData, picture: Any) -> None:
    s = r.sweep
    assert s is not None
    top, bottom = picture.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for c in s.curves:
        mostly = c.above >= float(max(c.p[0], c.p[-1]))  # at least twice what it is at either end
        label = token_label(c.text) + " (emergent)" * (c.id in s.emergent and mostly)
        (line,) = top.plot(s.alphas, c.p, label=label, marker="o" if len(s.alphas) <= 25 else None, markersize=3)
        if s.noise.log_odds:
            half = s.noise.of_probability(c.p) / 2
            top.fill_between(s.alphas, c.p - half, c.p + half, color=line.get_color(), alpha=0.15, linewidth=0)
        top.plot([0, 1], [c.p[0], c.p[-1]], color=line.get_color(), linewidth=0.8, linestyle=":")  # sampling first
    top.set_ylabel("probability")
    highest = max(float(c.p.max()) for c in s.curves)
    top.set_ylim(-0.02 * highest, 1.05 * highest)
    top.legend(
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        title="dotted: average\nof the outputs" + ("\nshaded: noise" if s.noise.log_odds else ""),
        title_fontsize=8,
    )
    bottom.plot(s.alphas, s.js_start, color="C0", label=no_formula(f"to {s.start}"))
    bottom.plot(s.alphas, s.js_end, color="C1", label=no_formula(f"to {s.end}"))
    if s.noise.js:
        bottom.axhspan(0, s.noise.js, color="0.9", linewidth=0, zorder=0)
    bottom.set_ylabel("JS (nats)")
    bottom.set_xlabel(no_formula(f"α, from {s.start} (0) to {s.end} (1)"))
    bottom.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        if s.midpoint is not None:
            axes.axvline(s.midpoint, color="0.8", linewidth=0.8, zorder=0)
