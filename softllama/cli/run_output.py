"""What `softllama run` prints, and where it saves the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from softllama.cli.options import as_one_object
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.trace.record import Trace
    from softllama.trace.step import Step


@dataclass(frozen=True, kw_only=True)
class OutputChoices:
    """What is printed, and where the record is saved."""

    show_mixtures: bool
    as_json: bool
    as_jsonl: bool
    trace_file: str | None
    lens: str | None

    @property
    def every(self) -> int | None:
        """After how many steps the layers are read; None for never. Raises UsageError for what is no "every:N"."""
        if self.lens is None:
            return None
        word, _, n = self.lens.partition(":")
        if word != "every" or not n.isdecimal() or not 0 < int(n) < 10**9:
            raise UsageError(
                f"--lens {self.lens!r} is not understood", "--lens every:4 reads the layers after each fourth step"
            )
        return int(n)

    def check(self) -> None:
        """Raise UsageError, before any work, for options that exclude each other or a file that cannot be written."""
        if self.as_json and self.as_jsonl:
            raise UsageError("--json and --jsonl exclude each other")
        _ = self.every
        if self.trace_file is not None:
            from softllama.trace.record import check_path

            check_path(self.trace_file)

    def printers(
        self, model: Model, quiet: bool, *, whole: bool
    ) -> tuple[Callable[[Step], None], Callable[[tuple[str, str]], None]]:
        """A function for each step, and one for the end. whole: does a record hold every weight?"""
        from softllama.terminal.live import AnswerPrinter, TokenCount
        from softllama.terminal.screen import Screen
        from softllama.trace.data import stepper
        from softllama.trace.step import heavy

        is_data = self.as_json or self.as_jsonl
        printer = AnswerPrinter(
            Screen(quiet=(quiet or is_data) and not self.show_mixtures),
            model.spell,
            view="mixtures" if self.show_mixtures else "show",
            verbatim=True,
            every_step=True,
            answer=not is_data,
        )
        count = TokenCount(Screen(quiet=quiet)) if is_data and not self.show_mixtures else None
        to_record = stepper(model.spell)

        def each(step: Step) -> None:
            if self.as_jsonl:
                print_json(to_record(step if whole else heavy(step)))
            printer(step)
            if count is not None:
                count()

        def end(tail: tuple[str, str]) -> None:
            if count is not None:
                count.end()
            printer.end(tail)

        return each, end

    def show_layers(self, trace: Trace) -> None:
        """The layers along a generation, on stderr, if they were read."""
        if not trace.layers or self.as_json or self.as_jsonl:
            return
        from softllama.show import console
        from softllama.trace import layers_view

        out = console.console(stderr=True)
        out.print(layers_view.layers(trace, min(out.width, 160)))


output_options = as_one_object(
    OutputChoices,
    "output",
    [
        click.option("--show-mixtures", is_flag=True, help="List each step's tokens and weights on stderr."),
        click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON."),
        click.option("--jsonl", "as_jsonl", is_flag=True, help="Print the record as it is made, a line for each step."),
        click.option(
            "--trace",
            "trace_file",
            metavar="FILE",
            help="Save the record (.npz or .jsonl); `softllama trace` shows it.",
        ),
        click.option(
            "--lens",
            metavar="every:N",
            help="After each Nth step, record what every layer would say next (softllama lens), and list it on stderr.",
        ),
    ],
    [f.name for f in fields(OutputChoices)],
)


def print_json(data: Any, indent: int | None = None) -> None:
    """Print data as JSON on stdout."""
    click.echo(json.dumps(data, ensure_ascii=False, indent=indent, allow_nan=False))
