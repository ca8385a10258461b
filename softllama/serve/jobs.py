"""A generation that waits, runs or has ended in the server, and the news of it. Knows no context and no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from softllama.engine.engine import Item
from softllama.generation.state import Generation
from softllama.trace.step import Step
from softllama.vectors.distribution import Token


@dataclass(frozen=True, slots=True)
class Begun:
    """The prompt has been evaluated. cached: positions of it that were there already."""

    cached: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """A step was decided. top: its likeliest tokens, as many as were asked for."""

    step: Step
    top: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The generation has ended; its `stop_reason` says why."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot go on."""

    error: Exception


Event: TypeAlias = Begun | Stepped | Ended | Failed
Tell: TypeAlias = Callable[[Sequence[Event]], None]


@dataclass(eq=False)
class Job:
    """A generation, and who hears of it.

    generation: it belongs to the scheduler's thread from `submit` until Ended or Failed is told.
    tell: is called in that thread with the events of each round; it must not block.
    items: what is fed before the first step: the prompt, and what an earlier generation fed after it.
    n_top: how many of the likeliest tokens each answer step comes with.
    """

    generation: Generation
    tell: Tell
    items: tuple[Item, ...] = ()
    n_top: int = 0
    cached: int = 0
    cancelled: bool = False
    done: bool = False
    news: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.items = self.items or self.generation.prompt

    def cancel(self) -> None:
        """Nobody waits for it any more. Any thread may call this; its sequence is free before the next step."""
        self.cancelled = True

    def add(self, event: Event) -> None:
        """Keep an event until `flush`."""
        self.done = self.done or isinstance(event, Ended | Failed)
        self.news.append(event)

    def flush(self) -> None:
        """Tell what has been kept."""
        if self.news:
            news, self.news = self.news, []
            self.tell(news)
