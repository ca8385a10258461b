"""What a policy is given, what it decides, and the wrapper that every policy is called through.

Knows when a method is soft (in the thinking block, or everywhere) and what stands in for it elsewhere. Knows no method,
no model and no loop: feeding what was decided, and forcing tags, is the loop's work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from softllama.base import arguments
from softllama.errors import UsageError
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

Where = Literal["thinking", "everywhere"]
COLD = "cold"  # where Cold Stop keeps its count in Moment.state


@dataclass(frozen=True)
class Decision:
    """What one decode step feeds next, and what it shows.

    mixture: what is fed at the next position; one-hot for a hard step. token: the readout, the id that goes in the
    visible history. mode: "hard" or "soft", of what is fed. why: a few words for the record.

    end_thinking: the policy closes the thinking block now, so the loop feeds the closing tag in place of `mixture`.
    (A readout that is the closing tag by itself is an ordinary step, without this flag.)
    forced: ids to feed next, hard, after `mixture` and before the policy is asked again.
    left_out: probability mass that an epsilon left out of `mixture` (which is renormalised).
    noise: sigma of Gaussian noise to add to the embedding, in units of the root mean square of the table's entries.
    hidden: feed the scaled last hidden state; `mixture` is then only the hard reading, for the record.
    stop: if not empty, the sequence ends after this step's readout, for this reason.
    """

    mixture: Mixture
    token: int
    mode: str
    why: str = ""
    end_thinking: bool = False
    forced: tuple[int, ...] = ()
    left_out: float = 0.0
    noise: float = 0.0
    hidden: bool = False
    stop: str = ""


@dataclass
class Moment:
    """Where one sequence stands. Mutable, made by the loop, one for each sequence; a policy keeps its own state here.

    rng: the sequence's own random numbers. thinking: inside the thinking block, or in a prompt that has none.
    step: positions generated so far. max_steps: the most there will be, for schedules; None if unknown.
    readouts: the ids of the visible history, for repetition penalties. state: what policies remember, by name.

    Ids that only a vocabulary knows, absent where the model has none: think_open, think_close (the last id of each
    tag), newline, close_tag (the whole closing tag, if it is several tokens), answer_prefix ("The final answer is",
    for SwiReasoning), hard_only (digits and mathematics symbols, which SwiReasoning and SeLaR never mix).
    """

    rng: np.random.Generator
    thinking: bool = True
    step: int = 0
    max_steps: int | None = None
    readouts: list[int] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    think_open: int | None = None
    think_close: int | None = None
    newline: int | None = None
    close_tag: tuple[int, ...] = ()
    answer_prefix: tuple[int, ...] = ()
    hard_only: frozenset[int] = frozenset()

    def advance(self, token: int) -> None:
        """One more position, whose readout is `token`: decided or forced."""
        self.readouts.append(int(token))
        self.step += 1


Rule = Callable[[Distribution, Moment], Decision]


@dataclass(frozen=True, eq=False, repr=False)
class Policy:
    """A rule with its name and settings: policy(distribution, moment) -> Decision.

    A bare numpy Generator may stand for the moment: the policy then sees a fresh one, as at the first step of thinking,
    so that weights can be compared with another implementation without a model.

    where: "thinking" hands steps outside the thinking block to `answer`; "everywhere" never does. In a "thinking"
    policy, a soft step whose readout is the closing tag is fed as that tag alone, so that thinking ends on a real one.
    parameters: every setting, defaults included, as plain values. given: those that were not left to their defaults.
    repr() is the written form, which `parse` reads.
    """

    rule: Rule
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    where: Where = "everywhere"
    answer: Policy | None = None

    def __post_init__(self) -> None:
        for name in ("parameters", "given"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __call__(self, distribution: Distribution, moment: Moment | np.random.Generator) -> Decision:
        """Decide one step. Raises UsageError if the arguments, or what a user's rule returns, are of another type."""
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
            return Decision(Mixture.one_hot(distribution.argmax), distribution.argmax, "hard")
        decision = self.rule(distribution, moment)
        if not isinstance(decision, Decision):
            raise UsageError(f"the policy {self.name} returned {type(decision).__name__}, not a Decision")
        if self.where == "thinking" and decision.mode == "soft" and decision.token == moment.think_close:
            moment.state.pop(COLD, None)
            return replace(hard(decision.token, "closing tag"), forced=decision.forced, stop=decision.stop)
        return decision

    def __repr__(self) -> str:
        text = self.written()
        return f"{self.name}:{text}" if text else self.name

    def written(self) -> str:
        """The settings given, as `n=10,tau=0.01`."""
        return ",".join(f"{k}={v}" for k, v in self.given.items())


def as_policy(rule: Rule, *, where: Where = "everywhere", answer: Rule | None = None, name: str = "") -> Policy:
    """A Policy from any function of (Distribution, Moment) that returns a Decision; a Policy is returned as it is.

    where, answer: as for every policy; without an answer, steps outside the thinking block are greedy.
    Raises UsageError for something that cannot be called, or another `where`.
    """
    if isinstance(rule, Policy):
        return rule
    if not callable(rule):
        raise UsageError(f"a policy is a function of a distribution and a moment, not {type(rule).__name__}")
    if where not in ("thinking", "everywhere"):
        raise UsageError(f"where = {where!r} is not allowed: it must be thinking or everywhere")
    return Policy(
        _checked(rule),
        name or getattr(rule, "__name__", type(rule).__name__),
        where=where,
        answer=None if answer is None else as_policy(answer),
    )


def _checked(rule: Rule) -> Rule:
    """A user's rule, whose decisions are looked at before they are fed."""

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
        for name in ("why", "stop"):
            if not isinstance(getattr(d, name), str):
                raise UsageError(f"the {name} of a decision must be text, not {getattr(d, name)!r}")
        return d if token is d.token and forced is d.forced else replace(d, token=token, forced=forced)

    return checked


def _items(forced: Any) -> tuple[Any, ...]:
    return forced if isinstance(forced, tuple) else tuple(forced) if isinstance(forced, list) else (forced,)


def hard(token: int, why: str = "") -> Decision:
    """The step that feeds one token."""
    return Decision(Mixture.one_hot(token), token, "hard", why)


def closing(moment: Moment, instead: Decision, why: str) -> Decision:
    """The step that closes the thinking block; without a known closing tag, `instead`, marked as closing."""
    if moment.think_close is None:
        return replace(instead, end_thinking=True, why=why)
    return replace(hard(moment.think_close, why), end_thinking=True)
