"""What every layer would say: hidden states of all layers, read through the model's own norm and head.

The logit lens (nostalgebraist 2020) for any architecture without knowing it: llama.cpp names the output of layer i
"l_out-i". The states of all layers are kept while a sequence is evaluated; then as many dummy tokens as there are states
are decoded in a second sequence, and the last layer's output is overwritten with the states, so that the model itself
applies its final norm, head, scales and softcap. The last layer's readout is then the model's own output.

Knows ctypes and the names of llama.cpp's tensors, which are internal: a model without them is refused. The callback is
Python called by llama.cpp for every node of the graph (1 to 2 ms for each batch), which a study can afford.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine, Item
from softllama.errors import ContextError
from softllama.llama.bindings import api, lib

_PREFIX = b"l_out-"
ENDINGS = 8  # sequences after one beginning, in `states_after`


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml with a prototype of its own, which another module's declaration cannot change."""
    return ctypes.CFUNCTYPE(result, *arguments)((name, lib))


_name = _function("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)
_elements = _function("ggml_nelements", ctypes.c_int64, ctypes.c_void_p)
_bytes = _function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_get = _function("ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_set = _function("ggml_backend_tensor_set", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)


class Lens:
    """A context that keeps the states of all layers. A context manager.

    n_ctx: positions of a sequence. n_layer: known after the first `states`.
    """

    def __init__(self, model: Engine, n_ctx: int) -> None:
        self._model = model
        self._seen: dict[int, NDArray[np.float32]] = {}
        self._instead: NDArray[np.float32] | None = None
        self._last = -1
        self._error = ""
        self._verified = False
        watch = api.ggml_backend_sched_eval_callback(self._watch)
        self._most = 64
        simple = not (model.recurrent or model._weights.alone or model.calibration.nodes)
        self._endings = ENDINGS if simple else 0  # else llama.cpp may split a batch, or put its rows in another order
        n_seq = 2 + self._endings
        self._context = model.new_context(n_ctx + self._most, n_seq, n_outputs=self._most, n_batch=512, watch=watch)

    @property
    def n_layer(self) -> int:
        return self._last + 1

    def _watch(self, tensor: int, ask: bool, _: object) -> bool:
        name: bytes = _name(tensor) or b""
        if not name.startswith(_PREFIX) or not name[len(_PREFIX) :].isdigit():
            return not ask  # not asked for; False from a node that was asked for would end the evaluation
        if ask:
            return True
        layer = int(name[len(_PREFIX) :])
        n = self._model.n_embd
        elements = _elements(tensor)
        if _bytes(tensor) != 4 * elements or elements % n:
            self._error = f"{name.decode()} is no matrix of floats with rows of {n}"
            return True
        if self._instead is not None:
            if layer == self._last:
                if elements != self._instead.size:
                    self._error = f"{name.decode()} has {elements // n} rows, not {len(self._instead)}"
                else:
                    _set(tensor, self._instead.ctypes.data, 0, self._instead.nbytes)
            return True
        rows = np.empty((elements // n, n), dtype=np.float32)
        _get(tensor, rows.ctypes.data, 0, rows.nbytes)
        self._seen[layer] = rows
        return True

    def states(
        self, items: Sequence[Item], at: Sequence[int] = (-1,)
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Evaluate a sequence: its layers' states at the places `at`, (n_layer, len(at), n_embd), and the model's own
        logits there, (len(at), n_vocab).

        items: ids, mixtures, and raw vectors (n_embd,) in the table's scale. Raises ContextError.
        """
        n = len(items)
        if n > self._context.n_batch:
            raise ContextError(f"a readout takes at most {self._context.n_batch} positions, not {n}")
        places = [i % n for i in at]
        order = sorted(set(places))
        want = np.isin(np.arange(n), order)
        self._context.cut(0, 0)
        logits = self._evaluate([0] * n, range(n), want, items)
        out = np.empty((self.n_layer, len(places), self._model.n_embd), dtype=np.float32)
        for layer, rows in self._seen.items():
            # of the last layer, llama.cpp computes only the rows whose logits are wanted
            index = places if len(rows) == n else [order.index(p) for p in places]
            out[layer] = rows[index]
        own = logits[[order.index(p) for p in places]]
        if not self._verified:
            self._verify(out[-1], own)
        return out, own

    def states_after(self, prefix: Sequence[Item], endings: Sequence[Item]) -> NDArray[np.float32]:
        """The layers' states at each of some items that follow the same prefix: (n_layer, len(endings), n_embd).

        The same as `states` of each, up to rounding. The prefix is evaluated once, and the items side by side.
        """
        if not 0 < len(endings) <= self._endings or not prefix:
            return np.concatenate([self.states([*prefix, e])[0] for e in endings], axis=1)
        if not self._verified:
            self.states([*prefix, endings[0]])
        n = len(prefix)
        seqs = [2 + i for i in range(len(endings))]
        self._context.cut(0, 0)
        self._evaluate([0] * n, range(n), np.arange(n) == n - 1, prefix)
        for seq in seqs:
            self._context.cut(seq, 0)
            self._context.copy(0, seq)
        try:
            self._evaluate(seqs, [n] * len(seqs), [True] * len(seqs), endings)
        finally:
            for seq in seqs:
                self._context.cut(seq, 0)
        return np.stack([self._seen[layer] for layer in range(self.n_layer)])

    def _evaluate(self, seqs: Any, positions: Any, want: Any, items: Sequence[Item]) -> NDArray[np.float32]:
        """Evaluate items, and keep the states of all layers in `_seen`: the logits (sum(want), n_vocab)."""
        self._seen.clear()
        self._instead, self._error = None, ""
        logits = self._context.decode(seqs, positions, want, rows=self._model.rows(items))
        self._check()
        if not self._seen:
            raise ContextError(f"llama.cpp does not name the layers of {self._model.arch}", "leave out --layers")
        self._last = max(self._seen)
        if sorted(self._seen) != list(range(self._last + 1)):
            raise ContextError(f"llama.cpp names only some layers of {self._model.arch}", "leave out --layers")
        return logits

    def _verify(self, last: NDArray[np.float32], own: NDArray[np.float32]) -> None:
        """Does the last layer's readout give the model's own logits? Not where its head looks at several layers."""
        read = self.read(last)
        # some architectures rule tokens out by -inf or -FLT_MAX, and chameleon in a batch's first row only
        finite = (np.abs(own) < 1e30) & (np.abs(read) < 1e30)
        if not finite.any():  # nothing to compare: the states themselves say why
            return
        if not np.abs(read - own)[finite].max() <= 1e-2 * np.abs(own[finite]).max():
            raise ContextError(
                f"the layers of {self._model.arch} cannot be read: the last one is not all that its output is made of",
                "leave out --layers",
            )
        self._verified = True

    def read(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (k, n_vocab) of states (k, n_embd), by the model's own norm and head."""
        out = []
        for start in range(0, len(states), self._most):
            part = np.ascontiguousarray(states[start : start + self._most], dtype=np.float32)
            k = len(part)
            self._instead, self._error = part, ""
            try:
                rows = self._model.rows([0] * k)
                out.append(self._context.decode([1] * k, range(k), [True] * k, rows=rows))
            finally:
                self._instead = None
                self._context.cut(1, 0)
            self._check()
        return np.concatenate(out)

    def _check(self) -> None:
        if self._error:
            raise ContextError(f"the layers of {self._model.arch} cannot be read: {self._error}", "leave out --layers")

    def close(self) -> None:
        """Free the memory."""
        self._context.close()

    def __enter__(self) -> Lens:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
