"""How likely a model finds continuations of prompts, as texts: words and slots to items, texts longer than the context.

Knows prompts and what is made of them. `softllama.engine.score` evaluates; it knows no words. Generates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np

from softllama.base import arguments
from softllama.engine import score as engine_score
from softllama.engine.engine import Engine, checked
from softllama.engine.score import Pair
from softllama.engine.score_packs import Scored
from softllama.errors import PromptError, UsageError
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.prompts import build, slots, words
from softllama.prompts.build import Item
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.words import MixArgument, MixInput, Split

Text: TypeAlias = str | Sequence[int | Any]  # text, which may have slots; or ids and mixtures


class ScoreKeywords(TypedDict, total=False):
    """The options of `score_pairs`, as keywords."""

    mix: MixArgument
    split: Split | None
    signed: bool
    normalize: bool
    chat: bool
    system: str | None
    n_top: int
    n_ctx: int | None
    stride: int | None
    exact: bool
    tick: Callable[[int, int], None] | None


@dataclass(frozen=True)
class Score:
    """How likely a continuation is.

    Attributes:
        items: What is known of each item of the continuation: id, ln p, and whether it is the most probable one.
        texts: The text of each.
        n_prompt: Items before the continuation, a BOS included.
        windows: How many contexts it took: 1 where all of it fits into one.
    """

    items: tuple[Scored, ...]
    texts: tuple[str, ...]
    n_prompt: int
    windows: int = 1

    @property
    def logprob(self) -> float:
        """ln p of the whole continuation."""
        return math.fsum(s.logp for s in self.items)

    @property
    def is_greedy(self) -> bool:
        """Is every item the most probable one, so that greedy decoding would write the continuation?"""
        return all(s.greedy for s in self.items)

    @property
    def perplexity(self) -> float:
        """exp of the mean -ln p of an item; NaN without items."""
        if not self.items:
            return math.nan
        mean = -self.logprob / len(self.items)
        return math.exp(mean) if mean < 700 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: what is infinite becomes None."""
        tokens = [
            {"id": s.id, "text": t, "logprob": _finite(s.logp), "greedy": s.greedy}
            | ({"top": [[i, _finite(x)] for i, x in s.top]} if s.top else {})
            for s, t in zip(self.items, self.texts, strict=True)
        ]
        return {
            "kind": "score",
            "logprob": _finite(self.logprob),
            "is_greedy": self.is_greedy,
            "perplexity": _finite(self.perplexity),
            "n_prompt": self.n_prompt,
            "n_tokens": len(self.items),
            "windows": self.windows,
            "tokens": tokens,
        }


def score_pairs(
    model: Engine,
    pairs: Iterable[tuple[PromptInput, Text]],
    *,
    mix: MixArgument = (),
    split: Split | None = None,
    signed: bool = False,
    normalize: bool = False,
    chat: bool = False,
    system: str | None = None,
    n_top: int = 0,
    n_ctx: int | None = None,
    stride: int | None = None,
    exact: bool = True,
    tick: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """ln p of each continuation after its prompt. What several pairs begin with is evaluated once.

    Args:
        pairs: (prompt, continuation) each. A prompt is text, ids and mixtures, or messages; a continuation is text, or ids and
            mixtures. An empty prompt is the BOS, or the end of a text where the vocabulary has none. Spaces at the end of a
            prompt that is text belong to the continuation, as tokens begin with them.
        mix: mixtures for the slots of prompts and continuations; `split`, `signed` and `normalize` say how words are read.
        chat: a prompt that is text is a message in the model's template, after `system`.
        n_top: how many of the likeliest tokens are returned beside each item.
        n_ctx: positions of a context; None for the model's limit. What is longer goes through several windows.
        stride: how many items each window after the first scores; None for half of n_ctx.
        exact: keys and values are 32-bit numbers. False: 16-bit ones, as generations have them: some percent faster.
        tick: is called with how many windows are done, and how many there are.

    Returns:
        A score for each pair, in their order.

    Raises:
        PromptError, MixtureError, UsageError: a pair or an option cannot be.
        NotFiniteError: logits are not finite.
    """
    checked(model).require_causal()
    options = GenerationOptions(
        policy="greedy", seed=0, mix=mix, split=split, signed=signed, normalize=normalize, chat=chat, system=system
    )
    mixes = words.read_mixes(mix, split=split, signed=signed, normalize=normalize)
    room = n_ctx or model.n_ctx_limit
    step = _stride(stride, room)
    todo: list[Pair] = []
    owners: list[tuple[int, int, int]] = []  # of each pair: items of the prompt, its windows in `todo`
    for prompt, continuation in pairs:
        before, after = _items(model, prompt, continuation, options, mixes)
        parts = engine_score.pairs_of_windows([*before, *after], len(before), room, step, keep=_keep(model, before))
        owners.append((len(before), len(todo), len(todo) + len(parts)))
        todo += parts
    results = engine_score.score_pairs(
        model, todo, n_top=n_top, exact=exact, tick=None if tick is None else lambda done: tick(done, len(todo))
    )
    scores = []
    for n, lo, hi in owners:
        items = tuple(s for part in results[lo:hi] for s in part)
        scores.append(Score(items, tuple(model.spell(s.id) for s in items), n, max(1, hi - lo)))
    return scores


def score(model: Engine, prompt: PromptInput, continuation: Text, **options: Unpack[ScoreKeywords]) -> Score:
    """ln p of one continuation after a prompt. The options are those of `score_pairs`."""
    return score_pairs(model, [(prompt, continuation)], **options)[0]


def score_text(
    model: Engine,
    text: str,
    *,
    n_ctx: int | None = None,
    stride: int | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Score:
    """ln p of all tokens of a text, such as a file's; its perplexity is `Score.perplexity`.

    Args:
        n_ctx: positions of a window; None for the model's context, at most 4096.
        stride: how many tokens each window after the first scores; None for half of n_ctx. Every token has n_ctx - stride
            tokens or more before it, if the text has.
        tick: is called with how many windows are done, and how many there are.

    Raises:
        PromptError: the text is empty.
    """
    if not arguments.text("text", text):
        raise PromptError("an empty text has no perplexity", "--file names a text file")
    return score(checked(model), "", text, n_ctx=n_ctx or model.n_ctx, stride=stride, tick=tick)


def start_token(model: Engine) -> int:
    """What a text without a prompt follows: the BOS, or the end of a text. Raises PromptError where there is neither."""
    t = model.tokenizer
    for token in (t.bos, t.eos):
        if token is not None:
            return token
    raise PromptError(f"the vocabulary of {model.name} has no token for the beginning of a text", "write a prompt")


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _keep(model: Engine, before: Sequence[Item]) -> int:
    """Does every window begin with the first item? If it is what a text begins with."""
    t = model.tokenizer
    return int(bool(before) and isinstance(before[0], int) and before[0] == (t.eos if t.bos is None else t.bos))


def _stride(stride: int | None, n_ctx: int) -> int:
    arguments.integer("n_ctx", n_ctx)
    if n_ctx < 2:
        raise UsageError(f"windows need a context of 2 positions or more, not {n_ctx}")
    if stride is None:
        return max(1, n_ctx // 2)
    if not 1 <= arguments.integer("stride", stride) < n_ctx:
        raise UsageError(f"the stride must be from 1 to {n_ctx - 1}, not {stride}", "--stride, with --n-ctx")
    return stride


def _items(
    model: Engine, prompt: PromptInput, continuation: Text, options: GenerationOptions, mixes: Sequence[MixInput]
) -> tuple[list[Item], list[Item]]:
    """What is fed of a prompt, and what is scored after it."""
    names, tokenizer = [m.name for m in mixes], model.tokenizer
    if not isinstance(continuation, str):
        if isinstance(continuation, bytes) or not isinstance(continuation, Sequence | np.ndarray):
            raise PromptError(f"a continuation is text, or token ids and mixtures, not {type(continuation).__name__}")
        return _prompt(model, prompt, options), list(build.checked_items(continuation, tokenizer))
    arguments.text("continuation", continuation)
    if not isinstance(prompt, str) or options.chat or not prompt.strip(" "):
        text = slots.parse(continuation) if mixes else PromptTemplate((continuation,), ())
        which = slots.assign(text, names) if text.slots else []
        in_prompt = bool(mixes) and isinstance(prompt, str) and bool(slots.parse(prompt).slots)
        own = options if in_prompt or not which else options.changed(mix=())
        return _prompt(model, prompt, own), list(build.continued(text, which, mixes, tokenizer))
    kept = arguments.text("prompt", prompt).rstrip(" ")
    continuation = prompt[len(kept) :] + continuation  # tokens begin with a space, and do not end in one
    if not mixes:
        return _prompt(model, kept, options), list(
            build.continued(PromptTemplate((continuation,), ()), (), (), tokenizer)
        )
    first, second = slots.parse(kept), slots.parse(continuation)
    n = len(first.slots)
    which = slots.assign(PromptTemplate((*first.texts, *second.texts), (*first.slots, *second.slots)), names)
    before = build.filled(first, which[:n], mixes, tokenizer)
    return list(before), list(build.continued(second, which[n:], mixes, tokenizer))


def _prompt(model: Engine, prompt: PromptInput, options: GenerationOptions) -> list[Item]:
    if len(prompt):
        return list(prepare(model, prompt, options).prompt)
    return [start_token(model)]
