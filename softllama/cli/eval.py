"""softllama eval"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli import note
from softllama.cli.generation_options import GenerationChoices, generation_options
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import complete_policy
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.report.data import Report


class _Commands(click.Group):
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
    help="A way of decoding; repeat it to compare. Also vote:samples=8, best:samples=8, beam:beams=4. "
    "Default: greedy and soft_thinking.",
)
@click.option("-o", "--out", metavar="FILE", help="Results, a line each. Default: DATA.MODEL.results.jsonl.")
@click.option("--limit", type=int, metavar="N", help="The first N problems only.")
@click.option("--extract", metavar="RULE", help="auto, boxed, hash, number, choice, text, or a regular expression.")
@click.option("--prompt", metavar="TEXT", help="With {question} and {choices}. Default: fitting the data.")
@click.option("--chat/--raw", default=None, help="With or without the chat template. Default: with, if there is one.")
@generation_options(
    max_tokens=512, seed=0, think="auto", in_plain_text=True, without=["policy", "answer", "where", "template"]
)
@click.option(
    "--streams", type=int, default=1, show_default=True, metavar="N", help="Problems side by side in one context."
)
@click.option("--html", metavar="FILE", help="Write the report as one page.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the report's numbers as CSV.")
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
    html: str | None,
    as_json: bool,
    as_csv: bool,
    options: ModelOptions,
) -> None:
    """How many problems a model solves, by way of decoding.

    \b
    softllama eval problems.jsonl -m model.gguf --policy greedy --policy soft_thinking:n=10
    softllama eval gsm8k.jsonl -m model.gguf --policy sample --policy gumbel --policy "vote:samples=8" --limit 200
    softllama eval quiz.jsonl --extract "the answer is (\\w+)" --streams 8
    softllama eval report problems.model.results.jsonl --html report.html

    DATA has a JSON object in each line: {"question": "...", "answer": "..."}, where an answer may end in "#### 18" (as
    GSM8K's do) or be a list of right answers; with "choices": ["...", ...] for multiple choice.

    Every result is on the disk before the next problem begins. Started again, the command goes on where it stopped, and
    repeats nothing. `eval report FILE` builds the tables from the results.
    """
    from softllama import evaluate
    from softllama.base import signals
    from softllama.evaluate import ways
    from softllama.report import text

    _check(html, as_json, as_csv)
    arms = ways.parse_all(policies or ("greedy", "soft_thinking"))
    problems = evaluate.load(data, limit)
    settings = evaluate.Settings(
        prompt=prompt or "",
        extract=extract or "",
        chat=chat,
        system=generation.system_text(),
        streams=streams,
        **generation.keywords(),
    )
    if extract is not None:
        from softllama.generation import extract as rules

        rules.rule(extract)
    model = options.load()
    signals.take_sigterm()  # as Ctrl-C: a problem that is being answered gives no result
    path = Path(out) if out is not None else Path(f"{Path(data).stem}.{Path(model.path).stem}.results.jsonl")
    if not options.quiet:
        s = settings.filled(model, problems)
        shape = "in the model's chat template" if s.chat else "raw"
        note(
            f"{len(problems.problems)} problems of {problems.name}, {shape}, answers read by {s.extract!r}, seed {s.seed}"
        )
        note(f"results: {path}")
    with text.progress(options.quiet) as tick:
        header, results = evaluate.evaluate(
            model, problems, arms, settings, path, lambda done, total: tick("answers", done, total)
        )
    _show(evaluate.summarize(header, results), html, as_json, as_csv, options.quiet, sys.argv[1:])


@command.command("report")
@click.argument("results")
@click.option("--html", metavar="FILE", help="Write the report as one page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr.")
def report(results: str, html: str | None, as_json: bool, as_csv: bool, quiet: bool) -> None:
    """The tables of an evaluation, from its file of results; also while it is running.

    \b
    softllama eval report problems.model.results.jsonl
    softllama eval report problems.model.results.jsonl --html report.html
    """
    from softllama.evaluate.results import read
    from softllama.evaluate.summary import summarize

    _check(html, as_json, as_csv)
    _show(summarize(*read(results)), html, as_json, as_csv, quiet, ["eval", "report", results])


def _check(html: str | None, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if html is not None:
        from softllama.report.data import check_page

        check_page(Path(html))


def _show(r: Report, html: str | None, as_json: bool, as_csv: bool, quiet: bool, words: list[str]) -> None:
    from dataclasses import replace

    from softllama.base.files import replacing
    from softllama.report import text
    from softllama.show import console

    r = replace(r, command=shlex.join(["softllama", *words]))
    if as_json:
        click.echo(r.json())
    elif as_csv:
        click.echo(r.csv(), nl=False)
    else:
        console.console().print(text.report(r))
    if html is not None:
        with replacing(Path(html)) as f:
            f.write(r.page().encode("utf-8", "replace"))
        if not quiet:
            note(f"page: {html}")
