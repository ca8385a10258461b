"""What an adapter says of itself survives its file, and the digest of norms tells fine-tunes apart, not quantizations."""

import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from softllama.llama import dequantize, header
from softllama.llama.adapter_facts import PREFIX, AdapterFacts, norms_digest
from tests.support import tiny
from tests.support.tiny import write_adapter

FACTS = AdapterFacts(
    base_name="Tiny",
    base_sha256="ab" * 32,
    base_norms_sha256="cd" * 32,
    base_file_type=3,
    steps=1200,
    settings={"rank": 8, "lr": 0.001},
    result={"kl": {"before": 0.26, "after": 0.1}},
)


def with_metadata(path: Path, values: dict[str, int | str]) -> Path:
    """An adapter without tensors, of these metadata."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_string("general.type", "adapter")
    for key, value in values.items():
        w.add_uint32(key, value) if isinstance(value, int) else w.add_string(key, value)
    tiny.finish(w)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    h = header.read(with_metadata(tmp_path / "a.gguf", FACTS.metadata()))
    assert AdapterFacts.read(h) == FACTS
    assert h.get("softllama.adapter.version") == 1
    assert h.get("softllama.adapter.purpose") == "mixtures"


def test_an_adapter_of_another_tool_has_no_facts(tmp_path: Path) -> None:
    assert AdapterFacts.read(header.read(write_adapter(tmp_path / "a.gguf"))) is None


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("settings", "{", "settings", {}),
        ("result", "[1]", "result", {}),
        ("steps", "many", "steps", 0),
        ("base.name", 7, "base_name", ""),
        ("base.file_type", "Q4", "base_file_type", None),
    ],
)
def test_a_value_of_another_type_counts_as_not_said(
    key: str, value: int | str, name: str, expected: object, tmp_path: Path
) -> None:
    path = with_metadata(tmp_path / "a.gguf", FACTS.metadata() | {PREFIX + key: value})
    assert getattr(AdapterFacts.read(header.read(path)), name) == expected


def test_the_digest_is_that_of_the_norms_in_the_order_of_their_names(tmp_path: Path) -> None:
    path = tiny.write_model(tmp_path / "m.gguf", "llama")
    norms = sorted((t.name, t.data) for t in gguf.GGUFReader(path).tensors if "norm" in t.name)
    assert len(norms) == 5  # two of each of two layers, and the last one
    expected = hashlib.sha256(b"".join(np.asarray(values, dtype="<f4").tobytes() for _, values in norms))
    assert norms_digest(header.read(path)) == expected.hexdigest()


def test_a_quantization_has_the_digest_of_the_model_and_a_fine_tune_another(tmp_path: Path) -> None:
    quantized = tiny.write_model(tmp_path / "q.gguf", "llama", table_type="Q8_0")
    whole = tmp_path / "f32.gguf"
    dequantize.write(quantized, whole)
    digest = norms_digest(header.read(quantized))
    assert norms_digest(header.read(whole)) == digest
    other = bytearray(whole.read_bytes())
    at = header.read(whole).tensors["output_norm.weight"].offset
    other[at : at + 4] = np.float32(1.25).tobytes()
    (tmp_path / "other.gguf").write_bytes(other)
    assert norms_digest(header.read(tmp_path / "other.gguf")) != digest
