"""Measures of distributions, vectors and sequences. Knows no model: each is tested on cases whose result is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softllama.vectors.distribution import Distribution
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.sweep import EMERGENT, crossing

Floats = NDArray[np.float64]
NUCLEUS = 0.95  # the mass of a nucleus


def progress(points: Sequence[Distribution], start: Distribution, end: Distribution) -> Floats:
    """How far each point has come from start (0) to end (1): <p - s, e - s> / |e - s|².

    For an average of the two outputs, (1-α) s + α e, it is α exactly.

    Args:
        points: n distributions.
        start, end: the distributions at 0 and at 1.

    Returns:
        (n,) without unit; NaN where start and end are equal.
    """
    s, e = start.probs.astype(np.float64), end.probs.astype(np.float64)
    way = e - s  # (n_vocab,)
    length = float(way @ way)
    if length == 0.0:
        return np.full(len(points), np.nan)
    return np.array([float((p.probs.astype(np.float64) - s) @ way) / length for p in points])


def progress_noise(points: Sequence[Distribution], start: Distribution, end: Distribution, noise: NoiseFloor) -> Floats:
    """How far rounding may move the progress of each point: the noise of each token's probability, along the way.

    √Σ (wᵢ nᵢ)² / |w|² with w = e - s and nᵢ the noise of pᵢ, as if tokens moved independently.

    Args:
        points, start, end: as in `progress`.
        noise: the model's noise floor.

    Returns:
        (n,) without unit; NaN where start and end are equal.
    """
    if not noise.log_odds:
        return np.zeros(len(points))
    way = end.probs.astype(np.float64) - start.probs.astype(np.float64)  # (n_vocab,)
    length = float(way @ way)
    if length == 0.0:
        return np.full(len(points), np.nan)
    return np.array([float(np.linalg.norm(way * noise.of_probability(p.probs))) / length for p in points])


def width(alphas: Floats, t: Floats) -> float:
    """The range of α in which progress goes from 0.1 to 0.9: 0.8 for a straight line, 0 for a switch.

    Args:
        alphas: (n,) in increasing order.
        t: (n,) the progress at each α.

    Returns:
        The range; NaN if progress does not reach 0.1 and 0.9.
    """
    low, high = crossing(alphas, t, 0.1), crossing(alphas, t, 0.9)
    return float("nan") if low is None or high is None else max(0.0, high - low)


def midpoint(alphas: Floats, t: Floats) -> float:
    """The α at which progress first reaches one half; NaN if it never does. alphas, t: as in `width`."""
    at = crossing(alphas, t, 0.5)
    return float("nan") if at is None else at


def nucleus(d: Distribution, mass: float = NUCLEUS) -> NDArray[np.int64]:
    """The fewest tokens that hold `mass` of a distribution (Holtzman et al., arXiv 1904.09751).

    Args:
        d: the distribution.
        mass: how much the tokens hold at least, 0 to 1.

    Returns:
        (k,) ids, the most probable first.
    """
    order = np.argsort(-d.probs, kind="stable")  # (n_vocab,)
    n = int(np.searchsorted(np.cumsum(d.probs[order], dtype=np.float64), mass)) + 1
    return np.asarray(order[:n])


def mass_outside_nuclei(d: Distribution, components: Sequence[Distribution]) -> float:
    """The mass that a distribution puts on tokens that are in the nucleus of none of its components.

    The average of the components has at most 1 - NUCLEUS = 0.05 there.

    Args:
        d: the distribution of a mixture.
        components: the distribution of each component alone, at least one.

    Returns:
        A probability, 0 to 1.
    """
    return _mass_outside(d, _in_nuclei(components))


def _in_nuclei(components: Sequence[Distribution]) -> NDArray[np.bool_]:
    """Is a token in the nucleus of any component? (n_vocab,)"""
    inside = np.zeros(len(components[0]), dtype=bool)
    for c in components:
        inside[nucleus(c)] = True
    return inside


def _mass_outside(d: Distribution, inside: NDArray[np.bool_]) -> float:
    p = d.probs.astype(np.float64)  # (n_vocab,)
    return float(max(0.0, p.sum() - p[inside].sum()))


def mass_outside_nuclei_alone(components: Sequence[Distribution]) -> float:
    """The floor of `mass_outside_nuclei`: the most that one of the components alone has there, at most 1 - NUCLEUS.

    Args:
        components: as there.
    """
    inside = _in_nuclei(components)
    return max(_mass_outside(c, inside) for c in components)


def emergent(d: Distribution, components: Sequence[Distribution], n: int = 5) -> list[tuple[int, float, float]]:
    """The tokens whose probability exceeds the largest of the components' by most.

    Args:
        d: the distribution of a mixture.
        components: the distribution of each component alone, at least one.
        n: how many at most.

    Returns:
        (id, probability in d, largest probability in a component), the largest difference first; only differences above 0.
    """
    alone = np.max([c.probs for c in components], axis=0)  # (n_vocab,)
    over = d.probs.astype(np.float64) - alone
    n = min(n, len(over))
    ids = np.argpartition(-over, n - 1)[:n]
    ids = ids[np.argsort(-over[ids], kind="stable")]
    return [(int(i), float(d.probs[i]), float(alone[i])) for i in ids if over[i] > 0]


class Emergent(NamedTuple):
    """A token that no component brings: its probability p in the mixture, and the largest in a component alone."""

    id: int
    text: str
    p: float
    alone: float


def emergent_tokens(
    d: Distribution, components: Sequence[Distribution], noise: NoiseFloor = NO_NOISE, n: int = 5
) -> list[Emergent]:
    """Tokens whose probability exceeds that in every component alone by EMERGENT and by the noise floor.

    Args:
        d, components, n: as in `emergent`.
        noise: the model's noise floor.

    Returns:
        The tokens, the largest difference first.
    """
    return [
        Emergent(i, d[i].text, p, alone)
        for i, p, alone in emergent(d, components, n)
        if p - alone >= max(EMERGENT, float(noise.of_probability(p)))
    ]


def dominance(to_a: float, to_b: float) -> float:
    """|x - y| / (x + y) of two distances: 0 halfway between two things, 1 at one of them. NaN where both are 0."""
    return abs(to_a - to_b) / (to_a + to_b) if to_a + to_b > 0 else float("nan")


def cosine(x: NDArray[Any], y: NDArray[Any]) -> float:
    """The cosine of two vectors (n,); NaN where one is 0."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else float("nan")


def simplex_fit(target: NDArray[Any], parts: NDArray[Any], rounds: int = 2000) -> Floats:
    """The weights w >= 0 with sum 1 that bring Σ wᵢ parts[i] nearest to target; for one target, or for many at once.

    Projected gradient with Nesterov's step (Beck and Teboulle 2009) and the projection of Duchi et al. (2008).

    Args:
        target: (..., n) any vectors.
        parts: (..., k, n) for each of them the vectors to add up.
        rounds: steps at most; fewer if no weight moves by 1e-12.

    Returns:
        (..., k) weights.
    """
    a, b = np.asarray(parts, dtype=np.float64), np.asarray(target, dtype=np.float64)
    gram, linear = a @ np.swapaxes(a, -1, -2), (a @ b[..., None])[..., 0]  # (..., k, k), (..., k)
    k = a.shape[-2]
    largest = np.linalg.eigvalsh(gram)[..., -1:]  # (..., 1)
    largest[largest <= 0] = np.inf  # parts that are all 0: the weights stay equal
    w = np.full(linear.shape, 1.0 / k)
    ahead, momentum = w.copy(), 1.0
    for _ in range(rounds):
        new = project(ahead - ((gram @ ahead[..., None])[..., 0] - linear) / largest)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - w)
        if np.abs(new - w).max() < 1e-12:
            return new
        w, momentum = new, float(next_momentum)
    return w


def project(v: Floats) -> Floats:
    """The nearest point of the simplex to each v (..., k): non-negative, with sum 1 (Duchi et al. 2008)."""
    k = v.shape[-1]
    u = np.sort(v, axis=-1)[..., ::-1]
    over = (np.cumsum(u, axis=-1) - 1) / np.arange(1, k + 1)
    last = k - 1 - np.argmax((u > over)[..., ::-1], axis=-1)  # the last place at which u is above
    cut = np.take_along_axis(over, last[..., None], axis=-1)
    return np.asarray(np.maximum(v - cut, 0.0))


def total_variation(p: NDArray[Any], q: NDArray[Any]) -> float:
    """The total variation distance Σ |p - q| / 2 of two probability vectors (n_vocab,), 0 to 1."""
    return float(np.abs(np.asarray(p, dtype=np.float64) - np.asarray(q, dtype=np.float64)).sum() / 2)


def repetition(ids: Sequence[int], n: int = 3) -> float:
    """The share of n-grams that occurred before in the sequence, 0 to 1; NaN for fewer than n ids."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else float("nan")


def windows(values: Sequence[float], size: int) -> Floats:
    """Means over `size` neighbours, (len - size + 1,); empty if there are fewer."""
    v = np.asarray(values, dtype=np.float64)
    if len(v) < size:
        return np.empty(0)
    c = np.concatenate([[0.0], np.cumsum(v)])
    return np.asarray((c[size:] - c[:-size]) / size)
