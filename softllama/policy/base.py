"""`Policy`, what it takes (`Distribution`, `Moment`) and what it returns (`Decision`).

Knows when a policy is soft (in the thinking block, or everywhere) and which policy decodes the rest. Does not know single
policies, models or the loop: the loop feeds what was decided, and forces tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from softllama.base import arguments
from softllama.errors import UsageError
from softllama.vectors.alignment import Align
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import WholeVector

Where = Literal["thinking", "everywhere"]
COLD = "cold"  # the key under which Cold Stop keeps its count in Moment.state


@dataclass(frozen=True)
class Decision:
    """What one step feeds next, and what it shows.

    Attributes:
        mixture: what is fed at the next position; one-hot for a hard step.
        token: the readout, the id that goes into the visible history.
        mode: "hard" or "soft", of what is fed.
        why: a few words for the record.
        end_thinking: the policy closes the thinking block now, so the loop feeds the closing tag in place of `mixture`.
            (A readout that is the closing tag by itself is an ordinary step, without this flag.)
        forced: ids to feed next, hard, after `mixture` and before the policy is called again.
        left_out: probability mass that an epsilon left out of `mixture` (which is renormalised).
        noise: sigma of Gaussian noise to add to the embedding, in units of the root mean square of the table's entries.
        hidden: feed the scaled last hidden state; `mixture` is then only the hard reading, for the record. The policy's
            `needs_hidden` must be true.
        align: how that state becomes an input: "none" as it is, "ridge" mapped to the input table (engine/alignment.py).
        stop: if not empty, the sequence ends after this step's readout, for this reason.
        whole: how `mixture` is computed from the whole distribution, if it is. The record of a run then holds its heaviest
            entries only, and a replay computes the others again; whether the distribution gives it is checked.
    """

    mixture: Mixture
    token: int
    mode: str
    why: str = ""
    _: KW_ONLY
    end_thinking: bool = False
    forced: tuple[int, ...] = ()
    left_out: float = 0.0
    noise: float = 0.0
    hidden: bool = False
    align: Align = "none"
    stop: str = ""
    whole: WholeVector | None = None

    @classmethod
    def of(cls, mixture: Mixture, token: int, mode: str, why: str = "", **more: Any) -> Decision:
        """A decision, for a policy's inner loop: a frozen dataclass sets its fields one by one."""
        decision = cls.__new__(cls)
        decision.__dict__.update(more, mixture=mixture, token=token, mode=mode, why=why)
        return decision


@dataclass
class Moment:
    """The state of one sequence. Mutable; the loop makes one for each sequence, and policies keep their own state in it.

    Attributes:
        rng: the sequence's own random numbers.
        thinking: inside the thinking block, or in a prompt that has none.
        step: positions generated so far.
        max_steps: the most there will be, for schedules; None if unknown.
        readouts: the ids of the visible history, for repetition penalties.
        state: what policies remember, by a key of their own.
        think_open, think_close: the id of each tag; None if the model has none, or if it is several tokens.
        newline, blank_line: the ids of a newline, and of two; None if the model has none.
        close_tag: the ids of the closing tag, one or several.
        closed: the thinking block has closed: by readouts, a budget or the end of generation, not by ids that the policy forced.
        answer_prefix: a blank line and "The final answer is", for SwiReasoning.
        hard_only: digits and mathematics symbols, which SwiReasoning and SeLaR do not mix.
    """

    rng: np.random.Generator
    _: KW_ONLY
    thinking: bool = True
    step: int = 0
    max_steps: int | None = None
    readouts: list[int] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    think_open: int | None = None
    think_close: int | None = None
    newline: int | None = None
    blank_line: int | None = None
    close_tag: tuple[int, ...] = ()
    closed: bool = False
    answer_prefix: tuple[int, ...] = ()
    hard_only: frozenset[int] = frozenset()

    def closes(self, token: int) -> bool:
        """Would this readout be the closing tag, or the last token of one whose other tokens came just before?"""
        if len(self.close_tag) < 2:
            return token == self.think_close
        *before, last = self.close_tag
        return token == last and self.readouts[-len(before) :] == before

    def advance(self, token: int) -> None:
        """One more position, whose readout is `token`: decided or forced."""
        self.readouts.append(int(token))
        self.step += 1


Rule = Callable[[Distribution, Moment], Decision]


@dataclass(frozen=True, eq=False, repr=False)
class Policy:
    """A rule with its name and settings: policy(distribution, moment) -> Decision. repr() is the text that `parse` reads.

    A bare numpy Generator may stand for the moment: the policy then sees a fresh one, as at the first step of thinking,
    so that weights can be compared with another implementation without a model.

    Attributes:
        rule: the function that decides.
        name: as in `policy.names()`, or of a user's function.
        parameters: every setting, defaults included, as plain values.
        arguments: the settings that were not left to their defaults.
        where: "thinking" hands steps outside the thinking block to `answer`; "everywhere" never does. In a "thinking"
            policy, a soft step whose readout is the closing tag is fed as that tag alone, so that thinking ends on a real
            one.
        answer: decodes outside the thinking block; None for greedy.
        needs_hidden: the policy, or its answer, may set `Decision.hidden`, so the loop must keep last hidden states.
        soft: the policy may feed mixtures; without, it feeds single tokens only.
    """

    rule: Rule
    name: str
    _: KW_ONLY
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    where: Where = "everywhere"
    answer: Policy | None = None
    needs_hidden: bool = False
    soft: bool = True

    def __post_init__(self) -> None:
        for name in ("parameters", "arguments"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if self.answer is not None and self.answer.needs_hidden:
            object.__setattr__(self, "needs_hidden", True)

    def __call__(self, distribution: Distribution, moment: Moment | np.random.Generator) -> Decision:
        """Decide one step.

        Raises:
            UsageError: an argument, or what a user's rule returned, is of another type or not allowed.
        """
        if not isinstance(distribution, Distribution):
            raise UsageError(
                f"a policy needs a Distribution, not {type(distribution).__name__}", "softllama.Distribution(logits)"
            )
        if isinstance(moment, np.random.Generator):
            moment = Moment(moment)
        if not isinstance(moment, Moment):
            raise UsageError(
                f"a policy needs a Moment or a numpy Generator, not {type(moment).__name__}",
                "numpy.random.default_rng(0)",
            )
        if self.where == "thinking" and not moment.thinking:
            moment.state.pop(COLD, None)  # a count of consecutive steps does not survive the answer
            if self.answer is not None:
                return self.answer(distribution, moment)
            return hard(distribution.argmax)
        decision = self.rule(distribution, moment)
        if not isinstance(decision, Decision):
            raise UsageError(f"the policy {self.name} returned {type(decision).__name__}, not a Decision")
        if self.where == "thinking" and decision.mode == "soft" and moment.closes(decision.token):
            moment.state.pop(COLD, None)
            return replace(hard(decision.token, "closing tag"), forced=decision.forced, stop=decision.stop)
        return decision

    def __repr__(self) -> str:
        return self.as_text()

    def as_text(self, *, nested: bool = False) -> str:
        """The text that `parse` reads: `gumbel:tau=0.3`; nested, as the setting of another policy: `gumbel(tau=0.3)`."""
        if not self.arguments:
            return self.name
        settings = ",".join(f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}({settings})" if nested else f"{self.name}:{settings}"


def as_policy(
    rule: Rule,
    *,
    where: Where = "everywhere",
    answer: Rule | None = None,
    name: str = "",
    needs_hidden: bool = False,
) -> Policy:
    """A Policy from any function of (Distribution, Moment) that returns a Decision; a Policy is returned as it is.

    Args:
        rule: the function.
        where: "thinking" or "everywhere", as for every policy.
        answer: decodes outside the thinking block; None for greedy.
        name: for records and error messages; "" for the function's own.
        needs_hidden: the function may set `Decision.hidden`.

    Raises:
        UsageError: the rule cannot be called, or `where` is something else.
    """
    if isinstance(rule, Policy):
        return rule
    if not callable(rule):
        raise UsageError(f"a policy is a function of a distribution and a moment, not {type(rule).__name__}")
    if where not in ("thinking", "everywhere"):
        raise UsageError(f"where = {where!r} is not allowed: it must be thinking or everywhere")
    return Policy(
        _checked(rule, needs_hidden),
        name or getattr(rule, "__name__", type(rule).__name__),
        where=where,
        answer=None if answer is None else as_policy(answer),
        needs_hidden=needs_hidden,
    )


def _checked(rule: Rule, needs_hidden: bool) -> Rule:
    """A user's rule, whose decisions are checked before they are fed."""

    def checked(distribution: Distribution, moment: Moment) -> Decision:
        d = rule(distribution, moment)
        if not isinstance(d, Decision):
            return d  # Policy says what is wrong
        n = len(distribution)
        token = arguments.integer("the token of a decision", d.token, 0, n - 1)
        forced = tuple(arguments.integer("a forced token", i, 0, n - 1) for i in _items(d.forced))
        arguments.number("the noise of a decision", d.noise, 0)
        arguments.number("what a decision left out", d.left_out, 0, 1)
        if d.mode not in ("hard", "soft"):
            raise UsageError(f"the mode of a decision is {d.mode!r}", "it is hard or soft, of what is fed")
        if not isinstance(d.mixture, Mixture):
            raise UsageError(f"the mixture of a decision is {type(d.mixture).__name__}, not a Mixture")
        if not np.isfinite(d.mixture.weights).all():
            raise UsageError(f"the mixture of a decision at step {moment.step} has weights that are no numbers")
        if d.align not in get_args(Align):
            raise UsageError(f"the align of a decision is {d.align!r}", "it is none or ridge")
        if d.hidden and not needs_hidden:
            raise UsageError("a decision feeds a hidden state, which was not kept", "as_policy(..., needs_hidden=True)")
        if not isinstance(d.whole, WholeVector | None):
            raise UsageError(f"`whole` of a decision is {type(d.whole).__name__}, not a WholeVector")
        for name in ("why", "stop"):
            if not isinstance(getattr(d, name), str):
                raise UsageError(f"the {name} of a decision must be text, not {getattr(d, name)!r}")
        return d if token is d.token and forced is d.forced else replace(d, token=token, forced=forced)

    return checked


def _items(forced: Any) -> tuple[Any, ...]:
    return forced if isinstance(forced, tuple) else tuple(forced) if isinstance(forced, list) else (forced,)


def hard(token: int, why: str = "") -> Decision:
    """The decision that feeds one token."""
    return Decision.of(Mixture.one_hot(token), token, "hard", why)


def closing(moment: Moment, instead: Decision, why: str) -> Decision:
    """The decision that closes the thinking block; without a known closing tag, `instead`, marked as closing."""
    if moment.think_close is None:
        return replace(instead, end_thinking=True, why=why)
    return replace(hard(moment.think_close, why), end_thinking=True)
