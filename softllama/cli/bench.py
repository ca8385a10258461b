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
    gpu_layers: int | None,
    threads: int | None,
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
    loaded = load_model(model, n_ctx, gpu_layers, threads, lora, quiet)
    from softllama import bench

    result = bench.everything(
        loaded, policies or bench.POLICIES, n=steps, repeat=repeat, counts=counts, points=sweep,
        clock=time.process_time if cpu_time else time.perf_counter, note=_silent if quiet else _measuring,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps(result, indent=2, allow_nan=False))
    else:
        click.echo(table(result))


def table(result: dict[str, Any]) -> str:
    """What was measured, in lines of text."""

    def row(name: str, *cells: str) -> str:
        return f"{name:26}" + "".join(f"{c:>12}" for c in cells)

    def times(t: dict[str, float]) -> tuple[str, str]:
        return f"{1000 * t['median']:.3f}", f"{1000 * t['min']:.3f}-{1000 * t['max']:.3f}"

    lines = [row("one step", "ms", "range", "tokens/s", "x llama.cpp", "range", "ids fed", "entropy")]
    for name, r in result["policies"].items():
        ratio, fed = r.get("ratio"), r.get("tokens")
        lines.append(
            row(
                name, *times(r["seconds"]), f"{1 / r['seconds']['median']:.1f}",
                f"{ratio['median']:.3f}" if ratio else "", f"{ratio['min']:.2f}-{ratio['max']:.2f}" if ratio else "",
                f"{fed['median']:.1f}" if fed else "", f"{r['entropy']['median']:.2f}" if fed else "",
            )
        )  # fmt: skip
    keys = ["llama.cpp", "logits", "policy", "mixing", "record"]
    lines += ["", row("parts of a step, us", *keys)]
    for name, r in result["parts"].items():
        lines.append(row(name, *(f"{1e6 * r[k]['median']:.0f}" for k in keys)))
    if result.get("streams"):
        lines += ["", row("streams, tokens/s", "soft", "hard", "soft/hard", "range")]
        for k, r in result["streams"].items():
            q = r["ratio"]
            cells = (f"{r['soft']['median']:.1f}", f"{r['hard']['median']:.1f}", f"{q['median']:.3f}")
            lines.append(row(k, *cells, f"{q['min']:.2f}-{q['max']:.2f}"))
    if r := result.get("sweep"):
        lines += ["", row(f"sweep, {r['positions']} positions", "ms", "range", "ratio")]
        lines.append(row("softllama", *times(r["softllama"]), f"{r['ratio']['median']:.3f}"))
        lines.append(row("llama.cpp, same batches", *times(r["llama.cpp"])))
    m = {k: f"{v / 2**20:.0f} MiB" for k, v in result["memory"].items()}
    lines += ["", "memory: " + ", ".join(f"{v} {k}" for k, v in m.items())]
    lines.append(f"instruction set {result['isa']}, {result['threads']} threads, {result['steps']} steps")
    return "\n".join(lines)


def _measuring(what: str) -> None:
    note(f"measuring {what}")


def _silent(what: Any) -> None:
    pass
