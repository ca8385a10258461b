"""From the fields of a request to GenerationOptions: which policy thinks, which one answers, and what ends them.

Sampling fields go to the answer, and to the thinking only where its policy feeds single tokens: many clients send
`temperature` unasked, and it must not change a soft policy. What a policy's own text says wins over them.
Knows requests and policies. Evaluates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from softllama import policy as policies
from softllama.chat import settings as chat_settings
from softllama.engine.engine import Engine, Item
from softllama.generation import prepare
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import PromptInput
from softllama.generation.state import Generation
from softllama.policy import Policy
from softllama.policy.registry import REGISTRY
from softllama.serve import mixtures
from softllama.serve.errors import ApiError
from softllama.serve.recording import Recorder
from softllama.serve.requests import Block, ChatRequest, Sampling
from softllama.serve.settings import Settings
from softllama.serve.state import State

NO_THINKING = ("none", "minimal", "off", "disable")  # values of reasoning_effort
MOST_STOPS = 64


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A request as far as it is the same for all its choices.

    options: without a seed. note: what was chosen for the request, in words; "" for nothing.
    """

    prompt: PromptInput
    options: GenerationOptions
    note: str = ""


def plan(
    model: Engine, request: Sampling, prompt: PromptInput, settings: Settings, suffix: str | None, *, chat: bool
) -> Plan:
    """Options for a prompt.

    Args:
        suffix: the policy that the model's name asks for (NAME@POLICY); None without one.
        chat: the prompt is messages.

    Raises:
        ApiError, SoftLlamaError: a field is not allowed.
    """
    block = request.softllama
    think, budget = _thinking(request)
    signed, n_vocab = block.signed, model.n_vocab
    mix = mixtures.argument(block.mixtures, signed=signed, n_vocab=n_vocab, param="softllama.mixtures")
    values: dict[str, Any] = {
        "chat": chat,
        "think": think,
        "think_budget": budget,
        "think_tags": block.think_tags,
        "where": block.where,
        "max_tokens": _max_tokens(request),
        "stop": _stops(request),
        "mix": mix,
        "signed": signed,
        "normalize": block.normalize,
        "split": block.split,
        "date": block.date,
        "on_loop": block.on_loop or "warn",
    }
    named = block.policy or suffix
    text = named or settings.policy
    sampling = fields(request)
    if text is None:
        text = _default(model, GenerationOptions(**values), prompt, chat, sampling)
    chosen = _policy(text, "softllama.policy" if block.policy else "model")
    with_fields = sampled(chosen, sampling, explicit=named is not None)
    answer = None if block.answer_policy is None else _policy(block.answer_policy, "softllama.answer_policy")
    options = GenerationOptions(policy=with_fields, answer=answer or _answer(chosen, sampling), **values)
    if named is None or not chat:
        return Plan(prompt=prompt, options=options)
    return _with_thinking(model, prompt, options)


def fields(request: Sampling) -> dict[str, Any]:
    """The sampling fields that were sent, by the names of `policy.sample`."""
    top_k = None if request.top_k is None else max(0, request.top_k)  # some clients send -1 for "all"
    top_p = 1e-6 if request.top_p == 0 else request.top_p  # the most probable token alone
    penalty = request.repetition_penalty if request.repetition_penalty is not None else request.repeat_penalty
    sent = {
        "temperature": request.temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": request.min_p,
        "repetition_penalty": penalty,
        "presence_penalty": request.presence_penalty or None,  # 0 is what many clients send unasked
        "frequency_penalty": request.frequency_penalty or None,
    }
    return {k: v for k, v in sent.items() if v is not None}


def sampled(policy: Policy, sampling: dict[str, Any], *, explicit: bool) -> Policy:
    """A policy that feeds single tokens, with the fields that were sent; a soft one as it is.

    Args:
        explicit: the request named the policy, so that what its text sets, wins. The name `greedy` sets everything.
    """
    if policy.soft or not sampling or policy.name not in REGISTRY:
        return policy
    if policy.name == "greedy":
        return policy if explicit else policies.sample(**sampling)
    info = REGISTRY[policy.name]
    own = {k: v for k, v in policy.arguments.items() if k != "answer"}
    sent = {k: v for k, v in sampling.items() if k in info.settings}
    answer = {"answer": policy.answer} if "answer" in policy.arguments else {}
    return info.factory(**({**sent, **own} if explicit else {**own, **sent}), **answer)


def _answer(policy: Policy, sampling: dict[str, Any]) -> Policy | None:
    """The policy of the answer with the fields that were sent; None to leave it as it is."""
    if not sampling or policy.where != "thinking" or "answer" in policy.arguments:
        return None
    base = policy.answer.arguments if policy.answer is not None and policy.answer.name == "sample" else {}
    return policies.sample(**{**base, **sampling})


def _default(
    model: Engine, options: GenerationOptions, prompt: PromptInput, chat: bool, sampling: dict[str, Any]
) -> str:
    """The policy where nothing was asked for: what `softllama chat` takes, or `softllama run` for a raw prompt."""
    g = prepare.prepare(model, prompt, options.changed(policy="greedy", seed=0))
    if g.thinking or not chat:
        text, _ = prepare.default_policy(model, g.thinking)
        return "sample" if text == "greedy" and sampling else text
    return chat_settings.default_policy(model, None)[0]


def _policy(text: str, param: str) -> Policy:
    try:
        return policies.parse(text)
    except Exception as e:
        message, hint = getattr(e, "message", str(e)), getattr(e, "hint", "")
        raise ApiError(400, f"{message} ({hint})" if hint else message, param=param) from None


def _with_thinking(model: Engine, prompt: PromptInput, options: GenerationOptions) -> Plan:
    """Where a policy was asked for by name and there is no thinking block for it, the model thinks in plain text."""
    g = prepare.prepare(model, prompt, options.changed(seed=0))
    if not prepare.never_acts(g) or options.think != "auto":
        note = prepare.no_block(model, g.policy, options.think) if prepare.never_acts(g) else ""
        return Plan(prompt=prompt, options=options, note=note)
    why = prepare.no_block(model, g.policy, options.think)
    note = f"{why}: the model is asked to think in plain text"
    return Plan(prompt=prompt, options=options.changed(think="prompt"), note=note)


def _thinking(request: Sampling) -> tuple[str, int | None]:
    """Whether to think, and for how many steps: our own block, else what other servers' clients send."""
    block, budget = request.softllama, request.softllama.think_budget
    wanted: bool | str | None = block.think
    if isinstance(request, ChatRequest):
        budget = request.thinking_token_budget if budget is None else budget
        kwargs = request.chat_template_kwargs
        if wanted is None and kwargs is not None and kwargs.enable_thinking is not None:
            wanted = "auto" if kwargs.enable_thinking else "off"
        if wanted is None and request.reasoning_effort in NO_THINKING:
            wanted = "off"
    if isinstance(wanted, bool):
        wanted = "on" if wanted else "off"
    return wanted or "auto", budget


def _max_tokens(request: Sampling) -> int | None:
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        return request.max_completion_tokens
    return request.max_tokens


def _stops(request: Sampling) -> tuple[str, ...]:
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    if len(stops) > MOST_STOPS:
        raise ApiError(400, f"at most {MOST_STOPS} stop strings are allowed, not {len(stops)}", param="stop")
    return tuple(s for s in stops if s)


class Prepared(NamedTuple):
    """A choice that has not begun. items: what is fed before its first step, a prefix included."""

    generation: Generation
    items: tuple[Item, ...]
    recorder: Recorder | None


def prepared(state: State, plan: Plan, block: Block, seed: int | None, n: int) -> list[Prepared]:
    """The choices of a prompt, which go on after what the request says was fed before.

    Raises:
        ApiError, SoftLlamaError: the prompt or what was fed is not allowed.
    """
    model = state.model
    given = [mixtures.given(i, model.n_vocab) for i in block.prefix.items] if block.prefix else []
    if given and plan.options.max_tokens is not None:
        plan = replace(plan, options=plan.options.changed(max_tokens=plan.options.max_tokens + len(given)))
    choices = []
    for g in generations(model, plan, block, seed, n):
        recorder = Recorder(model, g, local=state.settings.local) if block.trace == "record" else None
        g.resume([readout for _, readout in given])
        choices.append(Prepared(g, (*g.prompt, *(item for item, _ in given)), recorder))
    return choices


def generations(model: Engine, plan: Plan, block: Block, seed: int | None, n: int) -> list[Generation]:
    """A generation for each choice; their seeds follow each other."""
    first = prepare.prepare(model, plan.prompt, plan.options.changed(seed=None if seed is None or seed < 0 else seed))
    out = []
    for i in range(n):
        g = first if i == 0 else replace_seed(first, first.seed + i)
        g.keep = False
        out.append(g)
    return out


def replace_seed(g: Generation, seed: int) -> Generation:
    """A fresh generation of the same prompt with another seed."""
    return Generation(
        g.model, g.policy, g.prompt, replace(g.options, seed=seed), seed, g.tags, g.thinking, g.everywhere, g.label
    )
