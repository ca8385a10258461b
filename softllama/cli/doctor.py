"""softllama doctor"""

from __future__ import annotations

import functools
import json
import sys

import click

from softllama.cli.options import adapter, model_options_with


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@model_options_with("the installation alone, and the bundled model in short")
@click.pass_context
def command(
    ctx: click.Context,
    as_json: bool,
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
) -> None:
    """Is softllama sound on this machine, and with this model?

    \b
    softllama doctor
    softllama doctor -m model.gguf
    softllama doctor -m model.gguf --n-gpu-layers 0 --json

    Each line is ok, a note, or a problem with what to do about it; with a problem the exit code is 1. The model is
    loaded in a child process, so that a crash inside llama.cpp is a line, too. Nothing is remembered from earlier runs.
    """
    from softllama.cli import progress
    from softllama.diagnostics import doctor

    with progress.bar(quiet or as_json) as bar:
        find = functools.partial(
            doctor.findings, model, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads,
            lora=[adapter(a) for a in lora], rpc=ctx.meta.get("softllama.rpc") or "",
            offline=bool(ctx.meta.get("softllama.offline")), progress=bar,
        )  # fmt: skip
        if as_json:
            d = doctor.diagnosis(model, find())
            click.echo(json.dumps(d.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
        else:
            from softllama.diagnostics import view

            d = view.show(model, find, quiet)
    if not d.usable:
        sys.exit(1)
