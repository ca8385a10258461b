"""How long does a generation that feeds only vectors stay readable? Its readouts are read again by ordinary decoding.

Knows how rollouts are made, measured and reported. Does not know which prompts they begin with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from softllama.api import Model
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import unclear, value
from softllama.show.progress import Tick
from softllama.vectors import measures, statistics
from softllama.vectors.statistics import Estimate

WINDOW = 8  # steps over which surprise is averaged
QUANTILE = 0.95
AT_ONCE = 8  # generations side by side: the same every time, so the study repeats to the digit
READ = 32  # tokens that are read again at once
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
class Rollout:
    """One generation.

    Attributes:
        policy: What was fed: a key of POLICIES.
        ids: The readouts.
        surprise: -ln p of each readout in ordinary decoding, in nats.
        entropy: Of each step's own distribution, in nats.
        coherent: Steps before the text becomes too surprising; see `coherent`.
    """

    policy: str
    ids: tuple[int, ...]
    surprise: tuple[float, ...]
    entropy: tuple[float, ...]
    coherent: int


def surprise(model: Model, prompt: str, ids: Sequence[int]) -> list[float]:
    """-ln p in nats of each id, one after the other, as ordinary tokens after the prompt."""
    every = [*model.tokenize(prompt, bos=True), *ids]
    before = len(every) - len(ids)
    out: list[float] = []
    context = model.new_context(len(every), n_batch=READ, n_outputs=READ)
    try:
        for start in range(0, len(every) - 1, READ):
            part = range(start, min(start + READ, len(every) - 1))
            want = np.array(part) >= before - 1
            logits = context.decode([0] * len(part), part, want, rows=model.rows([every[t] for t in part]))
            following = [every[t + 1] for t in part if t >= before - 1]
            if following:
                after = model.distributions(logits)
                out += [-math.log(max(d[i].p, 1e-30)) for d, i in zip(after, following, strict=True)]
    finally:
        context.close()
    return out


def coherent(values: Sequence[float], limit: float) -> int:
    """Steps before the first window whose mean exceeds the limit; all of them if none does."""
    over = np.flatnonzero(measures.windows(values, WINDOW) > limit)
    return int(over[0]) if len(over) else len(values)


@dataclass(frozen=True)
class Rollouts:
    """Rollouts, and the mean surprise of a window from which on a text counts as not coherent."""

    rollouts: list[Rollout]
    limit: float


def measure(
    model: Model,
    prompts: Sequence[str],
    tokens: int,
    seed: int,
    tick: Tick | None = None,
    *,
    reader: Model | None = None,
    limit: float | None = None,
    policies: Sequence[str] = tuple(POLICIES),
) -> Rollouts:
    """Generate after every prompt under every policy, AT_ONCE of them side by side, and measure.

    Args:
        model: The model that writes.
        prompts: Beginnings.
        tokens: Positions of each rollout.
        seed: Of every random choice.
        tick: Called with "rollouts", then "reading", how many are done, and how many there are.
        reader: The model that reads the readouts again. None: the one that writes.
        limit: Of earlier rollouts. None: that of sampled generations, which are made for it.
        policies: Keys of POLICIES.

    Returns:
        For each prompt a rollout for each of the policies, and the limit.
    """
    sampled = [] if limit is not None else [(i, k) for i in range(len(prompts)) for k in range(REFERENCE)]
    tasks = [(prompts[i], "sample", _seed(seed, i, k + 1)) for i, k in sampled]
    tasks += [(p, POLICIES[name], _seed(seed, i, 0)) for i, p in enumerate(prompts) for name in policies]
    generations = [
        prepare(model, p, GenerationOptions(policy=policy, where="everywhere", max_tokens=tokens, seed=n, chat=False))
        for p, policy, n in tasks
    ]
    done = -1
    for _ in loop.run(model, generations, at_once=AT_ONCE, n_ctx=model.n_ctx_given):
        if tick is not None and (now := sum(g.done for g in generations) * len(prompts) // len(generations)) != done:
            done = now
            tick("rollouts", done, len(prompts))
    read: list[list[float]] = []
    for (p, _, _), g in zip(tasks, generations, strict=True):
        read.append(surprise(reader or model, p, [s.token for s in g.steps]))
        if tick is not None:
            tick("reading", len(read), len(tasks))
    n = len(sampled)
    if limit is None:
        usual = [x for values in read[:n] for x in measures.windows(values, WINDOW).tolist()]
        limit = float(np.quantile(usual, QUANTILE)) if usual else float("inf")
    names = [name for _ in prompts for name in policies]
    made = [
        Rollout(
            policy=name,
            ids=tuple(s.token for s in g.steps),
            surprise=tuple(values),
            entropy=tuple(s.entropy for s in g.steps),
            coherent=coherent(values, limit),
        )
        for name, g, values in zip(names, generations[n:], read[n:], strict=True)
    ]
    return Rollouts(made, limit)


def _seed(seed: int, prompt: int, sample: int) -> int:
    return int(np.random.SeedSequence([seed, 3, prompt, sample]).generate_state(1, np.uint64)[0]) >> 11


def _of(rollouts: Sequence[Rollout], policy: str) -> list[Rollout]:
    return [r for r in rollouts if r.policy == policy]


def _perplexity(rollouts: Sequence[Rollout], seed: int) -> Estimate:
    """exp of the mean surprise of a rollout's readouts, averaged in the exponent."""
    e = statistics.mean([float(np.mean(r.surprise)) for r in rollouts if r.surprise], seed)
    return Estimate(float(np.exp(e.value)), float(np.exp(e.low)), float(np.exp(e.high)), e.n)


def _drift(r: Rollout) -> float:
    """Entropy in the last third minus that in the first."""
    n = len(r.entropy) // 3
    return float(np.mean(r.entropy[-n:]) - np.mean(r.entropy[:n])) if n else float("nan")


def table(rollouts: Sequence[Rollout], seed: int) -> Table:
    """A row for each policy."""
    columns: dict[str, Callable[[list[Rollout]], Estimate]] = {
        "steps": lambda rs: statistics.mean([len(r.ids) for r in rs], seed),
        "coherent steps": lambda rs: statistics.mean([r.coherent for r in rs], seed),
        "perplexity of readouts": lambda rs: _perplexity(rs, seed),
        "repetition": lambda rs: statistics.mean([measures.repetition(r.ids) for r in rs], seed),
        "entropy": lambda rs: statistics.mean([float(np.mean(r.entropy)) for r in rs if r.entropy], seed),
        "entropy drift": lambda rs: statistics.mean([_drift(r) for r in rs], seed),
    }
    rows: list[tuple[Cell, ...]] = [
        (name, *(cell(rs) for cell in columns.values())) for name in POLICIES if (rs := _of(rollouts, name))
    ]
    note = "Means over prompts; drift: last third minus first, nats."
    return Table("rollout", "Rollouts", ("fed", *columns), tuple(rows), note)


def figures(rollouts: Sequence[Rollout], tokens: int) -> list[Figure]:
    """Surprise and entropy over the steps."""
    out = []
    for name, title, label in (
        ("surprise", "Surprise of the readouts in ordinary decoding", "-ln p, nats"),
        ("entropy", "Entropy of the steps' own distributions", "entropy, nats"),
    ):
        series = []
        for policy in POLICIES:
            rows = [getattr(r, name) for r in _of(rollouts, policy)]
            x = [t for t in range(tokens) if any(len(r) > t for r in rows)]
            y = [float(np.mean([r[t] for r in rows if len(r) > t])) for t in x]
            series.append(Series(policy, tuple(x), tuple(y)))
        note = "Means over the prompts that are still going on."
        figure = Figure(
            name=f"rollout-{name}",
            title=title,
            kind="lines",
            x_label="step",
            y_label=label,
            series=tuple(series),
            note=note,
        )
        out.append(figure)
    return out


def sentence(rollouts: Sequence[Rollout], seed: int) -> str:
    """How long it stays coherent, beside sampling."""
    full, drawn = _of(rollouts, FULL), _of(rollouts, SAMPLE)
    d = statistics.mean(
        [float(np.mean(a.surprise) - np.mean(b.surprise)) for a, b in zip(full, drawn, strict=True)], seed
    )
    steps = statistics.mean([r.coherent / len(r.ids) for r in full if r.ids], seed)
    verdict = unclear(d) if not d.clear else "lower" if d.value < 0 else "higher"
    return (
        f"A rollout that feeds only vectors stays coherent for {value(steps, 2)} of its steps; the surprise of its readouts, "
        f"against that of sampled text: {verdict} "
        f"(difference of the mean surprise {value(d, 2)} nats)."
    )
