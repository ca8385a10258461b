"""softllama bench"""

from __future__ import annotations

import json
import time
from typing import Any

import click

from softllama.cli import note
from softllama.cli.options import load_model, model_options
from softllama.errors import UsageError


@click.command()
@click.option("--policy", "policies", multiple=True, metavar="POLICY", help="To measure; may be repeated.")
@click.option("--steps", type=click.IntRange(1, 4096), default=32, show_default=True, help="Of each measurement.")
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True, help="How often, interleaved.")
@click.option("--streams", default="1,2,4,8,16", show_default=True, metavar="N,N", help="Side by side; 0 for none.")
@click.option("--sweep", type=click.IntRange(0, 1001), default=101, show_default=True, help="Points of a sweep.")
@click.option("--cpu-time", is_flag=True, help="Processor time in place of the clock: for a busy machine, one thread.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@model_options
def command(
    policies: tuple[str, ...],
    steps: int,
    repeat: int,
    streams: str,
    sweep: int,
    cpu_time: bool,
    as_json: bool,
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
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

    for written in policies:  # what is wrong is told before anything is measured
        policy.parse(written)
    loaded = load_model(model, n_ctx, n_gpu_layers, n_threads, lora, quiet)

    result = bench.everything(
        loaded, policies or bench.POLICIES, n=steps, repeat=repeat, counts=counts, points=sweep,
        clock=time.process_time if cpu_time else time.perf_counter, note=_silent if quiet else _measuring,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        console.console().print(bench_view.bench(result))


def _measuring(what: str) -> None:
    note(f"measuring {what}")


def _silent(what: Any) -> None:
    pass
