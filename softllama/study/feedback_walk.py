"""The measurement of the feedback study: along a real generation, what follows the whole vector and what follows tokens.

Knows how each position is measured. Does not know which prompts are walked, or what is made of the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softllama.api import Model
from softllama.engine import branches
from softllama.engine.lens import Lens
from softllama.vectors import measures
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

MASS, MOST = 0.999, 64  # of the tokens that the exact average runs over
PARTS = 6  # tokens whose weights are looked for in the states
UNDECIDED = 0.9  # a step is undecided where the top token has less than this
OTHERS = ("top token", "second token", "sampled token", "average over tokens")


@dataclass(frozen=True, eq=False, kw_only=True)
class WalkStep:
    """One position of a walk.

    Attributes:
        p: The model's own distribution there.
        after: The next distribution after the whole vector.
        others: The next distributions after the rest, by OTHERS.
        weight_covered: The probability of the tokens that the average runs over.
        weights: (k,) float64, of the heaviest tokens, sums to 1.
        fits: (layers, k) float64, the weights that each layer's state gives back; None where nobody looked.
        prompt: The prompt of the walk.
    """

    p: Distribution
    after: Distribution
    others: tuple[Distribution, ...]
    weight_covered: float
    weights: NDArray[np.float64]  # (k,)
    fits: NDArray[np.float64] | None  # (layers, k)
    prompt: str = ""

    @property
    def undecided(self) -> bool:
        """Has no token a probability of UNDECIDED or more?"""
        return float(self.p.probs.max()) < UNDECIDED


def after_each(
    model: Model,
    prefix: Sequence[int],
    p: Distribution,
    tails: Sequence[Sequence[int | Mixture]],
    *,
    most: int = MOST,
    mass: float = MASS,
) -> tuple[list[Distribution], Distribution, list[int], NDArray[np.float64]]:
    """What follows each tail, and what follows on average over tokens.

    Args:
        model: The model.
        prefix: Ids that are fed before.
        p: The distribution after the prefix.
        tails: What is fed after it.
        most, mass: The average runs over the heaviest tokens of p, up to so many or so much probability.

    Returns:
        The next distribution after each tail; Σ p(i) q(i) over the heaviest tokens i, renormalised, where q(i) is what
        follows the prefix and i; the ids of those tokens; their p, (k,) float64.
    """
    heavy, weights = heaviest(p, most, mass)
    every = [*tails, *([i] for i in heavy)]
    after = [b.next for b in branches.run(model, prefix, every, n_ctx=model.n_ctx_given)]
    return after[: len(tails)], average(after[len(tails) :], weights), heavy, weights


def heaviest(p: Distribution, most: int, mass: float) -> tuple[list[int], NDArray[np.float64]]:
    """The heaviest tokens of a distribution, up to so many or so much probability: their ids, and their p, (k,) float64."""
    order = np.argsort(-p.probs, kind="stable")[:most]
    weights = p.probs[order].astype(np.float64)
    n = min(len(order), int(np.searchsorted(np.cumsum(weights), mass)) + 1)
    keep = weights[:n] > 0
    return [int(i) for i in order[:n][keep]], weights[:n][keep]


def walk(
    model: Model, prompt: str, steps: int, rng: np.random.Generator, reader: Lens | None = None
) -> Iterator[WalkStep]:
    """Generate after a prompt by sampling, and measure at each position.

    Args:
        model: The model.
        prompt: The beginning.
        steps: Positions, unless an end of generation is drawn before.
        rng: Draws the tokens.
        reader: Of the layers' states; None to leave the weights in them out.

    Yields:
        The positions, in order.
    """
    ids = model.tokenize(prompt, bos=True)
    with model.session(len(ids) + 1) as s:
        p = s.feed(ids)
    for _ in range(steps):
        top = [t.id for t in p.top(2)]
        drawn = p.sample(rng)
        tails: list[list[int | Mixture]] = [[p.to_mixture()], [top[0]], [top[1]], [drawn]]
        after, mean, heavy, weights = after_each(model, ids, p, tails)
        parts, part_weights = heavy[:PARTS], weights[:PARTS] / weights[:PARTS].sum()
        fits = None
        if reader is not None and len(parts) > 1 and float(p.probs.max()) < UNDECIDED:
            fits = recover(reader, ids, parts, part_weights)
        yield WalkStep(
            p=p,
            after=after[0],
            others=(*after[1:], mean),
            weight_covered=float(weights.sum()),
            weights=part_weights,
            fits=fits,
            prompt=prompt,
        )
        if model.is_eog(drawn):
            break
        ids = [*ids, drawn]
        p = after[3]


def recover(
    reader: Lens, prefix: Sequence[int], parts: Sequence[int], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weights that the states at a mixture's position give back.

    Args:
        reader: Of the layers' states.
        prefix: Ids that are fed before.
        parts: The mixture's ids.
        weights: (k,) float64, the mixture's weights.

    Returns:
        (layers, k) float64: in each layer the weights on the simplex whose average of the tokens' own states comes nearest
        to the mixture's state.
    """
    states = reader.states_after(prefix, [Mixture(list(parts), weights), *parts])  # (layers, 1 + k, n_embd)
    return measures.simplex_fit(states[:, 0], states[:, 1:])
