"""The loss and the loop. Knows groups of cases and a network; does not know where cases come from or how adapters are stored."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from softllama.adapt import cases as groups
from softllama.adapt.cases import Group
from softllama.adapt.network import Network
from softllama.adapt.packing import pack

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Means of KL(target || student) in nats.

    mixed: of the positions from a mixture on. pure: of text without mixtures.
    """

    mixed: float
    pure: float


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


def targets(network: Network, batch: Sequence[Group]) -> list[torch.Tensor]:
    """The posterior average of each group, (cases, length, n_vocab), by the model without adapter."""
    with network.teacher():
        return over_parts(network, _targets, batch, [g.worlds.size + len(g.prefix) for g in batch])


def _targets(network: Network, batch: Sequence[Group]) -> list[torch.Tensor]:
    import torch

    packed = pack([len(g.prefix) for g in batch], [g.worlds.shape for g in batch], network.device)
    with torch.no_grad():
        said = network.log_probs(world_rows(network, batch, packed.mask.shape[1]), packed)
        return [average(g, s) for g, s in zip(batch, said, strict=True)]


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


def average(group: Group, said: torch.Tensor) -> torch.Tensor:
    """The posterior average of what the worlds say, (cases, length, n_vocab). said: ln P, (n, length, n_vocab)."""
    import torch

    index = torch.from_numpy(group.worlds[:, 1:]).to(said.device)
    log_p = np.zeros(group.worlds.shape)
    log_p[:, 1:] = said[:, :-1].gather(-1, index.unsqueeze(-1)).squeeze(-1).double().cpu().numpy()
    pi = torch.from_numpy(groups.posteriors(group, log_p)).to(said)
    return torch.einsum("ctn,ntv->ctv", pi, said.exp())


def student(network: Network, batch: Sequence[Group]) -> list[torch.Tensor]:
    """What the model with the adapter says, ln P, (cases, length, n_vocab) for each group."""
    packed = pack([len(g.prefix) for g in batch], [(len(g.priors), g.length) for g in batch], network.device)
    return network.log_probs(mixed_rows(network, batch, packed.mask.shape[1]), packed)


def students(network: Network, batch: Sequence[Group]) -> list[torch.Tensor]:
    """The same without gradients, by all workers."""
    import torch

    def part(network: Network, some: list[Group]) -> list[torch.Tensor]:
        with torch.no_grad():
            return student(network, some)

    return over_parts(network, part, batch, [_read(g) for g in batch])


def divergence(target: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(target || student) of each position, nats, (...). Entries of the target that are 0 count as 0."""
    import torch

    return torch.nn.functional.kl_div(log_q, target, reduction="none").sum(-1)


def step(network: Network, batch: Sequence[Group], pure_weight: float) -> Loss:
    """The loss of some groups, and its gradients in the network's parameters. Groups of one world are pure text."""
    import torch

    target = targets(network, batch)
    sizes = [t.shape[0] * t.shape[1] for t in target]
    of_kind = {pure: sum(n for g, n in zip(batch, sizes, strict=True) if is_pure(g) == pure) for pure in (False, True)}
    parameters = network.parameters()

    def part(network: Network, some: Sequence[int]) -> tuple[float, float, Sequence[torch.Tensor]]:
        said = student(network, [batch[i] for i in some])
        mixed = pure = said[0].new_zeros(())
        for i, q in zip(some, said, strict=True):
            kl = divergence(target[i], q).sum()
            mixed, pure = (mixed, pure + kl) if is_pure(batch[i]) else (mixed + kl, pure)
        value = mixed / max(of_kind[False], 1) + pure_weight * pure / max(of_kind[True], 1)
        return mixed.item(), pure.item(), torch.autograd.grad(value, parameters)

    found = network.side_by_side(part, parts([_read(g) for g in batch], 2 * network.workers))
    for i, p in enumerate(parameters):
        p.grad = sum((gradients[i] for _, _, gradients in found[1:]), found[0][2][i])
    return Loss(
        mixed=sum(x[0] for x in found) / max(of_kind[False], 1), pure=sum(x[1] for x in found) / max(of_kind[True], 1)
    )


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
