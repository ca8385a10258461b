"""The first question: what does a model make of a prompt that holds a mixture?

Puts a prompt, mixtures and a model together, runs the mixture beside its baselines, and keeps what came out. How it looks
is render.py's and plot.py's.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from softllama.base import arguments
from softllama.base import arguments as checks
from softllama.engine import branches, manifest
from softllama.engine.engine import Engine, checked
from softllama.errors import MixtureError, UsageError
from softllama.generation import continuation
from softllama.prompts import build, slots, words
from softllama.prompts.build import SlottedMessage
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.words import Component, Encoded, MixArgument, Resolved
from softllama.vectors import mixture as mx
from softllama.vectors.distribution import Distribution, average
from softllama.vectors.mixture import Mixture
from softllama.vectors.sweep import Sweep

MAX_BASELINES = 64  # components, or combinations of them, that run alone: the heaviest
MAX_SWEEP, MAX_CONTINUE = 10_001, 100_000
NUCLEUS = 0.95
MIXTURE, AVERAGE = "mixture", "average"


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What a model made of a prompt with mixtures.

    next: the distribution after the prompt. baselines: the same with one component alone in each place, by its label
    ("dog", or "dog+ball" where there are several mixtures); weights: how much of the mixture each is. average: the
    baselines' average by those weights, which is what one gets by sampling the tokens first; None for signed mixtures.
    covered: the weight that the baselines hold together (1 unless there are more than 64).
    """

    prompt: str
    mixtures: list[Resolved]
    next: Distribution
    baselines: dict[str, Distribution]
    weights: dict[str, float]
    average: Distribution | None
    covered: float
    sweep: Sweep | None
    continuations: dict[str, str]
    n_top: int
    tokens: list[str]
    _make_manifest: Any = field(repr=False)

    @property
    def heaviest(self) -> str:
        """The label of the baseline with the largest weight; the first among equals."""
        return max(self.weights, key=lambda k: self.weights[k])

    @cached_property
    def stray(self) -> float:
        """The mass that the mixture puts on tokens no component favours.

        A component favours the fewest tokens that hold 0.95 of its own distribution (its nucleus; Holtzman et al.,
        arXiv 1904.09751). So the average of the components has at most 0.05 outside.
        """
        favoured: set[int] = set()
        for d in self.baselines.values():
            order = np.argsort(-d.probs, kind="stable")
            n = int(np.searchsorted(np.cumsum(d.probs[order], dtype=np.float64), NUCLEUS)) + 1
            favoured.update(order[:n].tolist())
        p = self.next.probs.astype(np.float64)
        return float(max(0.0, p.sum() - p[sorted(favoured)].sum()))

    @property
    def third(self) -> bool:
        """Is the mixture's likeliest token that of none of its components?"""
        return self.next.argmax not in {d.argmax for d in self.baselines.values()}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """How this was made (softllama.engine.manifest). Reads the whole model file once, for its hash."""
        made: dict[str, Any] = self._make_manifest()
        return made

    def rows(self) -> list[tuple[str, float | None, Distribution]]:
        """(name, weight, distribution) of the mixture, each baseline, and the average."""
        out: list[tuple[str, float | None, Distribution]] = [(MIXTURE, None, self.next)]
        out += [(k, self.weights[k], d) for k, d in self.baselines.items()]
        if self.average is not None:
            out.append((AVERAGE, None, self.average))
        return out

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the distributions as their top tokens."""

        def show(d: Distribution) -> dict[str, Any]:
            top = [{"id": t.id, "text": t.text, "p": t.p} for t in d.top(self.n_top)]
            return {"entropy": d.entropy(), "js_to_mixture": d.js(self.next), "top": top}

        out: dict[str, Any] = {
            "prompt": self.prompt,
            "tokens": self.tokens,
            "mixtures": [
                {
                    "name": m.name,
                    "components": [
                        {"label": c.label, "weight": c.weight, "tokens": [[i, w] for i, w in c.mixture.top()]}
                        for c in m.components
                    ],
                }
                for m in self.mixtures
            ],
            "next": show(self.next),
            "baselines": {k: {"weight": self.weights[k], **show(d)} for k, d in self.baselines.items()},
            "average": None if self.average is None else show(self.average),
            "heaviest": self.heaviest,
            "covered": self.covered,
            "stray_mass": self.stray,
            "third_token": self.third,
        }
        if self.continuations:
            out["continuations"] = self.continuations
        if self.sweep is not None:
            s = self.sweep
            out["sweep"] = {
                "start": s.start,
                "end": s.end,
                "alphas": s.alphas.tolist(),
                "midpoint": s.midpoint,
                "js_start": s.js_start.tolist(),
                "js_end": s.js_end.tolist(),
                "entropy": s.entropy.tolist(),
                "curves": [
                    {
                        "id": c.id, "text": c.text, "p": c.p.tolist(), "midpoint": c.midpoint, "sharpness": c.sharpness,
                        "above": c.above, "below": c.below,
                    }
                    for c in s.curves
                ],
            }  # fmt: skip
        out["manifest"] = self.manifest
        return out

    def table(self, width: int = 100) -> str:
        """The result as text."""
        from softllama.show import console

        return console.to_text(console.probe(self), width)

    def csv(self) -> str:
        """The result as CSV: a line for each token of each distribution."""
        from softllama.show import console

        return console.probe_csv(self)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """A matplotlib figure; written to `path` (.png, .svg, .pdf) if given. Needs the extra `plot`."""
        from softllama.probe import plot

        return plot.probe(self, path)

    def __repr__(self) -> str:
        return f"ProbeResult({self.prompt!r}, top {self.next.top(1)[0].text!r}, {len(self.baselines)} baselines)"

    def _repr_html_(self) -> str:
        from softllama.show import console

        return console.probe_html(self)


def probe(
    model: Engine,
    prompt: str = "The {} says",
    mix: MixArgument = (),
    *,
    sweep: int | None = None,
    continue_: int = 0,
    chat: bool = False,
    system: str | None = None,
    normalize: bool = False,
    signed: bool = False,
    split: str | None = None,
    n_top: int = 5,
    n_ctx: int | None = None,
) -> ProbeResult:
    """Run a prompt whose places hold mixtures, beside each component alone.

    prompt: text with `{}` or `{name}` where a mixture goes. mix: the mixtures, as written ("dog:0.5,cat:0.5",
    "animal=dog:0.5,cat:0.5"), as Mixture, or a mapping from names to either. sweep: that many points from the first
    component (α = 0) to the others in their proportion (α = 1), of the first mixture. continue_: tokens to go on greedily.
    chat: the prompt is a user's message in the model's chat template, after `system`. normalize, signed, split: how to
    read mixtures. n_top: tokens to show. n_ctx: positions to allow.

    Raises MixtureError, PromptError, ModelError (no chat template), ContextError, UsageError.
    """

    checked(model)
    checks.whole_or_none("sweep", sweep)
    checks.whole("continue_", continue_)
    checks.whole("n_top", n_top)
    checks.whole_or_none("n_ctx", n_ctx)
    if sweep is not None and not 2 <= sweep <= MAX_SWEEP:
        raise UsageError(f"a sweep has 2 to {MAX_SWEEP} points, not {sweep}", "--sweep 21")
    if not 0 <= continue_ <= MAX_CONTINUE:
        raise UsageError(f"cannot continue for {continue_} tokens", "--continue 20")
    if not 1 <= n_top <= 1000:
        raise UsageError(f"cannot show {n_top} tokens", "--top takes 1 to 1000")
    if n_ctx is not None and n_ctx < 1:
        raise UsageError(f"n_ctx must be at least 1, not {n_ctx}")
    if system is not None and not chat:
        raise UsageError("a system message needs --chat")
    inputs = words.read_mixes(mix, split=split, signed=signed, normalize=normalize)
    if not inputs:
        raise MixtureError("no mixture was given", "add --mix dog:0.5,cat:0.5")
    parsed = slots.parse(arguments.check_text(prompt))
    which = slots.assign(parsed, [m.name for m in inputs])
    text = _chat_text(model, parsed, system) if chat else parsed
    encoded = words.encode(text, model.tokenizer)
    placed = build.resolved(encoded, which, inputs, model.tokenizer)
    mixtures = [placed[which.index(j)] for j in range(len(inputs))]
    combos, covered = _combinations(mixtures)

    fills = [[p.mixture for p in placed]]
    fills += [[placed[i].components[c[which[i]]].mixture for i in range(len(which))] for c in combos]
    alphas = np.linspace(0.0, 1.0, sweep) if sweep else np.empty(0)
    if sweep and len(mixtures[0].components) < 2:
        raise UsageError("a sweep needs a mixture of at least two components", 'such as --mix "dog:0.5,cat:0.5"')
    for a in alphas:
        fills.append(
            [_between(p.components, float(a), signed) if which[i] == 0 else p.mixture for i, p in enumerate(placed)]
        )

    at = encoded.first_slot
    rest = Encoded(encoded.items[at:], encoded.spaces, encoded.leads)
    tails = [words.items_with(rest, fill) for fill in fills]
    n_baselines = len(combos)
    labels = _distinct(["+".join(m.components[i].label for m, i in zip(mixtures, c, strict=True)) for c in combos])
    names_of_tails = ["the mixture", *(f"{k} alone" for k in labels), *(f"the sweep's α = {a:g}" for a in alphas)]
    results = branches.run(
        model,
        encoded.items[:at],
        tails,
        names=names_of_tails,
        then=continuation.greedy(model, continue_, 1 + n_baselines) if continue_ else None,
        n_ctx=n_ctx or model.n_ctx_given,
    )
    weights = [math.prod(m.components[i].weight for m, i in zip(mixtures, c, strict=True)) for c in combos]
    baselines = {k: r.next for k, r in zip(labels, results[1 : 1 + n_baselines], strict=True)}
    texts = {}
    if continue_:
        texts = {k: _text(model, r.continuation) for k, r in zip([MIXTURE, *labels], results, strict=False)}
    swept = None
    if sweep:
        first, *others = (c.label for c in mixtures[0].components)
        swept = Sweep(first, " + ".join(others), alphas, [r.next for r in results[1 + n_baselines :]])
    settings = {
        "prompt": prompt, "mix": _mix_texts(mix), "sweep": sweep,
        "continue": continue_, "chat": chat, "system": system, "normalize": normalize, "signed": signed, "split": split,
        "top": n_top,
    }  # fmt: skip
    return ProbeResult(
        prompt, mixtures, results[0].next, baselines, dict(zip(labels, weights, strict=True)),
        average(list(baselines.values()), weights) if min(weights) >= 0 and sum(weights) > 0 else None,
        covered, swept, texts, n_top, [model.spell(t) if t >= 0 else f"{{{parsed.slots[~t]}}}" for t in encoded.items],
        lambda: manifest.build(model, settings, n_ctx=n_ctx or model.n_ctx_given),
    )  # fmt: skip


def _mix_texts(mix: MixArgument) -> list[str]:
    """The mixtures of an argument as text, for the manifest."""
    if isinstance(mix, str | Mixture):
        return [str(mix)]
    return [str(m) for m in (mix.values() if isinstance(mix, Mapping) else mix)]


def _distinct(labels: list[str]) -> list[str]:
    """Labels by which results are found: "a+b" and "c" must differ from "a" and "b+c", and a word from a row's name."""
    out: list[str] = []
    for label in labels:
        name, n = f'"{label}"' if label in (MIXTURE, AVERAGE) else label, 2
        while name in out:
            name, n = f"{label} ({n})", n + 1
        out.append(name)
    return out


def _combinations(mixtures: list[Resolved]) -> tuple[list[tuple[int, ...]], float]:
    """The index of a component for each mixture, for the heaviest combinations; and the weight they hold together."""
    sizes = [len(m.components) for m in mixtures]
    if math.prod(sizes) <= MAX_BASELINES:
        return list(itertools.product(*map(range, sizes))), 1.0
    best: list[tuple[float, tuple[int, ...]]] = [(1.0, ())]
    for m in mixtures:  # the heaviest products of prefixes, which contain the heaviest products
        grown = [(w * abs(c.weight), (*i, j)) for w, i in best for j, c in enumerate(m.components)]
        best = sorted(grown, key=lambda x: (-x[0], x[1]))[:MAX_BASELINES]
    total = math.prod(sum(abs(c.weight) for c in m.components) for m in mixtures)
    return sorted(i for _, i in best), sum(w for w, _ in best) / total


def _between(components: Sequence[Component], a: float, signed: bool) -> Mixture:
    """(1-a) · the first component + a · the others in their own proportion."""
    first, others = components[0], components[1:]
    total = sum(c.weight for c in others)
    shares = [c.weight / total for c in others] if total > 0 else [1 / len(others)] * len(others)
    return mx.blend([first.mixture, *(c.mixture for c in others)], [1 - a, *(a * s for s in shares)], signed=signed)


def _chat_text(model: Engine, parsed: PromptTemplate, system: str | None) -> PromptTemplate:
    """The prompt as a user's message in the model's chat template. The thinking block stays as the template has it."""
    messages = [SlottedMessage.plain(build.SYSTEM, system)] if system else []
    text = build.rendered(model.chat_template, [*messages, SlottedMessage(build.USER, parsed)])
    if text.order != tuple(range(len(parsed.slots))):
        raise UsageError("the chat template changes the order of the slots", "use a raw prompt, without --chat")
    return text.text


def _text(model: Engine, ids: Sequence[int]) -> str:
    """A continuation as text, without the token that ended it."""
    return model.detokenize([i for i in ids if not model.is_eog(i)])
