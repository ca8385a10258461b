"""The loss and the loop. Knows groups of cases and a network; does not know where cases come from or how adapters are stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from softllama.adapt import cases as groups
from softllama.adapt.cases import Group
from softllama.adapt.network import Network, Reading
from softllama.adapt.packing import pack

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
MATCHED = 0.8  # share of the layers whose states are matched


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Means of KL(target || student) in nats.

    mixed: of the positions from a mixture on. pure: of text without mixtures.
    states: the squared distance of the student's states from the average of the worlds' (in pure text, from the teacher's), as
        a share of the worlds' own squared distance from that average; the mean over layers. 0 where it was not asked for.
    """

    mixed: float
    pure: float
    states: float = 0.0


@dataclass(frozen=True)
class Target:
    """What the student of a group should say and be, averaged over the worlds by how likely each is by then.

    Attributes:
        p: probabilities of the next token, (cases, length, n_vocab).
        states: the average of the worlds' states, (layers, cases, length, n_embd).
        spread: the mean squared distance of the worlds' states from that average, summed over cases and positions, (layers,).
    """

    p: torch.Tensor
    states: torch.Tensor
    spread: torch.Tensor


def world_rows(network: Network, batch: Sequence[Group], length: int) -> torch.Tensor:
    """What the teacher reads: each world as a branch of its own, (batch, length, n_embd)."""
    import torch

    ids = np.zeros((len(batch), length), np.int64)
    for b, g in enumerate(batch):
        flat = [*g.prefix, *g.worlds.ravel()]
        ids[b, : len(flat)] = flat
    return network.rows(torch.from_numpy(ids).to(network.device))


def mixed_rows(network: Network, batch: Sequence[Group], length: int) -> torch.Tensor:
    """What the student reads: each prior as a branch, with the weighted sums of its worlds' rows, (batch, length, n_embd)."""
    import torch

    out = []
    for g in batch:
        prefix = network.rows(torch.tensor(g.prefix, device=network.device))
        worlds = network.rows(torch.from_numpy(g.worlds).to(network.device))  # (n, length, n_embd)
        priors = torch.from_numpy(g.priors).float().to(network.device)
        branches = torch.einsum("cn,nte->cte", priors, worlds).flatten(0, 1)
        padding = prefix.new_zeros(length - len(prefix) - len(branches), prefix.shape[1])
        out.append(torch.cat([prefix, branches, padding]))
    return torch.stack(out)


def targets(network: Network, batch: Sequence[Group], layers: int = 0) -> list[Target]:
    """The posterior average of each group by the model without adapter, and of its states after the first layers."""

    def part(network: Network, some: Sequence[Group]) -> list[Target]:
        packed = pack([len(g.prefix) for g in some], [g.worlds.shape for g in some], network.device)
        with torch.no_grad():
            said = network.read(world_rows(network, some, packed.mask.shape[1]), packed, layers)
            return [average(g, reading) for g, reading in zip(some, said, strict=True)]

    import torch

    with network.teacher():
        return over_parts(network, part, batch, [g.worlds.size + len(g.prefix) for g in batch])


def over_parts(
    network: Network,
    work: Callable[[Network, list[Group]], list[T]],
    batch: Sequence[Group],
    lengths: Sequence[int],
) -> list[T]:
    """What `work` returns for each group, by all workers, with groups of about one length side by side: little padding."""
    order = parts(lengths, 2 * network.workers)
    found = network.side_by_side(work, [[batch[i] for i in part] for part in order])
    of = {i: x for part, results in zip(order, found, strict=True) for i, x in zip(part, results, strict=True)}
    return [of[i] for i in range(len(batch))]


def parts(lengths: Sequence[int], n: int) -> list[list[int]]:
    """Indices in the order of their lengths, in at most n parts of about the same sum, none empty."""
    total, done = sum(lengths), 0
    found: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if len(found) < n and done >= total * len(found) / n:
            found.append([])
        found[-1].append(i)
        done += lengths[i]
    return found


def _read(g: Group) -> int:
    """Positions that the student reads."""
    return len(g.prefix) + len(g.priors) * g.length


def average(group: Group, said: Reading) -> Target:
    """The posterior average of what a group's worlds say, and of their states.

    Args:
        said: of the worlds, each as a branch.
    """
    import torch

    index = torch.from_numpy(group.worlds[:, 1:]).to(said.log_p.device)
    log_p = np.zeros(group.worlds.shape)
    log_p[:, 1:] = said.log_p[:, :-1].gather(-1, index.unsqueeze(-1)).squeeze(-1).double().cpu().numpy()
    pi = torch.from_numpy(groups.posteriors(group, log_p)).to(said.log_p)
    middle = said.states.mean(1, keepdim=True)
    apart = said.states - middle  # differences of the worlds: small beside the states themselves
    mean = torch.einsum("ctn,lnte->lcte", pi, apart)
    squares = torch.einsum("ctn,lnt->l", pi, apart.square().sum(-1)) - mean.square().sum((1, 2, 3))
    return Target(torch.einsum("ctn,ntv->ctv", pi, said.log_p.exp()), mean + middle, squares)


def student(network: Network, batch: Sequence[Group], layers: int = 0) -> list[Reading]:
    """What the model with the adapter makes of each group's cases."""
    packed = pack([len(g.prefix) for g in batch], [(len(g.priors), g.length) for g in batch], network.device)
    return network.read(mixed_rows(network, batch, packed.mask.shape[1]), packed, layers)


def students(network: Network, batch: Sequence[Group]) -> list[torch.Tensor]:
    """What it says, ln P, (cases, length, n_vocab) for each group, without gradients, by all workers."""
    import torch

    def part(network: Network, some: list[Group]) -> list[torch.Tensor]:
        with torch.no_grad():
            return [reading.log_p for reading in student(network, some)]

    return over_parts(network, part, batch, [_read(g) for g in batch])


def divergence(target: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(target || student) of each position, nats, (...). Entries of the target that are 0 count as 0."""
    import torch

    return torch.nn.functional.kl_div(log_q, target, reduction="none").sum(-1)


def step(network: Network, batch: Sequence[Group], pure_weight: float, state_weight: float = 0.0) -> Loss:
    """The loss of some groups, and its gradients in the network's parameters. Groups of one world are pure text."""
    import torch

    layers = matched_layers(network) if state_weight else 0
    target = targets(network, batch, layers)
    sizes = [len(g.priors) * g.length for g in batch]
    of_kind = {pure: sum(n for g, n in zip(batch, sizes, strict=True) if is_pure(g) == pure) for pure in (False, True)}
    mixtures = [t for g, t in zip(batch, target, strict=True) if not is_pure(g)]
    spread = sum(t.spread for t in mixtures) if mixtures else 1.0
    parameters = network.parameters()

    def part(network: Network, some: Sequence[int]) -> tuple[float, float, float, Sequence[torch.Tensor]]:
        said = student(network, [batch[i] for i in some], layers)
        mixed = pure = inside = said[0].log_p.new_zeros(())
        for i, reading in zip(some, said, strict=True):
            kl = divergence(target[i].p, reading.log_p).sum()
            mixed, pure = (mixed, pure + kl) if is_pure(batch[i]) else (mixed + kl, pure)
            if layers:
                inside = inside + ((reading.states - target[i].states).square().sum((1, 2, 3)) / spread).mean()
        value = mixed / max(of_kind[False], 1) + pure_weight * pure / max(of_kind[True], 1) + state_weight * inside
        return mixed.item(), pure.item(), inside.item(), torch.autograd.grad(value, parameters)

    found = network.side_by_side(part, parts([_read(g) for g in batch], 2 * network.workers))
    for i, p in enumerate(parameters):
        p.grad = sum((gradients[i] for *_, gradients in found[1:]), found[0][-1][i])
    mixed, pure, inside = (sum(x[k] for x in found) for k in range(3))  # type: ignore[misc]
    return Loss(mixed=mixed / max(of_kind[False], 1), pure=pure / max(of_kind[True], 1), states=inside)


def matched_layers(network: Network) -> int:
    """How many layers, from the first on, should have the average of the worlds' states.

    The last ones turn states into logits: there the average of states is that of logits, not that of probabilities.
    """
    return round(MATCHED * network.n_layer)


def is_pure(group: Group) -> bool:
    """Is it ordinary text?"""
    return len(group.worlds) == 1


def rate(done: float, highest: float, warm_up: float = 0.03) -> float:
    """The learning rate: rises over the first part of a run, then falls as a cosine to a twentieth.

    Args:
        done: the share of the run that is done.
    """
    if done < warm_up:
        return highest * (done + 0.002) / warm_up
    rest = min((done - warm_up) / (1 - warm_up), 1.0)
    return highest * (0.05 + 0.95 * (1 + math.cos(math.pi * rest)) / 2)
