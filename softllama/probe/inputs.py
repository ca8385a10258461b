"""What fills the slots of a probe's prompt: its mixtures, their components alone, and the points of a sweep.

Knows the prompt and the vocabulary. Runs nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import MixtureError, UsageError
from softllama.probe.data import AVERAGE, MIXTURE
from softllama.prompts import slots as prompts
from softllama.prompts import words
from softllama.prompts.words import Component, Encoded, Resolved
from softllama.vectors import mixture as mx
from softllama.vectors.mixture import Mixture

MAX_BASELINES = 64  # components, or combinations of them, that run alone: the heaviest

Mix: TypeAlias = str | Mixture | Mapping[str, str | Mixture] | Sequence[str | Mixture]


@dataclass(frozen=True, kw_only=True)
class Filling:
    """A prompt as tokens with slots, and what fills them.

    which: the index of a mixture for each slot. placed: that mixture as it is read in the slot: a word at the start of a
    prompt is another token than one inside. mixtures: as they are read in the first slot of each.
    """

    encoded: Encoded
    names: tuple[str, ...]
    which: list[int]
    placed: list[Resolved]
    mixtures: list[Resolved]

    @classmethod
    def of(
        cls,
        model: Engine,
        prompt: str,
        named: list[tuple[str, str | Mixture]],
        chat: bool,
        system: str | None,
        normalize: bool,
        signed: bool,
        split: str | None,
    ) -> Filling:
        """Read prompt and mixtures. named: as from `as_list`."""
        if not named:
            raise MixtureError("no mixture was given", "add --mix dog:0.5,cat:0.5")
        specs = [m if isinstance(m, Mixture) else mx.parse(m, signed=signed, normalize=normalize) for _, m in named]
        names = [n or ("" if isinstance(s, Mixture) else s.name) for (n, _), s in zip(named, specs, strict=True)]
        arguments.check_text(prompt)
        parsed = prompts.parse(prompt)
        which = prompts.assign(parsed, names)
        encoded = _encode_chat(model, parsed, system) if chat else words.encode(parsed, model.tokenizer)

        def resolve(slot: int) -> Resolved:
            spec, name = specs[which[slot]], names[which[slot]]
            if isinstance(spec, Mixture):
                return words.from_mixture(spec, model.tokenizer, name)
            space, lead = encoded.spaces[slot], encoded.leads[slot]
            return words.resolve(
                spec, model.tokenizer, space=space, lead=lead, split=split, signed=signed, normalize=normalize
            )

        placed = [resolve(i) for i in range(len(which))]
        mixtures = [placed[which.index(j)] for j in range(len(specs))]
        return cls(encoded=encoded, names=parsed.places, which=which, placed=placed, mixtures=mixtures)

    def chosen(self, combo: Sequence[int]) -> list[Component]:
        """The component of each mixture that a combination names."""
        return [m.components[i] for m, i in zip(self.mixtures, combo, strict=True)]

    def mixed(self) -> list[Mixture]:
        """Each slot with its mixture."""
        return [p.mixture for p in self.placed]

    def alone(self, combo: Sequence[int]) -> list[Mixture]:
        """Each slot with one component of its mixture."""
        return [p.components[combo[j]].mixture for p, j in zip(self.placed, self.which, strict=True)]

    def between(self, alpha: float, signed: bool) -> list[Mixture]:
        """Each slot with its mixture, and those of the first mixture with a point of its sweep."""
        return [
            p.mixture if j else _between(p.components, alpha, signed)
            for p, j in zip(self.placed, self.which, strict=True)
        ]

    def tokens(self, model: Engine) -> list[str]:
        """The prompt's tokens as text, with the slots in braces."""
        return [model.spell(t) if t >= 0 else f"{{{self.names[~t]}}}" for t in self.encoded.items]


def as_list(mix: Mix) -> list[tuple[str, str | Mixture]]:
    """The mixtures of a probe with their names, "" where they have none."""
    if isinstance(mix, str | Mixture):
        return [("", mix)]
    if not isinstance(mix, Mapping | Sequence) and mix is not None:
        raise MixtureError(f"a mixture is text or a Mixture, not {type(mix).__name__}")
    out = list(mix.items()) if isinstance(mix, Mapping) else [("", m) for m in mix or ()]
    for _, m in out:
        if not isinstance(m, str | Mixture):
            raise MixtureError(f"a mixture is text or a Mixture, not {type(m).__name__}")
    return out


def distinct(labels: list[str]) -> list[str]:
    """Labels that differ from each other and from the names of other rows: "a+b" and "c" may be another's "a" and "b+c"."""
    out: list[str] = []
    for label in labels:
        name, n = f'"{label}"' if label in (MIXTURE, AVERAGE) else label, 2
        while name in out:
            name, n = f"{label} ({n})", n + 1
        out.append(name)
    return out


def combinations(mixtures: list[Resolved]) -> tuple[list[tuple[int, ...]], float]:
    """The heaviest combinations, each the index of a component for each mixture; and the weight that they have together."""
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


def _encode_chat(model: Engine, parsed: prompts.Prompt, system: str | None) -> Encoded:
    """The prompt as a user's message. Slots travel through the template as private-use characters."""
    marks = [f"\ue000{chr(0xE100 + i)}\ue001" for i in range(len(parsed.places))]
    messages = [{"role": "system", "content": system}] if system else []
    text = model.chat_template.render([*messages, {"role": "user", "content": parsed.filled(marks)}])
    texts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise UsageError(
                "the model's chat template does not keep the message as it is", "use a raw prompt, without --chat"
            )
        texts.append(before)
    return words.encode(prompts.Prompt((*texts, text), parsed.places), model.tokenizer)
