"""softllama probe"""

from __future__ import annotations

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import MixtureChoices, mixture_options, option, read_system, read_text
from softllama.errors import MixtureError, UsageError


def _choice(frames: dict[str, float]) -> str:
    """Which prompt was chosen, and why."""
    prompt, js = next(iter(frames.items()))
    of = f", of {len(frames)} the one in which the words differ most (JS {js:.3f})" if len(frames) > 1 else ""
    return f'prompt: "{prompt}"{of}; --prompt TEXT sets another'


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]")
@mixture_options
@option(
    "--prompt",
    other_names=["-p"],
    metavar="TEXT",
    help="Text with {} or {name} for the mixtures; the argument is the same. Default: of a few, the one in which the words "
    "differ most.",
)
@option("--prompt-file", other_names=["-f"], metavar="FILE", help="The prompt from a file; - for stdin.")
@click.option("--chat", is_flag=True, help="Put the prompt through the model's chat template, as the user's message.")
@click.option("--system", metavar="TEXT|@FILE", help="The system message, with --chat.")
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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--plot", metavar="FILE", help="Write a picture (.png, .svg, .pdf).")
@model_options
def command(
    words: tuple[str, ...],
    mixtures: MixtureChoices,
    prompt: str | None,
    prompt_file: str | None,
    chat: bool,
    system: str | None,
    sweep: int | None,
    continue_tokens: int,
    n_top: int,
    watch: str | None,
    repeats: int,
    as_json: bool,
    as_csv: bool,
    plot: str | None,
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
    anything, #1234:0.2 is a token id, @vector.npy a vector over the vocabulary. A bare word is the token that its place
    in the prompt would give it.

    The mixture's next-token distribution is shown beside those of its components alone, and beside their average, which
    is what one would get by sampling the token first. JS is the Jensen-Shannon divergence in nats, between 0 and 0.6931.
    """
    options, argument = options.split(words)
    if not mixtures.mix:
        raise MixtureError("no mixture was given", 'add --mix "dog:0.5,cat:0.5"')
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file exclude each other")
    if argument is not None and (prompt is not None or prompt_file is not None):
        raise UsageError("the prompt is given twice", "as an argument, with --prompt, or with --prompt-file")
    prompt = argument if argument is not None else prompt
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    if plot is not None:
        from softllama.probe import plot as plots

        plots.check_path(plot)
    text = read_text(prompt_file) if prompt_file is not None else prompt
    system_text, notes = read_system(system), mixtures.notes()
    model = options.load()
    result = model.probe(
        text,
        sweep=sweep,
        continue_tokens=continue_tokens,
        chat=chat,
        system=system_text,
        n_top=n_top,
        watch=watch,
        repeats=repeats,
        **mixtures.keywords(),
    )
    if text is None:
        notes.append(_choice(result.frames))
    for line in notes if not options.quiet else ():
        note(line)
    if as_json:
        click.echo(result.json())
    elif as_csv:
        click.echo(result.csv(), nl=False)
    else:
        result.show()
    if plot is not None:
        result.plot(plot)
        if not options.quiet:
            note(f"plot: {plot}")
