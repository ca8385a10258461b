"""A trace as one HTML page that needs nothing else: no network, no fonts, no other files. Knows no model.

Nothing in a trace is trusted. Its texts reach the page as escaped text (the template is page.html) or as JSON without `<`,
and the page's content security policy lets only its own script run, by its hash. The chart is heatmap.js, which other pages
draw with, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from softllama.base.files import check_place, replacing
from softllama.errors import UsageError
from softllama.show import page as pages
from softllama.show.printable import printable, visible
from softllama.trace.data import TraceData
from softllama.trace.step import FORCED, HARD, SOFT, Step
from softllama.trace.summary import summary

TOP = 24  # tokens of each step's mixture that the page holds; the rest is one number
MARK = b'<meta name="generator" content="softllama trace html">'
MODES = (SOFT, HARD, FORCED)
SCRIPTS = ("softllama.show/dom.js", "softllama.trace/heatmap.js", "softllama.trace/page.js")
STYLES = ("softllama.show/look.css", "softllama.trace/heatmap.css", "softllama.trace/page.css")


def check_path(path: Path) -> None:
    """Raise UsageError for a file that the page cannot be written to: no HTML name, no folder, or a file of another kind."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"cannot write a page to {path.name!r}", "end the name in .html")
    check_place(path, "a page of softllama", MARK)


def write(trace: TraceData, path: Path) -> None:
    """Write the page, or replace an earlier one, as a whole.

    Raises:
        UsageError: the name does not end in .html, or a file of another kind is there.
        SoftLlamaError: the file cannot be written.
    """
    check_path(path)
    text = page(trace)
    with replacing(path) as f:
        f.write(text.encode("utf-8", "replace"))


def page(trace: TraceData) -> str:
    """The page as text."""
    script, style = pages.joined(*SCRIPTS), pages.joined(*STYLES)
    facts = summary(trace)
    named = dict(facts)
    return pages.render(
        "softllama.trace",
        "page.html",
        csp=pages.content_policy(script, style),
        mark=MARK.decode(),
        title=f"{named['policy']} on {named['model']}",
        label=f"{named['steps']}; weights of the mixtures and entropy over the steps",
        prompt=printable(trace.prompt_text.strip(), keep="\n"),
        facts=facts[2:],  # model and policy are the title
        reading=_reading(trace),
        SOFT=SOFT,
        data=_data(trace),
        script=script,
        style=style,
        manifest=json.dumps(trace.manifest, indent=2, ensure_ascii=False),
    )


def _data(trace: TraceData) -> str:
    """The steps for the script, as ASCII JSON in which nothing can end its element: `<`, `>` and `&` are escapes."""
    index: dict[int, int] = {}
    steps = [_step(s, index) for s in trace.steps]
    texts = [visible(trace.spell(i)) for i in index]
    data = json.dumps({"steps": steps, "texts": texts}, allow_nan=False, separators=(",", ":"))
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _step(s: Step, index: dict[int, int]) -> dict[str, Any]:
    """One step, with short names: the page of a long trace should stay small. index: ids to places in `texts`."""

    def at(token: int) -> int:
        return index.setdefault(token, len(index))

    shown = s.mixture.top(TOP)
    rest = float(s.mixture.weights.sum(dtype=float)) - sum(w for _, w in shown) if len(s.mixture) > TOP else 0.0
    rest += s.rest.weight if s.rest else 0.0
    record: dict[str, Any] = {
        "m": MODES.index(s.mode),
        "k": int(s.thinking),
        "t": at(s.token),
        "h": round(s.entropy, 5),
        "n": s.n_tokens,
        "w": [[at(i), _short(w)] for i, w in shown],
        "r": _short(rest),
        "p": [[at(i), _short(p)] for i, p in s.top],
    }
    optional = {"y": printable(s.why, keep="\n"), "l": _short(s.left_out), "z": _short(s.noise), "q": int(s.hidden)}
    return {**record, **{k: v for k, v in optional.items() if v}}


def _short(x: float) -> float:
    return float(f"{x:.4g}")


def _reading(trace: TraceData) -> list[tuple[str, str, list[Step], str]]:
    """What the steps read as: (name, heading, steps with text, text at the end) of the thinking and of the answer."""
    blocks = []
    for name, inside, tail in (("thinking", True, trace.tail[0]), ("answer", False, trace.tail[1])):
        steps = [s for s in trace.steps if s.thinking == inside]
        heading = f"The {name} reads" if trace.n_thinking else "The steps read"
        if steps:
            blocks.append((name, heading, [s for s in steps if s.text], tail))
    return blocks
