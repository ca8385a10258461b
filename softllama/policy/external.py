"""Policies of one's own by name: those of Python files, and those that installed packages announce.

    mine.py:bounded               `bounded` of the file mine.py. Only `load_files` runs a file, for texts that a user typed
    bounded                       the entry point of this name in the group "softllama.policies" of an installed package

Each is a policy, a rule `rule(distribution, moment) -> Decision`, or a factory `bounded(limit: int = 3)` that returns either. The
parameters of a factory are settings: their types are those of the annotations or of the defaults, `Annotated[int, Range(1, 9)]`
has a range, `where` and `answer` mean what they mean for every policy.

Knows how a function becomes a policy. Does not know the form of a policy's text.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from softllama.base.text import unknown
from softllama.errors import SoftLlamaError, UsageError
from softllama.policy.base import Policy, Rule, as_policy
from softllama.policy.registry import PolicyInfo, Range, Setting, checked, kind_of, plain

GROUP = "softllama.policies"
KINDS = (int, float, bool, str, Policy)
_FILES: dict[str, dict[str, PolicyInfo]] = {}  # by the path as it was written
_PACKAGES: dict[str, PolicyInfo] = {}
_NAMED = re.compile(r"(?:^|[=(,:])\s*([^=(,:)]+\.py)\s*(?::|$|[,)])")


def load_files(text: str) -> None:
    """Run each Python file that the text of a policy names, once, so that `parse` knows its policies.

    For texts of whoever may run code here: what was typed on the command line, never what came in a file or a request.

    Raises:
        UsageError: a file cannot be read or run, or has no policies. The message has its line.
    """
    for name in _NAMED.findall(text):
        if name.strip() not in _FILES:
            _FILES[name.strip()] = _load(name.strip())


def of_file(text: str) -> PolicyInfo:
    """The policy `FILE.py:NAME` of a file that was loaded.

    Raises:
        UsageError: the file was not loaded, or has no policy of this name.
    """
    path, _, name = text.rpartition(":")
    if path not in _FILES:
        raise UsageError(
            f"the policies of {path} are not loaded: a file is run only where the command line names it",
            f"--policy {text}",
        )
    if name not in _FILES[path]:
        raise unknown(f"{path} has no policy {name!r}", name, _FILES[path])
    return _FILES[path][name]


def in_file(path: str) -> list[str]:
    """The names of the policies of a file that was loaded: "mine.py:bounded", ..."""
    return [f"{path}:{name}" for name in sorted(_FILES.get(path, {}))]


@lru_cache(1)
def installed() -> dict[str, EntryPoint]:
    """The policies that installed packages announce, by name. None of them is imported."""
    return {e.name: e for e in entry_points(group=GROUP)}


def of_package(name: str) -> PolicyInfo | None:
    """The policy of an installed package; None if none announces this name.

    Raises:
        UsageError: it cannot be imported, or is no policy.
    """
    if name not in _PACKAGES:
        if (entry := installed().get(name)) is None:
            return None
        try:
            found = entry.load()
        except Exception as e:
            raise UsageError(f"the policy {name} ({entry.value}) cannot be imported: {type(e).__name__}: {e}") from e
        info = _described(found, name, f"the entry point {entry.value}")
        if info is None:
            raise UsageError(f"the entry point {name} ({entry.value}) is {type(found).__name__}, not a policy")
        _PACKAGES[name] = info
    return _PACKAGES[name]


def _load(path: str) -> dict[str, PolicyInfo]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise UsageError(f"there is no file {path}", "a policy of one's own is written as FILE.py:NAME(SETTINGS)")
    module = _run(file)
    found = {}
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == module.__name__
        if name.startswith("_") or not (own or isinstance(value, Policy)):
            continue
        if (info := _described(value, f"{path}:{name}", path)) is not None:
            found[name] = info
    if not found:
        raise UsageError(
            f"{path} has no policies",
            "a policy is a function (distribution, moment) -> Decision, or a function that returns one: docs/extending.md",
        )
    return found


def _run(file: Path) -> ModuleType:
    name = f"softllama_policies_{abs(hash(file.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if Path(f.filename) == file.resolve()]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else None
        where = f"{file}, line {line}" if line else str(file)
        what = e.message if isinstance(e, SoftLlamaError) else e.msg if isinstance(e, SyntaxError) else str(e)
        raise UsageError(f"{where}: {type(e).__name__}: {what}") from e
    return module


def _described(value: Any, name: str, source: str) -> PolicyInfo | None:
    """What is known of a policy, a rule or a factory; None for a function that is none of them.

    Raises:
        UsageError: a parameter of a factory has a type that cannot be written.
    """
    if isinstance(value, Policy):
        doc = inspect.getdoc(value.rule) or ""
        return PolicyInfo(name=name, factory=lambda: replace(value, name=name), settings={}, doc=doc)
    if not callable(value):
        return None
    signature = inspect.signature(value)
    required = [p for p in signature.parameters.values() if p.default is p.empty]
    doc = inspect.getdoc(value) or ""
    if len(required) == len(signature.parameters) == 2:
        return PolicyInfo(name=name, factory=lambda: as_policy(value, name=name), settings={}, doc=doc)
    if required or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
        return None  # another function of the file
    settings = {p.name: _setting(p, hint, source) for p, hint in _hints(value, signature, source)}
    return PolicyInfo(name=name, factory=_factory(value, name, settings, signature), settings=settings, doc=doc)


def _factory(
    build: Callable[..., Any], name: str, settings: dict[str, Setting], signature: inspect.Signature
) -> Callable[..., Policy]:
    def factory(*args: Any, **kwargs: Any) -> Policy:
        arguments = checked(name, settings, signature, args, kwargs)
        values = {k: s.default for k, s in settings.items()} | arguments
        made = build(**values)
        if not callable(made):
            raise UsageError(
                f"{name} returned {type(made).__name__}, not a policy", "a rule (distribution, moment) -> Decision"
            )
        policy = as_policy(made)
        return replace(
            policy,
            name=name,
            parameters={k: plain(v) for k, v in values.items()},
            arguments={k: plain(v) for k, v in arguments.items() if v is not None},
            where=values.get("where", policy.where),
            answer=values.get("answer") or policy.answer,
        )

    return factory


def _hints(build: Callable[..., Any], signature: inspect.Signature, source: str) -> list[tuple[inspect.Parameter, Any]]:
    try:
        hints = get_type_hints(build, include_extras=True)
    except NameError as e:
        raise UsageError(f"{source}: an annotation of {build.__name__} cannot be read: {e}") from None
    return [(p, hints.get(p.name, type(p.default))) for p in signature.parameters.values()]


def _setting(p: inspect.Parameter, hint: Any, source: str) -> Setting:
    allowed = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        allowed = next((x for x in extras if isinstance(x, Range)), None)
    kind = Policy if p.name == "answer" or Rule in get_args(hint) else kind_of(hint)
    if kind not in KINDS and get_origin(kind) is not Literal:
        raise UsageError(
            f"{source}: the parameter {p.name} is {getattr(kind, '__name__', kind)}, which cannot be written",
            "int, float, bool, str, a Literal of texts, or Rule | None for a policy",
        )
    return Setting(p.name, kind, p.default, allowed)
