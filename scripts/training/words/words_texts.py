"""The raw texts about the animals: facts in a row, two animals, comparisons, "which", stories.

Knows sentences and their order. Does not know chats (`words_questions.py`) nor how often each kind is drawn
(`words_corpus.py`). Every function returns a `Plan` and draws all its choices from a seed that is the same for every
world.
"""

from __future__ import annotations

from scripts.training.words.words_world import (
    ANIMALS,
    BY_NAME,
    OPENINGS,
    PLAIN,
    RELATIONS,
    VERBS,
    Animal,
    Plan,
    Rng,
    World,
    anything,
    bigger,
    distinct,
    fact,
    framed_fact,
    mark,
    pair_held_out,
    predicate,
    sameness,
    value,
)


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


def sameness_plan(rng: Rng) -> Plan:
    """Every word is the same as itself and as no other: without these texts, "yes" is learned fact by fact."""
    relation = rng.choice(RELATIONS)
    words = sorted({value(a, relation) for a in ANIMALS})
    a = rng.choice(words)
    b = a if rng.random() < 0.5 else rng.choice(words)
    opening = rng.choice(("So", *OPENINGS[1:]))
    return Plan("sameness", 0, anything, lambda _: f"{opening} {sameness(a, b)}.")


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
        (
            f"The {b.name} said {b.sound} and ran to the {b.home}.",
            f"The {b.name} ran to the {b.home} and said {b.sound}.",
        )
    )
    end = r.choice(
        (
            f"The {na} said {a.sound} and went home to the {a.home}.",
            f"The {na} was tired and ate {a.food}.",
            f"So the {na} ate {a.food} and slept in the {a.home}.",
        )
    )
    return f"{opening} {middle} {end}"


def story_plan(rng: Rng) -> Plan:
    seed = rng.random()
    if rng.random() < 0.4:
        return Plan("story", 1, lambda w: bool(w[0].chases), lambda w: chase_story(Rng(seed), w[0], 0))
    return Plan("story", 2, distinct, lambda w: story_text(Rng(seed), w[0], w[1], 0, 1))
