"""Many generations of one prompt, and what is made of them: self-consistency, best of n. Samples may follow any policy."""

from __future__ import annotations

import math
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Unpack, cast

import numpy as np

from softllama import policy
from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.generation import loop
from softllama.generation.cost import Cost
from softllama.generation.extract import Rule, rule
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.generation.run import Interrupted, record
from softllama.generation.state import Generation
from softllama.trace.record import Trace
from softllama.trace.step import Step, StopReason

MAX_SAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Samples:
    """Generations of one prompt that differ in their seeds. likelihoods: the mean ln p of each one's answer, see `likelihood`."""

    traces: tuple[Trace, ...]
    likelihoods: tuple[float, ...]
    seed: int
    cost: Cost


@dataclass(frozen=True, eq=False)
class VoteResult:
    """The result of self-consistency.

    answer: the one that most samples gave; None if none gave any. votes: answers and how many gave them, winner first.
    answers: of each sample, None where the rule reads none. trace: of the samples that gave the answer, the likeliest
    (of all of them, if there is no answer).
    """

    answer: str | None
    votes: dict[str, float]
    answers: tuple[str | None, ...]
    samples: Samples

    @property
    def trace(self) -> Trace:
        return self.samples.traces[_likeliest(self.samples, [a == self.answer for a in self.answers])]

    @property
    def cost(self) -> Cost:
        return self.samples.cost

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": "vote", "answer": self.answer, "votes": self.votes, "answers": list(self.answers),
            **_dict(self.samples),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class BestResult:
    """The result of best of n. index: which sample it is. score: its answer's mean ln p."""

    index: int
    samples: Samples

    @property
    def trace(self) -> Trace:
        return self.samples.traces[self.index]

    @property
    def score(self) -> float:
        return self.samples.likelihoods[self.index]

    @property
    def cost(self) -> Cost:
        return self.samples.cost

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"kind": "best", "text": self.trace.text, "index": self.index, **_dict(self.samples)}


Each = Callable[[int, Step], None]


def self_consistency(
    model: Engine,
    prompt: PromptInput,
    *,
    samples: int = 16,
    extract: str | re.Pattern[str] | Rule = "auto",
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Unpack[GenerationKeywords],
) -> VoteResult:
    """Self-consistency: sample several chains of thought, and take the answer that most of them end in.

    Wang et al., arXiv 2203.11171. extract: how an answer is read, a rule, regular expression or function of
    softllama.generation.extract; it reads Trace.answer. Samples without an answer do not vote. A tie goes to the answer whose votes
    have the higher sum of `likelihood`, then to the one that was seen first.

    The other arguments are those of `sample`.
    """
    read = rule(extract)  # a wrong rule is an error before the work
    try:
        return vote(sample(model, prompt, samples, at_once=at_once, n_ctx=n_ctx, each=each, **options), read)
    except Interrupted as e:
        result = vote(cast(Samples, e.result), read)
        raise Interrupted(result.trace, result) from None


def vote(samples: Samples, extract: str | re.Pattern[str] | Rule = "auto") -> VoteResult:
    """The majority over samples that exist: see `self_consistency`."""
    read = rule(extract)
    answers = tuple(read(t.answer) for t in samples.traces)
    counts = Counter(a for a in answers if a is not None)  # in the order first seen
    sums = dict.fromkeys(counts, 0.0)
    for a, x in zip(answers, samples.likelihoods, strict=True):
        if a is not None:
            sums[a] += x
    order = sorted(counts, key=lambda a: (-counts[a], -sums[a]))
    return VoteResult(order[0] if order else None, {a: counts[a] for a in order}, answers, samples)


def best_of(
    model: Engine,
    prompt: PromptInput,
    *,
    n: int = 8,
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Unpack[GenerationKeywords],
) -> BestResult:
    """Best of n: the sample of the highest `likelihood`; the first among equals. The arguments are those of `sample`."""
    try:
        return _best(sample(model, prompt, n, at_once=at_once, n_ctx=n_ctx, each=each, **options))
    except Interrupted as e:
        result = _best(cast(Samples, e.result))
        raise Interrupted(result.trace, result) from None


def _best(drawn: Samples) -> BestResult:
    return BestResult(_likeliest(drawn, [True] * len(drawn.traces)), drawn)


def sample(
    model: Engine,
    prompt: PromptInput,
    n: int,
    *,
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Unpack[GenerationKeywords],
) -> Samples:
    """n generations of one prompt, which is evaluated once, `at_once` side by side in one batch.

    options: those of `stream`. policy: temperature 0.7 with top-k 40 if None, one of the settings of Wang et al. (arXiv
    2203.11171). seed: the seeds of the samples come from it (`seeds`); drawn if None, and in the result. each: sees the
    number of the sample and the step, as they come. at_once changes speed, and the last bits of the logits: with another
    at_once the draws are the same, but a token at the very edge of one may fall differently.

    Ctrl-C raises Interrupted, whose `result` has the samples that had ended, or what there is if none had. Raises UsageError,
    and what `stream` raises.
    """
    seed, drawn = generations(model, prompt, n, at_once, n_ctx, options)
    cost = Cost()
    ended, interrupted = run(model, drawn, at_once, n_ctx, each, cost)
    result = collected(model, ended, seed, cost)
    if interrupted:
        raise Interrupted(result.traces[0], result)
    return result


def generations(
    model: Engine, prompt: PromptInput, n: int, at_once: int, n_ctx: int | None, options: GenerationKeywords
) -> tuple[int, list[Generation]]:
    """The seed, and n generations that are ready to run: see `sample`."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SAMPLES:
        raise UsageError(f"the number of samples must be between 1 and {MAX_SAMPLES:,}, not {n}")
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise UsageError(f"at_once must be a whole number of 1 or more, not {at_once}")
    arguments.integer_or_none("n_ctx", n_ctx)
    seed = options.pop("seed", None)
    seed = secrets.randbits(32) if seed is None else seed
    if options.get("policy") is None:
        options["policy"] = policy.sample(temperature=0.7, top_k=40)
    common = GenerationOptions.of(options)
    return seed, [prepare(model, prompt, common.changed(seed=s), label=i) for i, s in enumerate(seeds(seed, n))]


def run(
    model: Engine, drawn: Sequence[Generation], at_once: int, n_ctx: int | None, each: Each | None, cost: Cost
) -> tuple[list[Generation], bool]:
    """Run generations to their ends; those that ended, and whether Ctrl-C came (then at least one is among them)."""
    interrupted = False
    try:
        steps = loop.run(model, drawn, at_once=at_once, n_ctx=n_ctx or model.n_ctx_given, cost=cost)
        with closing(steps):
            for g, step in steps:
                if each is not None:
                    each(int(str(g.label)), step)
    except KeyboardInterrupt:
        interrupted = True
        drawn[0].finish(StopReason.INTERRUPTED)
    ended = [g for g in drawn if g.done]
    return [g for g in ended if g.stop_reason != StopReason.INTERRUPTED] or ended, interrupted


def collected(model: Engine, ended: Sequence[Generation], seed: int, cost: Cost) -> Samples:
    """Generations that have ended, as samples."""
    traces = tuple(record(model, g) for g in ended)
    return Samples(traces, tuple(map(likelihood, traces)), seed, cost)


def seeds(seed: int, n: int) -> list[int]:
    """n seeds from one: the top 53 bits of the first word of numpy's SeedSequence(seed).spawn(n)[i].

    The i-th does not depend on n. 53 bits, so that every reader of JSON keeps them.
    """
    sequence = np.random.SeedSequence(arguments.seed(seed))
    return [int(s.generate_state(1, np.uint64)[0]) >> 11 for s in sequence.spawn(n)]


def likelihood(trace: Trace) -> float:
    """Mean ln p of the readouts of the answer: at temperature 1, unfiltered, forced tags and the end of generation left out.

    After soft steps, p is what the model gave the readout after those mixtures. -inf for an answer without tokens.
    """
    x = [s.logp for s in trace.steps if not s.thinking and not s.forced]
    return math.fsum(x) / len(x) if x else -math.inf


def _likeliest(samples: Samples, among: Iterable[bool]) -> int:
    allowed = [i for i, ok in enumerate(among) if ok]
    return max(allowed, key=lambda i: samples.likelihoods[i])


def _dict(samples: Samples) -> dict[str, Any]:
    return {
        "seed": samples.seed,
        "samples": [
            {
                "seed": t.seed, "text": t.text, "likelihood": x if math.isfinite(x) else None,
                "stop_reason": t.stop_reason, "n_thinking": t.n_thinking, "n_answer": t.n_answer,
            }
            for t, x in zip(samples.traces, samples.likelihoods, strict=True)
        ],
        "cost": samples.cost.to_dict(),
    }  # fmt: skip
