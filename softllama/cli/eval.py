"""softllama eval"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli import note
from softllama.cli.generation_options import GenerationChoices, generation_options
from softllama.cli.help import Group
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import as_one_object, complete_policy
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.evaluate.data import Dataset
    from softllama.evaluate.options import EvaluateOptions
    from softllama.report.report import Report


def _command(words: list[str]) -> str:
    return shlex.join(["softllama", *words])


@dataclass(frozen=True, kw_only=True)
class ReportOutput:
    """How the report is printed, and the page that is written."""

    html: str | None
    as_json: bool
    as_csv: bool

    def check(self) -> None:
        """Raise UsageError, before any work, for options that exclude each other or a page that cannot be written."""
        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv exclude each other")
        if self.html is not None:
            from softllama.report.report import check_page

            check_page(Path(self.html))

    def show(self, r: Report, *, quiet: bool, words: list[str]) -> None:
        """Print the report, and write its page. words: the command, without "softllama"; for results that name none."""
        from softllama.base.files import replacing
        from softllama.report import text
        from softllama.show import console

        r = r if r.command else replace(r, command=_command(words))
        if self.as_json:
            click.echo(r.json())
        elif self.as_csv:
            click.echo(r.csv(), nl=False)
        else:
            console.console().print(text.report(r))
        if self.html is not None:
            with replacing(Path(self.html)) as f:
                f.write(r.page().encode("utf-8", "replace"))
            if not quiet:
                note(f"page: {self.html}")


report_output = as_one_object(
    ReportOutput,
    "output",
    [
        click.option("--html", metavar="FILE", help="Write the report as one page."),
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
        click.option("--csv", "as_csv", is_flag=True, help="Print the report's numbers as CSV."),
    ],
    [f.name for f in fields(ReportOutput)],
)


class _Commands(Group):
    """`eval DATA` is `eval run DATA`; only `report` is written out."""

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
@click.argument("data")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="POLICY",
    shell_complete=complete_policy,
    help="A way of decoding; repeat it to compare. Also searches, such as vote:samples=8, and policies of a file, as mine.py:NAME. "
    "Default: greedy and soft_thinking.",
)
@click.option("-o", "--out", metavar="FILE", help="Results, a line each. Default: DATA.MODEL.results.jsonl.")
@click.option("--limit", type=int, metavar="N", help="The first N problems only.")
@click.option("--extract", metavar="RULE", help="auto, boxed, hash, number, choice, text, or a regular expression.")
@click.option("--prompt", metavar="TEXT", help="With {question} and {choices}. Default: fitting the data.")
@click.option("--chat/--raw", default=None, help="With or without the chat template. Default: with, if there is one.")
@generation_options(
    max_tokens=512,
    seed=0,
    think="auto",
    in_plain_text=True,
    without=["policy", "answer", "where", "template", "keep"],
)
@click.option(
    "--streams", type=int, default=1, show_default=True, metavar="N", help="Problems side by side in one context."
)
@click.option(
    "--allow-inactive", is_flag=True, help="Go on where a policy would never act, for want of a thinking block."
)
@report_output
@model_options
def run(
    data: str,
    policies: tuple[str, ...],
    out: str | None,
    limit: int | None,
    extract: str | None,
    prompt: str | None,
    chat: bool | None,
    generation: GenerationChoices,
    streams: int,
    allow_inactive: bool,
    output: ReportOutput,
    options: ModelOptions,
) -> None:
    """How many problems a model solves, by way of decoding.

    \b
    softllama eval problems.jsonl -m model.gguf --policy greedy --policy soft_thinking:n=10
    softllama eval gsm8k.jsonl -m model.gguf --policy sample --policy gumbel --policy "vote:samples=8" --limit 200
    softllama eval quiz.jsonl --extract "the answer is (\\w+)" --streams 8
    softllama eval report problems.model.results.jsonl --html report.html

    DATA has a JSON object in each line: {"question": "...", "answer": "..."}, where an answer may end in "#### 18" (as
    GSM8K's do) or be a list of right answers; with "choices": ["...", ...] for multiple choice. Rows of MATH, MMLU-Pro,
    ARC and C-Eval are read as they are: the names of their fields are found and reported.

    Every result is on the disk before the next problem begins. Started again, the command goes on where it stopped, and
    repeats nothing; with one more --policy it adds that one. `eval report FILE` builds the tables from the results.
    """
    from softllama import evaluate
    from softllama.base import signals
    from softllama.evaluate import ways
    from softllama.generation import extract as rules
    from softllama.policy import load_files
    from softllama.show.progress import progress

    output.check()
    for text in policies:
        load_files(text)
    chosen = ways.parse_all(policies or ("greedy", "soft_thinking"))
    problems = evaluate.load(data, limit)
    settings = evaluate.EvaluateOptions(
        prompt=prompt or "",
        extract=extract or "",
        chat=chat,
        system=generation.system_text(),
        streams=streams,
        allow_inactive=allow_inactive,
        **generation.keywords(),
    )
    if extract is not None:
        rules.rule(extract)
    model = options.load()
    signals.take_sigterm()  # as Ctrl-C: a problem that is being answered gives no result
    path = Path(out or f"{Path(data).stem}.{Path(model.path).stem}.results.jsonl")
    if not options.quiet:
        _notes(model, settings.with_defaults(model, problems), problems, path)
    with progress(options.quiet, unit=settings.max_tokens) as tick:
        header, results = evaluate.evaluate(model, problems, chosen, settings, path, tick, _command(sys.argv[1:]))
    output.show(evaluate.summarize(header, results), quiet=options.quiet, words=sys.argv[1:])


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


@command.command("report")
@click.argument("results")
@report_output
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr.")
def report(results: str, output: ReportOutput, quiet: bool) -> None:
    """The tables of an evaluation, from its file of results; also while it is running.

    \b
    softllama eval report problems.model.results.jsonl
    softllama eval report problems.model.results.jsonl --html report.html
    """
    from softllama.evaluate.results import read
    from softllama.evaluate.summary import summarize

    output.check()
    output.show(summarize(*read(results)), quiet=quiet, words=["eval", "report", results])
