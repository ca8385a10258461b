"""How to generate, as data that is checked once. Knows policies and templates, no model.

`GenerationOptions` is what the loop, chats, evaluations, searches and the command line share. `GenerationKeywords` is the same
for functions that take the options as keywords.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, TypedDict

from softllama import policy as policies
from softllama.base import arguments
from softllama.errors import UsageError
from softllama.llama.template import ChatTemplate
from softllama.policy import Policy
from softllama.prompts import thinking, words
from softllama.prompts.words import MixArgument, Split

PolicyArgument: TypeAlias = "Policy | Callable[..., Any] | str"
Think: TypeAlias = Literal["auto", "on", "off", "prompt"]
Where: TypeAlias = Literal["thinking", "everywhere"]
Keep: TypeAlias = Literal["heavy", "all"]
OnLoop: TypeAlias = Literal["warn", "stop", "hard"]
ON_LOOP = ("warn", "stop", "hard")
WHERE = ("thinking", "everywhere")


class GenerationKeywords(TypedDict, total=False):
    """The fields of GenerationOptions, as keywords."""

    policy: PolicyArgument | None
    answer: PolicyArgument | None
    where: Where | None
    max_tokens: int | None
    seed: int | None
    stop: str | Sequence[str]
    mix: MixArgument
    chat: bool | None
    system: str | None
    template: ChatTemplate | str | None
    think: Think
    think_budget: int | None
    think_tags: str | None
    on_loop: OnLoop
    split: Split | None
    signed: bool
    normalize: bool
    keep: Keep
    parse_special: bool
    date: str | None
    lens: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerationOptions:
    """How to generate.

    Args:
        policy: a softllama.policy, its text, or a function of (Distribution, Moment). None for what the model's file asks
            for, else soft thinking in a thinking block and greedy decoding without one.
        answer: the policy after the thinking block, if not the policy's own.
        where: "thinking" or "everywhere", if not the policy's own. A raw prompt has no thinking block, so there a policy
            acts everywhere unless this says otherwise.
        max_tokens: positions to generate at most; None for what the context has room for.
        seed: of every random choice; drawn if None, and always in the trace.
        stop: texts that end the answer.
        mix: mixtures for the prompt's slots; `split`, `signed` and `normalize` say how their words are read.
        chat: the text is a user's message in a chat template, after `system`; False: it is raw. None: a message, if there is a
            template, of the model or in `template`.
        template: the chat template, as Jinja text; None for the model's own.
        think: "auto" opens a thinking block where the template or the model's tags allow it, "on" insists, "off" prevents
            it, "prompt" asks for thinking in plain text.
        think_budget: steps after which the thinking block is closed.
        think_tags: "<open>,</close>", if not the model's own.
        keep: what the trace holds of a mixture that is the whole distribution (policies `full`, `soft_noise`, `swir`).
            "heavy": the 100 heaviest entries; a replay computes the others again. "all": every entry, up to 8 bytes for
            each token of the vocabulary and step.
        parse_special: the text of a control token in a user's chat message, such as "<|im_end|>", is that token. Without, it
            is text like any other.
        date: the day that a chat template takes for today, as "2026-01-31"; None for today. It is in the record.
        on_loop: what happens where the text loops, repeats itself, or surprises the model (generation/degeneration.py): "warn"
            keeps that in the record, "stop" also ends the thinking or the answer, "hard" also feeds single tokens from there on.
        lens: after every so many steps, read what each layer would say (`Trace.layers`). Of one generation, not of a search.

    Raises:
        UsageError: a value is not allowed.
        MixtureError: `split` is "alternatives", which only a probe knows.
    """

    policy: PolicyArgument | None = None  # a Policy, once it is here
    answer: PolicyArgument | None = None
    where: Where | None = None
    max_tokens: int | None = 256
    seed: int | None = None
    stop: tuple[str, ...] = ()
    mix: MixArgument = ()
    chat: bool | None = None
    system: str | None = None
    template: ChatTemplate | str | None = None
    think: Think = "auto"
    think_budget: int | None = None
    think_tags: str | None = None
    on_loop: OnLoop = "warn"
    split: Split | None = None
    signed: bool = False
    normalize: bool = False
    keep: Keep = "heavy"
    parse_special: bool = False
    date: str | None = None
    lens: int | None = None

    def __post_init__(self) -> None:
        for name in ("policy", "answer"):
            object.__setattr__(self, name, _policy(getattr(self, name)))
        for name in ("think_tags", "system", "split"):
            if not isinstance(value := getattr(self, name), str | None):
                raise UsageError(f"{name} must be text, not {value!r}")
        if self.date is not None:
            day(self.date)
        if not isinstance(self.parse_special, bool):
            raise UsageError(f"parse_special must be True or False, not {self.parse_special!r}")
        if not isinstance(self.template, ChatTemplate | str | None):
            raise UsageError(
                f"template must be a ChatTemplate or Jinja text, not {type(self.template).__name__}",
                "model.chat_template",
            )
        _one_of("where", self.where, WHERE)
        _one_of("keep", self.keep, ("heavy", "all"), none=False)
        _one_of("think", self.think, thinking.MODES, none=False)
        _one_of("on_loop", self.on_loop, ON_LOOP, none=False)
        arguments.integer_or_none("max_tokens", self.max_tokens, 0)
        arguments.integer_or_none("lens", self.lens, 1, hint="--lens every:4")
        if arguments.integer_or_none("think_budget", self.think_budget) is not None and self.think_budget < 0:  # type: ignore[operator]
            raise UsageError(f"the thinking budget must be 0 or more, not {self.think_budget}")
        if self.seed is not None:
            object.__setattr__(self, "seed", arguments.seed(self.seed))
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        if self.split == words.ALTERNATIVES:
            raise words.not_averaged()

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> GenerationOptions:
        """Options by name. Raises UsageError for one that there is not, with the closest."""
        known = [f.name for f in fields(cls)]
        for name in keywords:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
                raise UsageError(f"there is no option {name!r}", hint)
        return cls(**keywords)

    def changed(self, **keywords: Any) -> GenerationOptions:
        """The same with other values. Raises UsageError as the constructor does."""
        return replace(self, **keywords)


def day(text: str) -> datetime.date:
    """A day as "2026-01-31". Raises UsageError for another text."""
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        raise UsageError(f"{text!r} is no date", "such as 2026-01-31") from None


def _policy(value: Any) -> Policy | None:
    if value is None:
        return None
    return policies.parse(value) if isinstance(value, str) else policies.as_policy(value)


def _one_of(name: str, value: Any, allowed: Sequence[str], *, none: bool = True) -> None:
    if value in allowed or (none and value is None):
        return
    raise UsageError(f"{name} = {value!r} is not allowed", f"use one of {', '.join(allowed)}")


def _stop_strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | list | tuple):
        raise UsageError(f"a stop string must be some text, not {value!r}")
    texts = (value,) if isinstance(value, str) else tuple(value)
    if any(not isinstance(s, str) or not s for s in texts):
        raise UsageError("a stop string must be some text")
    return texts
