"""The settings of a conversation: those fields of GenerationOptions that a chat can change. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softllama.base import arguments
from softllama.errors import UsageError
from softllama.generation.options import GenerationOptions
from softllama.policy import Policy
from softllama.prompts import thinking

NAMES = ("policy", "answer", "think", "think_budget", "max_tokens", "stop", "think_tags")
THINK = thinking.MODES


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
        arguments.whole_or_none(name, values.get(name), least)
    before = before or GenerationOptions(max_tokens=None)
    return before.changed(**values)


def to_dict(settings: GenerationOptions) -> dict[str, Any]:
    """Ready for JSON, policies as text."""
    values = {name: getattr(settings, name) for name in NAMES}
    return {k: repr(v) if isinstance(v, Policy) else list(v) if k == "stop" else v for k, v in values.items()}
