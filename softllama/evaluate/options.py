"""How problems are asked, and the header that records it. Knows the options and their defaults. Asks no model anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from softllama.base import arguments
from softllama.engine import manifest
from softllama.engine.engine import Engine
from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import results
from softllama.evaluate.data import Dataset, Problem
from softllama.evaluate.shots import Shots, ask
from softllama.evaluate.ways import Way
from softllama.generation.options import ON_LOOP, GenerationKeywords, OnLoop, Think


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How problems are asked.

    Attributes:
        prompt: The template, with {question} and {choices}; "" for the data's own.
        extract: The rule that reads answers; "" for the data's own.
        chat: Ask in the model's chat template? None: if it has one.
        seed: Of every random choice.
        streams: Problems side by side in one context.
        shots: Examples that every question follows.
        allow_inactive: Go on where a policy would never act, as it acts in thinking blocks and the prompts open none.

    The others are those of softllama.generation.options.GenerationOptions.
    """

    prompt: str = ""
    extract: str = ""
    chat: bool | None = None
    system: str | None = None
    max_tokens: int = 512
    think: Think = "auto"
    think_budget: int | None = None
    think_tags: str | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0
    streams: int = 1
    allow_inactive: bool = False
    shots: Shots | None = None
    date: str | None = None
    on_loop: OnLoop = "warn"
    parse_special: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= 256:
            raise UsageError(f"the number of streams must be between 1 and 256, not {self.streams}")
        arguments.seed(self.seed)
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if self.on_loop not in ON_LOOP:
            raise UsageError(f"on_loop = {self.on_loop!r} is not allowed", f"use one of {', '.join(ON_LOOP)}")
        if self.prompt and "{question}" not in self.prompt:
            raise UsageError("the prompt has no slot for the question", 'such as "{question} Answer:"')

    def with_defaults(self, model: Engine, data: Dataset) -> EvaluateOptions:
        """The same, with the data's and the model's own in place of what was left open."""
        chat = bool(model.template_source) if self.chat is None else self.chat
        date = self.date
        if date is None and chat and model.chat_template.asks_for_date:
            date = model.chat_template.day.isoformat()
        return replace(self, chat=chat, date=date, prompt=self.prompt or data.prompt, extract=self.extract or data.rule)

    def asked(self, p: Problem) -> str | list[dict[str, str]]:
        """What a model is asked for a problem."""
        return ask(p, self.prompt, self.shots, chat=bool(self.chat), system=self.system)

    def generation_keywords(self) -> GenerationKeywords:
        """The options that GenerationOptions has as well, but for the seed: each problem has its own."""
        return {
            "chat": bool(self.chat),
            "system": self.system,
            "max_tokens": self.max_tokens,
            "think": self.think,
            "think_budget": self.think_budget,
            "think_tags": self.think_tags,
            "stop": self.stop,
            "date": self.date,
            "on_loop": self.on_loop,
            "parse_special": self.parse_special,
        }


def first_date(path: Path) -> str | None:
    """The date that the templates of a file's results were given; None where there is none."""
    try:
        header, _ = results.read(path)
    except SoftLlamaError:
        return None
    found = header["settings"].get("date") if isinstance(header["settings"], dict) else None
    return found if isinstance(found, str) else None


def make_header(
    model: Engine, data: Dataset, ways: Sequence[Way], options: EvaluateOptions, command: str = ""
) -> dict[str, Any]:
    """What the results depend on, and under "info" what they do not. Ready for JSON."""
    record = manifest.build(model, {}, n_ctx=model.n_ctx_given, seed=options.seed)
    settings = {k: v for k, v in asdict(options).items() if k not in ("streams", "allow_inactive", "shots")}
    if options.date is None:  # the template asks for none, or an older file knows none
        del settings["date"]
    if options.on_loop == "warn":  # the default, which older files do not name
        del settings["on_loop"]
    if not options.parse_special:  # older files know none
        del settings["parse_special"]
    if options.shots is not None:
        settings["shots"] = options.shots.to_dict()
    return {
        "model": {k: record["model"][k] for k in ("name", "sha256", "lora")} | model.runtime.graph,
        "data": {"name": data.name, "sha256": data.sha256, "kind": data.kind},
        "ways": [[w.name, w.text] for w in ways],
        "settings": {**settings, "stop": list(options.stop)},
        "info": {
            "streams": options.streams,
            "problems": len(data.problems),
            "questions": [[p.index, p.question, list(p.answers)] for p in data.problems],
            "commands": [command] if command else [],
            "manifest": record,
            **({"shard": list(data.shard)} if data.shard else {}),
        },
    }
