"""How rows are fed, as a calibration measured it: the measured values, and the rows of mixtures made by them.

Knows tables and the shape of rows. Does not measure anything, and knows no context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from softllama.engine.table import EmbeddingTable
from softllama.llama.architectures import per_layer_width
from softllama.llama.batch import Rows
from softllama.llama.weights import Weights
from softllama.vectors.mixture import Mixture

BATCH, OVERLAY = "embedding batch", "overlay on "
PER_LAYER_NODE = "inp_per_layer_selected"


@dataclass(frozen=True)
class Calibration:
    """How rows are fed so that a one-hot mixture equals its token.

    Attributes:
        multiplier: What the mixed row is multiplied by.
        source: The formula that the multiplier came from.
        difference: The largest absolute difference between the logits of tokens and of their one-hot rows.
        positions: Over so many positions.
        exact: Is the difference 0?
        remembered: Was it measured by an earlier run?
        how: "embedding batch", or "overlay on embd, ...": the nodes of llama.cpp's graph that rows are written over.
        carrier: Of an overlay: "any" where the logits do not depend on the token that stands in for a mixture; else what
            the mixture's heaviest token decides.
        all_outputs: Does llama.cpp give the last position's logits only where it is asked for all of them? (It then
            computes them all in any case, and hands out the first.)
    """

    multiplier: float
    source: str
    difference: float
    positions: int
    exact: bool
    remembered: bool = False
    how: str = BATCH
    carrier: str = ""
    all_outputs: bool = False

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that rows are written over; () for the embedding batch."""
        return tuple(self.how.removeprefix(OVERLAY).split(", ")) if self.how.startswith(OVERLAY) else ()

    @property
    def text(self) -> str:
        """How mixtures are fed: "by overlay on embd; by the heaviest token: which adapter is active"."""
        by = f"; by the heaviest token: {self.carrier}" if self.carrier not in ("", "any") else ""
        return f"{self.how}{by}"


def widths(nodes: Sequence[str], table: EmbeddingTable, per_layer: EmbeddingTable | None) -> list[tuple[str, int]]:
    """The nodes with the lengths of their rows, as Context takes them."""
    return [(n, per_layer.n_embd if per_layer and n == PER_LAYER_NODE else table.n_embd) for n in nodes]


def mixed_rows(
    mixtures: Sequence[Mixture],
    table: EmbeddingTable,
    calibration: Calibration,
    per_layer: tuple[EmbeddingTable, float] | None,
    width: int,
    n_threads: int = 1,
) -> Rows:
    """The rows of n mixtures, as `calibration` feeds them: embeddings, per-layer embeddings, carriers.

    Args:
        per_layer: the table of per-layer embeddings and its multiplier, where the model has one.
        width: the length of a row in llama.cpp's embedding batch, n_embd_inp.
    """
    nodes = calibration.nodes
    embeddings = np.empty((len(mixtures), table.n_embd if nodes else width), dtype=np.float32)
    table.mix(mixtures, embeddings, calibration.multiplier, n_threads)
    if not nodes:
        return Rows(embeddings)
    carriers = np.array([m.ids[m.weights.argmax()] for m in mixtures], dtype=np.int32)
    if per_layer is None or PER_LAYER_NODE not in nodes:
        return Rows(embeddings, (), carriers)
    beside = np.empty((len(mixtures), per_layer[0].n_embd), dtype=np.float32)
    per_layer[0].mix(mixtures, beside, per_layer[1], n_threads)
    return Rows(embeddings, (beside,), carriers)


def per_layer_scale(weights: Weights) -> float:
    """What llama.cpp multiplies rows of the per-layer table by: sqrt(n_embd_per_layer)."""
    return float(np.float32(math.sqrt(per_layer_width(weights.header))))
