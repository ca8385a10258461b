"""A lens as one HTML page that needs nothing else: no network, no fonts, no other files. Knows no model.

Nothing in a result is trusted, as in a trace's page: texts reach the page escaped, or as JSON without `<`, and its content
security policy lets only its own script, page.js, run, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from softllama.base.files import check_place, replacing
from softllama.errors import UsageError
from softllama.probe.lens.data import LensData, LensRun
from softllama.show.page import render
from softllama.show.printable import visible

MARK = b'<meta name="generator" content="softllama lens">'


def check_path(path: Path) -> None:
    """Raise UsageError for a file that the page cannot be written to: no HTML name, no folder, or a file of another kind."""
    if path.suffix.lower() != ".html":
        raise UsageError(f"cannot write a page to {path.name!r}", "end the name in .html")
    check_place(path, "a page of softllama lens", MARK)


def write(r: LensData, path: Path) -> None:
    """Write the page, or replace an earlier one, as a whole.

    Raises:
        UsageError: the name does not end in .html, or a file of another kind is there.
        SoftLlamaError: the file cannot be written.
    """
    check_path(path)
    text = page(r)
    with replacing(path) as f:
        f.write(text.encode("utf-8", "replace"))


def page(r: LensData) -> str:
    """The page as text."""
    script = (files("softllama.probe.lens") / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    model = r.manifest.get("model", {})
    facts = [
        ("model", str(model.get("name", ""))),
        ("layers", f"{len(r.layers)} of {r.n_layer}"),
        ("positions", f"{len(r.positions)} of {r.n_positions}"),
        ("runs", ", ".join(_name(run) for run in r.runs)),
    ]
    return render(
        "softllama.probe.lens",
        "page.html",
        csp=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        mark=MARK.decode(),
        title=r.title,
        facts=facts,
        runs=[_name(run) for run in r.runs],
        data=_data(r),
        script=script,
        manifest=json.dumps(r.manifest, indent=2, ensure_ascii=False),
    )


def _name(run: LensRun) -> str:
    return run.name if run.weight is None else f"{run.name} {run.weight:.3g}"


def _data(r: LensData) -> str:
    """The readouts for the script, as ASCII JSON in which nothing can end its element: `<`, `>` and `&` are escapes."""
    index: dict[int, int] = {}
    runs = [_run(run, index) for run in r.runs]
    texts = [visible(r.spell(i)) for i in index]
    data = json.dumps(
        {"layers": r.layers, "positions": r.positions, "runs": runs, "texts": texts},
        allow_nan=False,
        separators=(",", ":"),
    )
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _run(run: LensRun, index: dict[int, int]) -> dict[str, Any]:
    """One run, with short names; each list has the layers first, then the positions. index: ids to places in `texts`."""
    places = [[[index.setdefault(int(t), len(index)) for t in at] for at in layer] for layer in run.ids]
    numbers = {"h": run.entropy, "k": run.kl, "c": run.cosine, "j": run.js}
    out = {name: [[_short(x) for x in row] for row in a.tolist()] for name, a in numbers.items() if a is not None}
    p = [[[_short(x) for x in at] for at in layer] for layer in run.probs.tolist()]
    return {"name": _name(run), "inputs": [visible(t) for t in run.inputs], "t": places, "p": p, **out}


def _short(x: float) -> float | None:
    return float(f"{x:.4g}") if math.isfinite(x) else None
