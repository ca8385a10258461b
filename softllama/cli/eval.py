"""softllama eval"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.cli.eval_report import ReportOutput, command_text, plan, report, report_output
from softllama.cli.generation_options import GenerationChoices, generation_options
from softllama.cli.help import Group
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import as_one_object, complete_policy
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.evaluate.data import Dataset
    from softllama.evaluate.options import EvaluateOptions
    from softllama.evaluate.results import Result
    from softllama.evaluate.shots import Shots
    from softllama.evaluate.ways import Way


@dataclass(frozen=True, kw_only=True)
class DataChoices:
    """Which problems, and the examples before them."""

    data: str
    limit: int | None
    subset: str | None
    split: str | None
    shots: int | None
    shots_from: str | None
    shots_form: str | None

    def load(self) -> Dataset:
        """The problems."""
        from softllama import evaluate

        return evaluate.load(self.data, self.limit, subset=self.subset, split=self.split)

    def examples(self) -> Shots | None:
        """The examples. Raises UsageError for a number without a file."""
        from softllama.evaluate import data, shots

        if self.shots is None and self.shots_from is None:
            return None
        if self.shots_from is None:
            raise UsageError(
                "--shots needs examples that are not among the problems", "--shots-from FILE, or hf:user/name"
            )
        split = "train" if self.shots_from.startswith("hf:") else None
        read = data.load(self.shots_from, subset=self.subset if split else None, split=split)
        return shots.Shots.of(read, 5 if self.shots is None else self.shots, self.shots_form or "")


@dataclass(frozen=True, kw_only=True)
class WorkChoices:
    """Who does the work, and where the results go."""

    out: str | None
    shard: str | None
    workers: str | None
    streams: int
    allow_inactive: bool

    def path(self, data: Dataset, model: Model) -> Path:
        """The file of results."""
        from softllama.evaluate.shards import Shard

        suffix = Shard(*data.shard[:2]).suffix if data.shard else ""
        stem = Path(data.name.replace("/", "-")).stem
        return Path(self.out or f"{stem}.{Path(model.path).stem}.results{suffix}.jsonl")


data_options = as_one_object(
    DataChoices,
    "source",
    [
        click.argument("data"),
        click.option("--limit", type=int, metavar="N", help="The first N problems only."),
        click.option("--subset", metavar="NAME", help="Of a data set of the hub, such as main."),
        click.option("--split", metavar="NAME", help="Of a data set of the hub. Default: test, else validation."),
        click.option(
            "--shots", type=int, metavar="N", help="So many examples before each question. Default: 5 of --shots-from."
        ),
        click.option(
            "--shots-from", metavar="FILE", help="The file with the examples, as DATA; the first of it are taken."
        ),
        click.option(
            "--shots-form",
            type=click.Choice(["chat", "raw"]),
            help="Examples as turns of the chat, or as text before the question. Default: chat, if there is one.",
        ),
    ],
    [f.name for f in fields(DataChoices)],
)
work_options = as_one_object(
    WorkChoices,
    "work",
    [
        click.option("-o", "--out", metavar="FILE", help="Results, a line each. Default: DATA.MODEL.results.jsonl."),
        click.option(
            "--shard", metavar="I/N", help="The I-th of N parts of the problems only; `eval report` takes all files."
        ),
        click.option(
            "--workers", metavar="ADDRESS", help="The scheduler of a Dask cluster that does the work, tcp://host:8786."
        ),
        click.option(
            "--streams",
            type=int,
            default=1,
            show_default=True,
            metavar="N",
            help="Problems side by side in one context.",
        ),
        click.option(
            "--allow-inactive", is_flag=True, help="Go on where a policy would never act, for want of a thinking block."
        ),
    ],
    [f.name for f in fields(WorkChoices)],
)


class _Commands(Group):
    """`eval DATA` is `eval run DATA`; only `report` and `plan` are written out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands)
def command() -> None:
    """How many problems a model solves, by way of decoding.

    \b
    softllama eval problems.jsonl -m model.gguf --policy greedy --policy soft_thinking:n=10
    softllama eval report problems.model.results.jsonl
    """


@command.command("run")
@data_options
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="POLICY",
    shell_complete=complete_policy,
    help="A way of decoding; repeat it to compare. Also searches, such as vote:samples=8, and policies of a file, as mine.py:NAME. "
    "Default: greedy and soft_thinking.",
)
@click.option(
    "--extract", metavar="RULE", help="auto, boxed, hash, number, choice, text, math, or a regular expression."
)
@click.option("--prompt", metavar="TEXT", help="With {question} and {choices}. Default: fitting the data.")
@click.option("--chat/--raw", default=None, help="With or without the chat template. Default: with, if there is one.")
@generation_options(
    max_tokens=512,
    seed=0,
    think="auto",
    in_plain_text=True,
    without=["policy", "answer", "where", "template", "keep"],
)
@work_options
@report_output
@model_options
def run(
    source: DataChoices,
    policies: tuple[str, ...],
    extract: str | None,
    prompt: str | None,
    chat: bool | None,
    generation: GenerationChoices,
    work: WorkChoices,
    output: ReportOutput,
    options: ModelOptions,
) -> None:
    """How many problems a model solves, by way of decoding.

    \b
    softllama eval problems.jsonl -m model.gguf --policy greedy --policy soft_thinking:n=10
    softllama eval gsm8k.jsonl -m model.gguf --policy sample --policy gumbel --policy "vote:samples=8" --limit 200
    softllama eval quiz.jsonl --extract "the answer is (\\w+)" --streams 8
    softllama eval hf:openai/gsm8k --subset main --shots 5 --shots-from hf:openai/gsm8k --shard 1/4
    softllama eval report problems.model.results.jsonl --html report.html

    DATA has a JSON object in each line: {"question": "...", "answer": "..."}, where an answer may end in "#### 18" (as
    GSM8K's do) or be a list of right answers; with "choices": ["...", ...] for multiple choice. Rows of MATH, MMLU-Pro,
    ARC and C-Eval are read as they are: the names of their fields are found and reported.

    Every result is on the disk before the next problem begins. Started again, the command goes on where it stopped, and
    repeats nothing; with one more --policy it adds that one. `eval report FILE` builds the tables from the results.
    """
    from softllama import evaluate
    from softllama.evaluate import ways
    from softllama.evaluate.shards import Shard
    from softllama.generation import extract as rules
    from softllama.policy import load_files

    output.check()
    for text in policies:
        load_files(text)
    chosen = ways.parse_all(policies or ("greedy", "soft_thinking"))
    shard = None if work.shard is None else Shard.parse(work.shard)
    problems = source.load()
    problems = problems if shard is None else shard.of(problems)
    settings = evaluate.EvaluateOptions(
        prompt=prompt or "",
        extract=extract or "",
        chat=chat,
        system=generation.system_text(),
        streams=work.streams,
        allow_inactive=work.allow_inactive,
        shots=source.examples(),
        **generation.keywords(),
    )
    if extract is not None:
        rules.rule(extract)
    model = options.load()
    header, results = _evaluated(model, problems, chosen, settings, work, options.quiet)
    output.show(evaluate.summarize(header, results), quiet=options.quiet, words=sys.argv[1:])


def _evaluated(
    model: Model, problems: Dataset, chosen: list[Way], settings: EvaluateOptions, work: WorkChoices, quiet: bool
) -> tuple[dict[str, Any], list[Result]]:
    from softllama import evaluate
    from softllama.base import signals
    from softllama.show.progress import progress

    signals.take_sigterm()  # as Ctrl-C: a problem that is being answered gives no result
    path = work.path(problems, model)
    if not quiet:
        _notes(model, settings.with_defaults(model, problems), problems, path)
    with ExitStack() as stack:
        workers = None
        if work.workers is not None:
            from softllama.evaluate import cluster

            workers = stack.enter_context(cluster.workers(work.workers, (lambda _: None) if quiet else note))
        tick = stack.enter_context(progress(quiet, unit=settings.max_tokens))
        return evaluate.evaluate(model, problems, chosen, settings, path, tick, command_text(sys.argv[1:]), workers)


def _notes(model: Model, settings: EvaluateOptions, problems: Dataset, path: Path) -> None:
    """Say what is asked, how answers are read, which fields were taken, where the results go, and what is not known."""
    from softllama.generation import advice

    way = "in the chat template" if settings.chat else "raw"
    source = f"{len(problems.problems)} problems of {problems.name}, {way}"
    note(f"{source}, answers read by {settings.extract!r}, seed {settings.seed}")
    if any(what != name for what, name in problems.fields):
        note("fields: " + ", ".join(f"{what} from {name!r}" for what, name in problems.fields))
    note(f"results: {path}")
    if line := advice.thinks_anyway(model, bool(settings.chat), None, settings.think, settings.think_tags):
        note(line)


command.add_command(report)
command.add_command(plan)
