"""How a result was made: versions, model, device, settings. Data only, ready for JSON."""

from __future__ import annotations

import dataclasses
import platform
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np

import softllama
from softllama.llama import binding

if TYPE_CHECKING:
    from softllama.model import Model


def build(
    model: Model, arguments: dict[str, Any], *, n_ctx: int | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Everything needed to make a result again. `sha256` is Model.sha256."""
    return {
        "softllama": softllama.__version__,
        "llama_cpp": binding.build(),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
        "threads": model.threads,
        "n_ctx": n_ctx,
        "seed": seed,
        "arguments": arguments,
    }
