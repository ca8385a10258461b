"""The settings of a conversation: those fields of GenerationOptions that a chat can change. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.generation import prepare
from softllama.generation.options import GenerationOptions, PolicyArgument, Think
from softllama.policy import Policy
from softllama.prompts import thinking

PLAIN = "sample:temperature=0.6,top_k=30,top_p=0.95"  # as Soft Thinking decodes its answers, so that the two compare
NAMES = (
    "policy",
    "answer",
    "think",
    "think_budget",
    "max_tokens",
    "stop",
    "think_tags",
    "parse_special",
    "date",
    "on_loop",
)
THINK = thinking.MODES


class ChatKeywords(TypedDict, total=False):
    """The settings of a conversation, as keywords: those fields of GenerationOptions."""

    policy: PolicyArgument | None
    answer: PolicyArgument | None
    think: Think
    think_budget: int | None
    max_tokens: int | None
    stop: str | Sequence[str]
    think_tags: str | None
    parse_special: bool
    date: str | None


def options(values: Mapping[str, Any], before: GenerationOptions | None = None) -> GenerationOptions:
    """The options that these settings stand for. max_tokens: None for what the context has room for.

    Args:
        before: the options whose other fields stay.

    Raises:
        UsageError: there is no setting of a name, or its value is not allowed.
    """
    for name in values:
        if name not in NAMES:
            raise UsageError(f"a conversation has no setting {name!r}", f"there are: {', '.join(sorted(NAMES))}")
    for name, least in (("think_budget", 0), ("max_tokens", 1)):
        arguments.integer_or_none(name, values.get(name), least)
    before = before or GenerationOptions(max_tokens=None)
    return before.changed(**values)


def to_dict(settings: GenerationOptions) -> dict[str, Any]:
    """Ready for JSON, policies as text."""
    values = {name: getattr(settings, name) for name in NAMES}
    return {k: repr(v) if isinstance(v, Policy) else list(v) if k == "stop" else v for k, v in values.items()}


def default_policy(model: Engine, tags: thinking.Tags | None) -> tuple[str, str]:
    """The policy where none was chosen, as text, and why: what the model's file asks for, soft thinking for a model with a
    thinking block, plain sampling for one without."""
    text, why = prepare.default_policy(model, tags is not None)
    if tags is not None or model.metadata.get("softllama.policy"):
        return text, why
    return PLAIN, "plain sampling, as this model has no thinking block to be soft in"
