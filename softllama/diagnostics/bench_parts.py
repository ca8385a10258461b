"""Where the time of a step goes: the seconds of llama.cpp's call, and of each thing that softllama does beside it.

Knows the loop's laps. Measures one policy alone; bench.py compares.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from softllama.api import Model
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.state import Generation
from softllama.llama.bindings import api
from softllama.policy import Policy

PROMPT = (1, 2, 3, 4)
OURS = ("batch", "logits", "policy", "mixing", "record")  # what softllama does itself
PARTS = ("llama.cpp", *OURS)
Clock = Callable[[], float]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """`spread`, and the quartiles "q1" and "q3", which say more of many values on a busy machine."""
    q1, _, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {**spread(values), "q1": q1, "q3": q3}


def generation(model: Model, policy: str, prompt: Sequence[int], steps: int, seed: int = 1) -> Generation:
    """A generation in which the policy acts at every step and nothing ends it early."""
    options = GenerationOptions(policy=policy, where="everywhere", max_tokens=steps, seed=seed)
    g = prepare(model, list(prompt), options)
    return replace(g, eog=False, tags=None)


def parts(
    model: Model, policy: str, *, n: int = 32, repeat: int = 5, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Where the time of a step goes.

    Args:
        model: The model.
        policy: As text.
        n: Steps of a generation.
        repeat: Generations.
        clock: Gives seconds.

    Returns:
        `quartiles` over all steps of the seconds in llama.cpp, in filling its batch, in the passes over the logits, in the
        policy, in mixing and in the record; and, in other generations, of those "outside" llama.cpp and of the whole step. The
        parts come to more than the whole, as the marks between them take some microseconds each.
    """
    times: dict[str, list[float]] = {k: [] for k in (*PARTS, "outside", "step")}
    for r in range(repeat):
        g = generation(model, policy, PROMPT, n + 1, r + 1)
        with _decode_timed(clock) as called:
            start = 0.0
            for step, _ in enumerate(loop.run(model, [g], n_ctx=len(PROMPT) + n + 1)):
                now = clock()
                if step:  # what came before the first step is the prompt
                    times["outside"].append(now - start - called[0])
                    times["step"].append(now - start)
                start = now
        _take_apart(model, generation(model, policy, PROMPT, n + 1, r + 1), n, clock, times)
    return {k: quartiles(v) for k, v in times.items()}


def _take_apart(model: Model, g: Generation, n: int, clock: Clock, times: dict[str, list[float]]) -> None:
    """Add the parts of each step of a generation to `times`."""
    inner, spent, last = g.policy, dict.fromkeys(PARTS, 0.0), [clock()]

    def timed(d: Any, moment: Any) -> Any:
        start = clock()
        decision = inner(d, moment)
        spent["policy"] = clock() - start
        return decision

    def lap(name: str) -> None:
        now = clock()
        spent[name], last[0] = now - last[0], now

    g.policy = Policy(timed, inner.name, needs_hidden=inner.needs_hidden)  # without the checks of a user's function
    with _decode_timed(clock) as called:
        for step, _ in enumerate(loop.run(model, [g], n_ctx=len(PROMPT) + n + 1, lap=lap)):
            now = clock()
            spent["record"] = now - last[0] - spent["policy"]  # since the last distribution was there
            if step:
                spent["batch"], spent["llama.cpp"] = spent["llama.cpp"] - called[0], called[0]
                for name in PARTS:
                    times[name].append(spent[name])
            last[0] = now


@contextlib.contextmanager
def _decode_timed(clock: Clock) -> Iterator[list[float]]:
    """A list whose element is the seconds of the last call of llama.cpp's decode, until the logits are there."""
    decode, seconds = api.llama_decode, [0.0]

    def timed(context: Any, batch: Any) -> Any:
        start = clock()
        code = decode(context, batch)
        api.llama_synchronize(context)  # a GPU goes on after the call
        seconds[0] = clock() - start
        return code

    api.llama_decode = timed
    try:
        yield seconds
    finally:
        api.llama_decode = decode
