"""Ways of answering a question, as text: a policy, or a search over several passes.

soft_thinking:n=10                                 any policy of softllama.policy
vote:samples=8,policy=sample(temperature=0.7)      self-consistency: the answer that most samples give
best:samples=8                                     the likeliest of several samples
beam:beams=4,length_penalty=1                      beam search over hard tokens
NAME=...                                           another name for the tables

Knows the form of the text and the names of the searches. Does not run them, and knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softllama import policy
from softllama.errors import UsageError

SEARCHES: dict[str, dict[str, type]] = {
    "vote": {"samples": int, "policy": str},
    "best": {"samples": int, "policy": str},
    "beam": {"beams": int, "length_penalty": float},
}
DEFAULTS: dict[str, dict[str, Any]] = {"vote": {"samples": 8}, "best": {"samples": 8}, "beam": {"beams": 4}}


@dataclass(frozen=True)
class Way:
    """One way of answering.

    Attributes:
        name: What it is called in tables and results.
        search: "" for a policy, else a key of SEARCHES.
        policy: The policy as text; "" for a search without one.
        settings: Names and values of the search's settings.
    """

    name: str
    search: str
    policy: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """The way as one text, without its name. Two ways that differ have different texts."""
        inner = [f"{k}={v}" for k, v in self.settings] + ([f"policy=({self.policy})"] if self.policy else [])
        return f"{self.search}:{','.join(inner)}" if self.search else self.policy

    @property
    def passes(self) -> int:
        """How many generations it takes: the samples or beams of a search, 1 for a policy."""
        settings = dict(self.settings)
        return int(settings.get("samples", settings.get("beams", 1)))


def parse(text: str) -> Way:
    """Read one way.

    Args:
        text: Such as "greedy", "mine=soft_thinking:n=10" or "vote:samples=8".

    Returns:
        The way.

    Raises:
        UsageError: The text is no way of answering. The message names what is allowed.
    """
    name, rest = "", text.strip()
    if m := re.match(r"([\w .+-]+)=(?=[a-z_]+(?:[:(]|$))", rest):
        name, rest = m[1].strip(), rest[m.end() :]
    kind, _, body = rest.partition(":")
    if kind not in SEARCHES:
        return Way(name=name or rest, search="", policy=repr(policy.parse(rest)))
    values: dict[str, Any] = dict(DEFAULTS[kind])
    inner = ""
    for item in _split(body):
        key, equals, value = (x.strip() for x in item.partition("="))
        if not equals or key not in SEARCHES[kind]:
            raise UsageError(
                f"{item.strip()!r} is no setting of {kind}",
                f"{kind} has {', '.join(SEARCHES[kind])}: {kind}:{_example(kind)}",
            )
        if key == "policy":
            inner = repr(policy.parse(value[1:-1] if value.startswith("(") and value.endswith(")") else value))
        else:
            values[key] = _number(kind, key, value, text)
    return Way(name=name or rest, search=kind, policy=inner, settings=tuple(values.items()))


def parse_all(texts: Sequence[str]) -> list[Way]:
    """Read several ways.

    Raises:
        UsageError: A text is no way of answering, or two have the same name.
    """
    ways = [parse(t) for t in texts]
    names = [w.name for w in ways]
    for n in names:
        if names.count(n) > 1:
            raise UsageError(f"{n!r} is given twice", 'name one of them: "other=' + n + '"')
    return ways


def _number(kind: str, key: str, value: str, text: str) -> Any:
    try:
        number = SEARCHES[kind][key](value)
    except ValueError:
        raise UsageError(f"{key} = {value!r} is not a number, in {text!r}", f"{kind}:{_example(kind)}") from None
    if key in ("samples", "beams") and not 1 <= number <= 10_000:
        raise UsageError(f"{key} must be between 1 and 10,000, not {number}")
    return number


def _example(kind: str) -> str:
    return "beams=4" if kind == "beam" else "samples=8,policy=sample(temperature=0.7)"


def _split(body: str) -> list[str]:
    """The parts between the commas outside parentheses."""
    items, depth, start = [], 0, 0
    for i, ch in enumerate(body):
        depth += (ch == "(") - (ch == ")")
        if ch == "," and depth == 0:
            items.append(body[start:i])
            start = i + 1
    if depth:
        raise UsageError(f"the parentheses in {body!r} do not match")
    return [x for x in [*items, body[start:]] if x.strip()]
