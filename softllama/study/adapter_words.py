"""The measurement of an adapter on words: mixtures before and after, against the exact average of what the words say.

Knows how a case is fed and measured. Does not know which cases there are, or what is made of the numbers.

Every distance is to outputs of the model without the adapter: they are what the adapter was taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softllama.api import Model
from softllama.engine.items import Item
from softllama.prompts.encoded import Encoded
from softllama.show.progress import Tick
from softllama.study import inputs
from softllama.study.adapter_models import Models
from softllama.study.inputs import Case
from softllama.study.mixing_sweep import AT_ONCE, SweepResult, between, measure
from softllama.vectors import measures
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NoiseFloor

Floats = NDArray[np.float64]

ALPHAS = np.linspace(0.0, 1.0, 11)
TEMPERATURES = (1.0, 1.25, 1.5, 2.0, 3.0)  # of the control that flattens the output without adapter
SIZES = (3, 5, 8)  # words of a mixture of several
SETTLED = 0.9  # posterior from which on the text has settled which word it was
GOING_ON = 5  # tokens that settle it
NAN = float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class PairResult:
    """A sweep from one word to another, before and after.

    Attributes:
        case: What was mixed, and where.
        before, after: The sweeps, measured against the two words' outputs without the adapter.
        posterior: (POINTS,) the weight of the second word at the end of the frame: what its text says of the words counts. NaN for
            noise, which has none.
        kl_before, kl_after: (POINTS,) KL(exact average ‖ output) in nats; NaN for noise.
        kl_flat: (TEMPERATURES, POINTS) KL(exact average ‖ output without adapter, divided by the temperature).
        js_before, js_after: JS of the output at α = 0.5 to the exact average.
        pure: KL(without ‖ with the adapter) of the two words alone, their mean.
    """

    case: Case
    before: SweepResult
    after: SweepResult
    posterior: Floats
    kl_before: Floats
    kl_after: Floats
    kl_flat: Floats
    js_before: float
    js_after: float
    pure: float

    @property
    def key(self) -> tuple[str, str]:
        return self.case.label_a, self.case.label_b

    def alpha_error(self, sweep: SweepResult) -> float:
        """Mean distance between the weight that the output shows and the one that it should, over the inner α; NaN where the two
        words' own outputs are too near each other.
        """
        return float(np.mean(np.abs(sweep.progress - self.posterior)[1:-1]))

    @property
    def target_width(self) -> float:
        """The width of the exact average's transition."""
        return measures.width(ALPHAS, self.posterior) if self.before.moves else NAN


@dataclass(frozen=True, kw_only=True)
class SeveralResult:
    """A mixture of several words: KL(exact average ‖ output) and JS to it, before and after. frame: where it stood."""

    frame: str
    size: int
    kl_before: float
    kl_after: float
    js_before: float
    js_after: float


@dataclass(frozen=True, kw_only=True)
class SettledResult:
    """A mixture of two words, and a text behind it that one of them wrote.

    Attributes:
        frame: Where it stood.
        posterior: Of the word that wrote the text, which was half of the mixture.
        kl_before, kl_after: KL(exact average ‖ output) in nats at the end of the text.
        weight_before, weight_after: The weight of that word that the output shows: 1 is right.
        moves: Do the two words' own outputs still differ there? Else the weights are NaN.
    """

    frame: str
    posterior: float
    kl_before: float
    kl_after: float
    weight_before: float
    weight_after: float
    moves: bool


def posterior(log_likelihoods: Floats, weights: Floats) -> Floats:
    """wᵢ Lᵢ / Σ w L, (k,): what the weights w become once a text of the likelihoods L has been seen."""
    with np.errstate(divide="ignore"):
        log = np.log(weights) + log_likelihoods
    p = np.exp(log - log.max())
    result: Floats = p / p.sum()
    return result


def pairs(models: Models, cases: Sequence[Case], noise: NoiseFloor, tick: Tick | None = None) -> list[PairResult]:
    """Measure each case, a frame at a time. tick: called with "words", how many are done, and how many there are."""
    results: dict[int, PairResult] = {}
    for frame in dict.fromkeys(c.frame for c in cases):
        encoded = inputs.encode(models.plain, frame)
        prefix, tail = _parts(encoded)
        mine = [(i, c) for i, c in enumerate(cases) if c.frame == frame]
        for start in range(0, len(mine), AT_ONCE):
            now = mine[start : start + AT_ONCE]
            tails = [[between(models.plain, c, float(x)), *tail] for _, c in now for x in ALPHAS]
            before, after = models.run(prefix, tails)
            n = len(ALPHAS)
            for k, (i, c) in enumerate(now):
                part = slice(k * n, (k + 1) * n)
                known = isinstance(c.b, int)
                likelihoods = models.log_likelihoods(prefix, [c.a, c.b], tail) if isinstance(c.b, int) else np.zeros(2)
                results[i] = compare(c, before[part], after[part], likelihoods, noise, known=known)
            if tick is not None:
                tick("words", len(results), len(cases))
    return [results[i] for i in range(len(cases))]


def _parts(encoded: Encoded) -> tuple[list[int], list[int]]:
    """The ids before the slot, and those behind it."""
    at = encoded.first_slot
    return list(encoded.items[:at]), list(encoded.items[at + 1 :])


def compare(
    case: Case,
    before: Sequence[Distribution],
    after: Sequence[Distribution],
    log_likelihoods: Floats,
    noise: NoiseFloor,
    *,
    known: bool = True,
) -> PairResult:
    """The numbers of one pair.

    Args:
        case: What was mixed.
        before, after: The outputs at ALPHAS without and with the adapter; those without it at both ends are the two words'.
        log_likelihoods: (2,) ln P(text behind the mixture | word).
        noise: The model's noise floor.
        known: False for noise, of which no weight is right.
    """
    a, b, half = before[0], before[-1], len(ALPHAS) // 2
    right = np.array([posterior(log_likelihoods, np.array([1 - x, x]))[1] for x in ALPHAS])
    targets = [average([a, b], [1 - w, w]) for w in right]
    kl = [np.array([t.kl(d) for t, d in zip(targets, ds, strict=True)]) for ds in (before, after)]
    missing = np.full(len(ALPHAS), NAN)
    return PairResult(
        case=case,
        before=measure(case, ALPHAS, before, noise),
        after=measure(case, ALPHAS, [a, *after[1:-1], b], noise),
        posterior=right if known else missing,
        kl_before=kl[0] if known else missing,
        kl_after=kl[1] if known else missing,
        kl_flat=_flattened(targets, before) if known else np.full((len(TEMPERATURES), len(ALPHAS)), NAN),
        js_before=targets[half].js(before[half]) if known else NAN,
        js_after=targets[half].js(after[half]) if known else NAN,
        pure=(a.kl(after[0]) + b.kl(after[-1])) / 2 if known else NAN,
    )


def _flattened(targets: Sequence[Distribution], outputs: Sequence[Distribution]) -> Floats:
    """KL(target ‖ output at a temperature), (TEMPERATURES, n): what a mere loss of certainty would gain."""
    return np.array(
        [[t.kl(Distribution(d.logits / x)) for t, d in zip(targets, outputs, strict=True)] for x in TEMPERATURES]
    )


def several(
    models: Models, groups: Sequence[tuple[str, Sequence[int]]], seed: int, tick: Tick | None = None
) -> list[SeveralResult]:
    """Mixtures of SIZES words with random weights in each frame.

    Args:
        models: Without and with the adapter.
        groups: Frames, each with as many words as the largest of SIZES.
        seed: Of the weights: uniform over the simplex.
        tick: Called with "several words", how many frames are done, and how many there are.
    """
    out = []
    for n, (frame, words) in enumerate(groups):
        rng = np.random.default_rng([seed, 23, n])
        prefix, tail = _parts(inputs.encode(models.plain, frame))
        weights = [rng.dirichlet(np.ones(k)) for k in SIZES]
        mixtures = [Mixture(list(words[: len(w)]), w) for w in weights]
        items: list[Item] = [*words, *mixtures]
        tails: list[list[Item]] = [[x, *tail] for x in items]
        before, after = models.run(prefix, tails, slice(len(words), None))
        likelihoods = models.log_likelihoods(prefix, words, tail)
        for w, x, y in zip(weights, before[len(words) :], after, strict=True):
            k = len(w)
            target = average(before[:k], posterior(likelihoods[:k], w))
            distances = {
                "kl_before": target.kl(x),
                "kl_after": target.kl(y),
                "js_before": target.js(x),
                "js_after": target.js(y),
            }
            out.append(SeveralResult(frame=frame, size=k, **distances))
        if tick is not None:
            tick("several words", n + 1, len(groups))
    return out


def settled(models: Models, cases: Sequence[Case], noise: NoiseFloor, tick: Tick | None = None) -> list[SettledResult]:
    """What becomes of half and half once a text follows that the first word wrote, greedily, without the adapter.

    Args:
        models: Without and with the adapter.
        cases: Pairs of words.
        noise: The model's noise floor.
        tick: Called with "settled", how many are done, and how many there are.

    Returns:
        The cases in which the text has settled it: the posterior of the first word is SETTLED or more.
    """
    out = []
    for n, c in enumerate(cases):
        assert isinstance(c.b, int)
        prefix, tail = _parts(inputs.encode(models.plain, c.frame))
        text = [*tail, *_greedy(models.plain, [*prefix, c.a, *tail], GOING_ON)]
        right = float(posterior(models.log_likelihoods(prefix, [c.a, c.b], text), np.array([0.5, 0.5]))[0])
        if right >= SETTLED:
            tails: list[list[Item]] = [[x, *text] for x in (c.a, c.b, Mixture([c.a, c.b], [0.5, 0.5]))]
            before, after = models.run(prefix, tails, slice(2, None))
            a, b, target = before[0], before[1], average(before[:2], [right, 1 - right])
            weights = measures.progress([before[2], after[0]], b, a)
            moves = a.js(b) >= max(0.05, 2 * noise.js)
            out.append(
                SettledResult(
                    frame=c.frame,
                    posterior=right,
                    kl_before=target.kl(before[2]),
                    kl_after=target.kl(after[0]),
                    weight_before=float(weights[0]) if moves else NAN,
                    weight_after=float(weights[1]) if moves else NAN,
                    moves=moves,
                )
            )
        if tick is not None:
            tick("settled", n + 1, len(cases))
    return out


def _greedy(model: Model, ids: Sequence[int], n: int) -> list[int]:
    """The n likeliest tokens, one after the other, without an end of generation."""
    out: list[int] = []
    with model.session(len(ids) + n) as s:
        d = s.feed(list(ids))
        for _ in range(n):
            if model.is_eog(d.argmax):
                break
            out.append(d.argmax)
            d = s.feed([d.argmax])
    return out
