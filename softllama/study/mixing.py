"""What does a model make of a mixture of two words? Sweeps from one to the other, at the output and layer by layer.

Knows the question and the order of the report. The sweeps are in mixing_sweep, the tables in mixing_tables.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from softllama.api import Model
from softllama.engine import manifest, noise
from softllama.errors import UsageError
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import floor, inputs, layers, mixing_tables, sizes
from softllama.study.inputs import Case
from softllama.study.mixing_sweep import SAME, SweepResult, sweep

QUESTION = (
    "What happens when the input holds half of one word and half of another, where a model has only ever seen one?"
)
METHOD = (
    "α goes from 0 (the first word alone) to 1 (the second alone); the input is (1 - α) E[first] + α E[second].",
    "Progress: the output's projection on the line from the first word's output to the second's. If the model answered with "
    "the average of the two outputs, progress would be α: midpoint 0.5, width 0.8, sharpness 1.",
    "Width: the range of α from progress 0.1 to 0.9. Sharpness: the steepest step over the whole rise (Marro et al., arXiv "
    f"2504.03933). Pairs whose own outputs differ by less than {SAME} nats of JS have no transition and are left out there.",
    "Nearest: of the two words' own outputs and their average, the one with the smallest Jensen-Shannon divergence (JS, 0 to "
    "0.6931 nats) from the mixture's output at α = 0.5.",
    "To neither: probability on tokens outside the 0.95 nuclei of both words' outputs. By construction one of them alone, and "
    "so their average, has up to 0.05 there.",
    "Emergent tokens: those that are likelier at α = 0.5 than in both words' outputs, by 0.01 and by the noise of p.",
    floor.METHOD,
    "Intervals: 95 %, bootstrap over pairs (all frames of a pair together), 2,000 draws; of shares, Wilson.",
)
CONTROLS = (
    "near-synonyms: pairs of which the frame says (nearly) the same, so that a mixture can hardly go wrong",
    "random tokens: two tokens drawn from the vocabulary",
    "word and noise: a word and a random vector of the same length in place of the second word: what a mixture with nothing "
    "in it does",
)


def run(
    model: Model,
    cases: Sequence[Case] | None = None,
    *,
    seed: int = 0,
    pairs: int | None = None,
    controls: int | None = None,
    with_layers: bool = True,
    quick: bool = False,
    tick: Tick | None = None,
) -> Report:
    """Run the study.

    Args:
        model: The model that is asked.
        cases: What is mixed, and where. None: the built-in cases for this model.
        seed: Of every random choice.
        pairs: How many of the built-in pairs of words in each frame. None: what fits the model, see softllama.study.sizes.
        controls: How many of each built-in control in each frame. None: what fits the model.
        with_layers: Look at every layer as well.
        quick: Look at few cases only, for a first impression.
        tick: Called with what is being done, how many are done, and how many there are.

    Returns:
        The report. With the same seed its results repeat to the digit.

    Raises:
        UsageError: There are no cases.
        SoftLlamaError: The model has none of the words as one token, or a sweep fails.
    """
    start = time.perf_counter()
    size = sizes.of(model, quick=quick, pairs=pairs, controls=controls)
    chosen = inputs.cases(model, seed, size.pairs, size.controls) if cases is None else list(cases)
    if not chosen:
        raise UsageError("there are no cases to mix", "cases=None takes the built-in ones")
    by, rounding = _by_kind(sweep(model, chosen, tick)), noise.floor(model)
    main = next(iter(by))
    tables = mixing_tables.tables(by, main, rounding, seed)
    figures, answer = [mixing_tables.curves(by, seed)], mixing_tables.answer(by[main], rounding, seed)
    if with_layers:
        numbers = layers.measure(model, sizes.spread(_apart(by[main]), size.layer_cases), tick)
        tables, figures = [*tables, layers.table(numbers, seed)], [*figures, layers.figure(numbers, seed)]
        answer.append(layers.sentence(numbers, seed))
    answer += [*mixing_tables.control_sentences(by, main, seed), floor.sentence(rounding)]
    tables += [floor.table(rounding), mixing_tables.examples(_some(by[main], model), rounding)]
    arguments = {"pairs": size.pairs, "controls": size.controls, "layers": with_layers}
    arguments |= {"cases": len(chosen), "built_in": cases is None}
    return Report(
        name="mixing",
        title=f"Mixing two words: {inputs.model_label(model)}",
        question=QUESTION,
        answer=(*answer, *sizes.quick_sentence(quick, f"{len(chosen)} mixtures")),
        tables=tuple(tables),
        figures=tuple(figures),
        method=METHOD + (layers.METHOD if with_layers else ()),
        controls=CONTROLS if cases is None else (),
        manifest=manifest.build(model, arguments | sizes.quick_argument(quick), seed=seed) | floor.manifest(rounding),
        seconds=time.perf_counter() - start,
    )


def _by_kind(results: Sequence[SweepResult]) -> mixing_tables.ByKind:
    """The results by the kind of case, the built-in kinds first."""
    kinds = dict.fromkeys([*inputs.KINDS, *(r.case.kind for r in results)])
    return {k: rs for k in kinds if (rs := [r for r in results if r.case.kind == k])}


def _apart(results: Sequence[SweepResult]) -> list[Case]:
    """The cases whose two ends are apart; all where none are."""
    return [r.case for r in results if r.moves] or [r.case for r in results]


def _some(results: Sequence[SweepResult], model: Model) -> Sequence[SweepResult]:
    """Twelve of them, from every frame; on the small world, whose frames share their words, the first."""
    return results[:12] if inputs.is_words(model) else sizes.spread(results, 12)
