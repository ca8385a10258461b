"""softllama: feed probability vectors, not tokens, to language models that run in llama.cpp.

    import softllama as sl
    model = sl.load("model.gguf")
    print(model.probe("The {} says", mix="dog:0.5,cat:0.5").table())

Names are loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ContextError": "errors",
    "Conversation": "conversation",
    "Distribution": "distribution",
    "Mixture": "mixture",
    "MixtureError": "errors",
    "Model": "model",
    "ModelError": "errors",
    "ProbeResult": "probe",
    "PromptError": "errors",
    "Session": "session",
    "SoftLlamaError": "errors",
    "Step": "decode",
    "Trace": "trace",
    "UsageError": "errors",
    "average": "distribution",
    "blend": "mixture",
    "load": "model",
}

# the C module; the source folder has none, and Python looks there first when it is started there
SHIM = "softllama._shim"
UNBUILT = (
    "this softllama is a folder of sources, whose C module is not built",
    "work in another folder, or install it so that it can be used here: pip install --editable .",
)

_MODULES = ("extract", "policy", "search")

__all__ = [  # written out, so that type checkers see what is exported
    "ContextError", "Conversation", "Distribution", "Mixture", "MixtureError", "Model", "ModelError", "ProbeResult",
    "PromptError", "Session", "SoftLlamaError", "Step", "Trace", "UsageError", "__version__", "average", "blend", "extract",
    "load", "policy", "search",
]  # fmt: skip

if TYPE_CHECKING:
    from softllama import extract, policy, search
    from softllama.conversation import Conversation
    from softllama.decode import Step
    from softllama.distribution import Distribution, average
    from softllama.errors import ContextError, MixtureError, ModelError, PromptError, SoftLlamaError, UsageError
    from softllama.mixture import Mixture, blend
    from softllama.model import Model, load
    from softllama.probe import ProbeResult
    from softllama.session import Session
    from softllama.trace import Trace


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULES and name not in _HOME:
        raise AttributeError(f"module 'softllama' has no attribute {name!r}")
    try:
        module = import_module(f"softllama.{_HOME.get(name, name)}")
    except ModuleNotFoundError as e:
        if e.name != SHIM:
            raise
        raise ImportError(": ".join(UNBUILT)) from None
    if name in _MODULES:
        return module
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
