"""What does an adapter make of mixtures? Before and after: words, soft steps along generations, and what it costs.

Knows the question and the order of the report. The measurements are in adapter_words, adapter_walk, rollout and adapter_price, the
tables in adapter_tables, sentences and figures in adapter_answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softllama.api import Model
from softllama.engine import manifest, noise
from softllama.errors import UsageError
from softllama.report.data import Table
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import (
    adapter_answer,
    adapter_cases,
    adapter_price,
    adapter_tables,
    adapter_walk,
    adapter_words,
    floor,
    inputs,
    mixing,
    rollout,
    sizes,
)
from softllama.study.adapter_models import Models, without_adapters
from softllama.study.adapter_price import ChoiceResult, TextResult
from softllama.study.adapter_tables import WITH, WITHOUT
from softllama.study.adapter_walk import SoftStep
from softllama.study.adapter_words import GOING_ON, SETTLED, PairResult, SettledResult, SeveralResult
from softllama.study.inputs import Case
from softllama.study.rollout import Rollout
from softllama.study.sizes import AdapterSizes
from softllama.vectors.noise import NoiseFloor

WINDOW = 128  # tokens of a user's text that are read at once
QUESTION = "With the adapter, does a mixture say what its words say on average, and what does that cost?"
METHOD = (
    "The same file is loaded twice, without the adapter and with it. Every distance is to outputs of the model without it.",
    "Exact average: Σ πᵢ P(next | word i, text), where πᵢ is the word's weight in the mixture times the probability that it gives "
    "to the text behind the mixture: what one gets by drawing a word, going on, and forgetting which it was.",
    "KL: KL(exact average ‖ output) in nats, mean over α = 0.1 to 0.9. JS: Jensen-Shannon divergence at α = 0.5.",
    "Error of the weight: distance between the weight of the second word that the output shows (its projection on the line between "
    "the two words' own outputs) and the one that is right, over pairs whose outputs differ by 0.05 nats of JS.",
    f"Settled: half and half, the frame, and {GOING_ON} tokens that the first word wrote greedily; cases in which the text leaves "
    f"that word {SETTLED} or more.",
    f"Soft steps: at each step of sampled text, the tokens that hold {adapter_walk.MASS} of the probability, {adapter_walk.MOST} "
    "at most, are fed as one mixture, and beside it one by one for the exact average.",
    rollout.METHOD[1]
    + " The whole vector is fed at every step; the model without the adapter reads the readouts again.",
    "Words and frames are none that `softllama adapt` trains with. Ordinary text: sampled by the model without the adapter, or "
    "--text. Processor time is that of this process, in turn without and with the adapter; it does not repeat to the digit.",
    floor.METHOD,
    "Intervals: 95 %, bootstrap over pairs, frames, prompts or texts (what belongs together is drawn together), 2,000 draws; of "
    "shares, Wilson. A change is spoken of where the interval of the paired difference leaves out 0.",
)
CONTROLS = (
    *mixing.CONTROLS,
    "the exact average, by as many passes as there are words",
    "the output without adapter, flattened by one temperature: what a mere loss of certainty would gain",
    "the likeliest token alone, as greedy decoding feeds it",
    "multiple choice and ordinary text, where nothing is mixed",
)


def run(
    model: Model,
    cases: Sequence[Case] | None = None,
    *,
    seed: int = 0,
    text: str | None = None,
    speed: bool = True,
    quick: bool = False,
    tick: Tick | None = None,
) -> Report:
    """Run the study.

    Args:
        model: A model with an adapter. It is loaded once more without.
        cases: Pairs of words, and where they stand. None: the built-in ones.
        seed: Of every random choice.
        text: Ordinary text on which the price is measured. None: what the model samples.
        speed: Measure the processor time, too: the only number that does not repeat.
        quick: Look at few cases only, for a first impression.
        tick: Called with what is being done, how many are done, and how many there are.

    Returns:
        The report. With the same seed its results repeat to the digit, but for the processor time.

    Raises:
        UsageError: the model has no adapter, or there are no cases.
        SoftLlamaError: a measurement fails.
    """
    if not model.lora:
        raise UsageError(
            "the study compares a model with an adapter to the same model without it, and there is no adapter",
            "--lora FILE; softllama adapt makes one",
        )
    start = time.perf_counter()
    size = sizes.ADAPTER_QUICK if quick else sizes.ADAPTER
    with without_adapters(model) as plain:
        made = adapter_cases.cases(plain, seed, size.pairs, size.controls, size.frames) if cases is None else cases
        if not (chosen := list(made)):
            raise UsageError("there are no cases to mix", "cases=None takes the built-in ones")
        found = _measure(Models(plain, model), chosen, size, seed, text, speed, tick)
    held_out = cases is None and not inputs.is_words(model)
    arguments = {"cases": len(chosen), "built_in": cases is None, "text": text is not None}
    prompts = len(inputs.beginnings(model)[: size.prompts])
    return Report(
        name="adapter",
        title=f"An adapter for mixtures: {inputs.model_label(model)}",
        question=QUESTION,
        answer=(
            *_answer(found, seed, held_out=held_out),
            *sizes.quick_sentence(quick, f"{len(chosen)} pairs, {prompts} prompts"),
        ),
        tables=_tables(found, seed),
        figures=tuple(adapter_answer.figures(found.main, found.steps, seed)),
        method=METHOD,
        controls=CONTROLS if cases is None else CONTROLS[len(mixing.CONTROLS) :],
        manifest=manifest.build(model, arguments | sizes.quick_argument(quick), seed=seed)
        | floor.manifest(found.noise),
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Measured:
    """All numbers of the study.

    soft, soft_after, sampled: rollouts of the whole vector without and with the adapter, and sampled ones without it.
    """

    noise: NoiseFloor
    by: dict[str, list[PairResult]]
    several: list[SeveralResult]
    settled: list[SettledResult]
    steps: list[SoftStep]
    soft: list[Rollout]
    soft_after: list[Rollout]
    sampled: list[Rollout]
    texts: list[TextResult]
    choices: list[ChoiceResult]
    seconds: list[tuple[float, float]]

    @property
    def main(self) -> list[PairResult]:
        """The pairs of words that the answer speaks of."""
        return next(iter(self.by.values()))


def _measure(
    models: Models,
    cases: Sequence[Case],
    size: AdapterSizes,
    seed: int,
    text: str | None,
    speed: bool,
    tick: Tick | None,
) -> _Measured:
    plain, rounding = models.plain, noise.floor(models.plain)
    by: dict[str, list[PairResult]] = {}
    for r in adapter_words.pairs(models, cases, rounding, tick):
        by.setdefault(r.case.kind, []).append(r)
    main = [r.case for r in next(iter(by.values())) if isinstance(r.case.b, int)]
    groups = adapter_cases.groups(plain, [c.frame for c in main], max(adapter_words.SIZES), seed)
    several = adapter_words.several(models, groups, seed, tick)
    settled = adapter_words.settled(models, sizes.spread(main, size.settled), rounding, tick)
    prompts = inputs.beginnings(plain)[: size.prompts]
    walked = adapter_walk.measure(models, prompts, size.steps, seed, tick)
    before = rollout.measure(plain, prompts, size.tokens, seed, tick)
    made: dict[str, Any] = {"reader": plain, "limit": before.limit, "policies": [rollout.FULL]}
    after = rollout.measure(models.adapted, prompts, size.tokens, seed, tick, **made)
    sampled = [r for r in before.rollouts if r.policy == rollout.SAMPLE]
    ids = [[*plain.tokenize(p, bos=True), *r.ids] for p, r in zip(prompts, sampled, strict=True)]
    return _Measured(
        noise=rounding,
        by=by,
        several=several,
        settled=settled,
        steps=walked,
        soft=[r for r in before.rollouts if r.policy == rollout.FULL],
        soft_after=after.rollouts,
        sampled=sampled,
        texts=adapter_price.texts(models, ids if text is None else _windows(plain, text, size.text), tick),
        choices=[] if inputs.is_words(plain) else adapter_price.choices(models, seed, size.choices, tick),
        seconds=adapter_price.seconds(models) if speed else [],
    )


def _answer(m: _Measured, seed: int, *, held_out: bool) -> list[str]:
    return [
        *adapter_answer.words(m.main, seed, held_out=held_out),
        *([adapter_answer.several(m.several, seed)] if m.several else []),
        adapter_answer.settled(m.settled, seed),
        adapter_answer.steps(m.steps, seed),
        adapter_answer.rollouts(m.soft, m.soft_after, seed),
        *adapter_answer.price(m.texts, m.choices, m.seconds, seed),
        *adapter_answer.controls(m.by, seed),
        floor.sentence(m.noise),
    ]


def _tables(m: _Measured, seed: int) -> tuple[Table, ...]:
    written = {f"whole vector, {WITHOUT}": m.soft, f"whole vector, {WITH}": m.soft_after, "sampled": m.sampled}
    return (
        adapter_tables.words(m.by, m.noise, seed),
        adapter_tables.weights(m.by, seed),
        *([adapter_tables.several(m.several, seed)] if m.several else []),
        adapter_tables.settled(m.settled, seed),
        adapter_tables.steps(m.steps, m.noise, seed),
        adapter_tables.rollouts(written, seed),
        adapter_tables.price(m.texts, m.choices, m.seconds, seed),
        floor.table(m.noise),
        adapter_tables.examples(sizes.spread(m.main, 16)),
    )


def _windows(model: Model, text: str, most: int) -> list[list[int]]:
    """A text in pieces of equal length, up to so many tokens in all."""
    ids = model.tokenize(text, special=False)[:most]
    return [ids[i : i + WINDOW] for i in range(0, len(ids), WINDOW)]
