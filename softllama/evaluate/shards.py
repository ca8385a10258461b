"""Parts of an evaluation that several machines work on: which problems are whose, and their files as one.

Knows headers and results. Knows no model, and does not know how the machines are started.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import additions
from softllama.evaluate.data import Dataset
from softllama.evaluate.results import Result, read

MOST_NAMED = 8  # problems that a sentence lists
VERSIONS = ("softllama", "llama_cpp")


@dataclass(frozen=True)
class Shard:
    """A part of the problems: those whose number leaves index - 1 when it is divided by n.

    Attributes:
        index: From 1 to n.
        n: How many parts there are.
    """

    index: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard as "2/4". Raises UsageError for another text."""
        m = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
        if m is None or not 1 <= int(m[1]) <= int(m[2]):
            raise UsageError(f"{text!r} is no shard", "--shard 2/4 is the second of four")
        return cls(int(m[1]), int(m[2]))

    def of(self, data: Dataset) -> Dataset:
        """The problems of this part. Raises UsageError where it has none."""
        problems = tuple(p for p in data.problems if p.index % self.n == self.index - 1)
        if not problems:
            raise UsageError(
                f"shard {self.index} of {self.n} has none of the {len(data.problems)} problems", "use fewer shards"
            )
        return replace(data, problems=problems, shard=(self.index, self.n, len(data.problems)))

    @property
    def suffix(self) -> str:
        """What the name of its file ends in."""
        return f".{self.index}-of-{self.n}"


def read_all(paths: Sequence[str | Path]) -> tuple[dict[str, Any], list[Result], list[str]]:
    """Read the files of one evaluation, such as those of its shards.

    Returns:
        One header for all; the results in the order of problems and policies; sentences about what is missing or double, and
        about machines that differ.

    Raises:
        SoftLlamaError: a file cannot be read, or two are of different evaluations or versions. The message has the difference.
    """
    files = [(str(p), *read(p)) for p in paths]
    first, header, _ = files[0]
    results: dict[tuple[int, str], tuple[str, Result]] = {}
    notes: list[str] = []
    double: list[tuple[int, str]] = []
    differ = 0
    for name, other, rs in files:
        if name != first:
            _same(first, header, name, other)
            header = additions.merged(header, additions.more(header, other))
        for r in rs:
            if r.key in results:
                double.append(r.key)
                differ += results[r.key][1].text != r.text
            else:
                results[r.key] = (name, r)
    headers = [h for _, h, _ in files]
    header = _whole(header, headers)
    if double:
        other_text = f", {differ} of them with another text" if differ else ""
        notes.append(
            f"{_listed([k[0] for k in double], 'is', 'are')} in several files{other_text}; the first is taken."
        )
    notes += _missing(header, headers, set(results))
    ways = {name: i for i, (name, _) in enumerate(header["ways"])}
    ordered = sorted((r for _, r in results.values()), key=lambda r: (r.problem, ways.get(r.way, len(ways))))
    return header, ordered, notes


def hosts(results: Sequence[Result]) -> list[str]:
    """The machines and builds that results come from, each once; [] where older files do not tell."""
    return sorted({r.host for r in results if r.host})


def _same(first: str, a: dict[str, Any], second: str, b: dict[str, Any]) -> None:
    """Raise SoftLlamaError where two headers are of different evaluations."""
    names = f"{Path(first).name} and {Path(second).name}"
    if difference := additions.difference(a, b):
        raise SoftLlamaError(f"{names} are of different evaluations: {difference}", "leave one of them out")
    if a["ways"] != b["ways"]:
        left, right = ([n for n, _ in h["ways"]] for h in (a, b))
        odd = [n for n in [*left, *right] if n not in left or n not in right] or right
        raise SoftLlamaError(
            f"{names} have different policies: {', '.join(odd)}",
            "run each with the same --policy options, in the same order",
        )
    for key in VERSIONS:
        versions = [h.get("info", {}).get("manifest", {}).get(key) for h in (a, b)]
        if versions[0] != versions[1]:
            raise SoftLlamaError(
                f"{names} were made by different versions: {key} {versions[0]} and {versions[1]}",
                "install one version on all machines",
            )


def _whole(header: dict[str, Any], headers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The header that one run of all problems has."""
    info = dict(header.get("info", {}))
    shards = [s for h in headers if (s := h.get("info", {}).get("shard"))]
    if shards:
        info["problems"] = max(int(s[2]) for s in shards)
    info.pop("shard", None)
    if commands := [_without_shard(c) for c in info.get("commands", ())]:
        info["commands"] = list(dict.fromkeys(commands))
    return {**header, "info": info}


def _without_shard(command: str) -> str:
    """A command line without --shard and the name of the file, which differ from part to part."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    kept, skip = [], False
    for w in words:
        if skip or w in ("--shard", "-o", "--out"):
            skip = not skip
        elif not w.startswith(("--shard=", "--out=")):
            kept.append(w)
    return shlex.join(kept)


def _missing(header: dict[str, Any], headers: Sequence[dict[str, Any]], there: set[tuple[int, str]]) -> list[str]:
    info = header.get("info", {})
    shards = {(int(s[0]), int(s[1])) for h in headers if (s := h.get("info", {}).get("shard"))}
    notes = []
    for n in sorted({n for _, n in shards}):
        absent = [i for i in range(1, n + 1) if (i, n) not in shards]
        if absent and len({m for _, m in shards}) == 1:
            notes.append(f"{_listed([i - 1 for i in absent], 'is', 'are', 'shard')} of {n} missing.")
    known = [int(q[0]) for q in info.get("questions", ())]
    for name, _ in header["ways"] if len(headers) > 1 else ():  # one file alone may be of a run that goes on
        lacking = [i for i in known if (i, name) not in there]
        if lacking:
            notes.append(f"{name}: {_listed(lacking, 'has', 'have')} no result yet.")
    return notes


def _listed(indices: Sequence[int], one: str, several: str, what: str = "problem") -> str:
    """ "problems 3, 7 and 12 more are", counted from 1."""
    numbers = [str(i + 1) for i in dict.fromkeys(indices)]
    if len(numbers) == 1:
        return f"{what} {numbers[0]} {one}"
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    return f"{what}s {', '.join(numbers[:MOST_NAMED])}{more} {several}"
