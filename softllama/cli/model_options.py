"""-m and how the model runs: the options, the object that they become, and loading what they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from softllama.cli import config, note
from softllama.cli.options import as_one_object, complete_model, shared_option
from softllama.errors import ModelError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it runs, as typed.

    n_ctx, n_gpu_layers, n_threads: None for the library's choice. lora: FILE or FILE:SCALE. rpc: HOST:PORT[,...].
    source: the variable or file that named the model, "" if it was typed.
    """

    model: str | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    lora: tuple[str, ...] = ()
    rpc: str | None = None
    offline: bool = False
    quiet: bool = False
    source: str = ""

    @property
    def adapters(self) -> list[tuple[str, float]]:
        """The LoRA adapters: files and scales."""
        return [adapter(text) for text in self.lora]

    def load(self) -> Model:
        """Load the model, and report on stderr which model runs where and why."""
        from softllama.api import load
        from softllama.base import signals
        from softllama.llama import library, rpc

        workers = [] if self.rpc is None else rpc.parse(self.rpc)
        file = self._file()
        library.exit_on_abort()
        signals.say_on_bus_error(
            "Error: a file of the model, or another that was being read, was cut short on the disk while it was in use\n"
            "Hint: fetch it again, and run the command again\n"
        )
        signals.flag_interrupts()
        model = load(
            file,
            n_ctx=self.n_ctx,
            n_gpu_layers=self.n_gpu_layers,
            n_threads=self.n_threads,
            lora=self.adapters,
            rpc=workers,
            on_trial=None if self.quiet else _note_trial,
        )
        if not self.quiet:
            self._report(model, str(file))
        return model

    def _file(self) -> Any:
        """The file that -m stands for, fetched if need be."""
        from softllama import hub
        from softllama.cli import progress

        try:
            with progress.bar(self.quiet) as bar:
                report = (lambda _: None) if self.quiet else note
                return hub.resolve(self.model, offline=self.offline, progress=bar, say=report)
        except ModelError as e:
            message = f"{e.message} (the model is named by {self.source})" if self.source else e.message
            raise ModelError(message, e.hint) from None

    def _report(self, model: Model, file: str) -> None:
        from softllama.hub import bundled
        from softllama.llama import memory

        if self.model is None:
            note(f"model: {bundled.DEFAULT}, which comes with softllama; -m FILE.gguf names another")
        elif self.source or file != self.model:
            note(f"model: {model.path}" + (f", from {self.source}" if self.source else ""))
        if (larger := memory.note(model.n_bytes)) is not None:
            note(larger)
        if model.calibration.nodes:
            note(f"mixtures: by {model.calibration.text}")
        if model.diffusion:
            note("diffusion model: it predicts a masked position behind the prompt")
        note(f"device: {model.device}, {model.n_threads} thread{'s'[: model.n_threads > 1]}: {model.device_reason}")


def _note_trial() -> None:
    note(
        "first use of this file here: it is loaded in a child process first, so that a damaged one is an error message"
    )


def adapter(text: str) -> tuple[str, float]:
    """FILE or FILE:SCALE, as --lora takes it."""
    path, colon, scale = text.rpartition(":")
    if colon and path and not Path(text).exists():
        try:
            return path, float(scale)
        except ValueError:
            raise UsageError(f"the scale of the adapter {path!r} is {scale!r}", "--lora FILE:0.5") from None
    return text, 1.0


def model_options_with(default: str) -> Callable[[F], F]:
    """A decorator that adds -m and how the model runs. The command gets a ModelOptions as its parameter `options`.

    Args:
        default: the model that is taken without -m, for the help text.
    """
    options = [
        shared_option(
            "-m",
            "--model",
            metavar="MODEL",
            shell_complete=complete_model,
            help="A GGUF file, user/repo[:QUANT], ollama:NAME, lmstudio:PUBLISHER/MODEL, bundled:NAME, or a part of a name "
            f"that `softllama models` lists. Default: {default}.",
        ),
        shared_option("--n-ctx", type=int, metavar="N", help="Positions of the context. Default: what is needed."),
        shared_option(
            "--n-gpu-layers",
            old_names=["--gpu-layers"],
            type=int,
            metavar="N",
            help="Layers on the GPU. Default: all, if there is one.",
        ),
        shared_option(
            "--n-threads",
            old_names=["--threads"],
            type=int,
            metavar="N",
            help="CPU threads. Default: the physical cores.",
        ),
        shared_option("--lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter. May be repeated."),
        shared_option(
            "--rpc",
            metavar="HOST:PORT[,...]",
            help="Also use the devices of llama.cpp's RPC workers, in a network that you trust.",
        ),
        shared_option("--offline", is_flag=True, help="Do not fetch a model that is not on this machine."),
        shared_option("-q", "--quiet", is_flag=True, help="Print neither notes nor progress on stderr."),
    ]
    names = [f.name for f in fields(ModelOptions) if f.name != "source"]

    def collect(**values: Any) -> ModelOptions:
        ctx = click.get_current_context()
        return ModelOptions(**values, source=config.value_source(ctx, "model"))

    return as_one_object(collect, "options", options, names)


model_options = model_options_with("the bundled model")
