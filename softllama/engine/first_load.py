"""The first load of a model file, beside a child process: llama.cpp ends the process on some files where a
library would raise. So that becomes an error message. The child calibrates and hands the result over; files that passed are
remembered.

A second child, which is done sooner, reads all but the weights (llama/skeleton.py). Where it passes, the caller loads while the
first goes on, and nothing is evaluated before that one has passed, too. The first leaves out the vocabulary, which the second
has read. Should it fail, one with the vocabulary has the last word. Knows when a trial is due and what it tries. Does not know
how a child is watched: child.py.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softllama.base import cache, child
from softllama.errors import ModelError, SoftLlamaError, UsageError
from softllama.hub import bundled
from softllama.llama import bindings, skeleton
from softllama.llama.devices import default_threads
from softllama.llama.runtime import without_vocabulary

if TYPE_CHECKING:
    from softllama.llama.weights import Weights

ATTEMPT = "softllama.engine.attempt:attempt"
FORMAT = 2  # raised when more is tried, so that files are tried again
VARIABLE = "SOFTLLAMA_TRIAL"
OFF = ("off", "0", "no", "false")  # of the variable, unless a trial is asked for
SECONDS = 120.0  # that llama.cpp may be silent, and one more for each SLOWEST bytes of the file
SLOWEST = 5e6
SPARE = 4 << 30  # bytes of its own that the child may have beside twice the weights


@dataclass(frozen=True)
class Trial:
    """The result of a trial. calibration: the fields of Calibration. seconds: how long it took."""

    calibration: dict[str, Any]
    seconds: float


@dataclass(kw_only=True)
class FirstLoad:
    """What a load does about its file being new here.

    Args:
        n_gpu_layers, n_threads, lora, any_base, rpc: of the load.
        try_it: False for never, True for a file that passed before, too; None for what SOFTLLAMA_TRIAL says: "off", or
            seconds in place of the usual limit. Models that come with softllama are not tried.
        on_trial: is called before a trial.

    Attributes:
        result: None if no trial was due, or no child could be started.
    """

    n_gpu_layers: int | None
    n_threads: int | None
    lora: Sequence[tuple[str, float]]
    any_base: bool
    rpc: Sequence[str]
    try_it: bool | None
    on_trial: Callable[[], None] | None = None
    result: Trial | None = None

    @contextlib.contextmanager
    def beside(self, weights: Weights) -> Iterator[Callable[[], None]]:
        """Try a model whose header has been checked, if that is due, while it is loaded in this block.

        Gives a function that waits for the end. It is to be called before the model is used.

        Raises:
            ModelError: llama.cpp ended the child; the function, too. And whatever loading raises there.
        """
        setting = os.environ.get(VARIABLE, "").strip().lower()
        key = None if self.try_it is False or (self.try_it is None and setting in OFF) else self._key(weights)
        if key is None:
            weights.check_vocabulary()
            yield lambda: None
            return
        n_bytes = sum(f.stat().st_size for f in weights.header.files)
        limit = _seconds("" if setting in OFF else setting, n_bytes)
        limits: dict[str, Any] = {"seconds": limit, "memory": 2 * n_bytes + SPARE}
        if self.on_trial is not None:
            self.on_trial()
        start = time.monotonic()
        parts = skeleton.arguments(weights)
        light = parts is not None and without_vocabulary(weights.header.arch, weights.table.shape[1]) is not None
        with child.Background(ATTEMPT, self._arguments(weights, vocabulary=not light), **limits) as records:

            def finish() -> None:
                if self.result is not None:
                    return
                try:
                    calibration = _calibration(weights.header.path, records)
                except SoftLlamaError:
                    if not light or time.monotonic() - start > limit:
                        raise
                    calibration = self._whole(weights, limits)
                self._passed(key, calibration, start)

            whole = parts is not None and _has_skeleton(parts, limits)
            weights.check_vocabulary(passed=whole)
            if whole:
                yield finish
                return
            if not light:  # no reason to refuse the file: the other child has the last word
                finish()
        if light:
            self._passed(key, self._whole(weights, limits), start)
        yield lambda: None

    def _whole(self, weights: Weights, limits: dict[str, Any]) -> dict[str, Any] | None:
        """`_calibration` of a child that loads all of the file."""
        records = child.messages(ATTEMPT, self._arguments(weights, vocabulary=True), **limits)
        with contextlib.closing(records):
            return _calibration(weights.header.path, records)

    def _passed(self, key: str, calibration: dict[str, Any] | None, start: float) -> None:
        if calibration is not None:
            cache.store("trial", key, True)
            self.result = Trial(calibration, time.monotonic() - start)

    def _key(self, weights: Weights) -> str | None:
        """What the result is remembered under; None where no trial is due."""
        path, runtime = weights.header.path, weights.runtime
        if not child.possible() or bundled.FOLDER in path.resolve().parents:
            return None
        files = [*weights.header.files, *(Path(p) for p, _ in self.lora)]
        graph = f"{runtime.cache_type_k} {runtime.cache_type_v} {runtime.flash_attn}"
        where = f"{weights.device} {weights.n_gpu_layers}"
        try:
            key = cache.file_key(files, f"trial {FORMAT}", bindings.build(), where, graph)
        except OSError:
            return None  # an adapter that is not there: loading it says so
        return None if self.try_it is None and cache.load("trial", key) else key

    def _arguments(self, weights: Weights, *, vocabulary: bool) -> dict[str, Any]:
        """Of `attempt`. On a processor the child leaves weights where the file has them, and one core to the load."""
        n_threads, runtime = self.n_threads, weights.runtime.chosen()
        if not weights.on_gpu:
            n_threads = n_threads or max(1, default_threads() - 1)
            runtime |= {"mmap": True, "mlock": False, "repack": False}
        return {
            "path": str(weights.header.path),
            "n_gpu_layers": self.n_gpu_layers,
            "n_threads": n_threads,
            "lora": list(self.lora),
            "any_base": self.any_base,
            "rpc": list(self.rpc),
            "runtime": runtime,
            "vocabulary": vocabulary,
        }


def _calibration(path: Path, records: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """What the child has measured; None where it could not be started. Raises ModelError if llama.cpp ended it."""
    calibration: dict[str, Any] | None = None
    try:
        for record in records:
            calibration = record.get("calibration", calibration)
    except child.DiedError as e:
        if e.at_work:
            raise ModelError(*message_and_hint(path, e)) from None
        return None  # not the file's fault: it is loaded as if there were no trial
    return calibration


def _has_skeleton(arguments: dict[str, Any], limits: dict[str, Any]) -> bool:
    """Can llama.cpp read all but the weights, and make a context?"""
    whole = False
    with contextlib.suppress(child.DiedError, SoftLlamaError):
        for record in child.messages("softllama.llama.skeleton:build", arguments, **limits):
            whole = record.get("whole", whole)
    return whole


def message_and_hint(path: Path, e: child.DiedError) -> tuple[str, str]:
    """Message and hint for a file that ended a child."""
    last = f"; its last line: {e.last_line}" if e.last_line else ""
    return (
        f"{path} cannot be used: in a trial, {e.reason}{last}",
        f"the file may be damaged, so fetch it again; softllama doctor -m {path} tells more",
    )


def _seconds(setting: str, n_bytes: int) -> float:
    if setting in ("", "on", "1", "yes", "true"):
        return SECONDS + n_bytes / SLOWEST
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(setting)) < 1e7:
            return seconds
    raise UsageError(f"{VARIABLE}={setting} is neither off nor a number of seconds", f"{VARIABLE}=off skips the trial")
