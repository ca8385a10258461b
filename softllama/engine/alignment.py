"""W_a of a model, which maps hidden states to the input table: computed once per file, and kept in the cache.

Knows both tables of a model. Does not know which step feeds what.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from softllama.base import cache
from softllama.engine.engine import Engine
from softllama.engine.table import EmbeddingTable
from softllama.errors import ModelError
from softllama.vectors import alignment

ROWS = 4096  # at a time
logger = logging.getLogger(__name__)
_known: WeakKeyDictionary[Engine, NDArray[np.float32]] = WeakKeyDictionary()


def matrix(model: Engine) -> NDArray[np.float32]:
    """W_a, (n_embd, n_embd): a hidden state times it is an input in the table's scale, but for its length.

    A model whose head is its input table is its own output table; W_a is then the identity, but for lambda. An adapter of
    the head is not in it.

    Raises:
        ModelError: the output table has another shape, or a row that is not finite.
    """
    if (found := _known.get(model)) is None:
        found = _known[model] = _cached(model)
    return found


def _cached(model: Engine) -> NDArray[np.float32]:
    n, weights = model.n_embd, model._weights
    key = cache.file_key(weights.header.files, "ridge", *(f"{path} {scale}" for path, scale in model.lora))
    data = cache.load_bytes("alignment", key)
    if data is not None and len(data) == 4 * n * n:
        return np.frombuffer(data, dtype=np.float32).reshape(n, n)
    logger.info("mapping hidden states of %s to its input table: once per file", model.name)
    try:
        found = alignment.ridge(_blocks(model), n)
    except np.linalg.LinAlgError:
        raise ModelError(
            f"the output table of {model.name} has no inverse", "align=none feeds states as they are"
        ) from None
    if not np.isfinite(found).all():
        raise ModelError(f"the tables of {model.name} hold numbers that are not finite", "softllama doctor -m FILE")
    cache.store_bytes("alignment", key, found.tobytes())
    return found


def _blocks(model: Engine) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Rows of the output table and of the input table, block by block; the same array twice where they are tied."""
    tensor = model._weights.header.tensors.get("output.weight")
    head = None if tensor is None else EmbeddingTable(tensor)
    if head is not None and (head.n_embd, head.n_vocab) != (model.n_embd, model.n_vocab):
        raise ModelError(
            f"the output table of {model.name} is {head.n_vocab} x {head.n_embd}, its input table "
            f"{model.n_vocab} x {model.n_embd}",
            "align=none feeds states as they are",
        )
    for start in range(0, model.n_vocab, ROWS):
        ids = range(start, min(start + ROWS, model.n_vocab))
        rows = model.table.rows(ids)
        yield (rows, rows) if head is None else (head.rows(ids), rows)
