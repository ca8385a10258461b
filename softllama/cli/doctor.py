"""softllama doctor"""

from __future__ import annotations

import functools
import json
import sys

import click

from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options_with


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@model_options_with("the installation alone, and the bundled model in short", argument=True, add=False)
def command(
    as_json: bool,
    options: ModelOptions,
) -> None:
    """Is softllama sound on this machine, and with this model?

    \b
    softllama doctor
    softllama doctor -m model.gguf
    softllama doctor -m model.gguf --n-gpu-layers 0 --json

    Each line is ok, a note, or a problem with what to do about it. With a problem the exit code is 1. The model is
    loaded in a child process, so a crash inside llama.cpp is reported as a line, too. Earlier runs play no part.
    """
    from softllama.cli import progress
    from softllama.diagnostics import doctor

    with progress.bar(options.quiet or as_json) as bar:
        find = functools.partial(
            doctor.findings,
            options.model,
            n_ctx=options.n_ctx,
            n_gpu_layers=options.n_gpu_layers,
            n_threads=options.n_threads,
            lora=options.adapters,
            any_base=options.any_base,
            rpc=options.rpc or "",
            runtime=options.runtime,
            offline=options.offline,
            progress=bar,
        )
        if as_json:
            d = doctor.diagnosis(options.model, find())
            click.echo(json.dumps(d.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
        else:
            from softllama.diagnostics import view

            d = view.show(options.model, find, options.quiet)
    if not d.usable:
        sys.exit(1)
