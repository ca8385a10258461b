"""softllama bench"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options_with
from softllama.cli.options import complete_policy
from softllama.errors import UsageError


@click.command(cls=Command)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="POLICY",
    shell_complete=complete_policy,
    help="A policy to measure. May be repeated.",
)
@click.option("--steps", type=click.IntRange(1, 4096), default=32, show_default=True, help="Steps of each measurement.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Measurements of each policy, interleaved.",
)
@click.option(
    "--streams",
    default="1,2,4,8,16",
    show_default=True,
    metavar="N,N",
    help="Numbers of sequences side by side; 0 for none.",
)
@click.option("--sweep", type=click.IntRange(0, 1001), default=101, show_default=True, help="Points of a sweep.")
@click.option("--cpu-time", is_flag=True, help="Processor time in place of the clock: for a busy machine, one thread.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@model_options_with("the bundled model", argument=True)
def command(
    policies: tuple[str, ...],
    steps: int,
    repeat: int,
    streams: str,
    sweep: int,
    cpu_time: bool,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """How fast a model runs here, beside llama.cpp alone.

    \b
    softllama bench -m model.gguf
    softllama bench -m model.gguf --policy "soft_thinking:n=15" --streams 0 --sweep 0 --json

    Every ratio is to llama.cpp's plain greedy loop, run before and after. Other work on the machine shows as a wide range.
    """
    try:
        counts = [k for k in (int(x) for x in streams.split(",")) if k]
    except ValueError:
        counts = [-1]
    if any(not 1 <= k <= 64 for k in counts):
        raise UsageError(f"--streams {streams} is not a list of numbers from 1 to 64", "--streams 1,8")
    from softllama import policy
    from softllama.diagnostics import bench, bench_view
    from softllama.show import console

    for text in policies:  # errors are reported before anything is measured
        policy.parse(text)
    model = options.load()
    model.pace = None  # the same number of threads for all measurements
    result = bench.everything(
        model,
        policies or bench.POLICIES,
        n=steps,
        repeat=repeat,
        counts=counts,
        points=sweep,
        clock=time.process_time if cpu_time else time.perf_counter,
        part_clock=time.thread_time if cpu_time else time.perf_counter,  # other threads wait by spinning
        note=_silent if options.quiet else _measuring,
    )
    if as_json:
        click.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        console.console().print(bench_view.bench(result))


def _measuring(what: str) -> None:
    note(f"measuring {what}")


def _silent(what: Any) -> None:
    pass
