"""softllama lens"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import MixtureChoices, as_one_object, mixture_options, option, read_system, read_text
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.probe.lens.run import LensResult
    from softllama.vectors.interventions import Patch


@dataclass(frozen=True, kw_only=True)
class LensChoices:
    """What is looked at, and where it goes, as typed."""

    prompt: str | None
    prompt_file: str | None
    chat: bool
    system: str | None
    layers: str | None
    positions: str | None
    n_top: int
    patch: tuple[str, ...]
    as_json: bool
    as_csv: bool
    output: tuple[str, ...]

    def check(self) -> None:
        """Raise UsageError, before any work, for options that exclude each other and files that cannot be written."""
        from softllama.base.files import check_place
        from softllama.probe import plot
        from softllama.probe.lens import page
        from softllama.probe.lens.run import FORMS

        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv exclude each other")
        for name in self.output:
            path = Path(name)
            if path.suffix.lower() not in FORMS:
                raise UsageError(f"cannot save a lens as {path.name!r}", f"end the name in one of {', '.join(FORMS)}")
            if path.suffix.lower() == ".html":
                page.check_path(path)
            elif path.suffix.lower() in plot.FORMATS:
                plot.check_path(name)
            else:
                check_place(path, "a file", b"")

    def read(self, argument: str | None) -> str | None:
        """The prompt: the argument, --prompt or --prompt-file. None for none."""
        given = [x for x in (argument, self.prompt, self.prompt_file) if x is not None]
        if len(given) > 1:
            raise UsageError("the prompt is given twice", "as an argument, with --prompt, or with --prompt-file")
        if self.prompt_file is not None:
            return read_text(self.prompt_file)
        return given[0] if given else None

    def patches(self) -> list[Patch]:
        """The states that take the place of others."""
        from softllama.probe.lens import patch_text

        return [patch_text.parse(text) for text in self.patch]


lens_options = as_one_object(
    LensChoices,
    "lens",
    [
        option("--prompt", other_names=["-p"], metavar="TEXT", help="Text, with {} or {name} for mixtures."),
        option("--prompt-file", other_names=["-f"], metavar="FILE", help="The prompt from a file; - for stdin."),
        click.option("--chat", is_flag=True, help="Put the prompt through the model's chat template."),
        click.option("--system", metavar="TEXT|@FILE", help="The system message, with --chat."),
        click.option("--layers", metavar="LIST", help="Such as 0-7,-1; -1 is the last. Default: all."),
        click.option(
            "--positions",
            metavar="LIST",
            help="The same. Default: from the first mixture on, or all; of these the last 16.",
        ),
        click.option(
            "--top", "n_top", type=int, default=5, show_default=True, metavar="N", help="Tokens of each readout."
        ),
        click.option(
            "--patch",
            multiple=True,
            metavar="PATCH",
            help='Put another run\'s state in place of one: "layer=8,position=3,state=@run.npz". May be repeated.',
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
        click.option(
            "--output",
            "-o",
            multiple=True,
            metavar="FILE",
            help="Also write a page (.html), a picture (.png, .svg, .pdf), the states (.npz), .json or .csv. May be repeated.",
        ),
    ],
    [f.name for f in fields(LensChoices)],
)


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]")
@mixture_options
@lens_options
@model_options
def command(words: tuple[str, ...], mixtures: MixtureChoices, lens: LensChoices, options: ModelOptions) -> None:
    """What every layer would say: the logit lens, with mixtures beside their words.

    \b
    softllama lens "The dog says"
    softllama lens --mix "dog:0.5,cat:0.5" --prompt "The {} says"
    softllama lens -m model.gguf --mix "France,Japan" --prompt "The capital of {} is" -o lens.html -o lens.png
    softllama lens "The dog says" --layers 0,-1 --positions -1 --json
    softllama lens "The dog says" -o dog.npz
    softllama lens "The cat says" --patch "layer=0,position=1,state=@dog.npz"

    The state after each layer goes through the model's own final norm and head. Shown are the likeliest tokens, the entropy,
    and the KL divergence of the model's output to the layer's, in nats. A prompt with mixtures stands beside the same
    prompt with each word alone: the cosine of their states, and the JS divergence of their readouts, say in which layer
    the mixture turns into one thing. --add and --patch change states on the way.
    """
    lens.check()
    mixtures.check_fed()
    options, argument = options.split(words)
    prompt, system, patches = lens.read(argument), read_system(lens.system), lens.patches()
    layers, positions = (_numbers(name, getattr(lens, name)) for name in ("layers", "positions"))
    model = options.load()
    for line in () if options.quiet else [*mixtures.notes(), *mixtures.slots_left(prompt or "")]:
        note(line)
    result = _run(model, prompt, mixtures, lens, options.quiet, (layers, positions, system, patches))
    if lens.as_json:
        click.echo(result.json())
    elif lens.as_csv:
        click.echo(result.csv(), nl=False)
    else:
        result.show()
    for name in lens.output:
        result.save(name)
        if not options.quiet:
            note(f"file: {name}")


def _run(
    model: Model,
    prompt: str | None,
    mixtures: MixtureChoices,
    lens: LensChoices,
    quiet: bool,
    read: tuple[list[int] | None, list[int] | None, str | None, Sequence[Patch]],
) -> LensResult:
    from softllama.show.progress import progress

    layers, positions, system, patches = read
    with progress(quiet) as tick:
        return model.lens(
            prompt,
            layers=layers,
            positions=positions,
            n_top=lens.n_top,
            chat=lens.chat,
            system=system,
            patches=patches,
            tick=tick,
            **mixtures.keywords(),
        )


def _numbers(name: str, text: str | None) -> list[int] | None:
    """Whole numbers as typed: "0-7,-1". None for None."""
    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().rpartition("-")
        try:
            if dash and first:
                numbers += range(int(first), int(last) + 1)
            else:
                numbers.append(int(part))
        except ValueError:
            raise UsageError(f"--{name} {text!r} is no list of numbers", f"--{name} 0-7,-1") from None
    if not numbers or len(numbers) > 10_000:
        raise UsageError(f"--{name} {text!r} is no list of numbers", f"--{name} 0-7,-1")
    return numbers
