"""Prompts for a mixture without one: which of a few says most about its words.

For two animals "The capital of" gives the same commas for both, and for two countries "says" does. So a few frames are
tried, and the one is taken in which the words alone differ most. Knows a model and mixtures. Knows no results.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from softllama.engine import branches
from softllama.engine.engine import Engine
from softllama.errors import MixtureError
from softllama.probe import alternatives
from softllama.probe.inputs import Filling, combinations
from softllama.prompts.encoded import Encoded, items_with
from softllama.prompts.words import MixInput
from softllama.vectors.distribution import Distribution

FRAMES = (
    "The {} says",
    "The capital of {} is the city of",
    "The color of the {} is",
    "The {} is a kind of",
    "The opposite of {} is",
)
WORDS = 4  # components that are compared, the first


def choose(model: Engine, inputs: Sequence[MixInput], *, chat: bool, system: str | None) -> dict[str, float]:
    """The frames that fit a mixture, the best first, each with the mean JS between its words alone (nats).

    Only the first, with 0, where there is nothing to compare: one word, or several mixtures.

    Raises:
        MixtureError: the mixture fits no frame; the error of the first.
    """
    if len(inputs) != 1 or inputs[0].name:
        return {FRAMES[0]: 0.0}
    tried: dict[str, float] = {}
    error: MixtureError | None = None
    for frame in FRAMES:
        try:
            filling = Filling.of(model, frame, inputs, chat=chat, system=system)
        except MixtureError as e:  # a word that is several tokens here
            error = error or e
            continue
        if len(filling.mixtures[0].components) < 2:
            return {frame: 0.0}
        tried[frame] = _difference(model, filling)
    if error is not None and not tried:
        raise error
    return dict(sorted(tried.items(), key=lambda x: -x[1]))


def _difference(model: Engine, filling: Filling) -> float:
    """The mean JS between the outputs of a mixture's words alone, nats."""
    combos, _ = combinations(filling.mixtures)
    if filling.alternatives:
        return _mean_js([b.next for b in alternatives.run(model, filling, combos[:WORDS])])
    at = filling.encoded.first_slot
    rest = Encoded(filling.encoded.items[at:], filling.encoded.spaces, filling.encoded.leads)
    tails = [items_with(rest, filling.alone(c)) for c in combos[:WORDS]]
    return _mean_js([b.next for b in branches.run(model, filling.encoded.items[:at], tails, n_ctx=model.n_ctx_given)])


def _mean_js(ends: Sequence[Distribution]) -> float:
    js = [a.js(b) for a, b in itertools.combinations(ends, 2)]
    return sum(js) / len(js)
