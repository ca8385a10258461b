"""Problems x arms -> results. Puts prompts, decoding, searches and extraction together; writes each result as it comes.

A problem's seed comes from the evaluation's seed and the problem's number, so neither the order of the problems nor an
interruption changes what is drawn. With one stream every generation has a context of its own and depends on nothing
else. With several, logits differ in their last bits with the company a sequence has in its batch, as those of any batch
do, so a token at the very edge of a draw may fall differently when the run is repeated or resumed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softllama.engine import manifest
from softllama.engine.engine import Engine
from softllama.errors import ContextError, PromptError, SoftLlamaError, UsageError
from softllama.evaluate.data import Dataset, Problem, right
from softllama.evaluate.results import Result, ResultsFile
from softllama.evaluate.ways import Arm
from softllama.generation import extract, loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.state import Generation
from softllama.trace.record import Trace

Tick = Callable[[int, int], None]  # how many are done, how many there are
AT_ONCE = 8  # samples of one problem side by side: fixed, so that --streams does not change a search


@dataclass(frozen=True)
class Settings:
    """How problems are asked. prompt: with {question} and {choices}; "" for the data's own. extract: "" likewise.

    chat: None: in the model's template if it has one. streams: problems at once. The others are those of
    softllama.generation.prepare.stream.
    """

    prompt: str = ""
    extract: str = ""
    chat: bool | None = None
    system: str | None = None
    max_tokens: int = 512
    think: str = "auto"
    think_budget: int | None = None
    think_tags: str | None = None
    stop: tuple[str, ...] = ()
    seed: int = 0
    streams: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= 256:
            raise UsageError(f"the number of streams must be between 1 and 256, not {self.streams}")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {self.seed}")
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if self.prompt and "{question}" not in self.prompt:
            raise UsageError("the prompt has no place for the question", 'such as "{question} Answer:"')

    def filled(self, model: Engine, data: Dataset) -> Settings:
        """With the data's and the model's own in place of what was left open."""
        chat = bool(model.metadata.get("tokenizer.chat_template")) if self.chat is None else self.chat
        given = {**asdict(self), "stop": self.stop, "chat": chat}
        return Settings(**{**given, "prompt": self.prompt or data.prompt, "extract": self.extract or data.rule})

    def options(self) -> dict[str, Any]:
        """For softllama.generation.prepare."""
        names = ("chat", "system", "max_tokens", "think", "think_budget", "think_tags", "stop")
        return {n: getattr(self, n) for n in names}


def evaluate(
    model: Engine,
    data: Dataset,
    arms: Sequence[Arm],
    settings: Settings | None = None,
    path: Path | None = None,
    tick: Tick | None = None,
) -> tuple[dict[str, Any], list[Result]]:
    """Ask every problem in every way. Returns the header and the results, in the order of problems and arms.

    path: where results are written as they come; what is there already is not asked again. tick: is told of progress.
    Raises SoftLlamaError; Ctrl-C (KeyboardInterrupt) leaves a file that can be continued.
    """
    if not arms:
        raise UsageError("no policy was given", "--policy greedy --policy soft_thinking")
    s = (settings or Settings()).filled(model, data)
    rule = extract.rule(s.extract)
    prepare(model, "x", GenerationOptions(**s.options(), policy="greedy", seed=0))  # settings that cannot be
    header = make_header(model, data, arms, s)
    if path is None:
        results = {r.key: r for r in _solve(model, data.problems, arms, s, rule, set(), tick)}
    else:
        with ResultsFile(path, header) as file:
            for r in _solve(model, data.problems, arms, s, rule, set(file.done), tick):
                file.add(r)
            file.sort([a.name for a in arms])
            results = dict(file.done)
    return header, [results[p.index, a.name] for p in data.problems for a in arms]


def make_header(model: Engine, data: Dataset, arms: Sequence[Arm], s: Settings) -> dict[str, Any]:
    """What the results depend on, and under "info" what they do not."""
    made = manifest.build(model, {}, n_ctx=model.n_ctx_given, seed=s.seed)
    depends = {k: v for k, v in asdict(s).items() if k != "streams"}
    return {
        "model": {k: made["model"][k] for k in ("name", "sha256", "lora")},
        "data": {"name": data.name, "sha256": data.sha256, "kind": data.kind},
        "arms": [[a.name, a.written] for a in arms],
        "settings": {**depends, "stop": list(s.stop)},
        "info": {"streams": s.streams, "problems": len(data.problems), "manifest": made},
    }


def problem_seed(seed: int, index: int) -> int:
    """The seed of one problem: 53 bits, so that every reader of JSON keeps them."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]) >> 11


def _solve(
    model: Engine,
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    s: Settings,
    rule: extract.Rule,
    done: set[tuple[int, str]],
    tick: Tick | None,
) -> Iterator[Result]:
    total, count = len(problems) * len(arms), 0
    wanted = [(p, a) for p in problems for a in arms if (p.index, a.name) not in done]
    count = total - len(wanted)

    def told(found: Iterable[Result]) -> Iterator[Result]:
        nonlocal count
        for r in found:
            yield r
            count += 1
            if tick is not None:
                tick(count, total)

    if tick is not None:
        tick(count, total)
    if s.streams == 1:
        for p, a in wanted:
            one = _searched if a.search else _generated
            yield from told(one(model, [(p, a)], s, rule))
    else:
        yield from told(_generated(model, [x for x in wanted if not x[1].search], s, rule))
        for p, a in wanted:
            if a.search:
                yield from told(_searched(model, [(p, a)], s, rule))


def _generated(
    model: Engine, asked: Sequence[tuple[Problem, Arm]], s: Settings, rule: extract.Rule
) -> Iterator[Result]:
    """Results of policies, as they finish."""
    made: list[tuple[Generation, Problem, Arm]] = []
    for p, a in asked:
        seed = problem_seed(s.seed, p.index)
        try:
            options = GenerationOptions(policy=a.policy, seed=seed, **s.options())
            g = prepare(model, p.asked(s.prompt), options, f"problem {p.index}, {a.name}")
            if len(g.prompt) >= model.n_ctx_limit:
                raise ContextError(
                    f"the prompt has {len(g.prompt):,} tokens, the context room for {model.n_ctx_limit:,}"
                )
        except SoftLlamaError as e:
            yield _failed(p, a, seed, e)
            continue
        made.append((g, p, a))
    waiting = list(made)
    steps = loop.run(model, [g for g, _, _ in made], at_once=s.streams, n_ctx=model.n_ctx_given)
    for _ in steps:  # an end of generation makes no step, so whoever is done is found at the next one's
        for x in [x for x in waiting[: 2 * s.streams] if x[0].done]:
            waiting.remove(x)
            yield _finished(*x, rule)
    for x in waiting:
        yield _finished(*x, rule)


def _finished(g: Generation, p: Problem, a: Arm, rule: extract.Rule) -> Result:
    held = g.flush()
    tags = (g.tags.open, g.tags.close) if g.tags else ("", "")
    trace = Trace(
        tuple(g.steps), g.prompt, "", a.policy, g.seed, g.stop_reason, g.options.stop, tags,
        tail=(held, "") if g.thinking else ("", held), stop_string=g.stop_string,
    )  # fmt: skip
    result = _result(
        p, a, g.seed, trace, rule(trace.answer), len(g.steps), len(g.prompt) + len(g.steps), g.thinking,
        time.perf_counter() - g.started,
    )  # fmt: skip
    g.steps.clear()  # a mixture may hold the whole vocabulary, and there may be thousands of problems
    return result


def _searched(model: Engine, asked: Sequence[tuple[Problem, Arm]], s: Settings, rule: extract.Rule) -> Iterator[Result]:
    """Results of searches, one after the other."""
    from softllama.generation import search  # only where one is asked for

    for p, a in asked:
        seed = problem_seed(s.seed, p.index)
        settings, options, began = dict(a.settings), s.options(), time.perf_counter()
        found: Any
        try:
            if a.search == "beam":
                found = search.beam(model, p.asked(s.prompt), **settings, **options)
                answer = rule(found.trace.answer)
            else:
                options |= {"policy": a.policy or None, "seed": seed, "at_once": AT_ONCE}
                if a.search == "vote":
                    found = search.self_consistency(model, p.asked(s.prompt), extract=rule, **settings, **options)
                    answer = found.answer
                else:
                    found = search.best_of(model, p.asked(s.prompt), n=settings["samples"], **options)
                    answer = rule(found.trace.answer)
        except SoftLlamaError as e:
            yield _failed(p, a, seed, e)
            continue
        trace: Trace = found.trace
        every = found.hypotheses if a.search == "beam" else found.samples.traces
        if any(
            getattr(x, "trace", x).stop_reason == "interrupted" for x in every
        ):  # searches keep what they have at Ctrl-C; half a search is no result
            raise KeyboardInterrupt
        inside = bool(trace.steps) and trace.steps[-1].thinking and not trace.answer
        seconds = time.perf_counter() - began
        yield _result(p, a, seed, trace, answer, found.cost.tokens, found.cost.evaluated, inside, seconds)


def _result(
    p: Problem,
    a: Arm,
    seed: int,
    trace: Trace,
    answer: str | None,
    tokens: int,
    evaluated: int,
    inside: bool,
    seconds: float,
) -> Result:
    ok = right(answer, p.answers)
    return Result(
        p.index, a.name, answer, ok, "" if ok else _reason(trace, answer, inside), trace.n_thinking, trace.n_answer,
        tokens, evaluated, trace.stop_reason, seed, trace.text, round(seconds, 4) if math.isfinite(seconds) else 0.0,
    )  # fmt: skip


def _reason(trace: Trace, answer: str | None, inside: bool) -> str:
    """Why an answer is not right; the first that holds."""
    if trace.stop_reason in ("max tokens", "context full"):
        return f"{trace.stop_reason} while thinking" if inside else f"{trace.stop_reason} in the answer"
    return "no answer found" if answer is None else "wrong answer"


def _failed(p: Problem, a: Arm, seed: int, e: SoftLlamaError) -> Result:
    kind = (
        "prompt too long"
        if isinstance(e, ContextError)
        else "prompt refused"
        if isinstance(e, PromptError)
        else "error"
    )
    return Result(p.index, a.name, None, False, kind, 0, 0, 0, 0, kind, seed, f"{e.message}", 0.0)
