"""What to multiply an embedding row by, so that feeding it equals feeding the token: measured, not looked up.

llama.cpp scales embeddings inside the graph for some architectures, and which ones changed between versions. So three
tokens are decoded by id and as one-hot rows, with each multiplier that any architecture uses; the one that agrees is
taken, and a model for which none agrees is refused. The answer is remembered per file and version.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from softllama import cache
from softllama.embeddings import Table
from softllama.errors import ModelError
from softllama.llama import binding
from softllama.llama.context import Context
from softllama.llama.weights import Weights
from softllama.mixture import Mixture

FORMAT = 1  # raised when the procedure changes, so that what was remembered is measured again
GPU_TOLERANCE = 1e-3  # relative to the largest logit; on the CPU the difference must be 0


@dataclass(frozen=True)
class Calibration:
    """How rows are fed so that a one-hot mixture equals its token.

    multiplier: what the mixed row is multiplied by. source: the formula it came from. difference: largest absolute
    difference between the logits of tokens and of their one-hot rows, over `positions` positions. exact: it is 0.
    """

    multiplier: float
    source: str
    difference: float
    positions: int
    exact: bool
    remembered: bool = False


def calibrate(
    weights: Weights, table: Table, threads: int | None = None, handed: dict[str, Any] | None = None
) -> Calibration:
    """Measure with that many threads, or recall. Raises ModelError where no multiplier makes rows equal tokens.

    handed: the fields of a calibration that a trial has just measured.
    """
    if handed is not None:
        return Calibration(**handed)
    key = cache.file_key(weights.header.files, f"calibration {FORMAT}", binding.build(), str(weights.on_gpu))
    known = cache.load("calibration", key)
    if known is not None:
        try:
            return Calibration(**{**known, "remembered": True})
        except TypeError:
            pass  # from another version: measure again
    found = _measure(weights, table, threads)
    cache.store("calibration", key, asdict(found))
    return found


def candidates(weights: Weights) -> list[tuple[float, str]]:
    """Multipliers that architectures use, likeliest first, without repetition."""
    found: list[tuple[float, str]] = [(1.0, "1"), (float(np.float32(math.sqrt(weights.n_embd))), "sqrt(n_embd)")]
    scale: Any = weights.header.get("{arch}.embedding_scale")
    if isinstance(scale, int | float) and math.isfinite(scale) and scale != 0:
        found.append((float(np.float32(scale)), "embedding_scale"))
    seen: set[float] = set()
    return [(m, s) for m, s in found if not (m in seen or seen.add(m))]  # type: ignore[func-returns-value]


def _probe_tokens(table: Table) -> list[int]:
    """Three ids whose rows are not 0 (for which any multiplier would agree), spread over the vocabulary."""
    n = table.n_vocab
    ids: list[int] = []
    for start in (n // 3, n // 2, 2 * n // 3):
        for i in range(start, min(start + 64, n)):
            if i not in ids and np.abs(table.rows([i])).max() > 0:
                ids.append(i)
                break
    if not ids:
        raise ModelError("the token-embedding table holds zeros only", "the model file may be damaged")
    return ids


def _measure(weights: Weights, table: Table, threads: int | None) -> Calibration:
    ids = _probe_tokens(table)
    n = len(ids)
    with_context = Context(weights, 256, 1, threads=threads, n_batch=8, n_outputs=n)
    try:

        def logits(tokens: list[int] | None) -> Any:  # (n, n_vocab): each position's
            with_context.cut(0, 0)
            return with_context.decode([0] * n, range(n), [True] * n, tokens)

        truth = logits(ids)
        if not np.isfinite(truth[truth != -np.inf]).all():
            raise ModelError(f"{weights.header.path.name} gives logits that are not numbers", "the file may be damaged")
        finite = np.isfinite(truth)
        largest = float(np.abs(truth[finite]).max())
        noise = float(np.abs(logits(ids) - truth)[finite].max())  # of the same thing twice: 0 on most back ends
        tolerance = max(4 * noise, GPU_TOLERANCE * largest if weights.on_gpu else 0.0)
        tried = []
        for multiplier, source in candidates(weights):
            table.mix([Mixture.one_hot(i) for i in ids], with_context.rows, multiplier)
            difference = float(np.abs(logits(None) - truth)[finite].max())
            tried.append(f"{difference:.3g} with {source}")
            if difference <= tolerance:
                return Calibration(multiplier, source, difference, n, difference == 0)
    finally:
        with_context.close()
    raise ModelError(
        f"{weights.header.path.name} ({weights.header.arch}) cannot take mixtures: feeding a token's embedding does not "
        f"equal feeding the token (largest logit difference {', '.join(tried)})",
        "this architecture uses the token id beside its embedding",
    )
