"""What every layer would say: the last layer's readout is the model's own output."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest

import softllama as sl
from softllama import Mixture
from softllama.engine import manifest
from softllama.engine.lens import Lens
from softllama.vectors.interventions import ControlVector, Patch
from softllama.vectors.vector import Vector

Load = Callable[..., sl.Model]


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gemma2", "granite", "qwen3", "lfm2", "qwen35", "mamba"])
def test_the_last_layer_is_the_models_own_output(arch: str, load: Load) -> None:
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


def test_a_raw_vector_is_its_row(load: Load) -> None:
    model = load("gemma3")
    with Lens(model, 32) as r:
        _, by_id = r.states([5, 9, 7])
        _, by_vector = r.states([5, Vector(model.embed(Mixture.one_hot(9)), scale="table"), 7])
    assert np.array_equal(by_id, by_vector)


def test_reading_twice_and_again_changes_nothing(load: Load) -> None:
    model = load("llama")
    with Lens(model, 32) as r:
        first, _ = r.states([5, 9, 7])
        a = r.read(first[:, 0])
        r.states([1, 2])
        again, _ = r.states([5, 9, 7])
        assert np.array_equal(first, again)
        assert np.array_equal(a, r.read(again[:, 0]))


# ---- some layers, many positions


def test_some_layers_are_those_of_all(load: Load) -> None:
    model = load("llama", n_layer=3)
    with Lens(model, 32) as r:
        every, own = r.states([5, 9, 7], at=(0, 1, 2))
        some, again = r.states([5, 9, 7], at=(2, 0), layers=(-1, 0))
        assert np.array_equal(some, every[[2, 0]][:, [2, 0]])
        assert np.array_equal(again, own[[2, 0]])
        for wrong in ({"layers": (3,)}, {"layers": (-4,)}, {"at": (3,)}):
            with pytest.raises(sl.UsageError, match="there is no"):
                r.states([5, 9, 7], **wrong)  # type: ignore[arg-type]


def test_more_positions_than_one_batch_gives(load: Load, exact: None) -> None:
    """150 positions are looked at in three batches: the same states as of each prefix alone, up to rounding."""
    model = load("llama", n_layer=2)
    items = [int(i) for i in np.random.default_rng(3).integers(0, 300, 150)]
    with Lens(model, 150) as r:
        states, logits = r.states(items, range(150))
        assert states.shape == (2, 150, model.n_embd)
        for n in (1, 64, 65, 150):
            alone, own = r.states(items[:n])
            assert np.abs(alone[:, 0] - states[:, n - 1]).max() <= 1e-4
            assert np.abs(own[0] - logits[n - 1]).max() <= 1e-4
        assert np.abs(r.read(states[-1]) - logits).max() <= 1e-5


# ---- patches and control vectors


def test_the_identity_patch_changes_nothing(load: Load) -> None:
    model = load("llama", n_layer=3)
    items = [5, Mixture([3, 8], [0.5, 0.5]), 7, 11]
    with Lens(model, 32) as r:
        states, logits = r.states(items, range(4))
        patches = [Patch(layer, p, states[layer, p]) for layer in range(3) for p in range(4)]
        for some in ([patches[0]], [patches[-1]], patches):
            again, own = r.states(items, range(4), patches=some)
            assert np.array_equal(again, states)
            assert np.array_equal(own, logits)


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen3"])
def test_the_states_of_another_run_give_its_output(arch: str, load: Load) -> None:
    """All of a layer, and all that comes after is the other run's; one position of the last layer, and only that is."""
    model = load(arch, n_layer=3)
    a, b = [5, 9, 7, 11], [4, 30, 7, 12]
    with Lens(model, 32) as r:
        ours, own = r.states(a, range(4))
        theirs, other = r.states(b, range(4))
        states, logits = r.states(a, range(4), patches=[Patch(0, p, theirs[0, p]) for p in range(4)])
        assert np.array_equal(states, theirs)
        assert np.array_equal(logits, other)
        states, logits = r.states(a, range(4), patches=[Patch(-1, 1, theirs[-1, 1])])
        assert np.array_equal(states[:2], ours[:2])
        assert np.array_equal(logits[1], other[1])
        assert np.array_equal(np.delete(logits, 1, 0), np.delete(own, 1, 0))
        states, logits = r.states(a, range(4), patches=[Patch(0, 1, theirs[0, 1])])
        assert np.array_equal(logits[0], own[0])  # what is before it does not see it
        assert np.abs(logits[3] - own[3]).max() > 1e-3
    with Lens(model, 32) as r, pytest.raises(sl.UsageError, match=r"shape \(3,\)"):
        r.states(a, patches=[Patch(0, 0, [1.0, 2.0, 3.0])])


@pytest.mark.parametrize("layer", [0, 1, 2, -1])
def test_a_control_vector_is_added_to_every_position(layer: int, load: Load) -> None:
    """llama.cpp's own, and from layer 0 the callback: what the next layers give is what patched sums give."""
    model = load("llama", n_layer=3)
    v = np.random.default_rng(1).standard_normal(model.n_embd).astype(np.float32)
    steered = model.with_control(ControlVector(layer, v, scale=0.5))
    assert (steered.controls.served is None) == (layer == 0)
    items = [5, 9, 7, 11]
    with Lens(model, 32) as r:
        states, logits = r.states(items, range(4))
        sums = [Patch(layer, p, states[layer, p] + np.float32(0.5) * v) for p in range(4)]
        want, own = r.states(items, range(4), patches=sums)
    with Lens(steered, 32) as r:
        got, steered_logits = r.states(items, range(4))
        assert np.abs(r.read(got[-1]) - steered_logits).max() <= 1e-5
    assert np.abs(got - want).max() <= 1e-5
    assert np.abs(steered_logits - own).max() <= 1e-5
    assert np.abs(steered_logits - logits).max() > 1e-2
    with steered.session() as s, model.session() as t:
        assert np.abs(s.feed(items).logits - own[-1]).max() <= 1e-4
        assert np.abs(t.feed(items).logits - logits[-1]).max() <= 1e-4  # the model itself is as it was


def test_control_vectors_add_up_and_are_checked(load: Load) -> None:
    model = load("llama", n_layer=3)
    v = np.ones(model.n_embd, dtype=np.float32)
    twice = model.with_control(ControlVector(1, v, 0.5), ControlVector(1, v, 1.5))
    once = model.with_control(ControlVector(1, v, 2))
    with twice.session() as s, once.session() as t, once.with_control().session() as u, model.session() as w:
        a, b, c, d = (x.feed([5, 9, 7]).logits for x in (s, t, u, w))
    assert np.array_equal(a, b)
    assert np.array_equal(c, d)
    assert not np.array_equal(a, c)
    assert [c["layer"] for c in manifest.build(twice, {})["model"]["control"]] == [1, 1]
    assert "control" not in manifest.build(model, {})["model"]
    for wrong, message in ((ControlVector(3, v), "no layer 3"), (ControlVector(1, v[:3]), "3 numbers")):
        with pytest.raises(sl.UsageError, match=message):
            model.with_control(wrong)


def test_a_lens_that_is_off_is_no_callback(model: sl.Model) -> None:
    assert model.controls.watch(None, model.n_embd) is None
    with closing(model.new_context(64)) as context:
        assert context._watch is None
