"""Superposed Decoding: k drafts from one pass a step, whose input is a mixture of their last tokens (arXiv 2405.18400).

At each step p = softmax(z/T), kept to the 3k likeliest tokens and renormalised. A draft scores a token by ln p. With n-grams
it scores it by (1 - alpha) ln p + alpha ln p_n(token | draft), and tokens that no n-gram knows are out; where its n-grams know
none of them, it scores all by (1 - alpha) ln p - 200. The k best of all (draft, token) go on, by the sums of their scores s; one
that ends is kept. What is fed is sum_d w_d E[token_d], w = softmax(s). The first step has one draft. Without n-grams every draft
sees the same p, so that they differ only in how they combine its tokens.

Knows contexts and generations. Does not know policies but its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments, files
from softllama.engine.engine import Engine
from softllama.errors import NotFiniteError, UsageError
from softllama.generation.cost import Cost
from softllama.generation.feed import after_prompt, not_finite, positions
from softllama.generation.ngrams import NGrams
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.generation.run import Interrupted, record
from softllama.generation.state import Generation
from softllama.policy import Decision, Moment, Policy
from softllama.trace.record import Trace
from softllama.trace.step import StopReason
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

TOKENS = 3  # likeliest tokens that are looked at, for each draft
PENALTY = 200.0  # of a draft whose n-grams know none of them
_NEXT = "superposed"  # where a draft's policy finds its token and the mixture in Moment.state


@dataclass(frozen=True, eq=False)
class Draft:
    """One of the drafts. score: the sum of its tokens' scores, for each token. finished: did it end by itself?"""

    trace: Trace
    score: float
    finished: bool

    @property
    def text(self) -> str:
        """What it says: see Trace.text."""
        return self.trace.text


@dataclass(frozen=True, eq=False)
class SuperposedResult:
    """The result of superposed decoding. hypotheses: the drafts, best first: by the mean score of their tokens."""

    hypotheses: tuple[Draft, ...]
    cost: Cost

    @property
    def trace(self) -> Trace:
        """The best one's record. Its mixtures are what all drafts were fed."""
        return self.hypotheses[0].trace

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        drafts = [
            {"text": d.text, "answer": d.trace.answer, "score": d.score, "finished": d.finished}
            for d in self.hypotheses
        ]
        return {"kind": "superposed", "text": self.trace.text, "drafts": drafts, "cost": self.cost.to_dict()}


@dataclass
class _Draft:
    g: Generation
    ids: list[int]  # the prompt's and its own, for n-grams
    total: float = 0.0

    @property
    def score(self) -> float:
        return self.total / max(1, self.g.n_steps + (self.g.stop_reason == StopReason.END_OF_GENERATION))


def superposed(
    model: Engine,
    prompt: PromptInput,
    *,
    drafts: int = 3,
    temperature: float = 0.06,
    alpha: float = 0.54,
    corpus: str | NGrams | None = None,
    n_ctx: int | None = None,
    **options: Unpack[GenerationKeywords],
) -> SuperposedResult:
    """k drafts at the cost of one pass a step: see this module's docstring. One draft without n-grams is greedy.

    Shen et al., arXiv 2405.18400: 3 drafts, temperature 0.06, alpha 0.54, n-grams of 2 to 6 tokens counted in 200,000 documents.
    Their code goes on for a set number of tokens; this stops where k drafts have ended and none that goes on is better.

    Args:
        drafts: k.
        temperature: of p; above 0.
        alpha: the n-grams' share, with a corpus.
        corpus: a text file to count n-grams in, or NGrams; None for none.
        n_ctx: positions that a draft may use.
        options: those of `stream`, without policy, answer, where and seed, since nothing is drawn. Without a thinking block.

    Raises:
        Interrupted: Ctrl-C; its `result` has what there is.
        UsageError, and what `stream` raises.
    """
    arguments.integer("drafts", drafts, 1, 1000)
    arguments.number("alpha", alpha, 0, 1)
    if not arguments.number("temperature", temperature, 0, 1e6) >= 1e-6:
        raise UsageError(f"temperature must be above 0, not {temperature}", "0.06 is the authors'")
    for name in ("policy", "answer", "where", "seed"):
        if options.get(name) is not None:
            raise UsageError(f"superposed decoding has no {name}", "leave the option out")
    arguments.integer_or_none("n_ctx", n_ctx)
    settings = {"drafts": drafts, "temperature": temperature, "alpha": alpha}
    rule = Policy(_follow, "superposed", parameters=settings, arguments=settings)
    options.setdefault("think", "off")
    first = prepare(model, prompt, GenerationOptions.of({**options, "policy": rule, "seed": 0}))
    if first.thinking:
        raise UsageError("drafts are of an answer, and the prompt opens a thinking block", "--think off")
    grams = _counted(model, corpus) if isinstance(corpus, str) else corpus
    return _run(model, replace(first, tags=None), drafts, _Rule(drafts, temperature, alpha, grams), n_ctx)


def scores(
    logp: NDArray[np.float64], ids: Sequence[int], before: Sequence[int], alpha: float, grams: NGrams | None
) -> NDArray[np.float64]:
    """What a draft scores each token by, (k,): -inf for those that are out.

    Args:
        logp: ln p of the tokens, (k,), whose sum of p is 1.
        ids: the tokens, (k,).
        before: the draft's ids, the prompt's included.
    """
    if grams is None:
        return logp
    known = np.array([grams.score(before, i) for i in ids])
    if not known.any():
        return (1 - alpha) * logp - PENALTY
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = (1 - alpha) * logp + alpha * np.log(known) if alpha else logp
    return found


def weights_of(totals: Sequence[float]) -> NDArray[np.float64]:
    """The drafts' shares of the input, (k,): softmax of the sums of their scores."""
    s = np.asarray(totals, dtype=np.float64)
    w: NDArray[np.float64] = np.exp(s - s.max())
    w /= w.sum()
    return w


@dataclass(frozen=True)
class _Rule:
    drafts: int
    temperature: float
    alpha: float
    grams: NGrams | None

    def best(self, live: Sequence[_Draft], d: Distribution) -> list[tuple[float, int, int]]:
        """(sum of scores, draft, token) of the best 2k, best first; the earlier draft, then the likelier token among equals."""
        ids = d._top_ids(min(TOKENS * self.drafts, len(d)))
        logp = d.logits[ids].astype(np.float64) / self.temperature
        logp -= logp.max()
        logp -= math.log(np.exp(logp).sum())
        found = [
            (x.total + s, i, int(token))
            for i, x in enumerate(live)
            for s, token in zip(scores(logp, ids.tolist(), x.ids, self.alpha, self.grams), ids, strict=True)
            if s > -math.inf
        ]
        return sorted(found, key=lambda r: -r[0])[: 2 * self.drafts]


def _follow(d: Distribution, moment: Moment) -> Decision:
    """The policy of a draft: its token, and the mixture that all drafts are fed."""
    token, mixture = moment.state[_NEXT]
    return Decision(mixture, token, "soft")


def _counted(model: Engine, path: str) -> NGrams:
    text = files.read_text(path, "corpus", "corpus=FILE names a text file")
    return NGrams(model.tokenize(text))


def _run(model: Engine, first: Generation, drafts: int, rule: _Rule, n_ctx: int | None) -> SuperposedResult:
    began, cost = time.perf_counter(), Cost()
    cells = positions(model, [first], n_ctx or model.n_ctx_given)
    context = model.new_context(cells)
    ids = [i.argmax if isinstance(i, Mixture) else i if isinstance(i, int) else -1 for i in first.prompt]
    live, ended, interrupted = [_Draft(first, ids)], list[_Draft](), False
    try:
        d = after_prompt(first, context, model.feed(context, 0, first.prompt, 0), hidden=False).distribution
        first.evaluated = len(first.prompt)
        while live and not first.done:
            live, mixture, done = _expand(live, d, rule.best(live, d), drafts)
            cost.tokens += len(live)
            ended = sorted([*ended, *done], key=lambda x: -x.score)[:drafts]
            position = live[0].g.position if live else 0
            if not live or (len(ended) == drafts and max(x.score for x in live) <= ended[-1].score):
                break
            if live[0].g.done or position >= cells:
                break
            (d,) = model.distributions(model.feed(context, 0, [mixture], position - 1))
    except NotFiniteError as e:
        raise not_finite(live[0].g, e) from None
    except KeyboardInterrupt:
        interrupted = True
    finally:
        cost.evaluated, cost.calls = context.evaluated, context.calls
        context.close()
    for x in live:
        x.g.finish(StopReason.INTERRUPTED if interrupted else StopReason.CONTEXT_FULL)
    cost.seconds = time.perf_counter() - began
    everything = sorted([*ended, *live], key=lambda x: -x.score)[:drafts]
    by_itself = (StopReason.END_OF_GENERATION, StopReason.STOP_STRING)
    made = tuple(Draft(record(model, x.g), x.score, x.g.stop_reason in by_itself) for x in everything)
    result = SuperposedResult(made, cost)
    if interrupted:
        raise Interrupted(result.trace, result)
    return result


def _expand(
    live: Sequence[_Draft], d: Distribution, best: Sequence[tuple[float, int, int]], drafts: int
) -> tuple[list[_Draft], Mixture, list[_Draft]]:
    """The drafts that go on, what they are all fed, and those that ended."""
    model = live[0].g.model
    going = [r for r in best if not model.is_eog(r[2])][:drafts]
    ending = [r for r in best if model.is_eog(r[2])]
    if going:
        w = weights_of([r[0] for r in going])
        ids, at = np.unique([r[2] for r in going], return_inverse=True)
        mixture = Mixture(ids, np.bincount(at, weights=w))
    else:
        mixture = Mixture.one_hot(ending[0][2])
    made = []
    for total, i, token in [*going, *ending]:
        g = live[i].g.fork()
        g.moment.state[_NEXT] = (token, mixture)
        g.advance(d)
        made.append(_Draft(g, [*live[i].ids, token], total))
    last = [x for x in made if not x.g.done or x.g.stop_reason == StopReason.MAX_TOKENS]
    return last, mixture, [x for x in made if x not in last]
