"""Branches that share a beginning, laid out as one sequence, so that the beginning is read once. Knows lengths only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Packed:
    """Branches that share a beginning, as one sequence each, so that the beginning is read once.

    Attributes:
        mask: (batch, length, length) bool, True where the second may be read from the first. positions: (batch, length).
        start: the first position that is in a branch of any element.
        where: for each element of the batch, (branches, branch length): the positions of its branches.
    """

    mask: torch.Tensor
    positions: torch.Tensor
    where: list[np.ndarray[Any, Any]]
    start: int


def pack(prefixes: Sequence[int], branches: Sequence[tuple[int, int]], device: str) -> Packed:
    """Lay out beginnings and branches.

    Args:
        prefixes: the length of each beginning. branches: for each, how many and how long.
    """
    import torch

    total = max(p + n * size for p, (n, size) in zip(prefixes, branches, strict=True))
    mask = np.zeros((len(prefixes), total, total), bool)
    positions = np.zeros((len(prefixes), total), np.int64)
    where = []
    for b, (p, (n, size)) in enumerate(zip(prefixes, branches, strict=True)):
        end = p + n * size
        mask[b, :p, :p] = np.tri(p, dtype=bool)
        mask[b, p:end, :p] = True
        for i in range(n):
            at = slice(p + i * size, p + (i + 1) * size)
            mask[b, at, at] = np.tri(size, dtype=bool)
            positions[b, at] = p + np.arange(size)
        positions[b, :p] = np.arange(p)
        rest = np.arange(end, total)
        mask[b, rest, rest] = True  # padding reads itself, so that no row of the softmax is empty
        where.append(p + np.arange(n * size).reshape(n, size))
    return Packed(torch.from_numpy(mask).to(device), torch.from_numpy(positions).to(device), where, min(prefixes))
