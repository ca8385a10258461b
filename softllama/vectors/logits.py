"""`Logits`: the logits of a vocabulary, and what passes over them gave, each computed once.

The logits may lie in memory that llama.cpp will write over; they are copied when somebody asks for them, or else when that is about
to happen. Knows arrays. Distribution, which is made of it, is what the rest of softllama knows.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.vectors import native, passes


class Logits:
    """What `Distribution` computes with."""

    _z: Any  # (n_vocab,) the logits as a C array, for passes; where they are lent, llama.cpp's own
    _peak: tuple[float, int]  # the largest logit and its id
    _sum_cache: dict[float, tuple[float, float]]  # temperature -> Σ e^x, Σ x e^x, x = (z - max)/T
    _n_threads: int  # that passes over the logits may use
    _top: NDArray[np.int32] | None = None  # the result of `_top_ids` for the largest k so far
    _known: Any = None  # `passes.summary` of a model's logits
    _cut: tuple[Any, Any] | None = None  # arguments of `_truncated`, and the result

    def __len__(self) -> int:
        return len(self._z)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """(n_vocab,) float32, finite or -inf (probability 0), read-only."""
        z = np.frombuffer(bytes(native.ffi.buffer(self._z)), dtype=np.float32)  # a copy: this one is lent
        self.__dict__["_z"] = native.floats(z)
        return z

    def _keep(self) -> None:
        """Copy the logits, if they are lent."""
        _ = self.logits

    @property
    def _view(self) -> NDArray[np.float32]:
        """The logits, to be used at once and not to be kept."""
        return native.view(self._z)

    def _probs_of(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The probabilities of some of these logits: float32, the same numbers as in `probs`."""
        return passes.probs(logits, self._peak[0], self._sums()[0])

    def _sums(self, temperature: float = 1.0) -> tuple[float, float]:
        """(Σ e^x, Σ x e^x), x = (logits - their largest) / temperature: computed once for each temperature."""
        if (known := self._sum_cache.get(temperature)) is None:
            known = self._sum_cache[temperature] = passes.sums(self._z, self._peak[0], temperature, self._n_threads)
        return known

    @property
    def _ln_total(self) -> float:
        """ln Σ e^logits, so that ln p = logits - ln_total."""
        return self._peak[0] + math.log(self._sums()[0])

    def _top_ids(self, k: int) -> NDArray[np.int32]:
        """The ids (min(k, n_vocab),) of the most probable tokens, most probable first, the lower id among equals."""
        if self._top is None or len(self._top) < min(k, len(self)):
            self.__dict__["_top"] = passes.top(self._view, k)
        assert self._top is not None
        return self._top[:k]

    def _likeliest(self, k: int) -> Any:
        """`_top_ids`, k <= n_vocab, in the form that `passes.filtered` takes; without a search if they are known."""
        return self._known.ids if self._known is not None and k <= self._known.k else self._top_ids(k)

    def _top_probs(self, k: int) -> tuple[tuple[int, float], ...]:
        """(id, p) of the k most probable tokens, most probable first."""
        if (known := self._known) is not None and k <= known.k:
            return tuple(zip(known.ids[0:k], known.p[0:k], strict=True))
        ids = self._top_ids(k)
        return tuple(zip(ids.tolist(), self._probs_of(self._view[ids]).tolist(), strict=True))

    def _truncated(
        self, temperature: float = 1.0, epsilon: float = 0.0
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], float]:
        """softmax(logits / temperature) as ids, weights (k,) and the mass left out (`passes.truncated`); kept for a second call."""
        if self._cut is None or self._cut[0] != (temperature, epsilon):
            total = self._sums(temperature)[0]
            found = passes.truncated(self._z, self._peak[0], total, epsilon, temperature, self._n_threads)
            found[0].flags.writeable = found[1].flags.writeable = False
            self.__dict__["_cut"] = ((temperature, epsilon), found)
        return self.__dict__["_cut"][1]  # type: ignore[no-any-return]
