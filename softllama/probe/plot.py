"""Pictures of results. The only module that knows matplotlib, which the extra `plot` brings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softllama.base import arguments
from softllama.base.files import replacing
from softllama.errors import SoftLlamaError, UsageError
from softllama.show.console import visible

if TYPE_CHECKING:
    from softllama.probe.result import ProbeResult

FORMATS = (".png", ".svg", ".pdf")


def check_path(path: str) -> None:
    """Raise UsageError for a file that a plot cannot be written to, before any work is done."""
    p = Path(path)
    if p.suffix.lower() not in FORMATS:
        raise UsageError(f"cannot plot to {path!r}", f"end the name in one of {', '.join(FORMATS)}")
    if p.is_dir() or not p.parent.is_dir():
        raise UsageError(f"cannot write {path!r}: there is no folder {str(p.parent)!r}", "make the folder first")
    _figure_class()


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SoftLlamaError("plots need matplotlib", "pip install 'softllama[plot]'") from None
    return Figure


def probe(r: ProbeResult, path: str | os.PathLike[str] | None = None) -> Any:
    """Bars of the likeliest tokens for each input, or the sweep's curves. Returns the figure, written to `path` if given."""
    if path is not None:
        check_path(str(path := arguments.path(path)))
    figure = _figure_class()(figsize=(8, 4.5), layout="constrained")
    if r.sweep is None:
        _bars(r, figure.subplots())
    else:
        _curves(r, figure)
    figure.suptitle(_title(r), fontsize=11)
    if path is not None:
        with replacing(path) as f:
            figure.savefig(f, format=Path(path).suffix[1:].lower(), dpi=150, metadata=None)
    return figure


def _title(r: ProbeResult) -> str:
    from softllama.show.console import _title as title

    return title(r).replace("$", r"\$")


def _label(text: str) -> str:
    return visible(text).replace("$", r"\$")


def _bars(r: ProbeResult, axes: Any) -> None:
    rows = r.rows()[:8]
    ids = list(dict.fromkeys(t.id for _, _, d in rows for t in d.top(min(r.n_top, 5))))
    ids = sorted(ids, key=lambda i: -max(d[i].p for _, _, d in rows))[:12]
    x, width = np.arange(len(ids)), 0.8 / len(rows)
    for j, (name, weight, d) in enumerate(rows):
        label = name if weight is None else f"{name} ({weight:.3g})"
        colour = {"mixture": "black", "average": "0.65"}.get(name, f"C{j - 1}")
        axes.bar(
            x + (j - (len(rows) - 1) / 2) * width,
            [d[i].p for i in ids],
            width,
            label=label.replace("$", r"\$"),
            color=colour,
        )
    axes.set_xticks(x, [_label(r.next[i].text) for i in ids], rotation=30, ha="right")
    axes.set_ylabel("probability of the next token")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _curves(r: ProbeResult, figure: Any) -> None:
    s = r.sweep
    assert s is not None
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for c in s.curves:
        (line,) = top.plot(
            s.alphas, c.p, label=_label(c.text), marker="o" if len(s.alphas) <= 25 else None, markersize=3
        )
        top.plot([0, 1], [c.p[0], c.p[-1]], color=line.get_color(), linewidth=0.8, linestyle=":")  # sampling first
    top.set_ylabel("probability")
    top.set_ylim(-0.02, 1.02)
    top.legend(
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        title="dotted: average\nof the outputs",
        title_fontsize=8,
    )
    bottom.plot(s.alphas, s.js_start, color="C0", label=f"to {s.start}")
    bottom.plot(s.alphas, s.js_end, color="C1", label=f"to {s.end}")
    bottom.set_ylabel("JS (nats)")
    bottom.set_xlabel(f"α, from {s.start} (0) to {s.end} (1)".replace("$", r"\$"))
    bottom.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        if s.midpoint is not None:
            axes.axvline(s.midpoint, color="0.8", linewidth=0.8, zorder=0)
