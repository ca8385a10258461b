"""softllama eval"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.cli.options import load_model, model_options
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.report.report import Report


class _Commands(click.Group):
    """`eval DATA` is `eval run DATA`; only `report` has to be said."""

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
    "--policy", "policies", multiple=True, metavar="POLICY",
    help="A way of decoding; repeat it to compare. Also vote:samples=8, best:samples=8, beam:beams=4. "
    "Default: greedy and soft_thinking.",
)  # fmt: skip
@click.option("-o", "--out", metavar="FILE", help="Results, a line each. Default: DATA.MODEL.results.jsonl.")
@click.option("--limit", type=int, metavar="N", help="The first N problems only.")
@click.option("--extract", metavar="RULE", help="auto, boxed, hash, number, choice, text, or a regular expression.")
@click.option("--prompt", metavar="TEXT", help="With {question} and {choices}. Default: fitting the data.")
@click.option("--chat/--raw", default=None, help="With or without the chat template. Default: with, if there is one.")
@click.option("--system", metavar="TEXT", help="The system message of a chat.")
@click.option("--max-tokens", type=int, default=512, show_default=True, metavar="N", help="Positions for a problem.")
@click.option(
    "--think", type=click.Choice(["auto", "on", "off", "prompt"]), default="auto", show_default=True,
    help="Think before answering; prompt: ask for it in plain text.",
)  # fmt: skip
@click.option("--think-budget", type=int, metavar="N", help="Close the thinking block after N steps.")
@click.option("--think-tags", metavar="OPEN,CLOSE", help='The tags of a thinking block, such as "<think>,</think>".')
@click.option("--stop", multiple=True, metavar="TEXT", help="End an answer at this text; may be repeated.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of every random choice.")
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
    html: str | None,
    as_json: bool,
    as_csv: bool,
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
    **settings: Any,
) -> None:
    """How many problems a model solves, by way of decoding.

    \b
    softllama eval problems.jsonl -m model.gguf --policy greedy --policy soft_thinking:n=10
    softllama eval gsm8k.jsonl -m model.gguf --policy sample --policy gumbel --policy "vote:samples=8" --limit 200
    softllama eval quiz.jsonl --extract "the answer is (\\w+)" --streams 8
    softllama eval report problems.model.results.jsonl --html report.html

    DATA has a JSON object in each line: {"question": "...", "answer": "..."}, where an answer may end in "#### 18" (as
    GSM8K's do) or be a list of right answers; with "choices": ["...", ...] for multiple choice.

    Every result is on the disk before the next problem begins. Started again, the command goes on where it was; what was
    asked is not asked again. `eval report FILE` builds the tables from the results.
    """
    from softllama import evaluate
    from softllama.base import signals
    from softllama.evaluate import ways
    from softllama.show.progress import progress

    _check(html, as_json, as_csv)
    chosen = ways.parse_all(policies or ("greedy", "soft_thinking"))
    problems = evaluate.load(data, limit)
    options = evaluate.EvaluateOptions(**settings)
    if settings["extract"] is not None:
        from softllama.generation import extract

        extract.rule(settings["extract"])
    loaded = load_model(model, n_ctx, n_gpu_layers, n_threads, lora, quiet)
    signals.take_sigterm()  # as Ctrl-C: what is being asked is not a result
    path = Path(out) if out is not None else Path(f"{Path(data).stem}.{Path(loaded.path).stem}.results.jsonl")
    if not quiet:
        s = options.with_defaults(loaded, problems)
        shape = "in the model's chat template" if s.chat else "raw"
        note(
            f"{len(problems.problems)} problems of {problems.name}, {shape}, answers read by {s.extract!r}, seed {s.seed}"
        )
        note(f"results: {path}")
    with progress(quiet) as tick:
        header, results = evaluate.evaluate(loaded, problems, chosen, options, path, tick)
    _show(evaluate.summarize(header, results), html, as_json, as_csv, quiet, sys.argv[1:])


@command.command("report")
@click.argument("results")
@click.option("--html", metavar="FILE", help="Write the report as one page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("-q", "--quiet", is_flag=True, help="No lines on stderr.")
def report(results: str, html: str | None, as_json: bool, as_csv: bool, quiet: bool) -> None:
    """The tables of an evaluation, from its file of results; also while it is running.

    \b
    softllama eval report problems.model.results.jsonl
    softllama eval report problems.model.results.jsonl --html report.html
    """
    from softllama.evaluate.results import read
    from softllama.evaluate.summary import summarize

    _check(html, as_json, as_csv)
    header, found = read(results)
    _show(summarize(header, found), html, as_json, as_csv, quiet, ["eval", "report", results])


def _check(html: str | None, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if html is not None:
        from softllama.report.report import check_page

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
