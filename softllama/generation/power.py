"""Power sampling: texts drawn from p^alpha, the model's own distribution over whole texts, sharpened (arXiv 2510.14901).

A low temperature sharpens each token by itself; p^alpha sharpens the text as a whole. It is drawn by Metropolis-Hastings. The text
grows block by block. After each block, `moves` times: a place in it is drawn, what follows is sampled again at temperature
1/alpha, and the new end takes the old one's place with the probability min(1, r),

    ln r = alpha (ln p(new) - ln p(old)) - (ln q(new) - ln q(old)) + ln n_old - ln n_new,

ln p at temperature 1, q the proposal, both over the replaced end; n: tokens of the text, as the place is one of them (0 where both
are of one length). alpha = 1: q is p, and what is drawn is an ordinary sample; moves = 0: sampling at temperature 1/alpha.

Knows contexts and generations. Does not know other policies than its proposal.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from softllama.base import arguments
from softllama.engine.engine import Engine, Item
from softllama.errors import NotFiniteError, UsageError
from softllama.generation.cost import Cost
from softllama.generation.feed import not_finite, positions
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.generation.run import Interrupted, record
from softllama.generation.state import Generation
from softllama.llama.context import Context
from softllama.policy import Decision, Moment, Policy, sample
from softllama.trace.record import Trace
from softllama.trace.step import StopReason
from softllama.vectors.distribution import Distribution

_DRAWN = "power"  # where the proposal leaves ln p and ln q of its token in Moment.state


@dataclass(frozen=True, eq=False)
class PowerResult:
    """The result of power sampling.

    Attributes:
        trace: the text that was left at the end.
        alpha: the power.
        logp: ln p of the text's tokens at temperature 1, the end of generation included.
        moves, accepted: how many ends were proposed, and how many took the old one's place.
    """

    trace: Trace
    alpha: float
    logp: float
    moves: int
    accepted: int
    cost: Cost

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say of it, a line each."""
        return (f"ln p {self.logp:.2f}; {self.accepted} of {self.moves} proposals were accepted",)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": "power", "text": self.trace.text, "answer": self.trace.answer, "alpha": self.alpha, "logp": self.logp,
            "moves": self.moves, "accepted": self.accepted, "seed": self.trace.seed, "cost": self.cost.to_dict(),
        }  # fmt: skip


@dataclass
class _Place:
    """A position of the text: the generation before it, and ln p and ln q of what was drawn there (0 where it was forced)."""

    before: Generation
    logp: float
    logq: float


@dataclass
class _Text:
    """A text of the chain. seq: the sequence that holds it."""

    g: Generation
    seq: int
    places: list[_Place] = field(default_factory=list)

    def sums(self, start: int) -> tuple[float, float]:
        """Σ ln p and Σ ln q from a place on."""
        return math.fsum(x.logp for x in self.places[start:]), math.fsum(x.logq for x in self.places[start:])


def power(
    model: Engine,
    prompt: PromptInput,
    *,
    alpha: float = 4.0,
    blocks: int = 16,
    moves: int = 10,
    n_ctx: int | None = None,
    **options: Unpack[GenerationKeywords],
) -> PowerResult:
    """Draw a text from p^alpha, approximately: see this module's docstring.

    Karan and Du, arXiv 2510.14901: alpha 4, 10 moves after each of 16 blocks of max_tokens. Where their code differs: it keeps
    no account of the number of places, cuts proposals to the length of the old text, and stops growing only after a block's moves.
    The costs are about blocks * moves / 2 times those of a sample of full length.

    Args:
        alpha: the power; 1 or more.
        blocks: the text grows in so many steps.
        moves: proposals after each of them.
        n_ctx: positions that the text may use.
        options: those of `stream`, without policy, answer and where. Closing tags that a budget forces have p = q = 1.

    Raises:
        Interrupted: Ctrl-C; its `result` has what there is.
        UsageError, and what `stream` raises.
    """
    arguments.number("alpha", alpha, 1, 100)
    arguments.integer("blocks", blocks, 1, 10_000)
    arguments.integer("moves", moves, 0, 10_000)
    arguments.integer_or_none("n_ctx", n_ctx)
    for name in ("policy", "answer", "where"):
        if options.get(name) is not None:
            raise UsageError(f"power sampling has no {name}", "it samples at temperature 1/alpha; leave the option out")
    settings = {"alpha": alpha, "blocks": blocks, "moves": moves}
    rule = Policy(_proposal(alpha), "power", parameters=settings, arguments=settings)
    first = prepare(model, prompt, GenerationOptions.of({**options, "policy": rule}))
    chain = _Chain(model, first, alpha, positions(model, [first], n_ctx or model.n_ctx_given))
    began, interrupted = time.perf_counter(), False
    try:
        chain.run(blocks, moves)
    except KeyboardInterrupt:
        interrupted = True
        chain.text.g.finish(StopReason.INTERRUPTED)
    except NotFiniteError as e:
        raise not_finite(chain.text.g, e) from None
    finally:
        chain.close()
    text = chain.text
    cost = Cost(chain.tokens, chain.context.evaluated, chain.context.calls, time.perf_counter() - began)
    trace = record(model, text.g)
    result = PowerResult(trace, alpha, text.sums(0)[0], chain.moves, chain.accepted, cost)
    if interrupted:
        raise Interrupted(trace, result)
    return result


def log_ratio(old: tuple[float, float, int], new: tuple[float, float, int], alpha: float) -> float:
    """ln r of a move. old, new: Σ ln p and Σ ln q of the replaced end, and the tokens of the whole text."""
    return alpha * (new[0] - old[0]) - (new[1] - old[1]) + math.log(old[2]) - math.log(new[2])


def _proposal(alpha: float) -> Any:
    """The rule that draws at temperature 1/alpha, and leaves ln p and ln q of its token."""
    draw, temperature = sample(temperature=1 / alpha), 1 / alpha

    def rule(d: Distribution, moment: Moment) -> Decision:
        decision = draw(d, moment)
        x = (d._z[decision.token] - d._z[d.argmax]) / temperature
        moment.state[_DRAWN] = d.logp(decision.token), x - math.log(d._sums(temperature)[0])
        return decision

    return rule


class _Chain:
    """The text as it stands, and a context with a sequence for it and one for the proposal."""

    def __init__(self, model: Engine, first: Generation, alpha: float, cells: int) -> None:
        self._model, self._alpha, self._cells = model, alpha, cells
        first.capacity = cells
        n_prompt = len(first.prompt)
        self.context: Context = model.new_context(n_prompt + 2 * (cells - n_prompt), 2)
        self.text = _Text(first, 0)
        self.tokens = self.moves = self.accepted = 0
        self._rng = np.random.default_rng((first.seed, 0x9053))  # places and acceptances, apart from the tokens

    def run(self, blocks: int, moves: int) -> None:
        """Grow the text block by block, with moves after each."""
        n_prompt, most = len(self.text.g.prompt), self.text.g.options.max_tokens
        room = self._cells - n_prompt
        limit = room if most is None else min(most, room)
        if limit < 1 or self.text.g.done:
            return
        self._extend(self.text, self._feed(self.text.g.prompt, 0, 0), math.ceil(limit / blocks))
        for block in range(1, blocks + 1):
            until = min(limit, math.ceil(limit * block / blocks))
            if block > 1 and not self.text.g.done:
                self._extend(self.text, self._after(self.text.g, self.text.seq), until)
            for _ in range(moves):
                self._move(until)
            if self.text.g.done or until >= limit:
                break
        self.text.g.finish(StopReason.CONTEXT_FULL)  # unless it has ended

    def _extend(self, text: _Text, d: Distribution, until: int) -> None:
        """Take steps until the generation ends or has so many. d: the distribution after what the sequence holds."""
        g = text.g
        while not g.done and g.n_steps < until:
            before = g.fork()
            step = g.advance(d)
            logp, logq = g.moment.state.pop(_DRAWN, (0.0, 0.0))
            text.places.append(_Place(before, logp, logq))
            if step is None:
                return
            self.tokens += 1
            if not g.done and g.n_steps < until:
                d = self._feed([step.mixture], text.seq, step.position)

    def _move(self, until: int) -> None:
        """Propose another end, and take it or leave it."""
        old = self.text
        start = int(self._rng.integers(len(old.places)))
        g = old.places[start].before.fork()
        new = _Text(g, 1 - old.seq, old.places[:start])
        self._copy(old.seq, new.seq, g.position - 1)
        self._extend(new, self._after(g, new.seq), until)
        self.moves += 1
        a, b = ((*t.sums(start), len(t.places)) for t in (old, new))
        if math.log(1 - self._rng.random()) < log_ratio(a, b, self._alpha):
            self.accepted += 1
            self.text = new
            g.evaluated = 0
        self.context.cut(1 - self.text.seq, 0)

    def _copy(self, seq: int, to: int, n: int) -> None:
        """Make a sequence hold the first n positions of another."""
        self.context.cut(to, 0)
        self.context.copy(seq, to)
        if not self.context.cut(to, n):
            self.context.cut(to, 0)  # a recurrent model's state cannot go back: all is read again

    def _after(self, g: Generation, seq: int) -> Distribution:
        """The distribution after all that was fed to a generation, whose last position is read again, or all of it."""
        items: list[Item] = [*g.prompt, *(s.mixture for s in g.steps)]
        start = self.context.length(seq)
        if start > len(items) - 1:
            if not self.context.cut(seq, len(items) - 1):
                self.context.cut(seq, 0)
            start = self.context.length(seq)
        return self._feed(items[start:], seq, start)

    def _feed(self, items: Sequence[Item], seq: int, start: int) -> Distribution:
        (d,) = self._model.distributions(self._model.feed(self.context, seq, items, start))
        return d

    def close(self) -> None:
        """Free the memory."""
        self.context.close()
