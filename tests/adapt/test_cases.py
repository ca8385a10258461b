"""The target is the posterior average: against brute force over all worlds, and for a student that is linear."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from softllama.adapt import cases, training
from softllama.adapt.cases import Group
from softllama.adapt.network import Reading

N = 5  # tokens of the vocabulary


class Tiny:
    """A language model as a table of conditional probabilities: P(next | the last two tokens)."""

    def __init__(self, seed: int) -> None:
        self.p = np.random.default_rng(seed).dirichlet(np.full(N, 0.5), size=(N, N))

    def next(self, text: tuple[int, ...]) -> np.ndarray:
        return self.p[text[-2], text[-1]]

    def likelihood(self, text: tuple[int, ...], start: int) -> float:
        return float(np.prod([self.next(text[:i])[text[i]] for i in range(start, len(text))]))

    def log_p(self, group: Group) -> np.ndarray:
        """What a network would give: ln P(next) after each column of each world, (n, length, N)."""
        texts = [(*group.prefix, *w) for w in group.worlds.tolist()]
        first = len(group.prefix)
        return np.log([[self.next(t[: first + i + 1]) for i in range(group.length)] for t in texts])


def average(model: Tiny, group: Group) -> torch.Tensor:
    said = torch.from_numpy(model.log_p(group))
    return training.average(group, Reading(said, said.new_zeros(0, *said.shape[:2], 1))).p


def brute_force(model: Tiny, group: Group, prior: np.ndarray, column: int) -> np.ndarray:
    """P(next | what was seen up to the column), as a sum over all worlds of P(world, what was seen, next)."""
    joint = np.zeros(N)
    for weight, world in zip(prior, group.worlds.tolist(), strict=True):
        text = (*group.prefix, *world[: column + 1])
        seen = [i for i in range(1, column + 1) if group.seen[i]]
        likely = np.prod([model.next(text[: len(group.prefix) + i])[world[i]] for i in seen])
        joint += weight * likely * model.next(text)
    return joint / joint.sum()


def test_the_posterior_average_is_bayes_rule_over_all_worlds() -> None:
    model, rng = Tiny(0), np.random.default_rng(1)
    after = [2, 4, 1, 1]
    group = Group(
        prefix=(3, 0),
        worlds=np.array([[a, *after] for a in (0, 1, 4)]),
        priors=np.vstack([rng.dirichlet(np.ones(3), 6), np.eye(3)]),
    )
    found = average(model, group).numpy()
    for c, prior in enumerate(group.priors):
        for column in range(group.length):
            np.testing.assert_allclose(found[c, column], brute_force(model, group, prior, column), atol=1e-6)


def test_two_places_are_all_pairs_of_worlds() -> None:
    model, rng = Tiny(2), np.random.default_rng(3)
    pairs = list(itertools.product((0, 1, 2), (3, 4)))
    parts = [rng.dirichlet(np.ones(3), 4), rng.dirichlet(np.ones(2), 4)]
    priors = cases.product(parts)
    group = Group(prefix=(1, 1), worlds=np.array([[a, 2, b, 0, 4] for a, b in pairs]), priors=priors)
    np.testing.assert_allclose(priors[1], [parts[0][1, a] * parts[1][1, b] for a in range(3) for b in range(2)])
    found = average(model, group).numpy()
    for c, prior in enumerate(priors):
        for column in range(group.length):
            np.testing.assert_allclose(found[c, column], brute_force(model, group, prior, column), atol=1e-6)


def test_with_the_models_own_weights_the_average_is_its_marginal() -> None:
    """Weights that the model itself gives at the place make the average what it would say had it not seen the place."""
    model = Tiny(4)
    prior = model.next((3, 0))
    group = Group(prefix=(3, 0), worlds=np.array([[a, 2, 1] for a in range(N)]), priors=prior[None])
    found = average(model, group).numpy()
    whole = [model.likelihood((3, 0, a, 2, 1, x), 2) for a in range(N) for x in range(N)]
    marginal = np.reshape(whole, (N, N)).sum(axis=0)
    np.testing.assert_allclose(found[0, 2], marginal / marginal.sum(), atol=1e-6)


def test_a_world_that_the_text_excludes_has_no_weight() -> None:
    group = Group(prefix=(0,), worlds=np.array([[1, 3], [2, 3]]), priors=np.array([[0.5, 0.5]]))
    pi = cases.posteriors(group, np.array([[0.0, -1000.0], [0.0, -1.0]]))
    np.testing.assert_allclose(pi[0], [[0.5, 0.5], [0.0, 1.0]])


def test_a_student_that_is_linear_has_no_loss() -> None:
    """Before any text tells the worlds apart, the average is linear in the weights: so a linear student is exact."""
    model, rng = Tiny(5), np.random.default_rng(6)
    group = Group(prefix=(3, 0), worlds=np.array([[a] for a in range(N)]), priors=rng.dirichlet(np.ones(N), 20))
    target = average(model, group)
    rows = torch.eye(N, dtype=torch.float64)[group.worlds[:, 0]]  # one-hot rows, mixed as the network mixes them
    mixed = torch.from_numpy(group.priors) @ rows
    linear = torch.log(mixed @ torch.from_numpy(model.p[0]))
    assert training.divergence(target[:, 0], linear).abs().max() < 1e-12
    wrong = torch.log_softmax(mixed @ torch.from_numpy(np.log(model.p[0])), dim=-1)  # mixes logarithms
    assert training.divergence(target[:, 0], wrong).mean() > 0.01


@pytest.mark.parametrize("n", [2, 5, 8])
def test_weights_reach_all_of_the_simplex(n: int) -> None:
    w = cases.weights(np.random.default_rng(0), n, 4000)
    np.testing.assert_allclose(w.sum(axis=1), 1)
    assert (w >= 0).all()
    assert w.max() > 0.97  # nearly one token
    used = (w > 0).sum(axis=1)
    assert set(used) == set(range(2, n + 1)) if n > 2 else set(used) <= {1, 2}
    np.testing.assert_allclose(w.mean(axis=0), 1 / n, atol=0.03)  # no alternative is preferred
