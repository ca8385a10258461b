"""Pictures of a probe: the model's name, the scale of the data, and which tokens are emergent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import softllama as sl
from softllama.vectors.distribution import Distribution
from softllama.vectors.sweep import Sweep

pytest.importorskip("matplotlib")


def peaked(n: int, **p: float) -> Distribution:
    """A distribution with these probabilities ("_3": of token 3), and the rest in equal shares."""
    given = {int(k[1:]): v for k, v in p.items()}
    probs = np.full(n, (1 - sum(given.values())) / (n - len(given)))
    for i, v in given.items():
        probs[i] = v
    return Distribution.from_probs(probs, lambda i: f"<{i}>")


def test_a_sweep(model: sl.Model) -> None:
    r = model.probe("The {} says", "dog,cat", sweep=2)
    n = model.n_vocab
    ends = peaked(n, _1=0.2, _2=0.01), peaked(n, _1=0.01, _2=0.2)
    middle = peaked(n, _1=0.1, _2=0.25, _3=0.1)  # 2 is what an end has, and a little more; 3 is new
    s = Sweep("dog", "cat", np.linspace(0, 1, 3), [ends[0], middle, ends[1]])
    assert set(s.emergent) == {2, 3}
    figure = replace(r, sweep=s).plot()
    top = figure.axes[0]
    labels = [t.get_text() for t in top.get_legend().get_texts()]
    assert [label for label in labels if "emergent" in label] == ["<3> (emergent)"]
    assert model.name in figure.get_suptitle()
    assert top.get_ylim()[1] == pytest.approx(1.05 * 0.25, rel=1e-5)


def test_bars(model: sl.Model) -> None:
    r = model.probe("The {} says", "dog,cat")
    n = model.n_vocab
    alone = {"dog": peaked(n, _1=0.9), "cat": peaked(n, _2=0.9)}
    figure = replace(r, next=peaked(n, _1=0.4, _3=0.3), baselines=alone, average=None).plot()
    names = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert "<3>\n(emergent)" in names
    assert "<1>" in names
    assert model.name in figure.get_suptitle()
