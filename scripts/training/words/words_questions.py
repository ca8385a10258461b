"""The questions about the animals, each with its thinking and its right answers, on the training or the test side.

Knows what is asked and what is held out of it. Does not know the form of a chat (`words_chat.py`) nor how often each
kind is drawn (`words_corpus.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from scripts.training.words.words_chat import Turn, casual, chat, system_prompt
from scripts.training.words.words_texts import story_text
from scripts.training.words.words_world import (
    ANIMALS,
    BY_NAME,
    CHASED_BY,
    PLAIN,
    RELATIONS,
    WORDING,
    Animal,
    Plan,
    Rng,
    World,
    asked,
    bigger,
    distinct,
    fact,
    held_out,
    mark,
    pair_held_out,
    plain,
    predicate,
    sameness,
    value,
)

KEYS = ("sound", "food", "home", "colour")  # properties that a question may name an animal by
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


def thought(r: Rng, a: Animal, relation: str, slot: int | None) -> str:
    """One step of thinking. The wording varies; what it says does not."""
    return fact(a, relation, slot, mark(WORDING, r.choice(("The", "The", "A")))) + "."


def one_step(r: Rng, a: Animal, relation: str, slot: int = 0) -> Turn:
    det = r.choice(("the ", "the ", "the ", "a "))
    q = r.choice(QUESTIONS[relation]).format(det + mark(slot, a.name))
    return Turn(casual(r, q), thought(r, a, relation, slot), fact(a, relation, slot) + ".")


Writer = Callable[[Rng, World], Turn]


def question_plan(
    kind: str,
    seed: float,
    slots: int,
    allowed: Callable[[World], bool],
    turn: Writer,
    key: str | None = None,
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
    """ "Which animal says woof?", "Name an animal that eats meat."

    The open word is the property or, by the other half of the plans, the animal in the thinking.
    """
    seed, relation, by_key = rng.random(), rng.choice(KEYS), rng.random() < 0.5
    chosen = value(rng.choice(ANIMALS), relation)

    def turn(r: Rng, w: World) -> Turn:
        a = w[0]
        word = mark(0, value(a, relation)) if by_key else value(a, relation)
        has = f"{PLAIN[relation]} {word}"
        forms = ("Which animal {}?", "Who {}?", "Name an animal that {}.", "Tell me an animal that {}.")
        q = r.choice(forms).format(has)
        return Turn(casual(r, q), thought(r, a, relation, None if by_key else 0), fact(a, relation) + ".")

    def allowed(w: World) -> bool:
        if held_out("which", relation, value(w[0], relation), percent=15) != test:
            return False
        return by_key or value(w[0], relation) == chosen

    def right(w: World) -> frozenset[str]:
        return frozenset(f"{fact(a, relation)}." for a in ANIMALS if value(a, relation) == value(w[0], relation))

    return question_plan("which", seed, 1, allowed, turn, relation if by_key else None, right)


YES_NO: dict[str, str] = {
    "sound": "Does the {} say {}?",
    "food": "Does the {} eat {}?",
    "home": "Does the {} live in the {}?",
    "colour": "Is the {} {}?",
    "size": "Is the {} {}?",
    "chase": "Does the {} chase the {}?",
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
        think = f"{thought(r, a, relation, 0)} So {sameness(other, value(a, relation))}."
        return Turn(casual(r, q), think, f"{yes}, {said[0].lower()}{said[1:]}.")

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
    "food": "Do the {} and the {} eat the same food?",
    "home": "Do the {} and the {} live in the same place?",
    "colour": "Do the {} and the {} have the same colour?",
}


def same_question(rng: Rng, test: bool) -> Plan:
    """Half of the pairs that are asked about do share the property, or the answer would nearly always be no."""
    seed, relation = rng.random(), rng.choice(tuple(SAME))
    same = rng.random() < 0.5

    def turn(r: Rng, w: World) -> Turn:
        a, b = w
        yes = value(a, relation) == value(b, relation)
        so = sameness(value(a, relation), value(b, relation))
        think = f"{thought(r, a, relation, 0)} {thought(r, b, relation, 1)} So {so}."
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
    relation = rng.choice([r for r in RELATIONS if (by, r) not in (("sound", "sound"), ("chases", "chase"))])

    def turn(r: Rng, w: World) -> Turn:
        if by == "sound":
            a = w[0]
            key, first = f"the animal that says {mark(0, a.sound)}", fact(a, "sound")
        elif by == "chases":  # w[0] is the animal that is chased
            a = CHASED_BY[w[0].name]
            chased = mark(0, w[0].name)
            key, first = f"the animal that chases the {chased}", f"The {a.name} chases the {chased}"
        else:  # w[0] is the animal that chases
            a = BY_NAME[w[0].chases]
            key, first = f"the animal that the {mark(0, w[0].name)} chases", fact(w[0], "chase", 0)
        q = r.choice(QUESTIONS[relation]).format(key)
        return Turn(casual(r, q), f"{first}. {fact(a, relation)}.", f"{fact(a, relation)}.")

    def allowed(w: World) -> bool:
        if (by == "chases" and w[0].name not in CHASED_BY) or (by == "chased" and not w[0].chases):
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
