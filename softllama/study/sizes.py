"""How large a study is: as long as it takes on the bundled models, on any other model, and for a quick look.

Knows numbers only. Does not know what a study does with them, nor how fast a model is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from softllama.engine.engine import Engine
from softllama.show.progress import Tick
from softllama.study import inputs

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much a study looks at. None: all there is.

    Attributes:
        pairs, controls: Pairs of words, and controls of each kind, in each frame of the mixing study.
        layer_cases: Pairs that are looked at layer by layer.
        prompts: Prompts of the feedback study.
        steps: Positions of each generation there.
        tokens: Positions of each rollout there.
        problems: Problems of the study of thinking.
    """

    pairs: int
    controls: int
    layer_cases: int | None
    prompts: int | None
    steps: int
    tokens: int
    problems: int | None


SMALL_WORLD = Sizes(pairs=24, controls=8, layer_cases=None, prompts=None, steps=16, tokens=48, problems=None)
FULL = Sizes(pairs=24, controls=6, layer_cases=20, prompts=12, steps=8, tokens=32, problems=20)
QUICK_PROBLEMS = 20  # of each bundled pair, whose models are small
PROBLEMS = {"sums": 300, "words": 200}  # that the bundled pairs have
FRAMES = 17  # of the study of adapters
CHOICES = 88  # multiple-choice questions of the study of adapters, about
QUICK = Sizes(pairs=3, controls=1, layer_cases=3, prompts=3, steps=3, tokens=16, problems=4)


@dataclass(frozen=True, kw_only=True)
class AdapterSizes:
    """How much the study of adapters looks at. None: all there is.

    Attributes:
        frames: Frames that words stand in.
        pairs, controls: Pairs of words, and controls of each kind, in each frame.
        settled: Pairs behind which a text settles which it was.
        prompts, steps, tokens: Prompts, soft steps of each, positions of each rollout.
        text: Tokens of a text that the user gives.
        choices: Multiple-choice questions.
    """

    frames: int | None
    pairs: int
    controls: int
    settled: int
    prompts: int
    steps: int
    tokens: int
    text: int
    choices: int | None


ADAPTER = AdapterSizes(
    frames=None, pairs=6, controls=1, settled=48, prompts=12, steps=8, tokens=32, text=4096, choices=None
)
ADAPTER_QUICK = AdapterSizes(
    frames=6, pairs=1, controls=1, settled=6, prompts=3, steps=3, tokens=16, text=512, choices=20
)


def of(model: Engine, *, quick: bool = False, **chosen: int | None) -> Sizes:
    """The sizes for a model: those of the small world take minutes there, and hours on a model of a billion parameters.

    Args:
        model: The model.
        quick: Those of a first look.
        chosen: Sizes that somebody chose, by name; None for what fits.
    """
    fitting = QUICK if quick else SMALL_WORLD if inputs.is_words(model) else FULL
    return replace(fitting, **{k: v for k, v in chosen.items() if v is not None})


def full_seconds(seconds: Mapping[str, float], full: Sizes) -> float:
    """How long a full study would take, from what a quick one took.

    Args:
        seconds: What each part of the quick study took, by the word that its progress shows.
        full: The sizes of the full study.
    """
    ratios = _ratios(full)
    return sum(s * ratios.get(what.partition(",")[0], 1.0) for what, s in seconds.items())


def _ratios(full: Sizes) -> dict[str, float]:
    """How many times as much as a quick study a full one does, part by part."""
    prompts = len(inputs.OPENINGS) if full.prompts is None else full.prompts
    quick_prompts = len(inputs.OPENINGS) if QUICK.prompts is None else QUICK.prompts
    rollouts = prompts * full.tokens / (quick_prompts * QUICK.tokens)
    cases, quick_cases = full.pairs + 3 * full.controls, QUICK.pairs + 3 * QUICK.controls
    layers = (full.layer_cases or 3 * full.pairs) / (QUICK.layer_cases or 1)
    answers = 1.5 * (full.problems or QUICK_PROBLEMS) / (QUICK.problems or 1)  # 6 ways, not 4
    pairs = {pair: n / QUICK_PROBLEMS for pair, n in PROBLEMS.items()}
    a, b = ADAPTER, ADAPTER_QUICK
    return {
        "words": FRAMES / (b.frames or FRAMES) * (a.pairs + 2 * a.controls) / (b.pairs + 2 * b.controls),
        "several words": FRAMES / (b.frames or FRAMES),
        "settled": a.settled / b.settled,
        "soft steps": a.prompts * a.steps / (b.prompts * b.steps),
        "ordinary text": a.prompts * a.tokens / (b.prompts * b.tokens),
        "multiple choice": CHOICES / (b.choices or CHOICES),
        "mixing": cases / quick_cases,
        "layers": layers,
        "feedback": prompts * full.steps / (quick_prompts * QUICK.steps),
        "rollouts": rollouts,
        "reading": rollouts,
        "answers": answers,
        **pairs,
    }


def spread(items: Sequence[T], n: int | None) -> list[T]:
    """n of the items, evenly over all of them; all where n is None or there are no more."""
    if n is None or n >= len(items):
        return list(items)
    return [items[i * len(items) // n] for i in range(n)]


def quick_sentence(quick: bool, what: str) -> tuple[str, ...]:
    """What the last sentence of a quick study says; nothing of a full one."""
    return (f"This is a quick look: {what}. Without --quick the intervals are narrower.",) if quick else ()


def quick_argument(quick: bool) -> dict[str, bool]:
    """What a quick study has in its manifest beside the others; nothing for a full one."""
    return {"quick": True} if quick else {}


class Stopwatch:
    """A Tick that keeps how long each kind of work took. seconds: by what is being done."""

    def __init__(self, tick: Tick) -> None:
        self._tick = tick
        self._last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - self._last
        self._last = now
        self._tick(what, done, total)
