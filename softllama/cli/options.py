"""Options that several commands share: the model and how it runs. Imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from softllama.errors import ModelError, PromptError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model

F = TypeVar("F", bound=Callable[..., Any])
NOTICEABLE = 3  # seconds that are worth a line


class SharedOption(click.Option):
    """An option of several commands: SOFTLLAMA_MODEL and [softllama] in the configuration set it for all of them."""

    shared = True


def shared_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """click.option for a SharedOption."""
    return click.option(*names, cls=SharedOption, **settings)


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Keep a value for load_model, so that commands need not hand it on."""
    ctx.meta[f"softllama.{option.name}"] = value
    return value


def complete_model(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, from folders and file names alone, and files."""
    from softllama.hub import caches

    names = [f for f in caches.all_models() if incomplete.lower() in f.name.lower() and not f.problem]
    items = [CompletionItem(f.name, help=f.source) for f in names]
    return items or [CompletionItem(incomplete, type="file")]


def complete_policy(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of policies."""
    from softllama import policy

    return [CompletionItem(n) for n in policy.names() if n.startswith(incomplete)]


def model_options_with(default: str) -> Callable[[F], F]:
    """-m and how the model runs. default: the model that is taken without -m, for the help text."""
    options = (
        shared_option(
            "-m", "--model", metavar="MODEL", shell_complete=complete_model,
            help=f"A GGUF file, user/repo[:QUANT], ollama:NAME, lmstudio:PUBLISHER/MODEL, bundled:NAME, or a part of a name "
            f"that `softllama models` lists. Default: {default}.",
        ),
        shared_option("--n-ctx", type=int, metavar="N", help="Positions to make room for. Default: what is needed."),
        shared_option(
            "--n-gpu-layers", "--gpu-layers", "n_gpu_layers", type=int, metavar="N",
            help="Layers on the GPU. Default: all, if there is one.",
        ),
        shared_option(
            "--n-threads", "--threads", "n_threads", type=int, metavar="N",
            help="CPU threads. Default: the physical cores.",
        ),
        shared_option(
            "--lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter; may be given more than once."
        ),
        shared_option(
            "--rpc", metavar="HOST:PORT[,...]", expose_value=False, callback=_keep,
            help="Also use the devices of llama.cpp's RPC workers, in a network that you trust.",
        ),
        shared_option(
            "--offline", is_flag=True, expose_value=False, callback=_keep, help="Do not fetch a model that is not here."
        ),
        shared_option("-q", "--quiet", is_flag=True, help="No lines about model and device on stderr."),
    )  # fmt: skip

    def add(f: F) -> F:
        for option in reversed(options):
            f = option(f)
        return f

    return add


model_options = model_options_with("the bundled model")


def load_model(
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
) -> Model:
    """Load what the options name, and say on stderr which model runs where and why."""
    from softllama import hub
    from softllama.api import load
    from softllama.base import signals
    from softllama.cli import config, note, progress
    from softllama.hub import bundled
    from softllama.llama import library, memory

    ctx = click.get_current_context(silent=True)
    meta = ctx.meta if ctx is not None else {}
    rpc = _workers(meta.get("softllama.rpc"))
    say = (lambda _: None) if quiet else note
    where = config.value_source(ctx, "model") if ctx is not None else ""
    try:
        with progress.bar(quiet) as bar:
            file = hub.resolve(model, offline=bool(meta.get("softllama.offline")), progress=bar, say=say)
    except ModelError as e:
        raise ModelError(f"{e.message} (so says {where})" if where else e.message, e.hint) from None
    library.exit_on_abort()
    signals.say_on_bus_error(
        "Error: a file of the model, or another that was being read, was cut short on the disk while it was in use\n"
        "Hint: fetch it again, and run the command again\n"
    )
    signals.flag_interrupts()
    adapters = [adapter(a) for a in lora]
    loaded = load(file, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads, lora=adapters, rpc=rpc)
    if not quiet:
        if model is None:
            note(f"model: {bundled.DEFAULT}, which comes with softllama; -m FILE.gguf names another")
        elif where or str(file) != model:
            note(f"model: {loaded.path}" + (f", as {where} says" if where else ""))
        if (larger := memory.note(loaded.n_bytes)) is not None:
            note(larger)
        if loaded.calibration.nodes:
            note(f"mixtures: by {loaded.calibration.text}")
        if loaded.diffusion:
            note("diffusion model: it is asked what it expects in a masked position behind the prompt")
        if loaded.trial is not None and loaded.trial.seconds > NOTICEABLE:
            note(f"first use of this file here: tried in a child process before, for {loaded.trial.seconds:.0f} s")
        note(f"device: {loaded.device}, {loaded.n_threads} thread{'s'[: loaded.n_threads > 1]}: {loaded.device_reason}")
    return loaded


def _workers(text: str | None) -> list[str]:
    if text is None:
        return []
    from softllama.llama import rpc

    return rpc.parse(text)


def adapter(text: str) -> tuple[str, float]:
    """FILE or FILE:SCALE, as --lora takes it."""
    path, colon, scale = text.rpartition(":")
    if colon and path and not Path(text).exists():
        try:
            return path, float(scale)
        except ValueError:
            raise UsageError(f"the scale of the adapter {path!r} is {scale!r}", "--lora FILE:0.5") from None
    return text, 1.0


def read_text(path: str, hint: str = "--prompt-file names a text file, or - for stdin") -> str:
    """The text of a file, or of stdin for "-", without the newline at its end and the byte order mark at its start."""
    name = "the standard input" if path == "-" else repr(path)
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).expanduser().read_bytes()
        return data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as e:
        raise PromptError(f"{name} is not UTF-8 text: byte {e.start}", "convert it to UTF-8") from None
    except (OSError, ValueError, RuntimeError) as e:  # a NUL in the name, a ~user that is none
        raise PromptError(f"cannot read {name}: {getattr(e, 'strerror', None) or e}", hint) from None
