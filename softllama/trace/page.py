"""A trace as one HTML page that needs nothing else: no network, no fonts, no other files. Knows no model.

Nothing in a trace is trusted. Its texts reach the page as escaped text or as JSON without `<`, and the page's content
security policy lets only its own script run, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from softllama.base.files import check_place, replacing
from softllama.errors import UsageError
from softllama.show.printable import visible
from softllama.trace.record import Trace
from softllama.trace.step import FORCED, HARD, SOFT, Step
from softllama.trace.view import facts, plain

TOP = 24  # tokens of each step's mixture that the page holds; the rest is one number
MARK = b'<meta name="generator" content="softllama trace html">'
MODES = (SOFT, HARD, FORCED)


def check_path(path: Path) -> None:
    """Raise UsageError for a file that the page cannot go to: something other than an earlier page, or no folder."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"cannot write a page to {path.name!r}", "end the name in .html")
    check_place(path, "a page of softllama", MARK)


def write(trace: Trace, path: Path) -> None:
    """Write the page, or replace an earlier one, as a whole."""
    check_path(path)
    text = page(trace)
    with replacing(path) as f:
        f.write(text.encode("utf-8", "replace"))


def page(trace: Trace) -> str:
    """The whole page."""
    folder = files("softllama.trace")
    template, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.js"))
    found = facts(trace)
    known = dict(found)
    title = f"{known['policy']} on {known['model']}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    csp = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    label = f"{known['steps']}; weights of the mixtures and entropy over the steps"
    # model and policy are the title
    rows = [f"<div><dt>{_escape(name)}</dt><dd>{_escape(value)}</dd></div>" for name, value in found[2:]]
    return Template(template).substitute(
        csp=csp, title=_escape(title), label=_escape(label), prompt=_escape(plain(trace.prompt_text.strip())),
        facts="".join(rows), reading=_reading(trace), data=_data(trace), script=script,
        manifest=_escape(plain(json.dumps(trace.manifest, indent=2, ensure_ascii=False))),
    )  # fmt: skip


def _escape(text: str) -> str:
    """Text for HTML, in an element or an attribute."""
    return html.escape(text, quote=True)


def _data(trace: Trace) -> str:
    """What the script draws, as JSON in which nothing can end its element: `<`, `>` and `&` are escapes, all is ASCII."""
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
    record: dict[str, Any] = {
        "m": MODES.index(s.mode), "k": int(s.thinking), "t": at(s.token), "h": round(s.entropy, 5), "n": len(s.mixture),
        "w": [[at(i), _short(w)] for i, w in shown], "r": _short(rest), "p": [[at(i), _short(p)] for i, p in s.top],
    }  # fmt: skip
    optional = {"y": plain(s.why), "l": _short(s.left_out), "z": _short(s.noise), "q": int(s.hidden)}
    return {**record, **{k: v for k, v in optional.items() if v}}


def _short(x: float) -> float:
    return float(f"{x:.4g}")


def _reading(trace: Trace) -> str:
    """What the steps read as: a span for each, so that the chart can point at it."""
    parts = []
    blocks = (("thinking", True, trace.tail[0]), ("answer", False, trace.tail[1]))
    for name, inside, tail in blocks:
        steps = [s for s in trace.steps if s.thinking == inside]
        if not steps:
            continue
        spans = [
            f'<span data-step="{s.index}"{" class=soft" if s.mode == SOFT else ""}>{_escape(plain(s.text))}</span>'
            for s in steps
            if s.text
        ]
        head = f"The {name} reads" if trace.n_thinking else "The steps read"
        parts.append(f'<h2>{head}</h2>\n<p class="reading {name}">{"".join(spans)}{_escape(plain(tail))}</p>')
    return "\n".join(parts)
