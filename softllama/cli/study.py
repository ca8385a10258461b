"""softllama study"""

from __future__ import annotations

from pathlib import Path

import click

from softllama.cli.help import Group
from softllama.cli.model_options import ModelOptions, model_options, model_options_with
from softllama.cli.options import read_text
from softllama.cli.study_output import StudyOutput, run, study_output
from softllama.errors import UsageError


@click.group(cls=Group)
def command() -> None:
    """What mixtures do to a model, measured: with controls, intervals and the command that repeats it.

    \b
    softllama study mixing                      what a model makes of half one word, half another
    softllama study feedback                    what the whole vector carries that a token does not
    softllama study thinking                    does it help to think in mixtures?
    softllama study adapter --lora mix.gguf     what an adapter makes of mixtures, and what it costs
    softllama study all -o answers              all of them, on the bundled models, as pages
    softllama study all -m model.gguf --quick   a first look at your own model
    """


@command.command()
@click.option(
    "--cases", metavar="FILE", help='Your own: {"prompt": "The {} says", "a": "dog", "b": "cat"} in each line.'
)
@click.option(
    "--pairs", type=click.IntRange(2, 300), metavar="N", help="Pairs in each frame. Default: 24, with --quick 3."
)
@click.option(
    "--controls",
    type=click.IntRange(0, 300),
    metavar="N",
    help="Controls of each kind in each frame. Default: 8 on the bundled models, 6 on others, with --quick 1.",
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look at every layer as well.")
@study_output
@model_options
def mixing(
    cases: str | None,
    pairs: int | None,
    controls: int | None,
    layers: bool,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """What does a model make of a mixture of two words?

    \b
    softllama study mixing
    softllama study mixing -m model.gguf --cases pairs.jsonl -o answers
    """
    output.check()
    from softllama.study import inputs, mixing

    model = options.load()
    chosen = None if cases is None else inputs.read_cases(model, Path(cases))
    run(
        lambda tick: [
            mixing.run(
                model,
                chosen,
                seed=output.seed,
                pairs=pairs,
                controls=controls,
                with_layers=layers,
                quick=output.quick,
                tick=tick,
            )
        ],
        output,
        options.quiet,
        model,
    )


@command.command()
@click.option("--prompts", metavar="FILE", help="Your own beginnings, one a line.")
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Steps of each generation that is looked at. Default: 16 on the bundled models, 8 on others, with --quick 3.",
)
@click.option(
    "--tokens",
    type=int,
    metavar="N",
    help="Tokens of each rollout. Default: 48 on the bundled models, 32 on others, with --quick 16.",
)
@click.option("--layers/--no-layers", default=True, show_default=True, help="Look for the weights in every layer.")
@study_output
@model_options
def feedback(
    prompts: str | None,
    steps: int | None,
    tokens: int | None,
    layers: bool,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """What does feeding back the whole vector carry that a token does not?

    \b
    softllama study feedback
    softllama study feedback -m model.gguf --prompts beginnings.txt -o answers
    """
    output.check()
    from softllama.study import feedback

    hint = "--prompts names a text file, or - for stdin"
    lines = None if prompts is None else [x for x in read_text(prompts, hint).split("\n") if x.strip()]
    if lines is not None and not lines:
        raise UsageError(f"{prompts!r} has no prompts", "one a line")
    model = options.load()
    run(
        lambda tick: [
            feedback.run(
                model,
                lines,
                seed=output.seed,
                steps=steps,
                tokens=tokens,
                with_layers=layers,
                quick=output.quick,
                tick=tick,
            )
        ],
        output,
        options.quiet,
        model,
    )


@command.command()
@click.option(
    "--cases", metavar="FILE", help='Your own: {"prompt": "The {} says", "a": "dog", "b": "cat"} in each line.'
)
@click.option("--text", metavar="FILE", help="Ordinary text for the price. Default: what the model samples.")
@click.option("--speed/--no-speed", default=True, show_default=True, help="Measure the processor time, too.")
@study_output
@model_options
def adapter(
    cases: str | None,
    text: str | None,
    speed: bool,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """With an adapter, does a mixture say what its words say on average, and what does that cost?

    \b
    softllama study adapter -m model.gguf --lora mix.lora.gguf -o answers
    softllama study adapter -m model.gguf --lora mix.lora.gguf --text book.txt --quick
    """
    output.check()
    from softllama.study import adapter, inputs

    if not options.lora:
        raise UsageError("the study needs an adapter", "--lora FILE; softllama adapt makes one")
    given = None if text is None else read_text(text, "--text names a text file, or - for stdin")
    if given is not None and not given.strip():
        raise UsageError(f"{text!r} has no text", "--text names a text file, or - for stdin")
    model = options.load()
    chosen = None if cases is None else inputs.read_cases(model, Path(cases))
    run(
        lambda tick: [
            adapter.run(model, chosen, seed=output.seed, text=given, speed=speed, quick=output.quick, tick=tick)
        ],
        output,
        options.quiet,
        model,
    )


@command.command()
@click.option("--pair", "pairs", multiple=True, metavar="NAME", help="sums or words. Default: all that are installed.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems only.")
@study_output
@model_options_with("the bundled pairs")
def thinking(
    pairs: tuple[str, ...],
    limit: int | None,
    output: StudyOutput,
    options: ModelOptions,
) -> None:
    """Does it help to think in mixtures? On the bundled pairs of models, or on yours; `softllama eval` asks your problems.

    \b
    softllama study thinking
    softllama study thinking --pair sums -o answers
    softllama study thinking -m model.gguf --quick
    """
    output.check()
    if options.model is None or (pairs and options.source):
        from softllama.study import answers, sizes

        n = sizes.QUICK_PROBLEMS if output.quick and limit is None else limit
        run(lambda tick: [answers.run(pairs, seed=output.seed, limit=n, tick=tick)], output, options.quiet)
        return
    if pairs:
        raise UsageError("--pair names bundled models, so it excludes --model")
    from softllama.study import thinking

    model = options.load()
    run(
        lambda tick: [thinking.run(model, seed=output.seed, limit=limit, quick=output.quick, tick=tick)],
        output,
        options.quiet,
        model,
    )


@command.command("all")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N problems of thinking only.")
@study_output
@model_options_with("the bundled ones")
def everything(limit: int | None, output: StudyOutput, options: ModelOptions) -> None:
    """All studies, on the bundled models or on one of yours.

    \b
    softllama study all -o answers                      answers/index.html has all of it
    softllama study all -m model.gguf --quick --brief
    """
    output.check()
    from softllama.study import everything as all_studies

    model = None if options.model is None else options.load()
    run(
        lambda tick: all_studies.run(model, seed=output.seed, limit=limit, quick=output.quick, tick=tick),
        output,
        options.quiet,
        model,
    )
