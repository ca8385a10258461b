"""The noise floor of a model: from copies by hand, measured, and remembered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama.base import cache
from softllama.engine import noise
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.vector import Vector


def test_the_floor_of_copies_by_hand() -> None:
    a, b = Distribution([0.0, 0.0]), Distribution([0.5, 0.0])
    f = noise.of_copies([[a, b], [a, a]])
    assert f.js == pytest.approx(a.js(b))
    assert f.js_median == pytest.approx(a.js(b) / 2)  # of two pairs
    assert (f.logit, f.logit_median) == (0.5, 0.25)
    assert f.log_odds == pytest.approx(0.5, rel=1e-5)  # ln(p / (1 - p)) of two tokens is the difference of their logits
    assert f.copies == 4


def test_what_four_digits_do_not_show_is_no_floor() -> None:
    a, b = Distribution([0.0, 0.0]), Distribution([1e-4, 0.0])
    assert noise.of_copies([[a, b]]) == NoiseFloor(copies=2)


def test_a_file_of_floats_has_none_and_it_is_remembered(
    load: Callable[..., sl.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("llama")  # before, as a first load keeps other things
    kept: dict[tuple[str, str], object] = {}
    monkeypatch.setattr(cache, "load", lambda kind, key: kept.get((kind, key)))
    monkeypatch.setattr(cache, "store", lambda kind, key, value: kept.update({(kind, key): value}))
    model.noise_floor = None
    f = noise.floor(model)
    assert (f.js, f.log_odds) == (0, 0)
    assert [kind for kind, _ in kept] == ["noise"]
    model.noise_floor = None
    monkeypatch.setattr(noise, "measure", lambda m: pytest.fail("it was remembered"))
    assert noise.floor(model) == f


def test_copies_move_by_a_hundred_thousandth(load: Callable[..., sl.Model]) -> None:
    model, m = load("llama"), Mixture([40, 111], [0.5, 0.5])
    assert noise.perturbed(model, m, 0) is m
    one, again, two = (noise.perturbed(model, m, i) for i in (1, 1, 2))
    assert isinstance(one, Vector)
    assert isinstance(again, Vector)
    assert isinstance(two, Vector)
    assert one.added
    assert np.array_equal(one.values, again.values)
    assert not np.array_equal(one.values, two.values)
    row = model.embed(m)
    assert np.linalg.norm(one.values) / np.linalg.norm(row) == pytest.approx(1e-5, rel=0.5)


def test_what_a_floor_leaves_of_numbers() -> None:
    f = NoiseFloor(js=0.0016, log_odds=0.4)
    assert f.js_text(0.003456) == "0.003"
    assert f.js_text(0.0005) == "<0.0016"
    assert f.of_probability(0.5) == pytest.approx(0.1)
    assert (f.digits_of(0.7), f.digits_of(0.999)) == (2, 3)
    assert NO_NOISE.js_text(0.00005) == "0.0001"
    assert NO_NOISE.digits_of(0.5) == 3
    four = f.averaged(4)  # half of the variance is common to all copies
    assert (four.js, four.log_odds) == (pytest.approx(0.001), pytest.approx(0.4 * 0.625**0.5))
    assert f.averaged(1) == f


@pytest.mark.parametrize("table_type", ["Q8_0", "Q4_0"])
def test_a_quantized_model_has_one(load: Callable[..., sl.Model], table_type: str) -> None:
    floats, quantized = noise.measure(load("llama")), noise.measure(load("llama", table_type=table_type))
    assert quantized.log_odds > 4e-3 > floats.log_odds
    assert quantized.js > 0
