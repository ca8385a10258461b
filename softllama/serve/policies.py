"""The decoding policies as data: names, parameters, ranges, defaults and sources, for clients that show controls."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any, get_args, get_origin

from softllama import policy
from softllama.generation import prepare
from softllama.policy.registry import REGISTRY, PolicyInfo, Setting
from softllama.prompts import thinking
from softllama.serve.state import State

_HELP = re.compile(r"^\s{4}(\w+(?:, \w+)*): (.*(?:\n\s{8}.*)*)", re.MULTILINE)  # an entry under Args:
_PAPER = re.compile(r"arXiv[: ]\d{4}\.\d{4,5}")


def listed(state: State) -> dict[str, Any]:
    """The policies with their parameters, and what a client wants to know of the model."""
    model = state.model
    tags = thinking.find(model.tokenizer, model.template_source)
    thinks = tags is not None and tags.expected
    return {
        "policies": [policy_info(REGISTRY[name]) for name in policy.names()],
        "model": {
            "name": model.name,
            "n_vocab": model.n_vocab,
            "thinks": thinks,
            "chat_template": bool(model.template_source),
            "path": model.path if state.settings.local else None,
            "needs_key": state.settings.api_key is not None,
        },
        "default_policy": state.settings.policy or prepare.default_policy(model, thinks)[0],
    }


def policy_info(info: PolicyInfo) -> dict[str, Any]:
    """A policy as data."""
    made, paper = info.factory(), _PAPER.search(info.doc)
    helps = {name: " ".join(m[2].split()) for m in _HELP.finditer(_arguments(info)) for name in m[1].split(", ")}
    return {
        "name": info.name,
        "summary": info.doc.splitlines()[0],
        "source": paper[0].replace(" ", ":") if paper else "",
        "parameters": [_parameter(s, made.parameters[s.name], helps.get(s.name, "")) for s in info.settings.values()],
        "acts": made.where,
        "soft": made.soft,
        "doc": info.doc,
    }


def _arguments(info: PolicyInfo) -> str:
    """What a docstring has under Args:."""
    doc = inspect.cleandoc(info.doc).partition("\nArgs:\n")[2]
    return re.split(r"\n(?=\S)", doc)[0]


def _parameter(setting: Setting, default: Any, text: str) -> dict[str, Any]:
    choices = list(get_args(setting.kind)) if get_origin(setting.kind) is not None else None
    kind = setting.kind.__name__ if setting.kind in (int, float, bool) else "str"
    low, high = (setting.range.low, setting.range.high) if setting.range else (None, None)
    return {
        "name": setting.name,
        "type": kind,
        "default": default if not isinstance(default, float) or math.isfinite(default) else str(default),
        "minimum": low,
        "maximum": None if high is None or math.isinf(high) else high,
        "exclusive": bool(setting.range and setting.range.above),
        "choices": choices,
        "is_policy": setting.kind is policy.Policy,
        "help": text,
    }
