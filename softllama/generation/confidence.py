"""DeepConf: votes that count as much as the model was sure of its words, and samples that end where it is not (arXiv 2508.15260).

The confidence of a token is c = -1/k Σ ln p of the k likeliest tokens, at temperature 1 and before any filter: the more of the
mass one of them has, the higher. Knows generations and samples. Does not know how an answer is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.generation import samples as drawing
from softllama.generation.cost import Cost
from softllama.generation.extract import Rule, rule
from softllama.generation.options import GenerationKeywords
from softllama.generation.prepare import PromptInput
from softllama.generation.run import Interrupted
from softllama.generation.samples import Each, Samples, VoteResult
from softllama.generation.state import Generation
from softllama.policy import Decision, Moment, Policy
from softllama.vectors.distribution import Distribution

Measure: TypeAlias = Literal["mean", "tail", "lowest", "bottom"]
LOW = "low confidence"  # why a sample was stopped
BOTTOM = 0.1  # of the windows, whose mean is "bottom"
_KEPT = "confidence"  # where a sample's confidences lie in Moment.state
Numbers: TypeAlias = "Sequence[float] | NDArray[np.float64]"


@dataclass(frozen=True, eq=False)
class ConfidentResult(VoteResult):
    """The result of a weighted vote.

    votes: answers and the sums of their weights, winner first. confidences: of each sample. threshold: samples below it do
    not vote. measure: what the confidences are.
    """

    confidences: tuple[float, ...] = ()
    threshold: float = 0.0
    measure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        extra = {"measure": self.measure, "threshold": self.threshold, "confidences": list(self.confidences)}
        return {**super().to_dict(), "kind": "deepconf", **extra}


def deepconf(
    model: Engine,
    prompt: PromptInput,
    *,
    samples: int = 16,
    measure: Measure = "lowest",
    share: float = 0.9,
    window: int = 2048,
    k: int = 20,
    warmup: int = 0,
    extract: str | re.Pattern[str] | Rule = "auto",
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Unpack[GenerationKeywords],
) -> ConfidentResult:
    """Self-consistency whose votes are weighted by confidence, of the samples that are among the most confident.

    A sample's confidence is of all its tokens, forced tags left out: "mean"; "tail", the mean of the last `window`;
    "lowest", the least mean of `window` tokens in a row; "bottom", the mean of the least 10 % of those. Fewer tokens than
    a window are one window. The threshold is the percentile 100 (1 - share) of the confidences; samples below it do not
    vote, and the others count as much as their confidence. Among equals the order is that of `self_consistency`, which
    this is where all confidences are equal.

    warmup > 0 is the online form: so many samples are drawn whole, and give the threshold, by "lowest"; each of the others
    ends as soon as the mean of its last `window` tokens falls below it, and does not vote.

    Fu et al., arXiv 2508.15260: k 20, window 2048, share 0.1 or 0.9, warmup 16. Where their paper differs from their code
    and from this: it also stops drawing where one answer has 95 % of the weight.

    The other arguments are those of softllama.generation.samples.self_consistency. Raises UsageError, and what `stream`
    raises.
    """
    if warmup >= samples > 0:
        raise UsageError(f"a warm-up of {warmup} leaves none of {samples} samples", f"warmup={samples - 1} at most")
    if warmup and measure != "lowest":
        raise UsageError(f"the online form stops at the lowest window, not by {measure}", "measure=lowest, or warmup=0")
    read = rule(extract)  # a wrong rule is an error before the work
    seed, generations = drawing.generations(model, prompt, samples, at_once, n_ctx, options)
    for g in generations:
        g.policy = watched(g.policy, k)
    cost, ended, threshold = Cost(), list[Generation](), None
    parts = [generations[:warmup], generations[warmup:]] if warmup else [generations]
    interrupted = False
    for i, part in enumerate(parts):
        if i:
            threshold = limit([confidence(_of(g), measure, window) for g in ended], share)
            for g in part:
                g.policy = watched(g.policy, k, window, threshold)
        done, interrupted = drawing.run(model, part, at_once, n_ctx, each, cost)
        ended += done
        if interrupted:
            break
    result = _voted(drawing.collected(model, ended, seed, cost), ended, measure, window, share, threshold, read)
    if interrupted:
        raise Interrupted(result.trace, result)
    return result


def watched(policy: Policy, k: int, window: int = 0, threshold: float | None = None) -> Policy:
    """The policy, with the confidence of each token kept in its moment; it stops where a whole window is below the threshold."""

    def decide(d: Distribution, moment: Moment) -> Decision:
        decision = policy(d, moment)
        kept = moment.state.setdefault(_KEPT, [])
        kept.append(token_confidence(d, k))
        if threshold is not None and len(kept) >= window and np.mean(kept[-window:]) < threshold:
            return replace(decision, stop=LOW)
        return decision

    return Policy(
        decide,
        policy.name,
        parameters=policy.parameters,
        arguments=policy.arguments,
        needs_hidden=policy.needs_hidden,
    )


def token_confidence(d: Distribution, k: int = 20) -> float:
    """-1/k Σ ln p of the k likeliest tokens; those of probability 0 are left out."""
    logps = [x for i in d._top_ids(min(k, len(d))).tolist() if (x := d.logp(i)) > -np.inf]
    return -sum(logps) / len(logps)


def confidence(tokens: Numbers, measure: Measure, window: int = 2048) -> float:
    """The confidence of a sample from those of its tokens: see `deepconf`. 0 for no tokens."""
    c = np.asarray(tokens, dtype=np.float64)
    if not len(c):
        return 0.0
    if measure == "mean":
        return float(c.mean())
    if measure == "tail":
        return float(c[-window:].mean())
    means = windows(c, window)
    if measure == "lowest":
        return float(means.min())
    n = max(1, int(BOTTOM * len(means)))
    return float(np.sort(means)[:n].mean())


def windows(tokens: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The means of `window` tokens in a row, one after the other: (n - window + 1,); one of all where there are fewer."""
    n = min(window, len(tokens))
    means: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(tokens, n).mean(axis=1)
    return means


def limit(confidences: Numbers, share: float) -> float:
    """The confidence from which on a share of the samples lies: a percentile, between two of them where needed."""
    return float(np.percentile(np.asarray(confidences, dtype=np.float64), 100 * (1 - share)))


def weighted(answers: Sequence[str | None], weights: Sequence[float], likelihoods: Sequence[float]) -> dict[str, float]:
    """The sum of weights of each answer, winner first; ties as in `vote`. An answer of None does not vote."""
    sums: dict[str, list[float]] = {}
    for a, w, x in zip(answers, weights, likelihoods, strict=True):
        if a is not None:
            total = sums.setdefault(a, [0.0, 0.0])
            total[0] += w
            total[1] += x
    order = sorted(sums, key=lambda a: (-sums[a][0], -sums[a][1]))
    return {a: sums[a][0] for a in order}


def _of(g: Generation) -> list[float]:
    return cast("list[float]", g.moment.state.get(_KEPT, []))


def _voted(
    drawn: Samples,
    ended: Sequence[Generation],
    measure: Measure,
    window: int,
    share: float,
    threshold: float | None,
    read: Rule,
) -> ConfidentResult:
    found = tuple(confidence(_of(g), measure, window) for g in ended)
    limit_ = limit(found, share) if threshold is None else threshold
    answers = tuple(read(t.answer) for t in drawn.traces)
    voting = [
        a if c >= limit_ and g.stop_reason != LOW else None for a, c, g in zip(answers, found, ended, strict=True)
    ]
    votes = weighted(voting, found, drawn.likelihoods)
    best = next(iter(votes), None)
    return ConfidentResult(best, votes, answers, drawn, found, limit_, measure)
