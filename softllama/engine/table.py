"""A model's token-embedding table: Mixture -> float32[n_embd]. Rows come from the file's mapping, never from memory that
llama.cpp may have repacked. Knows files and rows. Knows no context; calibration.py measures the multiplier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base import cache
from softllama.errors import MixtureError
from softllama.llama import bindings
from softllama.llama.header import Tensor
from softllama.vectors import kernels
from softllama.vectors.mixture import Mixture

TILE = 1024  # rows of a table that are dequantized at once
SPARE = 64  # nearest rows beyond those asked for, which float32 may have put in another order


class LowRank:
    """What a LoRA adapter adds to a table's rows: E[i] + factor * B A[i]. a: (rank, n_vocab), b: (rank, n_embd) in ggml's
    order of a shape."""

    def __init__(self, a: Tensor, b: Tensor, factor: float) -> None:
        self._a = EmbeddingTable(a)
        self._b = EmbeddingTable(b).rows(range(b.shape[1])).astype(np.float64)  # (n_embd, rank)
        self.path, self.factor = a.path, factor

    def add(self, mixtures: Sequence[Mixture], out: NDArray[np.float32], n_threads: int = 1) -> None:
        """out[r, :n_embd] += factor * B Σ wᵢ A[i] of mixtures[r]."""
        mixed = np.empty((len(mixtures), self._a.n_embd), dtype=np.float32)
        self._a.mix(mixtures, mixed, 1.0, n_threads)
        self._put(mixed, out[: len(mixtures)])

    def add_rows(self, ids: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """out[r, :n_embd] += factor * B A[ids[r]]."""
        self._put(self._a.rows(ids), out)

    def _put(self, a: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        delta = (a.astype(np.float64) @ self._b.T).astype(np.float32)
        out[:, : len(self._b)] += np.float32(self.factor) * delta


class EmbeddingTable:
    """Rows of a (n_vocab, n_embd) table in a GGUF file.

    Attributes:
        n_vocab, n_embd: Its shape.
        quantization: ggml's name of its type, such as "Q6_K".
    """

    def __init__(
        self, tensor: Tensor, adapters: Sequence[LowRank] = (), substitutes: Mapping[int, int] | None = None
    ) -> None:
        """Open the table of a tensor.

        Args:
            tensor: Where it lies in the file.
            adapters: What is added to its rows.
            substitutes: Ids whose row is that of another id.
        """
        t = bindings.table_type(tensor.ggml_type)
        self.n_embd, self.n_vocab = tensor.shape[:2]
        self.quantization = t.name
        self._file = tensor.path
        self._adapters = tuple(adapters)
        self._row_of: NDArray[np.int32] | None = None
        if substitutes:
            self._row_of = np.arange(self.n_vocab, dtype=np.int32)
            for i, other in substitutes.items():
                if 0 <= i < self.n_vocab and 0 <= other < self.n_vocab:
                    self._row_of[i] = other
        self._rows = kernels.Rows(tensor.rows(), self.n_embd, t.block, t.to_float, tensor.ggml_type)

    def mix(
        self, mixtures: Sequence[Mixture], out: NDArray[np.float32], scale: float = 1.0, n_threads: int = 1
    ) -> None:
        """Compute scale · Σ wᵢ E[i] of each mixture.

        Args:
            mixtures: n mixtures.
            out: (>= n, stride) float32, stride >= n_embd. Row r becomes that of mixtures[r], padded with 0.
            scale: What rows are multiplied by.
            n_threads: For mixtures of more than 1,024 tokens. The result does not depend on it.

        Raises:
            MixtureError: A token id is outside the vocabulary.
        """
        for m in mixtures:
            self.check(m)
        if self._adapters:  # in llama.cpp's order: rows, what is added to them, the multiplier
            self._mix(mixtures, out, 1.0, n_threads)
            for adapter in self._adapters:
                adapter.add(mixtures, out, n_threads)
            out[: len(mixtures)] *= np.float32(scale)
        else:
            self._mix(mixtures, out, scale, n_threads)

    def _mix(self, mixtures: Sequence[Mixture], out: NDArray[np.float32], scale: float, n_threads: int) -> None:
        if len(mixtures) == 1 and self._row_of is None:  # each step of a generation comes this way
            kernels.mix_one(self._rows, mixtures[0].ids, mixtures[0].weights, out, scale, n_threads)
            return
        offsets = np.zeros(len(mixtures) + 1, dtype=np.int64)
        np.cumsum([len(m) for m in mixtures], out=offsets[1:])
        ids = np.concatenate([m.ids for m in mixtures])
        weights = np.concatenate([m.weights for m in mixtures])
        if self._row_of is not None:
            ids = self._row_of[ids]
        kernels.mix(self._rows, offsets, ids, weights, out, scale, n_threads)

    def check(self, m: Mixture) -> None:
        """Raise MixtureError if the vocabulary does not have an id of the mixture."""
        if (high := int(m.ids[-1])) >= self.n_vocab:
            raise self._outside(high)

    def _outside(self, i: int) -> MixtureError:
        return MixtureError(
            f"token id {i} is outside the vocabulary of {self.n_vocab}", f"ids go from 0 to {self.n_vocab - 1}"
        )

    def embed(self, mixture: Mixture) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: (n_embd,) float32, before the architecture's multiplier."""
        out = np.empty((1, self.n_embd), dtype=np.float32)
        self.mix([mixture], out)
        return out.reshape(-1)

    def rows(self, ids: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Rows of the table, dequantized: (len(ids), n_embd) float32.

        Raises:
            MixtureError: an id is outside the vocabulary.
        """
        chosen = np.array(ids, dtype=np.int64)
        for i in chosen[(chosen < 0) | (chosen >= self.n_vocab)][:1]:
            raise self._outside(int(i))
        out = np.empty((len(chosen), self.n_embd), dtype=np.float32)
        if len(chosen):
            of = chosen if self._row_of is None else self._row_of[chosen]
            kernels.mix(self._rows, np.arange(len(of) + 1), of, np.ones(len(of), dtype=np.float32), out)
        for adapter in self._adapters:
            adapter.add_rows(chosen, out)
        return out

    def nearest(self, vectors: NDArray[Any], n: int, *, cosine: bool) -> list[list[tuple[int, float]]]:
        """The rows that are nearest to vectors: of the largest cosine, or else of the largest dot product.

        The table is read once, for all vectors, some rows at a time. Scores are computed in float32, and those of the first
        few once more in double, so that the order is that of exact arithmetic but for the dequantization.

        Args:
            vectors: (k, n_embd) float64, in the table's scale.
            n: how many rows, at most those that there are. The cosine to a row that is 0 is 0.

        Returns:
            For each vector (id, score), the nearest first, the lower id first among equals.
        """
        scores = np.empty((len(vectors), self.n_vocab), dtype=np.float32)
        columns = np.ascontiguousarray(vectors.astype(np.float32).T)
        for start in range(0, self.n_vocab, TILE):
            rows = self.rows(range(start, min(start + TILE, self.n_vocab)))
            part = rows @ columns  # (TILE, k)
            scores[:, start : start + len(rows)] = (part / _lengths(rows)[:, None] if cosine else part).T
        n = min(n, self.n_vocab)
        return [self._first(v, s, n, cosine) for v, s in zip(vectors, scores, strict=True)]

    def _first(self, v: NDArray[Any], scores: NDArray[np.float32], n: int, cosine: bool) -> list[tuple[int, float]]:
        """The n best of the scores (n_vocab,), by scores of their own in double."""
        some = min(n + SPARE, len(scores))
        ids: NDArray[np.integer[Any]] = np.sort(np.argpartition(-scores, some - 1)[:some])
        rows = self.rows(ids).astype(np.float64)
        exact = rows @ v.astype(np.float64)
        if cosine:
            exact /= _lengths(rows) * (float(np.linalg.norm(v)) or np.inf)
        order = np.argsort(-exact, kind="stable")[:n]
        return [(int(ids[i]), float(exact[i])) for i in order]

    def damaged(self, n_threads: int = 1) -> NDArray[np.int64]:
        """Ids of the rows that hold a number that is not finite: (k,). Reads the whole table."""
        return kernels.damaged_rows(self._rows, n_threads)

    @cached_property
    def _norms(self) -> tuple[float, float]:
        """Mean row norm and root mean square of the entries. Reads the whole table once; remembered per file."""
        files = [self._file, *(a.path for a in self._adapters)]
        key = cache.file_key(files, "norms", *(str(a.factor) for a in self._adapters))
        known = cache.load("norms", key)
        if isinstance(known, list) and len(known) == 2 and all(isinstance(x, float) for x in known):
            return known[0], known[1]
        norms = squares = 0.0
        for start in range(0, self.n_vocab, TILE):
            rows = self.rows(range(start, min(start + TILE, self.n_vocab))).astype(np.float64)
            s = np.square(rows).sum(axis=1)
            norms, squares = norms + float(np.sqrt(s).sum()), squares + float(s.sum())
        norm, rms = norms / self.n_vocab, float(np.sqrt(squares / (self.n_vocab * self.n_embd)))
        cache.store("norms", key, [norm, rms])
        return norm, rms

    @property
    def mean_norm(self) -> float:
        """The mean Euclidean norm of the rows, before the architecture's multiplier."""
        return self._norms[0]

    @property
    def rms(self) -> float:
        """The root mean square of the table's entries."""
        return self._norms[1]


def _lengths(rows: NDArray[Any]) -> NDArray[Any]:
    """Norms of rows (n,); infinity for rows that are 0, which are then near to nothing."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    lengths[lengths == 0] = np.inf
    return np.asarray(lengths)
