"""The child's side of a file's first load: load, calibrate, and evaluate batches of the shapes that sessions have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from softllama.base import child
from softllama.engine.engine import Engine
from softllama.engine.session import Session
from softllama.errors import SoftLlamaError
from softllama.llama import bindings
from softllama.vectors.mixture import Mixture

if TYPE_CHECKING:
    pass


N_TOKENS = 32


def attempt(
    send: child.Send,
    path: str,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: Sequence[Sequence[Any]],
    any_base: bool,
    rpc: Sequence[str],
) -> None:
    """Load, calibrate, and evaluate batches of the shapes that sessions have."""
    bindings.echo_log()

    adapters = [(str(p), float(s)) for p, s in lora]
    options: dict[str, Any] = {"n_gpu_layers": n_gpu_layers, "n_threads": n_threads, "rpc": rpc}
    with Engine(path, lora=adapters, any_base=any_base, trial=False, **options) as model:
        n = max(1, min(N_TOKENS, model.n_ctx // 2 - 1, model.n_vocab))
        ids = [i * model.n_vocab // n for i in range(n)]
        with (
            contextlib.suppress(SoftLlamaError),
            Session.start(model, 256) as s,
        ):  # what is no crash is reported when it is needed
            s.feed(ids)
            s.feed(Mixture.one_hot(ids[0]))
            s.feed([Mixture.one_hot(i) for i in ids])
        send({"calibration": asdict(model.calibration)})
