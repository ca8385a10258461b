"""softllama eval report, softllama eval plan: the tables of results, and how many problems it takes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli import note
from softllama.cli.options import as_one_object
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.report.report import Report

SHARES = (5.0, 10.0, 20.0, 40.0)  # percent of the problems in which two ways differ
DIFFERENCES = (1.0, 2.0, 5.0, 10.0)  # points


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

        r = r if r.command else replace(r, command=command_text(words))
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


def command_text(words: Sequence[str]) -> str:
    """A command line of softllama."""
    return shlex.join(["softllama", *words])


@click.command("report")
@click.argument("results", nargs=-1, required=True)
@click.option("-o", "--out", metavar="FILE", help="Also write the results of all files as one file.")
@report_output
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on stderr.")
def report(results: tuple[str, ...], out: str | None, output: ReportOutput, quiet: bool) -> None:
    """The tables of an evaluation, from its file of results, or from those of its shards; also while it is running.

    \b
    softllama eval report problems.model.results.jsonl
    softllama eval report problems.model.results.jsonl --html report.html
    softllama eval report problems.model.results.*-of-4.jsonl -o problems.model.results.jsonl

    Several files must have the same model, data, settings, policies, seed and versions. What is missing, or in more than one of
    them, is said. With -o they become the file that one run would have written.
    """
    from softllama.evaluate import shards
    from softllama.evaluate.results import write
    from softllama.evaluate.summary import summarize

    output.check()
    header, merged, notes = shards.read_all(results)
    if out is not None:
        write(Path(out), header, merged)
        if not quiet:
            note(f"results: {out}")
    output.show(summarize(header, merged, notes=notes), quiet=quiet, words=["eval", "report", *results])


@click.command("plan")
@click.argument("results", required=False)
@click.option("--difference", type=float, metavar="POINTS", help="The difference of the shares to be seen, in points.")
@click.option("--differ", type=float, metavar="PERCENT", help="In how many of the problems the two ways differ.")
@click.option("--problems", type=int, metavar="N", help="What so many problems would show, instead.")
@click.option("--power", type=float, default=80.0, show_default=True, metavar="PERCENT", help="How surely.")
def plan(
    results: str | None, difference: float | None, differ: float | None, problems: int | None, power: float
) -> None:
    """How many problems it takes to see a difference of a given size between two ways of decoding.

    \b
    softllama eval plan
    softllama eval plan --difference 3 --differ 20
    softllama eval plan --problems 200
    softllama eval plan pilot.model.results.jsonl --difference 3

    Two ways are compared on the same problems by McNemar's exact test at 0.05, and only the problems in which just one of them
    is right count. So it depends on how many those are: --differ, or the results of a first run with a few problems.
    """
    for name, value in (("--difference", difference), ("--differ", differ), ("--power", power)):
        if value is not None and not 0 < value < 100 + (name != "--power"):
            raise UsageError(
                f"{name} must be more than 0 and {'less than' if name == '--power' else 'at most'} 100, not {value:g}"
            )
    if problems is not None and problems < 1:
        raise UsageError(f"--problems must be 1 or more, not {problems}")
    shares = {f"{x:g} %": x / 100 for x in ([differ] if differ is not None else SHARES)}
    if results is not None:
        shares = _pilot(results)
    from softllama.vectors import statistics

    if problems is not None:
        head = ["differ in", f"{problems:,} problems show"]
        rows = []
        for name, share in shares.items():
            least = statistics.detectable(problems, round(share * problems), power / 100)
            rows.append([name, "nothing" if math.isnan(least) else f"{100 * least:.1f} points"])
    else:
        points = [difference] if difference is not None else DIFFERENCES
        head = ["differ in", *(f"{d:g} points" for d in points)]
        rows = [[name, *(_count(d / 100, share, power / 100) for d in points)] for name, share in shares.items()]
    _print(head, rows, power)


def _pilot(results: str) -> dict[str, float]:
    """The share of problems in which each two ways of a file differ."""
    from softllama.evaluate.results import read
    from softllama.evaluate.summary import compare, default_pairs

    header, rs = read(results)
    ways = [name for name, _ in header["ways"]]
    by = {w: {r.problem: r for r in rs if r.way == w} for w in ways}
    compared = compare(by, default_pairs(ways))
    if not compared:
        raise UsageError(f"{results} has no two policies to compare", "--differ 20 plans without a first run")
    out = {}
    for a, b, r, _ in compared:
        differ = (r.only_first + r.only_second + 1) / (r.difference.n + 2)  # none of few is not none of all
        out[f"{a} − {b}: {100 * differ:.1f} %"] = differ
    return out


def _count(difference: float, share: float, power: float) -> str:
    from softllama.vectors import statistics

    if difference > share:
        return "-"  # they cannot differ by more than where they differ
    n = statistics.needed(difference, share, power)
    return "over 10,000,000" if n is None else f"{n:,}"


def _print(head: list[str], rows: list[list[str]], power: float) -> None:
    from rich.table import Table
    from rich.text import Text

    from softllama.show import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    out = console.console()
    title = (
        "The least difference that is seen" if "problems" in head[-1] else "Problems that show so large a difference"
    )
    out.print(Text(f"{title} with {power:g} % probability", style="bold"))
    out.print(table)
