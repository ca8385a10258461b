"""softllama completion, and how bash completes words that hold colons."""

from __future__ import annotations

import os
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from softllama.cli.help import Command

VARIABLE = "_SOFTLLAMA_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


class Bash(BashComplete):
    """click's, for names such as ollama:llama3:8b: bash splits a word at colons, so the line is looked at instead."""

    name = "bash"
    source_template = BashComplete.source_template.replace("${COMP_WORDS[*]}", "${COMP_LINE:0:$COMP_POINT}")

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem) -> str:
        """Without what stands before the last colon, as bash replaces only what is behind it."""
        done = self.get_completion_args()[1].rpartition(":")
        value = str(item.value)
        if done[1] and value.startswith(done[0] + ":"):
            value = value[len(done[0]) + 1 :]
        return f"{item.type},{value}"


def install() -> None:
    """Let click use the class above."""
    add_completion_class(Bash)


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """The script that completes commands, options, models and policies in your shell.

    \b
    softllama completion bash > ~/.local/share/bash-completion/completions/softllama
    softllama completion zsh > "${fpath[1]}/_softllama"
    softllama completion fish > ~/.config/fish/completions/softllama.fish

    For the running shell alone: eval "$(softllama completion bash)". Bash must be 4.4 or newer.
    """
    install()
    cls: Any = get_completion_class(shell)
    shell_complete = cls(ctx.find_root().command, {}, "softllama", VARIABLE)
    click.echo(
        shell_complete.source_template % shell_complete.source_vars()
    )  # source() would run bash to ask for its version
