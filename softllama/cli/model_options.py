"""-m and how the model runs: the options, the object that they become, and loading what they name."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from softllama.cli import config, note
from softllama.cli.options import as_one_object, complete_model, shared_option
from softllama.cli.runtime_options import NAMES, OPTIONS
from softllama.errors import ModelError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.llama.runtime import RuntimeKeywords

F = TypeVar("F", bound=Callable[..., Any])
FIRST_WORD = "the first word"  # as the source of a model's name


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it runs, as typed.

    n_ctx, n_gpu_layers, n_threads: None for the library's choice. lora: FILE or FILE:SCALE. rpc: HOST:PORT[,...].
    add: layer=N,scale=X,vector=@FILE. cache_type_k to numa: as in softllama.llama.runtime.Runtime.
    source: the variable or file that named the model, or the first word; "" if it was typed after -m.
    """

    model: str | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    lora: tuple[str, ...] = ()
    any_base: bool = False
    add: tuple[str, ...] = ()
    rpc: str | None = None
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    flash_attn: str = "auto"
    n_batch: int | None = None
    n_ubatch: int | None = None
    no_mmap: bool = False
    mlock: bool = False
    numa: str | None = None
    offline: bool = False
    quiet: bool = False
    source: str = ""

    def or_named(self, word: str) -> ModelOptions:
        """The same with the model that the first word names. Raises UsageError if -m names one, too."""
        if self.model is not None and not self.source:
            raise UsageError("the model is given twice", f"{word!r} as the first word, and {self.model!r} with -m")
        return replace(self, model=word, source=FIRST_WORD)

    def split(self, words: tuple[str, ...]) -> tuple[ModelOptions, str | None]:
        """The arguments [MODEL] [PROMPT] of a command: options with this model, and the prompt.

        The first word is a model if it is written like one and -m names none: FILE.gguf, ollama:NAME, lmstudio:...,
        bundled:..., hf:..., user/repo:QUANT; and user/repo, if a prompt follows.

        Raises:
            UsageError: there are more words than a model and a prompt.
        """
        typed = self.model is not None and not self.source
        is_model = bool(words) and _is_model(words[0], alone=len(words) == 1) and (not typed or len(words) > 1)
        options, rest = (self.or_named(words[0]), words[1:]) if is_model else (self, words)
        if len(rest) > 1:
            raise UsageError(f"the prompt is {len(rest)} arguments", f'quotes keep it together: "{" ".join(rest)}"')
        return options, rest[0] if rest else None

    @property
    def adapters(self) -> list[tuple[str, float]]:
        """The LoRA adapters: files and scales."""
        return [adapter(text) for text in self.lora]

    @property
    def runtime(self) -> RuntimeKeywords:
        """llama.cpp's options, as keywords of `load`."""
        return {
            "cache_type_k": self.cache_type_k,
            "cache_type_v": self.cache_type_v,
            "flash_attn": self.flash_attn,
            "n_batch": self.n_batch,
            "n_ubatch": self.n_ubatch,
            "mmap": not self.no_mmap,
            "mlock": self.mlock,
            "numa": self.numa,
        }

    def with_runtime(self, recorded: Any) -> ModelOptions:
        """The same with the options of llama.cpp that a manifest has, where none was given. recorded: its "runtime", if any."""
        recorded = dict(recorded) if isinstance(recorded, dict) else {}
        if recorded.pop("mmap", True) is False:
            recorded["no_mmap"] = True
        own = {f.name: f.default for f in fields(ModelOptions) if f.name in NAMES}
        return replace(self, **{k: v for k, v in recorded.items() if k in own and getattr(self, k) == own[k]})

    def load(self) -> Model:
        """Load the model, and report on stderr which model runs where and why."""
        from softllama.api import load
        from softllama.base import signals
        from softllama.llama import bindings, rpc
        from softllama.vectors import interventions

        workers = [] if self.rpc is None else rpc.parse(self.rpc)
        control = [interventions.parse_control(text) for text in self.add]
        file = self._file()
        bindings.exit_on_abort()
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
            any_base=self.any_base,
            rpc=workers,
            on_trial=None if self.quiet else _note_trial,
            **self.runtime,
        )
        model = model.with_control(*control) if control else model
        if not self.quiet:
            self._report(model, str(file))
            _Warnings.show()
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
        for text in model.adapter_texts:
            note(f"adapter: {text}")
        if model.calibration.nodes:
            note(f"mixtures: by {model.calibration.text}")
        if model.diffusion:
            note("diffusion model: it predicts masked positions, such as one behind the prompt")
        note(f"device: {model.device}, {model.n_threads} thread{'s'[: model.n_threads > 1]}: {model.device_reason}")


class _Warnings(logging.Handler):
    """What the library finds out while it computes, as a note on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(err=True)  # it comes in the middle of an answer
        note(record.getMessage())

    @classmethod
    def show(cls) -> None:
        """From now on."""
        logger = logging.getLogger("softllama")
        for old in [h for h in logger.handlers if isinstance(h, cls)]:
            logger.removeHandler(old)
        logger.addHandler(cls(logging.WARNING))


def _note_trial() -> None:
    note("first use of this file here: it is tried in a child process, so that a damaged one is an error message")


def _is_model(word: str, *, alone: bool) -> bool:
    if any(c.isspace() for c in word):
        return False
    schemes = ("ollama:", "lmstudio:", "package:", "bundled:", "hf:")
    repo = re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", word)
    return (
        word.lower().endswith(".gguf") or word.startswith(schemes) or (repo is not None and bool(repo[1] or not alone))
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


_ADAPTERS = [
    shared_option("--lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter. May be repeated."),
    shared_option(
        "--any-base", is_flag=True, help="Use an adapter on another fine-tune than that which it was trained on."
    ),
]
_ADD = shared_option(
    "--add",
    multiple=True,
    metavar="layer=N,scale=X,vector=@FILE",
    help="Add a control vector (.npy, .safetensors) to the states after a layer. May be repeated.",
)

_ALWAYS = [
    shared_option("--offline", is_flag=True, help="Do not fetch a model that is not on this machine."),
    shared_option("-q", "--quiet", is_flag=True, help="Print neither notes nor progress on stderr."),
]


def model_options_with(default: str, *, argument: bool = False, add: bool = True) -> Callable[[F], F]:
    """A decorator that adds -m and how the model runs. The command gets a ModelOptions as its parameter `options`.

    Args:
        default: the model that is taken without -m, for the help text.
        argument: may the model be named without -m, too? For commands that have no other argument.
        add: may vectors be added to states?
    """
    options = [
        shared_option(
            "-m",
            "--model",
            metavar="MODEL",
            shell_complete=complete_model,
            help="A GGUF file, user/repo[:QUANT], ollama:NAME, lmstudio:PUBLISHER/MODEL, package:NAME, bundled:NAME, "
            f"or a part of a name that `softllama models` lists. Default: {default}.",
        ),
        shared_option(
            "--n-ctx",
            type=int,
            metavar="N",
            other_names=["-c", "--ctx-size"],
            help="Positions of the context. Default: what is needed.",
        ),
        shared_option(
            "--n-gpu-layers",
            old_names=["--gpu-layers"],
            other_names=["-ngl"],
            type=int,
            metavar="N",
            help="Layers on the GPU. Default: all, if there is one.",
        ),
        shared_option(
            "--n-threads",
            old_names=["--threads"],
            other_names=["-t"],
            type=int,
            metavar="N",
            help="CPU threads. Default: the physical cores.",
        ),
        *_ADAPTERS,
        *([_ADD] if add else []),
        shared_option(
            "--rpc",
            metavar="HOST:PORT[,...]",
            help="Also use the devices of llama.cpp's RPC workers, in a network that you trust.",
        ),
        *(*OPTIONS, *_ALWAYS),
    ]
    names = [f.name for f in fields(ModelOptions) if f.name != "source" and (add or f.name != "add")]
    if argument:
        word = click.argument(_ARGUMENT, required=False, metavar="[MODEL]", shell_complete=complete_model)
        options, names = [word, *options], [_ARGUMENT, *names]

    def collect(**values: Any) -> ModelOptions:
        ctx, word = click.get_current_context(), values.pop(_ARGUMENT, None)
        options = ModelOptions(**values, source=config.value_source(ctx, "model"))
        return options if word is None else options.or_named(word)

    return as_one_object(collect, "options", options, names)


_ARGUMENT = "model_argument"
model_options = model_options_with("the bundled model")
