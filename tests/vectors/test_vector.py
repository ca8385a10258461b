"""Vectors of one's own: what they hold, in which types they come, and their files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import Mixture, MixtureError, UsageError, Vector

NUMBERS = np.array([[1.0, -2.5, 0.15625], [3.0, 4.0, 0.0]], dtype=np.float32)  # exact in 8 digits of a mantissa
BF16 = (NUMBERS.view(np.uint32) >> 16).astype(np.uint16)


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], metadata: dict[str, str] | None = None) -> bytes:
    """A file as its description has it, written without softllama."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, part) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_it_is_float32_whatever_came_in() -> None:
    for a in (NUMBERS, NUMBERS.astype(np.float64), NUMBERS.astype(np.float16), NUMBERS.tolist(), BF16.view("V2")):
        v = Vector(a)
        assert v.values.dtype == np.float32
        assert np.array_equal(v.values, NUMBERS)
    assert np.array_equal(Vector([1, 2]).values, [1.0, 2.0])


def test_it_cannot_be_changed_from_outside() -> None:
    a = NUMBERS.copy()
    v = Vector(a)
    a[:] = 0
    assert np.array_equal(v.values, NUMBERS)
    with pytest.raises(ValueError, match="read-only"):
        v.values[0, 0] = 1
    with pytest.raises(AttributeError, match="not changed"):
        v.scale = "model"


def test_two_of_the_same_numbers_and_scale_are_equal() -> None:
    v = Vector(NUMBERS, scale="table")
    assert v == Vector(NUMBERS, scale="table")
    assert hash(v) == hash(Vector(NUMBERS, scale="table"))
    assert v != Vector(NUMBERS, scale="model")
    assert v != Vector(2 * NUMBERS, scale="table")
    assert v != Vector(NUMBERS, scale="table", mixture=Mixture.one_hot(3))
    again = pickle.loads(pickle.dumps(v))
    assert again == v


def test_positions_and_norms() -> None:
    v = Vector(NUMBERS, scale="model", mixture=Mixture.one_hot(2))
    first, second = v.positions()
    assert (len(v), v.n_embd, len(first), first.scale, first.mixture) == (2, 3, 1, "model", v.mixture)
    assert np.array_equal(second.values, [3, 4, 0])
    assert second.norms.tolist() == [5.0]
    assert np.allclose(v.with_norm(10).values[1], [6, 8, 0])
    assert np.allclose(v.with_norm(10).norms, 10)
    assert second.positions() == (second,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2, 2)), "not (2, 2, 2)"),
        (3.0, "not ()"),
        ([], "not (0,)"),
        ([1.0, np.nan], "entry 1 of the vector is nan"),
        ([[1.0], [1e300]], "entry (1, 0) of the vector is 1e+300"),
        (["a"], "are no numbers"),
        ([1j], "are no numbers"),
        ([[1.0], [1.0, 2.0]], "has the shape"),
    ],
)
def test_what_is_no_vector_is_an_error(values: Any, message: str) -> None:
    with pytest.raises(MixtureError) as e:
        Vector(values)
    assert message in str(e.value)


def test_other_arguments_are_checked() -> None:
    wrong: Any = "rows"
    with pytest.raises(MixtureError, match="no scale of a vector"):
        Vector([1.0], scale=wrong)
    with pytest.raises(MixtureError, match="not str"):
        Vector([1.0], mixture=wrong)
    with pytest.raises(UsageError, match="norm must be a number"):
        Vector([1.0]).with_norm(-1)
    with pytest.raises(MixtureError, match="position 1 of the vector is 0"):
        Vector([[1.0], [0.0]]).with_norm(1)
    with pytest.raises(MixtureError, match="no direction"):
        Vector([1.0]).with_norm(0)


# ---- files


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("scale", [None, "table", "model"])
def test_a_file_holds_the_same(tmp_path: Path, suffix: str, scale: Any) -> None:
    path = tmp_path / f"v{suffix}"
    Vector(NUMBERS, scale=scale).save(path)
    back = Vector.load(path)
    assert np.array_equal(back.values, NUMBERS)
    assert back.scale == (scale if suffix == ".safetensors" else None)
    assert Vector.load(path, scale="model").scale == "model"


def test_numpy_reads_what_was_saved(tmp_path: Path) -> None:
    Vector(NUMBERS).save(tmp_path / "v.npy")
    assert np.array_equal(np.load(tmp_path / "v.npy"), NUMBERS)
    Vector(NUMBERS, scale="table").save(tmp_path / "v.safetensors")
    data = (tmp_path / "v.safetensors").read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    assert header["vector"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert header["__metadata__"] == {"softllama.scale": "table"}
    assert data[8 + n :] == NUMBERS.tobytes()


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("F64", NUMBERS.astype("<f8").tobytes()),
        ("F32", NUMBERS.tobytes()),
        ("F16", NUMBERS.astype("<f2").tobytes()),
        ("BF16", BF16.tobytes()),
    ],
)
def test_safetensors_of_other_programs(tmp_path: Path, dtype: str, data: bytes) -> None:
    path = tmp_path / "prompt.safetensors"
    path.write_bytes(safetensors({"prompt_embeddings": (dtype, [2, 3], data)}, {"format": "pt"}))
    assert np.array_equal(Vector.load(path).values, NUMBERS)


def test_one_of_several_tensors(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    one = ("F32", [2, 3], NUMBERS.tobytes())
    path.write_bytes(safetensors({"a": one, "b": ("F32", [3], (2 * NUMBERS[0]).tobytes())}))
    with pytest.raises(MixtureError, match="2 tensors: a, b") as e:
        Vector.load(path)
    assert "#NAME" in e.value.hint
    assert np.array_equal(Vector.load(path, tensor="a").values, NUMBERS)
    assert np.array_equal(Vector.load(f"{path}#b").values, 2 * NUMBERS[0])
    with pytest.raises(MixtureError, match="no tensor 'c'"):
        Vector.load(f"{path}#c")


GOOD = safetensors({"a": ("F32", [3], NUMBERS[0].tobytes())})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .safetensors file"),
        (GOOD[:20], "not a .safetensors file"),
        (b"\xff" * 8 + GOOD[8:], "not a .safetensors file"),
        ((2).to_bytes(8, "little") + b"[]", "not a .safetensors file"),
        (GOOD[:-1], "not complete"),
        (safetensors({"a": ("F32", [4], NUMBERS[0].tobytes())}), "not complete"),
        (safetensors({"a": ("F32", [2**40, 2**21], b"")}), "not complete"),
        (safetensors({"a": ("F32", [-3], b"")}), "described wrongly"),
        (safetensors({"a": ("I64", [1], bytes(8))}), "of the type I64"),
        (safetensors({}), "0 tensors: none"),
    ],
)
def test_a_damaged_file_is_one_message(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(MixtureError) as e:
        Vector.load(path)
    assert message in str(e.value)


def test_no_pickle_is_ever_read(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(MixtureError, match=r"not an \.npy file of numbers"):
        Vector.load(tmp_path / "v.npy")
    with pytest.raises(UsageError, match="end the name"):
        Vector(NUMBERS).save(tmp_path / "v.pt")


def test_it_is_a_public_name() -> None:
    assert sl.Vector is Vector
    assert repr(Vector([3.0, 4.0], scale="table")) == "Vector(2 numbers, norm 5, in the table's scale)"
    assert repr(Vector(NUMBERS)).startswith("Vector(2 positions of 3 numbers, norm ")
    assert repr(Vector(NUMBERS)).endswith("no scale said)")
