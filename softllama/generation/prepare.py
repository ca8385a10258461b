"""From a prompt and options to a generation that is ready to run.

Knows prompts, thinking tags and policies. Evaluates nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from softllama import policy as policies
from softllama.base import arguments
from softllama.engine.engine import Engine, checked
from softllama.errors import ModelError, PromptError, UsageError
from softllama.generation.options import GenerationOptions, day
from softllama.generation.state import Generation
from softllama.llama.template import ChatTemplate
from softllama.policy import Policy
from softllama.prompts import build, slots, thinking, words
from softllama.prompts.build import Item, SlottedMessage
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.thinking import Tags
from softllama.prompts.words import MixInput
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

_OWN = ("role", "content")
PromptInput: TypeAlias = str | Sequence[int | Mixture | Vector] | Sequence[Mapping[str, str]]
"""Text with slots for mixtures; token ids, mixtures and vectors; or chat messages {"role": ..., "content": ...}."""


def prepare(
    model: Engine, prompt: PromptInput, options: GenerationOptions, label: object = None, *, causal: bool = True
) -> Generation:
    """A generation that is ready to run.

    Args:
        label: names the generation in error messages.
        causal: False for what a diffusion model decodes by itself (diffusion.py).

    Raises:
        UsageError, PromptError, MixtureError: the prompt or the options do not fit each other or the model.
        ModelError: the model has no chat template, or is a diffusion model.
    """
    checked(model)
    if causal:
        model.require_causal()
    if not isinstance(prompt, str | Sequence | np.ndarray) or isinstance(prompt, bytes):
        raise PromptError(f"a prompt is text, token ids and mixtures, or messages, not {type(prompt).__name__}")
    messages = _messages(prompt, options, chat=in_chat(model, options))
    template = chat_template(model, options.template) if messages is not None or options.template is not None else None
    if template is not None:
        template = template.on(day(options.date)) if options.date else template
        options = options.changed(date=template.day.isoformat() if template.asks_for_date else None)
    source = model.template_source if template is None else template.source
    tags = thinking.tags_for(model.tokenizer, source, options.think, options.think_tags)
    if messages is not None:
        assert template is not None
        items, inside = _chat(model, template, messages, options, tags)
    elif isinstance(prompt, str):
        items = _text(model, arguments.text("prompt", prompt), options)
        inside = thinking.opened(prompt, tags)
        if options.think == "on" and not inside:
            if tags is None:
                raise thinking.no_tags(model.name)
            items, inside = (*items, *tags.open_ids), True
    else:
        items = build.checked_items(prompt, model.tokenizer)
        if not items and options.max_tokens != 0:
            raise PromptError("an empty prompt gives the model nothing to go on", "write a prompt")
        ids = [i for i in items if isinstance(i, int)]
        inside = thinking.opened(model.detokenize(ids), tags)
    model.check_vectors(items)
    return assemble(model, options, items, inside, tags, chat=messages is not None, label=label)


def assemble(
    model: Engine,
    options: GenerationOptions,
    items: tuple[Item, ...],
    inside: bool,
    tags: Tags | None,
    *,
    chat: bool,
    label: object = None,
) -> Generation:
    """A generation for a prompt that has become ids and mixtures. inside: does it end inside a thinking block?"""
    raw = not chat and not inside
    chosen = _policy(options.policy) or policies.parse(default_policy(model, inside)[0])
    if options.where is not None:
        chosen = replace(chosen, arguments={**chosen.arguments, "where": options.where}, where=options.where)
        everywhere = options.where == "everywhere"
    else:
        everywhere = raw and chosen.arguments.get("where") != "thinking"
    if options.answer is not None:
        chosen = replace(chosen, answer=_policy(options.answer))
    if chosen.needs_hidden and model.no_hidden_reason:
        raise UsageError(
            f"the policy {chosen.name} does not work with {model.arch}: {model.no_hidden_reason}", "use another policy"
        )
    seed = secrets.randbits(32) if options.seed is None else options.seed
    return Generation(
        model, chosen, items, options, seed, tags if inside or not raw else None, inside, everywhere, label
    )


def _policy(value: object) -> Policy | None:
    """The policy of checked options."""
    assert isinstance(value, Policy | None)
    return value


def never_acts(g: Generation) -> bool:
    """Would the policy of a prepared generation never decide a step, as it acts in a thinking block and there is none?"""
    return g.policy.where == "thinking" and not (g.thinking or g.everywhere)


def no_block(model: Engine, policy: Policy, think: str) -> str:
    """Why a policy would never act, in words. think: of the options."""
    why = "thinking is switched off" if think == "off" else f"{model.name} has no thinking block"
    return f"{why}, so {policy.name} would never act"


def default_policy(model: Engine, inside: bool) -> tuple[str, str]:
    """The policy for a prompt that names none, as text, and why: what the model's file asks for (softllama.policy), soft
    thinking inside a thinking block, greedy decoding without one."""
    text = model.metadata.get("softllama.policy")
    if isinstance(text, str) and text:
        return text, "as the model's file asks"
    if inside:
        return "soft_thinking", "the default for a prompt with a thinking block"
    return "greedy", "the default without a thinking block"


def chat_template(model: Engine, template: ChatTemplate | str | None = None) -> ChatTemplate:
    """The chat template: the model's own, or one given as Jinja text.

    Raises:
        ModelError: there is none, or it does not parse.
    """
    if isinstance(template, ChatTemplate):
        return template
    if template is None:
        return model.chat_template
    bos, eos = ("" if i is None else model.spell(i) for i in (model.tokenizer.bos, model.tokenizer.eos))
    try:
        return ChatTemplate(template, bos=bos, eos=eos)
    except ModelError as e:
        raise ModelError(e.message, "repair the file that --template names") from None


def in_chat(model: Engine, options: GenerationOptions) -> bool:
    """Is a prompt that is text a message in a chat template? Where the options leave it open: if there is a template."""
    if options.chat is None:
        return options.template is not None or bool(model.template_source)
    return options.chat


def _messages(prompt: Any, options: GenerationOptions, *, chat: bool) -> list[dict[str, str]] | None:
    """Chat messages, or None for a raw prompt. chat: is a text a message?"""
    if isinstance(prompt, str):
        if not chat:
            if options.system is not None:
                raise UsageError("a system message needs a chat template", "--chat (chat=True), or --template FILE")
            return None
        system = [{"role": build.SYSTEM, "content": options.system}] if options.system else []
        return [*system, {"role": build.USER, "content": prompt}]
    if len(prompt) and isinstance(prompt[0], Mapping):
        for m in prompt:
            if not isinstance(m, Mapping) or not all(isinstance(m.get(k), str) for k in ("role", "content")):
                raise PromptError(f"a message has a role and a content, both text, not {m!r}")
        return [dict(m) for m in prompt]
    return None


def _chat(
    model: Engine,
    template: ChatTemplate,
    messages: Sequence[Mapping[str, str]],
    options: GenerationOptions,
    tags: Tags | None,
) -> tuple[tuple[Item, ...], bool]:
    """The rendered chat as ids and mixtures, and whether it ends inside a thinking block. Slots are in the last message."""
    *earlier, last = [
        SlottedMessage(m["role"], PromptTemplate((m["content"],), ()), {k: v for k, v in m.items() if k not in _OWN})
        for m in messages
    ]
    mixes, which, text = _slotted(messages[-1]["content"], options)
    last = SlottedMessage(last.role, text, last.more)
    messages_ = [*earlier, last]
    if not options.parse_special:
        messages_ = [build.without_control_tokens(m, model.tokenizer) for m in messages_]
    chat = build.chat_text(template, messages_, options.think, tags, model.name, options.think_budget)
    return build.filled(chat.text, [which[i] for i in chat.order], mixes, model.tokenizer), chat.thinking


def _text(model: Engine, text: str, options: GenerationOptions) -> tuple[Item, ...]:
    """A raw prompt. Without mixtures, braces are just braces."""
    mixes, which, template = _slotted(text, options)
    items = build.filled(template, which, mixes, model.tokenizer)
    if not items and options.max_tokens != 0:
        raise PromptError("an empty prompt gives this model nothing to go on", "write a prompt")
    return items or (0,)


def _slotted(text: str, options: GenerationOptions) -> tuple[list[MixInput], list[int], PromptTemplate]:
    """The mixtures, which of them goes to which slot of the text, and the text around its slots."""
    mixes = words.read_mixes(options.mix, split=options.split, signed=options.signed, normalize=options.normalize)
    if not mixes:
        return [], [], PromptTemplate((text,), ())
    parsed = slots.parse(text)
    return mixes, slots.assign(parsed, [m.name for m in mixes]), parsed
