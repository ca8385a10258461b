"""Is softllama sound on this machine, and with this model? Findings, one at a time: what is so, and what to do about it.

    import softllama as sl
    for f in sl.doctor.findings("model.gguf"):
        print(f.state, f.name, f.text, f.advice)
    print(sl.doctor.examine("model.gguf").verdict)

Everything is looked at in a child process, so that a crash inside llama.cpp is a finding. This module imports neither
llama_cpp nor numpy: what is broken there must not keep it from reporting it. Knows findings and child processes. Does not
know what is looked at (install, model) or how findings are shown (view).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softllama._version import __version__
from softllama.base import arguments as checks
from softllama.base import child
from softllama.errors import SoftLlamaError
from softllama.show.progress import Tick

if TYPE_CHECKING:
    from softllama.llama.runtime import RuntimeKeywords

OK, NOTE, PROBLEM = "ok", "note", "problem"
SECONDS = 600.0  # of silence, and one more for each SLOWEST bytes of the model
SLOWEST = 5e6
MEMORY = 8 << 30  # bytes that the child may have for itself, beside three times the model's
REINSTALL = "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python"
REPORT = "if a fresh copy of the file does the same, tell llama.cpp's developers, with this line"


def _ignore(text: str) -> None:
    pass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: "installation", "machine" or "model".
        name: What was looked at.
        state: OK, NOTE or PROBLEM.
        text: A sentence.
        advice: What to do; "" where nothing is to be done.
        facts: The same in numbers, ready for JSON.
    """

    part: str
    name: str
    state: str
    text: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Diagnosis:
    """All findings. model: the name as it was given, or "this installation"."""

    model: str
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Is nothing a problem?"""
        return not self.count(PROBLEM)

    def count(self, state: str) -> int:
        """How many findings are of a state."""
        return sum(f.state == state for f in self.findings)

    @property
    def verdict(self) -> str:
        """A sentence for all of it."""
        name = self.model.strip() or "the model"
        what = f"{name} is usable" if self.usable else f"{name} should not be used as it is"
        if (n := self.count(PROBLEM)) > 0:
            what += f": {n} problem{'s'[: n > 1]}"
        if (n := self.count(NOTE)) > 0:
            what += f"{',' if self.count(PROBLEM) else ':'} {n} note{'s'[: n > 1]}"
        return what

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "softllama": __version__,
            "model": self.model,
            "usable": self.usable,
            "problems": self.count(PROBLEM),
            "notes": self.count(NOTE),
            "findings": [dataclasses.asdict(f) for f in self.findings],
        }


def examine(
    model: str | os.PathLike[str] | None = None,
    *,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
    lora: Sequence[tuple[str, float]] = (),
    any_base: bool = False,
    rpc: str = "",
    runtime: RuntimeKeywords | None = None,
    offline: bool = False,
    progress: Tick | None = None,
    doing: Callable[[str], None] = _ignore,
) -> Diagnosis:
    """Look at everything, and give all findings at once. See `findings` for the arguments and errors."""
    results = findings(
        model,
        n_ctx=n_ctx,
        n_gpu_layers=n_gpu_layers,
        n_threads=n_threads,
        lora=lora,
        any_base=any_base,
        rpc=rpc,
        runtime=runtime,
        offline=offline,
        progress=progress,
        doing=doing,
    )
    return diagnosis(model, results)


def diagnosis(model: str | os.PathLike[str] | None, results: Iterable[Finding]) -> Diagnosis:
    """Put findings together. model: what `findings` was asked about."""
    if model is not None:
        checks.path(model)
    return Diagnosis("this installation" if model is None else os.fspath(model), tuple(results))


def findings(
    model: str | os.PathLike[str] | None = None,
    *,
    n_ctx: int | None = None,
    n_gpu_layers: int | None = None,
    n_threads: int | None = None,
    lora: Sequence[tuple[str, float]] = (),
    any_base: bool = False,
    rpc: str = "",
    runtime: RuntimeKeywords | None = None,
    offline: bool = False,
    progress: Tick | None = None,
    doing: Callable[[str], None] = _ignore,
) -> Generator[Finding]:
    """Look at the installation, the machine and a model, one thing after the other.

    Args:
        model: A path, or a name as for -m. None: the bundled one, in short.
        n_ctx, n_gpu_layers, n_threads, lora, any_base: As for softllama.load.
        rpc: Workers: "host:port,host:port".
        runtime: llama.cpp's options, as for softllama.load.
        offline: Never go to the network. Otherwise it is used only for a repository's file that is not on this machine.
        progress: Called with a download's file, bytes so far and bytes in all.
        doing: Called with what comes next.

    Returns:
        A generator of findings. Its `close` ends the child process.

    Raises:
        UsageError: The model is neither a text nor a path.
    """
    if model is not None:
        checks.path(model)
    sound = True
    for f in _in_child(
        "installation", "softllama.diagnostics.install:installation", {"n_gpu_layers": n_gpu_layers}, doing
    ):
        sound = sound and not (f.part == "installation" and f.state == PROBLEM)
        yield f
    if not sound:  # a model would say the same in worse words
        return
    from softllama.hub import resolver

    try:
        file = resolver.resolve(model, offline=offline, progress=progress)
    except SoftLlamaError as e:
        yield Finding("model", "name", PROBLEM, e.message, e.hint)
        return
    options = {
        "path": os.fspath(file),
        "n_ctx": n_ctx,
        "n_gpu_layers": n_gpu_layers,
        "n_threads": n_threads,
        "lora": [list(a) for a in lora],
        "any_base": any_base,
        "rpc": rpc,
        "runtime": runtime or {},
        "brief": model is None,
    }
    yield from _in_child("model", "softllama.diagnostics.model:check_in_child", options, doing, _size(Path(file)))


def _size(path: Path) -> int:
    """Bytes of a file; of all files of a split, about."""
    try:
        n = path.expanduser().stat().st_size
    except (OSError, ValueError, RuntimeError):
        return 0
    split = re.search(r"-\d{5}-of-(\d{5})\.gguf$", path.name)
    return n * (int(split[1]) if split else 1)


def _in_child(
    part: str, function: str, arguments: dict[str, Any], doing: Callable[[str], None], n_bytes: int = 0
) -> Generator[Finding]:
    doing("starting a child process")
    at = ["child process"]  # what is being looked at
    if not child.possible():
        text = "this program is no Python that could start another, so a crash in llama.cpp would end it"
        yield Finding("installation", "child process", NOTE, text)
        yield from _here(function, arguments)
        return
    # a context that was asked for may need any amount, and is compared with what is free before it is made
    memory = None if arguments.get("n_ctx") else MEMORY + 3 * n_bytes
    limits: dict[str, Any] = {"seconds": SECONDS + n_bytes / SLOWEST, "memory": memory}
    try:
        with closing(child.messages(function, arguments, **limits)) as records:
            for record in records:
                if "doing" in record:
                    at[0] = record["name"]
                    doing(record["doing"])
                else:
                    yield Finding(**record["finding"])
    except SoftLlamaError as e:
        yield Finding(part, at[0], PROBLEM, e.message, e.hint)
    except child.DiedError as e:
        last = f"; its last line: {e.last_line}" if e.last_line else ""
        advice = "please report it" if not e.at_work else REPORT if part == "model" else REINSTALL
        yield Finding(part, at[0], PROBLEM, f"{e.reason}{last}", advice, {"ended": e.reason, "last_line": e.last_line})


def _here(function: str, arguments: dict[str, Any]) -> Generator[Finding]:
    import importlib

    module, _, name = function.removesuffix("_in_child").partition(":")
    records: list[dict[str, Any]] = []
    getattr(importlib.import_module(module), name)(records.append, **arguments)
    yield from (Finding(**r["finding"]) for r in records if "finding" in r)
