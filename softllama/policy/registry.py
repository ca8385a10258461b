"""`@policy`: turns a function that builds a rule into a factory of policies, with its settings checked and listed.

Knows names, types and allowed ranges of settings. Does not know what a policy computes.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, cast, get_args, get_origin, get_type_hints

from softllama.base.text import unknown
from softllama.errors import UsageError
from softllama.policy.base import Policy, Rule, as_policy

P = ParamSpec("P")


@dataclass(frozen=True)
class Range:
    """Allowed values of a number: low <= x <= high, or low < x <= high if `above`."""

    low: float
    high: float = math.inf
    above: bool = False

    def holds(self, x: float) -> bool:
        return (x > self.low if self.above else x >= self.low) and x <= self.high  # NaN fails

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {self.low:g}"
        return f"above {self.low:g}, at most {self.high:g}" if self.above else f"between {self.low:g} and {self.high:g}"


# one meaning and one range for each name; a policy may narrow it. Upper ends keep float32 and exp() in range.
RANGES = {
    "temperature": Range(0, 1e6),  # 0 is the greedy limit
    "top_k": Range(0),  # 0: off
    "top_p": Range(0, 1, above=True),
    "min_p": Range(0, 1),
    "repetition_penalty": Range(0, 1e3, above=True),
    "penalty_last_n": Range(-1),  # -1: all, 0: off
    "n": Range(1),
    "k": Range(1),
    "tau": Range(0),  # infinity is allowed
    "gamma": Range(1e-6, 1e6),
    "beta": Range(0),  # infinity is allowed
    "a0": Range(0, 1),
    "b0": Range(0, 1),
    "window": Range(0),
    "max_switches": Range(0),  # 0: no limit
    "answer_tokens": Range(1),
    "c": Range(0, 1e3),
    "sigma": Range(0, 1e3),
    "epsilon": Range(0, 0.5),
    "steps": Range(0),
    "cold_tau": Range(0),  # 0: off
    "cold_k": Range(1),
    "presence_penalty": Range(-100, 100),
    "frequency_penalty": Range(-100, 100),
    "typical_p": Range(0, 1, above=True),
    "exit_entropy": Range(0),  # infinity: off
}


@dataclass(frozen=True)
class Setting:
    """One parameter of a factory.

    Attributes:
        kind: int, float, bool, str, Policy, or a Literal.
        range: allowed values of a number; None for all.
    """

    name: str
    kind: Any
    default: Any
    range: Range | None

    @property
    def allowed(self) -> str:
        """In words, for help texts and errors."""
        if get_origin(self.kind) is Literal:
            return " or ".join(get_args(self.kind))
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Policy: "a policy"}[
            self.kind
        ]
        return f"{words} {self.range}" if self.range else words

    def check(self, value: Any) -> Any:
        """The value in its type.

        Raises:
            UsageError: it is not allowed. The message names the parameter, the value and what is allowed.
        """
        try:
            if get_origin(self.kind) is Literal:
                ok = isinstance(value, str) and value in get_args(self.kind)
            elif self.kind is Policy:
                return None if value is None else as_policy(value)
            elif self.kind in (bool, str):
                ok = isinstance(value, self.kind)
            else:
                if isinstance(value, (bool, str, bytes)):
                    raise TypeError
                value = operator.index(value) if self.kind is int else float(value)
                ok = self.range is None or self.range.holds(value)
        except (TypeError, ValueError, OverflowError):
            ok = False
        if not ok:
            raise UsageError(f"{self.name} = {value!r} is not allowed: it must be {self.allowed}")
        return value


@dataclass(frozen=True, kw_only=True)
class PolicyInfo:
    """A factory of policies, its settings, and its docstring."""

    name: str
    factory: Callable[..., Policy]
    settings: dict[str, Setting]
    doc: str


REGISTRY: dict[str, PolicyInfo] = {}  # by name


def policy(
    *, answer: Callable[[], Policy] | None = None, needs_hidden: bool = False, soft: bool = True, **ranges: Range
) -> Callable[[Callable[P, Rule]], Callable[P, Policy]]:
    """Make `def soft(n: int = 10, ..., where=..., answer=...) -> Rule` a factory of policies, and list it by its name.

    Types of settings come from the annotations (`Rule | None` is a policy). A parameter `where` sets the policy's.

    Args:
        answer: makes the policy that a parameter `answer` of None stands for.
        needs_hidden: the policy may set `Decision.hidden`.
        soft: the policy may feed mixtures.
        ranges: allowed values of single settings, in place of those in RANGES.
    """

    def decorate(build: Callable[P, Rule]) -> Callable[P, Policy]:
        name = build.__name__
        signature = inspect.signature(build)
        hints = get_type_hints(build)
        settings = {
            p.name: Setting(p.name, kind_of(hints[p.name]), p.default, ranges.get(p.name, RANGES.get(p.name)))
            for p in signature.parameters.values()
        }

        @functools.wraps(build)
        def factory(*args: P.args, **kwargs: P.kwargs) -> Policy:
            arguments = checked(name, settings, signature, args, kwargs)
            values = {k: s.default for k, s in settings.items()} | arguments
            if "answer" in values and values["answer"] is None and answer is not None:
                values["answer"] = answer()
            return Policy(
                cast(Callable[..., Rule], build)(**values),
                name,
                parameters={k: plain(v) for k, v in values.items()},
                arguments={k: plain(v) for k, v in arguments.items() if v is not None},
                where=values.get("where", "everywhere"),
                answer=values.get("answer"),
                needs_hidden=needs_hidden,
                soft=soft,
            )

        doc = inspect.getdoc(build) or ""
        REGISTRY[name] = PolicyInfo(name=name, factory=factory, settings=settings, doc=doc)
        return factory

    return decorate


def checked(
    name: str, settings: dict[str, Setting], signature: inspect.Signature, args: Any, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name, each in its type. Raises UsageError for one that there is not, or is not allowed."""
    for key in kwargs:
        if key not in settings:
            raise unknown(f"{name} has no parameter {key!r}", key, settings)
    return {k: settings[k].check(v) for k, v in signature.bind(*args, **kwargs).arguments.items()}


def kind_of(hint: Any) -> Any:
    """The kind of a setting, from its annotation: `Rule | None` is a policy."""
    return Policy if Rule in get_args(hint) else hint


def plain(value: Any) -> Any:
    """A policy as text that can be recorded and read again; anything else as it is."""
    return value.as_text(nested=True) if isinstance(value, Policy) else value
