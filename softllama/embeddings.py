"""A model's token-embedding table: Mixture -> float32[n_embd]. Rows come from the file's mapping, never from memory that
llama.cpp may have repacked. Knows no context; the multiplier is found by calibration.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softllama import kernels
from softllama.errors import MixtureError
from softllama.llama import binding
from softllama.llama.header import Tensor
from softllama.mixture import Mixture


class Table:
    """Rows of a (n_vocab, n_embd) table in a GGUF file. quantization: ggml's name of its type, such as "Q6_K"."""

    def __init__(self, tensor: Tensor) -> None:
        t = binding.table_type(tensor.ggml_type)
        self.n_embd, self.n_vocab = tensor.shape[:2]
        self.quantization = t.name
        self._rows = kernels.Rows(tensor.rows(), self.n_embd, t.block, t.to_float)

    def mix(self, mixtures: Sequence[Mixture], out: NDArray[np.float32], scale: float = 1.0) -> None:
        """out[r] = scale · Σ wᵢ E[i] of mixtures[r]; out: (>= n, stride) float32, stride >= n_embd, padded with 0.

        Raises MixtureError for a token id outside the vocabulary.
        """
        for m in mixtures:
            self.check(m)
        offsets = np.zeros(len(mixtures) + 1, dtype=np.int64)
        np.cumsum([len(m) for m in mixtures], out=offsets[1:])
        ids = np.concatenate([m.ids for m in mixtures])
        weights = np.concatenate([m.weights for m in mixtures])
        kernels.mix(self._rows, offsets, ids, weights, out, scale)

    def check(self, m: Mixture) -> None:
        """Raise MixtureError if the vocabulary does not have an id of the mixture."""
        if (high := int(m.ids[-1])) >= self.n_vocab:
            raise MixtureError(
                f"token id {high} is outside the vocabulary of {self.n_vocab}", f"ids go from 0 to {self.n_vocab - 1}"
            )

    def embed(self, mixture: Mixture) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: (n_embd,) float32, before the architecture's multiplier."""
        out = np.empty((1, self.n_embd), dtype=np.float32)
        self.mix([mixture], out)
        return out.reshape(-1)

    def rows(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Rows of the table, dequantized: (len(ids), n_embd) float32."""
        out = np.empty((len(ids), self.n_embd), dtype=np.float32)
        self.mix([Mixture.one_hot(i) for i in ids], out)
        return out
