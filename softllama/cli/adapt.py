"""softllama adapt"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from softllama.base import arguments
from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import as_one_object, read_text
from softllama.errors import UsageError

MINUTES = 50.0

_SETTINGS = [
    click.option("--rank", type=click.IntRange(1, 512), default=8, show_default=True, help="Rank of the adapter."),
    click.option(
        "--layers", type=click.IntRange(1), help="Adapt only so many layers, from the first on. Default: all."
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, 1, min_open=True),
        default=8e-4,
        show_default=True,
        help="The highest one: it rises at first, and falls as a cosine.",
    ),
    click.option("--steps", type=click.IntRange(1), help="Train so many steps. Two runs are then the same."),
    click.option(
        "--minutes",
        type=click.FloatRange(0, min_open=True),
        help=f"Train so long, after texts and cases are made. Default: {MINUTES:g}, without --steps.",
    ),
    click.option(
        "--pure-weight",
        type=click.FloatRange(0),
        default=4.0,
        show_default=True,
        help="How much a change on ordinary text counts.",
    ),
    click.option(
        "--state-weight",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        help="How much the states inside count, which should be the average of those of the words.",
    ),
    click.option(
        "--tokens", type=click.IntRange(64), default=700, show_default=True, help="Positions that a step reads, about."
    ),
    click.option(
        "--texts", type=click.IntRange(2), default=160, show_default=True, help="Texts that the model writes at first."
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "mps"]),
        default="auto",
        show_default=True,
        help="Where PyTorch computes.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of every random choice."),
]
_NAMES = [
    "rank",
    "layers",
    "learning_rate",
    "steps",
    "minutes",
    "pure_weight",
    "state_weight",
    "tokens",
    "texts",
    "device",
    "seed",
]


@click.command(cls=Command)
@click.option("-o", "--out", required=True, metavar="FILE", help="The adapter, a GGUF. A checkpoint is kept beside it.")
@click.option("--text", metavar="FILE", help="Ordinary text to take cases from. Default: the model writes some.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped, from the checkpoint beside FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@as_one_object(dict, "values", _SETTINGS, _NAMES)
@model_options
def command(
    out: str, text: str | None, resume: bool, as_json: bool, values: dict[str, Any], options: ModelOptions
) -> None:
    """Teach a model to read mixtures: a LoRA adapter that --lora takes.

    \b
    softllama adapt -m model.gguf -o mix.lora.gguf
    softllama adapt -m model.gguf -o mix.lora.gguf --resume
    softllama run -m model.gguf --lora mix.lora.gguf "..."

    The model with the adapter learns to answer a mixture with the average of what the model without it says to each of the
    mixture's tokens. It needs PyTorch: pip install 'softllama[adapt]'
    """
    from softllama.adapt import network
    from softllama.adapt import run as adapting
    from softllama.adapt.settings import Settings
    from softllama.show.progress import progress

    arguments.seed(values["seed"])
    if values["steps"] is not None and values["minutes"] is not None:
        raise UsageError("--steps and --minutes exclude each other")
    if values["steps"] is None and values["minutes"] is None:
        values["minutes"] = MINUTES
    for name in ("lora", "add", "rpc"):
        if getattr(options, name):
            raise UsageError(f"--{name} does not go with adapt", "an adapter is made for the model alone")
    path = Path(out)
    check_out(path)
    network.require()
    settings = Settings(**{**values, "device": network.choose_device(values["device"])})
    contents = None if text is None else read_text(text, "--text names a text file, or - for stdin")
    model = options.load()
    with progress(options.quiet) as tick:
        result = adapting.adapt(
            model,
            path,
            settings,
            text=contents,
            resume=resume,
            note=lambda line: None if options.quiet else note(line),
            tick=tick,
        )
    if as_json:
        click.echo(json.dumps({"path": str(path), "steps": result.steps, **result.to_dict()}))
        return
    click.echo(f"{path}: {result.steps:,} steps")
    for name, what in adapting.MEASURED.items():
        before, after = result.before.as_dict().get(name), result.after.as_dict().get(name)
        if before is not None and after is not None:
            click.echo(f"  {what:52} {before:.4f} -> {after:.4f}")


def check_out(path: Path) -> None:
    """Check, before any work, that an adapter can be written there and that no other file is lost by it."""
    if path.suffix.lower() != ".gguf":
        raise UsageError(f"an adapter is a GGUF, but -o names {path.name!r}", f"-o {path.stem or 'mix'}.lora.gguf")
    from softllama.base.files import check_place

    check_place(path, "an adapter", b"softllama.adapter.version")
