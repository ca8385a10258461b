"""Does it help to think in mixtures? Two-by-two: trained on tokens or on mixtures, decoded in tokens or in mixtures.

The bundled pairs are asked held-out problems in every way, with the baselines and controls that a comparison needs, in
groups of equal cost; the same on any other model is `softllama eval`.

Knows the question and the order of the report. The pairs and the ways are in answers_ways, the tables in answers_tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from softllama.api import Model, load
from softllama.evaluate import EvaluateOptions, evaluate, summary, ways
from softllama.report.data import Figure, Table
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import answers_tables
from softllama.study.answers_tables import ByWay
from softllama.study.answers_ways import COMPARED, SAMPLES, WAYS, Pair, available, problems

STREAMS = 8  # problems side by side: the same every time, so the study repeats to the digit
METHOD = (
    "Two-by-two: rows are what a model was trained on, columns what is fed while it thinks: the likeliest token, or the whole "
    "vector. The answer is always decoded in tokens: greedily, or for the random ways (sampling, Cold Stop, gumbel) by the "
    "same sampling for all: temperature 0.6, top-k 30, top-p 0.95. Other settings are the policies' defaults.",
    "The problems are held out from training, by multiset for sums; orders of one multiset are counted as separate problems, "
    "which makes its intervals a little too narrow. One pass: the positions of one "
    f"generation. {SAMPLES} passes: {SAMPLES} samples or beams, so {SAMPLES} times the positions.",
    *summary.METHOD[:2],
    "Between two models: the same problems, paired; one model of each kind, so that the difference is between these two files, "
    "not between ways of training; words-mixed is words with further training, so part of its gain may be that. The model "
    "cards have several seeds, and settings in which mixtures lose.",
)
CONTROLS = (
    "random mixture: the same weights on random tokens: what a mixture with nothing in it does",
    "plain mean: the same tokens with equal weights: do the weights matter?",
    "Cold Stop alone: tokens, but thinking ends when the model is sure: does the stopping rule explain it?",
    f"majority of {SAMPLES} and beam search: what the same question costs and gives with more positions",
)


def run(
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    limit: int | None = None,
    streams: int = STREAMS,
    tick: Tick | None = None,
    open_model: Callable[[str], Model] = load,
) -> Report:
    """Run the study on the bundled pairs.

    Args:
        names: Of some pairs. None: all that are installed.
        seed: Of every random choice.
        limit: Ask the first problems only.
        streams: Problems side by side. Another number may change the last bits of logits.
        tick: Called with what is being done, how many answers there are, and how many there will be.
        open_model: Loads a model by its name.

    Returns:
        The report. With the same seed and number of streams its results repeat to the digit.

    Raises:
        UsageError: There is no pair of that name.
        SoftLlamaError: No pair is installed, or a model cannot be loaded.
    """
    start = time.perf_counter()
    tables: list[Table] = []
    figures: list[Figure] = []
    answer: list[str] = []
    models: dict[str, Any] = {}
    first_rows: dict[str, dict[str, summary.Compared]] = {}
    for pair in available(names):
        by: dict[str, ByWay] = {}
        for kind, path in (("tokens", pair.discrete), ("mixtures", pair.soft)):
            with open_model(path) as model:
                label = f"{pair.name}, trained on {kind}"
                models[path], by[kind] = _ask(model, pair, label, seed, limit, streams, tick)
        compared = {kind: summary.compare(results, COMPARED) for kind, results in by.items()}
        tables += [answers_tables.square(pair, by), answers_tables.every_way(pair, by)]
        tables.append(answers_tables.differences(pair, compared))
        figures.append(answers_tables.figure(pair, by))
        answer += answers_tables.sentences(pair, by, compared)
        first_rows[pair.name] = compared
    answer.insert(0, answers_tables.headline(first_rows))
    arguments = {"limit": limit, "seed": seed, "streams": streams, "policies": WAYS}
    return Report(
        name="thinking",
        title="Thinking in mixtures: the bundled pairs",
        question="Does a model answer better when it thinks in probability vectors than when it thinks in tokens, at equal cost?",
        answer=tuple(answer),
        tables=tuple(tables),
        figures=tuple(figures),
        method=METHOD,
        controls=CONTROLS,
        manifest={"models": models, "arguments": arguments},
        seconds=time.perf_counter() - start,
    )


def _ask(
    model: Model, pair: Pair, label: str, seed: int, limit: int | None, streams: int, tick: Tick | None
) -> tuple[dict[str, Any], ByWay]:
    """The model's manifest, and its results in every way."""
    chosen = [ways.parse(f"{name.replace(',', '')}={text}") for name, text in WAYS.items()]
    name_of = {w.name: name for name, w in zip(WAYS, chosen, strict=True)}
    header, results = evaluate(
        model,
        problems(pair, limit),
        chosen,
        EvaluateOptions(max_tokens=pair.max_tokens, seed=seed, streams=streams),
        tick=None if tick is None else lambda _, done, total: tick(label, done, total),
    )
    return header["info"]["manifest"], {k: {r.problem: r for r in results if name_of[r.way] == k} for k in WAYS}
