"""softllama run"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.cli.options import complete_policy, load_model, model_options, read_text
from softllama.errors import PromptError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.trace.step import Step


@click.command()
@click.argument("prompt", required=False)
@click.option("--prompt", "prompt_option", metavar="TEXT", help="The prompt, if it is not the argument.")
@click.option("--prompt-file", metavar="FILE", help="The prompt from a file; - for stdin.")
@click.option(
    "--chat/--raw", default=None, help="With or without the model's chat template. Default: with, if it has one."
)
@click.option("--system", metavar="TEXT", help="The system message of a chat.")
@click.option("--template", metavar="FILE", help="A chat template (Jinja) in place of the model's.")
@click.option(
    "--mix", "mixes", multiple=True, metavar="MIX", help="A mixture for a place {} of the prompt, as in probe."
)
@click.option(
    "--policy",
    metavar="POLICY",
    shell_complete=complete_policy,
    help='Such as "soft_thinking:n=10,tau=0.01". `softllama policies` lists them.',
)
@click.option(
    "--answer-policy",
    metavar="POLICY",
    shell_complete=complete_policy,
    help="How the answer is decoded, if not as the policy says.",
)
@click.option("--where", type=click.Choice(["thinking", "everywhere"]), help="Where the policy acts.")
@click.option(
    "--max-tokens", type=int, default=512, show_default=True, metavar="N", help="Positions to generate at most."
)
@click.option("--seed", type=int, metavar="N", help="Of every random choice. Default: drawn, and reported.")
@click.option("--stop", "stops", multiple=True, metavar="TEXT", help="End the answer at this text; may be repeated.")
@click.option(
    "--think", type=click.Choice(["auto", "on", "off", "prompt"]), default="auto", show_default=True,
    help="Think before answering; prompt: ask for it in plain text.",
)  # fmt: skip
@click.option("--think-budget", type=int, metavar="N", help="Close the thinking block after N steps.")
@click.option("--think-tags", metavar="OPEN,CLOSE", help='The tags of a thinking block, such as "<think>,</think>".')
@click.option("--normalize", is_flag=True, help="Divide the weights of --mix by their sum.")
@click.option("--signed", is_flag=True, help="Allow any real weights in --mix.")
@click.option("--split", type=click.Choice(["first", "last", "mean"]), help="What a word of several tokens stands for.")
@click.option("--show-mixtures", is_flag=True, help="Show each step's tokens and weights on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="Print the record as it is made, a line for each step.")
@click.option(
    "--trace", "trace_file", metavar="FILE", help="Save the record (.jsonl or .npz); `softllama trace` shows it."
)
@click.option("--beams", type=int, metavar="N", help="Beam search with N beams, in tokens; the best is the answer.")
@click.option("--samples", type=int, metavar="N", help="Self-consistency: the answer that most of N samples give.")
@click.option("--best-of", type=int, metavar="N", help="The likeliest of N samples.")
@click.option(
    "--extract", metavar="RULE", help="With --samples: boxed, hash, number, choice, text, or a regular expression."
)
@model_options
def command(
    prompt: str | None,
    prompt_option: str | None,
    prompt_file: str | None,
    chat: bool | None,
    template: str | None,
    mixes: tuple[str, ...],
    answer_policy: str | None,
    stops: tuple[str, ...],
    show_mixtures: bool,
    as_json: bool,
    as_jsonl: bool,
    trace_file: str | None,
    beams: int | None,
    samples: int | None,
    best_of: int | None,
    extract: str | None,
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
    **options: Any,
) -> None:
    """Generate text, thinking in mixtures and answering in words.

    \b
    softllama run "Who is bigger, the dog or the cat?"
    softllama run -m model.gguf "What is 17 * 23?" --policy "soft_thinking:n=10,tau=0.01" --show-mixtures
    softllama run -m model.gguf --raw "Once upon a time" --policy full --max-tokens 100 --trace story.jsonl
    softllama run "What does the {} eat?" --mix "dog:0.5,cat:0.5"
    softllama run "Which is bigger, the cow or the hen?" --samples 16 --policy gumbel
    echo "What is the capital of France?" | softllama run -m model.gguf --think-budget 200 --json

    The answer goes to stdout; the thinking, as its readouts, dim to stderr. A policy is soft in the thinking block; a raw
    prompt has none, so there it acts everywhere.
    """
    from softllama.generation import prepare
    from softllama.generation.options import GenerationOptions
    from softllama.generation.run import collect, record

    if as_json and as_jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    if chat is False and template is not None:
        raise UsageError("--raw leaves the prompt as it is, so it excludes --template")
    if trace_file is not None:
        from softllama.trace.record import check_path

        check_path(trace_file)
    from softllama import policy as policies

    for written in (options["policy"], answer_policy):
        if written is not None:
            policies.parse(written)  # a typo is told before a large model is loaded
    from softllama.cli import search

    searching = search.check(beams, samples, best_of, extract, {**options, "answer": answer_policy})
    if searching and (as_jsonl or show_mixtures):
        raise UsageError("--jsonl and --show-mixtures show one generation, not a search", "--json, or --trace FILE")
    text = _prompt(prompt, prompt_option, prompt_file)
    loaded = load_model(model, n_ctx, n_gpu_layers, n_threads, lora, quiet)
    chosen = _template(loaded, template)
    if chat is None:
        chat = template is not None or bool(loaded.metadata.get("tokenizer.chat_template"))
        if not quiet:
            note(
                "prompt: in the model's chat template; --raw leaves it as it is"
                if chat
                else "prompt: raw, as the model has no chat template"
            )
    options |= {"mix": list(mixes), "chat": chat, "template": chosen, "answer": answer_policy, "stop": stops}
    if searching:
        trace = search.run(loaded, text, beams, samples, best_of, extract, as_json, quiet, n_ctx, options)
        if trace_file is not None:
            trace.save(trace_file)
        if trace.stop_reason == "interrupted":
            raise KeyboardInterrupt
        return
    o = GenerationOptions(**options)
    g = prepare.prepare(loaded, text, o)
    if not quiet:
        why = "" if options["policy"] else ", " + prepare.default_policy(loaded, g.thinking)[1]
        note(f"policy: {g.policy!r}{why}; seed {g.seed}")
    show = _Show(loaded, as_json or as_jsonl, show_mixtures, quiet)
    if as_jsonl:
        click.echo(json.dumps(record(loaded, g).header(), ensure_ascii=False))
        show.lines = True
    from softllama.generation.loop import run

    trace = collect(loaded, g, run(loaded, [g], n_ctx=n_ctx), show)
    show.end(trace.tail)
    if as_json:
        click.echo(json.dumps(trace.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    elif as_jsonl:
        click.echo(json.dumps(trace.footer(), ensure_ascii=False, allow_nan=False))
    if trace_file is not None:
        trace.save(trace_file)
    if not quiet:
        note(
            f"{trace.n_thinking} thinking + {trace.n_answer} answer tokens, {trace.n_soft} soft, "
            f"mean entropy {trace.mean_entropy:.2f} nats, {trace.effective_tokens:.1f} tokens in a mixture, "
            f"{trace.tokens_per_second:.0f} tokens/s; {trace.stop_text}"
        )
    if trace.stop_reason == "interrupted":
        raise KeyboardInterrupt


class _Show:
    """Prints steps as they come: the answer on stdout, thinking and mixtures on stderr."""

    def __init__(self, model: Model, silent: bool, mixtures: bool, quiet: bool) -> None:
        from softllama.trace.record import stepper

        self.model, self.silent, self.mixtures, self.quiet = model, silent, mixtures, quiet
        self.lines = False
        self.record = stepper(model.spell)
        self.wrote = self.thought = self.after_thinking = False

    def __call__(self, step: Step) -> None:
        if self.lines:
            click.echo(json.dumps(self.record(step), ensure_ascii=False, allow_nan=False))
        if self.mixtures:
            self._mixture(step)
        if self.silent:
            return
        if step.thinking:
            self.after_thinking = True
            if not self.quiet and not self.mixtures and step.text:
                click.secho(step.text, err=True, dim=True, nl=False)
                self.thought = True
        elif step.text:
            self._answer(step.text)

    def _answer(self, text: str) -> None:
        if self.thought:
            click.echo(err=True)
            self.thought = False
        if not self.wrote and self.after_thinking:
            text = text.lstrip()  # the white space that templates put between the block and the answer
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self.wrote = True

    def _mixture(self, step: Step) -> None:
        from softllama.show.console import visible

        if step.mode == "soft":
            parts = [f"{visible(self.model.spell(i))} {w:.3f}" for i, w in step.mixture.top(5)]
            more = len(step.mixture) - len(parts)
            shown = "  ".join(parts) + (f"  + {more} more" if more > 0 else "")
        else:
            shown = visible(self.model.spell(step.token)) + (f"  ({step.why})" if step.forced else "")
        click.secho(f"{step.index:5} {step.mode:6} H {step.entropy:5.2f}  {shown}", err=True, dim=True)

    def end(self, tail: tuple[str, str]) -> None:
        """What was held back, and the last newline."""
        if self.silent:
            return
        if tail[0] and not self.quiet:
            click.secho(tail[0], err=True, dim=True, nl=False)
            self.thought = True
        if tail[1]:
            self._answer(tail[1])
        if self.thought:
            click.echo(err=True)
        if self.wrote:
            click.echo()


def _prompt(argument: str | None, option: str | None, file: str | None) -> str:
    given = [x for x in (argument, option, file) if x is not None]
    if len(given) > 1:
        raise UsageError("the prompt is given twice", "as an argument, with --prompt, or with --prompt-file")
    if file is not None:
        return read_text(file)
    if given:
        return read_text("-") if argument == "-" else given[0]
    text = "" if sys.stdin is None or sys.stdin.isatty() else read_text("-")
    if not text:
        raise PromptError("no prompt was given", 'softllama run "Once upon a time"')
    return text


def _template(model: Model, path: str | None) -> Any:
    if path is None:
        return None
    from softllama.llama.template import ChatTemplate

    spell = {
        k: "" if i is None else model.spell(i) for k, i in (("bos", model.tokenizer.bos), ("eos", model.tokenizer.eos))
    }
    return ChatTemplate(read_text(path, "--template names a file with a chat template"), **spell)
