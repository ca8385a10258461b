"""softllama: feed probability vectors, not tokens, to language models that run in llama.cpp.

    import softllama as sl
    model = sl.load("model.gguf")
    print(model.probe("The {} says", mix="dog:0.5,cat:0.5").table())

Classes, functions and errors are names of `softllama` itself. So are these modules:

    sl.policy    vector -> decision           sl.trace     records of generations, and their files
    sl.search    beam search, voting          sl.evaluate  problems with known answers
    sl.extract   answers in texts             sl.study     what mixtures do to a model, as reports
    sl.hub       names -> files               sl.doctor    is all of it sound on this machine?
    sl.serve     an HTTP server that speaks OpenAI's API

Names are loaded on first use, so that importing the package costs nothing. What the package decides by itself is logged at
the levels INFO and DEBUG of logging.getLogger("softllama"); nothing is printed unless a program asks for it.

Knows where the public names live. Does nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from softllama._version import __version__
from softllama.errors import C_MODULE, C_MODULE_MISSING

_HOME = {
    "ContextError": "errors",
    "ControlVector": "vectors.interventions",
    "Conversation": "chat.conversation",
    "Distribution": "vectors.distribution",
    "Interrupted": "generation.run",
    "LensResult": "probe.lens.run",
    "Mixture": "vectors.mixture",
    "MixtureError": "errors",
    "Model": "api",
    "ModelError": "errors",
    "NotFiniteError": "errors",
    "Patch": "vectors.interventions",
    "ProbeResult": "probe.run",
    "PromptError": "errors",
    "Session": "engine.session",
    "SoftLlamaError": "errors",
    "Step": "trace.step",
    "Trace": "trace.record",
    "UsageError": "errors",
    "Vector": "vectors.vector",
    "average": "vectors.average",
    "blend": "vectors.mixture",
    "generate": "generation.run",
    "load": "api",
    "stream": "generation.run",
}
_MODULES = {
    "doctor": "diagnostics.doctor",
    "evaluate": "evaluate",
    "extract": "generation.extract",
    "hub": "hub",
    "policy": "policy",
    "search": "generation.search",
    "serve": "serve",
    "study": "study",
    "trace": "trace",
}

__all__ = [  # written out, so that type checkers see what is exported
    "ContextError",
    "ControlVector",
    "Conversation",
    "Distribution",
    "Interrupted",
    "LensResult",
    "Mixture",
    "MixtureError",
    "Model",
    "ModelError",
    "NotFiniteError",
    "Patch",
    "ProbeResult",
    "PromptError",
    "Session",
    "SoftLlamaError",
    "Step",
    "Trace",
    "UsageError",
    "Vector",
    "__version__",
    "average",
    "blend",
    "doctor",
    "evaluate",
    "extract",
    "generate",
    "hub",
    "load",
    "policy",
    "search",
    "serve",
    "stream",
    "study",
    "trace",
]

if TYPE_CHECKING:
    from softllama import evaluate, hub, policy, serve, study, trace
    from softllama.api import Model, load
    from softllama.chat.conversation import Conversation
    from softllama.diagnostics import doctor
    from softllama.engine.session import Session
    from softllama.errors import (
        ContextError,
        MixtureError,
        ModelError,
        NotFiniteError,
        PromptError,
        SoftLlamaError,
        UsageError,
    )
    from softllama.generation import extract, search
    from softllama.generation.run import Interrupted, generate, stream
    from softllama.probe.lens.run import LensResult
    from softllama.probe.run import ProbeResult
    from softllama.trace.record import Trace
    from softllama.trace.step import Step
    from softllama.vectors.average import average
    from softllama.vectors.distribution import Distribution
    from softllama.vectors.interventions import ControlVector, Patch
    from softllama.vectors.mixture import Mixture, blend
    from softllama.vectors.vector import Vector


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOME.get(name) or _MODULES.get(name)
    if home is None:
        raise AttributeError(f"module 'softllama' has no attribute {name!r}")
    try:
        module = import_module(f"softllama.{home}")
    except ModuleNotFoundError as e:
        if e.name != C_MODULE:
            raise
        # the command line knows it by its name
        raise ModuleNotFoundError(": ".join(C_MODULE_MISSING), name=C_MODULE) from None
    if home != "errors":
        _add_null_handler()
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def _add_null_handler() -> None:
    """As libraries do, so that nothing is printed. Here, because importing logging takes longer than `softllama --help`."""
    import logging

    logger = logging.getLogger("softllama")
    if not any(isinstance(h, logging.NullHandler) for h in logger.handlers):
        logger.addHandler(logging.NullHandler())


def __dir__() -> list[str]:
    return sorted(__all__)
