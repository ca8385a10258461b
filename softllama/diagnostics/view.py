"""How the doctor's findings look: a line for each, the sentence beside its name or, where that is narrow, below it.

Knows findings and the terminal. Does not know what was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing, nullcontext

from rich.console import Console
from rich.status import Status
from rich.text import Text

from softllama.diagnostics.doctor import PROBLEM, Diagnosis, Finding, diagnosis
from softllama.show.console import console
from softllama.show.printable import visible

NARROW = 60  # columns
NAME, STATE = 13, 7  # columns of names and states
STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def finding(f: Finding, out: Console) -> Text:
    """One finding as lines that fit the console."""
    name, bad = visible(f.name), f.state == PROBLEM
    head = Text.assemble((f.state.ljust(STATE), STYLES[f.state]), " ", name.ljust(NAME))
    indent = 2 if out.width < NARROW or len(name) > NAME else STATE + NAME + 2
    lines: list[Text] = []
    for text, style in ((f.text, "bold" if bad else ""), (f"-> {f.advice}" if f.advice else "", "" if bad else "dim")):
        if text:
            lines += Text(visible(text), style=style).wrap(out, max(10, out.width - indent), overflow="fold")
    for line in lines:
        line.rstrip()
    if indent == 2:
        head.rstrip()
        return Text("\n").join([head, *(Text("  ") + line for line in lines)])
    return Text("\n").join([head + Text(" ") + lines[0], *(Text(" " * indent) + line for line in lines[1:])])


def show(model: str | None, find: Callable[..., Generator[Finding]], quiet: bool = False) -> Diagnosis:
    """Print findings as they are made, and a last line for all.

    Args:
        model: What the findings are about.
        find: doctor.findings with its arguments, but for `doing`.
        quiet: Do not show in a terminal what is being done.

    Returns:
        All findings.
    """
    out = console()
    busy = Status("", console=out, spinner="line") if out.is_terminal and not quiet else None
    shown: list[Finding] = []

    def doing(text: str) -> None:
        if busy is not None:
            busy.update(Text(text, style="dim"))

    with closing(find(doing=doing)) as findings, busy or nullcontext():
        for f in findings:
            if not shown or shown[-1].part != f.part:
                out.print(Text("\n" * bool(shown) + f.part, style="bold"))
            out.print(finding(f, out))
            shown.append(f)
    d = diagnosis(model, shown)
    out.print(Text(f"\n{visible(d.verdict)}", style="bold" if d.usable else STYLES[PROBLEM]))
    return d
