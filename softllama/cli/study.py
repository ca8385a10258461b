"""softllama study"""

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
from softllama.cli.help import Group
from softllama.cli.model_options import ModelOptions, model_options, model_options_with
from softllama.cli.options import as_one_object, read_text
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


@click.group(cls=Group)
def command() -> None:
    """What mixtures do to a model, measured: with controls, intervals and the command that repeats it.

    \b
    softllama study mixing                      what a model makes of half one word, half another
    softllama study feedback                    what the whole vector carries that a token does not
    softllama study thinking                    does it help to think in mixtures?
    softllama study all -o answers              all of them, on the bundled models, as pages
    softllama study all -m model.gguf --quick   a first look at your own model
    """


@command.command()
@click.option(
    "--cases", metavar="FILE", help='Your own: {"prompt": "The {} says", "a": "dog", "b": "cat"} in each line.'
)
@click.option(
    "--pairs", type=click.IntRange(2, 300), metavar="N", help="Pairs in each frame. Default: 24, with --quick 3."
)
@click.option(
    "--controls",
    type=click.IntRange(0, 300),
    metavar="N",
    help="Controls of each kind in each frame. Default: 8 on the bundled models, 6 on others, with --quick 1.",
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look at every layer as well.")
@study_output
@model_options
def mixing(
    cases: str | None,
    pairs: int | None,
    controls: int | None,
    layers: bool,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """What does a model make of a mixture of two words?

    \b
    softllama study mixing
    softllama study mixing -m model.gguf --cases pairs.jsonl -o answers
    """
    output.check()
    from softllama.study import inputs, mixing

    model = options.load()
    chosen = None if cases is None else inputs.read_cases(model, Path(cases))
    _run(
        lambda tick: [
            mixing.run(
                model,
                chosen,
                seed=output.seed,
                pairs=pairs,
                controls=controls,
                with_layers=layers,
                quick=output.quick,
                tick=tick,
            )
        ],
        output,
        options.quiet,
        model,
    )


@command.command()
@click.option("--prompts", metavar="FILE", help="Your own beginnings, one a line.")
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Steps of each generation that is looked at. Default: 16 on the bundled models, 8 on others, with --quick 3.",
)
@click.option(
    "--tokens",
    type=int,
    metavar="N",
    help="Tokens of each rollout. Default: 48 on the bundled models, 32 on others, with --quick 16.",
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look for the weights in every layer.")
@study_output
@model_options
def feedback(
    prompts: str | None,
    steps: int | None,
    tokens: int | None,
    layers: bool,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """What does feeding back the whole vector carry that a token does not?

    \b
    softllama study feedback
    softllama study feedback -m model.gguf --prompts beginnings.txt -o answers
    """
    output.check()
    from softllama.study import feedback

    hint = "--prompts names a text file, or - for stdin"
    lines = None if prompts is None else [x for x in read_text(prompts, hint).split("\n") if x.strip()]
    if lines is not None and not lines:
        raise UsageError(f"{prompts!r} has no prompts", "one a line")
    model = options.load()
    _run(
        lambda tick: [
            feedback.run(
                model,
                lines,
                seed=output.seed,
                steps=steps,
                tokens=tokens,
                with_layers=layers,
                quick=output.quick,
                tick=tick,
            )
        ],
        output,
        options.quiet,
        model,
    )


@command.command()
@click.option("--pair", "pairs", multiple=True, metavar="NAME", help="sums or words. Default: all that are installed.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems only.")
@study_output
@model_options_with("the bundled pairs")
def thinking(
    pairs: tuple[str, ...],
    limit: int | None,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """Does it help to think in mixtures? On the bundled pairs of models, or on yours; `softllama eval` asks your problems.

    \b
    softllama study thinking
    softllama study thinking --pair sums -o answers
    softllama study thinking -m model.gguf --quick
    """
    output.check()
    if options.model is None or (pairs and options.source):
        from softllama.study import answers, sizes

        n = sizes.QUICK_PROBLEMS if output.quick and limit is None else limit
        _run(lambda tick: [answers.run(pairs, seed=output.seed, limit=n, tick=tick)], output, options.quiet)
        return
    if pairs:
        raise UsageError("--pair names bundled models, so it excludes --model")
    from softllama.study import thinking

    model = options.load()
    _run(
        lambda tick: [thinking.run(model, seed=output.seed, limit=limit, quick=output.quick, tick=tick)],
        output,
        options.quiet,
        model,
    )


@command.command("all")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems of thinking only.")
@study_output
@model_options_with("the bundled ones")
def everything(limit: int | None, output: StudyOutput, options: ModelOptions) -> None:
    """All studies, on the bundled models or on one of yours.

    \b
    softllama study all -o answers                      answers/index.html has all of it
    softllama study all -m model.gguf --quick --brief
    """
    output.check()
    from softllama.study import everything as all_studies

    model = None if options.model is None else options.load()
    _run(
        lambda tick: all_studies.run(model, seed=output.seed, limit=limit, quick=output.quick, tick=tick),
        output,
        options.quiet,
        model,
    )


def _run(work: Callable[[Tick], list[Report]], output: StudyOutput, quiet: bool, model: Model | None = None) -> None:
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
