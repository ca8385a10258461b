"""Does it help a model to think in mixtures? One model, small questions with a number as answer, several ways of decoding.

The bundled pairs, trained on tokens and on mixtures, have a study of their own: answers. Problems of one's own are asked
by `softllama eval`.

Knows the question, the ways and the order of the report. Does not know how problems are asked or answers compared.
"""

from __future__ import annotations

import time
from importlib.resources import files
from pathlib import Path

from softllama.api import Model
from softllama.errors import UsageError
from softllama.evaluate import Dataset, EvaluateOptions, evaluate, load, summary, ways
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.hub import bundled
from softllama.report.report import Report
from softllama.show.progress import Tick
from softllama.study import inputs, sizes

STREAMS = 8  # problems side by side: the same every time, so the study repeats to the digit
MAX_TOKENS, THINK_BUDGET = 96, 64
_DRAWN = "temperature=0.6,top_k=30,top_p=0.95"  # the defaults of the random soft methods, so that sampling matches them
WAYS = {  # name -> as text; the order of the tables
    "greedy": "greedy",
    "sampling": f"sample:{_DRAWN}",
    "soft thinking": "soft_thinking:answer=greedy",
    "gumbel": "gumbel",
    "whole vector": "full",
    "random mixture": "random_mix:answer=greedy",
}
QUICK_WAYS = ("greedy", "sampling", "soft thinking", "gumbel")
COMPARED = (  # first minus second
    ("soft thinking", "sampling"),
    ("soft thinking", "greedy"),
    ("gumbel", "sampling"),
    ("whole vector", "greedy"),
    ("soft thinking", "random mixture"),
)
METHOD = (
    f"Each problem is asked once in every way, with at most {MAX_TOKENS} tokens, of which at most {THINK_BUDGET} are thinking. "
    "A model without a thinking block is asked to think in plain text; a model without a chat template gets the bare question, "
    "and the policy acts on all of its text.",
    "Sampling, in the thinking and in the answer: temperature 0.6, top-k 30, top-p 0.95. Other settings are the policies' "
    "defaults. The answer to a problem is the last number in the text after the thinking.",
    *summary.METHOD[:2],
    "Problems this small say whether a way of decoding breaks a model, not how well it thinks: softllama eval asks yours, with "
    "room for long thoughts.",
)
CONTROLS = (
    "sampling: what chance alone does",
    "random mixture: the same weights on random tokens: what a mixture with nothing in it does",
)


def run(
    model: Model, *, seed: int = 0, limit: int | None = None, quick: bool = False, tick: Tick | None = None
) -> Report:
    """Run the study on one model.

    Args:
        model: The model that is asked; not one of the bundled ones, which cannot answer such problems.
        seed: Of every random choice.
        limit: Ask the first problems only. None: what fits, see softllama.study.sizes.
        quick: Ask few problems in few ways, for a first impression.
        tick: Called with "answers", how many there are, and how many there will be.

    Returns:
        The report. With the same seed its results repeat to the digit.

    Raises:
        UsageError: It is a bundled model.
        SoftLlamaError: The model cannot be asked.
    """
    start = time.perf_counter()
    if Path(model.path).parent == bundled.FOLDER:
        raise UsageError(
            f"the bundled model {model.name} knows its own small world only",
            "softllama study thinking, without -m, asks the bundled models",
        )
    size = sizes.of(model, quick=quick)
    names = QUICK_WAYS if quick else tuple(WAYS)
    n = size.problems if limit is None else limit
    data = problems(n)
    chosen = [ways.parse(f"{name}={WAYS[name]}") for name in names]
    header, results = evaluate(model, data, chosen, options(model, seed), tick=tick)
    by = {name: {r.problem: r for r in results if r.way == name} for name in names}
    compared = summary.compare(by, [p for p in COMPARED if p[0] in names and p[1] in names])
    scores = {name: summary.accuracy(rs) for name, rs in by.items()}
    label = inputs.model_label(model)
    return Report(
        name="thinking",
        title=f"Thinking in mixtures: {label}",
        question="Does the model answer better when it thinks in mixtures than when it thinks in tokens, at equal cost?",
        answer=(
            *summary.sentences(compared, scores),
            *sizes.quick_sentence(quick, f"{len(data.problems)} problems in {len(names)} ways"),
        ),
        tables=(summary.way_table(by), summary.pair_table(compared), summary.failure_table(by)),
        figures=(summary.figure(label, scores),),
        method=METHOD,
        controls=tuple(c for c in CONTROLS if c.partition(":")[0] in names),
        manifest={
            **header["info"]["manifest"],
            "arguments": {"limit": n, "seed": seed, "streams": STREAMS, "policies": {k: WAYS[k] for k in names}},
            "settings": header["settings"],
        },
        seconds=time.perf_counter() - start,
    )


def problems(limit: int | None = None) -> Dataset:
    """The problems, with whole numbers as answers; the first `limit` of them."""
    return load(Path(str(files("softllama.study") / "data" / "general.jsonl")), limit)


def options(model: Model, seed: int) -> EvaluateOptions:
    """How the problems are asked: in the model's thinking block if it has one, else in plain text, else without a template."""
    chat = bool(model.template_source)
    in_block = chat and prepare(model, "x", GenerationOptions(chat=True, policy="greedy", seed=0)).thinking
    return EvaluateOptions(
        prompt="{question} Answer with a number." if chat else "Question: {question}\nAnswer:",
        extract="number",
        chat=chat,
        max_tokens=MAX_TOKENS,
        think="auto" if in_block or not chat else "prompt",
        think_budget=THINK_BUDGET if chat else None,
        seed=seed,
        streams=STREAMS,
    )
