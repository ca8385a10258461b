"""softllama probe"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.base.files import replacing
from softllama.cli import note
from softllama.cli.generation_options import parse_special_option
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import MixtureChoices, as_one_object, mixture_options, option, read_system, read_text
from softllama.errors import MixtureError, UsageError

if TYPE_CHECKING:
    from softllama.probe.run import ProbeResult


@dataclass(frozen=True, kw_only=True)
class PromptChoices:
    """The prompt: the argument, --prompt or --prompt-file, and how the chat template takes it.

    words: the arguments, which may also name the model.
    """

    words: tuple[str, ...]
    prompt: str | None
    prompt_file: str | None
    chat: bool
    system: str | None
    parse_special: bool | None

    def read(self, argument: str | None) -> str | None:
        """The prompt; None if there is none. Raises UsageError if there are several. argument: the prompt among the words."""
        if self.prompt is not None and self.prompt_file is not None:
            raise UsageError("--prompt and --prompt-file exclude each other")
        if argument is not None and (self.prompt is not None or self.prompt_file is not None):
            raise UsageError("the prompt is given twice", "as an argument, with --prompt, or with --prompt-file")
        if self.prompt_file is not None:
            return read_text(self.prompt_file)
        return self.prompt if argument is None else argument


@dataclass(frozen=True, kw_only=True)
class OutputChoices:
    """What is printed, and where the picture and the page go."""

    as_json: bool
    as_csv: bool
    plot: str | None
    html: str | None

    def check(self) -> None:
        """Raise UsageError, before any work, for options that exclude each other or a picture that cannot be made."""
        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv exclude each other")
        if self.plot is not None:
            from softllama.probe import plot as plots

            plots.check_path(self.plot)
        if self.html is not None:
            from softllama.report.report import check_page

            check_page(Path(self.html))

    def show(self, result: ProbeResult, quiet: bool, words: list[str]) -> None:
        """Print the result, and draw it where that is asked for. words: the command, without "softllama"."""
        if self.as_json:
            click.echo(result.json())
        elif self.as_csv:
            click.echo(result.csv(), nl=False)
        else:
            result.show()
        if self.plot is not None:
            result.plot(self.plot)
            if not quiet:
                note(f"plot: {self.plot}")
        if self.html is not None:
            with replacing(Path(self.html)) as f:
                f.write(result.page(shlex.join(["softllama", *words])).encode("utf-8", "replace"))
            if not quiet:
                note(f"page: {self.html}")


prompt_options = as_one_object(
    PromptChoices,
    "source",
    [
        click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]"),
        option(
            "--prompt",
            other_names=["-p"],
            metavar="TEXT",
            help="Text with {} or {name} for the mixtures; the argument is the same. Default: of a few, the one in which the "
            "words differ most.",
        ),
        option("--prompt-file", other_names=["-f"], metavar="FILE", help="The prompt from a file; - for stdin."),
        click.option(
            "--chat", is_flag=True, help="Put the prompt through the model's chat template, as the user's message."
        ),
        click.option("--system", metavar="TEXT|@FILE", help="The system message, with --chat."),
        parse_special_option,
    ],
    [f.name for f in fields(PromptChoices)],
)
output_options = as_one_object(
    OutputChoices,
    "output",
    [
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV."),
        click.option("--plot", metavar="FILE", help="Write a picture (.png, .svg, .pdf)."),
        click.option("--html", metavar="FILE", help="Write the results as one page."),
    ],
    [f.name for f in fields(OutputChoices)],
)


def _choice(frames: dict[str, float]) -> str:
    """Which prompt was chosen, and why."""
    prompt, js = next(iter(frames.items()))
    of = f", of {len(frames)} the one in which the words differ most (JS {js:.3f})" if len(frames) > 1 else ""
    return f'prompt: "{prompt}"{of}; --prompt TEXT sets another'


@click.command(cls=Command)
@prompt_options
@mixture_options
@click.option("--sweep", type=int, metavar="N", help="Also go from the first component to the others in N points.")
@click.option(
    "--continue", "continue_tokens", type=int, default=0, metavar="N", help="Also continue each greedily for N tokens."
)
@click.option(
    "--top", "n_top", type=int, default=5, show_default=True, metavar="N", help="How many tokens to show at most."
)
@click.option("--watch", metavar="WORDS", help='Tokens to follow by name: "Paris,Berlin".')
@click.option(
    "--repeats", type=int, default=1, metavar="N", help="Average over N copies moved by 1e-5: less noise of rounding."
)
@output_options
@model_options
def command(
    source: PromptChoices,
    mixtures: MixtureChoices,
    sweep: int | None,
    continue_tokens: int,
    n_top: int,
    watch: str | None,
    repeats: int,
    output: OutputChoices,
    options: ModelOptions,
) -> None:
    """What a model makes of a prompt that holds a mixture of tokens.

    \b
    softllama probe --mix "dog:0.5,cat:0.5"
    softllama probe "The {} eats" --mix "dog:0.5,cat:0.5"
    softllama probe -m model.gguf --mix "dog,cat" --prompt "The {} says" --sweep 21 --plot dogcat.png
    softllama probe --mix "a=dog,fox" --mix "b=hen:0.7,cat:0.3" --prompt "The {a} chases the {b}. The {b} says"
    softllama probe --mix "#12:0.3,#99:0.7" --json
    softllama probe --mix "@vector.npy" --prompt "It was {}"

    A mixture is written word:weight, with weights that sum to 1 (dog,cat: equal shares). "New York":0.3 quotes
    anything, #1234:0.2 is a token id, @vector.npy a vector over the vocabulary, or vectors in place of embeddings. A bare
    word is the token that its place
    in the prompt would give it.

    The mixture's next-token distribution is shown beside those of its components alone, and beside their average, which
    is what one would get by sampling the token first. JS is the Jensen-Shannon divergence in nats, between 0 and 0.6931.
    """
    options, argument = options.split(source.words)
    if not mixtures.mix:
        raise MixtureError("no mixture was given", 'add --mix "dog:0.5,cat:0.5"')
    output.check()
    text = source.read(argument)
    system, notes = read_system(source.system), mixtures.notes()
    model = options.load()
    result = model.probe(
        text,
        sweep=sweep,
        continue_tokens=continue_tokens,
        chat=source.chat,
        system=system,
        n_top=n_top,
        watch=watch,
        parse_special=bool(source.parse_special),
        repeats=repeats,
        **mixtures.keywords(),
    )
    if text is None:
        notes.append(_choice(result.frames))
    for line in notes if not options.quiet else ():
        note(line)
    output.show(result, options.quiet, sys.argv[1:])
