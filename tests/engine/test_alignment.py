"""What `hidden` feeds: states times W_a, at the table's mean length; and the cache that keeps W_a."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.base import cache
from softllama.engine import alignment
from softllama.engine.table import EmbeddingTable
from softllama.generation.replay import replay
from softllama.trace.reader import load as load_trace
from softllama.vectors.vector import Vector


def tables(model: sl.Model) -> tuple[np.ndarray, np.ndarray]:
    """The output table and the input table."""
    tensors = model._weights.header.tensors
    e = model.table.rows(range(model.n_vocab)).astype(np.float64)
    if "output.weight" not in tensors:
        return e, e
    return EmbeddingTable(tensors["output.weight"]).rows(range(model.n_vocab)).astype(np.float64), e


@pytest.mark.parametrize("tied", [True, False])
def test_the_matrix_is_that_of_the_formula_and_is_kept(load: Callable[..., sl.Model], tied: bool) -> None:
    model = load("llama", tied=tied)
    w, e = tables(model)
    assert (w is e) == tied
    n = model.n_embd
    expected = np.linalg.inv(w.T @ w + 1e-5 * np.eye(n)) @ w.T @ e
    found = alignment.matrix(model)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    if tied:
        np.testing.assert_allclose(found, np.eye(n), atol=1e-4)
    assert alignment.matrix(model) is found
    key = cache.file_key(model._weights.header.files, "ridge")
    assert cache.load_bytes("alignment", key) == found.tobytes()
    alignment._known.clear()
    np.testing.assert_array_equal(alignment.matrix(model), found)


def second(model: sl.Model, align: str) -> np.ndarray:
    """The distribution after one hidden state was fed, as logits."""
    steps = list(model.stream("The dog", policy=f"hidden:steps=1,align={align},where=everywhere", max_tokens=2, seed=0))
    assert steps[0].align == align
    return np.array([p for _, p in steps[1].top])


@pytest.mark.parametrize("align", ["none", "ridge"])
def test_what_is_fed_is_the_formula(load: Callable[..., sl.Model], align: str) -> None:
    model = load("llama", tied=False)
    items = model.tokenize("The dog", bos=True)
    context = model.new_context(8, embeddings=True)
    model.feed(context, 0, items, 0)
    h = context.hidden(-1).astype(np.float64)
    w, e = tables(model)
    u = h if align == "none" else h @ (np.linalg.inv(w.T @ w + 1e-5 * np.eye(len(h))) @ w.T @ e)
    row = np.linalg.norm(e, axis=1).mean() * u / np.linalg.norm(u)
    logits = model.feed(context, 0, [Vector(row.astype(np.float32))], len(items))[0]
    context.close()
    p = np.exp(logits.astype(np.float64) - logits.max())
    p = np.sort(p / p.sum())[::-1]
    got = second(model, align)
    np.testing.assert_allclose(got, p[: len(got)], rtol=2e-2, atol=1e-4)


def test_tied_tables_make_no_difference_and_untied_ones_do(load: Callable[..., sl.Model]) -> None:
    tied = load("llama", tied=True)  # what is left is the rounding of llama.cpp's 16-bit memory
    np.testing.assert_allclose(second(tied, "ridge"), second(tied, "none"), atol=2e-3)
    untied = load("llama", tied=False)
    assert np.abs(second(untied, "ridge") - second(untied, "none")).max() > 8e-3


@pytest.mark.parametrize("suffix", ["jsonl", "npz"])
def test_a_record_knows_how_a_state_was_aligned(load: Callable[..., sl.Model], tmp_path: Path, suffix: str) -> None:
    model = load("llama", tied=False)
    trace = model.generate("The dog", policy="hidden:steps=3,align=ridge,where=everywhere", max_tokens=5, seed=0)
    assert [s.align for s in trace.steps] == ["ridge"] * 3 + ["none"] * 2
    trace.save(tmp_path / f"t.{suffix}")
    again = load_trace(tmp_path / f"t.{suffix}")
    assert again.to_dict() == trace.to_dict()
    assert replay(model, again) == [0.0] * 5


def test_a_file_with_another_alignment_is_refused(load: Callable[..., sl.Model], tmp_path: Path) -> None:
    model: Any = load("llama", tied=False)
    path = tmp_path / "t.jsonl"
    model.generate("The dog", policy="hidden:steps=1,align=ridge,where=everywhere", max_tokens=1, seed=0).save(path)
    path.write_text(path.read_text().replace('"align": "ridge"', '"align": "other"'))
    with pytest.raises(sl.SoftLlamaError, match="aligned by 'other'"):
        load_trace(path)


def test_the_cache_keeps_the_latest_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "BLOBS", 2)
    for i in range(4):
        cache.store_bytes("blobs", f"k{i}", bytes([i]))
    assert [cache.load_bytes("blobs", f"k{i}") for i in range(4)] == [None, None, b"\2", b"\3"]
