"""A GGUF file with all tensors as 32-bit numbers: what a second implementation computes with, too."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf import quants


def write_f32(source: Path, target: Path) -> Path:
    """Write a model again, dequantized. Quantized matrices would have llama.cpp round what they are multiplied by."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    for t in reader.tensors:
        writer.add_tensor(t.name, np.asarray(quants.dequantize(t.data, t.tensor_type), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
