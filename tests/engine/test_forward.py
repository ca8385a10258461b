"""A second implementation: a llama in numpy, in double, that reads the same GGUF and agrees with llama.cpp on logits.

llama.cpp keeps keys and values as F16 unless told otherwise, which costs about 1e-3 of the logits; so that what is left
is the arithmetic, these tests have it keep them as F32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import softllama as sl
from softllama.vectors.mixture import Mixture

F64 = NDArray[np.float64]


class Llama:
    """The decoder as the papers have it: RMSNorm (Zhang & Sennrich 2019), RoPE on neighbouring pairs (Su et al. 2021),
    grouped-query attention (Ainslie et al. 2023), SwiGLU (Shazeer 2020)."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self.t: dict[str, F64] = {t.name: np.array(t.data, dtype=np.float64) for t in reader.tensors}

        def value(key: str) -> float:
            return float(reader.fields[f"llama.{key}"].parts[-1][0])

        self.n_layer, self.n_head = int(value("block_count")), int(value("attention.head_count"))
        self.n_head_kv, self.eps = int(value("attention.head_count_kv")), value("attention.layer_norm_rms_epsilon")
        base = reader.fields.get("llama.rope.freq_base")
        self.base = 10_000.0 if base is None else float(base.parts[-1][0])
        self.table = self.t["token_embd.weight"]  # (n_vocab, n_embd)

    def norm(self, x: F64, name: str) -> F64:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.t[name]

    def rope(self, x: F64) -> F64:
        """x: (n, heads, d). Pairs (0, 1), (2, 3), ... turn by position · base^(-2i/d)."""
        n, _, d = x.shape
        angle = np.arange(n)[:, None] * self.base ** (-np.arange(0, d, 2) / d)  # (n, d/2)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    def attention(self, x: F64, p: str) -> F64:
        n = len(x)
        q = self.rope((x @ self.t[p + "attn_q.weight"].T).reshape(n, self.n_head, -1))
        k = self.rope((x @ self.t[p + "attn_k.weight"].T).reshape(n, self.n_head_kv, -1))
        v = (x @ self.t[p + "attn_v.weight"].T).reshape(n, self.n_head_kv, -1)
        k, v = (a.repeat(self.n_head // self.n_head_kv, axis=1) for a in (k, v))
        s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(q.shape[-1])
        s[:, np.triu(np.ones((n, n), dtype=bool), 1)] = -np.inf
        a = np.exp(s - s.max(-1, keepdims=True))
        a /= a.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", a, v).reshape(n, -1) @ self.t[p + "attn_output.weight"].T

    def logits(self, rows: F64) -> F64:
        """rows: (n, n_embd) input vectors -> (n_vocab,) logits after the last."""
        out: F64 = self.every(rows)[-1]
        return out

    def every(self, rows: F64) -> F64:
        """rows: (n, n_embd) input vectors -> (n, n_vocab) logits after each."""
        x = rows
        for i in range(self.n_layer):
            p = f"blk.{i}."
            x = x + self.attention(self.norm(x, p + "attn_norm.weight"), p)
            h = self.norm(x, p + "ffn_norm.weight")
            gate = h @ self.t[p + "ffn_gate.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ self.t[p + "ffn_up.weight"].T)) @ self.t[p + "ffn_down.weight"].T
        head = self.t.get("output.weight", self.table)
        out: F64 = self.norm(x, "output_norm.weight") @ head.T
        return out

    def rows(self, items: Sequence[int | Mixture]) -> F64:
        dense = np.zeros((len(items), len(self.table)))
        for r, item in zip(dense, items, strict=True):
            if isinstance(item, Mixture):
                r[item.ids] = item.weights
            else:
                r[item] = 1
        out: F64 = dense @ self.table
        return out


HALF = Mixture([40, 111], [0.5, 0.5])
MANY = Mixture(np.arange(5, 25), np.full(20, 0.05))
INPUTS: list[list[int | Mixture]] = [
    [7],
    [HALF],
    [7, 40, 9],
    [7, HALF, 9],
    [HALF, MANY, HALF],
    [1, 2, 3, MANY, 5, 6, HALF],
    [7, Mixture([3, 4, 5], [1, -1, 1], signed=True), 9],
]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("items", INPUTS, ids=range(len(INPUTS)))
@pytest.mark.usefixtures("exact")
def test_llama_cpp_agrees_with_numpy(load: Callable[..., sl.Model], items: list[int | Mixture], tied: bool) -> None:
    model = load("llama", tied=tied)
    own = Llama(Path(model.path))
    want = own.logits(own.rows(items))
    assert np.ptp(want) > 1
    with model.session(n_ctx=64) as s:
        got = s.feed(items).logits
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.usefixtures("exact")
def test_a_step_at_a_time_agrees_too(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    own = Llama(Path(model.path))
    items = INPUTS[5]
    with model.session(n_ctx=64) as s:
        for i, item in enumerate(items):
            got = s.feed([item]).logits
            assert np.abs(got - own.logits(own.rows(items[: i + 1]))).max() < 1e-4


def test_with_llama_cpps_own_settings_the_difference_is_that_of_f16(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    own = Llama(Path(model.path))
    for items in INPUTS:
        want = own.logits(own.rows(items))
        with model.session(n_ctx=64) as s:
            got = s.feed(items).logits
        assert np.abs(got - want).max() < 3e-3 * np.abs(want).max()


def test_what_comes_before_matters_in_that_model(load: Callable[..., sl.Model]) -> None:
    """The agreement would mean little if only the last position reached the logits."""
    own = Llama(Path(load("llama").path))
    a, b = (own.logits(own.rows([t, HALF, 9])) for t in (7, 8))
    assert np.abs(a - b).max() > 1e-2
