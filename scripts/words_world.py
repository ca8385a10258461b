"""The small world that `words` and `words-mixed` are trained on, and the generator of every text about it.

Knows the facts, the sentences, the chats, what is held out, and how to say one text about several worlds at once. Does
not know tokens (`words_vocab.py`), networks or training (`train_words.py`).

The world
---------
Twenty-eight animals. Each has one sound (no two alike), one food, one home, one colour, one of five sizes (tiny < small
< medium < big < huge), and chases one other animal or nobody; no animal is chased by two. Some foods, homes and colours
are shared. No name starts with a vowel, so "a" is right before every one. Nothing else is true: no plurals, no names, no
numbers, no time, and nothing that a text could make true for itself ("Anna owns the dog") has to be remembered, because
a network of this size does not learn to bind in context.

The texts
---------
Raw text: facts in many frames ("In the morning, every dog likes to say woof."), facts in a row ("It eats bones and lives
in the house."), two animals side by side, comparisons of size, the animal that has a property ("The animal that says
woof is the dog."), and short stories. Chats in the ChatML template below: questions of one fact, who and which, yes or
no, comparison, "the same", two-step questions ("What does the animal that chases the cat say?"), "tell me about", small
talk, and questions about anything else, answered "I do not know that.". An assistant's last turn opens with `<think>`:
the facts needed, one sentence each, and what follows from them; about one chat in eight has the empty block of thinking
switched off. Earlier turns have their thinking removed, as the template does.

Held out, never generated for training (`held_out` decides by a checksum, so the split needs no file):
  frames       15 % of the combinations of opening and verb for each property, and one opening for each property altogether
  facts        15 % of (animal, property) are told in raw text and never asked about in a chat
  two-step     20 % of (key, property) combinations
  comparisons  20 % of the pairs of animals, in raw text and chats, and for "the same"
  mixtures     20 % of the pairs of animals (dog and cat among them) never share a mixture; the animals of `NEVER_MIXED`
               are never part of one; of two sounds, foods, homes or colours likewise 20 % of the pairs
  unknown      the questions of `UNKNOWN_TEST`, and the words they are about

One text, several worlds
------------------------
A `Plan` is a text with its subjects left open. `Plan.render(world)` writes it about the animals in `world`; the random
choices (frame, order, length) are the same for every world, so the texts of two worlds are word for word alike up to the
first fact in which they differ. That is what makes the exact posterior of a mixture computable (see `train_words.py`).
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
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
# Sentences. MENTION + slot precedes a word that a mixture may replace; MUTE and SPEAK switch the loss off and on.
# ---------------------------------------------------------------------------------------------------------------------

MENTION = 0xE000
MUTE, SPEAK = "\ue100", "\ue101"


def mark(slot: int, word: str) -> str:
    return chr(MENTION + slot) + word


def value(a: Animal, relation: str) -> str:
    """The one word that answers a question about this property ("nobody" where nobody is chased)."""
    return {
        "sound": a.sound, "food": a.food, "home": a.home, "colour": a.colour, "size": a.size,
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
        "lives in the", "always lives in the", "sleeps in the", "likes to live in the", "can live in the",
        "will live in the", "wants to live in the", "lived in the",
    ),
    "colour": ("has the colour", "always has the colour", "looks", "often looks", "can look", "will look", "looked"),
    "size": ("is", "is always", "will be", "is often", "can be", "was"),
    "chase": (
        "chases", "always chases", "often chases", "likes to chase", "can chase", "will chase", "wants to chase", "chased",
    ),
}
OPENINGS = (
    "", "In the morning,", "At night,", "Every day", "Today", "I know that", "We know that", "They say that",
    "It is true that", "Look:", "Listen:", "Once again", "In the summer", "In the winter", "As we know,", "I think that",
    "You can see that", "In the evening,",
)
RESERVED_OPENING = {  # this opening is never used with this property in training
    "sound": "In the winter", "food": "Once again", "home": "As we know,", "colour": "I think that", "size": "Listen:",
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
        for o in OPENINGS for d in DETERMINERS for v in VERBS[relation]
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
    is the property whose word is the open subject of slot 0 ("Name an animal that eats [meat]"): a mixture is then one of
    such words, and a world is an animal that has one of them. For the questions, `messages(world)` is the conversation up
    to the answer and `answers(world)` holds every right one.
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


def facts_plan(rng: Rng) -> Plan:
    """One to five properties of one animal, in any order."""
    seed, n = rng.random(), rng.choice((1, 1, 2, 2, 3, 4, 5))

    def render(w: World) -> str:
        r, a = Rng(seed), w[0]
        relations = r.sample(RELATIONS, n)
        text = framed_fact(r, a, relations[0], 0)
        for i, relation in enumerate(relations[1:], 1):
            verb = PLAIN[relation] if r.random() < 0.5 else r.choice(VERBS[relation])
            style = r.random()
            rest = predicate(a, relation, verb)
            if style < 0.3:
                text += f" and {rest}"
            elif style < 0.45 and i < n - 1:
                text += f", {rest}"
            elif style < 0.75:
                text += f". {r.choice(('It', 'It', 'It also', 'And it'))} {rest}"
            else:
                text += f". {framed_fact(r, a, relation, 0)}"
        return text + "."

    return Plan("facts", 1, anything, render)


def two_plan(rng: Rng) -> Plan:
    """The same property of two animals, or two different ones."""
    seed = rng.random()

    def render(w: World) -> str:
        r = Rng(seed)
        first = r.choice(RELATIONS)
        second = first if r.random() < 0.6 else r.choice(RELATIONS)
        text = framed_fact(r, w[0], first, 0)
        if r.random() < 0.5:
            link = r.choice((" and the", " but the", " while the"))
            text += f"{link} {mark(1, w[1].name)} {predicate(w[1], second, PLAIN[second])}"
        else:
            text += f". {framed_fact(r, w[1], second, 1)}"
        if r.random() < 0.5:
            third, slot = r.choice(RELATIONS), r.choice((0, 1))
            text += f". {framed_fact(r, w[slot], third, slot)}"
        return text + "."

    return Plan("two", 2, distinct, render)


def comparable(w: World) -> bool:
    return distinct(w) and not pair_held_out("compare", w[0].name, w[1].name)


def compare_text(a: Animal, b: Animal, slot_a: int | None, slot_b: int | None, want_bigger: bool = True) -> str:
    """ "The dog is bigger than the mouse", said so that it is true, with a as the subject."""
    na = a.name if slot_a is None else mark(slot_a, a.name)
    nb = b.name if slot_b is None else mark(slot_b, b.name)
    d = bigger(a, b)
    if d == 0:
        return f"The {na} is as big as the {nb}"
    return f"The {na} is {'bigger' if d > 0 else 'smaller'} than the {nb}"


def raw_compare_plan(rng: Rng) -> Plan:
    seed = rng.random()

    def render(w: World) -> str:
        r, (a, b) = Rng(seed), w
        lead = r.random()
        said = compare_text(a, b, 0, 1)
        if lead < 0.5:
            return f"{fact(a, 'size', 0)}. {fact(b, 'size', 1)}. So {said[0].lower()}{said[1:]}."
        return f"{said}."

    return Plan("raw compare", 2, comparable, render)


KEYS = ("sound", "food", "home", "colour")


def raw_which_plan(rng: Rng) -> Plan:
    """From a property to an animal that has it. The open word is the property, or the animal itself."""
    seed, relation = rng.random(), rng.choice(("sound", "sound", "food", "home", "colour"))

    def render(w: World) -> str:
        r, a = Rng(seed), w[0]
        one = "The" if relation == "sound" else "One"
        has = f"{PLAIN[relation]} {mark(0, value(a, relation))}"
        text = f"{one} animal that {has} is the {a.name}."
        if r.random() < 0.5:
            more = r.choice([x for x in RELATIONS if x != relation])
            text += f" It {predicate(a, more, PLAIN[more])}."
        return text

    return Plan("raw which", 1, anything, render, key=relation)


def story_text(r: Rng, a: Animal, b: Animal, slot_a: int | None, slot_b: int | None) -> str:
    """A few sentences in which everybody behaves as the facts say. `r` is used alike for every a and b."""
    na = a.name if slot_a is None else mark(slot_a, a.name)
    nb = b.name if slot_b is None else mark(slot_b, b.name)
    day = r.choice(("One day", "One morning", "One evening", "Last summer", "Last winter", "Yesterday"))
    mood = r.choice(("happy", "hungry", "tired", "sad", "glad"))
    weather = r.choice(("It was warm.", "It was cold.", "The sun was out.", "It was dark.", ""))
    out = [f"{day} a {na} came out of the {a.home}."]
    if weather:
        out.append(weather)
    middle = r.sample(
        (
            f"It was {mood}, so it said {a.sound}.",
            f"It looked for {a.food} and ate.",
            f"The {na} met a {nb}. The {nb} said {b.sound}.",
            f"There was a {nb} on the way. It wanted {b.food}.",
        ),
        r.choice((1, 2, 2)),
    )
    out += middle
    out.append(
        r.choice(
            (
                f"Then the {na} went home to the {a.home}.",
                f"Then the {na} ate {a.food} and said {a.sound}.",
                f"At night the {na} slept in the {a.home}.",
                f"Then the {na} said {a.sound} again and slept.",
            )
        )
    )
    return " ".join(out)


def chase_story(r: Rng, a: Animal, slot: int | None) -> str:
    na = a.name if slot is None else mark(slot, a.name)
    b = BY_NAME[a.chases]
    day = r.choice(("One day", "One morning", "One evening", "Last summer", "Last winter", "Yesterday"))
    opening = r.choice((f"{day} a {na} saw a {b.name}.", f"{day} a {na} chased a {b.name}."))
    middle = r.choice(
        (f"The {b.name} said {b.sound} and ran to the {b.home}.", f"The {b.name} ran to the {b.home} and said {b.sound}.")
    )
    end = r.choice(
        (
            f"The {na} said {a.sound} and went home to the {a.home}.", f"The {na} was tired and ate {a.food}.",
            f"So the {na} ate {a.food} and slept in the {a.home}.",
        )
    )
    return f"{opening} {middle} {end}"


def story_plan(rng: Rng) -> Plan:
    seed = rng.random()
    if rng.random() < 0.4:
        return Plan("story", 1, lambda w: bool(w[0].chases), lambda w: chase_story(Rng(seed), w[0], 0))
    return Plan("story", 2, distinct, lambda w: story_text(Rng(seed), w[0], w[1], 0, 1))


# ---------------------------------------------------------------------------------------------------------------------
# Chats
# ---------------------------------------------------------------------------------------------------------------------

CHAT_TEMPLATE = (
    "{%- for m in messages -%}"
    "{%- set c = m.content -%}"
    "{%- if m.role == 'assistant' and '</think>' in c -%}"
    "{%- set c = c.split('</think>')[-1].lstrip('\\n') -%}"
    "{%- endif -%}"
    "{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}"
    "{%- endif -%}"
    "{%- endif -%}"
)


@dataclass(frozen=True)
class Turn:
    """A question with its thinking and its answer."""

    question: str
    think: str
    answer: str


def open_turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}<|im_end|>\n"


def chat(turns: Sequence[Turn], *, system: str = "", think: bool = True) -> str:
    """A whole chat. The loss is on the last answer only: a model is not to learn earlier turns without thinking."""
    text = MUTE
    if system:
        text += open_turn("system", system)
    for t in turns[:-1]:
        text += open_turn("user", t.question) + open_turn("assistant", t.answer)
    last = turns[-1]
    text += open_turn("user", last.question) + "<|im_start|>assistant\n"
    if think:
        text += f"{SPEAK}<think>\n{last.think}\n</think>\n\n"
    else:
        text += f"<think>\n\n</think>{SPEAK}\n\n"
    return text + f"{last.answer}<|im_end|>"


QUESTIONS: dict[str, tuple[str, ...]] = {
    "sound": ("What does {} say?", "What sound does {} make?", "Which sound does {} make?", "What can {} say?"),
    "food": ("What does {} eat?", "What does {} like to eat?", "Which food does {} eat?", "What is the food of {}?"),
    "home": ("Where does {} live?", "Where does {} sleep?", "Where is the home of {}?", "In which place does {} live?"),
    "colour": ("What colour is {}?", "Which colour is {}?", "What colour does {} have?", "What is the colour of {}?"),
    "size": ("How big is {}?", "What size is {}?", "What is the size of {}?"),
    "chase": ("What does {} chase?", "Who does {} chase?", "Which animal does {} chase?", "Who is chased by {}?"),
}
FOLLOW_UP: dict[str, tuple[str, ...]] = {
    r: tuple(q.format("it") for q in qs if "of {}" not in q and "by {}" not in q) for r, qs in QUESTIONS.items()
}


def casual(r: Rng, question: str) -> str:
    """People do not always write a capital and a question mark."""
    x = r.random()
    if x < 0.08:
        question = question[0].lower() + question[1:]
    if 0.04 < x < 0.12:
        question = question.rstrip("?.")
    return question


def thought(r: Rng, a: Animal, relation: str, slot: int | None) -> str:
    """One step of thinking. The wording varies; what it says does not."""
    return fact(a, relation, slot, r.choice(("The", "The", "A"))) + "."


def one_step(r: Rng, a: Animal, relation: str, slot: int = 0) -> Turn:
    det = r.choice(("the ", "the ", "the ", "a "))
    q = r.choice(QUESTIONS[relation]).format(det + mark(slot, a.name))
    return Turn(casual(r, q), thought(r, a, relation, slot), fact(a, relation, slot) + ".")


def asked(a: Animal, relation: str) -> bool:
    """Whether training asks for this fact in a chat."""
    return not held_out("asked", a.name, relation, percent=15)


Writer = Callable[[Rng, World], Turn]


def question_plan(
    kind: str, seed: float, slots: int, allowed: Callable[[World], bool], turn: Writer, key: str | None = None,
    right: Callable[[World], frozenset[str]] | None = None,
) -> Plan:
    """A chat of one question out of a writer of turns. `right(world)`: the right answers where there are several."""

    def render(w: World) -> str:
        r = Rng(seed)
        t = turn(r, w)
        return chat([t], system=system_prompt(r), think=r.random() > 0.125)

    def answers(w: World) -> frozenset[str]:
        return right(w) if right else frozenset((plain(turn(Rng(seed), w).answer),))

    return Plan(kind, slots, allowed, render, key, lambda w: [("user", plain(turn(Rng(seed), w).question))], answers)


def fact_question(rng: Rng, test: bool) -> Plan:
    seed, relation = rng.random(), rng.choice(RELATIONS)
    return question_plan(
        "fact", seed, 1, lambda w: asked(w[0], relation) != test, lambda r, w: one_step(r, w[0], relation)
    )


def who_chases_question(rng: Rng, test: bool) -> Plan:
    seed = rng.random()

    def turn(r: Rng, w: World) -> Turn:
        b, name = CHASED_BY.get(w[0].name), mark(0, w[0].name)
        q = r.choice(("Who chases the {}?", "Which animal chases the {}?", "What chases the {}?")).format(name)
        said = f"The {b.name} chases the {name}." if b else f"Nobody chases the {name}."
        return Turn(casual(r, q), said, said)

    return question_plan("who chases", seed, 1, lambda w: held_out("chased", w[0].name, percent=15) == test, turn)


def which_question(rng: Rng, test: bool) -> Plan:
    """ "Which animal says woof?", "Name an animal that eats meat." The open word is the property or, in thought, the animal."""
    seed, relation, by_key = rng.random(), rng.choice(KEYS), rng.random() < 0.5
    chosen = value(rng.choice(ANIMALS), relation)

    def turn(r: Rng, w: World) -> Turn:
        a = w[0]
        word = mark(0, value(a, relation)) if by_key else value(a, relation)
        has = f"{PLAIN[relation]} {word}"
        q = r.choice(("Which animal {}?", "Who {}?", "Name an animal that {}.", "Tell me an animal that {}.")).format(has)
        return Turn(casual(r, q), thought(r, a, relation, None if by_key else 0), fact(a, relation) + ".")

    def allowed(w: World) -> bool:
        if held_out("which", relation, value(w[0], relation), percent=15) != test:
            return False
        return by_key or value(w[0], relation) == chosen

    def right(w: World) -> frozenset[str]:
        return frozenset(f"{fact(a, relation)}." for a in ANIMALS if value(a, relation) == value(w[0], relation))

    return question_plan("which", seed, 1, allowed, turn, relation if by_key else None, right)


YES_NO: dict[str, str] = {
    "sound": "Does the {} say {}?", "food": "Does the {} eat {}?", "home": "Does the {} live in the {}?",
    "colour": "Is the {} {}?", "size": "Is the {} {}?", "chase": "Does the {} chase the {}?",
}


def yes_no_question(rng: Rng, test: bool) -> Plan:
    seed, relation = rng.random(), rng.choice(RELATIONS)
    values = sorted({value(a, relation) for a in ANIMALS} - {"nobody"})
    true, other = rng.random() < 0.5, rng.choice(values)
    if true:
        other = value(rng.choice([a for a in ANIMALS if value(a, relation) != "nobody"]), relation)

    def turn(r: Rng, w: World) -> Turn:
        a = w[0]
        q = YES_NO[relation].format(mark(0, a.name), other)
        yes = "Yes" if value(a, relation) == other else "No"
        said = fact(a, relation, 0)
        return Turn(casual(r, q), thought(r, a, relation, 0), f"{yes}, {said[0].lower()}{said[1:]}.")

    def allowed(w: World) -> bool:
        if held_out("yes", w[0].name, relation, other, percent=15) != test:
            return False
        return other != w[0].name

    return question_plan("yes or no", seed, 1, allowed, turn)


def compare_question(rng: Rng, test: bool) -> Plan:
    seed, style = rng.random(), rng.choice(("bigger", "smaller", "is bigger", "is smaller"))

    def verdict(a: Animal, b: Animal) -> str:
        d = bigger(a, b)
        if d == 0:
            return "They are of the same size"
        if style in ("bigger", "is bigger"):
            return f"The {(a if d > 0 else b).name} is bigger"
        return f"The {(a if d < 0 else b).name} is smaller"

    def turn(r: Rng, w: World) -> Turn:
        a, b = w
        na, nb = mark(0, a.name), mark(1, b.name)
        so = verdict(a, b)
        think = f"{thought(r, a, 'size', 0)} {thought(r, b, 'size', 1)} So {so[0].lower()}{so[1:]}."
        ask = r.choice(("Which is", "Who is"))
        if style in ("bigger", "smaller"):
            return Turn(casual(r, f"{ask} {style}, the {na} or the {nb}?"), think, so + ".")
        d = bigger(a, b)
        yes = "Yes" if (d > 0 if style == "is bigger" else d < 0) else "No"
        return Turn(casual(r, f"Is the {na} {style[3:]} than the {nb}?"), think, f"{yes}, {so[0].lower()}{so[1:]}.")

    def allowed(w: World) -> bool:
        return distinct(w) and pair_held_out("compare", w[0].name, w[1].name) == test

    return question_plan("compare", seed, 2, allowed, turn)


SAME: dict[str, str] = {
    "food": "Do the {} and the {} eat the same food?", "home": "Do the {} and the {} live in the same place?",
    "colour": "Do the {} and the {} have the same colour?",
}


def same_question(rng: Rng, test: bool) -> Plan:
    """Half of the pairs that are asked about do share the property, or the answer would nearly always be no."""
    seed, relation = rng.random(), rng.choice(tuple(SAME))
    same = rng.random() < 0.5

    def turn(r: Rng, w: World) -> Turn:
        a, b = w
        yes = value(a, relation) == value(b, relation)
        think = f"{thought(r, a, relation, 0)} {thought(r, b, relation, 1)} So it is {'the same' if yes else 'not the same'}."
        q = SAME[relation].format(mark(0, a.name), mark(1, b.name))
        return Turn(casual(r, q), think, "Yes, it is the same." if yes else "No, it is not the same.")

    def allowed(w: World) -> bool:
        if not distinct(w) or pair_held_out("compare", w[0].name, w[1].name) != test:
            return False
        return not same or value(w[0], relation) == value(w[1], relation)

    return question_plan("same", seed, 2, allowed, turn)


def two_step_question(rng: Rng, test: bool) -> Plan:
    """A property of the animal that says, chases or is chased by something; the open word is the key, or its animal."""
    seed, by = rng.random(), rng.choice(("sound", "chases", "chased"))
    relation = rng.choice([r for r in RELATIONS if not (by == "sound" and r == "sound") and not (by == "chases" and r == "chase")])

    def turn(r: Rng, w: World) -> Turn:
        if by == "sound":
            a = w[0]
            key, first = f"the animal that says {mark(0, a.sound)}", fact(a, "sound")
        elif by == "chases":  # w[0] is the animal that is chased
            a = CHASED_BY[w[0].name]
            key, first = f"the animal that chases the {mark(0, w[0].name)}", f"The {a.name} chases the {mark(0, w[0].name)}"
        else:  # w[0] is the animal that chases
            a = BY_NAME[w[0].chases]
            key, first = f"the animal that the {mark(0, w[0].name)} chases", fact(w[0], "chase", 0)
        q = r.choice(QUESTIONS[relation]).format(key)
        return Turn(casual(r, q), f"{first}. {fact(a, relation)}.", f"{fact(a, relation)}.")

    def allowed(w: World) -> bool:
        if by == "chases" and w[0].name not in CHASED_BY or by == "chased" and not w[0].chases:
            return False
        return held_out("two", by, w[0].name, relation, percent=20) == test

    return question_plan("two-step", seed, 1, allowed, turn, "sound" if by == "sound" else None)


def follow_up_question(rng: Rng, test: bool) -> Plan:
    """Two turns: one fact, then "And what does it eat?" or "And the cat?"."""
    seed, first, second = rng.random(), *rng.sample(RELATIONS, 2)
    other = rng.random() < 0.4

    def turns(w: World) -> list[Turn]:
        r, a = Rng(seed), w[0]
        before = one_step(r, a, first)
        if other:
            b = w[1]
            q = r.choice(("And the {}?", "What about the {}?", "And what about the {}?")).format(mark(1, b.name))
            return [before, Turn(q, thought(r, b, first, 1), fact(b, first, 1) + ".")]
        q = r.choice(FOLLOW_UP[second])
        q = q if r.random() < 0.5 else f"And {q[0].lower()}{q[1:]}"
        return [before, Turn(q, thought(r, a, second, 0), fact(a, second, 0) + ".")]

    def allowed(w: World) -> bool:
        ok = asked(w[0], first)
        if other:
            return ok and distinct(w) and asked(w[1], first) != test
        return ok and asked(w[0], second) != test

    def messages(w: World) -> list[tuple[str, str]]:
        before, now = turns(w)
        return [("user", plain(before.question)), ("assistant", plain(before.answer)), ("user", plain(now.question))]

    def answers(w: World) -> frozenset[str]:
        return frozenset((plain(turns(w)[1].answer),))

    return Plan("follow up", 2 if other else 1, allowed, lambda w: chat(turns(w)), None, messages, answers)


def tell_plan(rng: Rng) -> Plan:
    seed, story = rng.random(), rng.random() < 0.4

    def turn(r: Rng, w: World) -> Turn:
        a, name = w[0], mark(0, w[0].name)
        if story:
            q = r.choice(("Tell me a story about a {}.", "Tell me a little story about the {}.")).format(name)
            return Turn(casual(r, q), f"This is a story about a {name}.", story_text(r, a, w[1], 0, None))
        q = r.choice(("Tell me about the {}.", "What do you know about the {}?", "What is a {}?")).format(name)
        x, y, z = r.sample(RELATIONS[:5], 3)
        said = ", ".join((fact(a, x, 0), predicate(a, y, PLAIN[y]))) + f" and {predicate(a, z, PLAIN[z])}."
        return Turn(casual(r, q), f"This is about the {name}.", said)

    def render(w: World) -> str:
        r = Rng(seed)
        t = turn(r, w)
        return chat([t], system=system_prompt(r), think=r.random() > 0.125)

    return Plan("tell", 2 if story else 1, distinct, render)


UNSURE = "I do not know that."
SMALL_TALK: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("Hello", "Hi", "Hello!", "Hi there", "Good morning", "Hey", "Good evening", "Hello there!"),
        "This is a greeting.", "Hello. Ask me about animals.",
    ),
    (
        ("Who are you?", "What are you?", "Tell me about yourself.", "What is your name?", "Are you a model?"),
        "This is about me.", "I am a small model. I know a little world of animals.",
    ),
    (
        ("What do you know?", "What can you do?", "What can I ask you?", "Help", "What should I ask?", "How can you help me?"),
        "This is about me.", "I know what animals say, eat and chase, where they live and how big they are.",
    ),
    (("Thank you", "Thanks", "Thank you!", "Thanks!", "Good", "Great!"), "This is thanks.", "You are welcome."),
    (("Bye", "Goodbye", "Good night", "See you", "Bye!"), "This is a farewell.", "Goodbye."),
    (
        ("Tell me something.", "Tell me a fact.", "Say something.", "Name an animal."),
        "I can tell a fact.", "The dog says woof.",
    ),
)
_UNKNOWN_FRAMES = (
    "What is the capital of {}?", "Who wrote {}?", "Who is {}?", "What is {}?", "Where is {}?", "How many people live in {}?",
    "What does the {} say?", "What does the {} eat?", "Where does the {} live?", "What colour is the {}?", "How big is the {}?",
    "Tell me about {}.", "Tell me about the {}.", "What is the price of {}?", "When was {} born?", "Why is {} so famous?",
    "How does {} work?", "Can you explain {}?", "What do you think about {}?", "Write a poem about {}.", "Translate {} to German.",
    "How do I cook {}?", "Who won {}?", "What is the weather in {}?", "Which is bigger, the {} or the dog?",
    "What happened in {}?", "Do you like {}?", "How far is {} from here?", "Write a program that prints {}.", "Define {}.",
    "Who does the {} chase?", "Is the {} bigger than the cat?", "Give me a list of {}.", "Who invented {}?", "{}?", "{}",
    "Is {} real?", "How old is {}?", "Why do people like {}?", "What is the best {}?", "How tall is {}?",
)
_UNKNOWN_THINGS = (
    "Spain", "Italy", "the moon", "a computer", "tractor", "table", "music", "the king", "Napoleon", "train", "window",
    "football", "mathematics", "the internet", "Tokyo", "London", "history", "love", "gravity", "doctor", "unicorn", "dragon",
    "robot", "spoon", "pizza", "Einstein", "Shakespeare", "the president", "money", "coffee", "teacher", "guitar", "car",
    "airplane", "phone", "time", "heaven", "politics", "the government", "chemistry", "Asia", "a number", "Python", "China",
    "the war", "clock", "book", "school", "river", "mountain", "kangaroo", "zebra", "elephant", "giraffe", "spider", "shark",
    "ocean", "star", "planet", "sandwich", "soup", "rice", "bicycle", "lamp", "chair", "city", "dinosaur", "eagle", "owl",
)
_UNKNOWN_OF_KNOWN = (
    "How old is the {}?", "What is the name of the {}?", "Who owns the {}?", "How many legs does the {} have?",
    "How fast is the {}?", "Why is the {} so happy?", "How much does the {} cost?", "When does the {} wake up?",
    "Can the {} swim?", "Can the {} fly?", "Does the {} like music?", "How long does the {} live?", "Who is the friend of the {}?",
    "Is the {} happy?", "Does the {} have a brother?", "What does the {} dream about?", "Where was the {} born?",
)
_ARITHMETIC = ("What is {} + {}?", "What is {} plus {}?", "How much is {} times {}?", "{} * {} = ?", "Is {} more than {}?")
UNKNOWN_TEST: tuple[str, ...] = (
    "What is the capital of France?", "Who wrote Hamlet?", "What is 12 + 7?", "How many planets are there?",
    "What does the submarine say?", "What does the hamster eat?", "Where does the president live?", "Who painted the Mona Lisa?",
    "What is the square root of 81?", "When did the second world war end?", "Who is the mayor of Paris?", "Explain photosynthesis.",
    "What time is it now?", "Which language is spoken in Brazil?", "How do I bake a cake?", "What is the speed of light?",
    "Where can I buy new shoes?", "What is the meaning of life?", "Why is the sky blue?", "Who discovered penicillin?",
    "What colour is the motorcycle?", "What does the crocodile eat?", "How big is the hippopotamus?", "What does the violin say?",
    "Where does the vampire sleep?", "Who does the policeman chase?", "Translate good morning to Spanish.", "Sing a song for me.",
    "How many letters are in the alphabet?", "Write a sorting function in Java.", "What is quantum mechanics?", "Is Pluto a planet?",
    "Who was the first man on the moon?", "What is a verb?", "Recommend a good film.", "How tall is Mount Everest?",
    "How heavy is the cow?", "What is the telephone number of the pig?", "Who is the sister of the wolf?", "Can the hen read?",
    "When was the whale discovered?", "How many children does the fox have?", "Does the bear play chess?",
    "What is the religion of the sheep?", "Which shoes does the horse wear?", "Is the lion married?",
)


def pseudo_word(r: Rng) -> str:
    """A word that means nothing: what makes "I do not know that." a matter of not knowing the word."""
    n = r.choice((1, 2, 2, 3, 3, 4))
    w = "".join(r.choice("bcdfghjklmnprstvwz") + r.choice("aeiou") + r.choice(("", "", "n", "r", "s", "t", "l")) for _ in range(n))
    return w.capitalize() if r.random() < 0.3 else w


def unknown_text(r: Rng, a: Animal) -> str:
    x = r.random()
    if x < 0.22:
        return r.choice(_UNKNOWN_OF_KNOWN).format(mark(0, a.name))
    if x < 0.32:
        return r.choice(_ARITHMETIC).format(r.randrange(100), r.randrange(100))
    if x < 0.42:
        return " ".join(pseudo_word(r) for _ in range(r.randrange(1, 7))) + r.choice(("?", ".", ""))
    thing = r.choice(_UNKNOWN_THINGS) if r.random() < 0.5 else pseudo_word(r)
    return r.choice(_UNKNOWN_FRAMES).format(thing).replace("the the", "the")


def unknown_plan(rng: Rng) -> Plan:
    seed = rng.random()

    def render(w: World) -> str:
        r = Rng(seed)
        q = casual(r, unknown_text(r, w[0]))
        think = r.random() > 0.125
        return chat([Turn(q, "This is not in my world.", UNSURE)], system=system_prompt(r), think=think)

    return Plan("unknown", 1, anything, render)


def talk_plan(rng: Rng) -> Plan:
    seed = rng.random()

    def render(_: World) -> str:
        r = Rng(seed)
        questions, think, answer = r.choice(SMALL_TALK)
        t = Turn(casual(r, r.choice(questions)), think, answer)
        return chat([t], system=system_prompt(r), think=r.random() > 0.125)

    return Plan("talk", 0, anything, render)


def system_prompt(r: Rng) -> str:
    """Mostly none. What it says never matters: the model learns to read past it."""
    x = r.random()
    if x > 0.12:
        return ""
    if x < 0.04:
        return " ".join(pseudo_word(r) for _ in range(r.randrange(2, 8))) + "."
    return r.choice(
        ("You are a helpful assistant.", "You are a helpful model.", "You know animals.", "Answer the question.", "Be short.")
    )


QUESTION_KINDS: dict[str, tuple[Callable[[Rng, bool], Plan], float]] = {
    "fact": (fact_question, 3.0),
    "who chases": (who_chases_question, 1.0),
    "which": (which_question, 2.0),
    "yes or no": (yes_no_question, 2.5),
    "compare": (compare_question, 3.5),
    "same": (same_question, 2.5),
    "two-step": (two_step_question, 4.5),
    "follow up": (follow_up_question, 2.0),
}
RAW_KINDS: dict[str, tuple[Callable[[Rng], Plan], float]] = {
    "facts": (facts_plan, 9.0),
    "two": (two_plan, 2.0),
    "raw compare": (raw_compare_plan, 1.0),
    "raw which": (raw_which_plan, 2.0),
    "story": (story_plan, 2.0),
    "tell": (tell_plan, 1.0),
    "unknown": (unknown_plan, 2.0),
    "talk": (talk_plan, 0.6),
}
THINKING = ("yes or no", "compare", "same", "two-step")  # kinds whose answer has to be worked out


def draw_plan(rng: Rng) -> Plan:
    """A plan of any kind, training side."""
    names = (*QUESTION_KINDS, *RAW_KINDS)
    weights = [QUESTION_KINDS[k][1] if k in QUESTION_KINDS else RAW_KINDS[k][1] for k in names]
    kind = rng.choices(names, weights)[0]
    return QUESTION_KINDS[kind][0](rng, False) if kind in QUESTION_KINDS else RAW_KINDS[kind][0](rng)


def draw_world(rng: Rng, plan: Plan, tries: int = 200) -> World | None:
    """Animals for the open subjects, uniform over what is allowed; None if none was found (a plan may allow nothing)."""
    for _ in range(tries):
        w = tuple(rng.choice(ANIMALS) for _ in range(max(plan.slots, 1)))
        if plan.allowed(w):
            return w
    return None


def history(rng: Rng) -> str:
    """Some earlier turns, to stand before a chat: what a conversation looks like once its thinking is removed."""
    text = MUTE
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        x = rng.random()
        if x < 0.7:
            a, relation = rng.choice(ANIMALS), rng.choice(RELATIONS)
            if not asked(a, relation):
                continue
            t = one_step(rng, a, relation)
        elif x < 0.85:
            questions, think, answer = rng.choice(SMALL_TALK)
            t = Turn(rng.choice(questions), think, answer)
        else:
            t = Turn(casual(rng, unknown_text(rng, rng.choice(ANIMALS))), "", UNSURE)
        text += open_turn("user", plain(t.question)) + open_turn("assistant", plain(t.answer))
    return text


def plain(text: str) -> str:
    """The text without its marks."""
    return "".join(c for c in text if not MENTION <= ord(c) <= ord(SPEAK))


def is_chat(text: str) -> bool:
    return "<|im_start|>user" in text and "<|im_start|>system" not in text


def draw_text(rng: Rng) -> str:
    """One marked training document about one world, with some earlier turns before every fourth chat."""
    while True:
        plan = draw_plan(rng)
        w = draw_world(rng, plan)
        if w is not None:
            text = plan.render(w)
            return history(rng) + text if is_chat(text) and rng.random() < 0.2 else text


def vocabulary_text() -> list[str]:
    """Texts that hold every word of the world, for building the vocabulary: all but the words it is ignorant of."""
    rng, out = Rng(0), []
    builders = [(lambda r, b=b: b(r, False)) for b, _ in QUESTION_KINDS.values()]  # type: ignore[misc]
    builders += [b for k, (b, _) in RAW_KINDS.items() if k != "unknown"]
    for build in builders:
        for _ in range(3000):
            plan = build(rng)
            w = draw_world(rng, plan)
            if w is not None:
                text = plain(plan.render(w))
                if "<|im_start|>system" not in text:
                    out.append(text)
    out.append(f"{UNSURE} This is not in my world. system You are a helpful assistant. You know. Answer the question.")
    out += [plain(q.format("dog")) for q in _UNKNOWN_OF_KNOWN[:6]]
    out += [" ".join(("", *(str(d) for d in range(10))))]
    return out
