"""Problems x ways -> results: here, or dealt out to workers. Writes each result as it comes.

Knows the file of results and who does the work. solve.py knows how a problem becomes a result; how results are summarized or
shown is known elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.evaluate.active import require_active
from softllama.evaluate.data import Dataset, Problem
from softllama.evaluate.options import EvaluateOptions, first_date, make_header
from softllama.evaluate.results import Result, ResultsFile
from softllama.evaluate.solve import Solver
from softllama.evaluate.ways import Way
from softllama.evaluate.workers import Task, Workers, work_of
from softllama.generation import extract
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.show.progress import Tick

logger = logging.getLogger(__name__)


def evaluate(
    model: Engine,
    data: Dataset,
    ways: Sequence[Way],
    options: EvaluateOptions | None = None,
    path: Path | None = None,
    tick: Tick | None = None,
    command: str = "",
    workers: Workers | None = None,
) -> tuple[dict[str, Any], list[Result]]:
    """Ask every problem in every way.

    Args:
        model: The model that is asked.
        data: The problems.
        ways: The ways of answering, such as parse_all(["greedy", "vote:samples=8"]).
        options: How problems are asked.
        path: Where results are written as they come. A problem whose result is there already is not asked again. Policies
            that are there already stay in the header and in the results; the others are added.
        tick: Called with "answers", how many results there are, and how many there will be.
        command: The command line that asks for it, for the record.
        workers: Who does the work, each with a model of its own; None for this process. Results are written here alone.

    Returns:
        The header (what the results depend on), and the results in the order of problems and ways.

    Raises:
        SoftLlamaError: The options do not work with the model, or the file cannot be written or continued.
        KeyboardInterrupt: Ctrl-C. The file can be continued.
    """
    if not ways:
        raise UsageError("no policy was given", "--policy greedy --policy soft_thinking")
    options = options or EvaluateOptions()
    if options.date is None and path is not None and (first := first_date(path)):
        options = replace(options, date=first)
    opts = options.with_defaults(model, data)
    how = "in the model's chat template" if opts.chat else "raw"
    logger.info("%d problems of %s, %s, answers read by %r", len(data.problems), data.name, how, opts.extract)
    rule = extract.rule(opts.extract)
    # options that cannot be are refused before any problem is asked
    causal = not all(w.masks for w in ways)
    keywords = {**opts.generation_keywords(), "policy": "greedy", "seed": 0}
    prepare(model, "x", GenerationOptions.of(keywords), causal=causal)
    if not opts.allow_inactive:
        require_active(model, data, ways, opts)
    header = make_header(model, data, ways, opts, command)
    work: Callable[[Sequence[Task]], Iterator[Result]] = Solver(model, opts, rule).results
    if workers is not None:
        work = workers.dealer(work_of(model, opts))
    if path is None:
        results = {r.key: r for r in _timed(work, data.problems, ways, set(), tick)}
    else:
        with ResultsFile(path, header) as file:
            for r in _timed(work, data.problems, ways, set(file.results), tick):
                file.add(r)
            file.sort()
            header, results = file.header, dict(file.results)
    keys = [(p.index, name) for p in data.problems for name, _ in header["ways"]]
    return header, [results[k] for k in keys if k in results]


def _timed(
    work: Callable[[Sequence[Task]], Iterator[Result]],
    problems: Sequence[Problem],
    ways: Sequence[Way],
    known: set[tuple[int, str]],
    tick: Tick | None,
) -> Iterator[Result]:
    """The results that are not known yet, as they come, with the seconds between them."""
    total = len(problems) * len(ways)
    tasks = [(p, w) for p in problems for w in ways if (p.index, w.name) not in known]
    count = total - len(tasks)
    if tick is not None:
        tick("answers", count, total)
    last = time.perf_counter()
    for result in work(tasks):
        now = time.perf_counter()
        yield replace(result, wall=round(now - last, 4))
        last = now
        count += 1
        if tick is not None:
            tick("answers", count, total)
