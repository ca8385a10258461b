"""Words as whole alternatives: each stands in the prompt as its own tokens, and the outputs are averaged.

No mixture is fed. So words may have any number of tokens, and the result is what one gets by choosing a word first:

    sum_i w_i p(next | prompt with word i)

Knows a model and what fills a prompt. Knows no results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softllama.engine import branches, noise
from softllama.engine.branches import Branch
from softllama.engine.engine import Engine, Item
from softllama.probe.inputs import Filling, in_proportion
from softllama.vectors.average import average
from softllama.vectors.mixture import Mixture


def run(
    model: Engine,
    filling: Filling,
    combos: Sequence[Sequence[int]],
    labels: Sequence[str] = (),
    *,
    steps: int = 0,
    repeats: int = 1,
    n_ctx: int | None = None,
) -> list[Branch]:
    """What comes after the prompt with each combination of words.

    Args:
        combos: for each, the index of a word for each mixture.
        labels: of the combinations, for error messages.
        steps: tokens by which each is continued, greedily.
        repeats: average over so many copies, moved by 1e-5 (`engine.noise`).
        n_ctx: positions of the context; None for what the model was loaded with.
    """
    from softllama.generation import continuation  # the loop, which a probe alone does not need

    after: dict[int, Branch] = {}
    tails = [filling.whole(combo) for combo in combos]
    prefix = filling.encoded.items[: filling.encoded.first_slot]
    for length in dict.fromkeys(map(len, tails)):  # a batch holds endings of one length
        at = [i for i, tail in enumerate(tails) if len(tail) == length]
        copies = [_moved(model, tails[i], k) for k in range(repeats) for i in at]
        found = branches.run(
            model,
            prefix,
            copies,
            names=[f"{labels[i]} alone" if labels else f"word {i}" for i in at] * repeats,
            then=continuation.greedy(model, steps, len(at)) if steps else None,
            n_ctx=n_ctx or model.n_ctx_given,
        )
        for j, i in enumerate(at):
            same = [b.next for b in found[j :: len(at)]]
            after[i] = Branch(average(same, [1.0] * repeats) if repeats > 1 else same[0], found[j].continuation)
    return [after[i] for i in range(len(tails))]


def results(
    model: Engine,
    filling: Filling,
    combos: Sequence[Sequence[int]],
    labels: Sequence[str],
    alphas: NDArray[np.float64],
    *,
    steps: int = 0,
    repeats: int = 1,
    n_ctx: int | None = None,
) -> list[Branch]:
    """The average of the outputs, the output of each combination, and the average at each point of the sweep, in this order.

    alphas: points of the sweep from the first word of the first mixture to its others. The other arguments are those of `run`.
    """
    alone = run(model, filling, combos, labels, steps=steps, repeats=repeats, n_ctx=n_ctx)
    outputs = [b.next for b in alone]
    points = [average(outputs, _shares(filling, combos, float(a))) for a in alphas]
    return [Branch(average(outputs, _shares(filling, combos))), *alone, *map(Branch, points)]


def _shares(filling: Filling, combos: Sequence[Sequence[int]], alpha: float | None = None) -> list[float]:
    """The weight of each combination; with alpha, at this point of the first mixture's sweep."""
    weights = [[c.weight for c in m.components] for m in filling.mixtures]
    if alpha is not None:
        weights[0] = [1 - alpha, *(alpha * share for share in in_proportion(weights[0][1:]))]
    return [math.prod(w[i] for w, i in zip(weights, combo, strict=True)) for combo in combos]


def _moved(model: Engine, tail: Sequence[int], k: int) -> list[Item]:
    """Copy k of an ending: its first token is moved by 1e-5, except in copy 0."""
    return [noise.perturbed(model, Mixture.one_hot(tail[0]), k), *tail[1:]]
