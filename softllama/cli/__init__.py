"""The command line: a click group that imports a command when it is called, and the one place where errors are printed.

stdout is data, stderr is everything else. Exit codes: 0, 1 error, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

import click

from softllama import __version__
from softllama.errors import SoftLlamaError

COMMANDS = {
    "probe": "What a model makes of a prompt that holds a mixture of tokens.",
    "run": "Generate text, thinking in mixtures and answering in words.",
    "policies": "The decoding policies, their parameters and defaults.",
    "trace": "Look at the record of a generation, or feed it again.",
    "bench": "How fast a model runs here, beside llama.cpp alone.",
}


class LazyGroup(click.Group):
    """Commands live in softllama.cli.NAME as `command`; --help shows their summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"softllama.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, 1)
            raise click.UsageError(f"No such command {name!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SOFTLLAMA"})
@click.version_option(__version__, "-V", "--version", prog_name="softllama")
def cli() -> None:
    """Feed probability vectors, not tokens, to the language models you run with llama.cpp.

    \b
    softllama probe --mix "dog:0.5,cat:0.5"
    softllama probe -m model.gguf --mix "dog:0.5,cat:0.5" --prompt "The {} says" --sweep 21
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit. Every SoftLlamaError becomes one message and its exit code."""
    try:
        cli.main(args=arguments, prog_name="softllama", standalone_mode=False)
        sys.stdout.flush()
    except SoftLlamaError as e:
        fail(e.message, e.hint, e.exit_code)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as e:
        fail(f"{e.strerror or e}" + (f": {e.filename!r}" if e.filename else ""), "", 1)
    except MemoryError:
        fail("out of memory", "use a smaller model or a smaller --n-ctx", 1)
    sys.exit(0)


def fail(message: str, hint: str, code: int) -> NoReturn:
    """Print an error and leave."""
    click.echo(f"Error: {message}", err=True)
    if hint:
        click.echo(f"Hint: {hint}", err=True)
    sys.exit(code)


def note(text: Any) -> None:
    """A dim line on stderr: what the program chose by itself."""
    click.secho(str(text), err=True, dim=True)
