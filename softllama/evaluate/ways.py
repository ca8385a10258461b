"""Ways of answering a question, as text: a policy, or a search over several passes.

soft_thinking:n=10                                 any policy of softllama.policy
vote:samples=8,policy=sample(temperature=0.7)      any search of softllama.generation.search_text
NAME=...                                           another name for the tables

Knows the form of the text. Does not run what it means, and knows no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softllama import policy
from softllama.errors import UsageError
from softllama.generation import search_text


@dataclass(frozen=True)
class Way:
    """One way of answering.

    Attributes:
        name: What it is called in tables and results.
        search: "" for a policy, else a search of softllama.generation.search_text.
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
    def masks(self) -> bool:
        """Is it for diffusion models?"""
        return bool(self.search) and search_text.SEARCHES[self.search].masks

    @property
    def passes(self) -> int:
        """How many generations it takes: the samples or beams of a search, 1 for a policy."""
        size = search_text.SEARCHES[self.search].size if self.search else ""
        return int(dict(self.settings).get(size, 1))


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
    if m := re.match(r"([\w .+-]+)=(?=[a-z_]+(?:[:(]|$)|[^=(,]+\.py:)", rest):
        name, rest = m[1].strip(), rest[m.end() :]
    if not search_text.kind_of(rest):
        return Way(name=name or rest, search="", policy=repr(policy.parse(rest)))
    search = search_text.parse(rest)
    return Way(name=name or rest, search=search.kind, policy=search.policy, settings=search.settings)


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
