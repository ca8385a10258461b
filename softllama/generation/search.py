"""The baselines that spend more than one pass: beam search, self-consistency, best of n. They say what they cost.

Puts generations, contexts and extraction rules together. Knows no formula of soft decoding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, Unpack

from softllama.engine.engine import Engine
from softllama.generation.beams import BeamResult, Hypothesis, beam
from softllama.generation.confidence import ConfidentResult, deepconf
from softllama.generation.cost import Cost
from softllama.generation.diffusion import DiffusionResult, diffusion
from softllama.generation.extract import Rule
from softllama.generation.options import GenerationKeywords
from softllama.generation.power import PowerResult, power
from softllama.generation.prepare import PromptInput
from softllama.generation.samples import (
    BestResult,
    Samples,
    VoteResult,
    best_of,
    likelihood,
    sample,
    seeds,
    self_consistency,
    vote,
)
from softllama.generation.search_text import Search, parse
from softllama.generation.superposed import SuperposedResult, superposed
from softllama.trace.record import Trace

__all__ = [
    "BeamResult", "BestResult", "ConfidentResult", "DiffusionResult", "Hypothesis", "PowerResult", "Result",
    "Samples", "Search", "SuperposedResult", "VoteResult", "answer_of", "beam", "best_of", "deepconf", "diffusion",
    "likelihood", "parse", "power", "run", "sample", "seeds", "self_consistency", "superposed", "vote",
]  # fmt: skip


class Result(Protocol):
    """What every search returns: the record of the best, and what the search took."""

    @property
    def trace(self) -> Trace: ...
    @property
    def cost(self) -> Cost: ...
    def to_dict(self) -> dict[str, Any]: ...


_VOTES: dict[str, Callable[..., VoteResult]] = {"vote": self_consistency, "deepconf": deepconf}
_OTHERS: dict[str, Callable[..., Result]] = {
    "beam": beam,
    "diffusion": diffusion,
    "lrd": diffusion,
    "power": power,
    "superposed": superposed,
}
_DRAW_NOTHING = ("beam", "superposed")


def run(
    model: Engine,
    prompt: PromptInput,
    search: Search,
    *,
    extract: str | re.Pattern[str] | Rule = "auto",
    at_once: int = 8,
    n_ctx: int | None = None,
    **options: Unpack[GenerationKeywords],
) -> Result:
    """Run a search that was written as text: see softllama.generation.search_text.

    Args:
        extract: how votes read an answer.
        at_once: samples side by side, where a search draws samples.
        options: of the generations. A search without a policy leaves out the seed, where it draws nothing.

    Raises:
        UsageError, and what the search raises.
    """
    settings: dict[str, Any] = dict(search.settings)
    keywords: dict[str, Any] = {**options, "n_ctx": n_ctx}
    if search.kind in _DRAW_NOTHING:
        keywords.pop("seed", None)
    elif search.policy:
        keywords["policy"] = search.policy
    if search.kind in _VOTES:
        return _VOTES[search.kind](model, prompt, **settings, extract=extract, at_once=at_once, **keywords)
    if search.kind == "best":
        return best_of(model, prompt, n=settings["samples"], at_once=at_once, **keywords)
    return _OTHERS[search.kind](model, prompt, **settings, **keywords)


def answer_of(result: Result, read: Rule) -> str | None:
    """The answer of a search: the one that was voted for, else what the rule reads in the best one's text."""
    return result.answer if isinstance(result, VoteResult) else read(result.trace.answer)
