"""Where cases come from: frames with words, and places in texts that the model wrote or that were given.

Knows the frames, a tokenizer, and how a network goes on with a text. Everything that needs the network is done once, ahead of
training; priors over the worlds are drawn anew each time a template is used.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from softllama.adapt import cases, frames
from softllama.adapt.cases import Group
from softllama.adapt.network import Network
from softllama.adapt.packing import pack

Encode = Callable[[str], list[int]]  # text -> token ids, no token added
AFTER = 4  # tokens that follow a frame
WORLDS = 8  # alternatives of a group, at most
BATCH = 40  # texts that are written side by side
CHAINS = 0.1  # of the places in texts, how many are several mixtures in sequence


@dataclass(frozen=True, kw_only=True, eq=False)
class Template:
    """Worlds without priors.

    Attributes:
        prefix: token ids.
        alternatives: for each of them the columns of its world, (n, length); any of them may be left out.
        sources: the alternatives that a continuation in `after` was written from, (m,).
        after: how the text goes on, (m, length after).
        kind: "frame", "word", "text", "chain" or "two".
        parts: how many alternatives each place has, where the worlds are a product; empty otherwise.
    """

    prefix: tuple[int, ...]
    alternatives: cases.Ids
    sources: cases.Ids
    after: cases.Ids
    kind: str
    parts: tuple[int, ...] = ()

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        import torch

        arrays = {k: torch.from_numpy(getattr(self, k)) for k in ("alternatives", "sources", "after")}
        return {**arrays, "prefix": list(self.prefix), "kind": self.kind, "parts": list(self.parts)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Template:
        """From what `state` returned."""
        arrays = {k: state[k].numpy() for k in ("alternatives", "sources", "after")}
        return cls(prefix=tuple(state["prefix"]), kind=state["kind"], parts=tuple(state["parts"]), **arrays)

    def draw(self, rng: np.random.Generator, n_priors: int) -> Group:
        """The alternative that a continuation comes from with some others, priors, and the continuation in half of the cases."""
        n = len(self.alternatives)
        way = int(rng.integers(len(self.sources)))
        if self.parts:
            chosen = np.arange(n)
            priors = cases.product([cases.weights(rng, k, n_priors) for k in self.parts])
        else:
            others = np.delete(np.arange(n), self.sources[way])
            k = (
                2 if rng.integers(2) else int(rng.integers(2, WORLDS + 1))
            )  # few worlds are cheap, so that more texts are seen
            chosen = np.array([self.sources[way], *rng.choice(others, min(n, k) - 1, replace=False)])
            priors = (
                rng.dirichlet(np.full(len(chosen), 4.0), size=n_priors)
                if self.kind == "chain"
                else cases.weights(rng, len(chosen), n_priors)
            )
        worlds = self.alternatives[chosen]
        if self.kind != "frame" or rng.integers(2):
            worlds = np.concatenate([worlds, np.repeat(self.after[way][None], len(chosen), axis=0)], axis=1)
        return Group(prefix=self.prefix, worlds=worlds, priors=priors, kind=self.kind)


def without(template: Template, ids: Sequence[int]) -> Template | None:
    """The template without the alternatives that have one of these tokens in a place; None if too little is left."""
    a = template.alternatives
    places = np.flatnonzero((a != a[:1]).any(axis=0))
    keep = np.asarray(~np.isin(a[:, places], np.array(ids, np.int64)).any(axis=1), np.bool_)
    ways = keep[template.sources]
    if keep.sum() < 2 or not ways.any() or (template.parts and not keep.all()):
        return None
    number = np.cumsum(keep) - 1
    return replace(template, alternatives=a[keep], sources=number[template.sources[ways]], after=template.after[ways])


def go_on(network: Network, prefix: Sequence[int], worlds: cases.Ids, n: int) -> cases.Ids:
    """How each world goes on, sampled from the model without adapter: (len(worlds), n) token ids."""
    found = network.write([[*prefix, *w] for w in worlds.tolist()], n)
    return np.array([text[-n:] for text in found], np.int64)


@dataclass(kw_only=True)
class Pool:
    """Templates and pure texts, for training and held out.

    Attributes:
        train, held_out: templates. pure, held_out_pure: token ids of ordinary texts.
    """

    train: list[Template] = field(default_factory=list)
    held_out: list[Template] = field(default_factory=list)
    pure: list[list[int]] = field(default_factory=list)
    held_out_pure: list[list[int]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        templates = {k: [t.state() for t in getattr(self, k)] for k in ("train", "held_out")}
        return {**templates, "pure": self.pure, "held_out_pure": self.held_out_pure}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Pool:
        """From what `state` returned."""
        templates = {k: [Template.of(t) for t in state[k]] for k in ("train", "held_out")}
        return cls(**templates, pure=state["pure"], held_out_pure=state["held_out_pure"])


def split(items: Sequence[str], key: str, share: float) -> tuple[list[str], list[str]]:
    """Items for training, and held-out ones: the same for every seed of training."""
    order = list(items)
    random.Random(key).shuffle(order)
    n = max(1, round(share * len(order)))
    return sorted(order[n:], key=list(items).index), sorted(order[:n], key=list(items).index)


def word_ids(encode: Encode, name: str) -> dict[str, int]:
    """The words of a class that are one token, with their ids."""
    found = {w: encode(" " + w) for w in dict.fromkeys(frames.WORDS[name].split())}
    return {w: ids[0] for w, ids in found.items() if len(ids) == 1}


def frame_templates(
    network: Network, encode: Encode, begin: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[bool, Template]]:
    """A template for each frame: those for training with the words for training, those held out with words held out."""
    for name, texts in frames.FRAMES.items():
        ids = word_ids(encode, name)
        sides = zip(split(list(ids), f"words of {name}", 0.25), split(texts, f"frames of {name}", 0.2), strict=True)
        for held_out, (words, chosen) in enumerate(sides):
            if len(words) < 2:
                continue
            for text in chosen:
                before, _, behind = text.partition("{}")
                prefix = (*begin, *encode(before.rstrip()))
                if not prefix:
                    continue
                tail = encode(behind)
                others = [] if held_out else other_words(encode, name)
                strange = list(rng.choice(others, min(len(others), 8), replace=False))
                worlds = np.array([[i, *tail] for i in (*(ids[w] for w in words), *strange)], np.int64)
                sources = rng.choice(len(words), min(len(words), 10), replace=False)
                after = go_on(network, prefix, worlds[sources], AFTER)
                yield (
                    bool(held_out),
                    Template(prefix=prefix, alternatives=worlds, sources=sources, after=after, kind="frame"),
                )


def other_words(encode: Encode, name: str) -> list[int]:
    """Words for training of all classes but one, as token ids."""
    found = [
        ids[w]
        for other in frames.WORDS
        if other != name
        for ids in [word_ids(encode, other)]
        for w in split(list(ids), f"words of {other}", 0.25)[0]
    ]
    return sorted(set(found) - set(held_out_words(encode)))


def held_out_words(encode: Encode) -> list[int]:
    """Token ids of the words that are held out, of all classes."""
    found = [
        ids[w]
        for name in frames.WORDS
        for ids in [word_ids(encode, name)]
        for w in split(list(ids), f"words of {name}", 0.25)[1]
    ]
    return sorted(set(found))


def two_templates(
    network: Network, encode: Encode, begin: Sequence[int], rng: np.random.Generator
) -> Iterator[Template]:
    """Frames with two places: three alternatives at each, and all nine worlds. Words for training only."""
    for text, *names in frames.TWO:
        first, middle, behind = text.split("{}")
        ids = [word_ids(encode, name) for name in names]
        train = [split(list(i), f"words of {name}", 0.25)[0] for i, name in zip(ids, names, strict=True)]
        if min(map(len, train)) < 3:
            continue
        for _ in range(4):
            a, b = ([i[w] for w in rng.choice(t, 3, replace=False)] for i, t in zip(ids, train, strict=True))
            rows = [[x, *encode(middle.rstrip()), y, *encode(behind)] for x, y in itertools.product(a, b)]
            prefix, worlds = (*begin, *encode(first.rstrip())), np.array(rows, np.int64)
            if prefix:
                sources = rng.choice(9, 4, replace=False)
                after = go_on(network, prefix, worlds[sources], AFTER)
                yield Template(
                    prefix=prefix, alternatives=worlds, sources=sources, after=after, kind="two", parts=(3, 3)
                )


def text_templates(
    network: Network, texts: Sequence[Sequence[int]], places: int, rng: np.random.Generator
) -> Iterator[Template]:
    """Places in texts where the model is unsure: its likeliest tokens there, or what it would write from there."""
    import torch

    for text in texts:
        ids = torch.tensor([list(text)], device=network.device)
        packed = pack([1], [(1, len(text) - 1)], network.device)
        with torch.no_grad(), network.teacher():
            log_p = network.read(network.rows(ids), packed)[0].log_p[0]  # after each token but the first
        p = torch.cat([torch.zeros_like(log_p[:1]), log_p.exp()])  # p[i]: after token i
        entropy = -(p[1:] * log_p).sum(-1).cpu().numpy()
        entropy = np.concatenate([[0.0], entropy])
        unsure = np.flatnonzero((entropy > 0.7) & (entropy < 5.0) & (np.arange(len(entropy)) < len(text) - 8))
        unsure = unsure[unsure >= 3]
        for i in rng.permutation(unsure)[:places]:
            prefix = tuple(text[max(0, i - 22) : i + 1])
            likely = p[i].topk(WORLDS)[1].cpu().numpy().astype(np.int64)
            if rng.random() < CHAINS:  # worlds of several columns, as soft thinking reads them
                worlds = likely[rng.choice(WORLDS, WORLDS, p=_share(p[i], likely))][:, None]
                width = int(rng.integers(1, 4))
                written = go_on(network, prefix, worlds, width + AFTER)
                worlds = np.concatenate([worlds, written[:, :width]], axis=1)
                yield Template(
                    prefix=prefix,
                    alternatives=worlds,
                    sources=np.arange(WORLDS),
                    after=written[:, width:],
                    kind="chain",
                )
            else:
                worlds = np.array([text[i + 1], *(t for t in likely if t != text[i + 1])], np.int64)[:WORLDS, None]
                after = np.array([text[i + 2 : i + 2 + 2 * AFTER]], np.int64)
                yield Template(
                    prefix=prefix, alternatives=worlds, sources=np.zeros(1, np.int64), after=after, kind="text"
                )


def _share(p: object, ids: cases.Ids) -> cases.Floats:
    w: cases.Floats = p[ids].double().cpu().numpy()  # type: ignore[index]
    w /= w.sum()
    return w


def write_texts(network: Network, starts: Sequence[Sequence[int]], n: int, length: int, seed: int) -> list[list[int]]:
    """Texts by the model itself, about the same number for each start: n in all, each `length` tokens longer than its start."""
    import torch

    torch.manual_seed(seed)
    every = list(itertools.islice(itertools.cycle(starts), n))
    every.sort(key=len)  # little padding
    out = [text for i in range(0, n, BATCH) for text in network.write(every[i : i + BATCH], length)]
    random.Random(seed).shuffle(out)
    return out
