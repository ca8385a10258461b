"""Is what softllama computes with a model right? Are its numbers finite, is a one-hot mixture the token, does a run repeat?

Knows a loaded model, or its tables. Knows no child processes, and not how findings are shown.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base.text import percent
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, Finding
from softllama.engine import noise
from softllama.engine.calibration import GPU_TOLERANCE
from softllama.engine.engine import Engine
from softllama.engine.table import EmbeddingTable
from softllama.llama import bindings
from softllama.llama.context import Context
from softllama.llama.header import Header
from softllama.vectors import kernels
from softllama.vectors.mixture import Mixture

MUCH_ROUNDING = 0.01  # of the largest logit, by which another batch shape or number of threads is worth a note
clock = time.perf_counter
POSITIONS = 320  # that the comparison of one-hot mixtures with tokens covers, if the time allows
AT_LEAST = 24
BATCHES = (1, 32, 2, 13, 3, 8, 5)  # the largest early, as it is the cheapest by position
SECONDS = 20.0  # for that comparison, about


def _finding(name: str, state: str, text: str, advice: str = "", **facts: Any) -> Finding:
    return Finding(part="model", name=name, state=state, text=text, advice=advice, facts=facts)


def rows(table: EmbeddingTable, n_threads: int, name: str = "table") -> Iterable[Finding]:
    """Are all numbers of a table finite, and is a mixture what plain arithmetic makes of its rows? Needs no loaded model."""
    start = clock()
    bad = table.damaged(n_threads)
    seconds = clock() - start
    scanned = f"{table.n_vocab:,} rows of {table.n_embd:,} in {table.quantization}"
    if len(bad):
        some = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        first = [int(i) for i in bad[:20]]
        text = f"{len(bad):,} of {scanned} hold numbers that are not finite: {some}"
        yield _finding(name, PROBLEM, text, "fetch the file again", damaged=len(bad), first=first)
        return
    rng = np.random.default_rng(2)
    ids = np.unique(rng.integers(0, table.n_vocab, 1000))
    weights = rng.random(len(ids)).astype(np.float32)
    truth = weights.astype(np.float64) @ table.rows(ids.tolist()).astype(np.float64)
    error = float(
        np.abs(table.embed(Mixture(ids, weights, signed=True)) - truth).max() / max(np.abs(truth).max(), 1e-30)
    )
    facts: dict[str, Any] = {"damaged": 0, "seconds": seconds, "error": error}
    if not error < 1e-4:
        text = f"{scanned}: a mixture of {len(ids):,} is wrong by {error:.2g} of its size"
        yield _finding(name, PROBLEM, text, "SOFTLLAMA_ISA=scalar may avoid it; please report it", **facts)
        return
    text = f"{scanned}: all finite ({1000 * seconds:.3g} ms); a mixture of {len(ids):,} is right to {error:.1g} of its size"
    yield _finding(name, OK, text, **facts)


def tensors(h: Header, tables: Collection[str], n_threads: int) -> Iterable[Finding]:
    """Are the numbers of all other tensors finite? Reads the whole file, as a model's first use does."""
    start, damaged, n = clock(), dict[str, int](), 0
    for t in h.tensors.values():
        if t.name not in tables and t.size and bindings.has_floats(t.ggml_type):
            kind, n = bindings.table_type(t.ggml_type), n + 1
            rows = kernels.Rows(t.rows(), t.shape[0], kind.block, kind.to_float, t.ggml_type)
            if k := len(kernels.damaged_rows(rows, n_threads)):
                damaged[t.name] = k
    facts: dict[str, Any] = {"n": n, "damaged": damaged, "seconds": clock() - start}
    if damaged:
        some = ", ".join(f"{name[:60]} ({k:,} rows)" for name, k in list(damaged.items())[:3])
        text = f"{len(damaged):,} of {n:,} others hold numbers that are not finite: {some}"
        yield _finding(
            "tensors", PROBLEM, text + (", ..." if len(damaged) > 3 else ""), "fetch the file again", **facts
        )
        return
    yield _finding("tensors", OK, f"{n:,} others: all finite ({facts['seconds']:.2g} s)", **facts)


def _ids(m: Engine, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, m.n_vocab, n)


def positions(m: Engine, n: int) -> int:
    """n positions, or as many as the model knows."""
    return min(n, m.n_ctx_limit, m._weights.n_positions or n)


@dataclass
class _Comparison:
    """Logits of tokens beside those of their one-hot rows, batch after batch."""

    tokens: int = 0
    deepest: int = 0  # positions of the context that were used
    batches: list[int] = field(default_factory=list)
    difference: float = 0.0  # the largest
    largest: float = 0.0  # logit, in size
    other_argmax: int = 0
    not_finite: int = 0
    seconds: float = 0.0

    def add(self, truth: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Take in a batch. truth, logits: (n, n_vocab) float32."""
        finite = np.isfinite(truth) & np.isfinite(logits)
        self.not_finite += int((~finite & ~(np.isneginf(truth) & np.isneginf(logits))).sum())
        if finite.any():
            self.difference = max(self.difference, float(np.abs(truth - logits)[finite].max()))
            self.largest = max(self.largest, float(np.abs(truth[finite]).max()))
        self.other_argmax += int((truth.argmax(axis=1) != logits.argmax(axis=1)).sum())
        self.tokens += len(truth)
        self.batches.append(len(truth))

    @property
    def relative(self) -> float:
        """The largest difference, as a share of the largest logit."""
        return self.difference / self.largest if self.largest else 0.0

    def facts(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "positions": self.deepest,
            "batches": sorted(set(self.batches)),
            "difference": self.difference,
            "largest_logit": self.largest,
            "relative": self.relative,
            "other_argmax": self.other_argmax,
            "not_finite": self.not_finite,
            "seconds": self.seconds,
        }


def _compare(m: Engine) -> _Comparison:
    """Tokens and their one-hot rows, fed side by side in batches of many sizes, from the first position of a context to its
    last, and again from the first with other tokens until there were enough. Where rows are written over llama.cpp's
    nodes, the tokens that stand in for them are wrong on purpose, unless they decide something themselves.

    A diffusion model keeps nothing, so each batch begins at the first position there.
    """
    n, sizes = positions(m, POSITIONS), [b for b in BATCHES if b <= m.n_ctx_limit]
    ids, start = _ids(m, POSITIONS), clock()
    c, at = _Comparison(), 0  # at: in the context
    context = partial(m.new_context, n, causal=False, n_outputs=max(sizes))
    with closing(context()) as one, closing(context()) as two:
        while c.tokens < len(ids) and (c.tokens < AT_LEAST or clock() - start < SECONDS):
            if at >= n or m.diffusion:
                at = 0
                one.cut(0, 0)
                two.cut(0, 0)
            b = min(sizes[len(c.batches) % len(sizes)], n - at, len(ids) - c.tokens)
            part = ids[c.tokens : c.tokens + b]
            batch = ([0] * b, range(at, at + b), [True] * b)
            truth = one.decode(*batch, tokens=part)
            rows = m.rows([Mixture.one_hot(int(i)) for i in part])
            if m.calibration.carrier == "any":
                rows = rows._replace(carriers=((part + 1) % m.n_vocab).astype(np.int32))
            c.add(truth, two.decode(*batch, rows=rows))
            at += b
            c.deepest = max(c.deepest, at)
    c.seconds = clock() - start
    return c


def one_hot(m: Engine) -> Iterable[Finding]:
    """Are all logits finite, and do one-hot mixtures give the logits of their tokens?"""
    c = _compare(m)
    facts = c.facts()
    if c.not_finite:
        text = f"{c.not_finite:,} logits after {c.tokens} tokens are NaN or infinite"
        advice = "the file may be damaged: fetch it again; on a GPU, try --n-gpu-layers 0"
        yield _finding("logits", PROBLEM, text, advice, **facts)
        return
    text = f"all finite after {c.tokens} tokens, the largest {c.largest:.3g}"
    yield _finding("logits", OK, text, not_finite=0, largest=c.largest)
    shape = f"{c.tokens} tokens at positions 0 to {c.deepest - 1}, in batches of {min(c.batches)} to {max(c.batches)}"
    if c.difference == 0:
        text = f"one-hot mixtures give the tokens' logits to the bit: difference 0 over {shape}"
        yield _finding("exact", OK, text, **facts)
        return
    text = (
        f"one-hot mixtures differ from tokens by {c.difference:.2g}, {c.relative:.1g} of the largest logit, over {shape}; "
        f"the likeliest token is another at {c.other_argmax}"
    )
    on_gpu = m._weights.on_gpu
    if c.relative > GPU_TOLERANCE:
        advice = "do not trust mixtures on this model; please report it"
        yield _finding("exact", PROBLEM, text, advice + (", and try --n-gpu-layers 0" if on_gpu else ""), **facts)
    elif on_gpu:
        yield _finding("exact", OK, f"{text}: the rounding of a GPU", **facts)
    elif any(a.a is not None for a in m._weights.lora):
        yield _finding("exact", OK, f"{text}: what an adapter adds to the table is rounded in another order", **facts)
    else:
        yield _finding("exact", NOTE, f"{text}: on a CPU it should be 0", "see the lines on rounding below", **facts)


def determinism(m: Engine) -> Iterable[Finding]:
    """The same batch twice; with another number of threads; and position by position."""
    n = positions(m, 32)
    ids = _ids(m, n)

    def together(context: Context) -> NDArray[np.float32]:
        context.cut(0, 0)
        return context.decode([0] * n, range(n), [True] * n, tokens=ids)

    with closing(m.new_context(n, causal=False, n_outputs=n)) as context:
        truth, again = together(context), together(context)
        single = truth
        if not m.diffusion:
            context.cut(0, 0)
            single = np.concatenate([context.decode([0], [i], [True], tokens=ids[i : i + 1]) for i in range(n)])
    n_threads = 1 if m.n_threads > 1 else 2
    with closing(m.new_context(n, causal=False, n_outputs=n, n_threads=n_threads)) as context:
        others = together(context)
    largest = float(np.abs(truth[np.isfinite(truth)]).max())

    def apart(x: NDArray[np.float32]) -> float:
        on = np.isfinite(truth) & np.isfinite(x)
        return float(np.abs(x - truth)[on].max()) if on.any() else 0.0

    twice, by_threads, by_batch = apart(again), apart(others), apart(single)
    facts: dict[str, Any] = {
        "twice": twice,
        "n_threads": {f"{m.n_threads} and {n_threads}": by_threads},
        "batch": by_batch,
        "largest": largest,
    }
    if twice:
        text = f"the same batch of {n} twice differs by {twice:.2g} (largest logit {largest:.3g}): runs with one seed may part"
        yield _finding("repeats", NOTE, text, "--n-gpu-layers 0, or --n-threads 1", **facts)
    else:
        yield _finding("repeats", OK, f"the same batch of {n} twice differs by 0", **facts)
    text = f"{m.n_threads} and {n_threads} threads differ by {by_threads:.2g}"
    if not m.diffusion:
        text += f", a batch of {n} and single positions by {by_batch:.2g}"
    text += f", where the largest logit is {largest:.3g}"
    if max(by_batch, by_threads) > MUCH_ROUNDING * largest:
        text += f" ({percent(max(by_batch, by_threads) / largest)}): results depend on what is computed together"
        yield _finding(
            "rounding", NOTE, text, "compare only what was computed in one batch shape, as probe does", **facts
        )
    else:
        yield _finding("rounding", OK, text, **facts)


def noise_floor(m: Engine) -> Iterable[Finding]:
    """How far outputs are apart whose input was moved by nothing that counts."""
    f = noise.floor(m)
    facts = asdict(f)
    if not f.js:
        yield _finding("noise", OK, "an input moved by 1e-5 moves nothing that four digits show", **facts)
        return
    text = (
        f"an input moved by 1e-5 moves logits by {f.logit_median:.2g} (median) to {f.logit:.2g}, and the output by a JS of "
        f"{f.js_median:.1g} to {f.js:.2g}: smaller differences mean nothing on this model"
    )
    yield _finding("noise", OK, text, **facts)
