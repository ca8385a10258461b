"""softllama score"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options
from softllama.cli.options import MixtureChoices, as_one_object, mixture_options, read_system, read_text
from softllama.errors import SoftLlamaError, UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.generation.scoring import Score

PAIRS_FORM = 'each line is {"prompt": "...", "continuation": "..."}, or "continuations": ["...", ...]'
SHOWN = 50  # tokens of a text that the table shows


@dataclass(frozen=True, kw_only=True)
class What:
    """What is scored: the arguments, a text file, or a file of pairs."""

    words: tuple[str, ...]
    file: str | None
    pairs: str | None

    def read(self) -> tuple[list[tuple[Any, Any]], bool]:
        """(prompt, continuation) of each pair, and whether it is a text without a prompt."""
        given = [x for x in (self.words, self.file, self.pairs) if x]
        if len(given) > 1:
            raise UsageError("arguments, --file and --pairs exclude each other")
        if self.file:
            return [("", read_text(self.file, "--file names a text file, or - for stdin"))], True
        if self.pairs:
            return _pairs(read_text(self.pairs, PAIRS_FORM), self.pairs), False
        if len(self.words) < 2:
            raise UsageError(
                "a prompt and a continuation are needed",
                'softllama score "The capital of France is" " Paris" " Rome"; --file FILE for a whole text',
            )
        return [(self.words[0], c) for c in self.words[1:]], False


def _pairs(text: str, name: str) -> list[tuple[Any, Any]]:
    from softllama.base.files import from_json

    pairs = []
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = from_json(line)
            prompt = record["prompt"]
            many = record["continuations"] if "continuations" in record else [record["continuation"]]
            if not isinstance(prompt, str | list) or not all(isinstance(c, str | list) for c in many):
                raise ValueError("neither texts nor lists of ids")
        except (ValueError, KeyError, TypeError) as e:
            why = f"it has no {e}" if isinstance(e, KeyError) else e
            raise SoftLlamaError(f"{name}, line {n}: {why}", PAIRS_FORM) from None
        pairs += [(prompt, c) for c in many]
    if not pairs:
        raise SoftLlamaError(f"{name} has no pairs", PAIRS_FORM)
    return pairs


what_options = as_one_object(
    What,
    "what",
    [
        click.argument("words", nargs=-1, metavar="[PROMPT CONTINUATION...]"),
        click.option("--file", metavar="FILE", help="A text file, - for stdin: its perplexity."),
        click.option("--pairs", metavar="FILE", help='JSON lines: {"prompt": ..., "continuation": ...}, texts or ids.'),
    ],
    [f.name for f in fields(What)],
)


@click.command(cls=Command)
@what_options
@mixture_options
@click.option("--chat", is_flag=True, help="The prompt is the user's message in the model's chat template.")
@click.option("--system", metavar="TEXT|@FILE", help="The system message, with --chat.")
@click.option("--top", "n_top", type=int, default=0, metavar="N", help="Also the N likeliest tokens at each place.")
@click.option(
    "--stride",
    type=int,
    metavar="N",
    help="Tokens that each window after the first scores, where a text is longer than the context. Default: half of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each continuation.")
@model_options
def command(
    what: What,
    mixtures: MixtureChoices,
    chat: bool,
    system: str | None,
    n_top: int,
    stride: int | None,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """How likely a model finds a continuation, token by token; the perplexity of a text.

    \b
    softllama score "The capital of France is" " Paris" " Rome"
    softllama score "The {} says" " woof" " meow" --mix "dog:0.5,cat:0.5"
    softllama score -m model.gguf --file text.txt --n-ctx 2048
    softllama score -m model.gguf --pairs pairs.jsonl --json

    ln p is in nats, at temperature 1 and before any filter; logprob is its sum over a continuation. A mixture in a continuation
    counts as the mean of its tokens' ln p by their weights. What several pairs begin with is evaluated once. A text that is
    longer than the context goes through windows: each token has at least n_ctx minus stride tokens before it.
    """
    from softllama.show.progress import progress

    if n_top < 0:
        raise UsageError(f"--top must be 0 or more, not {n_top}")
    pairs, whole = what.read()
    mixtures.check_fed()
    prompt_system = read_system(system)
    model = options.load()
    for line in mixtures.notes() if not options.quiet else ():
        note(line)
    with progress(options.quiet) as tick:
        scores = model.score_pairs(
            pairs,
            **mixtures.keywords(),
            chat=chat,
            system=prompt_system,
            n_top=n_top,
            n_ctx=options.n_ctx or (model.n_ctx if whole else None),
            stride=stride,
            tick=lambda done, total: tick("windows", done, total),
        )
    if as_json:
        for s in scores:
            click.echo(json.dumps(s.to_dict(), ensure_ascii=False, allow_nan=False))
        return
    _show(model, pairs, scores, whole)


def _show(model: Model, pairs: list[tuple[Any, Any]], scores: list[Score], whole: bool) -> None:
    from softllama.show.console import console

    if whole:
        (s,) = scores
        windows = f", {s.windows} windows" if s.windows > 1 else ""
        click.echo(
            f"perplexity {s.perplexity:.4f}, {-s.logprob / max(1, len(s.items)):.4f} nats a token, {len(s.items):,} tokens{windows}"
        )
        return
    out = console()
    out.print(_summary(model, pairs, scores))
    if len(scores) == 1:
        out.print()
        out.print(_tokens(model, scores[0]))


def _summary(model: Model, pairs: list[tuple[Any, Any]], scores: list[Score]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from softllama.show.printable import visible

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("continuation")
    for name in ("logprob", "nats a token", "tokens", "greedy"):
        table.add_column(name, justify="right", no_wrap=True)
    best = max((s.logprob for s in scores), default=0.0)
    for (_, c), s in zip(pairs, scores, strict=True):
        text = visible(c if isinstance(c, str) else "".join(s.texts))
        style = "bold" if len(scores) > 1 and s.logprob == best else ""
        each = -s.logprob / len(s.items) if s.items else 0.0
        table.add_row(
            Text(text, style=style),
            f"{s.logprob:.4f}",
            f"{each:.4f}",
            str(len(s.items)),
            "yes" if s.is_greedy else "no",
        )
    return table


def _tokens(model: Model, s: Score) -> Any:
    import math

    from rich.table import Table
    from rich.text import Text

    from softllama.show.printable import visible

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("token", "ln p", "p", "greedy", "likeliest")[: 5 if any(x.top for x in s.items) else 4]:
        table.add_column(name, justify="left" if name in ("token", "likeliest") else "right")
    for x, text in zip(s.items[:SHOWN], s.texts, strict=False):
        top = ["  ".join(f"{visible(model.spell(i))} {lp:.2f}" for i, lp in x.top)] if x.top else []
        table.add_row(
            Text(visible(text)),
            f"{x.logp:.4f}",
            f"{math.exp(x.logp):.4g}",
            "yes" if x.greedy else "no",
            *map(Text, top),
        )
    if len(s.items) > SHOWN:
        table.add_row(Text(f"{len(s.items) - SHOWN:,} more: --json has them"))
    return table
