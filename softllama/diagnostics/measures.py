"""A loaded model in numbers: where it runs, its vocabulary and template, how mixtures are fed, its speed and its memory.

Knows a loaded model. Knows no child processes, and not how findings are shown.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from softllama.api import Model
from softllama.base import system
from softllama.base.text import size
from softllama.diagnostics import bench, llama_loop
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, Finding
from softllama.diagnostics.exactness import positions
from softllama.engine import branches
from softllama.errors import ModelError, SoftLlamaError
from softllama.llama import bindings, devices, memory, thinking_tags
from softllama.prompts import build, thinking
from softllama.vectors.mixture import Mixture

clock = time.perf_counter
MOMENT = 0.5  # seconds for each speed
EXAMPLE = "The dog isn't 12 cats, is it?"
POLICIES = ("soft_thinking:n=10", "full")


def _finding(name: str, state: str, text: str, advice: str = "", **facts: Any) -> Finding:
    return Finding(part="model", name=name, state=state, text=text, advice=advice, facts=facts)


def loaded(m: Model, seconds: float) -> Iterable[Finding]:
    """Where it runs, and why; and its adapters. seconds: that loading took."""
    n_threads = f"{m.n_threads} thread{'s'[: m.n_threads > 1]}"
    text = f"as {m.name}, in {seconds:.2g} s, on {m.device}, {n_threads}: {m.device_reason}"
    yield _finding("loads", OK, text, seconds=seconds, device=m.device, reason=m.device_reason, n_threads=m.n_threads)
    for a in m._weights.lora:
        table = "; it changes the embedding table, and is mixed with its rows" if a.a is not None else ""
        text = f"{a.path} with scale {a.scale:g}{f', {a.text}' if a.text else ''}{table}"
        facts = {"path": str(a.path), "scale": a.scale, "embedding": a.a is not None}
        said = {} if a.facts is None else {"fits": a.fits, **a.facts.to_dict()}
        state, advice = (NOTE, "study adapter measures what it does here") if a.fits is False else (OK, "")
        yield _finding("adapter", state, text, advice, **facts, **said)


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
        back = m.detokenize(m.tokenize(EXAMPLE)).strip()
        why = "" if back == EXAMPLE else f"{EXAMPLE!r} comes back as {back!r}"
    except SoftLlamaError as e:
        why = e.message
    state, advice = (NOTE, "a model of few words may do so; else the file may be damaged") if why else (OK, "")
    yield _finding("vocabulary", state, f"{text}; {why}" if why else text, advice, **facts)


def template(m: Model) -> Iterable[Finding]:
    """Is there a chat template that renders, and does the model think?"""
    switch = False
    try:
        chat = m.chat_template
        build.rendered(chat, [build.SlottedMessage.plain(build.USER, "Hello")])
        yield _finding(
            "chat template", OK, f"there, and it renders ({len(chat.source):,} characters)", present=True, ok=True
        )
        switch = build.has_switch(chat, thinking.find(m.tokenizer, chat.source))
    except SoftLlamaError as e:
        there = bool(m.metadata.get("tokenizer.chat_template"))
        text = e.message if there else "none, so prompts are raw"
        advice = "chat --template FILE takes another" if there else "chat --template FILE takes one"
        yield _finding("chat template", NOTE, text, advice, present=there, ok=False)
    tags = thinking.find(m.tokenizer, m.template_source)
    text = "no thinking block: policies act on the text of --think prompt, or everywhere with --where everywhere"
    if tags is not None and tags.expected:
        way = "its chat template" if switch else "an empty block"
        text = f"between {' and '.join(tags.family.pair)}, as {tags.family.models}; switched off by {way}"
    elif variable := thinking_tags.unknown(m.template_source):
        text = f"unknown: the chat template has {variable!r}, but no tags that softllama knows"
        text += "; --think off may not keep it from thinking" * (tags is None and not switch)
    elif tags is not None:
        text = f"the vocabulary has {' and '.join(tags.family.pair)}, but the chat template does not use them"
    yield _finding("thinking", OK, text, open=tags.open if tags else None, close=tags.close if tags else None)


def mixtures(m: Model) -> Iterable[Finding]:
    """How rows are fed, as the calibration measured it."""
    c = m.calibration
    times = "" if c.multiplier == 1 else f", times {c.multiplier:g} ({c.source})"
    _, _, by = c.text.partition("; ")
    by = f"; {by}" if by else ""
    how = "as embeddings in a batch"
    if c.nodes:
        how = f"by {c.how}: written over what llama.cpp looks up for other tokens"
    alone = "; it is a diffusion model, which is probed, and decoded by diffusion and lrd" if m.diffusion else ""
    if m.diffusion and m.tokenizer.mask is None:
        text = "it is a diffusion model, and its vocabulary names no mask token to be asked about or to begin from"
        yield _finding("mixtures", PROBLEM, text, branches.NO_MASK, diffusion=True, **dataclasses.asdict(c))
        return
    yield _finding("mixtures", OK, f"fed {how}{times}{by}{alone}", diffusion=m.diffusion, **dataclasses.asdict(c))


def speed(m: Model) -> Iterable[Finding]:
    """A step of llama.cpp's greedy loop, the same with soft policies, and a mixture of the whole vocabulary."""
    if m.diffusion:
        return
    step = _greedy_seconds(m, 2)
    n = int(min(max(MOMENT / step, 2), positions(m, 256) - 8, 200))
    if n < 1:
        raise ModelError(f"its context of {m.n_ctx_limit} is too short to measure anything")
    step = _greedy_seconds(m, n)
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
    load = system.load()
    busy = f"; the machine is busy (load {load:.1f}), so it can do more" if load > 1 + devices.physical_cores() else ""
    text = f"{_rate(1 / step)} tokens/s greedy in llama.cpp itself; with softllama {others}{busy}"
    yield _finding("speed", OK, text, greedy=1 / step, load=load, **rates)
    share = _share(mix / step)
    text = f"the whole vocabulary takes {_rate(1000 * mix)} ms, {share} of a step of {_rate(1000 * step)} ms"
    yield _finding("mixing", OK, text, seconds=mix, step=step)


def _share(x: float) -> str:
    """A part of something: 0.31 %, 24 %; in times where it is more than all of it: 2.4 times."""
    return f"{100 * x:.2g} %" if x < 0.995 else f"{_rate(x)} times the length"


def _rate(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _greedy_seconds(m: Model, n: int) -> float:
    """Seconds of a step of llama.cpp's own greedy loop, over n steps."""
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
        text += f"; {size(free)} are free, so weights are read from the disk again and again"
        yield _finding("memory", NOTE, text, "a smaller quantization is much faster", **facts)
        return
    yield _finding("memory", OK, text, **facts)


def _set_aside(m: Model, n_ctx: int) -> float:
    with bindings.capture_log() as lines:
        m.session(n_ctx).close()
    return bindings.buffer_bytes(lines)
