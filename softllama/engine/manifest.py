"""How a result was made: versions, model, device, settings. Data only, ready for JSON."""

from __future__ import annotations

import dataclasses
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np

from softllama._version import __version__
from softllama.engine.engine import Engine
from softllama.llama import library


def build(
    model: Engine, arguments: dict[str, Any], *, n_ctx: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Everything needed to make a result again. `sha256` is Model.sha256."""
    return {
        "softllama": __version__,
        "llama_cpp": library.build(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": model.name,
            "path": model.path,
            "bytes": model.file_bytes,
            "sha256": model.sha256,
            "architecture": model.arch,
            "table": model.table.quantization,
            "n_vocab": model.n_vocab,
            "n_embd": model.n_embd,
            "lora": model.lora,
        },
        "calibration": {k: v for k, v in dataclasses.asdict(model.calibration).items() if k != "remembered"},
        "device": model.device,
        "device_reason": model.device_reason,
        "n_threads": model.n_threads,
        "n_ctx": n_ctx,
        "seed": seed,
        "arguments": arguments,
    }
