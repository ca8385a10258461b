"""Policies as people write them, and the list of policies for help texts.

    soft_thinking                                   a policy, with its defaults
    soft_thinking:n=10,tau=0.01                     settings after a colon
    gumbel:tau=0.3,answer=sample(temperature=0.8)   a policy inside, with its settings in parentheses
    mine.py:bounded(limit=3)                        a policy of a Python file that was loaded before (external.py)

Knows the registry and what was loaded. Does not know single policies, and loads no file.
"""

from __future__ import annotations

import math
import re
from typing import Any, get_origin

from softllama.base.text import unknown
from softllama.errors import UsageError
from softllama.policy import external
from softllama.policy.base import Policy
from softllama.policy.registry import REGISTRY, PolicyInfo, Setting

_FORM = 'write a name and settings, such as "soft_thinking:n=10,tau=0.01"'
_NAME = re.compile(r"([^:(=,)]*)(?::(.*)|\((.*)\))?", re.DOTALL)
MAX_DEPTH = 20
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def names() -> list[str]:
    """The names of all policies, those of installed packages included, in alphabetical order."""
    return sorted({*REGISTRY, *external.installed()})


def describe(name: str) -> str:
    """What a policy does in a line, then each setting with its default and what is allowed.

    Raises:
        UsageError: there is no policy of this name. The hint names the closest.
    """
    m = external.of_file(name) if ".py:" in name else _info(name)
    lines = [f"{name}: {m.doc.splitlines()[0] if m.doc else 'no description'}"]
    wide = max((len(s.name) for s in m.settings.values()), default=0)
    defaults = m.factory().parameters
    lines += [f"  {s.name:<{wide}} = {defaults[s.name]}  ({s.allowed})" for s in m.settings.values()]
    return "\n".join(lines)


def parse(text: str) -> Policy:
    """The policy that `text` describes (this module's docstring has the form).

    Raises:
        UsageError: a name or setting is unknown (the hint names the closest), a value is not of its type or out of range
            (the message names the setting, the value and what is allowed), or the text has another form.
    """
    if not isinstance(text, str):
        raise UsageError(f"a policy is written as text, not {type(text).__name__}", _FORM)
    return _parse(text, 0)


def _parse(text: str, depth: int) -> Policy:
    if depth > MAX_DEPTH:
        raise UsageError(f"more than {MAX_DEPTH} policies inside each other", _FORM)
    match = _NAME.fullmatch(text.strip())
    name = match[1].strip() if match else ""
    if not match or not name:
        raise UsageError(f"{text!r} is not a policy" if text.strip() else "the policy is empty", _FORM)
    if name.endswith(".py") and match[2]:
        inside = _NAME.fullmatch(match[2].strip())
        if not inside or not inside[1].strip():
            raise UsageError(f"{match[2].strip()!r} is no policy of {name}", f"{name}:NAME(SETTINGS)")
        name = f"{name}:{inside[1].strip()}"
        m, match = external.of_file(name), inside
    else:
        m = _info(name)
    body = match[2] if match[2] is not None else match[3]
    values: dict[str, Any] = {}
    for item in _items(body or "", text):
        key, equals, value = (x.strip() for x in item.partition("="))
        if not item.strip():
            raise UsageError(f"an empty setting in {text!r}", _FORM)
        if not key or not equals or not value:
            raise UsageError(f"{item.strip()!r} is not a setting, in {text!r}", _FORM)
        if key not in m.settings:
            raise unknown(f"{name} has no parameter {key!r}", key, m.settings)
        if key in values:
            raise UsageError(f"{key} is given twice in {text!r}")
        values[key] = _value(m.settings[key], value, depth)
    return m.factory(**values)


def _info(name: str) -> PolicyInfo:
    if name not in REGISTRY:
        if (found := external.of_package(name)) is not None:
            return found
        raise unknown(f"there is no policy {name!r}", str(name), names())
    return REGISTRY[name]


def _items(body: str, text: str) -> list[str]:
    """Split at the commas outside parentheses. Nothing at all is no settings."""
    if not body.strip():
        return []
    items, depth, start = [], 0, 0
    for i, ch in enumerate(body):
        depth += (ch == "(") - (ch == ")")
        if depth < 0:
            break
        if ch == "," and depth == 0:
            items.append(body[start:i])
            start = i + 1
    if depth:
        raise UsageError(f"the parentheses in {text!r} do not match", _FORM)
    return [*items, body[start:]]


def _value(setting: Setting, text: str, depth: int) -> Any:
    """The value of one setting; its range is checked when the policy is built."""
    if setting.kind is Policy:
        return _parse(text, depth + 1)
    if setting.kind is str or get_origin(setting.kind) is not None:
        return text
    try:
        if "_" in text:
            raise ValueError
        if setting.kind is bool:
            return _WORDS[text.lower()]
        if setting.kind is int:
            return int(text)
        value = float(text)
        if math.isnan(value):
            raise ValueError
        return value
    except (ValueError, KeyError):
        raise UsageError(f"{setting.name} = {text!r} is not allowed: it must be {setting.allowed}") from None
