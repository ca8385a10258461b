"""softllama study"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from softllama.cli import note
from softllama.cli.options import load_model, model_options
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.report.report import Report
    from softllama.show.progress import Tick

F = TypeVar("F", bound=Callable[..., Any])


def _outputs(f: F) -> F:
    for option in reversed(
        (
            click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of every random choice."),
            click.option("-o", "--out", metavar="FOLDER", help="Write NAME.html, NAME.json and NAME.csv there."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
            click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
        )
    ):
        f = option(f)
    return f


@click.group()
def command() -> None:
    """What mixtures do to a model, measured: with controls, intervals and the command that repeats it.

    \b
    softllama study mixing                      what a model makes of half one word, half another
    softllama study feedback                    what the whole vector says that a token does not
    softllama study thinking                    does it help to think in mixtures?
    softllama study all -o answers              all of them, on the bundled models, as pages
    """


@command.command()
@click.option(
    "--cases", metavar="FILE", help='Your own: {"prompt": "The {} says", "a": "dog", "b": "cat"} in each line.'
)
@click.option(
    "--pairs", type=click.IntRange(2, 300), default=24, show_default=True, metavar="N", help="Pairs in each frame."
)
@click.option(
    "--controls", type=click.IntRange(0, 300), default=8, show_default=True, metavar="N", help="Of each control."
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look at every layer as well.")
@_outputs
@model_options
def mixing(
    cases: str | None,
    pairs: int,
    controls: int,
    layers: bool,
    seed: int,
    out: str | None,
    as_json: bool,
    as_csv: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """What does a model make of a mixture of two words?

    \b
    softllama study mixing
    softllama study mixing -m model.gguf --cases pairs.jsonl -o answers
    """
    _check(out, as_json, as_csv, seed)
    from softllama.study import inputs, mixing

    model = load_model(quiet=quiet, **given)
    chosen = None if cases is None else inputs.read_cases(model, Path(cases))
    _run(
        lambda tick: [mixing.run(model, chosen, seed=seed, pairs=pairs, controls=controls, with_layers=layers, tick=tick)],
        out, as_json, as_csv, quiet,
    )  # fmt: skip


@command.command()
@click.option("--prompts", metavar="FILE", help="Your own beginnings, one a line.")
@click.option(
    "--steps", type=int, default=16, show_default=True, metavar="N", help="Of each generation that is looked at."
)
@click.option("--tokens", type=int, default=48, show_default=True, metavar="N", help="Of each rollout.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look for the weights in every layer.")
@_outputs
@model_options
def feedback(
    prompts: str | None,
    steps: int,
    tokens: int,
    layers: bool,
    seed: int,
    out: str | None,
    as_json: bool,
    as_csv: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """What does feeding back the whole vector say that a token does not?

    \b
    softllama study feedback
    softllama study feedback -m model.gguf --prompts beginnings.txt -o answers
    """
    _check(out, as_json, as_csv, seed)
    from softllama.cli.options import read_text
    from softllama.study import feedback

    hint = "--prompts names a text file, or - for stdin"
    lines = None if prompts is None else [x for x in read_text(prompts, hint).split("\n") if x.strip()]
    if lines is not None and not lines:
        raise UsageError(f"{prompts!r} has no prompts", "one a line")
    model = load_model(quiet=quiet, **given)
    _run(
        lambda tick: [feedback.run(model, lines, seed=seed, steps=steps, tokens=tokens, with_layers=layers, tick=tick)],
        out, as_json, as_csv, quiet,
    )  # fmt: skip


@command.command()
@click.option("--pair", "pairs", multiple=True, metavar="NAME", help="sums or words. Default: all that are installed.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems only.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr.")
@_outputs
def thinking(
    pairs: tuple[str, ...],
    limit: int | None,
    quiet: bool,
    seed: int,
    out: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Does it help to think in mixtures? The bundled pairs of models, in every way; `softllama eval` does it on yours.

    \b
    softllama study thinking
    softllama study thinking --pair sums -o answers
    """
    _check(out, as_json, as_csv, seed)
    from softllama.study import answers

    _run(lambda tick: [answers.run(pairs, seed=seed, limit=limit, tick=tick)], out, as_json, as_csv, quiet)


@command.command("all")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems of thinking only.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr.")
@_outputs
def everything(limit: int | None, quiet: bool, seed: int, out: str | None, as_json: bool, as_csv: bool) -> None:
    """All studies on the bundled models.

    \b
    softllama study all -o answers          answers/index.html has all of it
    """
    _check(out, as_json, as_csv, seed)
    from softllama.study import everything as all_studies

    _run(lambda tick: all_studies.run(seed=seed, limit=limit, tick=tick), out, as_json, as_csv, quiet)


def _check(out: str | None, as_json: bool, as_csv: bool, seed: int) -> None:
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if not 0 <= seed < 2**63:
        raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, not {seed}")
    if out is not None:
        from softllama.report.report import check_folder

        if not out:
            raise UsageError("the folder's name is empty", "-o answers, or -o . for this folder")
        check_folder(Path(out))


def _run(work: Callable[[Tick], list[Report]], out: str | None, as_json: bool, as_csv: bool, quiet: bool) -> None:
    """Do it, with progress on stderr, and show what came out."""
    import json

    from softllama.report import report, text
    from softllama.show import console
    from softllama.show.progress import progress

    with progress(quiet) as tick:
        found = work(tick)
    found = [replace(r, command=shlex.join(["softllama", *sys.argv[1:]])) for r in found]
    if as_json:
        data = [r.to_dict() for r in found]
        click.echo(json.dumps(data[0] if len(data) == 1 else data, ensure_ascii=False, indent=1, allow_nan=False))
    elif as_csv:
        for i, r in enumerate(found):
            lines = r.csv().split("\n", 1)
            click.echo(r.csv() if i == 0 else lines[1], nl=False)
    else:
        for i, r in enumerate(found):
            console.console().print("\n" * bool(i), text.report(r), sep="")
    if out is not None:
        written = report.save_all(found, Path(out))
        if not quiet:
            note(
                f"written: {', '.join(str(p) for p in written if p.suffix == '.html')}, and the same as .json and .csv"
            )
