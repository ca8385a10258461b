"""Traces from files. Nothing in a file is trusted: each field is checked, and an error names the line. Knows no model."""

from __future__ import annotations

import ast
import contextlib
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import arguments
from softllama.base.files import from_json
from softllama.errors import SoftLlamaError
from softllama.trace import columns, items, layers
from softllama.trace.columns import MODES
from softllama.trace.data import FORMAT
from softllama.trace.record import Trace
from softllama.trace.step import Mode, Rest, Step, StopReason
from softllama.vectors.alignment import align_of
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import WholeVector

CUT_OFF = "the file ends here"  # the stop reason of a trace whose file has no footer
WRITES = "softllama run --trace FILE writes one"
_BAD = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    SoftLlamaError,
)


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace from a .npz or .jsonl file that `Trace.save` or `softllama run --trace` wrote.

    Args:
        path: the file. One that was cut off is read as far as it goes; its stop reason says so.

    Raises:
        SoftLlamaError: the file cannot be read, or it is no trace, or it is damaged; with the line.
    """
    p = arguments.path(path)
    try:
        if p.suffix.lower() == ".npz":
            return _load_npz(p)
        lines = p.read_bytes().split(b"\n")
    except OSError as e:
        raise SoftLlamaError(f"cannot read the trace {str(p)!r}: {e.strerror or e}", "check the path") from None
    if not lines[-1]:
        lines.pop()
    return parse(lines, p)


def parse(lines: Sequence[bytes], p: Path) -> Trace:
    """The trace in these JSON lines, as far as they go. p: the file that error messages name."""
    if not lines:
        raise SoftLlamaError(f"{str(p)!r} is empty", WRITES)
    header: dict[str, Any] = {}
    footer: dict[str, Any] | None = None
    steps: list[Step] = []
    texts: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = _parse(line)
            if number == 1:
                header = _header(record)
            elif footer is not None:
                raise ValueError("the trace ended before it")
            elif record["kind"] == "step":
                steps.append(_step(record, len(steps)))
                texts.update(_texts(record))
            elif record["kind"] == "end":
                footer = record
                texts.update(_texts(record))
            else:
                raise ValueError(f"its kind is {record['kind']!r}")
        except (json.JSONDecodeError, UnicodeDecodeError):
            if number == 1:
                raise SoftLlamaError(f"{str(p)!r} is not a trace: its first line is not JSON", WRITES) from None
            if number == len(lines):
                break  # the last line of a file that was cut off
            raise SoftLlamaError(f"line {number} of {str(p)!r} is not JSON", "make the trace again") from None
        except _BAD as e:
            if number == 1:
                raise SoftLlamaError(f"{str(p)!r} is not a trace: {_reason(e)}", WRITES) from None
            raise SoftLlamaError(
                f"line {number} of {str(p)!r} is not part of a trace: {_reason(e)}", "make the trace again"
            ) from None
    return _build(header, steps, footer, texts, p)


def _load_npz(p: Path) -> Trace:
    try:
        # opened here, as numpy would leave a damaged file open
        with p.open("rb") as f, np.load(f, allow_pickle=False) as z:
            header, footer = _header(_json(z, "header")), _json(z, "footer")
            if header["format"] == 1:
                steps, texts = _first_format(z)
            else:
                steps, texts = (
                    columns.unpack(z, _json(z, "words")),
                    _texts({"texts": _json(z, "texts")}) | _texts(footer),
                )
    except OSError:
        raise
    except _BAD as e:
        raise SoftLlamaError(f"{str(p)!r} is not a trace: {_reason(e)}", WRITES) from None
    except Exception as e:  # zipfile, zlib and numpy raise their own kinds
        raise SoftLlamaError(f"{str(p)!r} is damaged: {e}", "make the trace again") from None
    return _build(header, steps, footer, texts, p)


def _json(z: Any, name: str) -> Any:
    return _parse(str(z[name]).encode("utf-8", "surrogatepass"))


def _first_format(z: Any) -> tuple[list[Step], dict[int, str]]:
    """Steps and texts of an .npz file of format 1: every mixture whole, and the rest of each step as JSON."""
    rest, offsets, ids, weights = _json(z, "steps"), z["offsets"], z["ids"], z["weights"]
    n = len(rest)
    if offsets.shape != (n + 1,) or ids.shape != weights.shape or offsets[0] != 0 or offsets[-1] != len(ids):
        raise ValueError("its arrays do not fit each other")
    steps: list[Step] = []
    texts: dict[int, str] = {}
    for i, record in enumerate(rest):
        part = slice(int(offsets[i]), int(offsets[i + 1]))
        pairs = list(zip(ids[part].tolist(), weights[part].tolist(), strict=True))
        steps.append(_step({**record, "mixture": pairs}, i))
        texts.update(_texts(record))
    return steps, texts


def _build(
    header: dict[str, Any], steps: list[Step], footer: dict[str, Any] | None, texts: dict[int, str], p: Path
) -> Trace:
    end = footer or {}
    try:
        opening, closing = map(_text, header["thinking_tags"])
        tail = tuple(map(_text, end.get("tail", ["", ""])))
        seed, manifest = _int(header["seed"]), header["manifest"]
        if seed < 0 or len(tail) != 2 or not isinstance(manifest, dict):
            raise ValueError("its seed, tail or manifest is none")
        reason, stop_string = _stop_reason(_text(end.get("stop_reason", CUT_OFF)), _text(end.get("stop_string", "")))
        return Trace(
            steps=tuple(steps),
            prompt=tuple(items.from_json(i, _unmix, _id) for i in header["prompt"]),
            prompt_text=_text(header["prompt_text"]),
            policy=_text(header["policy"]),
            seed=seed,
            stop_reason=reason,
            stop=tuple(map(_text, header["stop"])),
            thinking_tags=(opening, closing),
            evaluated=_int(end.get("evaluated", 0)),
            timings={str(k): _real(v) for k, v in end.get("timings", {}).items()},
            manifest=manifest,
            tail=(tail[0], tail[1]),
            texts=texts,
            stop_string=stop_string,
            layers=tuple(layers.from_dict(v, _id, _real) for v in end.get("layers", ())),
            degenerations=tuple(d for d in end.get("degenerations", ()) if isinstance(d, dict) and "message" in d),
        )
    except _BAD as e:
        raise SoftLlamaError(
            f"{str(p)!r} is not a trace: its first or last line is damaged ({_reason(e)})", "make the trace again"
        ) from None


def _parse(line: bytes) -> Any:
    return from_json(line.decode("utf-8", "surrogatepass"))


def _header(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("kind") != "trace":
        raise ValueError("it does not begin as one")
    if record.get("format") not in range(1, FORMAT + 1) or isinstance(record["format"], bool):
        raise ValueError(f"its format is {record.get('format')!r}, and this softllama reads 1 to {FORMAT}")
    return record


def _reason(e: BaseException) -> str:
    if isinstance(e, KeyError):
        return f"{e.args[0]!r} is missing"
    if isinstance(e, json.JSONDecodeError):
        return "it is not JSON"
    return str(e) or type(e).__name__


def _unmix(pairs: Any) -> Mixture:
    ids, weights = [i for i, _ in pairs], [w for _, w in pairs]
    if set(map(type, ids)) != {int} or set(map(type, weights)) != {float}:  # of a whole vocabulary, one by one is slow
        ids, weights = list(map(_id, ids)), list(map(_real, weights))
    return Mixture(ids, weights, signed=min(weights, default=0) < 0 or abs(sum(weights) - 1) > 1e-5)


def _texts(record: dict[str, Any]) -> dict[int, str]:
    return {int(i): _text(t) for i, t in record.get("texts", {}).items()}


def _step(record: dict[str, Any], index: int) -> Step:
    values: dict[str, Any] = dict(_ABSENT)
    for f in fields(Step):
        if f.name in _ABSENT and record.get(f.name) is None:
            continue
        v = record[f.name]
        try:
            values[f.name] = _READ[f.name if f.name in _READ else str(f.type)](v)
        except _BAD as e:
            raise ValueError(f"{f.name!r}: {_reason(e)}") from None
    if values["index"] != index:
        raise ValueError(f"it is step {values['index']} where {index} should be")
    if values["rest"] is not None and values["whole"] is None:
        raise ValueError("it has a rest, and nothing says how that is computed")
    return Step(**values)


def _whole(v: Any) -> WholeVector:
    token = None if v["token"] is None else _id(v["token"])
    return columns.whole_of(_real(v["temperature"]), _real(v["epsilon"]), _real(v["share"]), token)


def _rest(v: Any) -> Rest:
    return Rest(_id(v["n"]), _real(v["weight"]), _real(v["effective_tokens"]))


def _int(v: Any) -> int:
    if not isinstance(v, int) or isinstance(v, bool) or abs(v) >= 2**63:
        raise ValueError(f"{v!r:.60} is not a whole number")
    return v


def _id(v: Any) -> int:
    if not 0 <= _int(v) < 2**31:
        raise ValueError(f"{v} is not a token id")
    return int(v)


def _real(v: Any) -> float:
    if not isinstance(v, int | float) or isinstance(v, bool) or not math.isfinite(v):
        raise ValueError(f"{v!r:.60} is not a number")
    return float(v)


def _logp(v: Any) -> float:
    return -math.inf if v is None else _real(v)  # JSON has no infinity


def _text(v: Any) -> str:
    if isinstance(v, str):
        return v
    raise ValueError(f"{v!r:.60} is not text")


def _bool(v: Any) -> bool:
    if isinstance(v, bool):
        return v
    raise ValueError(f"{v!r:.60} is neither true nor false")


def _mode(v: Any) -> Mode:
    if v not in MODES:
        raise ValueError(f"{v!r:.60} is none of {', '.join(MODES)}")
    return Mode(v)


def _stop_reason(text: str, stop_string: str) -> tuple[str, str]:
    """The reason, and the stop string. Older files have both in one text: "stop string 'x'"."""
    old = re.fullmatch(rf"{StopReason.STOP_STRING} (['\"].*['\"])", text, re.DOTALL)
    if old and not stop_string:
        with contextlib.suppress(ValueError, SyntaxError):
            return StopReason.STOP_STRING, str(ast.literal_eval(old[1]))
    return StopReason.of(text), stop_string


_ABSENT = {"whole": None, "rest": None, "align": "none"}  # what a line need not have
_READ: dict[str, Callable[[Any], Any]] = {
    "int": _int,
    "str": _text,
    "float": _real,
    "bool": _bool,
    "token": _id,
    "mode": _mode,
    "mixture": _unmix,
    "top": lambda v: tuple((_id(i), _real(p)) for i, p in v),
    "logp": _logp,
    "whole": _whole,
    "rest": _rest,
    "align": align_of,
}
