"""softllama trace: show, html, replay, export"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli import note
from softllama.cli.help import Group
from softllama.cli.model_options import ModelOptions, model_options_with
from softllama.errors import ModelError, UsageError

if TYPE_CHECKING:
    from softllama.trace.record import Trace


@click.group(cls=Group)
def command() -> None:
    """Look at the record of a generation, or feed it again.

    \b
    softllama run "Who is bigger, the dog or the cat?" --policy soft_thinking --trace dog.npz
    softllama trace show dog.npz
    softllama trace html dog.npz
    softllama trace replay dog.npz
    softllama trace export dog.npz dog.jsonl
    """


@command.command()
@click.argument("file")
@click.option(
    "--top", type=int, metavar="N", help="Tokens of each mixture, on several lines. Default: up to 5 that fit on one."
)
def show(file: str, top: int | None) -> None:
    """Print a trace, a line for each step.

    \b
    softllama trace show dog.npz
    softllama trace show dog.npz --top 20
    softllama trace show dog.jsonl | grep soft

    A soft step shows its heaviest tokens with their weights, +N for N more; an arrow marks a readout that is not the
    heaviest. A hard step shows its token, a forced one (such as a closing tag) why it is there. The bar and the number
    are the entropy of the model's distribution at the step, in nats.
    """
    from softllama.trace import load

    if top is not None and top < 1:
        raise UsageError(f"--top must be 1 or more, not {top}")
    load(file).show(top)


@command.command()
@click.argument("file")
@click.option("-o", "--output", metavar="OUT.html", help="Where to. Default: beside the trace.")
def html(file: str, output: str | None) -> None:
    """Write a trace as one page.

    \b
    softllama trace html dog.npz
    softllama trace html dog.npz -o page.html

    The page needs nothing else, no network either: a heat map of the mixtures over time, the entropy below it, and each
    step's weights under the pointer or the arrow keys. An earlier page is replaced; any other file is left alone.
    """
    from softllama.trace import load, page

    target = Path(output) if output is not None else Path(file).with_suffix(".html")
    page.check_path(target)
    page.write(load(file), target)
    note(f"page: {target}")


@command.command()
@click.argument("file")
@click.option(
    "--tolerance", type=float, default=1e-4, show_default=True, metavar="P", help="Largest difference that agrees."
)
@click.option("--any-model", is_flag=True, help="Compare with a model other than the one that made the trace.")
@model_options_with("the one that the trace names")
def replay(file: str, tolerance: float, any_model: bool, options: ModelOptions) -> None:
    """Feed a trace again, and compare.

    \b
    softllama trace replay dog.npz
    softllama trace replay dog.npz -m model.gguf --tolerance 1e-3

    A step whose mixture is the model's whole distribution has its 100 heaviest tokens in the record. The others are
    computed again from the distribution that the model gives now.

    Compared are the top probabilities that the trace holds for each step. Exit code 0 if none differs by more than the
    tolerance, 1 if one does. Without -m, the model is the file that the trace names. Options such as --cache-type-k are those of
    the trace, unless others are given.
    """
    from softllama.generation.replay import replay
    from softllama.trace import load

    if not tolerance >= 0:
        raise UsageError(f"the tolerance must be 0 or more, not {tolerance:g}", "--tolerance 1e-4")
    trace = load(file)
    if options.model is None:
        options = _recorded(trace, options)
    options = options.with_runtime(trace.manifest.get("runtime"))
    differences = replay(options.load(), trace, any_model=any_model)
    if not differences:
        click.echo("The trace has no steps.")
        return
    worst = max(range(len(differences)), key=differences.__getitem__)
    over = sum(d > tolerance for d in differences)
    agree = "They agree" if not over else f"They do not agree: {over:,} of them differ more"
    where = f" at step {worst}" if differences[worst] > 0 else ""
    click.echo(
        f"{len(differences):,} steps fed again. The largest difference of a recorded probability is "
        f"{differences[worst]:.3g}{where}, the tolerance {tolerance:g}. {agree}."
    )
    if over:
        raise SystemExit(1)


@command.command()
@click.argument("file")
@click.argument("output")
def export(file: str, output: str) -> None:
    """Write a trace in another form, by the name's suffix.

    \b
    softllama trace export dog.npz dog.jsonl
    softllama trace export dog.npz dog.csv
    softllama trace export dog.jsonl dog.npz

    .jsonl and .npz hold the whole trace, .csv a line for each step, .html is the page. A trace or page that is there is
    replaced; any other file is left alone.
    """
    from softllama.trace import load, record

    record.check_export(output)
    load(file).save(output)
    note(f"trace: {output}")


def _recorded(trace: Trace, options: ModelOptions) -> ModelOptions:
    """The options with the model file and the adapters that a trace names, if they are there."""
    record = trace.manifest.get("model")
    record = record if isinstance(record, dict) else {}
    path = record.get("path")
    if not isinstance(path, str) or not Path(path).is_file():
        raise ModelError(f"the model that made the trace is not at {path!r}", "name it with -m FILE.gguf")
    if not options.quiet:
        note(f"model: {path}, which the trace names; -m FILE.gguf names another")
    if options.lora:
        return replace(options, model=path)
    pairs, adapters = (found if isinstance(found := record.get(k), list) else [] for k in ("lora", "adapters"))
    lora = tuple(f"{p[0]}:{p[1]}" for p in pairs if isinstance(p, list) and len(p) == 2)
    # one that did not fit was taken all the same then
    any_base = options.any_base or any(isinstance(a, dict) and a.get("fits") is False for a in adapters)
    return replace(options, model=path, lora=lora, any_base=any_base)
