"""Problems x ways -> results. Puts prompts, decoding, searches and extraction together; writes each result as it comes.

A problem's seed comes from the evaluation's seed and the problem's number, so neither the order of the problems nor an
interruption changes what is drawn. With one stream every generation has a context of its own and depends on nothing
else. With several, logits differ in their last bits with the company a sequence has in its batch, as those of any batch
do, so a token at the very edge of a draw may fall differently when the run is repeated or resumed.

Knows how a problem becomes a result. Does not know how results are summarized or shown.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from softllama.engine.engine import Engine
from softllama.errors import ContextError, PromptError, SoftLlamaError, UsageError
from softllama.evaluate.active import require_active
from softllama.evaluate.data import Dataset, Problem, is_right
from softllama.evaluate.options import EvaluateOptions, first_date, make_header
from softllama.evaluate.results import Result, ResultsFile
from softllama.evaluate.ways import Way
from softllama.generation import extract, loop
from softllama.generation.cost import Cost
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.state import Generation
from softllama.show.progress import Tick
from softllama.trace.record import Trace
from softllama.trace.step import StopReason

AT_ONCE = 8  # samples of one problem side by side: fixed, so that --streams does not change a search

logger = logging.getLogger(__name__)


def evaluate(
    model: Engine,
    data: Dataset,
    ways: Sequence[Way],
    options: EvaluateOptions | None = None,
    path: Path | None = None,
    tick: Tick | None = None,
    command: str = "",
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
    logger.info(
        "%d problems of %s, %s, answers read by %r",
        len(data.problems),
        data.name,
        "in the model's chat template" if opts.chat else "raw",
        opts.extract,
    )
    rule = extract.rule(opts.extract)
    # options that cannot be are refused before any problem is asked
    causal = not all(w.masks for w in ways)
    keywords = {**opts.generation_keywords(), "policy": "greedy", "seed": 0}
    prepare(model, "x", GenerationOptions.of(keywords), causal=causal)
    if not opts.allow_inactive:
        require_active(model, data, ways, opts)
    header = make_header(model, data, ways, opts, command)
    solver = _Solver(model, opts, rule)
    if path is None:
        results = {r.key: r for r in solver.solve(data.problems, ways, set(), tick)}
    else:
        with ResultsFile(path, header) as file:
            for r in solver.solve(data.problems, ways, set(file.results), tick):
                file.add(r)
            file.sort()
            header, results = file.header, dict(file.results)
    keys = [(p.index, name) for p in data.problems for name, _ in header["ways"]]
    return header, [results[k] for k in keys if k in results]


def problem_seed(seed: int, index: int) -> int:
    """The seed of one problem: 53 bits, so that every reader of JSON keeps them."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 11


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What a way made of a problem, before it is judged. inside: did it end inside the thinking block?"""

    trace: Trace
    answer: str | None
    tokens: int
    evaluated: int
    inside: bool
    seconds: float


class _Solver:
    """Asks problems with one model, one set of options and one rule for answers."""

    def __init__(self, model: Engine, options: EvaluateOptions, rule: extract.Rule) -> None:
        self._model, self._options, self._rule = model, options, rule

    def solve(
        self, problems: Sequence[Problem], ways: Sequence[Way], known: set[tuple[int, str]], tick: Tick | None
    ) -> Iterator[Result]:
        """The results that are not known yet, as they come."""
        total = len(problems) * len(ways)
        tasks = [(p, w) for p in problems for w in ways if (p.index, w.name) not in known]
        count = total - len(tasks)
        if tick is not None:
            tick("answers", count, total)
        last = time.perf_counter()
        for result in self._results(tasks):
            now = time.perf_counter()
            yield replace(result, wall=round(now - last, 4))
            last = now
            count += 1
            if tick is not None:
                tick("answers", count, total)

    def _results(self, tasks: Sequence[tuple[Problem, Way]]) -> Iterator[Result]:
        if self._options.streams == 1:
            for p, w in tasks:
                yield from self._searched(p, w) if w.search else self._generated([(p, w)])
        else:
            yield from self._generated([x for x in tasks if not x[1].search])
            for p, w in tasks:
                if w.search:
                    yield from self._searched(p, w)

    def _generated(self, tasks: Sequence[tuple[Problem, Way]]) -> Iterator[Result]:
        """Results of policies, as they finish."""
        model, opts = self._model, self._options
        generations: list[tuple[Generation, Problem, Way]] = []
        for p, w in tasks:
            seed = problem_seed(opts.seed, p.index)
            try:
                options = GenerationOptions.of({**opts.generation_keywords(), "policy": w.policy, "seed": seed})
                g = prepare(model, p.to_prompt(opts.prompt), options, f"problem {p.index}, {w.name}")
                if len(g.prompt) >= model.n_ctx_limit:
                    raise ContextError(
                        f"the prompt has {len(g.prompt):,} tokens, the context room for {model.n_ctx_limit:,}"
                    )
            except SoftLlamaError as e:
                yield _refused(p, w, seed, e)
                continue
            generations.append((g, p, w))
        waiting = list(generations)
        steps = loop.run(model, [g for g, _, _ in generations], at_once=opts.streams, n_ctx=model.n_ctx_given)
        for _ in steps:  # an end of generation makes no step, so whoever is done is seen at the next one's
            for x in [x for x in waiting[: 2 * opts.streams] if x[0].done]:
                waiting.remove(x)
                yield self._finished(*x)
        for x in waiting:
            yield self._finished(*x)

    def _finished(self, g: Generation, p: Problem, w: Way) -> Result:
        tail = g.flush()
        trace = Trace(
            steps=g.recorded(),
            prompt=g.prompt,
            prompt_text="",
            policy=w.policy,
            seed=g.seed,
            stop_reason=g.stop_reason,
            stop=g.options.stop,
            stop_string=g.stop_string,
            thinking_tags=(g.tags.open, g.tags.close) if g.tags else ("", ""),
            tail=(tail, "") if g.thinking else ("", tail),
            degenerations=tuple(d.to_dict() for d in g.degenerations),
        )
        outcome = _Outcome(
            trace=trace,
            answer=self._rule(trace.answer),
            tokens=len(g.steps),
            evaluated=len(g.prompt) + len(g.steps),
            inside=g.thinking,
            seconds=time.perf_counter() - g.started,
        )
        result = _judge(p, w, g.seed, outcome)
        g.steps.clear()  # a mixture may hold the whole vocabulary, and there may be thousands of problems
        return result

    def _searched(self, p: Problem, w: Way) -> Iterator[Result]:
        """The result of one search."""
        seed, start = problem_seed(self._options.seed, p.index), time.perf_counter()
        try:
            trace, answer, cost = self._search(p, w, seed)
        except SoftLlamaError as e:
            yield _refused(p, w, seed, e)
            return
        outcome = _Outcome(
            trace=trace,
            answer=answer,
            tokens=cost.tokens,
            evaluated=cost.evaluated,
            inside=bool(trace.steps) and trace.steps[-1].thinking and not trace.answer,
            seconds=time.perf_counter() - start,
        )
        yield _judge(p, w, seed, outcome)

    def _search(self, p: Problem, w: Way, seed: int) -> tuple[Trace, str | None, Cost]:
        """What a search chose, the answer in it, and its cost."""
        from softllama.generation import search  # only where one is asked for
        from softllama.generation.search_text import Search

        options = self._options.generation_keywords()
        options["seed"] = seed
        prompt, wanted = p.to_prompt(self._options.prompt), Search(w.search, w.settings, w.policy)
        result = search.run(self._model, prompt, wanted, extract=self._rule, at_once=AT_ONCE, **options)
        return result.trace, search.answer_of(result, self._rule), result.cost


def _judge(p: Problem, w: Way, seed: int, o: _Outcome) -> Result:
    right = is_right(o.answer, p.answers)
    return Result(
        problem=p.index,
        way=w.name,
        answer=o.answer,
        right=right,
        failure="" if right else _reason(o),
        n_thinking=o.trace.n_thinking,
        n_answer=o.trace.n_answer,
        n_soft=o.trace.n_soft,
        n_threads_used=o.trace.manifest.get("n_threads_used"),
        tokens=o.tokens,
        evaluated=o.evaluated,
        stop=o.trace.stop_reason,
        seed=seed,
        text=o.trace.text,
        seconds=round(o.seconds, 4) if math.isfinite(o.seconds) else 0.0,
        degenerate=o.trace.degenerations[0]["sign"] if o.trace.degenerations else "",
    )


def _reason(o: _Outcome) -> str:
    """Why an answer is not right; the first that holds."""
    stop = o.trace.stop_reason
    if o.trace.degenerations:
        return f"garbage: {o.trace.degenerations[0]['sign']}"
    if stop in (StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL):
        return f"{stop} while thinking" if o.inside else f"{stop} in the answer"
    return "no answer found" if o.answer is None else "wrong answer"


def _refused(p: Problem, w: Way, seed: int, e: SoftLlamaError) -> Result:
    """The result of a problem that could not be asked."""
    kind = "error"
    if isinstance(e, ContextError):
        kind = "prompt too long"
    elif isinstance(e, PromptError):
        kind = "prompt refused"
    logger.info("problem %d, %s: %s: %s", p.index, w.name, kind, e.message)
    return Result(
        problem=p.index,
        way=w.name,
        answer=None,
        right=False,
        failure=kind,
        n_thinking=0,
        n_answer=0,
        tokens=0,
        evaluated=0,
        stop=kind,
        seed=seed,
        text=e.message,
        seconds=0.0,
    )
