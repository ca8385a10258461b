"""A trace fed to a model again: are the distributions the same? Knows no policies; what was decided is in the trace.

A step whose record holds the heaviest entries only is computed again, from the distribution that the model gives now.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from softllama import policy
from softllama.base import arguments
from softllama.engine.engine import Engine, checked
from softllama.errors import ContextError, MixtureError, ModelError
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.state import Generation
from softllama.llama.runtime import GRAPH
from softllama.trace.data import ids_of
from softllama.trace.record import Trace
from softllama.vectors.distribution import Distribution
from softllama.vectors.vector import Vector


def replay(model: Engine, trace: Trace, *, any_model: bool = False) -> list[float]:
    """Feed a trace's prompt and mixtures again; for each step the largest difference of the recorded top probabilities.

    Where the trace holds the heaviest entries of a mixture only (`Step.rest`), what is fed is computed from the model's
    distribution, as `Step.whole` says.

    0 throughout on the same machine and build; small numbers on another. Raises ModelError for a trace of another model
    (any_model: not), MixtureError for ids outside the vocabulary, ContextError if it does not fit into the context.
    """

    checked(model)
    arguments.instance("trace", trace, Trace, "softllama.trace.load(FILE) reads one")
    if not any_model:
        check_model(model, trace)
    check_ids(model, trace)
    if not trace.steps:
        return []
    recorded = iter(trace.steps)
    differences: list[float] = []

    def again(d: Distribution, moment: policy.Moment) -> policy.Decision:
        s = next(recorded)
        differences.append(max((abs(d[i].p - p) for i, p in s.top), default=0.0))
        mixture = s.mixture if s.rest is None or s.whole is None else s.whole.mixture(d)[0]
        return policy.Decision(mixture, s.token, s.mode, noise=s.noise, hidden=s.hidden, align=s.align)

    # a context that gives hidden states rounds in another way, so it is made even where no step took one
    hidden = trace.manifest.get("arguments", {}).get("hidden_states", any(s.hidden for s in trace.steps))
    rule = policy.as_policy(again, name="replay", needs_hidden=bool(hidden))
    g = Generation(model, rule, trace.prompt, GenerationOptions(max_tokens=len(trace.steps)), trace.seed, eog=False)
    for _ in loop.run(model, [g], n_ctx=model.n_ctx_given):
        pass
    if len(differences) < len(trace.steps):
        raise ContextError(
            f"the context was full after {len(differences):,} of {len(trace.steps):,} steps",
            "give it more room with --n-ctx (n_ctx=...)",
        )
    return differences


def check_model(model: Engine, trace: Trace) -> None:
    """Raise ModelError if the manifest of a trace names another model, by the hash of its files, or other adapters."""
    origin = trace.manifest.get("model")
    origin = origin if isinstance(origin, dict) else {}
    recorded, own = origin.get("sha256"), model.sha256
    hint = "name the model that made it with -m, or compare all the same with --any-model"
    if recorded is not None and recorded != own:
        raise ModelError(
            f"the trace was made with {_file(origin.get('path'))} (sha256 {str(recorded)[:16]}…), and this is "
            f"{_file(model.path)} (sha256 {str(own)[:16]}…)",
            hint,
        )
    before, now = (_adapters(a) for a in (origin.get("lora"), model.lora))
    if recorded is not None and before != now:
        raise ModelError(f"the trace was made with {before or 'no adapter'}, not with {now or 'no adapter'}", hint)
    chosen = trace.manifest.get("runtime")
    graph = {k: v for k, v in chosen.items() if k in GRAPH} if isinstance(chosen, dict) else {}
    if recorded is not None and graph != model.runtime.graph:
        raise ModelError(
            "the trace was made with another KV cache or flash attention: "
            + (", ".join(f"{k}={v!r}" for k, v in graph.items()) or "llama.cpp's own"),
            "softllama.load takes the same; --any-model (any_model=True) compares all the same",
        )
    if recorded is not None and origin.get("control", []) != [v.to_dict() for v in model.controls.vectors]:
        raise ModelError(
            "the trace was made with other control vectors",
            "--add adds them (model.with_control(...)); --any-model compares all the same",
        )


def _file(path: Any) -> str:
    return Path(str(path)).name


def _adapters(lora: Any) -> str:
    """Adapters by their file names and scales, as they are compared: folders differ between machines."""
    pairs = lora if isinstance(lora, list) else []
    return ", ".join(f"{Path(str(p[0])).name}:{p[1]}" for p in pairs if isinstance(p, list | tuple) and len(p) == 2)


def check_ids(model: Engine, trace: Trace) -> None:
    """Raise MixtureError if a trace holds token ids that the model does not have."""
    model.check_vectors(trace.prompt)
    plain = [i for i in trace.prompt if not isinstance(i, Vector)]
    highest = [("prompt", i if isinstance(i, int) else int(i.ids[-1])) for i in plain]
    highest += [(f"step {s.index}", max(ids_of(s))) for s in trace.steps]
    for where, i in highest:
        if i >= model.n_vocab:
            raise MixtureError(
                f"the trace's {where} holds token id {i}, and {model.name} has a vocabulary of {model.n_vocab}",
                "name the model that made it with -m",
            )
