"""The first load of a model file, in a child process: llama.cpp ends the process on some files where a
library would raise. So that becomes an error message. The child calibrates and hands the result over; files that passed are
remembered.

Knows when a trial is due and what it tries. Does not know how a child is watched: child.py.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softllama.base import cache, child
from softllama.errors import ModelError, UsageError
from softllama.hub import bundled
from softllama.llama import bindings

if TYPE_CHECKING:
    from softllama.llama.weights import Weights

FORMAT = 1  # raised when more is tried, so that files are tried again
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


def of(
    weights: Weights,
    load: Mapping[str, Any],
    *,
    rpc: Sequence[str],
    try_it: bool | None,
    on_trial: Callable[[], None] | None = None,
) -> Trial | None:
    """Try a model whose header has been checked, if that is due. None if it is not, or no child can be started.

    load: the arguments of the load, of which n_gpu_layers, n_threads, lora and any_base count. try_it: False for never, True
    for a file that passed before, too; None for what SOFTLLAMA_TRIAL says: "off", or seconds in place of the usual limit.
    Models that come with softllama are not tried. on_trial: is called before a trial.
    Raises ModelError if llama.cpp ends the child, and whatever loading raises there.
    """
    setting = os.environ.get(VARIABLE, "").strip().lower()
    if try_it is False or (try_it is None and setting in OFF):
        return None
    path, files = weights.header.path, list(weights.header.files)
    if not child.possible() or bundled.FOLDER in path.resolve().parents:
        return None
    try:
        n_bytes = sum(f.stat().st_size for f in files)
        files = [*files, *(Path(p) for p, _ in load["lora"])]
        where = f"{weights.device} {weights.n_gpu_layers}"
        key = cache.file_key(files, f"trial {FORMAT}", bindings.build(), where)
    except OSError:
        return None  # an adapter that is not there: loading it says so
    if try_it is None and cache.load("trial", key):
        return None
    arguments = {
        "path": str(path),
        **{k: load[k] for k in ("n_gpu_layers", "n_threads", "any_base")},
        "lora": list(load["lora"]),
        "rpc": list(rpc),
    }
    if on_trial is not None:
        on_trial()
    calibration: dict[str, Any] | None = None
    start = time.monotonic()
    limit, memory = _seconds("" if setting in OFF else setting, n_bytes), 2 * n_bytes + SPARE
    records = child.messages("softllama.engine.attempt:attempt", arguments, seconds=limit, memory=memory)
    try:
        with contextlib.closing(records):
            for record in records:
                calibration = record.get("calibration", calibration)
    except child.DiedError as e:
        if e.at_work:
            raise ModelError(*message_and_hint(path, e)) from None
        return None  # not the file's fault: it is loaded as if there were no trial
    if calibration is None:
        return None
    cache.store("trial", key, True)
    return Trial(calibration, time.monotonic() - start)


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


# ---- in the child ----------------------------------------------------------------------------------------------------
