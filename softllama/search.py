"""The baselines that spend more than one pass: beam search, self-consistency, best of n. They say what they cost.

Puts generations, contexts and extraction rules together. Knows no formula of soft decoding: samples may follow any policy.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from softllama import checks, decode, generate, kernels, policy
from softllama.decode import Cost, Generation, Step
from softllama.distribution import Distribution
from softllama.errors import NotFiniteError, UsageError
from softllama.extract import Rule, rule
from softllama.llama.context import Context
from softllama.mixture import Mixture
from softllama.policy import Decision, Moment, Policy
from softllama.trace import Trace

if TYPE_CHECKING:
    from softllama.model import Model

MAX_SAMPLES = 10_000
_NEXT = "beam"  # where a beam's policy finds its token in Moment.state


# ---- beam search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One sequence of a beam search.

    logp: Σ ln p of the tokens that were chosen, an end-of-generation token included, forced tags left out. length: how
    many those are. score: logp / length**length_penalty. finished: did it end by itself (end of generation or a stop
    string), rather than by max_tokens or a full context? trace: its steps, as of any generation.
    """

    trace: Trace
    logp: float
    length: int
    score: float
    finished: bool

    @property
    def tokens(self) -> tuple[int, ...]:
        """Its ids, an end-of-generation token left out."""
        return tuple(s.token for s in self.trace.steps)

    @property
    def text(self) -> str:
        """What it says: see Trace.text."""
        return self.trace.text

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "text": self.text, "answer": self.trace.answer, "tokens": list(self.tokens), "logp": self.logp,
            "length": self.length, "score": self.score, "finished": self.finished, "stop_reason": self.trace.stop_reason,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class BeamResult:
    """What a beam search found. hypotheses: at most `beams`, best first."""

    hypotheses: tuple[Hypothesis, ...]
    beams: int
    length_penalty: float
    cost: Cost

    @property
    def best(self) -> Hypothesis:
        """The one of the highest score."""
        return self.hypotheses[0]

    @property
    def trace(self) -> Trace:
        """The best one's record."""
        return self.best.trace

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": "beam", "beams": self.beams, "length_penalty": self.length_penalty, "text": self.best.text,
            "hypotheses": [h.to_dict() for h in self.hypotheses], "cost": self.cost.to_dict(),
        }  # fmt: skip


@dataclass
class _Beam:
    """A generation, where its memory is, and what comes next."""

    g: Generation
    seq: int
    logp: float = 0.0
    length: int = 0
    next: Distribution | None = None

    def score(self, penalty: float) -> float:
        return float(self.logp / max(1, self.length) ** penalty)


def beam(
    model: Model, prompt: Any, *, beams: int = 4, length_penalty: float = 1.0, n_ctx: int | None = None, **options: Any
) -> BeamResult:
    """Beam search over hard tokens.

    At each step the 2 * beams best next tokens of every live hypothesis compete by score = Σ ln p / length ** length_penalty
    (length_penalty 1: the mean ln p, as in Murray and Chiang, arXiv 1808.10006; 0: the plain sum; the form is that of
    Hugging Face transformers). p is at temperature 1, unfiltered. The best `beams` that go on stay alive; one that ends
    is kept if it ranks among the best `beams` of its step. It stops when there are `beams` finished hypotheses and no
    live one has a better score than the worst of them has (as it stands: a live mean may still rise, which this rule
    ignores, as transformers' default does), or when none is live. Those that max_tokens or the context cut
    off compete with the finished ones.

    With beams=1 it gives greedy's tokens. Tokens in a thinking block are tokens like others; tags that the budget or an
    end of generation inside the block force are fed, and count neither in the sum nor in the length (but the choice of
    ending counts, at the end of generation's ln p).

    options: those of `stream`, without policy, answer, where and seed, since nothing is drawn. n_ctx: positions each
    hypothesis may use. The prompt is evaluated once, and all live hypotheses go through one batch a step; a hypothesis
    that branches has its memory copied, never computed again, in recurrent models too. Ctrl-C keeps what there is.

    Raises UsageError, and what `stream` raises.
    """
    if isinstance(beams, bool) or not isinstance(beams, int) or beams < 1:
        raise UsageError(f"beams must be a whole number of 1 or more, not {beams}")
    if not isinstance(length_penalty, int | float) or not -10 <= length_penalty <= 10:
        raise UsageError(f"length_penalty must be between -10 and 10, not {length_penalty}", "1 is the mean")
    for name in ("policy", "answer", "where", "seed"):
        if options.get(name) is not None:
            raise UsageError(f"beam search has no {name}", "it looks for the likeliest text; leave the option out")
    checks.whole_or_none("n_ctx", n_ctx)
    settings = {"beams": beams, "length_penalty": length_penalty}
    rule = Policy(_follow, "beam", parameters=settings, given=settings)
    first = generate.prepare(model, prompt, generate.options_of({**options, "policy": rule, "seed": 0}))
    cost, began = Cost(), time.perf_counter()
    ended = [_Beam(first, 0)] if first.done else _search(model, first, beams, length_penalty, n_ctx, cost)
    ended.sort(key=lambda b: -b.score(length_penalty))
    hypotheses = []
    for b in ended[:beams]:
        trace = generate.record(model, b.g)
        score = b.score(length_penalty)
        hypotheses.append(Hypothesis(trace, b.logp, b.length, score, _finished(b.g)))
    cost.seconds = time.perf_counter() - began
    return BeamResult(tuple(hypotheses), beams, float(length_penalty), cost)


def _follow(d: Distribution, moment: Moment) -> Decision:
    """The policy of a beam: the token that the search has chosen."""
    token: int = moment.state[_NEXT]
    return Decision(Mixture.one_hot(token), token, "hard")


def _finished(g: Generation) -> bool:
    return g.stop_reason == decode.EOG or g.stop_reason.startswith(decode.STOP_STRING)


def _search(model: Model, first: Generation, beams: int, penalty: float, n_ctx: int | None, cost: Cost) -> list[_Beam]:
    """All that ended, in no order."""
    n_prompt, cells = len(first.prompt), decode.positions(model, [first], n_ctx or model.n_ctx_given)
    context = model.context(n_prompt + beams * (cells - n_prompt), beams)
    ended: list[_Beam] = []
    live = [_Beam(first, 0)]
    try:
        first.started = time.perf_counter()
        live[0].next = _after(model, first, decode.prompt_logits(model, context, 0, first.prompt))
        first.evaluated = n_prompt
        first.prompt_seconds = time.perf_counter() - first.started
        while live:
            children, done = _expand(live, beams, penalty)
            cost.tokens += len(children) + sum(len(b.g.steps) > len(p.g.steps) for p, b in done)
            ended += [b for _, b in done]
            for _, b in children:
                if b.g.position >= cells:
                    b.g.finish("context full")
            ended += [b for _, b in children if b.g.done]
            children = [(p, b) for p, b in children if not b.g.done]
            best = sorted((b.score(penalty) for b in ended if _finished(b.g)), reverse=True)[:beams]
            if len(best) == beams and all(b.score(penalty) <= best[-1] for _, b in children):
                break
            live = _place(context, live, children, beams)
            if live:
                model.fill_rows(context, [b.g.steps[-1].mixture for b in live])
                seqs = [b.seq for b in live]
                logits = context.decode(seqs, [b.g.steps[-1].position for b in live], [True] * len(live))
                for b, row in zip(live, logits, strict=True):
                    b.g.evaluated += 1
                    b.next = _after(model, b.g, row)
    except KeyboardInterrupt:
        for b in live:
            b.g.finish("interrupted")
        ended += live
    finally:
        cost.evaluated, cost.calls = context.evaluated, context.calls
        context.close()
    return ended


def _after(model: Model, g: Generation, logits: Any) -> Distribution:
    try:
        return model.distribution(logits)
    except NotFiniteError as e:
        raise decode.no_numbers(model, g, e) from None


def _expand(
    live: Sequence[_Beam], beams: int, penalty: float
) -> tuple[list[tuple[_Beam, _Beam]], list[tuple[_Beam, _Beam]]]:
    """(parent, child) of the best children that go on, at most `beams`, and of those that ended, by the rule above."""
    ranked: list[tuple[float, int, int, float, int]] = []  # score, parent, its own rank of the token, logp, token
    for i, b in enumerate(live):
        assert b.next is not None
        if b.g.bound:
            ranked.append((b.score(penalty), i, 0, b.logp, -1))
            continue
        for rank, token in enumerate(kernels.top(b.next.logits, 2 * beams).tolist()):
            logp = b.logp + b.next.logp(token)
            ranked.append((logp / (b.length + 1) ** penalty, i, rank, logp, token))
    ranked.sort(key=lambda r: (-r[0], r[1], r[2]))
    going: list[tuple[_Beam, _Beam]] = []
    ended: list[tuple[_Beam, _Beam]] = []
    seen: set[tuple[int, int]] = set()
    for rank, (_, i, _, logp, token) in enumerate(ranked):
        if len(going) == beams:
            break
        parent = live[i]
        child = _Beam(parent.g.fork(), parent.seq, logp, parent.length + (token >= 0))
        child.g.moment.state[_NEXT] = token
        assert parent.next is not None
        step = child.g.advance(parent.next)
        if step is not None:
            # an end of generation that closes the thinking block, and the closing tag itself, are one hypothesis
            if (i, step.token) in seen:
                continue
            seen.add((i, step.token))
        if _finished(child.g):
            if rank < beams:
                ended.append((parent, child))
        else:
            going.append((parent, child))
    return going, ended


def _place(
    context: Context, parents: Sequence[_Beam], children: Sequence[tuple[_Beam, _Beam]], beams: int
) -> list[_Beam]:
    """Give every child a sequence that holds its parent's memory: its parent's own for the first, a copy for others."""
    taken: set[int] = set()
    extra: list[_Beam] = []
    for _, child in children:
        if child.seq in taken:
            extra.append(child)
        taken.add(child.seq)
    for b in parents:
        if b.seq not in taken:
            context.cut(b.seq, 0)
    free = [s for s in range(beams) if s not in taken]
    for child in extra:
        target = free.pop()
        context.copy(child.seq, target)
        child.seq = target
    return [b for _, b in children]


# ---- samples -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Samples:
    """Generations of one prompt that differ in their seeds. likelihoods: the mean ln p of each one's answer, see `likelihood`."""

    traces: tuple[Trace, ...]
    likelihoods: tuple[float, ...]
    seed: int
    cost: Cost


@dataclass(frozen=True, eq=False)
class VoteResult:
    """What self-consistency found.

    answer: the one that most samples gave; None if none gave any. votes: answers and how many gave them, winner first.
    answers: of each sample, None where the rule found none. trace: of the samples that gave the answer, the likeliest
    (of all of them, if there is no answer).
    """

    answer: str | None
    votes: dict[str, int]
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
    """What best of n found. index: which sample it is. score: its answer's mean ln p."""

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
    model: Model,
    prompt: Any,
    *,
    samples: int = 16,
    extract: str | re.Pattern[str] | Rule = "auto",
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Any,
) -> VoteResult:
    """Self-consistency: sample several chains of thought, and take the answer that most of them end in.

    Wang et al., arXiv 2203.11171. extract: how an answer is read, a rule, regular expression or function of
    softllama.extract; it reads Trace.answer. Samples without an answer do not vote. A tie goes to the answer whose votes
    have the higher sum of `likelihood`, then to the one that was seen first.

    The other arguments are those of `sample`.
    """
    find = rule(extract)  # a wrong rule is told before the work
    return vote(sample(model, prompt, samples, at_once=at_once, n_ctx=n_ctx, each=each, **options), find)


def vote(samples: Samples, extract: str | re.Pattern[str] | Rule = "auto") -> VoteResult:
    """The majority over samples that exist: see `self_consistency`."""
    find = rule(extract)
    answers = tuple(find(t.answer) for t in samples.traces)
    counts = Counter(a for a in answers if a is not None)  # in the order first seen
    sums = dict.fromkeys(counts, 0.0)
    for a, x in zip(answers, samples.likelihoods, strict=True):
        if a is not None:
            sums[a] += x
    order = sorted(counts, key=lambda a: (-counts[a], -sums[a]))
    return VoteResult(order[0] if order else None, {a: counts[a] for a in order}, answers, samples)


def best_of(
    model: Model,
    prompt: Any,
    *,
    n: int = 8,
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Any,
) -> BestResult:
    """Best of n: the sample of the highest `likelihood`; the first among equals. The arguments are those of `sample`."""
    drawn = sample(model, prompt, n, at_once=at_once, n_ctx=n_ctx, each=each, **options)
    return BestResult(_likeliest(drawn, [True] * len(drawn.traces)), drawn)


def sample(
    model: Model,
    prompt: Any,
    n: int,
    *,
    at_once: int = 8,
    n_ctx: int | None = None,
    each: Each | None = None,
    **options: Any,
) -> Samples:
    """n generations of one prompt, which is evaluated once, `at_once` side by side in one batch.

    options: those of `stream`. policy: temperature 0.7 with top-k 40 if None, one of the settings of Wang et al. (arXiv
    2203.11171). seed: the seeds of the samples come from it (`seeds`); drawn if None, and in the result. each: sees the
    number of the sample and the step, as they come. at_once changes speed, and the last bits of the logits: with another
    at_once the draws are the same, but a token at the very edge of one may fall differently.

    Ctrl-C keeps the samples that had ended, or what there is if none had. Raises UsageError, and what `stream` raises.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SAMPLES:
        raise UsageError(f"the number of samples must be between 1 and {MAX_SAMPLES:,}, not {n}")
    if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
        raise UsageError(f"at_once must be a whole number of 1 or more, not {at_once}")
    checks.whole_or_none("n_ctx", n_ctx)
    seed = checks.whole_or_none("seed", options.pop("seed", None))
    seed = secrets.randbits(32) if seed is None else seed
    if options.get("policy") is None:
        options["policy"] = policy.sample(temperature=0.7, top_k=40)
    made = [
        generate.prepare(model, prompt, generate.options_of({**options, "seed": s}), label=i)
        for i, s in enumerate(seeds(seed, n))
    ]
    cost = Cost()
    try:
        steps = decode.run(model, made, at_once=at_once, n_ctx=n_ctx or model.n_ctx_given, cost=cost)
        with closing(steps):
            for g, step in steps:
                if each is not None:
                    each(int(str(g.label)), step)
    except KeyboardInterrupt:
        made[0].finish("interrupted")
    ended = [g for g in made if g.done]
    whole = [g for g in ended if g.stop_reason != "interrupted"]
    traces = tuple(generate.record(model, g) for g in whole or ended)
    return Samples(traces, tuple(map(likelihood, traces)), seed, cost)


def seeds(seed: int, n: int) -> list[int]:
    """n seeds from one: the top 53 bits of the first word of numpy's SeedSequence(seed).spawn(n)[i].

    The i-th does not depend on n. 53 bits, so that every reader of JSON keeps them.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {seed}")
    return [int(s.generate_state(1, np.uint64)[0]) >> 11 for s in np.random.SeedSequence(int(seed)).spawn(n)]


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
