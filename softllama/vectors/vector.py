"""A vector of one's own that is fed at one position, in place of a row of the embedding table. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from softllama.vectors.mixture import Mixture


@dataclass(frozen=True, eq=False, slots=True)
class Vector:
    """What is fed at one position, where that is no mixture of rows.

    Args:
        values: (n_embd,) float32, in the scale of the embedding table: the architecture's multiplier is applied later.
        mixture: what stands for the vector where an architecture needs token ids beside the embedding; None for token 0.
        added: whether `values` are added to the mixture's row, rather than fed in its place.
    """

    values: NDArray[np.float32]  # (n_embd,)
    mixture: Mixture | None = None
    added: bool = False
