"""What `softllama run` does with --beams, --samples and --best-of: search, print the results and what they cost.

Knows the options and the output. Does not know how a search works.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from softllama.cli.generation_options import GenerationChoices
from softllama.cli.options import as_one_object
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.trace.record import Trace

SHOWN = 10  # results listed on stderr


@dataclass(frozen=True, kw_only=True)
class SearchChoices:
    """Which search was chosen, if any, and its size."""

    beams: int | None
    samples: int | None
    best_of: int | None
    extract: str | None
    text: str = ""  # a search that --policy names

    @property
    def chosen(self) -> bool:
        """Is there a search?"""
        return bool(self.text) or any(n is not None for n in (self.beams, self.samples, self.best_of))

    def taking(self, generation: GenerationChoices) -> tuple[SearchChoices, GenerationChoices]:
        """The choices, where --policy may name a search over several passes: then it is no policy any more."""
        from softllama.generation import search_text

        if generation.policy is None or not search_text.kind_of(generation.policy):
            return self, generation
        return replace(self, text=generation.policy), replace(generation, policy=None)

    def check(self, generation: GenerationChoices) -> None:
        """Raise UsageError, before a model is loaded, for options that exclude each other or are out of range."""
        from softllama.generation import search_text
        from softllama.policy import load_files

        sizes = {"--beams": self.beams, "--samples": self.samples, "--best-of": self.best_of}
        sizes_typed = {name: n for name, n in sizes.items() if n is not None}
        if self.text:
            sizes_typed[f"--policy {self.text}"] = 1
        if len(sizes_typed) > 1:
            raise UsageError(f"{' and '.join(sizes_typed)} exclude each other")
        if self.text:
            load_files(self.text)
            search_text.parse(self.text)
        for name, n in sizes_typed.items():
            if not 1 <= n <= 256:
                raise UsageError(f"{name} takes 1 to 256, not {n}")
        if self.extract is not None:
            if self.samples is None and search_text.kind_of(self.text) not in ("vote", "deepconf"):
                raise UsageError("--extract says how to find an answer to vote on, so it needs --samples")
            from softllama.generation import extract

            extract.rule(self.extract)
        if self.beams is not None:
            options = {"--policy": "policy", "--answer-policy": "answer", "--where": "where", "--seed": "seed"}
            for option, name in options.items():
                if getattr(generation, name) is not None:
                    raise UsageError(f"beam search has no policy or seed, so --beams excludes {option}")

    def run(self, model: Model, prompt: str, keywords: dict[str, Any], *, as_json: bool, quiet: bool) -> Trace:
        """Search; print the answer on stdout and the rest on stderr.

        Args:
            model: what to search with.
            prompt: its prompt.
            keywords: arguments of the search, n_ctx among them.
            as_json: print everything as JSON on stdout.
            quiet: print nothing on stderr.

        Returns:
            The record of the answer.
        """
        from softllama.show.progress import counting
        from softllama.terminal.live import AnswerPrinter
        from softllama.terminal.screen import Screen

        screen = Screen(quiet=quiet)
        with counting("searching", quiet):
            result, title, lines = self._results(model, prompt, keywords)
        if as_json:
            click.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
        else:
            text = result.answer if hasattr(result, "answer") else result.trace.text.strip()
            if text is not None:
                AnswerPrinter(screen, model.spell).end(("", text))
        screen.note(title)
        for line in lines[:SHOWN]:
            screen.cut(line)
        c = result.cost
        if (samples := getattr(result, "samples", None)) is not None:
            screen.note(f"seed {samples.seed}: --seed {samples.seed} draws the same samples again")
        screen.note(
            f"cost: {c.tokens} tokens generated, {c.evaluated} positions in {c.calls} batches, {c.seconds:.2f} s"
        )
        trace: Trace = result.trace
        return trace

    def _results(self, model: Model, prompt: str, keywords: dict[str, Any]) -> tuple[Any, str, list[str]]:
        """What the search returns, a title for its list, and the list."""
        from softllama.generation import search

        if self.text:
            wanted = search.parse(self.text)
            result = _or_what_there_is(search.run, model, prompt, wanted, extract=self.extract or "auto", **keywords)
            return result, self.text, _rows(result)
        if self.beams is not None:
            result = _or_what_there_is(search.beam, model, prompt, beams=self.beams, **keywords)
            lines = [f"{h.score:9.4f}  {_one_line(h.text)}" for h in result.hypotheses]
            return result, "hypotheses by ln p per token", lines
        if self.samples is not None:
            rule = self.extract or "auto"
            result = _or_what_there_is(
                search.self_consistency, model, prompt, samples=self.samples, extract=rule, **keywords
            )
            n_without = sum(a is None for a in result.answers)
            lines = [f"{n:4}  {_one_line(answer)}" for answer, n in result.votes.items()]
            return result, f"answers of {self.samples} samples, {n_without} without one", lines
        assert self.best_of is not None
        result = _or_what_there_is(search.best_of, model, prompt, n=self.best_of, **keywords)
        pairs = sorted(zip(result.samples.traces, result.samples.likelihoods, strict=True), key=lambda p: -p[1])
        lines = [f"{likelihood:9.4f}  {_one_line(t.text)}" for t, likelihood in pairs]
        return result, f"{self.best_of} samples by mean ln p of their answers", lines


def _or_what_there_is(search: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """What a search returns, or what it has when Ctrl-C ends it."""
    from softllama.generation.run import Interrupted

    try:
        return search(*args, **keywords)
    except Interrupted as e:
        return e.result


def _rows(result: Any) -> list[str]:
    """What a search found, best first: a row for each answer, hypothesis or sample."""
    if hasattr(result, "votes"):
        return [f"{n:9.4g}  {_one_line(answer)}" for answer, n in result.votes.items()]
    if hasattr(result, "hypotheses"):
        return [f"{h.score:9.4f}  {_one_line(h.text)}" for h in result.hypotheses]
    if hasattr(result, "notes"):
        return list(result.notes)
    pairs = zip(result.samples.traces, result.samples.likelihoods, strict=True)
    return [f"{x:9.4f}  {_one_line(t.text)}" for t, x in sorted(pairs, key=lambda p: -p[1])]


def _one_line(text: str) -> str:
    from softllama.show.printable import visible

    return visible(text.strip())[:100]


search_options = as_one_object(
    SearchChoices,
    "search",
    [
        click.option("--beams", type=int, metavar="N", help="Beam search with N beams, in tokens; prints the best."),
        click.option(
            "--samples", type=int, metavar="N", help="Self-consistency: the answer that most of N samples give."
        ),
        click.option("--best-of", type=int, metavar="N", help="The likeliest of N samples."),
        click.option(
            "--extract",
            metavar="RULE",
            help="With --samples: boxed, hash, number, choice, text, or a regular expression.",
        ),
    ],
    [f.name for f in fields(SearchChoices) if f.name != "text"],
)
