"""Our rows in place of what nodes of llama.cpp's graph have computed (csrc/overlay.h has the contract).

For architectures that take token ids only: a carrier token goes through the ordinary path, and its embedding is overwritten
right after llama.cpp has looked it up. Knows addresses and arrays. Does not know which nodes those are:
engine/calibration.py finds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from softllama._shim import ffi, lib
from softllama.errors import ContextError

FUNCTIONS = {  # field of the C struct -> ggml's function
    "get_name": "ggml_get_name",
    "n_elements": "ggml_nelements",
    "n_bytes": "ggml_nbytes",
    "set": "ggml_backend_tensor_set",
}
MOST = int(lib.OVERLAY_NODES)


class Overlay:
    """An evaluation callback for one context: `callback` and `data` are the addresses to give to llama.cpp.

    Args:
        functions: addresses of ggml's functions, by their names in FUNCTIONS.
        nodes: up to MOST names, each with its rows (n, width) float32, which are read when llama.cpp evaluates the node.
        watch: addresses of another callback and its data, which is called as well.

    Raises:
        ContextError: there are too many nodes, or rows have another form.
    """

    def __init__(
        self,
        functions: Mapping[str, int],
        nodes: Sequence[tuple[str, NDArray[np.float32]]],
        watch: tuple[int, int] = (0, 0),
    ) -> None:
        if len(nodes) > MOST:
            raise ContextError(f"an overlay writes over at most {MOST} nodes, not {len(nodes)}")
        self._o = ffi.new("overlay *")
        self._names = [ffi.new("char[]", name.encode()) for name, _ in nodes]
        self._rows = [rows for _, rows in nodes]
        for field, name in FUNCTIONS.items():
            setattr(self._o, field, ffi.cast(ffi.typeof(getattr(self._o, field)), functions[name]))
        self._o.watch, self._o.watch_data = ffi.cast("overlay_watch", watch[0]), ffi.cast("void *", watch[1])
        self._o.n_nodes = len(nodes)
        for i, rows in enumerate(self._rows):
            if rows.dtype != np.float32 or rows.ndim != 2 or not rows.flags.c_contiguous:
                raise ContextError(f"rows must be a contiguous (n, width) float32 array, not {rows.dtype} {rows.shape}")
            node = self._o.nodes[i]
            node.name, node.width = self._names[i], rows.shape[1]
            node.rows = ffi.from_buffer("float[]", rows)
        self.callback = int(ffi.cast("intptr_t", ffi.addressof(lib, "overlay_eval")))
        self.data = int(ffi.cast("intptr_t", self._o))

    def arm(self, n: int) -> None:
        """Write the first n rows in the evaluation that follows; 0: leave everything as it is.

        Raises:
            ContextError: there are fewer rows.
        """
        if not 0 <= n <= min((len(r) for r in self._rows), default=0):
            raise ContextError(f"the overlay has not {n} rows")
        o = self._o
        o.n_rows, o.misfit = n, 0
        for i in range(o.n_nodes):
            o.nodes[i].done = 0

    def unwritten(self) -> str:
        """What was not written since `arm`, as a clause; "" if everything was."""
        o = self._o
        for i in range(o.n_nodes):
            node = o.nodes[i]
            name = ffi.string(node.name).decode()
            if o.misfit == i + 1:
                return f'its node "{name}" has another shape than rows of {node.width} floats'
            if node.done != o.n_rows:
                return (
                    f'its node "{name}" took {node.done} of {o.n_rows} rows'
                    if node.done
                    else f'it has no node "{name}"'
                )
        return ""
