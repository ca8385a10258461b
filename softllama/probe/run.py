"""`probe`: run a prompt whose slots hold mixtures, beside the same prompt with single tokens.

Puts a prompt, mixtures and a model together. What the results are is data.py's, how they look view.py's and plot.py's.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments, tables
from softllama.base.files import save_as
from softllama.engine import branches, manifest, noise
from softllama.engine.branches import Branch, Continuation
from softllama.engine.engine import Engine, checked
from softllama.errors import UsageError
from softllama.probe import alternatives, frames
from softllama.probe.data import COLUMNS, MIXTURE, ProbeData
from softllama.probe.inputs import Filling, check, check_chat, combinations, distinct, mix_texts, watched
from softllama.prompts import words
from softllama.prompts.encoded import Encoded, items_with
from softllama.prompts.words import MixArgument, Resolved
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.sweep import Sweep


class ProbeResult(ProbeData):
    """The results of a probe: see `ProbeData` for the fields. In a notebook it shows itself."""

    def table(self, width: int = 100) -> str:
        """The results as text of that many columns."""
        from softllama.probe import view
        from softllama.show import console

        return console.to_text(view.table(self), width)

    def show(self) -> None:
        """Print the results as the command line does."""
        from softllama.probe import view
        from softllama.show import console

        console.console().print(view.table(self))

    def csv(self) -> str:
        """The results as CSV: a line for each token of each distribution."""
        from softllama.probe import view

        return view.csv(self)

    def json(self) -> str:
        """The results as JSON text: `to_dict`."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2, allow_nan=False)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib figure; written to `path` (.png, .svg, .pdf) if that is given. Needs the extra `plot`."""
        from softllama.probe import plot

        return plot.figure(self, path)

    def page(self, command: str = "") -> str:
        """The results as one HTML page that needs nothing else. command: the command line that repeats it."""
        from softllama.probe import page

        return page.report(self, command).page()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the results: .json, .csv, a page (.html), or a picture (.png, .svg, .pdf).

        Raises:
            UsageError: the name has another suffix.
            SoftLlamaError: the file cannot be written, or matplotlib is not installed.
        """
        from softllama.probe import plot

        if arguments.path(path).suffix.lower() in plot.FORMATS:
            self.plot(path)
            return
        forms: dict[str, Callable[[], str | bytes]] = {
            ".json": lambda: self.json() + "\n",
            ".csv": self.csv,
            ".html": self.page,
        }
        save_as(path, "a probe", {**forms, **dict.fromkeys(plot.FORMATS, str)})

    def to_dataframe(self) -> Any:
        """A pandas DataFrame with a row for each token of each distribution, and for each continuation.

        The columns are those of the CSV: kind, name, weight, alpha, rank, token_id, token, p, entropy (nats),
        js_to_mixture (nats).

        Raises:
            SoftLlamaError: pandas is not installed.
        """
        return tables.dataframe(COLUMNS, self.token_rows())

    def __repr__(self) -> str:
        return f"ProbeResult({self.prompt!r}, top {self.next.top(1)[0].text!r}, {len(self.baselines)} baselines)"

    def _repr_html_(self) -> str:
        from softllama.probe import view

        return view.html(self)


@dataclass(frozen=True)
class _Options:
    """What `probe` was asked for, beside the prompt and the mixtures."""

    sweep: int | None
    continue_tokens: int
    signed: bool
    n_top: int
    n_ctx: int | None
    repeats: int
    watch: tuple[int, ...] = ()


def probe(
    model: Engine,
    prompt: str | None = None,
    mix: MixArgument = (),
    *,
    sweep: int | None = None,
    continue_tokens: int = 0,
    chat: bool = False,
    system: str | None = None,
    normalize: bool = False,
    signed: bool = False,
    split: str | None = None,
    n_top: int = 5,
    n_ctx: int | None = None,
    repeats: int = 1,
    watch: str | None = None,
    parse_special: bool = False,
) -> ProbeResult:
    """Run a prompt whose slots hold mixtures, beside the same prompt with each component alone.

    Args:
        model: the model.
        prompt: text with `{}` or `{name}` where a mixture goes. None: of a few, the one in which the words differ most.
        mix: mixtures as text ("dog:0.5,cat:0.5", "animal=dog:0.5,cat:0.5") or as Mixture; or a mapping from names to them.
        sweep: how many points from the first component (α = 0) to the others in their proportion (α = 1), of the first
            mixture; 2 to 10001. None for no sweep.
        continue_tokens: how many tokens the mixture and each component are continued by, greedily.
        chat: put the prompt through the model's chat template, as the user's message.
        system: the system message, with chat.
        normalize, signed, split: how mixtures that are text are read (`Model.mix`); "alternatives": see `probe.alternatives`.
        n_top: how many tokens of each distribution are shown, 1 to 1000.
        n_ctx: positions of the context; None for what the model was loaded with.
        repeats: average over so many copies, each with its mixtures moved by 1e-5, 1 to 64: less of the noise of rounding.
        watch: tokens to follow, by name ("Paris,Berlin"): each word is the token that follows a space.
        parse_special: with chat, the text of a control token in the prompt is that token; else it is plain text.

    Raises:
        MixtureError: a mixture is wrong, or there is none.
        PromptError: the slots and the mixtures do not fit each other.
        ModelError: the model has no chat template.
        ContextError: the prompt does not fit into the context.
        UsageError: another argument is wrong.
    """
    checked(model)
    check(sweep, continue_tokens, n_top, n_ctx, repeats)
    check_chat(chat, system, parse_special)
    inputs = words.read_mixes(mix, split=split, signed=signed, normalize=normalize)
    tried = frames.choose(model, inputs, chat=chat, system=system) if prompt is None else {}
    prompt = next(iter(tried)) if prompt is None else prompt
    filling = Filling.of(model, prompt, inputs, chat=chat, system=system, parse_special=parse_special)
    settings = {"prompt": prompt, "mix": mix_texts(mix), "sweep": sweep, "continue": continue_tokens, "chat": chat}
    settings |= {"system": system, "normalize": normalize, "signed": signed, "split": split, "top": n_top}
    settings |= {"repeats": repeats, "watch": watch, "parse_special": parse_special}
    options = _Options(
        sweep, continue_tokens, signed, n_top, n_ctx or model.n_ctx_given, repeats, watched(model, watch)
    )
    return _result(model, filling, settings, options, tried)


def _result(
    model: Engine, filling: Filling, settings: dict[str, Any], options: _Options, tried: dict[str, float]
) -> ProbeResult:
    """Run everything, and put the results together. settings: of `probe`, for the manifest. tried: see `ProbeData.frames`."""
    combos, covered = combinations(filling.mixtures)
    alphas = np.linspace(0.0, 1.0, options.sweep or 0)  # (sweep,)
    labels = distinct(["+".join(c.label for c in filling.chosen(combo)) for combo in combos])
    results = _run(model, filling, combos, labels, alphas, options)
    floor = noise.floor(model).averaged(options.repeats)
    n = 1 + len(combos)
    weights = [math.prod(c.weight for c in filling.chosen(combo)) for combo in combos]
    baselines = {k: r.next for k, r in zip(labels, results[1:n], strict=True)}
    ids = [[i for i in r.continuation if not model.is_eog(i)] for r in results[:n]]  # without the token that ended it
    texts = {k: model.detokenize(i) for k, i in zip((MIXTURE, *labels), ids, strict=True)}
    if filling.alternatives:  # an average has no tokens to go on with
        del texts[MIXTURE]
    points = [r.next for r in results[n:]]
    is_mixed = not filling.alternatives and min(weights) >= 0 and sum(weights) > 0
    return ProbeResult(
        prompt=settings["prompt"],
        mixtures=filling.mixtures,
        next=results[0].next,
        baselines=baselines,
        weights=dict(zip(labels, weights, strict=True)),
        average=average(list(baselines.values()), weights) if is_mixed else None,
        weight_covered=covered,
        sweep=_sweep(filling.mixtures[0], alphas, points, floor, options.watch) if points else None,
        continuations=texts if options.continue_tokens else {},
        alternatives=filling.alternatives,
        model=model.name,
        n_top=options.n_top,
        tokens=filling.tokens(model),
        noise=floor,
        repeats=options.repeats,
        watched=options.watch,
        frames=tried,
        make_manifest=lambda: manifest.build(model, settings, n_ctx=options.n_ctx),
    )


def _run(
    model: Engine,
    filling: Filling,
    combos: Sequence[Sequence[int]],
    labels: Sequence[str],
    alphas: NDArray[np.float64],
    options: _Options,
) -> list[Branch]:
    """The branches of the mixture, of each combination, and of each point of the sweep, in this order.

    What is before the first slot is computed once. The first two kinds are continued. Repeats of all come after all, so that
    the first copies are what they are without.
    """
    if len(alphas) and len(filling.mixtures[0].components) < 2:
        raise UsageError("a sweep needs a mixture of at least two components", 'such as --mix "dog:0.5,cat:0.5"')
    if filling.alternatives:
        steps, repeats, n_ctx = options.continue_tokens, options.repeats, options.n_ctx
        return alternatives.results(model, filling, combos, labels, alphas, steps=steps, repeats=repeats, n_ctx=n_ctx)
    between = (filling.between(float(a), options.signed) for a in alphas)
    fills = [filling.mixed(), *map(filling.alone, combos), *between]
    encoded, at = filling.encoded, filling.encoded.first_slot
    rest = Encoded(encoded.items[at:], encoded.spaces, encoded.leads)
    copies = [[noise.perturbed(model, m, i) for m in fill] for i in range(options.repeats) for fill in fills]
    names = ["the mixture", *(f"{k} alone" for k in labels), *(f"the sweep's α = {a:g}" for a in alphas)]
    results = branches.run(
        model,
        encoded.items[:at],
        [items_with(rest, fill) for fill in copies],
        names=names * options.repeats,
        then=_greedy(model, options.continue_tokens, 1 + len(combos)),
        n_ctx=options.n_ctx,
    )
    if options.repeats == 1:
        return results
    n, equal = len(fills), [1.0] * options.repeats
    return [replace(r, next=average([c.next for c in results[i::n]], equal)) for i, r in enumerate(results[:n])]


def _greedy(model: Engine, steps: int, count: int) -> Continuation | None:
    """How the first branches go on."""
    if not steps:
        return None
    from softllama.generation import continuation  # the loop, which a probe alone does not need

    return continuation.greedy(model, steps, count)


def _sweep(
    mixture: Resolved,
    alphas: NDArray[np.float64],
    points: list[Distribution],
    floor: NoiseFloor,
    watch: tuple[int, ...],
) -> Sweep:
    """The sweep of a mixture; points[i] is the distribution at alphas[i]."""
    first, *others = (c.label for c in mixture.components)
    return Sweep(first, " + ".join(others), alphas, points, floor, watch)
