"""Problems dealt out to workers, behind one seam: a concurrent.futures.Executor. Each worker holds its own model.

Knows tasks, futures, and how often a task is tried again. Does not know what the workers are: cluster.py has those of Dask, and
any other executor will do, whose processes can import softllama.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from softllama.engine.engine import Engine
from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate.data import Problem
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.results import Result
from softllama.evaluate.ways import Way
from softllama.generation import extract

if TYPE_CHECKING:
    from softllama.evaluate.solve import Solver

Task: TypeAlias = "tuple[Problem, Way]"
TRIES = 5  # of a task whose worker was lost
POLL = 1.0  # seconds between two looks at who is there


@dataclass(frozen=True)
class Work:
    """What a worker needs beside a task. Can be pickled.

    Attributes:
        model: The file that -m stands for on the client; it lies under the same path on every worker.
        sha256: Of the file.
        load: The other arguments of the load.
        options: How problems are asked, without anything left open.
    """

    model: str
    sha256: str | None
    load: tuple[tuple[str, Any], ...]
    options: EvaluateOptions


def work_of(model: Engine, options: EvaluateOptions) -> Work:
    """What workers need to do what this model would. Raises UsageError for options that they cannot have."""
    if options.streams != 1:
        raise UsageError("a worker does one problem at a time, so --streams has no use", "start more workers")
    return Work(model.path, model.sha256, tuple(sorted(model.arguments.items())), options)


_solvers: dict[Work, Solver] = {}
_lock = threading.Lock()


def solve_one(work: Work, problem: Problem, way: Way) -> Result:
    """The result of one task, in a worker's process. The model is loaded for the first, and stays."""
    from softllama.evaluate.solve import Solver
    from softllama.policy import load_files

    load_files(way.text)  # of a policy that is a function of a file
    with _lock:
        if work not in _solvers:
            model = Engine(work.model, **dict(work.load))
            if model.sha256 != work.sha256:
                raise SoftLlamaError(
                    f"{work.model} is another file on this worker than on the client", "copy the client's file to it"
                )
            _solvers.clear()  # one model at a time
            _solvers[work] = Solver(model, work.options, extract.rule(work.options.extract))
        solver = _solvers[work]
    (result,) = solver.results([(problem, way)])
    return result


@dataclass
class Workers:
    """Who does the work.

    Attributes:
        executor: Runs functions elsewhere.
        watch: Is called now and then; it may report workers that went, and raise SoftLlamaError where none is left.
    """

    executor: Executor
    watch: Callable[[], None] = field(default=lambda: None)

    def dealer(self, work: Work) -> Callable[[Sequence[Task]], Iterator[Result]]:
        """A function that has tasks done, and yields their results as they come."""
        return lambda tasks: self._deal(work, tasks)

    def _deal(self, work: Work, tasks: Sequence[Task]) -> Iterator[Result]:
        waiting: dict[Future[Result], tuple[Task, int]] = {}

        def submit(task: Task, tries: int) -> None:
            waiting[self.executor.submit(solve_one, work, *task)] = (task, tries)

        for task in tasks:
            submit(task, 1)
        try:
            while waiting:
                done, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                self.watch()
                for future in done:
                    task, tries = waiting.pop(future)
                    try:
                        result = future.result()
                    except SoftLlamaError:
                        raise
                    except (Exception, CancelledError) as e:  # each executor has an error of its own for a lost worker
                        if tries == TRIES:
                            name = f"problem {task[0].index + 1}, {task[1].name}"
                            raise SoftLlamaError(
                                f"{name}: given up after {TRIES} workers: {type(e).__name__}: {e}",
                                "look at the workers' own messages; started again, the command goes on there",
                            ) from None
                        submit(task, tries + 1)
                        continue
                    yield result
        finally:
            for future in waiting:
                future.cancel()
