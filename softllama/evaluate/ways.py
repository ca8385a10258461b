"""Ways of answering a question, in their written form: a policy, or a search over several passes.

soft_thinking:n=10                                 any policy of softllama.policy
vote:samples=8,policy=sample(temperature=0.7)      self-consistency: the answer that most samples give
best:samples=8                                     the likeliest of several samples
beam:beams=4,length_penalty=1                      beam search over hard tokens
NAME=...                                           another name for the tables
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
class Arm:
    """One way of answering. name: in tables and results. search: "" for a policy, else a key of SEARCHES. policy: in
    written form, "" where none is given. settings: of the search.
    """

    name: str
    search: str
    policy: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def written(self) -> str:
        """All of it, as one text that tells it from any other arm."""
        inner = [f"{k}={v}" for k, v in self.settings] + ([f"policy=({self.policy})"] if self.policy else [])
        return f"{self.search}:{','.join(inner)}" if self.search else self.policy


def parse(text: str) -> Arm:
    """The arm that a text writes. Raises UsageError, naming what is allowed."""
    name, rest = "", text.strip()
    if m := re.match(r"([\w .+-]+)=(?=[a-z_]+(?:[:(]|$))", rest):
        name, rest = m[1].strip(), rest[m.end() :]
    kind, _, body = rest.partition(":")
    if kind not in SEARCHES:
        chosen = policy.parse(rest)
        return Arm(name or rest, "", repr(chosen))
    values: dict[str, Any] = dict(DEFAULTS[kind])
    inner = ""
    for item in _split(body):
        key, equals, written = (x.strip() for x in item.partition("="))
        if not equals or key not in SEARCHES[kind]:
            raise UsageError(
                f"{item.strip()!r} is no setting of {kind}",
                f"{kind} has {', '.join(SEARCHES[kind])}: {kind}:{_example(kind)}",
            )
        if key == "policy":
            inner = repr(policy.parse(written[1:-1] if written.startswith("(") and written.endswith(")") else written))
            continue
        try:
            values[key] = SEARCHES[kind][key](written)
        except ValueError:
            raise UsageError(f"{key} = {written!r} is not a number, in {text!r}", f"{kind}:{_example(kind)}") from None
        if key in ("samples", "beams") and not 1 <= values[key] <= 10_000:
            raise UsageError(f"{key} must be between 1 and 10,000, not {values[key]}")
    return Arm(name or rest, kind, inner, tuple(values.items()))


def parse_all(texts: Sequence[str]) -> list[Arm]:
    """Several arms. Raises UsageError where two have the same name."""
    arms = [parse(t) for t in texts]
    names = [a.name for a in arms]
    for n in names:
        if names.count(n) > 1:
            raise UsageError(f"{n!r} is given twice", 'name one of them: "other=' + n + '"')
    return arms


def _example(kind: str) -> str:
    return "beams=4" if kind == "beam" else "samples=8,policy=sample(temperature=0.7)"


def _split(body: str) -> list[str]:
    """At the commas outside parentheses."""
    items, depth, start = [], 0, 0
    for i, ch in enumerate(body):
        depth += (ch == "(") - (ch == ")")
        if ch == "," and depth == 0:
            items.append(body[start:i])
            start = i + 1
    if depth:
        raise UsageError(f"the parentheses in {body!r} do not match")
    return [x for x in [*items, body[start:]] if x.strip()]
