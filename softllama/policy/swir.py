"""SwiReasoning (Shi et al., arXiv 2510.05069): blocks of soft and hard steps, switched by the trend of the entropy.

p = softmax(z) at temperature 1 gives both the entropy H and the mixture. y, drawn with temperature, top_k, top_p and min_p,
is the readout of every step. The sequence starts soft, and its first H is the reference Href. At each later step, soft
becomes hard if H < Href, and hard becomes soft if H > Href and the block has lasted `window` positions; Href is then H. A
sampled closing tag locks the hard mode for good, and so does the loop where it closes the block (a budget, the end of
generation); a tag that this policy forces does not.

What is fed: hard E[y]; soft pE; first step 0.9 pE + 0.1 E[newline]; entering soft a pE + (1-a) E[<think>]; entering hard
b pE + (1-b) E[</think>], with a = a0 + (1 - a0) t/t_max, t = moment.step, and b likewise (t_max unknown: a0 and b0). With
math="hard", a soft step feeds E[y] where y is a digit, a letter or a mathematics symbol (the moment's `hard_only` ids).

max_switches m (0: no limit; the paper's C_max is 2m) limits the switches C from soft to hard: for m <= C <= 2m each one
forces the closing tag, and for C > 2m the closing tag, a blank line and "The final answer is", after which the sequence is hard
and stops after answer_tokens more.

The paper's settings: a0 1 (0.1-1 by task), b0 0.7, window 512, T 0.6, top-k 20, top-p 0.95, m 2 in chat and none in
evaluation, 32 answer tokens. Independent re-runs: a0 0.5 closes thinking too early, 1.0 is neutral. Where the authors' code
differs: it goes on switching unseen after a sampled closing tag; its answer tokens include the forced ones and the switch; it
looks up a backslash and an n for the newline, as two characters; it forces blank lines around the tag of models that are not
Qwen's. Ours: epsilon, as in `full` (0: exactly the whole vector); a model without a newline token, or without tags of one token
each, is fed what the mode feeds without them.

Knows the state machine. Does not know tags: the moment has their ids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from softllama.policy import filters
from softllama.policy.base import Decision, Moment, Policy, Rule, Where, hard
from softllama.policy.discrete import sample
from softllama.policy.registry import policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.whole import WholeVector


@dataclass
class State:
    """What SwiReasoning remembers of one sequence, in `moment.state["swir"]`."""

    reference: float  # the entropy when this block began
    soft: bool = True
    stay: int = 0  # positions since this block began
    locked: bool = False
    switches: int = 0  # from soft to hard
    left: int = 0  # tokens left to answer with, once the limit on switches has passed; 0: not yet

    def move(self, h: float, closed: bool, window: int) -> str:
        """One step of the state machine: "hard" or "soft" if this step enters that mode, otherwise ""."""
        self.stay += 1
        if closed:
            self.locked, self.soft = True, False
        if self.locked:
            return ""
        if self.soft and h < self.reference:
            entered = "hard"
            self.switches += 1
        elif not self.soft and h > self.reference and self.stay >= window:
            entered = "soft"
        else:
            return ""
        self.soft, self.stay, self.reference = entered == "soft", 0, h
        return entered


def _answer() -> Policy:
    return sample(temperature=0.6, top_k=20, top_p=0.95)


@policy(answer=_answer)
def swir(
    a0: float = 1.0,
    b0: float = 0.7,
    window: int = 512,
    max_switches: int = 0,
    answer_tokens: int = 32,
    temperature: float = 0.6,
    top_k: int = 20,
    top_p: float = 0.95,
    min_p: float = 0.0,
    math: Literal["hard", "soft"] = "hard",
    epsilon: float = 1e-6,
    where: Where = "everywhere",
    answer: Rule | None = None,
) -> Rule:
    """SwiReasoning: the whole vector while the entropy rises, single tokens while it falls.

    Shi et al., arXiv 2510.05069; the formulas are in this module's docstring. With `where="thinking"` the answer is sampled
    with the same defaults, unless `answer` is given.

    Args:
        a0: share of the distribution in the first step of a soft block; it goes to 1 during the generation.
        b0: share of the distribution in the first step of a hard block; it goes to 1 during the generation.
        window: positions that a hard block lasts at least.
        max_switches: limit of the switches from soft to hard; 0 for none.
        answer_tokens: tokens that the answer may have after the last switch.
        temperature, top_k, top_p, min_p: filters that the readout is drawn with, as in `sample`.
        math: "hard" feeds digits, letters and mathematics symbols as single tokens, as the authors do; "soft" mixes there, too.
        epsilon: probability mass that may be left out of the whole vector.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block.

    Raises:
        UsageError: a setting is out of range.
    """
    shares = _Shares(a0, b0)

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        h = distribution.entropy()
        y = filters.support(distribution, temperature, top_k, top_p, min_p).draw(moment.rng)
        closed = moment.closed or moment.closes(y)
        state = moment.state.get("swir")
        if first := not isinstance(state, State):
            state = moment.state["swir"] = State(h, soft=not closed, locked=closed)
        if state.left:
            state.left -= 1
            return replace(hard(y, "answering"), stop="" if state.left else _STOP)
        entered = "" if first else state.move(h, closed, window)
        if entered == "hard":
            forced = _forced(state, moment, max_switches, answer_tokens)
            return _enter_hard(distribution, moment, y, state.switches, forced, epsilon, shares)
        if not state.soft:
            return hard(y, "closing tag" if moment.closes(y) else "hard block")
        if math == "hard" and y in moment.hard_only:
            return hard(y, "kept discrete")
        whole = WholeVector(1.0, epsilon, *_beside(moment, shares, first=first, entered=bool(entered)))
        return _soft(whole, distribution, y, "switch to soft" if entered else "soft block")

    return rule


@dataclass(frozen=True)
class _Shares:
    """a0 and b0, the shares of p where a block begins."""

    a0: float
    b0: float

    def now(self, moment: Moment) -> tuple[float, float]:
        """a and b at this step."""
        t = min(moment.step / moment.max_steps, 1.0) if moment.max_steps else 0.0
        return self.a0 + (1 - self.a0) * t, self.b0 + (1 - self.b0) * t


def _beside(moment: Moment, shares: _Shares, *, first: bool, entered: bool) -> tuple[float, int | None]:
    """The share of p in a soft step, and the token that has the rest."""
    if entered:
        return shares.now(moment)[0], moment.think_open
    return (0.9, moment.newline) if first else (1.0, None)


def _enter_hard(
    distribution: Distribution,
    moment: Moment,
    y: int,
    switches: int,
    forced: tuple[int, ...],
    epsilon: float,
    shares: _Shares,
) -> Decision:
    """The first step of a hard block."""
    why = f"switch {switches} to hard"
    if moment.think_close is None:
        return replace(hard(y, why), forced=forced)
    whole = WholeVector(1.0, epsilon, shares.now(moment)[1], moment.think_close)
    return replace(_soft(whole, distribution, y, why), forced=forced)


_STOP = "the answer tokens after the last switch are used up"


def _soft(whole: WholeVector, distribution: Distribution, y: int, why: str) -> Decision:
    mixture, left_out = whole.mixture(distribution)
    return Decision(mixture, y, "soft", why, left_out=left_out, whole=whole)


def _forced(state: State, moment: Moment, m: int, answer_tokens: int) -> tuple[int, ...]:
    """The ids that a switch to hard forces, by the number of switches so far."""
    if not m or state.switches < m:
        return ()
    forced = moment.close_tag or (() if moment.think_close is None else (moment.think_close,))
    if state.switches > 2 * m:
        forced += moment.answer_prefix
        state.left = answer_tokens
    state.stay += len(forced)  # they are positions of this block, though no policy sees them
    return forced
