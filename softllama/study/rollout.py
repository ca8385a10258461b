"""How long does a generation that feeds only vectors stay readable? Its readouts are read again by ordinary decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.report.data import Cell, Figure, Series, Table, value
from softllama.vectors import measures, statistics
from softllama.vectors.statistics import Estimate

if TYPE_CHECKING:
    from softllama.api import Model

Tick = Callable[[str, int, int], None]
WINDOW = 8  # steps over which surprise is averaged
QUANTILE = 0.95
AT_ONCE = 8  # generations side by side: the same every time, so the study repeats to the digit
REFERENCE = 4  # sampled generations of each prompt that say what is usual
FULL, GREEDY, SAMPLE = "whole vector", "greedy", "sampled"
POLICIES = {FULL: "full", GREEDY: "greedy", SAMPLE: "sample"}
METHOD = (
    "Rollouts: the whole vector is fed at every step; its readouts (the likeliest tokens) are then read again as ordinary "
    "tokens, and their surprise, -ln p, is what the model makes of the text. Repetition: the share of trigrams that were there "
    "before. Steps at which an end of generation is read out end a rollout.",
    f"Coherent steps: those before the first window of {WINDOW} whose mean surprise exceeds the {100 * QUANTILE:.0f} % point "
    f"of all windows of {REFERENCE} other sampled generations of each prompt.",
)
CONTROLS = ("greedy and sampled generations from the same prompts, measured in the same way",)


@dataclass(frozen=True)
class Rolled:
    """One generation. surprise: -ln p of each readout in ordinary decoding. entropy: of the step's own distribution."""

    policy: str
    ids: tuple[int, ...]
    surprise: tuple[float, ...]
    entropy: tuple[float, ...]
    coherent: int


def surprise(model: Model, prompt: str, ids: Sequence[int]) -> list[float]:
    """-ln p of each id, one after the other, as ordinary tokens after the prompt."""
    given = model.tokenize(prompt, bos=True)
    out = []
    with model.session(len(given) + len(ids) + 1) as s:
        d = s.feed(given)
        for i in ids:
            out.append(-float(np.log(max(float(d.probs[i]), 1e-30))))
            d = s.feed([i])
    return out


def coherent(values: Sequence[float], limit: float) -> int:
    """Steps before the first window whose mean exceeds the limit; all of them if none does."""
    over = np.flatnonzero(measures.windows(values, WINDOW) > limit)
    return int(over[0]) if len(over) else len(values)


def study(model: Model, prompts: Sequence[str], tokens: int, seed: int, tick: Tick | None = None) -> list[Rolled]:
    """Every prompt under every policy, AT_ONCE of them side by side."""
    asked = [(p, "sample", _seed(seed, i, k + 1)) for i, p in enumerate(prompts) for k in range(REFERENCE)]
    asked += [(p, policy, _seed(seed, i, 0)) for i, p in enumerate(prompts) for policy in POLICIES.values()]
    made = [
        prepare(model, p, GenerationOptions(policy=policy, where="everywhere", max_tokens=tokens, seed=n))
        for p, policy, n in asked
    ]
    done = -1
    for _ in loop.run(model, made, at_once=AT_ONCE, n_ctx=model.n_ctx_given):
        if tick is not None and (now := sum(g.done for g in made) * len(prompts) // len(made)) != done:
            done = now
            tick("rollouts", done, len(prompts))
    read = [surprise(model, p, [s.token for s in g.steps]) for (p, _, _), g in zip(asked, made, strict=True)]
    n = REFERENCE * len(prompts)
    usual = [x for values in read[:n] for x in measures.windows(values, WINDOW).tolist()]
    limit = float(np.quantile(usual, QUANTILE)) if usual else float("inf")
    names = [name for _ in prompts for name in POLICIES]
    return [
        Rolled(
            name,
            tuple(s.token for s in g.steps),
            tuple(values),
            tuple(s.entropy for s in g.steps),
            coherent(values, limit),
        )
        for name, g, values in zip(names, made[n:], read[n:], strict=True)
    ]


def _seed(seed: int, prompt: int, sample: int) -> int:
    return int(np.random.SeedSequence([seed, 3, prompt, sample]).generate_state(1, np.uint64)[0]) >> 11


def _of(rolled: Sequence[Rolled], policy: str) -> list[Rolled]:
    return [r for r in rolled if r.policy == policy]


def _perplexity(rolled: Sequence[Rolled], seed: int) -> Estimate:
    """exp of the mean surprise of a rollout's readouts, averaged in the exponent."""
    e = statistics.mean([float(np.mean(r.surprise)) for r in rolled if r.surprise], seed)
    return Estimate(float(np.exp(e.value)), float(np.exp(e.low)), float(np.exp(e.high)), e.n)


def _drift(r: Rolled) -> float:
    """Entropy in the last third minus that in the first."""
    n = len(r.entropy) // 3
    return float(np.mean(r.entropy[-n:]) - np.mean(r.entropy[:n])) if n else float("nan")


def table(rolled: Sequence[Rolled], seed: int) -> Table:
    """A row for each policy."""
    rows: list[tuple[Cell, ...]] = [
        (
            name, statistics.mean([len(r.ids) for r in rs], seed), statistics.mean([r.coherent for r in rs], seed),
            _perplexity(rs, seed), statistics.mean([measures.repetition(r.ids) for r in rs], seed),
            statistics.mean([float(np.mean(r.entropy)) for r in rs if r.entropy], seed),
            statistics.mean([_drift(r) for r in rs], seed),
        )
        for name in POLICIES
        if (rs := _of(rolled, name))
    ]  # fmt: skip
    head = ("fed", "steps", "coherent steps", "perplexity of readouts", "repetition", "entropy", "entropy drift")
    return Table("rollout", "Rollouts", head, tuple(rows), "Means over prompts; drift: last third minus first, nats.")


def figures(rolled: Sequence[Rolled], tokens: int) -> list[Figure]:
    """Surprise and entropy over the steps."""
    out = []
    for name, title, label in (
        ("surprise", "Surprise of the readouts in ordinary decoding", "-ln p, nats"),
        ("entropy", "Entropy of the steps' own distributions", "entropy, nats"),
    ):
        series = []
        for policy in POLICIES:
            rows = [getattr(r, name) for r in _of(rolled, policy)]
            x = [t for t in range(tokens) if any(len(r) > t for r in rows)]
            y = [float(np.mean([r[t] for r in rows if len(r) > t])) for t in x]
            series.append(Series(policy, tuple(x), tuple(y)))
        note = "Means over the prompts that are still going on."
        out.append(Figure(f"rollout-{name}", title, "lines", "step", label, tuple(series), note=note))
    return out


def sentence(rolled: Sequence[Rolled], seed: int) -> str:
    """How long it stays coherent, beside sampling."""
    full, drawn = _of(rolled, FULL), _of(rolled, SAMPLE)
    d = statistics.mean(
        [float(np.mean(a.surprise) - np.mean(b.surprise)) for a, b in zip(full, drawn, strict=True)], seed
    )
    steps = statistics.mean([r.coherent / len(r.ids) for r in full if r.ids], seed)
    if not d.clear:
        verdict = "about as surprising as sampled text, no difference seen"
    else:
        verdict = "less surprising than sampled text" if d.value < 0 else "more surprising than sampled text"
    return (
        f"A rollout that feeds only vectors stays coherent for {value(steps, 2)} of its steps; its readouts are {verdict} "
        f"(difference of the mean surprise {value(d, 2)} nats)."
    )
