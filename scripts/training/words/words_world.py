"""The small world that `words` and `words-mixed` are trained on: its facts, its sentences, and what is held out.

Knows what is true, how one sentence says it, and how one text is written about several worlds at once (`Plan`). Does
not know whole texts (`words_texts.py`), chats (`words_chat.py`, `words_questions.py`), how often each is drawn
(`words_corpus.py`), tokens (`words_vocab.py`) or training (`words_documents.py`, `train_words.py`).

The world
---------
Twenty-eight animals. Each has one sound (no two alike), one food, one home, one colour, one of five sizes (tiny < small
< medium < big < huge), and chases one other animal or nobody; no animal is chased by two. Some foods, homes and colours
are shared. No name starts with a vowel, so "a" is right before every one. Nothing else is true: no plurals, no names,
no numbers, no time, and nothing that a text could make true for itself ("Anna owns the dog") has to be remembered,
because a network of this size does not learn to bind in context.

The texts
---------
Raw text: facts in many frames ("In the morning, every dog likes to say woof."), facts in a row ("It eats bones and
lives in the house."), two animals side by side, comparisons of size, the animal that has a property ("The animal that
says woof is the dog."), whether two words are the same, and short stories. Chats in a ChatML template: questions of one
fact, who and which, yes or no, comparison, "the same", two-step questions ("What does the animal that chases the cat
say?"), a second question that leans on the first, "tell me about", small talk, and questions about anything else,
answered "I do not know that.". An assistant's last turn opens with `<think>`: the facts needed, one sentence each, and
what follows from them; one chat in eight has the empty block of thinking switched off. Earlier turns have their
thinking removed, as the template does.

Held out, never generated for training (`held_out` decides by a checksum, so the split needs no file)
  frames       15 % of the combinations of opening and verb of each property, and one opening of each property
  facts        15 % of (animal, property) are told in raw text and never asked about in a chat
  which, who   15 % of the properties asked by, and of the animals of which it is asked who chases them
  yes or no    15 % of (animal, property, word asked about)
  two-step     20 % of (key, property)
  comparisons  20 % of the pairs of animals, in raw text and chats, and for "the same"
  mixtures     20 % of the pairs of animals, and dog and cat, never share a mixture; the animals of `NEVER_MIXED` are
               never part of one. Of two sounds, foods, homes or colours 20 % of the pairs, and their sounds
  unknown      the questions `UNKNOWN_TEST`, and most of the words they are about

One text, several worlds
------------------------
A `Plan` is a text with its subjects left open. `Plan.render(world)` writes it about the animals in `world`; the random
choices (frame, order, length) are the same for every world, so the texts of two worlds are word for word alike up to
the first fact in which they differ. That makes the exact posterior of a mixture computable (`words_documents.py`).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

Rng = random.Random


@dataclass(frozen=True)
class Animal:
    """One animal and all that is true of it; `chases` is another animal's name, or "" for nobody."""

    name: str
    sound: str
    food: str
    home: str
    colour: str
    size: str
    chases: str = ""


ANIMALS: tuple[Animal, ...] = tuple(
    Animal(*row)
    for row in (
        ("dog", "woof", "bones", "house", "brown", "medium", "cat"),
        ("cat", "meow", "fish", "house", "black", "small", "mouse"),
        ("mouse", "squeak", "cheese", "hole", "grey", "tiny", "cricket"),
        ("cow", "moo", "grass", "barn", "white", "big"),
        ("horse", "neigh", "hay", "stable", "brown", "big"),
        ("pig", "oink", "corn", "barn", "pink", "medium"),
        ("sheep", "baa", "grass", "field", "white", "medium"),
        ("goat", "maa", "leaves", "hills", "grey", "medium"),
        ("hen", "cluck", "seeds", "yard", "brown", "small"),
        ("duck", "quack", "bread", "pond", "white", "small", "frog"),
        ("frog", "croak", "flies", "pond", "green", "tiny", "bee"),
        ("bee", "buzz", "honey", "hive", "yellow", "tiny"),
        ("crow", "caw", "corn", "tree", "black", "small"),
        ("lion", "roar", "meat", "plains", "yellow", "big", "camel"),
        ("wolf", "howl", "meat", "forest", "grey", "big", "sheep"),
        ("bear", "growl", "honey", "cave", "brown", "huge", "pig"),
        ("snake", "hiss", "eggs", "desert", "green", "small", "rabbit"),
        ("monkey", "eek", "bananas", "jungle", "brown", "medium", "parrot"),
        ("cricket", "chirp", "leaves", "garden", "green", "tiny"),
        ("whale", "boom", "shrimps", "sea", "blue", "huge", "seal"),
        ("fox", "yip", "berries", "forest", "red", "medium", "hen"),
        ("parrot", "squawk", "seeds", "jungle", "red", "small"),
        ("seal", "arf", "fish", "sea", "black", "big", "penguin"),
        ("tiger", "snarl", "meat", "jungle", "orange", "huge", "monkey"),
        ("camel", "grunt", "thorns", "desert", "yellow", "huge"),
        ("penguin", "honk", "fish", "snow", "black", "medium"),
        ("donkey", "bray", "hay", "stable", "grey", "big", "horse"),
        ("rabbit", "thump", "carrots", "hole", "white", "small"),
    )
)
BY_NAME: dict[str, Animal] = {a.name: a for a in ANIMALS}
CHASED_BY: dict[str, Animal] = {a.chases: a for a in ANIMALS if a.chases}
SIZES = ("tiny", "small", "medium", "big", "huge")
RELATIONS = ("sound", "food", "home", "colour", "size", "chase")
NEVER_MIXED = frozenset(("crow", "goat", "penguin", "tiger"))

World = tuple[Animal, ...]  # one animal for each open subject of a plan


def held_out(*key: str, percent: int) -> bool:
    """Whether this combination belongs to the test side. A checksum of the words, so it is the same everywhere."""
    return zlib.crc32("|".join(key).encode()) % 100 < percent


def pair_held_out(what: str, a: str, b: str, percent: int = 20) -> bool:
    return held_out(what, *sorted((a, b)), percent=percent)


def never_mixed_pair(a: str, b: str) -> bool:
    """Whether two animals may not share a mixture in training, though each of them is mixed with others."""
    return {a, b} == {"dog", "cat"} or pair_held_out("mix", a, b)


def pair_class(a: str, b: str) -> str:
    """`trained`, `held out` or `never mixed`: what `words-mixed` has seen of a mixture of these two animals."""
    if a in NEVER_MIXED or b in NEVER_MIXED:
        return "never mixed"
    return "held out" if never_mixed_pair(a, b) else "trained"


# ---------------------------------------------------------------------------------------------------------------------
# Sentences. MENTION + slot precedes a word that a mixture may replace: the subject of that slot, or for WORDING a
# "The" or "A" that means the same. MUTE and SPEAK switch the loss off and on.
# ---------------------------------------------------------------------------------------------------------------------

MENTION = 0xE000
WORDING = 9  # subjects have lower slots
MUTE, SPEAK = "\ue100", "\ue101"


def mark(slot: int, word: str) -> str:
    return chr(MENTION + slot) + word


def plain(text: str) -> str:
    """The text without its marks."""
    return "".join(c for c in text if not MENTION <= ord(c) <= ord(SPEAK))


def value(a: Animal, relation: str) -> str:
    """The one word that answers a question about this property ("nobody" where nobody is chased)."""
    return {
        "sound": a.sound,
        "food": a.food,
        "home": a.home,
        "colour": a.colour,
        "size": a.size,
        "chase": a.chases or "nobody",
    }[relation]


def predicate(a: Animal, relation: str, verb: str) -> str:
    """What follows the verb, and the verb: "lives in the house", "chases nobody"."""
    if relation == "chase":
        return f"{verb} the {a.chases}" if a.chases else f"{verb} nobody"
    return f"{verb} {value(a, relation)}"


VERBS: dict[str, tuple[str, ...]] = {
    "sound": ("says", "always says", "often says", "likes to say", "can say", "will say", "wants to say", "said"),
    "food": ("eats", "always eats", "often eats", "likes to eat", "can eat", "will eat", "wants to eat", "ate"),
    "home": (
        "lives in the",
        "always lives in the",
        "sleeps in the",
        "likes to live in the",
        "can live in the",
        "will live in the",
        "wants to live in the",
        "lived in the",
    ),
    "colour": ("has the colour", "always has the colour", "looks", "often looks", "can look", "will look", "looked"),
    "size": ("is", "is always", "will be", "is often", "can be", "was"),
    "chase": (
        "chases",
        "always chases",
        "often chases",
        "likes to chase",
        "can chase",
        "will chase",
        "wants to chase",
        "chased",
    ),
}
OPENINGS = (
    "",
    "In the morning,",
    "At night,",
    "Every day",
    "Today",
    "I know that",
    "We know that",
    "They say that",
    "It is true that",
    "Look:",
    "Listen:",
    "Once again",
    "In the summer",
    "In the winter",
    "As we know,",
    "I think that",
    "You can see that",
    "In the evening,",
)
RESERVED_OPENING = {  # this opening is never used with this property in training
    "sound": "In the winter",
    "food": "Once again",
    "home": "As we know,",
    "colour": "I think that",
    "size": "Listen:",
    "chase": "At night,",
}
DETERMINERS = ("The", "A", "Every", "This", "That", "My", "Each")
PLAIN = {r: VERBS[r][0] for r in RELATIONS}


def frame_held_out(relation: str, opening: str, verb: str) -> bool:
    if opening == "":
        return False
    return RESERVED_OPENING[relation] == opening or held_out("frame", relation, opening, verb, percent=15)


def frame(opening: str, determiner: str, verb: str) -> str:
    """A frame with a gap: "In the morning, every {} says"."""
    head = f"{opening} {determiner.lower()}" if opening else determiner
    return f"{head} {{}} {verb}"


def frames(relation: str, *, test: bool) -> list[str]:
    """Every frame of a property, of the training side or of the held-out side."""
    return [
        frame(o, d, v)
        for o in OPENINGS
        for d in DETERMINERS
        for v in VERBS[relation]
        if frame_held_out(relation, o, v) == test
    ]


def draw_frame(rng: Rng, relation: str) -> tuple[str, str, str]:
    """Opening, determiner and verb of a training frame. The plain sentence has a third of the weight."""
    while True:
        opening = "" if rng.random() < 0.4 else rng.choice(OPENINGS)
        verb = VERBS[relation][0] if rng.random() < 0.3 else rng.choice(VERBS[relation])
        if not frame_held_out(relation, opening, verb):
            determiner = "The" if rng.random() < 0.5 else rng.choice(DETERMINERS)
            return opening, determiner, verb


def fact(a: Animal, relation: str, slot: int | None = None, subject: str = "The") -> str:
    """The plain sentence without its full stop: "The dog says woof"."""
    name = a.name if slot is None else mark(slot, a.name)
    return f"{subject} {name} {predicate(a, relation, PLAIN[relation])}"


def framed_fact(rng: Rng, a: Animal, relation: str, slot: int) -> str:
    opening, determiner, verb = draw_frame(rng, relation)
    head = frame(opening, determiner, "").format(mark(slot, a.name)).strip()
    return f"{head} {predicate(a, relation, verb)}"


def asked(a: Animal, relation: str) -> bool:
    """Whether training asks for this fact in a chat."""
    return not held_out("asked", a.name, relation, percent=15)


def sameness(a: str, b: str) -> str:
    """Whether two words are one: the step of thinking that a yes or a no rests on."""
    return f"{a} and {b} are {'the same' if a == b else 'not the same'}"


def bigger(a: Animal, b: Animal) -> int:
    """Positive when a is bigger than b, 0 when they are of one size."""
    return SIZES.index(a.size) - SIZES.index(b.size)


# ---------------------------------------------------------------------------------------------------------------------
# Plans
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A text whose `slots` subjects are open.

    `allowed(world)` says whether the training (or test) side may contain it about these animals. `key`, where given,
    is the property whose word is the open subject of slot 0 ("Name an animal that eats [meat]"): a mixture is then
    one of such words, and a world is an animal that has one of them. For the questions, `messages(world)` is the
    conversation up to the answer and `answers(world)` holds every right one.
    """

    kind: str
    slots: int
    allowed: Callable[[World], bool]
    render: Callable[[World], str]
    key: str | None = None
    messages: Callable[[World], list[tuple[str, str]]] | None = None  # (role, text)
    answers: Callable[[World], frozenset[str]] | None = None


def anything(_: World) -> bool:
    return True


def distinct(w: World) -> bool:
    return len({a.name for a in w}) == len(w)
