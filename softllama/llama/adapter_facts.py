"""What an adapter made by `softllama adapt` says of itself: what it was trained for, on which base, with what result.

Knows the metadata of an adapter's header, and a digest that tells fine-tunes of one model apart. Does not load adapters: lora.py.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softllama.llama import bindings
from softllama.llama.header import Header, Tensor

VERSION = 1
PURPOSE = "mixtures"
PREFIX = "softllama.adapter."
F32 = 0  # of enum ggml_type


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """The metadata of an adapter that was trained to read mixtures.

    Attributes:
        base_name: what the base model calls itself, for people.
        base_sha256: of the base model's file, "" if unknown. Another quantization of the same model has another one.
        base_norms_sha256: `norms_digest` of the base, the same for every quantization of it; "" for a model without norms.
        base_file_type: general.file_type of the base that it was trained against, None if the base does not say.
        steps: of training.
        settings: how it was trained.
        result: what was measured on held-out cases when training ended.
        purpose: what it was trained for.
        version: of this form of metadata.
    """

    base_name: str
    base_sha256: str
    base_norms_sha256: str
    base_file_type: int | None
    steps: int
    settings: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    purpose: str = PURPOSE
    version: int = VERSION

    @classmethod
    def read(cls, header: Header) -> AdapterFacts | None:
        """The facts that an adapter's header holds; None for an adapter that `softllama adapt` did not make.

        A key that is missing or of another type counts as not said: no adapter is refused for what it says of itself.
        """
        version = header.get(PREFIX + "version")
        if not _whole(version):
            return None
        file_type, steps = header.get(PREFIX + "base.file_type"), header.get(PREFIX + "steps")
        return cls(
            base_name=_text(header, "base.name"),
            base_sha256=_text(header, "base.file_sha256"),
            base_norms_sha256=_text(header, "base.norms_sha256"),
            base_file_type=file_type if _whole(file_type) else None,
            steps=steps if _whole(steps) else 0,
            settings=_object(header, "settings"),
            result=_object(header, "result"),
            purpose=_text(header, "purpose"),
            version=version,
        )

    def metadata(self) -> dict[str, int | str]:
        """The keys and values to write: whole numbers as uint32, the rest as strings."""
        values: dict[str, int | str] = {
            "version": self.version,
            "purpose": self.purpose,
            "base.name": self.base_name,
            "base.file_sha256": self.base_sha256,
            "base.norms_sha256": self.base_norms_sha256,
            "steps": self.steps,
            "settings": json.dumps(self.settings, allow_nan=False, sort_keys=True),
            "result": json.dumps(self.result, allow_nan=False, sort_keys=True),
        }
        if self.base_file_type is not None:
            values["base.file_type"] = self.base_file_type
        return {PREFIX + key: value for key, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: what traces and reports keep."""
        return {
            "purpose": self.purpose,
            "base": self.base_name,
            "base_norms_sha256": self.base_norms_sha256,
            "steps": self.steps,
            "settings": self.settings,
            "result": self.result,
        }

    def __str__(self) -> str:
        """One line for people: "trained for mixtures on SmolLM2 135M Instruct, 900 steps"."""
        return f"trained for {self.purpose or 'nothing it names'} on {self.base_name or 'an unnamed base'}, {self.steps:,} steps"


def norms_digest(header: Header) -> str:
    """A digest of a model's norms: the same for every quantization of it, another for another fine-tune.

    Quantizations leave the vectors of norms as they are, in F32. A fine-tune that trains all weights changes them; one that
    trains matrices alone (a merged LoRA) does not, and is not told apart.

    Args:
        header: of a model's file.

    Returns:
        SHA-256, in hexadecimal, of the values of all one-dimensional tensors with "norm" in their name as little-endian F32,
        in the order of their names. "" if the model has none.
    """
    norms = [t for name, t in sorted(header.tensors.items()) if "norm" in name and math.prod(t.shape[1:]) == 1]
    digest = hashlib.sha256()
    for t in norms:
        digest.update(_floats(t))
    return digest.hexdigest() if norms else ""


def _floats(t: Tensor) -> bytes:
    """The values of a vector as F32."""
    raw = np.ascontiguousarray(t.rows())  # (1, size) uint8
    if t.ggml_type == F32:
        return raw.tobytes()
    values = np.empty(t.shape[0], dtype="<f4")
    read: Any = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        bindings.table_type(t.ggml_type).to_float
    )
    read(raw.ctypes.data, values.ctypes.data, values.size)
    return values.tobytes()


def _text(header: Header, key: str) -> str:
    """A string of the metadata as one printable line; "" where there is none."""
    value = header.get(PREFIX + key)
    return "".join(c for c in value if c.isprintable()) if isinstance(value, str) else ""


def _object(header: Header, key: str) -> dict[str, Any]:
    """A JSON object of the metadata; {} where there is none."""
    value = header.get(PREFIX + key)
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
