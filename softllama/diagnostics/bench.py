"""How fast a model runs here, beside llama.cpp alone: tokens per second, where a step's time goes, streams, sweeps, memory.

Everything is measured in one process and interleaved: llama.cpp's plain greedy loop runs before and after each case, and a
case's ratio is its time over the mean of those two, so that what else the machine does disturbs both alike. Numbers are
medians over repetitions, with the least and the largest. Knows nothing of how results look.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softllama.diagnostics import llama_loop
from softllama.engine import manifest
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.state import Generation
from softllama.policy import as_policy
from softllama.vectors import kernels
from softllama.vectors.mixture import Mixture

if TYPE_CHECKING:
    from softllama.api import Model

POLICIES = (
    "greedy", "sample", "soft_thinking:n=10", "soft_thinking:n=30", "gumbel", "moi", "swir", "full:epsilon=1e-4",
    "full:epsilon=1e-6",
)  # fmt: skip
STREAMS = (1, 2, 4, 8, 16)
SWEEP = 101
Clock = Callable[[], float]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def generation(model: Model, written: str, prompt: Sequence[int], steps: int, seed: int = 1) -> Generation:
    """A generation in which the policy acts at every step and nothing ends it early."""
    options = GenerationOptions(policy=written, where="everywhere", max_tokens=steps, seed=seed)
    g = prepare(model, list(prompt), options)
    return replace(g, eog=False, tags=None)


def soft(model: Model, written: str, prompt: Sequence[int], steps: int, streams: int, clock: Clock) -> dict[str, float]:
    """Seconds for `steps` steps of so many streams, after the prompts; and the mean size of what was fed."""
    gs = [generation(model, written, prompt, steps + 1, seed) for seed in range(1, streams + 1)]
    run = loop.run(model, gs, at_once=streams, n_ctx=len(prompt) + steps + 1)
    for _ in range(streams):
        next(run)
    start = clock()
    for _ in run:
        pass
    seconds = clock() - start
    fed = [s for g in gs for s in g.steps]
    return {
        "seconds": seconds,
        "tokens": float(np.mean([len(s.mixture) for s in fed])),
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
    """Seconds a step of each policy, and of llama-cpp-python's Llama, with their ratios to the plain greedy loop."""
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
    found: dict[str, list[dict[str, float]]] = {name: [] for name in cases}
    plains: list[float] = []
    for _ in range(repeat):
        before = bare()
        for name, case in cases.items():
            r = case()
            after = bare()
            r["seconds"] /= n
            found[name].append({**r, "ratio": 2 * r["seconds"] / (before + after)})
            plains += [before, after]
            before = after
    rows = {name: {key: spread([r[key] for r in rs]) for key in rs[0]} for name, rs in found.items()}
    return {"llama.cpp greedy": {"seconds": spread(plains)}, **rows}


def parts(
    model: Model, written: str, *, n: int = 32, repeat: int = 5, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Where the time of a step goes: seconds (medians over all steps) in llama.cpp, policy, mixing, and the rest."""
    prompt = [1, 2, 3, 4]
    names = ("llama.cpp", "logits", "policy", "mixing", "record", "step")
    times: dict[str, list[float]] = {k: [] for k in names}
    for r in range(repeat):
        g = generation(model, written, prompt, n + 1, r + 1)
        policy, spent = g.policy, dict.fromkeys(names, 0.0)
        last = [clock()]

        def timed(d: Any, moment: Any, policy: Any = policy, spent: dict[str, float] = spent) -> Any:
            start = clock()
            decision = policy(d, moment)
            spent["policy"] = clock() - start
            return decision

        def lap(name: str, spent: dict[str, float] = spent, last: list[float] = last) -> None:
            now = clock()
            spent[name], last[0] = now - last[0], now

        g.policy = as_policy(timed)
        began = 0.0
        for step, _ in enumerate(loop.run(model, [g], n_ctx=len(prompt) + n + 1, lap=lap)):
            now = clock()
            spent["record"] = now - last[0] - spent["policy"]  # since the last distribution was there
            if step:  # what came before the first step is the prompt
                spent["step"] = now - began
                for name in names:
                    times[name].append(spent[name])
            began = last[0] = now
    return {k: spread(v) for k, v in times.items()}


def streams(
    model: Model,
    written: str = "soft_thinking",
    counts: Sequence[int] = STREAMS,
    *,
    n: int = 32,
    repeat: int = 5,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Tokens per second of k soft streams side by side, and their ratio to k hard ones in llama.cpp's batches."""
    prompt = [1, 2, 3, 4]
    out: dict[str, Any] = {}
    for k in counts:
        rates: dict[str, list[float]] = {"soft": [], "hard": [], "ratio": []}
        for _ in range(repeat):
            plain = llama_loop.Loop(model.new_context(k * (len(prompt) + n + 1), k), prompt)
            hard = k * n / plain.run(n, clock)
            plain.close()
            ours = k * n / soft(model, written, prompt, n, k, clock)["seconds"]
            for key, value in zip(rates, (ours, hard, ours / hard), strict=True):
                rates[key].append(value)
        out[str(k)] = {key: spread(v) for key, v in rates.items()}
    return out


def sweep(model: Model, points: int = SWEEP, *, repeat: int = 5, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """Seconds of a sweep, its measures included, and of llama.cpp for as many positions in batches of the same shape."""
    from softllama.engine.branches import BRANCHES

    times: dict[str, list[float]] = {"softllama": [], "llama.cpp": [], "ratio": []}
    mixture = Mixture([5, 6], [0.5, 0.5])
    tail = 1  # the mixture is the prompt's last position
    n_batches = -(-points // BRANCHES)
    size = -(-points // n_batches)
    for _ in range(repeat):
        start = clock()
        r = model.probe("{}", mixture, sweep=points)
        assert r.sweep is not None
        _ = r.sweep.measures
        ours = clock() - start
        start = clock()
        context = model.new_context(size * tail + 8, size)  # which a sweep makes too
        made = clock() - start
        base = made + llama_loop.batches(context, 0, [size] * n_batches, tail, clock)
        for key, value in zip(times, (ours, base, ours / base), strict=True):
            times[key].append(value)
    return {k: spread(v) for k, v in times.items()} | {"positions": n_batches * size * tail}


def copy_bandwidth(n_threads: int, megabytes: int = 256, repeat: int = 7) -> dict[str, float]:
    """Bytes that so many threads together copy from memory to memory in a second."""
    n = megabytes << 20
    pairs = [(np.ones(n, dtype=np.uint8), np.ones(n, dtype=np.uint8)) for _ in range(n_threads)]
    found = []
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(repeat):
            start = time.perf_counter()
            list(pool.map(lambda p: np.copyto(*p), pairs))
            found.append(n_threads * n / (time.perf_counter() - start))
    return spread(found)


def memory() -> dict[str, float]:
    """Bytes of this process in memory: now, and the most so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    now = most
    with suppress(OSError):
        now = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"now": float(now), "most": float(most)}


def everything(
    model: Model,
    policies: Sequence[str] = POLICIES,
    *,
    n: int = 32,
    repeat: int = 5,
    counts: Sequence[int] = STREAMS,
    points: int = SWEEP,
    clock: Clock = time.perf_counter,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """All of it, as plain data. note: is told what is being measured."""
    result: dict[str, Any] = {"isa": kernels.isa_name(), "n_threads": model.n_threads, "steps": n, "repeat": repeat}
    loaded = memory()
    note("steps of each policy")
    result["policies"] = steps(model, policies, n=n, repeat=repeat, clock=clock)
    note("parts of a step")
    result["parts"] = {p: parts(model, p, n=n, repeat=repeat, clock=clock) for p in policies}
    if counts:
        note("streams")
        result["streams"] = streams(model, counts=counts, n=n, repeat=repeat, clock=clock)
    if points:
        note(f"a sweep of {points} points")
        result["sweep"] = sweep(model, points, repeat=repeat, clock=clock)
    result["memory"] = {"after loading": loaded["now"], "at the end": memory()["now"], "most": memory()["most"]}
    result["manifest"] = manifest.build(model, {"steps": n, "repeat": repeat})
    return result
