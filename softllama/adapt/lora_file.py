"""An adapter as a GGUF that llama.cpp reads, and which matrices of a model it can be put on.

Knows the names of matrices in transformers and in GGUF, and the order of their rows. Knows no training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base.files import replacing
from softllama.errors import ModelError
from softllama.llama.adapter_facts import AdapterFacts

F16, F32 = "f16", "f32"


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix that an adapter can be put on.

    Attributes:
        module: its name in transformers, "model.layers.0.self_attn.q_proj".
        tensor: its name in the GGUF, "blk.0.attn_q.weight".
        order: its rows in the GGUF are those of transformers in this order; None if they are the same.
    """

    module: str
    tensor: str
    order: NDArray[np.int64] | None = None


def matrices(path: Path, weights: Iterable[tuple[str, NDArray[np.float32]]], n_layer: int) -> list[Matrix]:
    """Find each matrix of a transformers model in the GGUF that it was loaded from.

    Conversion to GGUF changes the order of some rows (queries and keys of Llama models, for their rotary embedding). Which
    order it is, is found by comparing the values, not looked up by architecture.

    Args:
        path: of the GGUF.
        weights: names of modules with their matrices, (n_out, n_in).
        n_layer: of the model.

    Raises:
        ModelError: a matrix is not in the file, or has other values there.
    """
    import gguf
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(path)
    arch = str(reader.fields["general.architecture"].contents())
    counts = (f"{arch}.attention.head_count", f"{arch}.attention.head_count_kv")
    found_counts = [reader.fields[k].contents() for k in counts if k in reader.fields]
    heads = {int(n) for n in found_counts if not isinstance(n, list)}
    tensors = {t.name: t for t in reader.tensors}
    names = _names(arch, n_layer)
    found = []
    for module, w in weights:
        tensor = names.get_name(f"{module}.weight", try_suffixes=(".weight",))
        if tensor not in tensors:
            raise ModelError(
                f"{path.name} has no matrix of its own for {module} ({tensor or 'no GGUF name'})",
                f"adapters for {arch} models cannot be made",
            )
        t = tensors[tensor]
        values = np.asarray(dequantize(t.data, t.tensor_type), np.float32).reshape(-1, w.shape[1])
        found.append(Matrix(module=module, tensor=tensor, order=_order(values, w, heads, tensor, path)))
    return found


def _names(arch: str, n_layer: int) -> Any:
    import gguf

    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    if arch not in known:
        raise ModelError(f"the gguf package does not know the architecture {arch!r}", "pip install -U gguf")
    return gguf.get_tensor_name_map(known[arch], n_layer)


def _order(
    values: NDArray[np.float32], w: NDArray[np.float32], heads: set[int], tensor: str, path: Path
) -> NDArray[np.int64] | None:
    """The order of rows that turns transformers' matrix into the file's."""
    if values.shape == w.shape:
        if np.allclose(values, w, atol=1e-6, rtol=1e-3):
            return None
        for n in sorted(heads):
            if len(w) % (2 * n) == 0:  # pairs (i, i + half) of a head become neighbours
                order = np.arange(len(w)).reshape(n, 2, -1).swapaxes(1, 2).ravel()
                if np.allclose(values, w[order], atol=1e-6, rtol=1e-3):
                    return order
    raise ModelError(
        f"transformers reads {tensor} of {path.name} with other values or in another order than llama.cpp",
        "use a base of another architecture: adapters for this one cannot be checked",
    )


def write(
    path: Path,
    found: Iterable[Matrix],
    lora: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
    *,
    alpha: float,
    arch: str,
    facts: AdapterFacts,
    type_name: str = F16,
) -> None:
    """Write an adapter. It appears under its name only when it is whole.

    Args:
        path: of the file to write.
        found: the matrices that it is on.
        lora: by module, A (rank, n_in) and B (n_out, rank): the matrix grows by alpha / rank * B @ A.
        alpha: as above.
        arch: of the base, general.architecture.
        facts: what the adapter says of itself.
        type_name: of the tensors, "f16" or "f32".
    """
    import gguf

    kind = np.float16 if type_name == F16 else np.float32
    with tempfile.TemporaryDirectory() as folder:  # the writer wants a path
        temporary = Path(folder) / path.name
        w = gguf.GGUFWriter(temporary, arch)
        w.add_type("adapter")
        w.add_name(f"{facts.base_name or path.stem} reads {facts.purpose}")
        w.add_string("adapter.type", "lora")
        w.add_float32("adapter.lora.alpha", alpha)
        for key, value in facts.metadata().items():
            if isinstance(value, str):
                w.add_string(key, value)
            else:
                w.add_uint32(key, value)
        for m in found:
            a, b = lora[m.module]
            w.add_tensor(f"{m.tensor}.lora_a", np.ascontiguousarray(a, kind))
            w.add_tensor(f"{m.tensor}.lora_b", np.ascontiguousarray(b if m.order is None else b[m.order], kind))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        contents = temporary.read_bytes()
    with replacing(path) as f:
        f.write(contents)
