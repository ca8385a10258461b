"""The outputs of a model's layers while llama.cpp computes them: kept, changed, or put in their place.

llama.cpp names the output of layer i "l_out-i". Its evaluation callback is asked for each node of the graph, and gets those that
it wants once they are computed; what is written into a node then is what the next layer reads.

Knows ctypes and the names of llama.cpp's tensors, which are internal. Does not know what the outputs are for. The callback is
Python called by llama.cpp for every node of the graph, 1 to 2 ms for each batch; without it nothing is asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from softllama.llama.bindings import api, exporter

F32: TypeAlias = "NDArray[np.float32]"
Edit: TypeAlias = "Callable[[F32, Sequence[int]], None]"
"""Changes the output of a layer in place: rows (k, n_embd), and the position of each."""

_PREFIX = b"l_out-"


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml with a prototype of its own, which another module's declaration cannot change."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, exporter(name)))


_name = _function("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)
_elements = _function("ggml_nelements", ctypes.c_int64, ctypes.c_void_p)
_bytes = _function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_get = _function("ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_set = _function("ggml_backend_tensor_set", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


class LayerWatch:
    """An evaluation callback for one context.

    Attributes:
        callback: what llama.cpp is given.
        keep: the layers whose outputs are kept.
        seen: of each layer that was kept, (k, n_embd): every position of the batch; of the last layer often only those whose
            logits are wanted.
        edits: what changes a layer's output before the next layer reads it.
        at: the positions of the batch, and of them those whose logits are wanted; for the edits.
        instead: a layer, and rows (k, n_embd) to write over its output.
        named: the layers that llama.cpp has named so far.
        error: what went wrong, as a clause; "" for nothing.
    """

    def __init__(self, n_embd: int) -> None:
        self._n_embd = n_embd
        self.keep: Collection[int] = ()
        self.seen: dict[int, F32] = {}
        self.edits: dict[int, list[Edit]] = {}
        self.at: tuple[Sequence[int], Sequence[int]] = ((), ())
        self.instead: tuple[int, F32] | None = None
        self.named: set[int] = set()
        self.error = ""
        self.callback = api.ggml_backend_sched_eval_callback(self._evaluated)

    def clear(self) -> None:
        """Forget what was seen, and what went wrong."""
        self.seen, self.error = {}, ""

    def _evaluated(self, tensor: int, ask: bool, _: object) -> bool:
        name: bytes = _name(tensor) or b""
        if not name.startswith(_PREFIX) or not name[len(_PREFIX) :].isdigit():
            return not ask  # not asked for; False from a node that was asked for would end the evaluation
        layer = int(name[len(_PREFIX) :])
        if ask:
            self.named.add(layer)
            return layer in self.keep or layer in self.edits or (self.instead is not None and layer == self.instead[0])
        n, elements = self._n_embd, _elements(tensor)
        if _bytes(tensor) != 4 * elements or elements % n:
            self.error = f"{name.decode()} is no matrix of floats with rows of {n}"
        elif self.instead is not None:
            self._replace(tensor, name.decode(), layer, elements)
        else:
            self._take(tensor, layer, elements // n)
        return True

    def _replace(self, tensor: int, name: str, layer: int, elements: int) -> None:
        assert self.instead is not None
        which, rows = self.instead
        if layer != which:
            return
        if elements != rows.size:
            self.error = f"{name} has {elements // self._n_embd} rows, not {len(rows)}"
        else:
            _set(tensor, rows.ctypes.data, 0, rows.nbytes)

    def _take(self, tensor: int, layer: int, k: int) -> None:
        rows = np.empty((k, self._n_embd), dtype=np.float32)
        _get(tensor, rows.ctypes.data, 0, rows.nbytes)
        every, wanted = self.at
        for edit in self.edits.get(layer, ()):
            edit(rows, every if len(every) == k else wanted)
        if layer in self.edits:
            _set(tensor, rows.ctypes.data, 0, rows.nbytes)
        if layer in self.keep:
            self.seen[layer] = rows
