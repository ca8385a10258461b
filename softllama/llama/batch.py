"""One batch for llama.cpp: the arrays that it reads, and how they are filled.

Knows the layout of llama_batch and the limits of one batch. Knows no sequences' contents and evaluates nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.errors import ContextError
from softllama.llama.bindings import api

F32: TypeAlias = "NDArray[np.float32]"
Integers: TypeAlias = "Sequence[int] | NDArray[np.integer[Any]]"
Booleans: TypeAlias = "Sequence[bool] | NDArray[np.bool_]"


class Rows(NamedTuple):
    """What is fed in place of token ids: a row for each of n positions.

    Args:
        embeddings: (n, n_embd_inp) float32, scaled as the architecture wants them, padded with 0.
        beside: where rows are written over nodes of the graph, the rows of the other nodes, each (n, width) float32.
        carriers: (n,) int32, with nodes: the ids that stand in for the rows in the batch.
    """

    embeddings: F32  # (n, n_embd_inp)
    beside: tuple[F32, ...] = ()
    carriers: NDArray[np.int32] | None = None  # (n,)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order of a batch's buffers."""
        if self.carriers is None:
            return (self.embeddings, *self.beside)
        return (self.embeddings, *self.beside, self.carriers)

    def take(self, order: NDArray[np.intp]) -> Rows:
        """The rows at these indices, in this order."""
        carriers = None if self.carriers is None else self.carriers[order]
        return Rows(self.embeddings[order], tuple(b[order] for b in self.beside), carriers)


class Batch:
    """Room for `size` positions.

    Args:
        size: the most positions.
        widths: the length of a row in each buffer; the embedding comes first.
        carriers: whether ids go to llama.cpp in place of the rows, which are written over nodes of its graph.
        positions_per_row: 4 for models with M-RoPE, which want time, height, width and a fourth number; else 1.

    Attributes:
        rows: the buffers, (size, width) float32 each. llama.cpp or the overlay reads them: their addresses stay.
        native: llama.cpp's llama_batch, which points to the arrays here.
    """

    def __init__(self, size: int, widths: Sequence[int], *, carriers: bool, positions_per_row: int) -> None:
        self.rows: list[F32] = [np.zeros((size, width), dtype=np.float32) for width in widths]
        self._carriers = np.zeros(size, dtype=np.int32)
        self._buffers: tuple[NDArray[Any], ...] = (*self.rows, self._carriers) if carriers else tuple(self.rows)
        self._row_shapes = [buffer.shape[1:] for buffer in self._buffers]
        self._tokens = np.zeros(size, dtype=np.int32)
        self._positions = np.zeros(positions_per_row * size, dtype=np.int32)
        self._per_row = positions_per_row
        self._n_seq_id = np.ones(size, dtype=np.int32)
        self._seq_id = np.zeros(size, dtype=np.int32)
        self._want = np.zeros(size, dtype=np.int8)
        # row i's list of sequences: one, its own
        at = self._seq_id.ctypes.data + 4 * np.arange(size + 1, dtype=np.uintp)
        self._lists = (ctypes.POINTER(ctypes.c_int32) * (size + 1)).from_buffer_copy(at.tobytes())
        self._pointers = {
            "ids": (_pointer(self._tokens, ctypes.c_int32), None),
            "rows": (None, _pointer(self.rows[0], ctypes.c_float)),
            "carriers": (_pointer(self._carriers, ctypes.c_int32), None),
        }
        # a step of a generation is one position: its numbers are put there without an array of them
        self._one_seq, self._one_position = self._seq_id.data, self._positions.data
        self._one_want = self._want.data
        self._rows_kind = "carriers" if carriers else "rows"
        self._kind = ""  # what the native batch points to
        positions, ones = _pointer(self._positions, ctypes.c_int32), _pointer(self._n_seq_id, ctypes.c_int32)
        self.native = api.llama_batch(0, None, None, positions, ones, self._lists, _pointer(self._want, ctypes.c_int8))

    def fill(
        self, seqs: Integers, positions: Integers, want: Booleans, tokens: Integers | None, rows: Rows | None
    ) -> list[int]:
        """Write n positions. Returns the indices of those whose logits are wanted.

        Raises:
            ContextError: the rows have other shapes than this batch.
        """
        n = len(seqs)
        self.native.n_tokens = n
        if rows is not None:
            self._copy(rows, n)
        elif tokens is not None:
            self._tokens[:n] = tokens
        kind = self._rows_kind if rows is not None else "ids"
        if kind != self._kind:
            self.native.token, self.native.embd = self._pointers[kind]
            self._kind = kind
        p = self._positions
        if n == 1:
            self._one_seq[0], self._one_position[0] = seqs[0], positions[0]
            wanted = [0] if want[0] else []
            self._one_want[0] = len(wanted)
        else:
            self._seq_id[:n], p[:n], self._want[:n] = seqs, positions, want
            wanted = np.flatnonzero(self._want[:n]).tolist()
        if self._per_row == 4:  # section-major: time, height, width as for text, then 0
            p[n : 2 * n] = p[2 * n : 3 * n] = p[:n]
            p[3 * n : 4 * n] = 0
        return wanted

    def want_all(self, n: int) -> None:
        """Ask llama.cpp for the logits of all n positions."""
        self._want[:n] = 1

    def _copy(self, rows: Rows, n: int) -> None:
        arrays = (rows.embeddings,) if rows.carriers is None else rows.arrays()
        if len(arrays) != len(self._buffers):
            raise ContextError(f"this context takes {len(self._buffers)} arrays of rows, not {len(arrays)}")
        for buffer, array, row in zip(self._buffers, arrays, self._row_shapes, strict=True):
            if len(array) != n or array.shape[1:] != row:
                raise ContextError(f"rows of the shape {array.shape} do not fit a batch of {(n, *row)}")
            buffer[:n] = array


def in_order(seqs: Integers) -> bool:
    """Does each sequence lie in one piece, in the order of their numbers, and are all of one length?"""
    if len(seqs) == 1:
        return True
    steps = np.diff(seqs)
    starts = np.flatnonzero(steps)
    lengths = np.diff([-1, *starts, len(seqs) - 1])
    return bool((steps >= 0).all() and (lengths == lengths[0]).all())


def _pointer(array: NDArray[Any], ctype: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctype))
