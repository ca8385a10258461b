"""softllama policies"""

from __future__ import annotations

import click

from softllama import policy
from softllama.cli.options import complete_policy


@click.command()
@click.argument("names", nargs=-1, shell_complete=complete_policy)
def command(names: tuple[str, ...]) -> None:
    """The decoding policies, their parameters and defaults.

    \b
    softllama policies
    softllama policies soft_thinking gumbel
    softllama run "Hello" --policy "soft_thinking:n=10,tau=0.01"
    """
    for i, name in enumerate(names or policy.names()):
        if i:
            click.echo()
        click.echo(policy.describe(name))
