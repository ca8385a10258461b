"""What an adapter is taught with: texts in which it is uncertain which token stands at some places.

Knows token ids, weights, and the posterior average. Knows no network: what a model says comes in as an array.

A group of cases has *worlds*, token sequences of one length that may differ at some columns, and *priors* over the worlds. For each
prior the student reads, column by column, the mixture of the worlds' tokens; where all worlds have one token, that token. What it
should say after column t is what the worlds say, averaged by how likely each is by then:

    target_t = sum_i pi_i(t) P(. | world i up to t),    pi_i(t) ~ prior_i * product over s <= t, s seen, of P(world_i[s] | before)

where "seen" are the columns that all worlds share: a mixture tells nothing about which world it is that the prior does not say.
A prior over sequences holds every form: one mixture, several that are independent (the prior is a product), and several in a
row as soft thinking makes them (the prior is the probability of the sampled sequence).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Cases that share their worlds.

    Attributes:
        prefix: token ids before the first place, the same in all worlds; at least one.
        worlds: token ids, (n, length). The first column is the first mixture.
        priors: of the worlds, (cases, n), each row sums to 1.
        kind: where the worlds come from, for the record.
    """

    prefix: tuple[int, ...]
    worlds: Ids
    priors: Floats
    kind: str = ""

    @property
    def length(self) -> int:
        return int(self.worlds.shape[1])

    @property
    def tokens(self) -> int:
        """Positions that teacher and student read, as a measure of the work."""
        return 2 * len(self.prefix) + self.length * (len(self.worlds) + 2 * len(self.priors))

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(length,): the columns at which all worlds have one token."""
        same: NDArray[np.bool_] = (self.worlds == self.worlds[:1]).all(axis=0)
        return same


def mixtures(group: Group) -> Floats:
    """The weight of each world's token in what the student reads, (cases, length, n).

    A column that all worlds share is their one token: its weights sum to 1 over the worlds, too, so that the same weighted sum
    of table rows gives it.
    """
    shape = (len(group.priors), group.length, len(group.worlds))
    return np.broadcast_to(group.priors[:, None, :], shape)


def posteriors(group: Group, log_p: Floats) -> Floats:
    """How likely each world is after each column, (cases, length, n).

    Args:
        log_p: ln P(world_i[t] | before), (n, length). Column 0 is not used, nor are those that are mixed.
    """
    evidence = np.where(group.seen[None, :], log_p, 0.0)  # (n, length)
    evidence[:, 0] = 0.0
    with np.errstate(divide="ignore"):
        log = np.log(group.priors)[:, None, :] + np.cumsum(evidence, axis=1).T[None]  # (cases, length, n)
    log -= log.max(axis=-1, keepdims=True)
    p = np.exp(log)
    result: Floats = p / p.sum(axis=-1, keepdims=True)
    return result


def weights(rng: np.random.Generator, n: int, cases: int) -> Floats:
    """Priors over n alternatives, (cases, n): all of the simplex, its edges and corners among it.

    Half of them are of two alternatives only, a quarter of a random number, a quarter of all. The concentration differs, so
    that flat and steep ones come; one in twelve is nearly one token.
    """
    out = np.zeros((cases, n))
    for row in out:
        kind = rng.integers(4)
        k = 2 if kind < 2 else n if kind == 2 else int(rng.integers(2, n + 1))
        chosen = rng.choice(n, size=min(k, n), replace=False)
        drawn = rng.dirichlet(np.full(len(chosen), rng.choice([0.4, 1.0, 3.0])))
        if rng.integers(12) == 0:
            drawn = 0.03 * drawn + 0.97 * np.eye(len(chosen))[0]
        row[chosen] = drawn
    return out


def product(parts: Sequence[Floats]) -> Floats:
    """The prior of independent places, (cases, n1 * n2 ...): worlds in the order of itertools.product."""
    joint = parts[0]
    for part in parts[1:]:
        joint = (joint[:, :, None] * part[:, None, :]).reshape(len(joint), -1)
    return joint
