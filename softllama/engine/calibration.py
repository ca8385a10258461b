"""How rows are fed so that feeding them equals feeding the token: measured, not looked up.

llama.cpp scales embeddings inside the graph for some architectures, and which ones changed between versions. So three
tokens are decoded by id and as one-hot rows, with each multiplier that any architecture uses; the one that agrees is
taken. Where llama.cpp's embedding batch does not do, the rows are written over the nodes of its graph that hold the
embeddings of carrier tokens (the overlay), with carriers that are wrong on purpose, so that nothing but the rows can make
the logits agree. Where only the right carriers agree, the id decides something beside the embedding, and the heaviest
token of a mixture is its carrier. A model for which nothing agrees is refused. The result is remembered per file and
version.

Knows weights, tables and contexts. Knows no engine and no prompt.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from softllama.base import cache
from softllama.engine.rows import BATCH, OVERLAY, PER_LAYER_NODE, Calibration, mixed_rows, per_layer_scale, widths
from softllama.engine.table import EmbeddingTable
from softllama.errors import ContextError, ModelError
from softllama.llama import bindings
from softllama.llama.architectures import by_id, no_batch
from softllama.llama.batch import Rows
from softllama.llama.context import Context
from softllama.llama.lora import MERGE
from softllama.llama.weights import Weights
from softllama.vectors.mixture import Mixture

FORMAT = 3  # raised when the procedure changes, so that what was remembered is measured again
NODES = (  # names of the graph's node that holds the embeddings, likeliest first; inner to llama.cpp, so they are tried
    *("embd", "model.input_embed", "model.embed_tokens", "inp_embd"),
    *("embedding_output", "inp_scaled", "inp_embd_scaled"),
)
ADAPTER_TOLERANCE = 1e-3  # relative, where an adapter changes the table: its product is rounded in another order
GPU_TOLERANCE = 1e-3  # relative to the largest logit; on the CPU the difference must be 0


logger = logging.getLogger(__name__)


def calibrate(
    weights: Weights,
    table: EmbeddingTable,
    per_layer: EmbeddingTable | None = None,
    n_threads: int | None = None,
    handed: dict[str, Any] | None = None,
) -> Calibration:
    """Measure how rows are fed, or recall it.

    Args:
        weights: The loaded weights.
        table: The token-embedding table.
        per_layer: The table of per-layer embeddings, where the model has one.
        n_threads: Of llama.cpp.
        handed: The fields of a calibration that a child process has just measured.

    Returns:
        The calibration.

    Raises:
        ModelError: No way of feeding makes rows equal tokens, or the model's logits cannot be used. The message has the
            differences.
    """
    name = weights.header.path.name
    if handed is not None:
        logger.debug("%s: the calibration was measured by the first load", name)
        return Calibration(**handed)
    key = key_of(weights, f"calibration {FORMAT}")
    known = cache.load("calibration", key)
    if known is not None:
        try:
            calibration = Calibration(**{**known, "remembered": True})
        except TypeError:
            logger.debug("%s: the remembered calibration is of another version", name)
        else:
            logger.info("%s: mixtures by %s, times %s, as remembered", name, calibration.text, calibration.source)
            return calibration
    calibration = _Measurement(weights, table, per_layer, n_threads).result()
    cache.store("calibration", key, asdict(calibration))
    logger.info("%s: mixtures by %s, times %s, measured", name, calibration.text, calibration.source)
    return calibration


def key_of(weights: Weights, kind: str) -> str:
    """The key of what is measured once per file, adapters, device, options and build of llama.cpp. kind: of the measurement."""
    adapters = [a for a in weights.lora if a.a is not None]
    files = [*weights.header.files, *(a.path for a in adapters)]
    where = f"{weights.device} {weights.n_gpu_layers}"
    graph = [f"{k} {v}" for k, v in weights.runtime.graph.items()]
    return cache.file_key(files, kind, bindings.build(), where, *graph, *(str(a.scale) for a in adapters))


def candidates(weights: Weights) -> list[tuple[float, str]]:
    """Multipliers that architectures use, likeliest first, without repetition."""
    formulas: list[tuple[float, str]] = [(1.0, "1"), (float(np.float32(math.sqrt(weights.n_embd))), "sqrt(n_embd)")]
    scale: Any = weights.header.get("{arch}.embedding_scale")
    if isinstance(scale, int | float) and math.isfinite(scale) and scale != 0:
        formulas.append((float(np.float32(scale)), "embedding_scale"))
    seen: set[float] = set()
    return [(m, s) for m, s in formulas if not (m in seen or seen.add(m))]  # type: ignore[func-returns-value]


def _probe_tokens(table: EmbeddingTable) -> list[int]:
    """Three ids, spread over the vocabulary. Their rows are not 0, for which any multiplier would agree, and none is
    another's, as the wrong row must be noticed; fewer where the table has no such three.
    """
    n = table.n_vocab
    chosen: dict[bytes, int] = {}  # row -> its id
    for start in (n // 3, n // 2, 2 * n // 3):
        for i in (*range(start, n), *range(start)):
            row = table.rows([i])
            if row.any() and row.tobytes() not in chosen:
                chosen[row.tobytes()] = i
                break
    if not chosen:
        raise ModelError("the token-embedding table holds zeros only", "the model file may be damaged")
    return list(chosen.values())


class _Measurement:
    """Three tokens by id, and then as rows in one way after the other."""

    def __init__(
        self, weights: Weights, table: EmbeddingTable, per_layer: EmbeddingTable | None, n_threads: int | None
    ) -> None:
        self._weights, self._table, self._n_threads = weights, table, n_threads
        self._per_layer = (per_layer, per_layer_scale(weights)) if per_layer is not None else None
        self._ids = _probe_tokens(table)
        self._others = _others(self._ids, table.n_vocab)
        self._adapted = any(a.a is not None for a in weights.lora)
        self._tried: list[str] = []

    def result(self) -> Calibration:
        weights = self._weights
        with closing(self._context()) as context:
            self._truth = self._logits(context, self._ids)
            finite = self._finite = np.isfinite(self._truth)
            if not finite[self._truth != -np.inf].all():
                raise ModelError(
                    f"{weights.header.path.name} gives logits that are not numbers", "the file may be damaged"
                )
            if not finite.any():
                raise ModelError(f"{weights.header.path.name} rules out every token", "the file may be damaged")
            largest = float(np.abs(self._truth[finite]).max())
            # of the same thing twice: 0 on most back ends
            noise = self._apart(self._logits(context, self._ids))
            if not noise <= GPU_TOLERANCE * largest:
                raise ModelError(
                    f"{weights.header.path.name}: the same three tokens twice give logits that differ by {noise:.2g}, where "
                    f"the largest is {largest:.3g}: nothing can be measured on this device",
                    "--n-gpu-layers 0 keeps to the CPU" if weights.on_gpu else "update or reinstall llama-cpp-python",
                )
            self._all_outputs = self._hands_out_the_first(context)
            relative = GPU_TOLERANCE if weights.on_gpu else 0.0
            if self._adapted:
                relative = max(relative, ADAPTER_TOLERANCE)
            self._tolerance = max(4 * noise, relative * largest)
            if not self._apart(self._logits(context, self._others)) > self._tolerance:
                raise ModelError(
                    f"{weights.header.path.name} gives the same logits whatever token it reads",
                    "the file may be damaged",
                )
            why = no_batch(weights.header)
            if why is None and (calibration := self._try(context, (), "")):
                return calibration
        # Where an id is known to decide something, three tokens that happen to agree in it prove nothing.
        known = by_id(weights.header)
        for carrier in [known] if known else ["any", "a part of what it reads"]:
            for nodes in self._node_sets():
                with closing(self._context(nodes)) as context:
                    if calibration := self._try(context, nodes, carrier):
                        return calibration
        raise ModelError(
            f"{weights.header.path.name} ({weights.header.arch}) cannot take mixtures: feeding a token's embedding does "
            f"not equal feeding the token (largest logit difference {', '.join(self._tried)})",
            (MERGE if self._adapted else "")
            or why
            or "this architecture uses the token id beside its embedding: another model, or another llama-cpp-python",
        )

    def _hands_out_the_first(self, context: Context) -> bool:
        n = len(self._ids)
        context.cut(0, 0)
        last = context.decode([0] * n, range(n), np.arange(n) == n - 1, tokens=self._ids)[0]
        to_first, to_last = (np.abs(last - self._truth[i])[self._finite[i]].max() for i in (0, n - 1))
        return bool(to_first < to_last)

    def _node_sets(self) -> list[tuple[str, ...]]:
        sets: list[tuple[str, ...]] = [(n,) for n in NODES]
        return [(n, PER_LAYER_NODE) for n in NODES] + sets if self._per_layer is not None else sets

    def _context(self, nodes: Sequence[str] = ()) -> Context:
        n = len(self._ids)
        shapes = widths(nodes, self._table, self._per_layer[0] if self._per_layer else None)
        return Context(self._weights, 256, 1, n_threads=self._n_threads, n_batch=8, n_outputs=n, nodes=shapes)

    def _logits(self, context: Context, tokens: list[int] | None = None, rows: Rows | None = None) -> Any:
        """(n, n_vocab): each position's."""
        n = len(self._ids)
        context.cut(0, 0)
        return context.decode([0] * n, range(n), [True] * n, tokens=tokens, rows=rows)

    def _apart(self, logits: Any) -> float:
        """The largest difference to the truth. NaN for NaN, which is neither above nor below a limit."""
        return float(np.abs(logits - self._truth)[self._finite].max())

    def _difference(self, context: Context, ids: list[int], carriers: list[int] | None, way: Calibration) -> float:
        """To the truth, of these ids as rows, with the given carriers."""
        mixtures, width = [Mixture.one_hot(i) for i in ids], self._weights.n_embd_inp
        rows = mixed_rows(mixtures, self._table, way, self._per_layer, width)
        if carriers is not None:
            rows = rows._replace(carriers=np.array(carriers, dtype=np.int32))
        return self._apart(self._logits(context, rows=rows))

    def _try(self, context: Context, nodes: tuple[str, ...], carrier: str) -> Calibration | None:
        ids = self._ids
        how = OVERLAY + ", ".join(nodes) if nodes else BATCH
        carriers = None if not nodes else ids if carrier != "any" else self._others
        for multiplier, source in candidates(self._weights):
            way = Calibration(
                multiplier=multiplier,
                source=source,
                difference=np.nan,
                positions=len(ids),
                exact=False,
                how=how,
                carrier=carrier if nodes else "",
                all_outputs=self._all_outputs,
            )
            try:
                difference = self._difference(context, ids, carriers, way)
            except ContextError:  # no such node
                return None
            self._tried.append(f"{difference:.3g} by {how} with {source}")
            if not difference <= self._tolerance:
                continue
            if carriers is ids and not self._difference(context, self._others, ids, way) > self._tolerance:
                continue  # the node is there, and nothing comes of it: the carriers alone made the logits
            return replace(way, difference=difference, exact=difference == 0)
        return None


def _others(ids: list[int], n_vocab: int) -> list[int]:
    """As many ids, each of them wrong."""
    return [*ids[1:], ids[0]] if len(set(ids)) == len(ids) > 1 else [(i + 1) % n_vocab for i in ids]
