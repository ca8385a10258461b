"""A loaded model's health in numbers: is a one-hot mixture the token, is the table sound, what differs between two runs, how
fast is it, what memory does it take. Used by checkup.py; knows no child processes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softllama.diagnostics import bench, llama_loop
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, Finding
from softllama.diagnostics.machine import size
from softllama.engine import branches
from softllama.engine.calibration import GPU_TOLERANCE
from softllama.engine.table import Table
from softllama.errors import ModelError, SoftLlamaError
from softllama.llama import library, memory
from softllama.llama.context import Context
from softllama.llama.header import Header
from softllama.prompts import thinking
from softllama.vectors import kernels
from softllama.vectors.mixture import Mixture

if TYPE_CHECKING:
    from softllama.api import Model

clock = time.perf_counter
POSITIONS = 320  # that the comparison of one-hot mixtures with tokens covers, if the time allows
AT_LEAST = 24
BATCHES = (1, 32, 2, 13, 3, 8, 5)  # the largest early, as it is the cheapest by position
SECONDS = 20.0  # for that comparison, about
MOMENT = 0.5  # seconds for each speed
SENTENCE = "The dog isn't 12 cats, is it?"
POLICIES = ("soft_thinking:n=10", "full")


def _finding(name: str, state: str, text: str, advice: str = "", **facts: Any) -> Finding:
    return Finding("model", name, state, text, advice, facts)


def loaded(m: Model, seconds: float) -> Iterable[Finding]:
    """Where it runs, and why."""
    n_threads = f"{m.n_threads} thread{'s'[: m.n_threads > 1]}"
    text = f"as {m.name}, in {seconds:.2g} s, on {m.device}, {n_threads}: {m.device_reason}"
    yield _finding("loads", OK, text, seconds=seconds, device=m.device, reason=m.device_reason, n_threads=m.n_threads)
    for a in m._weights.lora:
        table = "; it changes the embedding table, and is mixed with its rows" if a.a is not None else ""
        text = f"{a.path} with scale {a.scale:g}{table}"
        yield _finding("adapter", OK, text, path=str(a.path), scale=a.scale, embedding=a.a is not None)


def vocabulary(m: Model) -> Iterable[Finding]:
    """Kind and special tokens; does a plain sentence come back from its tokens?"""
    t = m.tokenizer
    special = {k: None if i is None else m.spell(i) for k, i in (("BOS", t.bos), ("EOS", t.eos), ("EOT", t.eot))}
    facts: dict[str, Any] = {"kind": t.kind, "n_vocab": m.n_vocab, "adds_bos": t.add_bos, **special}
    if t.kind == "none":
        yield _finding("vocabulary", NOTE, f"{m.n_vocab:,} ids without a tokenizer", "write token ids: #12", **facts)
        return
    named = ", ".join(f"{k} {v}" for k, v in special.items() if v is not None)
    text = f"{m.n_vocab:,} tokens, {t.kind}" + (f", {named}" if named else "") + (", BOS added" if t.add_bos else "")
    try:
        back = m.detokenize(m.tokenize(SENTENCE)).strip()
        why = "" if back == SENTENCE else f"{SENTENCE!r} comes back as {back!r}"
    except SoftLlamaError as e:
        why = e.message
    state, advice = (NOTE, "a model of few words may do so; else the file may be damaged") if why else (OK, "")
    yield _finding("vocabulary", state, f"{text}; {why}" if why else text, advice, **facts)


def template(m: Model) -> Iterable[Finding]:
    """Is there a chat template that renders, and does the model think?"""
    try:
        chat = m.chat_template
        chat.render([{"role": "user", "content": "Hello"}])
        yield _finding(
            "chat template", OK, f"there, and it renders ({len(chat.source):,} characters)", present=True, ok=True
        )
    except SoftLlamaError as e:
        there = bool(m.metadata.get("tokenizer.chat_template"))
        text = e.message if there else "none, so prompts are raw"
        advice = "chat --template FILE takes another" if there else "chat --template FILE takes one"
        yield _finding("chat template", NOTE, text, advice, present=there, ok=False)
    tags = thinking.find(m.tokenizer, m.template_source)
    text = f"between {tags.open} and {tags.close}" if tags else "no thinking block: policies act on the whole text"
    yield _finding("thinking", OK, text, open=tags.open if tags else None, close=tags.close if tags else None)


def fed(m: Model) -> Iterable[Finding]:
    """How rows go in, as the calibration found."""
    c = m.calibration
    times = "" if c.multiplier == 1 else f", times {c.multiplier:g} ({c.source})"
    _, _, by = c.sentence.partition("; ")
    by = f"; {by}" if by else ""
    how = "as embeddings in a batch"
    if c.nodes:
        how = f"by {c.how}: written over what llama.cpp looks up for other tokens"
    alone = "; it is a diffusion model, which can be probed, and continues nothing" if m.diffusion else ""
    if m.diffusion and m.tokenizer.mask is None:
        text = "it is a diffusion model, which can only be probed, and its vocabulary names no mask token to be asked about"
        yield _finding("mixtures", PROBLEM, text, branches.NO_MASK, diffusion=True, **dataclasses.asdict(c))
        return
    yield _finding("mixtures", OK, f"fed {how}{times}{by}{alone}", diffusion=m.diffusion, **dataclasses.asdict(c))


def rows(table: Table, n_threads: int, name: str = "table") -> Iterable[Finding]:
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
        if t.name not in tables and t.size and library.has_floats(t.ggml_type):
            kind, n = library.table_type(t.ggml_type), n + 1
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


def _ids(m: Model, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, m.n_vocab, n)


def _room(m: Model, n: int) -> int:
    """So many positions, or as many as the model knows."""
    return min(n, m.n_ctx_limit, m._weights.n_positions or n)


def exactness(m: Model) -> Iterable[Finding]:
    """Tokens and their one-hot rows, fed side by side in batches of many sizes, from the first position of a context to its
    last, and again from the first with other tokens until there were enough. Where rows are written over llama.cpp's
    nodes, the tokens that stand in for them are wrong on purpose, unless they decide something themselves.

    A diffusion model keeps nothing, so each batch begins at the first position there.
    """
    n, sizes = _room(m, POSITIONS), [b for b in BATCHES if b <= m.n_ctx_limit]
    ids, began = _ids(m, POSITIONS), clock()
    at = other = bad = where = deepest = 0  # where: in the context
    worst = largest = 0.0
    done: list[int] = []
    context = partial(m.new_context, n, causal=False, n_outputs=max(sizes))
    with closing(context()) as one, closing(context()) as two:
        while at < len(ids) and (at < AT_LEAST or clock() - began < SECONDS):
            if where >= n or m.diffusion:
                where = 0
                one.cut(0, 0)
                two.cut(0, 0)
            b = min(sizes[len(done) % len(sizes)], n - where, len(ids) - at)
            part = ids[at : at + b]
            batch = ([0] * b, range(where, where + b), [True] * b)
            truth = one.decode(*batch, tokens=part)
            rows = m.rows([Mixture.one_hot(int(i)) for i in part])
            if m.calibration.carrier == "any":
                rows = replace(rows, carriers=((part + 1) % m.n_vocab).astype(np.int32))
            found = two.decode(*batch, rows=rows)
            finite = np.isfinite(truth) & np.isfinite(found)
            bad += int((~finite & ~(np.isneginf(truth) & np.isneginf(found))).sum())
            if finite.any():
                worst = max(worst, float(np.abs(truth - found)[finite].max()))
                largest = max(largest, float(np.abs(truth[finite]).max()))
            other += int((truth.argmax(axis=1) != found.argmax(axis=1)).sum())
            at, where = at + b, where + b
            deepest = max(deepest, where)
            done.append(b)
    relative = worst / largest if largest else 0.0
    facts: dict[str, Any] = {"tokens": at, "positions": deepest, "batches": sorted(set(done)), "difference": worst,
             "largest_logit": largest, "relative": relative, "other_argmax": other, "not_finite": bad,
             "seconds": clock() - began}  # fmt: skip
    shape = f"{at} tokens at positions 0 to {deepest - 1}, in batches of {min(done)} to {max(done)}"
    if bad:
        yield _finding("logits", PROBLEM, f"{bad:,} logits after {at} tokens are NaN or infinite",
                       "the file may be damaged: fetch it again; on a GPU, try --n-gpu-layers 0", **facts)  # fmt: skip
        return
    yield _finding(
        "logits", OK, f"all finite after {at} tokens, the largest {largest:.3g}", not_finite=0, largest=largest
    )
    if worst == 0:
        yield _finding(
            "exact", OK, f"one-hot mixtures give the tokens' logits to the bit: difference 0 over {shape}", **facts
        )
        return
    text = (
        f"one-hot mixtures differ from tokens by {worst:.2g}, {relative:.1g} of the largest logit, over {shape}; "
        f"the likeliest token is another at {other}"
    )
    if relative > GPU_TOLERANCE:
        advice = "do not trust mixtures on this model; please report it"
        yield _finding(
            "exact", PROBLEM, text, advice + (", and try --n-gpu-layers 0" if m._weights.on_gpu else ""), **facts
        )
    elif m._weights.on_gpu:
        yield _finding("exact", OK, f"{text}: the rounding of a GPU", **facts)
    elif any(a.a is not None for a in m._weights.lora):
        yield _finding("exact", OK, f"{text}: what an adapter adds to the table is rounded in another order", **facts)
    else:
        yield _finding("exact", NOTE, f"{text}: on a CPU it should be 0", "see the lines on rounding below", **facts)


def determinism(m: Model) -> Iterable[Finding]:
    """The same batch twice; with another number of threads; and position by position."""
    n = _room(m, 32)
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
        yield _finding("repeats", NOTE, f"the same batch of {n} twice differs by {twice:.2g} (largest logit {largest:.3g}): "
                       "runs with one seed may part", "--n-gpu-layers 0, or --n-threads 1", **facts)  # fmt: skip
    else:
        yield _finding("repeats", OK, f"the same batch of {n} twice differs by 0", **facts)
    text = f"{m.n_threads} and {n_threads} threads differ by {by_threads:.2g}"
    if not m.diffusion:
        text += f", a batch of {n} and single positions by {by_batch:.2g}"
    yield _finding("rounding", OK, f"{text}, where the largest logit is {largest:.3g}", **facts)


def speed(m: Model) -> Iterable[Finding]:
    """A step of llama.cpp's greedy loop, the same with soft policies, and a mixture of the whole vocabulary."""
    if m.diffusion:
        return
    step = _plain(m, 2)
    n = int(min(max(MOMENT / step, 2), _room(m, 256) - 8, 200))
    if n < 1:
        raise ModelError(f"its context of {m.n_ctx_limit} is too short to measure anything")
    step = _plain(m, n)
    soft = {p: bench.soft(m, p, [1, 2, 3, 4], n, 1, clock)["seconds"] / n for p in POLICIES}
    uniform = Mixture(np.arange(m.n_vocab), np.full(m.n_vocab, 1 / m.n_vocab))
    out = np.empty((1, m.n_embd), dtype=np.float32)
    mix = math.inf
    for _ in range(3):
        start = clock()
        m.table.mix([uniform], out, 1.0, m.n_threads)
        mix = min(mix, clock() - start)
    rates: dict[str, Any] = {p: 1 / s for p, s in soft.items()}
    others = ", ".join(f"{p.partition(':')[0]} {_rate(r)}" for p, r in rates.items())
    load = os.getloadavg()[0]
    busy = f"; the machine is busy (load {load:.1f}), so it can do more" if load > 1 + library.physical_cores() else ""
    yield _finding("speed", OK, f"{_rate(1 / step)} tokens/s greedy in llama.cpp itself; with softllama {others}{busy}",
                   greedy=1 / step, load=load, **rates)  # fmt: skip
    share = 100 * mix / step
    yield _finding("mixing", OK, f"the whole vocabulary takes {1000 * mix:.3g} ms, {share:.2g} % of a step of "
                   f"{1000 * step:.3g} ms", seconds=mix, step=step)  # fmt: skip


def _rate(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _plain(m: Model, n: int) -> float:
    loop = llama_loop.Loop(m.new_context(8 + n), [i % m.n_vocab for i in (1, 2, 3, 4)])
    try:
        return loop.run(n, clock) / n
    finally:
        loop.close()


def context_memory(m: Model) -> Iterable[Finding]:
    """What llama.cpp sets aside for a session, by its own account."""
    if m.diffusion:
        return
    short = _set_aside(m, max(256, m.n_ctx // 2))
    whole = _set_aside(m, m.n_ctx)
    free = memory.available()
    weights = m._weights.n_bytes
    facts: dict[str, Any] = {"n_ctx": m.n_ctx, "bytes": whole, "weights": weights, "free": free}
    text = f"{size(whole)} for {m.n_ctx:,} positions, beside {size(weights)} of weights"
    full = m._weights.n_ctx_train
    if full > m.n_ctx and m.n_ctx > 512:
        each = max(0.0, (whole - short) / (m.n_ctx - m.n_ctx // 2))
        facts["whole_context"] = whole + each * (full - m.n_ctx)
        text += f"; its whole context of {full:,} would take about {size(facts['whole_context'])}"
    if not m._weights.on_gpu and free is not None and weights > free:
        yield _finding("memory", NOTE, f"{text}; {size(free)} are free, so weights are read from the disk again and again",
                       "a smaller quantization is much faster", **facts)  # fmt: skip
        return
    yield _finding("memory", OK, text, **facts)


def _set_aside(m: Model, n_ctx: int) -> float:
    with library.heard() as said:
        m.session(n_ctx).close()
    return library.buffers(said)
