"""What all studies of the command line share: their options, and where their reports go. Knows no study."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.base import arguments
from softllama.cli import note
from softllama.cli.options import as_one_object
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.report.report import Report
    from softllama.show.progress import Tick


@dataclass(frozen=True, kw_only=True)
class StudyOutput:
    """The seed of a study, how much of it is done, and where its report goes."""

    seed: int
    quick: bool
    brief: bool
    out: str | None
    as_json: bool
    as_csv: bool

    def check(self) -> None:
        """Raise UsageError, before any work, for options that exclude each other or a folder that cannot be written."""
        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv exclude each other")
        if self.brief and (self.as_json or self.as_csv):
            raise UsageError("--brief prints sentences, so it excludes --json and --csv")
        arguments.seed(self.seed)
        if self.out is not None:
            from softllama.report.report import check_folder

            if not self.out:
                raise UsageError("the folder's name is empty", "-o answers, or -o . for this folder")
            check_folder(Path(self.out))


study_output = as_one_object(
    StudyOutput,
    "output",
    [
        click.option(
            "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of every random choice."
        ),
        click.option("--quick", is_flag=True, help="A first look: few cases, in under a minute on a small model."),
        click.option("--brief", is_flag=True, help="Print the sentences only, no tables."),
        click.option("-o", "--out", metavar="FOLDER", help="Write NAME.html, NAME.json and NAME.csv there."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
    ],
    [f.name for f in fields(StudyOutput)],
)


def run(work: Callable[[Tick], list[Report]], output: StudyOutput, quiet: bool, model: Model | None = None) -> None:
    """Do the work, with progress on stderr, and print or write its reports. model: None for the bundled ones."""
    import json

    from softllama.report import report, text
    from softllama.show import console
    from softllama.show.progress import progress
    from softllama.study import sizes

    with progress(quiet) as tick:
        watch = sizes.Stopwatch(tick)
        reports = work(watch)
    reports = [replace(r, command=shlex.join(["softllama", *sys.argv[1:]])) for r in reports]
    if output.as_json:
        data = [r.to_dict() for r in reports]
        click.echo(json.dumps(data[0] if len(data) == 1 else data, ensure_ascii=False, indent=1, allow_nan=False))
    elif output.as_csv:
        for i, r in enumerate(reports):
            lines = r.csv().split("\n", 1)
            click.echo(r.csv() if i == 0 else lines[1], nl=False)
    else:
        for i, r in enumerate(reports):
            console.console().print("\n" * bool(i), text.report(r, brief=output.brief), sep="")
    if output.out is not None:
        pages = [str(p) for p in report.save_all(reports, Path(output.out)) if p.suffix == ".html"]
        if not quiet:
            note(f"written: {', '.join(pages)}, and the same as .json and .csv")
    if output.quick and not quiet:
        note(_full_time(watch.seconds, model))


def _full_time(seconds: dict[str, float], model: Model | None) -> str:
    """How long the study takes without --quick, from what its parts took with it."""
    from softllama.study import sizes

    minutes = sizes.full_seconds(seconds, sizes.SMALL_WORLD if model is None else sizes.of(model)) / 60
    about = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"
    return f"that was a quick look; without --quick it takes about {about} here"
