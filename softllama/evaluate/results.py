"""The file of an evaluation's results: a header, then one line for each (problem, arm), in the order they came.

Each line is appended with one write and synced, so a process that is killed loses at most the line it was writing, and
that half line is dropped when the file is opened again. When everything is done, the lines are put into the order of
the problems, so the file does not depend on the order in which they were solved. Two processes cannot write to it at
once. Knows no model.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from softllama.base.files import from_json, replacing, unwritable
from softllama.errors import SoftLlamaError

FORMAT = 1
WRITTEN = "softllama eval DATA writes one: DATA.MODEL.results.jsonl, or what -o named"


@dataclass(frozen=True)
class Result:
    """How one arm did on one problem.

    failure: "" if right, else the reason. answer: what was extracted, None if nothing. thinking, said: tokens in the
    thinking block and after it, of the text that was judged. tokens: positions generated, all samples and beams
    included. evaluated: positions that the model evaluated, prompt included once. seconds: from start to end; with
    several streams they overlap. text: what was judged.
    """

    problem: int
    arm: str
    answer: str | None
    right: bool
    failure: str
    thinking: int
    said: int
    tokens: int
    evaluated: int
    stop: str
    seed: int
    text: str
    seconds: float

    @property
    def key(self) -> tuple[int, str]:
        return self.problem, self.arm


class ResultsFile:
    """An open file of results. A context manager; the lock goes when it closes.

    header: what the results depend on. An existing file with the same header is continued; with another one it is
    refused, with the first difference. done: the results that are there.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as e:
            raise SoftLlamaError(f"cannot write {str(path)!r}: {e.strerror}", "-o names another file") from None
        try:
            self._lock()
            self.done = self._take_up(header)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SoftLlamaError(f"{str(self.path)!r} is being written by another process", "wait, or use -o") from None

    def _take_up(self, header: dict[str, Any]) -> dict[tuple[int, str], Result]:
        with open(self.path, "rb") as f:  # noqa: PTH123
            data = f.read()
        whole = data[: data.rfind(b"\n") + 1]
        if not whole and not b'{"kind":"eval",'.startswith(data[:15]):
            raise SoftLlamaError(f"{str(self.path)!r} is no file of results", "-o names another file")
        if not whole:
            os.ftruncate(self._fd, 0)
            self._append({"kind": "eval", "format": FORMAT, **header})
            return {}
        found, results = _read(whole, self.path, "-o names another file")
        if difference := _difference(found, header):
            raise SoftLlamaError(
                f"{self.path.name} has results of another evaluation: {difference}",
                "-o names another file, or remove this one",
            )
        os.ftruncate(self._fd, len(whole))  # only now: what is no file of results stays as it is
        return {r.key: r for r in results}

    def add(self, result: Result) -> None:
        """Append one result, safely on the disk when this returns. One that is there already is left as it is."""
        if result.key not in self.done:
            self._append({"kind": "result", **asdict(result)})
            self.done[result.key] = result

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError as e:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)  # half a line would be dropped at the next start in any case
            error = unwritable(self.path, e, "-o names another file")
            n = len(getattr(self, "done", ()))
            raise SoftLlamaError(
                f"cannot write {str(self.path)!r}: {e.strerror or e}; the {n} results before are there",
                f"{error.hint}, then start again: it goes on there",
            ) from None

    def sort(self, arms: Sequence[str]) -> None:
        """Put the lines into the order of problems and arms. Atomic: the file is the old one or the new one."""
        place = {a: i for i, a in enumerate(arms)}
        with open(self.path, "rb") as f:  # noqa: PTH123
            lines = f.read().splitlines(keepends=True)
        rest = [(json.loads(x), x) for x in lines[1:]]
        ordered = sorted(rest, key=lambda r: (r[0]["problem"], place.get(r[0]["arm"], len(place))))
        if ordered != rest:
            with replacing(self.path) as out:
                out.writelines([lines[0], *(x for _, x in ordered)])
                out.flush()
                os.fsync(out.fileno())

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def read(path: str | Path) -> tuple[dict[str, Any], list[Result]]:
    """Header and results of a file, a half-written last line left out. Raises SoftLlamaError for what is none."""
    p = Path(path).expanduser()
    try:
        data = p.read_bytes()
    except OSError as e:
        raise SoftLlamaError(f"cannot read {str(path)!r}: {e.strerror}", WRITTEN) from None
    return _read(data[: data.rfind(b"\n") + 1], p, WRITTEN)


def _read(data: bytes, path: Path, hint: str) -> tuple[dict[str, Any], list[Result]]:
    results: dict[tuple[int, str], Result] = {}
    header: dict[str, Any] = {}
    for n, line in enumerate(data.splitlines(), 1):
        try:
            record = from_json(line)
            if n == 1:
                header = _header(record)
            else:
                r = _result(record)
                results.setdefault(r.key, r)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SoftLlamaError(f"{path.name}, line {n}: this is no file of results", hint) from None
    if not header:
        raise SoftLlamaError(f"{path.name} holds no results", hint)
    return header, list(results.values())


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing on which results depend and which two headers have differently, in words; "" if there is none."""
    for key in [k for k in {**now, **before} if k not in ("kind", "format", "info")]:
        a, b = before.get(key), now.get(key)
        if key == "arms":
            a, b = (", ".join(n if n == w else f"{n}={w}" for n, w in arms or ()) for arms in (a, b))
            if a != b:
                return f"the policies were {a}, and are {b}"
        elif isinstance(a, dict) and isinstance(b, dict):
            for k in {**b, **a}:
                if a.get(k) != b.get(k):
                    return f"{k if key == 'settings' else f'the {key}, {k},'} was {a.get(k)!r}, and is {b.get(k)!r}"
        elif a != b:
            return f"{key} was {a!r}, and is {b!r}"
    return ""


def _header(record: Any) -> dict[str, Any]:
    """A header with all that a report is made from. Raises one of a few errors for another."""
    if record["kind"] != "eval" or record["format"] != FORMAT:
        raise ValueError
    names = [name for name, _ in record["arms"]]
    texts = [record["model"]["name"], record["data"]["name"], *names]
    info = record.get("info", {})
    whole = isinstance(info.get("problems", 0), int) and isinstance(info.get("manifest", {}), dict)
    if not whole or not names or len({*names}) < len(names) or not all(isinstance(x, str) for x in texts):
        raise ValueError
    return {**record, "settings": record["settings"]}


def _result(record: Any) -> Result:
    values = {f.name: record[f.name] for f in fields(Result)}
    for f in fields(Result):
        v = values[f.name]
        ok = {
            "int": type(v) is int and 0 <= v < 2**63, "str": isinstance(v, str), "bool": isinstance(v, bool),
            "str | None": v is None or isinstance(v, str), "float": type(v) in (int, float) and 0 <= v < 1e18,
        }  # fmt: skip
        if not ok[str(f.type)]:
            raise ValueError
    return Result(**values)
