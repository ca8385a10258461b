"""How a result was made: versions, model, device, settings. Knows an engine. Does not know what the result is."""

from __future__ import annotations

import dataclasses
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np

from softllama._version import __version__
from softllama.engine.engine import Engine
from softllama.llama import bindings


def build(
    model: Engine, arguments: dict[str, Any], *, n_ctx: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Record everything that is needed to make a result again.

    Args:
        model: The model that made it.
        arguments: What it was asked, ready for JSON.
        n_ctx: Positions of its context; None where the model decides.
        seed: Of its random choices; None where there are none.

    Returns:
        The record, ready for JSON. "sha256" is the model's.
    """
    used = model.pace.used if model.pace is not None else set()
    return {
        "softllama": __version__,
        "llama_cpp": bindings.build(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "title": model.title,
            "path": model.path,
            "bytes": model.file_bytes,
            "sha256": model.sha256,
            "architecture": model.arch,
            "table": model.table.quantization,
            "n_vocab": model.n_vocab,
            "n_embd": model.n_embd,
            "lora": model.lora,
            **({"adapters": model.adapters} if model.lora else {}),
            **({"control": [v.to_dict() for v in model.controls.vectors]} if model.controls.vectors else {}),
        },
        "calibration": {k: v for k, v in dataclasses.asdict(model.calibration).items() if k != "remembered"},
        "device": model.device,
        "device_reason": model.device_reason,
        "n_threads": model.n_threads,
        **({"runtime": runtime} if (runtime := model.runtime.chosen()) else {}),
        **({"n_threads_used": sorted(used)} if used - {model.n_threads} else {}),  # the machine was busy
        "n_ctx": n_ctx,
        "seed": seed,
        "arguments": arguments,
    }
