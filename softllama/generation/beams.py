"""Beam search over hard tokens: hypotheses side by side in one context. Draws nothing and knows no policy but its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.generation.cost import Cost
from softllama.generation.feed import after_prompt, positions
from softllama.generation.loop import Loop
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.generation.run import Interrupted, record
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.policy import Decision, Moment, Policy
from softllama.trace.record import Trace
from softllama.trace.step import StopReason
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

_NEXT = "beam"  # where a beam's policy finds its token in Moment.state


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
    """The result of a beam search. hypotheses: at most `beams`, best first."""

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
    """A generation, and the sequence that holds what was fed."""

    g: Generation
    seq: int
    logp: float = 0.0
    length: int = 0

    def score(self, penalty: float) -> float:
        return float(self.logp / max(1, self.length) ** penalty)


def beam(
    model: Engine,
    prompt: PromptInput,
    *,
    beams: int = 4,
    length_penalty: float = 1.0,
    n_ctx: int | None = None,
    **options: Unpack[GenerationKeywords],
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
    that branches has its memory copied, never computed again, in recurrent models too. Ctrl-C raises Interrupted, whose
    `result` has what there is.

    Raises UsageError, and what `stream` raises.
    """
    if isinstance(beams, bool) or not isinstance(beams, int) or beams < 1:
        raise UsageError(f"beams must be a whole number of 1 or more, not {beams}")
    if not isinstance(length_penalty, int | float) or not -10 <= length_penalty <= 10:
        raise UsageError(f"length_penalty must be between -10 and 10, not {length_penalty}", "1 is the mean")
    for name in ("policy", "answer", "where", "seed"):
        if options.get(name) is not None:
            raise UsageError(f"beam search has no {name}", "it looks for the likeliest text; leave the option out")
    arguments.integer_or_none("n_ctx", n_ctx)
    settings = {"beams": beams, "length_penalty": length_penalty}
    rule = Policy(_follow, "beam", parameters=settings, arguments=settings)
    first = prepare(model, prompt, GenerationOptions.of({**options, "policy": rule, "seed": 0}))
    cost, began = Cost(), time.perf_counter()
    ended = [_Beam(first, 0)] if first.done else _search(model, first, beams, length_penalty, n_ctx, cost)
    ended.sort(key=lambda b: -b.score(length_penalty))
    hypotheses = []
    for b in ended[:beams]:
        trace = record(model, b.g)
        score = b.score(length_penalty)
        hypotheses.append(Hypothesis(trace, b.logp, b.length, score, _finished(b.g)))
    cost.seconds = time.perf_counter() - began
    result = BeamResult(tuple(hypotheses), beams, float(length_penalty), cost)
    if any(b.g.stop_reason == StopReason.INTERRUPTED for b in ended):
        raise Interrupted(result.trace, result)
    return result


def _follow(d: Distribution, moment: Moment) -> Decision:
    """The policy of a beam: the token that the search has chosen."""
    token: int = moment.state[_NEXT]
    return Decision(Mixture.one_hot(token), token, "hard")


def _finished(g: Generation) -> bool:
    return g.stop_reason in (StopReason.END_OF_GENERATION, StopReason.STOP_STRING)


def _search(model: Engine, first: Generation, beams: int, penalty: float, n_ctx: int | None, cost: Cost) -> list[_Beam]:
    """All that ended, in no order."""
    n_prompt, cells = len(first.prompt), positions(model, [first], n_ctx or model.n_ctx_given)
    context = model.new_context(n_prompt + beams * (cells - n_prompt), beams)
    loop = Loop(model, context, limit=cells)
    ended: list[_Beam] = []
    live = [_Beam(first, 0)]
    try:
        first.started = time.perf_counter()
        loop.join(first, 0, after_prompt(first, context, model.feed(context, 0, first.prompt, 0), hidden=False))
        first.evaluated = n_prompt
        first.prompt_seconds = time.perf_counter() - first.started
        while live:
            children, done = _expand(live, loop, beams, penalty)
            cost.tokens += len(children) + sum(len(b.g.steps) > len(p.g.steps) for p, b in done)
            ended += [b for _, b in done]
            for _, b in children:
                if b.g.position >= cells:
                    b.g.finish(StopReason.CONTEXT_FULL)
            ended += [b for _, b in children if b.g.done]
            children = [(p, b) for p, b in children if not b.g.done]
            best = sorted((b.score(penalty) for b in ended if _finished(b.g)), reverse=True)[:beams]
            if len(best) == beams and all(b.score(penalty) <= best[-1] for _, b in children):
                break
            live = _settle(context, live, children, beams)
            if live:
                loop.replace({b.seq: (b.g, b.g.steps[-1]) for b in live})
                loop.feed()
    except KeyboardInterrupt:
        for b in live:
            b.g.finish(StopReason.INTERRUPTED)
        ended += live
    finally:
        cost.evaluated, cost.calls = context.evaluated, context.calls
        context.close()
    return ended


def _expand(
    live: Sequence[_Beam], loop: Loop, beams: int, penalty: float
) -> tuple[list[tuple[_Beam, _Beam]], list[tuple[_Beam, _Beam]]]:
    """(parent, child) of the best children that go on, at most `beams`, and of those that ended, by the rule above."""
    ranked: list[tuple[float, int, int, float, int]] = []  # score, parent, its own rank of the token, logp, token
    for i, b in enumerate(live):
        d = loop.distribution(b.seq)
        if b.g.bound:
            ranked.append((b.score(penalty), i, 0, b.logp, -1))
            continue
        for rank, token in enumerate(d._top_ids(2 * beams).tolist()):
            logp = b.logp + d.logp(token)
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
        step = child.g.advance(loop.distribution(parent.seq))
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


def _settle(
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
