"""What every layer would say: the last layer's readout is the model's own output."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama import Mixture
from softllama.engine.lens import Lens
from softllama.vectors.vector import Vector


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gemma2", "granite", "qwen3", "lfm2", "qwen35", "mamba"])
def test_the_last_layer_is_the_models_own_output(arch: str, load: Callable[..., sl.Model]) -> None:
    model = load(arch, n_layer=3 if arch != "qwen35" else 2)
    items = [5, 9, Mixture([3, 8], [0.25, 0.75]), 7, 11]
    with Lens(model, 32) as r:
        states, logits = r.states(items, at=(2, -1))
        read = r.read(states.reshape(-1, model.n_embd)).reshape(*states.shape[:2], -1)
    assert r.n_layer == states.shape[0] == (3 if arch != "qwen35" else 2)
    assert np.abs(read[-1] - logits).max() <= 1e-5
    assert np.abs(read[0] - logits).max() > 0.1  # and the first is not
    with model.session() as s:
        assert np.abs(s.feed(items).logits - logits[-1]).max() <= 1e-4  # a batch of another shape
        s.truncate(0)
        assert np.abs(s.feed(items[:3]).logits - logits[0]).max() <= 1e-4


def test_a_raw_vector_is_its_row(load: Callable[..., sl.Model]) -> None:
    model = load("gemma3")
    with Lens(model, 32) as r:
        _, by_id = r.states([5, 9, 7])
        _, by_vector = r.states([5, Vector(model.embed(Mixture.one_hot(9)), scale="table"), 7])
    assert np.array_equal(by_id, by_vector)


def test_reading_twice_and_again_changes_nothing(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    with Lens(model, 32) as r:
        first, _ = r.states([5, 9, 7])
        a = r.read(first[:, 0])
        r.states([1, 2])
        again, _ = r.states([5, 9, 7])
        assert np.array_equal(first, again)
        assert np.array_equal(a, r.read(again[:, 0]))
