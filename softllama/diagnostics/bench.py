"""How fast a model runs here, beside llama.cpp alone: tokens per second, where a step's time goes, streams, sweeps, memory.

Everything is measured in one process and interleaved: llama.cpp's plain greedy loop runs before and after each case, and a
case's ratio is its time over the mean of those two, so that what else the machine does disturbs both alike. Numbers are
medians over repetitions, with the least and the largest. Knows what is timed. Does not know how results look.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from softllama.api import Model
from softllama.diagnostics import llama_loop, machine
from softllama.diagnostics.bench_parts import Clock, generation, parts
from softllama.diagnostics.bench_parts import spread as spread
from softllama.engine import manifest
from softllama.generation import loop
from softllama.vectors import native
from softllama.vectors.mixture import Mixture

POLICIES = (
    *("greedy", "sample", "soft_thinking:n=10", "soft_thinking:n=30", "gumbel", "moi", "swir"),
    *("full:epsilon=1e-4", "full:epsilon=1e-6"),
)
STREAMS = (1, 2, 4, 8, 16)
SWEEP = 101


def soft(model: Model, policy: str, prompt: Sequence[int], steps: int, streams: int, clock: Clock) -> dict[str, float]:
    """Time a policy, after the prompts.

    Args:
        model: The model.
        policy: As text.
        prompt: Ids of every stream's prompt.
        steps: Of each stream.
        streams: Side by side in one context.
        clock: Gives seconds.

    Returns:
        "seconds" for all steps; "outside", what a step of all streams spends outside of llama.cpp, in seconds; "tokens", how
        many ids a step fed on average; "entropy" of the steps, in nats.
    """
    gs = [generation(model, policy, prompt, steps + 1, seed) for seed in range(1, streams + 1)]
    run = loop.run(model, gs, at_once=streams, n_ctx=len(prompt) + steps + 1)
    for _ in range(streams):
        next(run)
    with llama_loop.timed(clock) as inside:
        start = clock()
        for _ in run:
            pass
        seconds = clock() - start
    fed = [s for g in gs for s in g.steps]
    return {
        "seconds": seconds,
        "outside": (seconds - sum(inside)) / max(1, len(inside)),
        "tokens": float(np.mean([s.n_tokens for s in fed])),
        "entropy": float(np.mean([s.entropy for s in fed])),
    }


def steps(
    model: Model,
    policies: Sequence[str] = POLICIES,
    *,
    n: int = 32,
    repeat: int = 5,
    clock: Clock = time.perf_counter,
    high_level: bool = True,
) -> dict[str, Any]:
    """Time a step of each policy, and of llama-cpp-python's Llama, beside the plain greedy loop.

    Args:
        model: The model.
        policies: As text.
        n: Steps of each measurement.
        repeat: How often everything is measured.
        clock: Gives seconds.
        high_level: Measure llama-cpp-python's Llama, too.

    Returns:
        A row for each of them: `spread` of "seconds" a step and of "ratio" to the plain loop, and for policies of "tokens"
        and "entropy".
    """
    prompt = [1, 2, 3, 4]

    def bare() -> float:
        plain = llama_loop.Loop(model.new_context(len(prompt) + n + 1), prompt)
        try:
            return plain.run(n, clock) / n
        finally:
            plain.close()

    cases: dict[str, Callable[[], dict[str, float]]] = {
        p: partial(soft, model, p, prompt, n, 1, clock) for p in policies
    }
    if high_level:
        llama = llama_loop.high_level(model.path, prompt, n, len(prompt) + n + 1, model.n_threads)
        cases["llama-cpp-python Llama"] = lambda: {"seconds": llama(clock)}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    plains: list[float] = []
    for _ in range(repeat):
        before = bare()
        for name, case in cases.items():
            r = case()
            after = bare()
            r["seconds"] /= n
            results[name].append({**r, "ratio": 2 * r["seconds"] / (before + after)})
            plains += [before, after]
            before = after
    rows = {name: {key: spread([r[key] for r in rs]) for key in rs[0]} for name, rs in results.items()}
    return {"llama.cpp greedy": {"seconds": spread(plains)}, **rows}


def streams(
    model: Model,
    policy: str = "soft_thinking",
    counts: Sequence[int] = STREAMS,
    *,
    n: int = 32,
    repeat: int = 5,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Tokens per second of soft streams side by side, beside as many hard ones in llama.cpp's batches.

    Args:
        model: The model.
        policy: Of the soft streams, as text.
        counts: How many streams, one measurement for each.
        n: Steps of each stream.
        repeat: How often everything is measured.
        clock: Gives seconds.

    Returns:
        For each count `spread` of "soft" and "hard" tokens per second, of their "ratio", of "outside", the seconds that a
        soft step of all streams spends outside of llama.cpp, and, but for the least count, of "more": how much more that is
        than with the least, for each stream that there are more.
    """
    prompt = [1, 2, 3, 4]
    out: dict[str, Any] = {}
    least: list[float] = []  # seconds outside of llama.cpp, with the least count
    for k in sorted(counts):
        rates: dict[str, list[float]] = {"soft": [], "hard": [], "ratio": [], "outside": []}
        for _ in range(repeat):
            plain = llama_loop.Loop(model.new_context(k * (len(prompt) + n + 1), k), prompt)
            hard = k * n / plain.run(n, clock)
            plain.close()
            r = soft(model, policy, prompt, n, k, clock)
            ours = k * n / r["seconds"]
            for key, value in zip(rates, (ours, hard, ours / hard, r["outside"]), strict=True):
                rates[key].append(value)
        if least and k > min(counts):
            base = statistics.median(least)
            rates["more"] = [(x - base) / (k - min(counts)) for x in rates["outside"]]
        least = least or rates["outside"]
        out[str(k)] = {key: spread(v) for key, v in rates.items()}
    return out


def sweep(model: Model, points: int = SWEEP, *, repeat: int = 5, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Time a sweep, its measures included, beside llama.cpp for as many positions in batches of the same shape.

    Args:
        model: The model.
        points: Of the sweep.
        repeat: How often it is measured.
        clock: Gives seconds.

    Returns:
        `spread` of the seconds in "softllama" and "llama.cpp" and of their "ratio"; "positions" that each evaluates.
    """
    from softllama.engine.branches import BRANCHES

    times: dict[str, list[float]] = {"softllama": [], "llama.cpp": [], "ratio": []}
    mixture = Mixture([5, 6], [0.5, 0.5])
    tail = 1  # the mixture is the prompt's last position
    n_batches = -(-points // BRANCHES)
    size = BRANCHES
    for _ in range(repeat):
        start = clock()
        r = model.probe("{}", mixture, sweep=points)
        assert r.sweep is not None
        _ = r.sweep.measures
        ours = clock() - start
        start = clock()
        context = model.new_context(size * tail + 8, size)  # which a sweep makes too
        making = clock() - start
        base = making + llama_loop.batches(context, 0, [size] * n_batches, tail, clock)
        for key, value in zip(times, (ours, base, ours / base), strict=True):
            times[key].append(value)
    return {k: spread(v) for k, v in times.items()} | {"positions": n_batches * size * tail}


def everything(
    model: Model,
    policies: Sequence[str] = POLICIES,
    *,
    n: int = 32,
    repeat: int = 5,
    counts: Sequence[int] = STREAMS,
    points: int = SWEEP,
    clock: Clock = time.perf_counter,
    part_clock: Clock | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure all of it.

    Args:
        model: The model.
        policies: As text.
        n: Steps of each measurement.
        repeat: How often everything is measured.
        counts: Of streams; () for none.
        points: Of a sweep; 0 for none.
        clock: Gives seconds.
        part_clock: Gives the seconds of a step's parts; None for `clock`.
        note: Called with what is being measured.

    Returns:
        The results of `steps`, `parts`, `streams` and `sweep`, memory in bytes, and the manifest, ready for JSON.
    """
    result: dict[str, Any] = {"isa": native.isa_name(), "n_threads": model.n_threads, "steps": n, "repeat": repeat}
    loaded = machine.process_memory()
    note("steps of each policy")
    result["policies"] = steps(model, policies, n=n, repeat=repeat, clock=clock)
    note("parts of a step")
    result["parts"] = {p: parts(model, p, n=n, repeat=repeat, clock=part_clock or clock) for p in policies}
    if counts:
        note("streams")
        result["streams"] = streams(model, counts=counts, n=n, repeat=repeat, clock=clock)
    if points:
        note(f"a sweep of {points} points")
        result["sweep"] = sweep(model, points, repeat=repeat, clock=clock)
    end = machine.process_memory()
    result["memory"] = {"after loading": loaded["now"], "at the end": end["now"], "most": end["most"]}
    result["manifest"] = manifest.build(model, {"steps": n, "repeat": repeat})
    return result
