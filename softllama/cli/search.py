"""What `softllama run` does with --beams, --samples and --best-of: search, print what was found and what it cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from softllama.cli import note
from softllama.errors import UsageError
from softllama.generation import extract, search
from softllama.show.printable import visible

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.trace.record import Trace


def check(
    beams: int | None, samples: int | None, best_of: int | None, rule: str | None, options: dict[str, Any]
) -> bool:
    """Is one of them asked for? Raises UsageError, before a model is loaded, for what does not go together."""
    asked = [n for n, v in (("--beams", beams), ("--samples", samples), ("--best-of", best_of)) if v is not None]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} exclude each other")
    for name, value in (("--beams", beams), ("--samples", samples), ("--best-of", best_of)):
        if value is not None and not 1 <= value <= 256:
            raise UsageError(f"{name} takes 1 to 256, not {value}")
    if rule is not None:
        if samples is None:
            raise UsageError("--extract says how to find an answer to vote on, so it needs --samples")
        extract.rule(rule)
    if beams is not None:
        for name in ("policy", "answer", "where", "seed"):
            if options.get(name) is not None:
                raise UsageError(f"beam search has no policy or seed, so --beams excludes --{name}")
    return bool(asked)


def run(
    model: Model,
    prompt: str,
    beams: int | None,
    samples: int | None,
    best_of: int | None,
    rule: str | None,
    as_json: bool,
    quiet: bool,
    n_ctx: int | None,
    options: dict[str, Any],
) -> Trace:
    """Search, print the answer on stdout and the rest on stderr, and return the record of the answer."""
    result: Any
    if beams is not None:
        rest = {k: v for k, v in options.items() if k not in ("policy", "answer", "where", "seed")}
        result = search.beam(model, prompt, beams=beams, n_ctx=n_ctx, **rest)
        lines = [f"{h.score:9.4f}  {_short(h.text)}" for h in result.hypotheses]
        about = "hypotheses by ln p a token"
    elif samples is not None:
        result = search.self_consistency(model, prompt, samples=samples, extract=rule or "auto", n_ctx=n_ctx, **options)
        lines = [f"{n:4}  {_short(answer)}" for answer, n in result.votes.items()]
        about = f"answers of {samples} samples, {sum(a is None for a in result.answers)} without one"
    else:
        assert best_of is not None
        result = search.best_of(model, prompt, n=best_of, n_ctx=n_ctx, **options)
        lines = [f"{s:9.4f}  {_short(t.text)}" for t, s in _ranked(result)]
        about = f"{best_of} samples by mean ln p of their answers"
    if as_json:
        click.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        text = result.answer if samples is not None else result.trace.text.strip()
        if text is not None:
            click.echo(text)
    if not quiet:
        note(about)
        for line in lines[:10]:
            note(line)
        c = result.cost
        note(f"cost: {c.tokens} tokens generated, {c.evaluated} positions in {c.calls} batches, {c.seconds:.2f} s")
    trace: Trace = result.trace
    return trace


def _short(text: str) -> str:
    return visible(text.strip())[:100]


def _ranked(result: Any) -> list[tuple[Any, float]]:
    pairs = zip(result.samples.traces, result.samples.likelihoods, strict=True)
    return sorted(pairs, key=lambda p: -p[1])
