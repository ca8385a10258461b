"""Options that several commands share: the model and how it runs. Imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from softllama.errors import PromptError, UsageError

if TYPE_CHECKING:
    from softllama.model import Model

F = TypeVar("F", bound=Callable[..., Any])


def model_options_with(default: str) -> Callable[[F], F]:
    """-m and how the model runs. default: the model that is taken without -m, for the help text."""
    options = (
        click.option("-m", "--model", metavar="FILE", help=f"A GGUF model, or bundled:NAME. Default: {default}."),
        click.option("--n-ctx", type=int, metavar="N", help="Positions to make room for. Default: what is needed."),
        click.option("--gpu-layers", type=int, metavar="N", help="Layers on the GPU. Default: all, if there is one."),
        click.option("--threads", type=int, metavar="N", help="CPU threads. Default: the physical cores."),
        click.option(
            "--lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter; may be given more than once."
        ),
        click.option("-q", "--quiet", is_flag=True, help="No lines about model and device on stderr."),
    )

    def add(f: F) -> F:
        for option in reversed(options):
            f = option(f)
        return f

    return add


model_options = model_options_with("the bundled model")


def load_model(
    model: str | None,
    n_ctx: int | None,
    gpu_layers: int | None,
    threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
) -> Model:
    """Load what the options name, and say on stderr which model runs where and why."""
    from softllama import bundled
    from softllama.cli import note
    from softllama.llama import binding
    from softllama.model import load

    binding.exit_on_abort()
    loaded = load(model, n_ctx=n_ctx, gpu_layers=gpu_layers, threads=threads, lora=[_adapter(a) for a in lora])
    if not quiet:
        if model is None:
            note(f"model: {bundled.DEFAULT}, which comes with softllama; -m FILE.gguf names another")
        note(f"device: {loaded.device}, {loaded.threads} thread{'s'[: loaded.threads > 1]}: {loaded.device_reason}")
    return loaded


def _adapter(text: str) -> tuple[str, float]:
    path, colon, scale = text.rpartition(":")
    if colon and path and not Path(text).exists():
        try:
            return path, float(scale)
        except ValueError:
            raise UsageError(f"the scale of the adapter {path!r} is {scale!r}", "--lora FILE:0.5") from None
    return text, 1.0


def read_text(path: str) -> str:
    """The text of a file, or of stdin for "-", without the newline at its end."""
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as e:
        raise PromptError(f"{path!r} is not UTF-8 text: byte {e.start}", "convert it to UTF-8") from None
    except OSError as e:
        raise PromptError(
            f"cannot read {path!r}: {e.strerror}", "--prompt-file names a text file, or - for stdin"
        ) from None
