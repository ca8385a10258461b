"""A sweep from one component of a mixture to the others, in small steps: curves of probabilities and their shapes.

Knows distributions along a line. Does not know a model, nor how they were computed.

The interpolation e(α) = (1-α) E[A] + α E[B] and the sharpness of its curves follow Marro et al., arXiv 2504.03933.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.vectors import divergence
from softllama.vectors.distribution import Distribution
from softllama.vectors.noise import NO_NOISE, NoiseFloor

N_CURVES = 6
EMERGENT = 0.01  # probability by which a token exceeds what it has without the mixture, to be named
BUMP = 0.1  # of a curve's range: ends that differ by less have nothing between them to cross
N_EMERGENT = 2  # of them, for tokens that are likelier between the ends than at either


@dataclass(frozen=True, eq=False)
class Curve:
    """The probability of one token along the sweep.

    Attributes:
        id: the token, and text: its text.
        p: (n,) float32.
        midpoint: the α at which p first crosses the middle between its two ends, linearly interpolated; None if the ends
            are equal, up to the noise floor or a tenth of the curve's range: a curve that rises and falls has no middle.
        sharpness: max |dP/dα| / (max P - min P) by differences: 1 for a straight line, about the inverse width of the
            transition otherwise, 0 for a constant. Of a step only what exceeds the noise floor counts; None if p does not
            leave the floor.
        above, below: how far p leaves the range between its two ends, in probability.
    """

    id: int
    text: str
    p: NDArray[np.float32]
    midpoint: float | None
    sharpness: float | None
    above: float
    below: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """Distributions along a line.

    Attributes:
        start, end: names of the component at α = 0, and of what is at α = 1.
        alphas: (n,) float64, evenly spaced.
        distributions: n of them.
        noise: the noise floor of the model.
        watched: ids of tokens whose curves are wanted in any case.
    """

    start: str
    end: str
    alphas: NDArray[np.float64]
    distributions: list[Distribution]
    noise: NoiseFloor = NO_NOISE
    watched: tuple[int, ...] = ()

    @cached_property
    def _js(self) -> NDArray[np.float64]:
        return _js_two(self.distributions, self.distributions[0], self.distributions[-1])

    @property
    def js_start(self) -> NDArray[np.float64]:
        """Jensen-Shannon divergence of each point to the start, (n,) nats."""
        return self._js[:, 0]

    @property
    def js_end(self) -> NDArray[np.float64]:
        """Jensen-Shannon divergence of each point to the end, (n,) nats."""
        return self._js[:, 1]

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy of each point, (n,) nats."""
        return np.array([d.entropy() for d in self.distributions])

    @cached_property
    def midpoint(self) -> float | None:
        """The α at which the output is as far from the start as from the end (in JS); None if the ends are equal.

        Ends whose divergence is below twice the noise floor are equal: prompts differ in their noise by about so much.
        """
        if self.noise.js > 0 and self.js_start[-1] < 2 * self.noise.js:
            return None
        return crossing(self.alphas, self.js_start - self.js_end, 0.0)

    @cached_property
    def curves(self) -> list[Curve]:
        """The tokens that matter, at most 6 beside the watched ones, which come first.

        The most probable of each end, at most two emergent ones (`emergent`), the second of each end and the most
        probable of each point.
        """
        ends = {t.id for d in (self.distributions[0], self.distributions[-1]) for t in d.top(2)}
        peaks = {d.argmax for d in self.distributions}
        first = [self.distributions[0].argmax, self.distributions[-1].argmax]
        others = np.array(sorted((ends | peaks) - set(first)), dtype=np.int64)
        highest = self._probs(others).max(axis=0)
        rest = [int(i) for _, i in sorted(zip(-highest, others, strict=True))]
        chosen = list(dict.fromkeys([*first, *self.emergent[:N_EMERGENT], *rest]))[:N_CURVES]
        return [self.curve(i) for i in dict.fromkeys([*self.watched, *chosen])]

    @cached_property
    def emergent(self) -> list[int]:
        """Ids of tokens that exceed both ends somewhere, by EMERGENT and by more than the noise floor; the most first."""
        candidates = np.array(sorted({t.id for d in self.distributions for t in d.top(10)}), dtype=np.int64)
        p = self._probs(candidates).astype(np.float64)  # (n, k)
        over = p.max(axis=0) - np.maximum(p[0], p[-1])
        enough = np.maximum(EMERGENT, self.noise.of_probability(p.max(axis=0)))
        return [int(candidates[i]) for i in np.argsort(-over, kind="stable") if over[i] >= enough[i]]

    def _probs(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The probabilities of some tokens at all points: (n, len(ids))."""
        z = np.array([d.logits[ids] for d in self.distributions], dtype=np.float64)
        ln = np.array([d._ln_total for d in self.distributions])
        p: NDArray[np.float32] = np.exp(z - ln[:, None]).astype(np.float32)
        return p

    def curve(self, token: int) -> Curve:
        """The curve of any token.

        Raises:
            SoftLlamaError: the id is outside the vocabulary.
        """
        text = self.distributions[0][token].text  # and a check of the id
        p = self._probs(np.array([token]))[:, 0]
        low, high = sorted((float(p[0]), float(p[-1])))
        noise = self.noise.of_probability(p)  # (n,)
        spread = float(p.max() - p.min())
        moves, turns = spread > float(noise.max()), high - low > max(noise[0], noise[-1], BUMP * spread)
        return Curve(
            id=token,
            text=text,
            p=p,
            midpoint=crossing(self.alphas, p, (low + high) / 2) if turns else None,
            sharpness=sharpness(self.alphas, p, noise) if moves or not self.noise.log_odds else None,
            above=max(0.0, float(p.max()) - high),
            below=max(0.0, low - float(p.min())),
        )

    @property
    def measures(self) -> dict[str, Any]:
        """Midpoint of the whole output, and each curve's measures by token id."""
        keys = ("text", "midpoint", "sharpness", "above", "below")
        return {"midpoint": self.midpoint, "curves": {c.id: {k: getattr(c, k) for k in keys} for c in self.curves}}


def sharpness(alphas: NDArray[Any], p: NDArray[Any], noise: NDArray[Any] | None = None) -> float:
    """max |ΔP/Δα| / (max P - min P) over neighbouring points; 0 if P does not change (Marro et al., arXiv 2504.03933).

    With noise, of a difference only what exceeds the larger noise of its two points counts; and points that are 2, 4, 8, ...
    apart are compared, too, between which less of the slope is lost. Without, they change nothing.

    Args:
        alphas, p: (n,), n >= 2.
        noise: (n,) how far each p may be moved by rounding; None for 0.
    """
    p, a = p.astype(np.float64), alphas.astype(np.float64)
    spread = float(p.max() - p.min())
    if spread <= 0:
        return 0.0
    e = np.zeros(len(p)) if noise is None else noise
    steepest, apart = 0.0, 1
    while apart < len(p):
        change = np.abs(p[apart:] - p[:-apart]) - np.maximum(e[apart:], e[:-apart])
        steepest = max(steepest, float((change / (a[apart:] - a[:-apart])).max()))
        apart *= 2
    return steepest / spread


def crossing(alphas: NDArray[Any], values: NDArray[Any], level: float) -> float | None:
    """The first α at which the values, joined by lines, reach `level`; None if they start there or never do.

    Args:
        alphas, values: (n,).
    """
    v = values.astype(np.float64) - level
    if v[0] == 0:
        return None
    for i in range(1, len(v)):
        if v[i] == 0 or (v[i] > 0) != (v[0] > 0):
            t = v[i - 1] / (v[i - 1] - v[i])
            return float(alphas[i - 1] + t * (alphas[i] - alphas[i - 1]))
    return None


def _js_two(distributions: Sequence[Distribution], first: Distribution, last: Distribution) -> NDArray[np.float64]:
    """The Jensen-Shannon divergence of each of n distributions to each of two others: (n, 2) nats."""
    two = (first, last)
    known = [[d._ln_total for d in some] for some in (distributions, two)]
    logits = [[d.logits for d in some] for some in (distributions, two)]
    return divergence.js_two(logits[0], known[0], logits[1], known[1], first._n_threads)
