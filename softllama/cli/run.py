"""softllama run"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.cli.generation_options import GenerationChoices, generation_options
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import MixtureChoices, as_one_object, mixture_options, option, read_text
from softllama.cli.run_output import OutputChoices, output_options, print_json
from softllama.cli.search import SearchChoices, search_options
from softllama.errors import EmptyAnswerError, PromptError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.trace.record import Trace


@dataclass(frozen=True, kw_only=True)
class PromptChoices:
    """Where the prompt comes from: the argument, --prompt or --prompt-file. chat: None for what the model has.

    words: the arguments, which may also name the model.
    """

    words: tuple[str, ...]
    prompt_option: str | None
    prompt_file: str | None
    chat: bool | None

    def read(self, argument: str | None) -> str:
        """The prompt. Raises UsageError if there are several, PromptError if there is none or it cannot be read.

        argument: the prompt among the words.
        """
        prompts = [x for x in (argument, self.prompt_option, self.prompt_file) if x is not None]
        if len(prompts) > 1:
            raise UsageError("the prompt is given twice", "as an argument, with --prompt, or with --prompt-file")
        if self.prompt_file is not None:
            return read_text(self.prompt_file)
        if prompts:
            return read_text("-") if argument == "-" else prompts[0]
        text = "" if sys.stdin is None or sys.stdin.isatty() else read_text("-")
        if not text:
            raise PromptError(
                "no prompt was given", 'softllama run "Once upon a time"; softllama chat asks for each message'
            )
        return text


prompt_options = as_one_object(
    PromptChoices,
    "source",
    [
        click.argument("words", nargs=-1, metavar="[MODEL] [PROMPT]"),
        option(
            "--prompt",
            "prompt_option",
            other_names=["-p"],
            metavar="TEXT",
            help="The prompt, if it is not the argument.",
        ),
        option("--prompt-file", other_names=["-f"], metavar="FILE", help="The prompt from a file; - for stdin."),
        click.option(
            "--chat/--raw", default=None, help="With or without the chat template. Default: with, if the model has one."
        ),
    ],
    [f.name for f in fields(PromptChoices)],
)


@click.command(cls=Command)
@prompt_options
@mixture_options
@generation_options(max_tokens=512, think="auto", in_plain_text=True)
@output_options
@search_options
@model_options
def command(
    source: PromptChoices,
    mixtures: MixtureChoices,
    generation: GenerationChoices,
    output: OutputChoices,
    search: SearchChoices,
    options: ModelOptions,
) -> None:
    """Generate text, thinking in mixtures and answering in words.

    \b
    softllama run "Who is bigger, the dog or the cat?"
    softllama run model.gguf "Once upon a time" --raw --max-tokens 50
    softllama run -m model.gguf "What is 17 * 23?" --policy "soft_thinking:n=10,tau=0.01" --show-mixtures
    softllama run -m model.gguf --raw "Once upon a time" --policy full --max-tokens 100 --trace story.npz
    softllama run "What does the {} eat?" --mix "dog:0.5,cat:0.5"
    softllama run "Which is bigger, the cow or the hen?" --samples 16 --policy gumbel
    echo "What is the capital of France?" | softllama run -m model.gguf --think-budget 200 --json

    The answer goes to stdout, the thinking (its readouts) dim to stderr. A policy is soft in the thinking block. A raw
    prompt has no thinking block, so there the policy acts everywhere. A quarter of --max-tokens, and 512 at most, is kept for
    the answer: then the thinking is closed. If the answer is empty, stderr says why, and the exit code is 3.
    """
    from softllama.generation import advice
    from softllama.generation.run import no_answer

    search, generation = search.taking(generation)
    _check(source, generation, output, search)
    options, prompt_argument = options.split(source.words)
    mixtures.check_fed()
    prompt, template = source.read(prompt_argument), generation.template_text()
    model = options.load()
    if model.diffusion and not search.chosen and generation.policy is None:
        search = replace(search, text="diffusion")  # nothing else decodes it
    for text in () if options.quiet else [*mixtures.notes(), *mixtures.slots_left(prompt)]:
        note(text)
    keywords = {
        **mixtures.keywords(),
        **generation.keywords(),
        "system": generation.system_text(),
        **({} if output.every is None else {"lens": output.every}),
        **_chat_keywords(model, source.chat, template, options.quiet),
    }
    if not options.quiet and (
        line := advice.thinks_anyway(model, keywords["chat"], template, generation.think, generation.think_tags)
    ):
        note(line)
    keywords = _with_thinking(model, prompt, keywords, options.quiet)
    if search.chosen:
        keywords["n_ctx"] = options.n_ctx
        trace = search.run(model, prompt, keywords, as_json=output.as_json, quiet=options.quiet)
    else:
        trace = _generate(model, prompt, keywords, output, options)
    if output.trace_file is not None:
        trace.save(output.trace_file)
    if trace.stop_reason == "interrupted":
        raise KeyboardInterrupt
    if why := no_answer(trace):
        raise EmptyAnswerError(f"the answer is empty: {why}", _way_out(trace, bool(keywords["chat"])))


def _check(source: PromptChoices, generation: GenerationChoices, output: OutputChoices, search: SearchChoices) -> None:
    """Raise UsageError, before any work, for options that exclude each other."""
    output.check()
    if source.chat is False and generation.template is not None:
        raise UsageError("--raw leaves the prompt as it is, so it excludes --template")
    generation.check()
    search.check(generation)
    if search.chosen and (output.as_jsonl or output.show_mixtures or output.lens):
        raise UsageError(
            "--jsonl, --show-mixtures and --lens show one generation, not a search", "--json, or --trace FILE"
        )


def _chat_keywords(model: Model, chat: bool | None, template: str | None, quiet: bool) -> dict[str, Any]:
    """`chat` and `template` for the library. What was not typed is chosen, and reported."""
    if chat is None:
        chat = template is not None or bool(model.template_source)
        if not quiet:
            note(
                "prompt: in the model's chat template; --raw leaves it as it is"
                if chat
                else "prompt: raw, as the model has no chat template"
            )
    return {"chat": chat, "template": template}


def _way_out(trace: Trace, chat: bool) -> str:
    """What to type after an empty answer."""
    if trace.n_thinking:
        return (
            "--max-tokens N gives more room, --think-budget N closes the thinking earlier, --think off does without it"
        )
    return "--seed N or another --policy" if chat else "another prompt; --chat puts it into the model's chat template"


def _with_thinking(model: Model, prompt: str, keywords: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """The keywords, with thinking in plain text where the policy that was typed would have no block to act in."""
    if "policy" not in keywords:
        return keywords
    from softllama.generation import prepare
    from softllama.generation.options import GenerationOptions

    options = GenerationOptions(**keywords)
    g = prepare.prepare(model, prompt, options)
    if not prepare.never_acts(g):
        return keywords
    why = prepare.no_block(model, g.policy, options.think)
    if options.think == "auto":
        keywords = {**keywords, "think": "prompt"}
        why += ": the model is asked to think in plain text (--think prompt)"
    if not quiet:
        note(f"{why}; --where everywhere mixes the whole answer")
    return keywords


def _generate(
    model: Model, prompt: str, keywords: dict[str, Any], output: OutputChoices, options: ModelOptions
) -> Trace:
    """Generate, and print steps as they are made; returns the record."""
    from softllama.chat.messages import details_of
    from softllama.generation import advice, loop, prepare
    from softllama.generation.options import GenerationOptions
    from softllama.generation.run import collect, record
    from softllama.terminal.format import answer_numbers, warnings

    g = prepare.prepare(model, prompt, GenerationOptions(**keywords))
    if not options.quiet:
        why = "" if "policy" in keywords else ", " + prepare.default_policy(model, g.thinking)[1]
        note(f"policy: {g.policy!r}{why}; seed {g.seed}")
        if line := advice.small_model(model, g.policy, "softllama study thinking -m MODEL compares them"):
            note(line)
    if output.as_jsonl:
        print_json(record(model, g).header())
    each, end = output.printers(model, options.quiet, whole=keywords.get("keep") == "all")
    trace = collect(model, g, loop.run(model, [g], n_ctx=options.n_ctx), each)
    end(trace.tail)
    if output.as_json:
        print_json(trace.to_dict(), indent=2)
    elif output.as_jsonl:
        print_json(trace.footer())
    if not options.quiet:
        note(answer_numbers({**details_of(trace), "stop_reason": trace.stop_text}))
        for warning in warnings(trace.degenerations, g.options.on_loop):
            note(warning)
        output.show_layers(trace)
    return trace
