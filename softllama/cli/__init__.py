"""The command line: a click group that imports a command when it is called, and the one place where errors are printed.

stdout is data, stderr is everything else. Exit codes: 0, 1 error, 2 usage, 130 interrupted, 143 by SIGTERM.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from typing import Any, NoReturn

import click

from softllama._version import __version__
from softllama.base import system
from softllama.cli import config, help
from softllama.errors import C_MODULE, C_MODULE_MISSING, SoftLlamaError

COMMANDS = {
    "probe": "What a model makes of a prompt that holds a mixture of tokens.",
    "lens": "What every layer would say: the logit lens, with mixtures beside their words.",
    "run": "Generate text, thinking in mixtures and answering in words.",
    "chat": "Talk with a model that thinks in mixtures and answers in words.",
    "score": "How likely a model finds a continuation; the perplexity of a text.",
    "serve": "An HTTP server that speaks OpenAI's API, and a page.",
    "policies": "The decoding policies, their parameters and defaults.",
    "study": "What mixtures do to a model: mixing, feedback, thinking.",
    "eval": "How many problems a model solves, by way of decoding.",
    "adapt": "Teach a model to read mixtures: a LoRA adapter.",
    "models": "The models on this machine; show one, or fetch one.",
    "trace": "Look at the record of a generation, or feed it again.",
    "completion": "The script that completes commands, options, models and policies in your shell.",
    "doctor": "Is softllama sound on this machine, and with this model?",
    "bench": "How fast a model runs here, beside llama.cpp alone.",
}


ELSEWHERE = {  # what the commands of other tools are called here
    "list": "models",
    "ls": "models",
    "pull": "models pull",
    "show": "models show",
    "generate": "run",
    "version": "--version",
}


class LazyGroup(help.Group):
    """Commands live in softllama.cli.NAME as `command`; --help shows their summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"softllama.cli.{name}").command
        config.name_variables(command, name)
        if not ctx.resilient_parsing:
            ctx.default_map = {**(ctx.default_map or {}), name: config.defaults(command, name)}
        return command

    def unknown(self, ctx: click.Context, name: str) -> str:
        """What is said of a command that does not exist: other tools' names for one, a file, or the closest."""
        near = difflib.get_close_matches(name, COMMANDS, 1)
        is_file = name.lower().endswith(".gguf")
        meant = f"chat -m {name}" if is_file else ELSEWHERE.get(name) or next(iter(near), "")
        return help.no_command(name, meant, list(COMMANDS))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _: click.Parameter, requested: bool) -> None:
    """Print versions: softllama's, llama.cpp's, Python's. If llama_cpp cannot be loaded, the reason is printed."""
    if not requested or ctx.resilient_parsing:
        return
    import importlib.metadata  # 10 ms, which no other command needs

    click.echo(f"softllama {__version__}")
    try:
        from softllama.llama import bindings

        click.echo(bindings.build())
    except (ImportError, SoftLlamaError) as e:
        click.echo(e.message if isinstance(e, SoftLlamaError) else f"the C module cannot be loaded: {e}")
    click.echo(f"Python {sys.version.split()[0]}, click {importlib.metadata.version('click')}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Versions of softllama and of the llama.cpp it uses.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Feed probability vectors, not tokens, to the language models you run with llama.cpp.

    \b
    softllama probe --mix "dog:0.5,cat:0.5"
    softllama run "Who is bigger, the dog or the cat?" -m user/repo:Q4_K_M
    softllama chat -m model.gguf
    softllama models

    Every option has a variable, such as SOFTLLAMA_RUN_SEED for run --seed; SOFTLLAMA_MODEL sets -m for all commands.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":  # click asks only whether it is a terminal
        ctx.color = False


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit. Every SoftLlamaError becomes one message and its exit code."""
    system.colours()
    if not _streams():
        sys.exit(_failed("the standard output is closed", "> FILE sends it to a file, > /dev/null nowhere", 1))
    if "_SOFTLLAMA_COMPLETE" in os.environ:  # set by the script that `softllama completion` prints
        from softllama.cli import completion

        completion.install()
    code = 1
    try:
        before = _signals({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: None})
        try:
            code = _run(arguments)
        finally:
            _signals(before)  # __main__'s: what is left is to leave, and that may be cut short
    except KeyboardInterrupt:
        code = _interrupted()
    sys.exit(code)


def _streams() -> bool:
    """Open /dev/null where a shell has closed stdin (<&-), stdout or stderr, which Python leaves None.

    Their numbers must be taken, too: the next file to be opened would get one of them, and llama.cpp would write into it.
    A character that stdout's encoding lacks is written as an escape; bytes of a file's name that are not UTF-8 stay.

    Returns:
        Was stdout open?
    """
    was_open = sys.stdout is not None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            if (fd := os.open(os.devnull, os.O_RDWR)) != number:
                os.dup2(fd, number)
                os.close(fd)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        unicode = sys.stdout.encoding.lower().replace("-", "").startswith("utf")
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    return was_open


def _signals(handlers: dict[int, Any]) -> dict[int, Any]:
    """Set handlers, None to leave one as it is; returns the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {s: signal.getsignal(s) for s in handlers}
    for s, handler in handlers.items():
        if handler is not None:
            signal.signal(s, handler)
    return before


def _run(arguments: list[str] | None) -> int:
    """Run a command; returns the exit code."""
    streams = sys.stdout, sys.stderr
    try:
        cli.main(args=arguments, prog_name="softllama", standalone_mode=False)
        sys.stdout.flush()
    except SoftLlamaError as e:
        return _failed(e.message, e.hint, e.exit_code)
    except click.exceptions.Exit as e:
        return e.exit_code
    except SystemExit as e:
        # click and rich notice a closed pipe before we do; click then replaces stdout
        if sys.stdout is not streams[0] or isinstance(e.__context__, BrokenPipeError):
            sys.stdout, sys.stderr = streams
            _drop_stdout()
            return 0
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    except click.ClickException as e:
        help.shortened(e).show()
        return e.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _interrupted()
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _drop_stdout()
        return 0
    except OSError as e:
        return _failed(_reason(e), "", 1)
    except MemoryError:
        return _failed("out of memory", "use a smaller model or a smaller --n-ctx", 1)
    except ModuleNotFoundError as e:
        if e.name != C_MODULE:
            raise
        return _failed(*C_MODULE_MISSING, 1)
    except Exception as e:  # an interrupt during an import is raised as something else
        cause: BaseException | None = e
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        return _interrupted()
    return 0


def _reason(e: OSError) -> str:
    if e.filename is not None:
        return f"{e.strerror or e}: {e.filename!r}"
    if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):  # errors of files have messages of their own
        return f"cannot write the output: {e.strerror}"
    return e.strerror or str(e)


def _interrupted() -> int:
    signals = sys.modules.get("softllama.base.signals")  # not loaded before a model is
    click.echo("interrupted", err=True)
    return int(signals.exit_code()) if signals is not None else 130


def _drop_stdout() -> None:
    """Send the rest of stdout to /dev/null: at its end, Python would report that it cannot write it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, hint: str, code: int) -> int:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _drop_stdout()
    from softllama.terminal.screen import Screen

    Screen().error(message, hint)
    return code


def note(text: object) -> None:
    """A dim line on stderr: what the program chose by itself."""
    from softllama.terminal.screen import Screen

    Screen().note(str(text))
