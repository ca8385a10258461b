"""What fills the slots of a probe's prompt: its mixtures, their components alone, and the points of a sweep.

Knows the prompt and the vocabulary. Runs nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softllama.base import arguments
from softllama.engine.engine import Engine
from softllama.errors import MixtureError, UsageError
from softllama.probe.data import AVERAGE, MIXTURE
from softllama.prompts import build, slots, words
from softllama.prompts.build import SlottedMessage
from softllama.prompts.encoded import Encoded, encode, with_shared
from softllama.prompts.slots import PromptTemplate
from softllama.prompts.words import Component, MixArgument, MixInput, Resolved
from softllama.vectors import mix_text
from softllama.vectors import mixture as mx
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

MAX_SWEEP, MAX_CONTINUE, MAX_REPEATS = 10_001, 100_000, 64
MAX_BASELINES = 64  # components, or combinations of them, that run alone: the heaviest


@dataclass(frozen=True, kw_only=True)
class Filling:
    """A prompt as tokens with slots, and what fills them.

    names: of the slots. which: the index of a mixture for each slot. placed: that mixture as it is read in the slot: a word
    at the start of a prompt is another token than one inside. mixtures: as they are read in the first slot of each.
    alternatives: are the words fed whole, one after the other, in place of mixtures?
    """

    encoded: Encoded
    names: tuple[str, ...]
    which: list[int]
    placed: list[Resolved]
    mixtures: list[Resolved]
    alternatives: bool = False

    @classmethod
    def of(
        cls,
        model: Engine,
        prompt: str,
        inputs: Sequence[MixInput],
        *,
        chat: bool,
        system: str | None,
        parse_special: bool = False,
    ) -> Filling:
        """Read a prompt and its mixtures.

        Args:
            prompt: text with slots; with chat, the user's message, after `system`.
            inputs: the mixtures, at least one.
            parse_special: the text of a control token in the user's message is that token.
        """
        if not inputs:
            raise MixtureError("no mixture was given", "add --mix dog:0.5,cat:0.5")
        parsed = slots.parse(arguments.text("prompt", prompt))
        which = slots.assign(parsed, [m.name for m in inputs])
        encoded = encode(_chat_text(model, parsed, system, parse_special) if chat else parsed, model.tokenizer)
        placed = build.resolved(encoded, which, inputs, model.tokenizer)
        model.check_vectors([p.mixture for p in placed])
        mixtures = [placed[which.index(j)] for j in range(len(inputs))]
        encoded = with_shared(encoded, [p.before for p in placed])
        alternatives = any(m.split == words.ALTERNATIVES for m in inputs)
        if alternatives and any(m.signed for m in inputs):
            raise MixtureError(
                "--split alternatives averages outputs, and no average has signed weights", "leave out --signed"
            )
        if alternatives and any(isinstance(p.mixture, Vector) for p in placed):
            raise MixtureError("--split alternatives is for words, and a vector is none", "leave out --split")
        return cls(
            encoded=encoded,
            names=parsed.slots,
            which=which,
            placed=placed,
            mixtures=mixtures,
            alternatives=alternatives,
        )

    def chosen(self, combo: Sequence[int]) -> list[Component]:
        """The component of each mixture that a combination names."""
        return [m.components[i] for m, i in zip(self.mixtures, combo, strict=True)]

    def mixed(self) -> list[Mixture | Vector]:
        """Each slot with its mixture."""
        return [p.mixture for p in self.placed]

    def alone(self, combo: Sequence[int]) -> list[Mixture | Vector]:
        """Each slot with one component of its mixture."""
        return [p.components[combo[j]].mixture for p, j in zip(self.placed, self.which, strict=True)]

    def whole(self, combo: Sequence[int]) -> list[int]:
        """What is fed from the first slot on, with a whole word in each slot."""
        in_slots = [p.components[combo[j]].tokens for p, j in zip(self.placed, self.which, strict=True)]
        items = self.encoded.items[self.encoded.first_slot :]
        return [i for t in items for i in ((t,) if t >= 0 else in_slots[~t])]

    def between(self, alpha: float, signed: bool) -> list[Mixture | Vector]:
        """Each slot with its mixture, and those of the first mixture with a point of its sweep."""
        return [
            p.mixture if j else _between(p.components, alpha, signed)
            for p, j in zip(self.placed, self.which, strict=True)
        ]

    def tokens(self, model: Engine) -> list[str]:
        """The prompt's tokens as text, with the slots in braces."""
        return [model.spell(t) if t >= 0 else f"{{{self.names[~t]}}}" for t in self.encoded.items]


def check(
    sweep: int | None,
    continue_tokens: int,
    n_top: int,
    n_ctx: int | None,
    repeats: int,
) -> None:
    """Raise UsageError for an argument of `probe` that is out of range."""
    arguments.integer_or_none("sweep", sweep)
    arguments.integer("continue_tokens", continue_tokens)
    arguments.integer("n_top", n_top)
    arguments.integer_or_none("n_ctx", n_ctx)
    arguments.integer("repeats", repeats)
    if not 1 <= repeats <= MAX_REPEATS:
        raise UsageError(f"cannot average over {repeats} copies", f"--repeats takes 1 to {MAX_REPEATS}")
    if sweep is not None and not 2 <= sweep <= MAX_SWEEP:
        raise UsageError(f"a sweep has 2 to {MAX_SWEEP} points, not {sweep}", "--sweep 21")
    if not 0 <= continue_tokens <= MAX_CONTINUE:
        raise UsageError(f"cannot continue for {continue_tokens} tokens", "--continue 20")
    if not 1 <= n_top <= 1000:
        raise UsageError(f"cannot show {n_top} tokens", "--top takes 1 to 1000")
    if n_ctx is not None and n_ctx < 1:
        raise UsageError(f"n_ctx must be at least 1, not {n_ctx}")


def check_chat(chat: bool, system: str | None, parse_special: bool) -> None:
    """Raise UsageError for what a raw prompt does not have."""
    if not chat and (system is not None or parse_special):
        raise UsageError("a system message needs --chat" if system is not None else "--parse-special needs --chat")


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


def in_proportion(weights: Sequence[float]) -> list[float]:
    """The weights divided by their sum; equal shares where that is 0."""
    total = sum(weights)
    return [w / total for w in weights] if total > 0 else [1 / len(weights)] * len(weights)


def _between(components: Sequence[Component], a: float, signed: bool) -> Mixture:
    """(1-a) · the first component + a · the others in their own proportion."""
    first, others = components[0], components[1:]
    shares = in_proportion([c.weight for c in others])
    return mx.blend(
        [first.as_mixture, *(c.as_mixture for c in others)], [1 - a, *(a * s for s in shares)], signed=signed
    )


def _chat_text(model: Engine, parsed: PromptTemplate, system: str | None, parse_special: bool) -> PromptTemplate:
    """The prompt as a user's message in the model's chat template. The thinking block stays as the template has it."""
    messages = [SlottedMessage.plain(build.SYSTEM, system)] if system else []
    asked = SlottedMessage(build.USER, parsed)
    asked = asked if parse_special else build.without_control_tokens(asked, model.tokenizer)
    text = build.rendered(model.chat_template, [*messages, asked])
    if text.order != tuple(range(len(parsed.slots))):
        raise UsageError("the chat template changes the order of the slots", "use a raw prompt, without --chat")
    return text.text


def watched(model: Engine, text: str | None) -> tuple[int, ...]:
    """The ids of words that are followed: the token of each after a space, or the first of its tokens; #id; in quotes as it is.

    Raises:
        MixtureError: a text that is no list of words.
    """
    if text is None:
        return ()
    spec = mix_text.parse(arguments.text("watch", text))
    if spec.vector:
        raise UsageError("a vector cannot be watched", '--watch "Paris,Berlin"')
    found = words.resolve(spec, model.tokenizer, split="first")
    return tuple(dict.fromkeys(c.as_mixture.argmax for c in found.components))


def mix_texts(mix: MixArgument) -> list[str]:
    """The mixtures of an argument as text, for the manifest."""
    if isinstance(mix, str | Mixture | Vector):
        return [str(mix)]
    if isinstance(mix, Mapping):
        return (
            [str(mix)]
            if not all(isinstance(m, str | Mixture | Vector) for m in mix.values())
            else [str(m) for m in mix.values()]
        )
    return [str(m) for m in mix]
