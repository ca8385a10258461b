"""Stream and generate: from a prompt to steps, and from steps to a Trace.

Puts preparation, loop and record together. Knows no terminal.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Unpack

from softllama.engine import manifest
from softllama.engine.engine import Engine
from softllama.generation import loop
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, never_acts, no_block, prepare
from softllama.generation.state import Generation
from softllama.trace.data import ids_of
from softllama.trace.record import Trace
from softllama.trace.step import Step, StopReason
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a generation or a search.

    Attributes:
        trace: what was generated until then, with StopReason.INTERRUPTED; of a search, the best that there is.
        result: what a search has: a BeamResult, Samples, VoteResult or BestResult. None for a single generation.
    """

    def __init__(self, trace: Trace, result: object = None) -> None:
        super().__init__()
        self.trace = trace
        self.result = result


def stream(model: Engine, prompt: PromptInput, **options: Unpack[GenerationKeywords]) -> Iterator[Step]:
    """Generate step by step. Nothing is kept of a step that was given out.

    Args:
        prompt: text with slots for `mix`; token ids and mixtures; or messages [{"role": ..., "content": ...}]. A text is a
            message of the user if the model has a chat template, as for `softllama run`; chat=False leaves it raw.
        options: the fields of GenerationOptions.

    Yields:
        Each step as it is decided.

    Raises:
        UsageError, PromptError, MixtureError, ModelError, ContextError, NotFiniteError.
    """
    g = _prepared(model, prompt, options)
    g.keep = False
    for _, step in loop.run(model, [g], n_ctx=model.n_ctx_given):
        yield step


def generate(model: Engine, prompt: PromptInput, **options: Unpack[GenerationKeywords]) -> Trace:
    """Generate, and collect the steps into a Trace. Arguments and errors are those of `stream`.

    Raises:
        Interrupted: Ctrl-C, a KeyboardInterrupt. Its `trace` has what there is.
    """
    g = _prepared(model, prompt, options)
    trace = collect(model, g, loop.run(model, [g], n_ctx=model.n_ctx_given))
    if trace.stop_reason == StopReason.INTERRUPTED:
        raise Interrupted(trace)
    return trace


def _prepared(model: Engine, prompt: PromptInput, keywords: GenerationKeywords) -> Generation:
    """A generation that is ready. Warns of a policy that was given and would never act, as the chat has no thinking block."""
    g = prepare(model, prompt, options := GenerationOptions.of(keywords))
    if options.policy is not None and "where" not in g.policy.arguments and never_acts(g):
        warnings.warn(
            f'{no_block(model, g.policy, options.think)}; think="prompt" asks for thinking in plain text, '
            'where="everywhere" mixes the whole answer, chat=False leaves the prompt raw',
            stacklevel=4,
        )
    return g


def collect(
    model: Engine, g: Generation, steps: Iterable[tuple[Generation, Step]], each: Callable[[Step], None] | None = None
) -> Trace:
    """Run a generation to its end, or to Ctrl-C: for whoever shows what there is. each: is called with every step as it comes."""
    try:
        for _, step in steps:
            if each is not None:
                each(step)
    except KeyboardInterrupt:
        g.finish(StopReason.INTERRUPTED)
    return record(model, g)


def record(model: Engine, g: Generation) -> Trace:
    """The Trace of a generation that has ended."""
    rest = g.flush()
    arguments = {
        "policy": repr(g.policy),
        "max_tokens": g.options.max_tokens,
        "think_budget": g.options.think_budget,
        "stop": list(g.options.stop),
        **({"date": g.options.date} if g.options.date else {}),
        "on_loop": g.options.on_loop,
        **({"hidden_states": True} if g.policy.needs_hidden else {}),
    }
    steps = g.recorded()
    total = time.perf_counter() - g.started if not g.steps else g.steps[-1].seconds
    return Trace(
        steps=steps,
        prompt=g.prompt,
        prompt_text=describe(model, g.prompt),
        policy=repr(g.policy),
        seed=g.seed,
        stop_reason=g.stop_reason,
        stop=g.options.stop,
        thinking_tags=(g.tags.open, g.tags.close) if g.tags else ("", ""),
        evaluated=g.evaluated,
        timings={"prompt": g.prompt_seconds, "total": total},
        manifest=manifest.build(model, arguments, seed=g.seed),
        tail=(rest, "") if g.thinking else ("", rest),
        texts={i: model.spell(i) for i in _ids(steps, g)},
        stop_string=g.stop_string,
        degenerations=tuple(d.to_dict() for d in g.degenerations),
        layers=tuple(g.layers),
    )


def _ids(steps: Iterable[Step], g: Generation) -> Iterable[int]:
    """Every token id in a record, each once."""
    return dict.fromkeys([*(i for s in steps for i in ids_of(s)), *(i for s in g.layers for i in s.ids)])


def no_answer(trace: Trace) -> str:
    """Why there is no answer, in words; "" where there is one, or where none was asked for."""
    if trace.answer.strip() or trace.stop_reason == StopReason.INTERRUPTED:
        return ""
    if not trace.steps:
        return "the model ended its answer at once" if trace.stop_reason == StopReason.END_OF_GENERATION else ""
    if all(s.thinking for s in trace.steps) and trace.n_thinking:
        return f"all {trace.n_thinking:,} tokens went to thinking"
    if trace.stop_string:
        return f"the stop string {trace.stop_string!r} came first"
    if trace.answer:
        return "it has white space only"
    return f"the model ended it at once, after {trace.n_thinking:,} tokens of thinking"


def describe(model: Engine, items: Sequence[int | Mixture | Vector]) -> str:
    """Ids and mixtures as text, mixtures in brackets."""
    parts: list[str] = []
    ids: list[int] = []
    for i in items:
        if isinstance(i, int):
            ids.append(i)
            continue
        shown = "vector" if isinstance(i, Vector) else " + ".join(f"{w:.3g} {_word(model, t)}" for t, w in i.top(4))
        parts += [model.detokenize(ids), f"[{shown}]"]
        ids = []
    return "".join(parts) + model.detokenize(ids)


def _word(model: Engine, token: int) -> str:
    return model.spell(token).removeprefix(" ")
