"""softllama: feed probability vectors, not tokens, to language models that run in llama.cpp.

    import softllama as sl
    model = sl.load("model.gguf")
    print(model.probe("The {} says", mix="dog:0.5,cat:0.5").table())

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softllama._version import __version__
from softllama.errors import C_MODULE, C_MODULE_MISSING

_HOME = {
    "ContextError": "errors",
    "Conversation": "chat.conversation",
    "Distribution": "vectors.distribution",
    "Mixture": "vectors.mixture",
    "MixtureError": "errors",
    "Model": "api",
    "ModelError": "errors",
    "ProbeResult": "probe.run",
    "PromptError": "errors",
    "Session": "engine.session",
    "SoftLlamaError": "errors",
    "Step": "trace.step",
    "Trace": "trace.record",
    "UsageError": "errors",
    "average": "vectors.average",
    "blend": "vectors.mixture",
    "load": "api",
}

_MODULES = {"extract": "generation.extract", "policy": "policy", "search": "generation.search", "trace": "trace"}

__all__ = [  # written out, so that type checkers see what is exported
    "ContextError", "Conversation", "Distribution", "Mixture", "MixtureError", "Model", "ModelError", "ProbeResult",
    "PromptError", "Session", "SoftLlamaError", "Step", "Trace", "UsageError", "__version__", "average", "blend", "extract",
    "load", "policy", "search", "trace",
]  # fmt: skip

if TYPE_CHECKING:
    from softllama import policy, trace
    from softllama.api import Model, load
    from softllama.chat.conversation import Conversation
    from softllama.engine.session import Session
    from softllama.errors import ContextError, MixtureError, ModelError, PromptError, SoftLlamaError, UsageError
    from softllama.generation import extract, search
    from softllama.probe.run import ProbeResult
    from softllama.trace.record import Trace
    from softllama.trace.step import Step
    from softllama.vectors.average import average
    from softllama.vectors.distribution import Distribution
    from softllama.vectors.mixture import Mixture, blend


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES and name not in _HOME:
        raise AttributeError(f"module 'softllama' has no attribute {name!r}")
    try:
        module = import_module(f"softllama.{_HOME.get(name) or _MODULES[name]}")
    except ModuleNotFoundError as e:
        if e.name != C_MODULE:
            raise
        raise ImportError(": ".join(C_MODULE_MISSING)) from None
    if name in _MODULES:
        return module
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
