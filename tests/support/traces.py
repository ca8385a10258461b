"""Traces made by hand, for the tests of what reads them. No model."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from softllama.trace.record import Trace
from softllama.trace.step import FORCED, HARD, SOFT, Step
from softllama.vectors.mixture import Mixture

TEXTS = {1: " dog", 2: " cat", 3: "</think>", 4: "\n", 5: " the", 6: "é"}

HOSTILE = {
    1: "</script><script>document.documentElement.dataset.pwned=1</script>",
    2: "<img src=x onerror=document.documentElement.dataset.pwned=2>",
    3: "]]><!--<script>",
    4: "\x1b[31mred\x07\x00",
    5: "\u2028\u2029\x85\x1c",  # line ends to Python and JavaScript, but not to JSON
    6: "\"'&amp;${x}$title`\\",
    7: "\u202eback\u200bwards",
    8: "\ud800",  # half a surrogate pair
    9: "",
    10: "👩‍👩‍👧日本語",
}


def step(index: int, weights: dict[int, float], mode: str = SOFT, **more: Any) -> Step:
    """A step that feeds these weights and reads as the heaviest of them."""
    m = Mixture(list(weights), list(weights.values()), signed=more.pop("signed", False))
    token = more.pop("token", m.argmax)
    values: dict[str, Any] = {
        "thinking": False, "text": TEXTS.get(token, ""), "entropy": 0.5, "top": ((token, 0.75), (5, 0.125)), "why": "",
    }  # fmt: skip
    return Step(index=index, position=3 + index, mode=mode, token=token, mixture=m, **{**values, **more})


def trace(steps: list[Step] | None = None, **more: Any) -> Trace:
    """Four steps: two soft ones that think, a forced tag, a hard answer. Effective tokens: 2 and 1, so 1.5."""
    if steps is None:
        steps = [
            step(0, {1: 0.5, 2: 0.5}, thinking=True, entropy=1.0, why="n=2"),
            step(1, {2: 1.0}, thinking=True, entropy=2.0),
            step(2, {3: 1.0}, FORCED, thinking=True, text="", entropy=9.0, why="thinking budget"),
            step(3, {5: 1.0}, HARD, entropy=3.0, seconds=0.25),
        ]
    values: dict[str, Any] = {
        "prompt": (7, Mixture([1, 2], [0.25, 0.75])), "prompt_text": "A [0.75 cat + 0.25 dog]", "policy": "soft_thinking:n=2",
        "seed": 11, "stop_reason": "max tokens", "thinking_tags": ("<think>", "</think>"), "evaluated": 6,
        "timings": {"prompt": 0.5, "total": 1.5}, "texts": TEXTS,
        "manifest": {"softllama": "0.1.0", "model": {"name": "toy", "path": "no/such/toy.gguf", "sha256": "ab" * 32}},
    }  # fmt: skip
    return Trace(tuple(steps), **{**values, **more})


def hostile() -> Trace:
    """Every text that a trace can hold tries to break out of where it is shown."""
    bad = "".join(HOSTILE.values())
    w = dict.fromkeys(HOSTILE, 0.1)
    steps = [step(i, w, text=t, token=i + 1, why=bad, thinking=i < 4) for i, t in enumerate(HOSTILE.values())]
    return trace(
        steps, texts=HOSTILE, prompt_text=bad, policy=bad, stop_reason=bad, tail=(bad, bad), thinking_tags=(bad, bad),
        manifest={"model": {"name": bad, "path": bad, "sha256": bad}, bad: bad},
    )  # fmt: skip


def arrays(t: Trace) -> dict[str, Any]:
    """The arrays of a trace's .npz file, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.npz"
        t.save(path)
        with np.load(path) as f:
            return dict(f)


def first_format(t: Trace) -> dict[str, Any]:
    """The arrays of a trace's .npz file as format 1 had them, by name."""
    lines = [json.loads(line) for line in t.jsonl()]
    sizes = [len(s.mixture) for s in t.steps]
    steps = [{k: v for k, v in x.items() if k not in ("whole", "rest")} | {"mixture": None} for x in lines[1:-1]]
    return {
        "header": np.array(json.dumps({**lines[0], "format": 1})),
        "footer": np.array(json.dumps(lines[-1])),
        "steps": np.array(json.dumps(steps)),
        "offsets": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        "ids": np.concatenate([s.mixture.ids for s in t.steps]).astype(np.int32),
        "weights": np.concatenate([s.mixture.weights for s in t.steps]).astype(np.float32),
        "tokens": np.array([s.token for s in t.steps], dtype=np.int32),
        "entropy": np.array([s.entropy for s in t.steps], dtype=np.float64),
    }
