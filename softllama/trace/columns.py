"""The steps of a trace as arrays by name, and back: what the .npz form holds beside its header. Knows steps only.

    steps/NAME       (n_steps,)  a value for each step
    mixtures/NAME    (n_fed,)    step, id and weight of each token that was fed, in the order of steps, then of ids
    top/NAME         (n_top,)    step, id and p of the model's likeliest tokens, likeliest first

So each group is a table: its arrays have one length. Texts are JSON, as numpy's text arrays drop a NUL at the end. Where a
step fed more than `mixtures` holds, `steps/rest_n` and `steps/rest_weight` say how much, and `steps/whole_...` how it is
computed. NaN there, and -1 for an id, mean that there is none.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.trace.step import Mode, Rest, Step
from softllama.vectors.alignment import align_of
from softllama.vectors.mixture import TOLERANCE, Mixture
from softllama.vectors.whole import WholeVector

MODES = tuple(Mode)
Array = NDArray[Any]
NUMBERS = {
    "entropy": "f8",
    "logp": "f8",
    "left_out": "f8",
    "noise": "f8",
    "seconds": "f8",
    "position": "i4",
    "token": "i4",
}
FLAGS = ("thinking", "hidden")
TEXTS = ("text", "why")


def pack(steps: Sequence[Step]) -> dict[str, Array]:
    """The arrays, by name."""
    whole = [s.whole or WholeVector(math.nan, math.nan, math.nan) for s in steps]
    rest = [s.rest or Rest(0, 0.0, math.nan) for s in steps]
    sizes = [len(s.mixture) for s in steps]
    tops = [len(s.top) for s in steps]
    top = list(itertools.chain.from_iterable(s.top for s in steps))
    places = np.arange(len(steps), dtype=np.int32)
    return {
        "steps/index": places,
        "steps/mode": np.array([str(s.mode) for s in steps], dtype="U6"),
        **{f"steps/{k}": np.array([getattr(s, k) for s in steps], dtype=t) for k, t in NUMBERS.items()},
        **{f"steps/{k}": np.array([getattr(s, k) for s in steps], dtype=bool) for k in FLAGS},
        "steps/rest_n": np.array([r.n for r in rest], dtype=np.int32),
        "steps/rest_weight": np.array([r.weight for r in rest], dtype=np.float64),
        "steps/effective_tokens": np.array([s.effective_tokens for s in steps], dtype=np.float64),
        **{
            f"steps/whole_{k}": np.array([getattr(w, k) for w in whole], dtype=np.float64)
            for k in ("temperature", "epsilon", "share")
        },
        "steps/whole_token": np.array([-1 if w.token is None else w.token for w in whole], dtype=np.int32),
        "mixtures/step": np.repeat(places, sizes),
        "mixtures/id": _joined([s.mixture.ids for s in steps], np.int32),
        "mixtures/weight": _joined([s.mixture.weights for s in steps], np.float32),
        "top/step": np.repeat(places, tops),
        "top/id": np.array([i for i, _ in top], dtype=np.int32),
        "top/p": np.array([p for _, p in top], dtype=np.float64),
        "words": np.array(json.dumps({k: [getattr(s, k) for s in steps] for k in (*TEXTS, *_aligned(steps))})),
    }


def unpack(arrays: Mapping[str, Any], words: Any) -> list[Step]:
    """The steps in these arrays. words: the JSON value of the array of this name.

    Raises:
        ValueError, KeyError, TypeError: the arrays are not those of `pack`; with the name of the one that is wrong.
    """
    n = len(_array(arrays, "steps/index", "iu"))
    columns: dict[str, list[Any]] = {
        k: _array(arrays, f"steps/{k}", t[0], n, finite=k != "logp").tolist() for k, t in NUMBERS.items()
    }
    columns |= {k: _array(arrays, f"steps/{k}", "b", n).tolist() for k in FLAGS}
    columns |= {k: _words(words, k, n) for k in TEXTS}
    columns["align"] = [align_of(v) for v in _words(words, "align", n)] if "align" in words else ["none"] * n
    columns["mode"] = [Mode(m) for m in _array(arrays, "steps/mode", "U", n).tolist()]
    columns["rest"], columns["whole"] = _rests(arrays, n), _wholes(arrays, n)
    columns["mixture"] = _mixtures(arrays, n, columns["rest"])
    columns["top"] = _tops(arrays, n)
    if min(columns["token"], default=0) < 0 or any(x == math.inf or x != x for x in columns["logp"]):
        raise ValueError("'steps/token' or 'steps/logp' holds what is no id or no logarithm of a probability")
    if any(r is not None and w is None for r, w in zip(columns["rest"], columns["whole"], strict=True)):
        raise ValueError("a step has a rest, and nothing says how it is computed")
    rows = zip(*columns.values(), strict=True)
    return [Step.of(index=i, **dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.empty(0, dtype)


def _array(arrays: Mapping[str, Any], name: str, kinds: str, n: int | None = None, *, finite: bool = True) -> Array:
    a = np.asarray(arrays[name])
    if a.dtype.kind not in kinds or a.ndim != 1 or (n is not None and len(a) != n):
        raise ValueError(f"{name!r} is {a.dtype} of the shape {a.shape}")
    if finite and a.dtype.kind == "f" and not np.isfinite(a).all():
        raise ValueError(f"{name!r} holds what is no number")
    return a


def _words(words: Any, name: str, n: int) -> list[str]:
    texts: list[str] = words[name]
    if not isinstance(texts, list) or len(texts) != n or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"{name!r} is not a text for each step")
    return texts


def _bounds(arrays: Mapping[str, Any], group: str, n: int) -> tuple[list[int], Array]:
    """Where each step's part of a group begins and ends (n + 1,), and the group's ids."""
    step = _array(arrays, f"{group}/step", "iu")
    ids = _array(arrays, f"{group}/id", "iu", len(step))
    if len(step) and (step[0] < 0 or step[-1] >= n or (step[1:] < step[:-1]).any()):
        raise ValueError(f"'{group}/step' is not in the order of steps")
    if len(ids) and (ids.min() < 0 or int(ids.max()) >= 2**31):
        raise ValueError(f"'{group}/id' holds what is no token id")
    return np.searchsorted(step, np.arange(n + 1)).tolist(), ids


def _mixtures(arrays: Mapping[str, Any], n: int, rests: Sequence[Rest | None]) -> list[Mixture]:
    bounds, ids = _bounds(arrays, "mixtures", n)
    weights = _array(arrays, "mixtures/weight", "f", len(ids)).astype(np.float32, copy=False)
    made = []
    for i, (a, b) in enumerate(itertools.pairwise(bounds)):
        part, w = ids[a:b], weights[a:b]
        if rests[i] is None and b > a and w.min() >= 0 and abs(float(w.sum(dtype=np.float64)) - 1) <= TOLERANCE:
            made.append(Mixture.trusted(part, w) if (part[1:] > part[:-1]).all() else Mixture(part, w))
        else:
            made.append(Mixture(part, w, signed=True))
    return made


def _tops(arrays: Mapping[str, Any], n: int) -> list[tuple[tuple[int, float], ...]]:
    bounds, ids = _bounds(arrays, "top", n)
    pairs = list(zip(ids.tolist(), _array(arrays, "top/p", "f", len(ids)).tolist(), strict=True))
    return [tuple(pairs[a:b]) for a, b in itertools.pairwise(bounds)]


def _rests(arrays: Mapping[str, Any], n: int) -> list[Rest | None]:
    counts = _array(arrays, "steps/rest_n", "iu", n).tolist()
    weights = _array(arrays, "steps/rest_weight", "f", n).tolist()
    effective = _array(arrays, "steps/effective_tokens", "f", n).tolist()
    return [Rest(*r) if r[0] > 0 else None for r in zip(counts, weights, effective, strict=True)]


def _wholes(arrays: Mapping[str, Any], n: int) -> list[WholeVector | None]:
    def column(name: str) -> list[float]:
        values: list[float] = _array(arrays, f"steps/whole_{name}", "f", n, finite=False).tolist()
        return values

    tokens = _array(arrays, "steps/whole_token", "iu", n).tolist()
    rows = zip(column("temperature"), column("epsilon"), column("share"), tokens, strict=True)
    return [None if math.isnan(t) else whole_of(t, e, s, None if i < 0 else i) for t, e, s, i in rows]


def _aligned(steps: Sequence[Step]) -> tuple[str, ...]:
    """The column of alignments, where there are any."""
    return ("align",) if any(s.align != "none" for s in steps) else ()


def whole_of(temperature: float, epsilon: float, share: float, token: int | None) -> WholeVector:
    """How a mixture is computed, from a file. Raises ValueError for numbers that no policy can have."""
    if not (0 <= temperature < math.inf and 0 <= epsilon <= 1 and 0 <= share <= 1):
        raise ValueError(f"no mixture has temperature {temperature:g}, epsilon {epsilon:g} and share {share:g}")
    return WholeVector(temperature, epsilon, share, token)
