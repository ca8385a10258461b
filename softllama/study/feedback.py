"""What does feeding back the whole vector say that a token does not?

Along real generations: the next distribution after the whole vector, after its top token, its second token, a sampled
token, and the exact average over tokens; how much of the weights the states still hold; and how long a rollout that feeds
only vectors stays readable.

Knows the question and the order of the report. The walks are in feedback_walk, the rollouts in rollout, the tables in
feedback_tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from softllama.api import Model
from softllama.engine import manifest, noise
from softllama.engine.lens import Lens
from softllama.errors import UsageError
from softllama.report.data import Figure, Table
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import feedback_tables, floor, inputs, rollout, sizes
from softllama.study.feedback_walk import MASS, MOST, PARTS, UNDECIDED, WalkStep, walk

METHOD = (
    "Generations are sampled at temperature 1. At each step the model's whole output vector p is fed at the next position, and "
    "beside it single tokens; what follows is compared by Jensen-Shannon divergence (JS, 0 to 0.6931 nats).",
    f"Average over tokens: Σ p(i) · (what follows token i), by branching over the heaviest tokens, up to {MOST} or a mass of "
    f"{MASS}; the mass covered is in the table. It is what one gets by sampling a token and forgetting which.",
    f"Undecided steps: the top token has less than {UNDECIDED}. At the others the vector is nearly a token, and all inputs agree.",
    f"Recovery: of the {PARTS} heaviest tokens, mixed by p, the weights on the simplex whose average of the tokens' own states "
    "comes nearest to the mixture's state, in each layer; the error is the total variation to the true weights. Beside it what "
    "can be guessed without the state: the usual weights of other prompts' steps, given the tokens' order; all on the top "
    "token; all the same. The reading is linear: what it does not find may still be there in another form.",
    *rollout.METHOD,
    floor.METHOD,
    "Intervals: 95 %, bootstrap over prompts (the steps of a prompt together), 2,000 draws; of shares, Wilson, as if steps were "
    "independent.",
)
CONTROLS = (
    "the top, second and sampled token, fed as any decoder feeds them",
    "the exact average over tokens",
    *rollout.CONTROLS,
)


def run(
    model: Model,
    prompts: Sequence[str] | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    tokens: int | None = None,
    with_layers: bool = True,
    quick: bool = False,
    tick: Tick | None = None,
) -> Report:
    """Run the study.

    Args:
        model: The model that is asked.
        prompts: Beginnings of generations. None: the built-in ones for this model.
        seed: Of every random choice.
        steps: Positions of each generation that is looked at. None: what fits the model, see softllama.study.sizes.
        tokens: Positions of each rollout. None: what fits the model.
        with_layers: Look for the weights in every layer as well.
        quick: Take few prompts and steps only, for a first impression.
        tick: Called with what is being done, how many are done, and how many there are.

    Returns:
        The report. With the same seed its results repeat to the digit.

    Raises:
        UsageError: There are no prompts, or the numbers of steps or tokens are out of range.
        SoftLlamaError: A prompt is too long, or the model's layers cannot be read.
    """
    start = time.perf_counter()
    size = sizes.of(model, quick=quick, steps=steps, tokens=tokens)
    if not 1 <= size.steps <= 1000 or not 8 <= size.tokens <= 10_000:
        raise UsageError("a feedback study takes 1 to 1000 steps, and rollouts of 8 to 10,000 tokens")
    texts = inputs.beginnings(model)[: size.prompts] if prompts is None else tuple(prompts)
    walked = _walks(model, texts, size.steps, seed, with_layers, tick)
    rollouts = rollout.measure(model, texts, size.tokens, seed, tick).rollouts
    unsure, rounding = [s for s in walked if s.undecided], noise.floor(model)
    looked = unsure or walked  # all where none is undecided
    tables = [feedback_tables.next_table(walked, unsure, rounding, seed), feedback_tables.entropies(looked, seed)]
    figures = [feedback_tables.next_figure(looked, seed)]
    answer = feedback_tables.answer(looked, len(walked), rounding, seed)
    for table, figure, sentence in _recovered(walked, seed):
        tables, figures, answer = [*tables, table], [*figures, figure], [*answer, sentence]
    answer += [rollout.sentence(rollouts, seed), floor.sentence(rounding)]
    tables, figures = [*tables, rollout.table(rollouts, seed)], [*figures, *rollout.figures(rollouts, size.tokens)]
    arguments = {"prompts": list(texts), "steps": size.steps, "tokens": size.tokens, "layers": with_layers}
    return Report(
        name="feedback",
        title=f"Feeding the whole vector back: {inputs.model_label(model)}",
        question="What does the whole probability vector, fed back in place of a sampled token, tell the model?",
        answer=(*answer, *sizes.quick_sentence(quick, f"{len(texts)} prompts, {size.steps} steps each")),
        tables=(*tables, floor.table(rounding)),
        figures=tuple(figures),
        method=METHOD,
        controls=CONTROLS,
        manifest=manifest.build(model, arguments | sizes.quick_argument(quick), seed=seed) | floor.manifest(rounding),
        seconds=time.perf_counter() - start,
    )


def _recovered(walked: Sequence[WalkStep], seed: int) -> Iterator[tuple[Table, Figure, str]]:
    """How much of the weights the states hold: nothing where nobody looked."""
    if fits := [s for s in walked if s.fits is not None]:
        yield (
            feedback_tables.recovery(fits, seed),
            feedback_tables.recovery_figure(fits, seed),
            feedback_tables.recovery_sentence(fits, seed),
        )


def _walks(
    model: Model, texts: Sequence[str], steps: int, seed: int, with_layers: bool, tick: Tick | None
) -> list[WalkStep]:
    if not texts:
        raise UsageError("there are no prompts to go on from", "prompts=None takes the built-in ones")
    out: list[WalkStep] = []
    longest = max(len(model.tokenize(t, bos=True)) for t in texts) + steps + 1
    reader = Lens(model, longest) if with_layers else None
    try:
        for i, text in enumerate(texts):
            for n, step in enumerate(walk(model, text, steps, np.random.default_rng([seed, 2, i]), reader)):
                out.append(step)
                if tick is not None:
                    tick("feedback", i * steps + n + 1, len(texts) * steps)
        if tick is not None:
            tick("feedback", len(texts) * steps, len(texts) * steps)
    finally:
        if reader is not None:
            reader.close()
    return out
