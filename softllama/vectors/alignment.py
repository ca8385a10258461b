"""How a hidden state becomes an input: what maps rows of the output table to rows of the input table. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Align = Literal["none", "ridge"]
LAMBDA = 1e-5


def align_of(value: object) -> Align:
    """The alignment of this name. Raises ValueError for another value."""
    if value not in get_args(Align):
        raise ValueError(f"no hidden state is aligned by {value!r:.60}")
    return value  # type: ignore[return-value]


def ridge(
    blocks: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], n: int, penalty: float = LAMBDA
) -> NDArray[np.float32]:
    """W_a = (W^T W + penalty I)^-1 W^T E, (n, n): the least squares that take rows of W to rows of E (arXiv 2511.20639).

    Args:
        blocks: rows of W and of E for the same tokens, (k, n) each; the sums are in double.
        n: length of a row.
        penalty: lambda, on the diagonal.

    Raises:
        numpy.linalg.LinAlgError: the matrix cannot be inverted.
    """
    gram, cross = np.zeros((n, n)), np.zeros((n, n))
    for out, into in blocks:
        w = out.astype(np.float64)
        same = w.T @ w
        gram += same
        cross += same if out is into else w.T @ into
    gram[np.diag_indices(n)] += penalty
    found: NDArray[np.float32] = np.linalg.solve(gram, cross).astype(np.float32)
    return found
