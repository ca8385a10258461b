"""From a prompt and options to a generation: stream, generate, replay. Puts prompt, thinking, policy and loop together."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from softllama import policy
from softllama.base import arguments
from softllama.base import arguments as checks
from softllama.engine import manifest
from softllama.engine.engine import Engine, checked
from softllama.errors import MixtureError, PromptError, UsageError
from softllama.generation import loop
from softllama.generation.replay import replay as replay
from softllama.generation.state import Generation, Limits
from softllama.llama.template import ChatTemplate
from softllama.policy import Policy
from softllama.prompts import slots as prompts
from softllama.prompts import thinking, words
from softllama.prompts.thinking import Tags
from softllama.trace.record import Trace, ids_of
from softllama.trace.step import Step
from softllama.vectors import mix_text
from softllama.vectors.mixture import Mixture

Prompt = str | Sequence[int | Mixture]
Mixes = str | Mixture | Mapping[str, str | Mixture] | Sequence[str | Mixture]


@dataclass(frozen=True)
class Options:
    """How to generate. See `stream` for what they mean."""

    policy: Policy | Callable[..., Any] | str | None = None
    answer: Policy | Callable[..., Any] | str | None = None
    where: str | None = None
    max_tokens: int = 256
    seed: int | None = None
    stop: str | Sequence[str] = ()
    mix: Mixes = ()
    chat: bool = False
    system: str | None = None
    template: ChatTemplate | None = None
    think: str = "auto"
    think_budget: int | None = None
    think_tags: str | None = None
    split: str | None = None
    signed: bool = False
    normalize: bool = False


def options_of(given: Mapping[str, Any]) -> Options:
    """Options by name. Raises UsageError for one that there is not, with the closest."""
    known = [f.name for f in fields(Options)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UsageError(
                f"there is no option {name!r}", f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            )
    return Options(**given)


def prepare(
    model: Engine, prompt: Prompt | Sequence[Mapping[str, str]], options: Options, label: object = None
) -> Generation:
    """A generation that is ready to run. prompt: text, with places for `mix`; ids and mixtures; or chat messages."""

    checked(model).check_order()
    if not isinstance(prompt, str | Sequence | np.ndarray) or isinstance(prompt, bytes):
        raise PromptError(f"a prompt is text, token ids and mixtures, or messages, not {type(prompt).__name__}")
    for name in ("think_tags", "system", "split"):
        if not isinstance(value := getattr(options, name), str | None):
            raise UsageError(f"{name} must be text, not {value!r}")
    if not isinstance(options.template, ChatTemplate | None):
        raise UsageError(
            f"template must be a ChatTemplate, not {type(options.template).__name__}", "model.chat_template"
        )
    if options.think not in thinking.MODES:
        raise UsageError(f"think = {options.think!r} is not allowed", f"use one of {', '.join(thinking.MODES)}")
    tags = (
        thinking.written(model.tokenizer, options.think_tags)
        if options.think_tags
        else thinking.find(model.tokenizer, model.template_source)
    )
    messages = _messages(prompt, options)
    if options.think == "prompt":
        tags = thinking.make(model.tokenizer, "", thinking.PLAIN_CLOSE)
    inside = False
    if messages is not None:
        items, inside, tags = _chat(model, messages, options, tags)
    elif isinstance(prompt, str):
        items = _text(model, arguments.text("prompt", prompt), options)
        inside = thinking.opened(prompt, tags)
        if options.think == "on" and not inside:
            if tags is None:
                raise no_tags(model)
            items, inside = (*items, *tags.open_ids), True
    else:
        items = tuple(_item(model, i) for i in prompt)
        if not items and options.max_tokens:
            raise PromptError("an empty prompt gives the model nothing to go on", "write a prompt")
        ids = [i for i in items if isinstance(i, int)]
        inside = thinking.opened(model.detokenize(ids), tags)
    return assemble(model, options, items, inside, tags, chat=messages is not None, label=label)


def assemble(
    model: Engine,
    options: Options,
    items: tuple[int | Mixture, ...],
    inside: bool,
    tags: Tags | None,
    *,
    chat: bool,
    label: object = None,
) -> Generation:
    """A generation for a prompt that has become ids and mixtures. inside: does it end inside a thinking block?"""
    raw = not chat and not inside
    chosen = _policy(default_policy(model, inside)[0] if options.policy is None else options.policy)
    if options.where is not None:
        if options.where not in ("thinking", "everywhere"):
            raise UsageError(f"where = {options.where!r} is not allowed", "use thinking or everywhere")
        chosen = replace(chosen, arguments={**chosen.arguments, "where": options.where}, where=options.where)  # type: ignore[arg-type]
        everywhere = options.where == "everywhere"
    else:
        everywhere = raw and chosen.arguments.get("where") != "thinking"
    if options.answer is not None:
        chosen = replace(chosen, answer=_policy(options.answer))
    if chosen.needs_hidden and model.no_hidden:
        raise UsageError(
            f"the policy {chosen.name} does not work with {model.arch}: {model.no_hidden}", "use another policy"
        )
    if not isinstance(options.stop, Sequence):
        raise UsageError(f"a stop string must be some text, not {options.stop!r}")
    stop = (options.stop,) if isinstance(options.stop, str) else tuple(options.stop)
    limits = Limits(options.max_tokens, options.think_budget, stop)
    seed = secrets.randbits(32) if options.seed is None else checks.seed(options.seed)
    return Generation(
        model, chosen, items, limits, seed, tags if inside or not raw else None, inside, everywhere, label
    )


def stream(model: Engine, prompt: Prompt | Sequence[Mapping[str, str]], **options: Any) -> Iterator[Step]:
    """Generate step by step.

    prompt: text with places for `mix`, token ids and mixtures, or messages [{"role": ..., "content": ...}].
    policy: a softllama.policy, its written form, or a function of (Distribution, Moment); None for what
    the model's file asks for, else soft thinking in a thinking block and greedy decoding without one. answer: the policy
    after the block, if not the policy's own.
    where: "thinking" or "everywhere", if not the policy's own; a raw prompt has no thinking block, so there a policy acts
    everywhere unless this says otherwise. max_tokens: positions to generate. seed: of every random choice; drawn if None,
    and always in the trace. stop: texts that end the answer. mix: mixtures for the places; split, signed, normalize: how
    to read them. chat: the text is a user's message in the model's template, or in `template`, after `system`.
    think: "auto" opens a block where the template or the model's tags allow it, "on" insists, "off" prevents it, "prompt"
    asks for thinking in plain text. think_budget: steps after which the block is closed. think_tags: "<open>,</close>",
    if not the model's own.

    Nothing is kept of a step that was given out, so a stream may be as long as the context allows.

    Raises UsageError, PromptError, MixtureError, ModelError, ContextError.
    """
    g = prepare(model, prompt, options_of(options))
    g.keep = False
    for _, step in loop.run(model, [g], n_ctx=model.n_ctx_given):
        yield step


def generate(model: Engine, prompt: Prompt | Sequence[Mapping[str, str]], **options: Any) -> Trace:
    """Generate, and collect the steps into a Trace. The options are those of `stream`.

    Ctrl-C ends the generation, not the program: the trace has what there is, and "interrupted" as its stop_reason.
    """
    g = prepare(model, prompt, options_of(options))
    return collect(model, g, loop.run(model, [g], n_ctx=model.n_ctx_given))


def collect(
    model: Engine, g: Generation, steps: Iterable[tuple[Generation, Step]], each: Callable[[Step], None] | None = None
) -> Trace:
    """Run a generation to its end; `each` sees every step as it comes."""
    try:
        for _, step in steps:
            if each is not None:
                each(step)
    except KeyboardInterrupt:
        g.finish("interrupted")
    return record(model, g)


def record(model: Engine, g: Generation) -> Trace:
    """The Trace of a generation that has ended."""
    held = g.flush()
    arguments = {
        "policy": repr(g.policy), "max_tokens": g.limits.max_tokens, "think_budget": g.limits.think_budget,
        "stop": list(g.limits.stop),
    }  # fmt: skip
    total = time.perf_counter() - g.started if not g.steps else g.steps[-1].seconds
    return Trace(
        tuple(g.steps), g.prompt, describe(model, g.prompt), repr(g.policy), g.seed, g.stop_reason, g.limits.stop,
        (g.tags.open, g.tags.close) if g.tags else ("", ""), g.evaluated,
        {"prompt": g.prompt_seconds, "total": total}, manifest.build(model, arguments, seed=g.seed),
        (held, "") if g.thinking else ("", held),
        {i: model.spell(i) for i in dict.fromkeys(i for s in g.steps for i in ids_of(s))},
    )  # fmt: skip


def describe(model: Engine, items: Sequence[int | Mixture]) -> str:
    """Ids and mixtures as text, mixtures in brackets."""
    parts, ids = [], []
    for i in items:
        if isinstance(i, int):
            ids.append(i)
            continue
        parts += [model.detokenize(ids), "[" + " + ".join(f"{w:.3g}{model.spell(t)}" for t, w in i.top(4)) + "]"]
        ids = []
    return "".join(parts) + model.detokenize(ids)


# ---- prompts -----------------------------------------------------------------------------------------------------------


def default_policy(model: Engine, inside: bool) -> tuple[str, str]:
    """The policy for a prompt that names none, in its written form, and why: what the model's file asks for
    (softllama.policy), soft thinking inside a thinking block, greedy decoding without one."""
    asked = model.metadata.get("softllama.policy")
    if isinstance(asked, str) and asked:
        return asked, "as the model's file asks"
    if inside:
        return "soft_thinking", "the default for a prompt with a thinking block"
    return "greedy", "the default without a thinking block"


def _policy(given: Policy | Callable[..., Any] | str) -> Policy:
    return policy.parse(given) if isinstance(given, str) else policy.as_policy(given)


def _messages(prompt: Any, options: Options) -> list[dict[str, str]] | None:
    """Chat messages, or None for a raw prompt."""
    if isinstance(prompt, str):
        if not options.chat:
            if options.system is not None:
                raise UsageError("a system message needs --chat")
            return None
        system = [{"role": "system", "content": options.system}] if options.system else []
        return [*system, {"role": "user", "content": prompt}]
    if len(prompt) and isinstance(prompt[0], Mapping):
        for m in prompt:
            if not isinstance(m, Mapping) or not all(isinstance(m.get(k), str) for k in ("role", "content")):
                raise PromptError(f"a message has a role and a content, both text, not {m!r}")
        return [dict(m) for m in prompt]
    return None


def no_tags(model: Engine) -> UsageError:
    return UsageError(
        f"{model.name} has no thinking block that softllama knows",
        'name its tags with --think-tags "<think>,</think>", or use --think prompt',
    )


def _chat(
    model: Engine, messages: list[dict[str, str]], options: Options, tags: Tags | None
) -> tuple[tuple[int | Mixture, ...], bool, Tags | None]:
    template = options.template or model.chat_template
    variables = {"enable_thinking": options.think != "off"}
    if options.think == "prompt":
        last = dict(messages[-1])
        last["content"] = f"{last['content']}\n\n{thinking.INSTRUCTION}"
        messages = [*messages[:-1], last]
    given, which, parsed, names = _placed(messages, options)
    marks = [f"\ue000{chr(0xE100 + i)}\ue001" for i in range(len(which))]
    if marks:
        messages = [*messages[:-1], {**messages[-1], "content": parsed.filled(marks)}]
    text = template.render(messages, **variables)
    if options.think == "prompt":
        inside = True
    else:
        text, inside = open_block(model, text, options.think, tags)
    texts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise UsageError("the chat template does not keep the message as it is", "use a raw prompt")
        texts.append(before)
    whole = prompts.Prompt((*texts, text), parsed.places if marks else ())
    return _fill(model, whole, given, which, names, options), inside, tags


def open_block(model: Engine, text: str, think: str, tags: Tags | None) -> tuple[str, bool]:
    """Open or close the thinking block at the end of a rendered chat, as `think` says; and is it open now?"""
    inside = thinking.opened(text, tags)
    if think == "off":
        if inside:
            assert tags is not None
            return f"{text}{tags.close}\n\n", False
    elif not inside and (think == "on" or tags is not None):
        if tags is None:
            raise no_tags(model)
        return f"{text}{tags.open}\n", True
    return text, inside


def _placed(messages: list[dict[str, str]], options: Options) -> tuple[list[Any], list[int], prompts.Prompt, list[str]]:
    """The mixtures given, which of them goes to which place of the last message, and that message."""
    given, names = _mixes(options)
    text = messages[-1]["content"]
    if not given:
        return [], [], prompts.Prompt((text,), ()), []
    parsed = prompts.parse(text)
    return given, prompts.assign(parsed, names), parsed, names


def _mixes(options: Options) -> tuple[list[Any], list[str]]:
    mix = options.mix
    pairs: list[tuple[str, Any]]
    if isinstance(mix, str | Mixture):
        pairs = [("", mix)]
    elif isinstance(mix, Mapping):
        pairs = list(mix.items())
    else:
        if not isinstance(mix, Sequence):
            raise MixtureError(f"a mixture is text or a Mixture, not {type(mix).__name__}")
        pairs = [("", m) for m in mix]
    read = {"signed": options.signed, "normalize": options.normalize}
    specs = [m if isinstance(m, Mixture) else mix_text.parse(m, **read) for _, m in pairs]
    return specs, [n or getattr(s, "name", "") for (n, _), s in zip(pairs, specs, strict=True)]


def _text(model: Engine, text: str, options: Options) -> tuple[int | Mixture, ...]:
    """A raw prompt. Without mixtures, braces are just braces."""
    given, names = _mixes(options)
    if not given:
        whole, which = prompts.Prompt((text,), ()), []
    else:
        whole = prompts.parse(text)
        which = prompts.assign(whole, names)
    items = _fill(model, whole, given, which, names, options)
    if not items and options.max_tokens:
        raise PromptError("an empty prompt gives this model nothing to go on", "write a prompt")
    return items or (0,)


def _fill(
    model: Engine, whole: prompts.Prompt, given: list[Any], which: list[int], names: list[str], options: Options
) -> tuple[int | Mixture, ...]:
    encoded = words.encode(whole, model.tokenizer)
    fill = []
    for place, j in enumerate(which):
        spec = given[j]
        if isinstance(spec, Mixture):
            fill.append(words.from_mixture(spec, model.tokenizer, names[j]).mixture)
        else:
            read = {"split": options.split, "signed": options.signed, "normalize": options.normalize}
            space, lead = encoded.spaces[place], encoded.leads[place]
            fill.append(words.resolve(spec, model.tokenizer, space=space, lead=lead, **read).mixture)  # type: ignore[arg-type]
    return tuple(words.items_with(encoded, fill))


def _item(model: Engine, item: object) -> int | Mixture:
    if isinstance(item, Mixture):
        model.table.check(item)
        return item
    if isinstance(item, bool) or not isinstance(item, int | np.integer):
        raise MixtureError(f"a prompt holds token ids and mixtures, not {type(item).__name__}")
    if not 0 <= item < model.n_vocab:
        raise MixtureError(f"token id {item} is outside the vocabulary of {model.n_vocab}")
    return int(item)
