"""Training documents as tokens: about one world, or about several with a mixture where they are named.

Knows what a mixture in the input means. Does not know the facts, rows and batches, or the network.

What `words-mixed` learns ("collapse"): a mixture of animals in a text says that the text is about one of them, with
these probabilities. For a plan with open subjects, worlds j = 1..J with prior weights w_j (products over the mixed
subjects) are written out, all with the same random choices. One world k is drawn with probability w_k and its text is
read; at a mixed mention the input is the expectation of the mention's embedding, sum_j w_j E[mention_j]. The target at
position t is not the next token of world k but the exact predictive distribution

    p(x | text so far) = sum over worlds j that agree with the text so far of w_j 1[x = x_j(t+1)] / sum of their w_j

so before the first telling fact it is the mixture of the worlds' facts, and after it what follows from that fact. The
expectation over k of a sampled target is the same; the exact one has no sampling noise. Positions before a mixed
mention carry no loss, as nothing could predict the weights.

In the thinking, half of the "The" and "A" that begin a step are a mixture of the two, which changes nothing that
follows: this is what comes back when whole distributions are fed.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import numpy as np

from scripts.training.words import words_corpus as corpus
from scripts.training.words import words_vocab as vocab
from scripts.training.words import words_world as world


@dataclass
class Document:
    """Token ids of one world's text, and what differs from plain text."""

    ids: list[int]  # BOS first
    loss: list[bool]  # loss[t]: whether predicting ids[t] counts
    inputs: dict[int, dict[int, float]] = field(default_factory=dict)  # position -> token: weight, sums to 1
    targets: dict[int, dict[int, float]] = field(default_factory=dict)  # predicted position -> token: probability


_FIRST = world.MENTION


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    loss: list[bool]
    mentions: dict[int, tuple[int, int]]  # position -> (slot, how many mentions of the slot came before)


def encode(bpe: vocab.Bpe, text: str) -> Encoded:
    """Ids of a marked text, from BOS to what ends it."""
    for slot in range(world.WORDING + 1):  # a mention's mark stands before its space, so that " dog" stays one piece
        text = text.replace(" " + chr(_FIRST + slot), chr(_FIRST + slot) + " ")
    ids, loss, mentions = [vocab.BOS], [False], {}
    seen: dict[int, int] = {}
    speak, start = True, 0
    for i in range(len(text) + 1):
        if i < len(text) and not _FIRST <= ord(text[i]) <= ord(world.SPEAK):
            continue
        for part in vocab.split(text[start:i]):
            piece = bpe.part(part)
            ids += piece
            loss += [speak] * len(piece)
        start = i + 1
        if i == len(text):
            break
        if text[i] == world.MUTE:
            speak = False
        elif text[i] == world.SPEAK:
            speak = True
        else:
            slot = ord(text[i]) - _FIRST
            mentions[len(ids)] = (slot, seen.get(slot, 0))
            seen[slot] = seen.get(slot, 0) + 1
    if ids[-1] != vocab.IM_END:
        ids.append(vocab.BOS)  # <|endoftext|> ends a raw text
        loss.append(True)
    return Encoded(ids, loss, mentions)


def pure_document(bpe: vocab.Bpe, rng: random.Random) -> Document:
    e = encode(bpe, corpus.draw_text(rng))
    return Document(e.ids, e.loss)


def draw_weights(rng: random.Random, k: int) -> list[float]:
    """k positive weights that sum to 1, over the whole simplex and often near its edges and its middle."""
    x = rng.random()
    if x < 0.1:
        return [1 / k] * k
    concentration = 1.0 if x < 0.65 else 0.4
    g = [rng.gammavariate(concentration, 1.0) + 1e-6 for _ in range(k)]
    return [v / sum(g) for v in g]


def pick(rng: random.Random, names: list[str], k: int, forbidden: str) -> list[str]:
    """Up to k names of which no two are a held-out pair. `forbidden` is the kind of pair: "mix" or a property."""
    rng.shuffle(names)
    out: list[str] = []
    for n in names:
        if forbidden == "mix":
            clash = any(world.never_mixed_pair(n, o) for o in out)
        else:
            clash = any(world.pair_held_out(f"mix {forbidden}", n, o) for o in out)
        if not clash:
            out.append(n)
        if len(out) == k:
            break
    return out


def candidates(rng: random.Random, plan: world.Plan, w: world.World, slot: int, k: int) -> dict[str, float] | None:
    """Animals for one open subject and their weights; None if there are not two things to mix."""
    fits = [a for a in world.ANIMALS if plan.allowed((*w[:slot], a, *w[slot + 1 :]))]
    if plan.key is None:
        names = pick(rng, [a.name for a in fits if a.name not in world.NEVER_MIXED], k, "mix")
        return dict(zip(names, draw_weights(rng, len(names)), strict=True)) if len(names) > 1 else None
    relation = plan.key
    barred = {world.value(world.BY_NAME[n], relation) for n in world.NEVER_MIXED} if relation == "sound" else set()
    words = pick(rng, sorted({world.value(a, relation) for a in fits} - barred), k, relation)
    if len(words) < 2:
        return None
    out: dict[str, float] = {}
    for word, weight in zip(words, draw_weights(rng, len(words)), strict=True):
        having = [a.name for a in fits if world.value(a, relation) == word]
        out |= {n: weight / len(having) for n in having}
    return out


def mixed_document(bpe: vocab.Bpe, rng: random.Random) -> Document:
    """A document about several worlds at once (see the module's docstring)."""
    while True:
        plan = corpus.draw_plan(rng)
        w = corpus.draw_world(rng, plan)
        if w is None or plan.slots == 0:
            continue
        slots = [0] if plan.slots == 1 else rng.choice(([0], [1], [0, 1]))
        k = rng.choices((2, 3, 4, 6, 8), (6, 2, 1, 0.5, 0.5))[0] if len(slots) == 1 else rng.choice((2, 2, 3))
        options: list[dict[str, float]] = []
        for s in range(plan.slots):
            chosen = candidates(rng, plan, w, s, k) if s in slots else {w[s].name: 1.0}
            options.append(chosen or {})
        worlds: list[tuple[world.World, float]] = []
        for names in itertools.product(*options):
            weight = float(np.prod([options[s][n] for s, n in enumerate(names)]))
            worlds.append((tuple(world.BY_NAME[n] for n in names), weight))
        if len(worlds) < 2 or not all(plan.allowed(x) for x, _ in worlds):
            continue
        return superpose(bpe, rng, plan, worlds, set(slots))


def either(bpe: vocab.Bpe, rng: random.Random, token: int) -> dict[int, float]:
    """ "The" or "A", which say the same here: with the weights that the texts give them, or any others."""
    space = "Ġ" if bpe.tokens[token].startswith("Ġ") else ""
    w = 2 / 3 if rng.random() < 0.5 else rng.random()
    return {bpe.tokens.index(f"{space}The"): w, bpe.tokens.index(f"{space}A"): 1 - w}


def superpose(
    bpe: vocab.Bpe, rng: random.Random, plan: world.Plan, worlds: list[tuple[world.World, float]], slots: set[int]
) -> Document:
    """The text of one world, drawn by weight, with mixtures where its subjects are named and exact targets."""
    weights = [p for _, p in worlds]
    texts = [encode(bpe, plan.render(x)) for x, _ in worlds]
    again = {(s, n): n == 0 or rng.random() < 0.5 for s in slots for n in range(12)}  # which mentions are mixed
    k = rng.choices(range(len(worlds)), weights)[0]
    doc = Document(list(texts[k].ids), list(texts[k].loss))

    mention: dict[tuple[int, int], dict[int, float]] = {}  # (slot, ordinal) -> token: weight
    for t, p in zip(texts, weights, strict=True):
        for position, which in t.mentions.items():
            if again.get(which, False):
                m = mention.setdefault(which, {})
                m[t.ids[position]] = m.get(t.ids[position], 0.0) + p
    alive = list(range(len(worlds)))
    for position in range(1, len(doc.ids)):
        named = texts[k].mentions.get(position)
        if named is not None and named[0] == world.WORDING and rng.random() < 0.5:
            doc.inputs[position] = either(bpe, rng, doc.ids[position])
        if named is not None and again.get(named, False):
            m = mention[named]
            total = sum(m.values())
            doc.inputs[position] = {i: p / total for i, p in m.items()}
            doc.loss[position] = False
            continue
        total = sum(weights[j] for j in alive)
        target: dict[int, float] = {}
        for j in alive:
            i = texts[j].ids[position]
            target[i] = target.get(i, 0.0) + weights[j] / total
        if len(target) > 1:
            doc.targets[position] = target
            alive = [j for j in alive if texts[j].ids[position] == doc.ids[position]]
    return doc
