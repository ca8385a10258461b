"""A conversation with a model: messages, settings, seeds, and answers whose beginnings are not evaluated twice.

Knows no terminal: the repl, a server or a notebook drives it. Softllama's one mutable object besides a Context.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack

from softllama import policy
from softllama.base import arguments
from softllama.chat import messages, overflow, storage
from softllama.chat import settings as chat_settings
from softllama.chat.messages import Message, Mix, Rendered, details_of
from softllama.chat.prefix_cache import PrefixCache
from softllama.chat.settings import ChatKeywords
from softllama.chat.storage import Saved
from softllama.engine.engine import Engine, checked
from softllama.errors import UsageError
from softllama.generation import advice, prepare, run
from softllama.generation.options import GenerationOptions, day
from softllama.generation.state import Generation
from softllama.llama.template import ChatTemplate
from softllama.policy import Policy
from softllama.prompts import thinking
from softllama.prompts.build import ASSISTANT, USER
from softllama.trace.record import Trace
from softllama.trace.step import Step
from softllama.vectors.distribution import Distribution

Each = Callable[[Step], None]


class Conversation:
    """Messages to and from a model: Conversation(model).reply("Hello").answer.

    system: the system message, "" for none. mixes: the mixtures that {name} in a message can stand for, by name.
    settings: more of them by name, such as policy="gumbel" or think_budget=200 (see Settings). seed: of the first
    answer; each further answer takes the next number. Drawn if None. template: Jinja text in place of the model's own.
    n_ctx: positions of the context; None for what the model was loaded with. changed: called after every change of what
    is worth saving, before an answer is made and after it.

    messages: user and assistant in turn. left_out: how many of the oldest turns no longer go to the model (see OVERFLOW).
    Raises ModelError if there is no chat template, UsageError for settings that are none.
    """

    def __init__(
        self,
        model: Engine,
        *,
        system: str = "",
        seed: int | None = None,
        template: str | None = None,
        n_ctx: int | None = None,
        changed: Callable[[], None] | None = None,
        **settings: Unpack[ChatKeywords],
    ) -> None:
        if seed is not None:
            seed = arguments.seed(seed)

        checked(model).require_causal()
        self.model = model
        self.system = arguments.text("system message", system)
        self.settings = chat_settings.options(settings)
        self.template_source = template
        self.template = messages.template_of(model, template)
        if (
            self.settings.date is None and self.template.asks_for_date
        ):  # it stays the same, however long the conversation
            self.settings = self.settings.changed(date=self.template.day.isoformat())
        self.mixes: dict[str, Mix] = {}
        self.messages: list[Message] = []
        self.seed = secrets.randbits(32) if seed is None else seed
        self.answers = 0  # answers made so far, those taken back included: the next one's seed is seed + answers
        self.left_out = 0
        self.changed = changed or (lambda: None)
        self.cache = PrefixCache(model, arguments.integer_or_none("n_ctx", n_ctx, 1) or model.n_ctx)
        self._tags: dict[tuple[str, str | None], thinking.Tags | None] = {}
        self._answering = threading.Lock()
        if self.settings.think == "on" and self.tags is None:
            raise thinking.no_tags(model.name)

    # ---- facts

    @property
    def n_ctx(self) -> int:
        """Positions that a prompt and its answer have room for."""
        return self.cache.n_ctx

    @property
    def evaluated(self) -> int:
        """Positions that the model evaluated so far."""
        return self.cache.evaluated

    @property
    def tags(self) -> thinking.Tags | None:
        """The tags of the thinking block, if the model has one."""
        return self._tags_for(self.settings)

    def _tags_for(self, settings: GenerationOptions) -> thinking.Tags | None:
        key = settings.think, settings.think_tags
        if key not in self._tags:
            self._tags[key] = thinking.tags_for(self.model.tokenizer, self.template.source, *key)
        return self._tags[key]

    @property
    def policy(self) -> Policy:
        """The policy of the next answer."""
        chosen = self.settings.policy
        return chosen if isinstance(chosen, Policy) else policy.parse(self.default_policy()[0])

    def default_policy(self) -> tuple[str, str]:
        """The policy where none was chosen, as text, and why: what the model's file asks for, soft thinking
        for a model with a thinking block, plain sampling for one without."""
        tags = self.tags
        return chat_settings.default_policy(self.model, tags if tags and self._thinks(tags) else None)

    def acts(self, policy: Policy | None = None) -> bool:
        """Would a policy decide steps of the next answer? One that acts in thinking blocks needs one.

        Args:
            policy: None for the policy of the next answer.
        """
        tags = self.tags
        return (policy or self.policy).where != "thinking" or (
            self.settings.think != "off" and tags is not None and self._thinks(tags)
        )

    def thinks_anyway(self) -> str | None:
        """A line where the settings switch thinking off, and the model may think all the same; None elsewhere."""
        return advice.thinks_anyway(self.model, True, self.template, self.settings.think, self.settings.think_tags)

    def _thinks(self, tags: thinking.Tags) -> bool:
        """Will the next answer have a thinking block, as far as the settings tell?"""
        return tags.expected or self.settings.think in ("on", "prompt")

    @property
    def last(self) -> Message | None:
        """The last answer, if the last message has one."""
        return self.messages[-1] if self.messages and self.messages[-1].role == ASSISTANT else None

    @property
    def waiting(self) -> bool:
        """Does the last message wait for its answer?"""
        return bool(self.messages) and self.messages[-1].role == USER

    def distributions(self) -> dict[str, Distribution]:
        """Those that the last answer met: before its first "thinking" and "answer" token, and at its "end"."""
        return dict(self.cache.distributions)

    # ---- talking

    def reply(self, text: str, each: Each | None = None) -> Trace:
        """Say `text`, and return the answer's record. each: called with every step as it is made.

        Ctrl-C stops the answer and keeps what there is. Where the message cannot be sent at all (PromptError,
        MixtureError, ContextError, UsageError), everything stays as it was.
        """
        with self._alone():
            if self.waiting:
                raise UsageError("the last message has no answer yet", "regen answers it, undo takes it back")
            if not arguments.text("message", text):
                raise UsageError("an empty message says nothing", "write something")
            turns_so_far = [*self.messages, messages.user(text, self.mixes)]
            prompt, left_out = self._fit(turns_so_far)
            g = self._ready(prompt, self.settings, self.seed + self.answers)
            self.messages, self.left_out = turns_so_far, left_out
            self.changed()
            return self._answer(g, prompt, each)

    def regen(self, each: Each | None = None) -> Trace:
        """Answer the last message again, with the next seed; the answer it had is replaced when the new one is there."""
        with self._alone():
            before, turns_so_far = self.messages, self._unanswered()
            prompt, left_out = self._fit(turns_so_far)
            g = self._ready(prompt, self.settings, self.seed + self.answers)
            self.messages, self.left_out = turns_so_far, left_out
            try:
                return self._answer(g, prompt, each)
            except BaseException:
                self.messages = before
                raise

    def compare(self, other: Policy | str, each: Each | None = None) -> Trace:
        """The last message answered with another policy and the same seed. The conversation stays as it is."""
        chosen = policy.parse(other) if isinstance(other, str) else policy.as_policy(other)
        last = self.last
        seed = self.seed + self.answers if last is None else int(last.details.get("seed", self.seed))
        with self._alone():
            prompt = self._fit(self._unanswered())[0]
            g = self._ready(prompt, self.settings.changed(policy=chosen), seed)
            return run.collect(self.model, g, self.cache.generate(g, prompt.stable), each)

    def undo(self) -> Message:
        """Take back the last message and its answer; returns the message."""
        turns_so_far = self._unanswered()
        self.messages = turns_so_far[:-1]
        self.left_out = min(self.left_out, max(0, len(overflow.turns(self.messages)) - 1))
        self.changed()
        return turns_so_far[-1]

    def clear(self) -> None:
        """Forget all messages. System message, settings and mixtures stay."""
        self.messages, self.left_out = [], 0
        self.cache.distributions = {}
        self.changed()

    def snapshot(self) -> Saved:
        """This conversation as a value."""
        return Saved(
            system=self.system,
            template=self.template_source,
            seed=self.seed,
            answers=self.answers,
            settings=self.settings,
            mixes=self.mixes,
            messages=tuple(self.messages),
        )

    def to_dict(self, *, traces: bool = False) -> dict[str, Any]:
        """Messages, settings, seeds, manifests, ready for JSON. traces: the whole record of each answer as well."""
        return storage.dump(self.snapshot(), traces=traces)

    def restore(self, data: Saved | Any) -> None:
        """Go on from a snapshot, or from what `to_dict` returned.

        Raises SoftLlamaError, and changes nothing, if it is not a conversation, or cannot be one with this model.
        """
        self._apply(data if isinstance(data, Saved) else storage.parse(data))
        self.changed()

    def save(self, path: str | os.PathLike[str], *, traces: bool = False) -> None:
        """Write JSON. The file is replaced as a whole."""
        storage.write(path, self.to_dict(traces=traces))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote; raises as `restore` does."""
        self.restore(storage.read(path))

    def close(self) -> None:
        """Free the memory; it comes back when it is needed."""
        self.cache.clear()

    # ---- what can be changed

    def set(self, **settings: Unpack[ChatKeywords]) -> None:
        """Change settings by name. Raises UsageError, and changes nothing, for what is not allowed."""
        values = chat_settings.options(settings, self.settings)
        if self._tags_for(values) is None and values.think == "on":
            raise thinking.no_tags(self.model.name)
        self.settings = values
        self.changed()

    def reseed(self, seed: int) -> None:
        """Start the seeds of the answers anew from here."""
        self.seed, self.answers = seed, 0
        self.changed()

    def define(self, name: str, mix: Mix) -> Any:
        """Give {name} a meaning in later messages; returns its components. Raises MixtureError for what is no mixture."""
        resolved = mix.resolve(self.model)
        self.model.check_vectors([resolved.mixture])
        self.mixes = {**self.mixes, name: mix}
        self.changed()
        return resolved

    # ---- inside

    def _apply(self, saved: Saved) -> None:
        """Take over what was saved. Whatever is raised, nothing has changed."""
        template = messages.template_of(self.model, saved.template)
        before = self.snapshot(), self.template, self.left_out
        self._assign(saved, template, 0)
        try:
            self.check()
        except BaseException:
            self._assign(*before)
            raise

    def _assign(self, saved: Saved, template: ChatTemplate, left_out: int) -> None:
        self.system, self.settings, self.mixes = saved.system, saved.settings, dict(saved.mixes)
        self.seed, self.answers, self.messages = saved.seed, saved.answers, list(saved.messages)
        self.template_source, self.template, self.left_out = saved.template, template, left_out
        self._tags = {}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._answering.acquire(blocking=False):
            raise UsageError("a message of this conversation is being answered", "wait for it, or start another one")
        try:
            yield
        finally:
            self._answering.release()

    def check(self) -> None:
        """Raise what the next answer would, were its prompt not fit for the model."""
        if self.messages:
            self._fit(self._unanswered())

    def _unanswered(self) -> list[Message]:
        """The messages up to the last one of the user."""
        turns_so_far = list(self.messages)
        while turns_so_far and turns_so_far[-1].role == ASSISTANT:
            turns_so_far.pop()
        if not turns_so_far:
            raise UsageError("there is no message yet", "write one first")
        return turns_so_far

    def _fit(self, turns_so_far: Sequence[Message]) -> tuple[Rendered, int]:
        """The prompt for these messages, and how many of the oldest turns are left out of it: see OVERFLOW."""

        def render(kept: list[Message]) -> Rendered:
            s = self.settings
            template = self.template.on(day(s.date)) if s.date else self.template
            return messages.render(self.model, template, self.system, kept, s, self.tags)

        return overflow.fit(
            render, turns_so_far, self.left_out, self.n_ctx, self.settings.max_tokens, bool(self.system)
        )

    def _answer(self, g: Generation, prompt: Rendered, each: Each | None) -> Trace:
        self.answers += 1
        trace = run.collect(self.model, g, self.cache.generate(g, prompt.stable), each)
        content, thought = trace.answer.strip(), trace.thinking.strip()
        details = details_of(trace)
        self.messages = [*self.messages, Message(ASSISTANT, content, thinking=thought, details=details, trace=trace)]
        self.changed()
        return trace

    def _ready(self, prompt: Rendered, settings: GenerationOptions, seed: int) -> Generation:
        """The generation of an answer. What cannot be generated is an error here, before anything has changed."""
        limit = settings.max_tokens or self.n_ctx
        options = settings.changed(policy=settings.policy or self.policy, max_tokens=limit, seed=seed % 2**63)
        return prepare.assemble(self.model, options, prompt.items, prompt.inside, self.tags, chat=True)
