"""csrc/overlay.c against functions that stand in for ggml's. Needs no llama.cpp."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.llama.overlay import FUNCTIONS, MOST, Overlay

NAME = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
ELEMENTS = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
BYTES = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)
SET = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
WATCH = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)


class Graph:
    """Tensors by number: a name and values. Evaluated as ggml's scheduler does it: ask, compute, call."""

    def __init__(self, **tensors: Any) -> None:
        self.names = [ctypes.create_string_buffer(n.encode()) for n in tensors]
        self.values = [np.zeros(1, dtype=np.float32), *tensors.values()]  # a tensor is its place, from 1
        self.asked: list[str] = []
        self._functions = {
            "ggml_get_name": NAME(lambda t: ctypes.addressof(self.names[t - 1])),
            "ggml_nelements": ELEMENTS(lambda t: self.values[t].size),
            "ggml_nbytes": BYTES(lambda t: self.values[t].nbytes),
            "ggml_backend_tensor_set": SET(self._set),
        }
        self.addresses = {n: ctypes.cast(f, ctypes.c_void_p).value or 0 for n, f in self._functions.items()}

    def _set(self, tensor: int, data: int, offset: int, size: int) -> None:
        flat = self.values[tensor].reshape(-1).view(np.uint8)
        flat[offset : offset + size] = np.frombuffer((ctypes.c_uint8 * size).from_address(data), dtype=np.uint8)

    def evaluate(self, overlay: Overlay) -> list[str]:
        """The names of the nodes that were wanted."""
        call, wanted = WATCH(overlay.callback), []
        for i, name in enumerate(self.names):
            if call(i + 1, True, overlay.data):
                wanted.append(name.value.decode())
                assert call(i + 1, False, overlay.data)
        return wanted


def rows(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def zeros(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.zeros(shape, dtype=np.float32)


def test_only_the_named_nodes_are_wanted_and_written() -> None:
    g = Graph(embd=zeros(3, 4), embd2=zeros(3, 4), emb=zeros(3, 4), beside=zeros(3, 2), other=zeros(5))
    a, b = rows(8, 4), -rows(8, 2)
    overlay = Overlay(g.addresses, [("embd", a), ("beside", b)])
    overlay.arm(3)
    assert g.evaluate(overlay) == ["embd", "beside"]
    assert np.array_equal(g.values[1], a[:3])
    assert np.array_equal(g.values[4], b[:3])
    assert not any(g.values[i].any() for i in (2, 3, 5))
    assert overlay.unwritten() == ""


def test_an_idle_overlay_wants_nothing() -> None:
    g = Graph(embd=zeros(3, 4))
    overlay = Overlay(g.addresses, [("embd", rows(8, 4))])
    assert g.evaluate(overlay) == []
    overlay.arm(3)
    overlay.arm(0)
    assert g.evaluate(overlay) == []
    assert not g.values[1].any()
    assert overlay.unwritten() == ""


def test_a_batch_in_pieces_goes_on_where_it_stopped() -> None:
    g = Graph(embd=zeros(2, 4))
    a = rows(8, 4)
    overlay = Overlay(g.addresses, [("embd", a)])
    overlay.arm(5)
    g.evaluate(overlay)
    g.evaluate(overlay)
    assert np.array_equal(g.values[1], a[2:4])
    assert overlay.unwritten() == 'its node "embd" took 4 of 5 rows'
    g.evaluate(overlay)  # two rows, and one is left
    assert np.array_equal(g.values[1], a[2:4])
    assert "another shape" in overlay.unwritten()
    overlay.arm(2)
    g.evaluate(overlay)
    assert np.array_equal(g.values[1], a[:2])
    assert overlay.unwritten() == ""


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (zeros(3, 5), "another shape than rows of 4 floats"),
        (zeros(2, 3), "another shape"),
        (np.zeros((3, 4), dtype=np.float16), "another shape"),
        (np.zeros((3, 4), dtype=np.float64), "another shape"),
        (zeros(0), "another shape"),
        (zeros(9, 4), "another shape"),
    ],
)
def test_a_node_that_does_not_fit_is_left_alone(tensor: Any, words: str) -> None:
    g = Graph(embd=tensor)
    overlay = Overlay(g.addresses, [("embd", rows(8, 4))])
    overlay.arm(3)
    g.evaluate(overlay)
    assert not tensor.any()
    assert words in overlay.unwritten()


def test_a_node_that_does_not_come() -> None:
    overlay = Overlay(Graph().addresses, [("embd", rows(8, 4)), ("beside", rows(8, 4))])
    overlay.arm(1)
    assert overlay.unwritten() == 'it has no node "embd"'


@pytest.mark.parametrize("answer", [True, False])
def test_another_callback_is_asked_as_well(answer: bool) -> None:
    """Of a node that only one of the two wants, the other is not told; what it answers after a node is passed on."""
    calls: list[tuple[int, bool]] = []
    seen: list[float] = []
    g = Graph(first=zeros(2, 2), embd=zeros(2, 4), both=zeros(2, 4), last=zeros(2, 2))

    def watch(tensor: int, ask: bool, data: int) -> bool:
        assert data == 77
        calls.append((tensor, ask))
        if not ask:
            seen.append(float(g.values[tensor].sum()))
        return tensor in (1, 3) if ask else answer

    callback = WATCH(watch)
    overlay = Overlay(
        g.addresses,
        [("embd", rows(2, 4)), ("both", rows(2, 4))],
        (ctypes.cast(callback, ctypes.c_void_p).value or 0, 77),
    )
    overlay.arm(2)
    call = WATCH(overlay.callback)
    results = {(i, ask): call(i, ask, overlay.data) for i in (1, 2, 3, 4) for ask in (True, False)}
    assert [results[i, True] for i in (1, 2, 3, 4)] == [True, True, True, False]
    assert [results[i, False] for i in (1, 2, 3)] == [answer, True, answer]
    assert [c for c in calls if not c[1]] == [(1, False), (3, False)]
    assert seen == [0.0, 36.0], "the rows are there when the other callback looks"


def test_what_an_overlay_refuses() -> None:
    g = Graph()
    with pytest.raises(sl.ContextError, match="float64"):
        Overlay(g.addresses, [("embd", np.zeros((2, 4)))])  # type: ignore[list-item]
    with pytest.raises(sl.ContextError, match="contiguous"):
        Overlay(g.addresses, [("embd", zeros(4, 4)[:, ::2])])
    with pytest.raises(sl.ContextError, match="at most 4 nodes"):
        Overlay(g.addresses, [(f"n{i}", zeros(2, 2)) for i in range(MOST + 1)])
    overlay = Overlay(g.addresses, [("embd", rows(2, 4))])
    for n in (-1, 3):
        with pytest.raises(sl.ContextError, match=f"not {n} rows"):
            overlay.arm(n)
    assert set(g.addresses) == set(FUNCTIONS.values())
