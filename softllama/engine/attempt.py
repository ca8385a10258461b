"""The child's side of a file's first load: load, calibrate, and evaluate batches.

Weights are mapped and left as they are in the file, so that all of it lies in memory once, whoever reads it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from softllama.base import child
from softllama.engine.engine import Engine
from softllama.engine.session import Session
from softllama.errors import SoftLlamaError
from softllama.llama import bindings
from softllama.vectors.mixture import Mixture


def attempt(
    send: child.Send,
    path: str,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: Sequence[Sequence[Any]],
    any_base: bool,
    rpc: Sequence[str],
    runtime: dict[str, Any],
    vocabulary: bool,
) -> None:
    """Load, calibrate, and evaluate what sessions begin with. The calibration evaluates three tokens, and three rows.

    Context and graphs are those of a session, with its largest batch. Of the batch itself nothing depends on its length.
    """
    bindings.echo_log()

    adapters = [(str(p), float(s)) for p, s in lora]
    options: dict[str, Any] = {"n_gpu_layers": n_gpu_layers, "n_threads": n_threads, "rpc": rpc, **runtime}
    with Engine(path, lora=adapters, any_base=any_base, trial=False, vocabulary=vocabulary, **options) as model:
        first = model.n_vocab // 2
        with (
            contextlib.suppress(SoftLlamaError),
            Session.start(model, 256) as s,
        ):  # what is no crash is reported when it is needed
            s.feed(first)
            s.feed(Mixture.one_hot(first))
        send({"calibration": asdict(model.calibration)})
