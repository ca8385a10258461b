"""How the answers of a conversation are made, as data that is checked. Knows policies, no model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from softllama import policy
from softllama.errors import UsageError
from softllama.policy import Policy

MODES = ("auto", "on", "off")


@dataclass(frozen=True)
class Settings:
    """How answers are made. policy: None for soft thinking in a model that has a thinking block, sampling in others.

    answer: how the answer after the thinking is decoded, if not as the policy says. think: "auto", "on" or "off".
    think_budget: steps after which the thinking is closed. max_tokens: of an answer with its thinking; None for what
    the context has room for. stop: texts that end an answer. think_tags: "<think>,</think>", if not the model's own.
    """

    policy: Policy | None = None
    answer: Policy | None = None
    think: str = "auto"
    think_budget: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    think_tags: str | None = None

    def __post_init__(self) -> None:
        for name in ("policy", "answer"):
            given = getattr(self, name)
            if given is not None:
                made = policy.parse(given) if isinstance(given, str) else policy.as_policy(given)
                object.__setattr__(self, name, made)
        if self.think not in MODES:
            raise UsageError(f"think = {self.think!r} is not allowed", f"use one of {', '.join(MODES)}")
        for name, least in (("think_budget", 0), ("max_tokens", 1)):
            n = getattr(self, name)
            if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < least):
                raise UsageError(f"{name} = {n!r} is not allowed", f"it is a whole number from {least}, or none")
        if self.think_tags is not None and not isinstance(self.think_tags, str):
            raise UsageError(f"think_tags = {self.think_tags!r} is not allowed", 'such as "<think>,</think>"')
        if not isinstance(self.stop, str | list | tuple):
            raise UsageError(f"a stop string must be some text, not {self.stop!r}")
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if any(not isinstance(s, str) or not s for s in stop):
            raise UsageError("a stop string must be some text")
        object.__setattr__(self, "stop", stop)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, policies in their written form."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: repr(v) if isinstance(v, Policy) else list(v) if k == "stop" else v for k, v in values.items()}
