"""softllama policies"""

from __future__ import annotations

import shutil

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.options import complete_policy


@click.command(cls=Command)
@click.argument("names", nargs=-1, shell_complete=complete_policy)
def command(names: tuple[str, ...]) -> None:
    """The decoding policies; with names, their parameters and defaults.

    \b
    softllama policies
    softllama policies soft_thinking gumbel
    softllama run "Hello" --policy "soft_thinking:n=10,tau=0.01"
    """
    from softllama import policy

    if not names:
        lines = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, 120))
        lines.write_dl([(name, policy.describe(name).splitlines()[0].partition(": ")[2]) for name in policy.names()])
        click.echo(lines.getvalue(), nl=False)
        note("softllama policies NAME lists its parameters")
    for i, name in enumerate(names):
        if i:
            click.echo()
        click.echo(policy.describe(name))
