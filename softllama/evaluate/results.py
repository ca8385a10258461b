"""The file of an evaluation's results: a header, then one line for each (problem, way), in the order they came. A run that
adds policies or problems appends a line about them ("more").

Each line is appended with one write and synced, so a process that is killed loses at most the line it was writing, and
that half line is dropped when the file is opened again. When everything is done, the lines are put into the order of
the problems, so the file does not depend on the order in which they were solved. Two processes cannot write to it at
once. Knows the format of the file. Knows no model, and not what the results mean.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from softllama.base import system
from softllama.base.files import from_json, replacing, unwritable
from softllama.errors import SoftLlamaError
from softllama.evaluate import additions
from softllama.evaluate.result import Result

__all__ = ["FORMAT", "Result", "ResultsFile", "read", "write"]

FORMAT = 2  # 1 had other names of keys
OLD_HEADER = {"arms": "ways"}
OLD_RESULT = {"arm": "way", "thinking": "n_thinking", "said": "n_answer"}
ORIGIN = "softllama eval DATA writes one: DATA.MODEL.results.jsonl, or what -o named"

logger = logging.getLogger(__name__)


class ResultsFile:
    """An open file of results. A context manager; the lock goes when it closes.

    Attributes:
        path: The file.
        header: What the results depend on, with all policies that are in the file or asked for.
        results: The results that are in the file, by `Result.key`.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Open a file, or continue it.

        Args:
            path: The file. It is made if it is not there.
            header: What the results depend on, and under "info" what they do not.

        Raises:
            SoftLlamaError: The file cannot be written, is being written by another process, is no file of results, or
                has a header that differs. The message names the first difference.
        """
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | system.BINARY, 0o666)
        except OSError as e:
            raise SoftLlamaError(f"cannot write {str(path)!r}: {e.strerror}", "-o names another file") from None
        try:
            self._lock()
            self.results = self._continue(header)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        if not system.lock(self._fd):
            raise SoftLlamaError(f"{str(self.path)!r} is being written by another process", "wait, or use -o")

    def _continue(self, header: dict[str, Any]) -> dict[tuple[int, str], Result]:
        with open(self.path, "rb") as f:  # noqa: PTH123
            data = f.read()
        complete = data[: data.rfind(b"\n") + 1]
        if not complete and not b'{"kind":"eval",'.startswith(data[:15]):
            raise SoftLlamaError(f"{str(self.path)!r} is no file of results", "-o names another file")
        if not complete:
            os.ftruncate(self._fd, 0)
            self.header = header
            self._append({"kind": "eval", "format": FORMAT, **header})
            return {}
        before, results = _read(complete, self.path, "-o names another file")
        if difference := additions.difference(before, header):
            raise SoftLlamaError(
                f"{self.path.name} has results of another evaluation: {difference}",
                "-o names another file, or remove this one",
            )
        os.ftruncate(self._fd, len(complete))  # only now: what is no file of results stays as it is
        added = additions.more(before, header)
        self.header = additions.merged(before, added)
        if added:
            self._append({"kind": "more", **added})
        logger.info("%s is continued: %d results are there", self.path, len(results))
        return {r.key: r for r in results}

    def add(self, result: Result) -> None:
        """Append one result, safely on the disk when this returns. One that is there already is left as it is.

        Raises:
            SoftLlamaError: The disk is full or fails. The results before are kept.
        """
        if result.key not in self.results:
            self._append({"kind": "result", **asdict(result)})
            self.results[result.key] = result

    def _append(self, record: dict[str, Any]) -> None:
        line = _line(record)
        before = os.fstat(self._fd).st_size
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError as e:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)  # half a line would be dropped at the next start in any case
            error = unwritable(self.path, e, "-o names another file")
            n = len(getattr(self, "results", ()))
            raise SoftLlamaError(
                f"cannot write {str(self.path)!r}: {e.strerror or e}; the {n} results before are there",
                f"{error.hint}, then start again: it goes on there",
            ) from None

    def sort(self) -> None:
        """Put the lines into the order of problems and of ways, with one header for all that was added. Atomic: the file is
        the old one or the new one.
        """
        order = {name: i for i, (name, _) in enumerate(self.header["ways"])}
        with open(self.path, "rb") as f:  # noqa: PTH123
            lines = f.read().splitlines(keepends=True)
        results = [x for x in lines[1:] if json.loads(x)["kind"] != "more"]
        keyed = [(_result(json.loads(x)).key, x) for x in results]
        in_order = sorted(keyed, key=lambda r: (r[0][0], order.get(r[0][1], len(order))))
        if in_order != keyed or len(results) < len(lines) - 1:
            first = (
                lines[0] if len(results) == len(lines) - 1 else _line({**self.header, "kind": "eval", "format": FORMAT})
            )
            if system.WINDOWS:  # which replaces no open file
                self.close()
            with replacing(self.path) as out:
                out.writelines([first, *(x for _, x in in_order)])
                out.flush()
                os.fsync(out.fileno())

    def close(self) -> None:
        """Close the file and give up the lock. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def write(path: Path, header: dict[str, Any], results: Sequence[Result]) -> None:
    """Write a whole file of results. Atomic. Raises SoftLlamaError where something else has that name."""
    if path.exists():
        read(path)  # raises for what is no file of results
    with replacing(path) as out:
        out.write(_line({**header, "kind": "eval", "format": FORMAT}))
        out.writelines(_line({"kind": "result", **asdict(r)}) for r in results)
        out.flush()
        os.fsync(out.fileno())


def _line(record: dict[str, Any]) -> bytes:
    first = {"kind": record["kind"]}  # which other readers look for at the beginning
    return json.dumps({**first, **record}, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def read(path: str | Path) -> tuple[dict[str, Any], list[Result]]:
    """Read a file of results, a half-written last line left out.

    Returns:
        The header, and the results in the order of the file.

    Raises:
        SoftLlamaError: The file cannot be read or is no file of results. The message names the line.
    """
    p = Path(path).expanduser()
    try:
        data = p.read_bytes()
    except OSError as e:
        raise SoftLlamaError(f"cannot read {str(path)!r}: {e.strerror}", ORIGIN) from None
    return _read(data[: data.rfind(b"\n") + 1], p, ORIGIN)


def _read(data: bytes, path: Path, hint: str) -> tuple[dict[str, Any], list[Result]]:
    results: dict[tuple[int, str], Result] = {}
    header: dict[str, Any] = {}
    for n, line in enumerate(data.splitlines(), 1):
        try:
            record = from_json(line)
            if n == 1:
                header = _header(record)
            elif record["kind"] == "more":
                header = additions.merged(header, record)
            else:
                r = _result(record)
                results.setdefault(r.key, r)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SoftLlamaError(f"{path.name}, line {n}: this is no file of results", hint) from None
    if not header:
        raise SoftLlamaError(f"{path.name} holds no results", hint)
    return header, list(results.values())


def _header(record: Any) -> dict[str, Any]:
    """A header with all that a report is made from. Raises one of a few errors for another."""
    if record["kind"] != "eval" or type(record["format"]) is not int or not 1 <= record["format"] <= FORMAT:
        raise ValueError
    header = _renamed(record, OLD_HEADER)
    names = [name for name, _ in header["ways"]]
    texts = [header["model"]["name"], header["data"]["name"], *names]
    info = header.get("info", {})
    complete = isinstance(info.get("problems", 0), int) and isinstance(info.get("manifest", {}), dict)
    complete = complete and additions.readable(info)
    if not complete or not names or len({*names}) < len(names) or not all(isinstance(x, str) for x in texts):
        raise ValueError
    return {**header, "settings": header["settings"]}


def _result(record: Any) -> Result:
    """A result. Raises one of a few errors where something is missing or of another type."""
    record = _renamed(record, OLD_RESULT)
    values = {f.name: record[f.name] if f.default is MISSING else record.get(f.name, f.default) for f in fields(Result)}
    for f in fields(Result):
        if not _has_type(values[f.name], str(f.type)):
            raise ValueError
    return Result(**values)


def _has_type(value: Any, name: str) -> bool:
    if name == "int":
        return type(value) is int and 0 <= value < 2**63
    if name == "float":
        return type(value) in (int, float) and 0 <= value < 1e18
    if name == "bool":
        return isinstance(value, bool)
    if name in ("int | None", "float | None"):
        return value is None or _has_type(value, name.split()[0])
    if name == "list[int] | None":
        return value is None or (isinstance(value, list) and all(_has_type(x, "int") for x in value))
    return isinstance(value, str) or (value is None and name == "str | None")


def _renamed(record: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A record of any format with today's names of its keys."""
    return {names.get(k, k): v for k, v in record.items()}
