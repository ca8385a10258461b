"""softllama policies"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.options import complete_policy


@click.command(cls=Command)
@click.argument("names", nargs=-1, shell_complete=complete_policy)
def command(names: tuple[str, ...]) -> None:
    """The decoding policies and searches; with names, their parameters and defaults.

    \b
    softllama policies
    softllama policies soft_thinking gumbel
    softllama policies mine.py
    softllama policies mine.py:bounded
    softllama run "Hello" --policy "soft_thinking:n=10,tau=0.01"

    A Python file that is named is run: its policies are listed. Those of installed packages (entry points of the group
    softllama.policies) are listed with the others. Searches take several passes; `run` and `eval` have them.
    """
    from softllama import policy
    from softllama.generation import search_text
    from softllama.policy import external

    for name in names:
        policy.load_files(name)
    if not names:
        _list(policy.names())
        click.echo("\nSearches over several passes:\n")
        click.echo(_table([(name, kind.doc) for name, kind in search_text.SEARCHES.items()]), nl=False)
        note("softllama policies NAME lists its parameters")
    for i, name in enumerate(names):
        if i:
            click.echo()
        if own := external.in_file(name):
            _list(own)
        else:
            click.echo(search_text.describe(name) if search_text.kind_of(name) == name else policy.describe(name))


def _list(names: Sequence[str]) -> None:
    from softllama import policy

    click.echo(_table([(name, policy.describe(name).splitlines()[0].partition(": ")[2]) for name in names]), nl=False)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = click.HelpFormatter(width=min(shutil.get_terminal_size().columns, 120))
    lines.write_dl(rows)
    return lines.getvalue()
