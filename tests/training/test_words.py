"""The world of `words`: what is held out stays out, texts of several worlds agree, mixtures mean what they should."""

from __future__ import annotations

import random
from itertools import combinations

import pytest

pytest.importorskip("gguf")
from scripts.training.words import words_chat as chat
from scripts.training.words import words_corpus as corpus
from scripts.training.words import words_documents as documents
from scripts.training.words import words_vocab as vocab
from scripts.training.words import words_world as world


@pytest.fixture(scope="module")
def bpe() -> vocab.Bpe:
    return vocab.train(corpus.vocabulary_text())


def test_sounds_are_told_apart_and_nobody_is_chased_twice() -> None:
    assert len({a.sound for a in world.ANIMALS}) == len(world.ANIMALS) == 28
    chased = [a.chases for a in world.ANIMALS if a.chases]
    assert len(chased) == len(set(chased))
    assert set(chased) <= set(world.BY_NAME)


def test_dog_and_cat_are_held_out_as_a_mixture() -> None:
    assert world.pair_class("dog", "cat") == "held out"


def test_every_noun_is_one_token(bpe: vocab.Bpe) -> None:
    for a in world.ANIMALS:
        for word in (a.name, a.sound, a.food, a.home, a.colour, a.size):
            assert len(bpe.encode(f" {word}")) == 1, word


def test_text_comes_back_from_its_tokens(bpe: vocab.Bpe) -> None:
    rng = random.Random(2)
    for _ in range(300):
        text = world.plain(corpus.draw_text(rng))
        assert bpe.decode(bpe.encode(text)) == text


def test_no_training_text_has_a_held_out_frame() -> None:
    rng = random.Random(3)
    texts = " ".join(world.plain(corpus.draw_text(rng)) for _ in range(3000))
    for relation in world.RELATIONS:
        for frame in world.frames(relation, test=True):
            for a in world.ANIMALS[:6]:
                sentence = f"{frame.format(a.name)} {world.value(a, relation)}"
                assert sentence not in texts, sentence


def test_no_training_question_is_a_test_question() -> None:
    rng = random.Random(4)
    for make, _ in corpus.QUESTION_KINDS.values():
        sides: list[set[str]] = [set(), set()]
        for i in range(600):
            plan = make(rng, bool(i % 2))
            w = corpus.draw_world(rng, plan)
            if w is not None and plan.messages is not None:
                sides[i % 2].add(str(plan.messages(w)).lower())
        assert all(sides), make.__name__
        assert not sides[0] & sides[1], make.__name__


def test_worlds_of_a_plan_agree_until_a_fact_differs() -> None:
    plan = corpus.facts_plan(random.Random(5))
    dog, cow = (world.plain(plan.render((world.BY_NAME[n],))).split() for n in ("dog", "cow"))
    different = {x for a, b in zip(dog, cow, strict=False) if a != b for x in (a.strip(".,"), b.strip(".,"))}
    known = {v for n in ("dog", "cow") for v in vars(world.BY_NAME[n]).values()}
    assert different <= known | {"the", "nobody"}


def test_mixed_documents_hold_no_held_out_pair_and_sum_to_one(bpe: vocab.Bpe) -> None:
    rng, names = random.Random(6), {bpe.encode(f" {a.name}")[0]: a.name for a in world.ANIMALS}
    mixed = 0
    for _ in range(1500):
        d = documents.mixed_document(bpe, rng)
        for position, m in d.inputs.items():
            assert sum(m.values()) == pytest.approx(1)
            if {bpe.tokens[i].strip("Ġ") for i in m} == {"The", "A"}:
                continue
            assert not d.loss[position]
            animals = [names[i] for i in m if i in names]
            mixed += len(animals) > 1
            for a, b in combinations(animals, 2):
                assert world.pair_class(a, b) == "trained", (a, b)
        for position, t in d.targets.items():
            assert sum(t.values()) == pytest.approx(1)
            assert t[d.ids[position]] > 0
    assert mixed > 500


def test_the_target_is_the_posterior(bpe: vocab.Bpe) -> None:
    """Cow and sheep eat grass, the horse does not: grass keeps the ratio of the two, hay leaves one world."""

    def render(w: world.World) -> str:
        return f"The {world.mark(0, w[0].name)} eats {w[0].food}. It says {w[0].sound}."

    plan = world.Plan("test", 1, world.anything, render)
    worlds = [((world.BY_NAME[n],), p) for n, p in (("cow", 0.3), ("sheep", 0.1), ("horse", 0.6))]
    one = {w: bpe.encode(f" {w}")[0] for w in ("grass", "hay", "moo", "baa", "neigh")}
    seen = set()
    for seed in range(40):
        d = documents.superpose(bpe, random.Random(seed), plan, worlds, {0})
        assert list(d.inputs) == [2]
        assert d.targets[4] == pytest.approx({one["grass"]: 0.4, one["hay"]: 0.6})
        if d.ids[4] == one["grass"]:
            assert d.targets[8] == pytest.approx({one["moo"]: 0.75, one["baa"]: 0.25})
        else:
            assert 8 not in d.targets
            assert d.ids[8] == one["neigh"]
        seen.add(d.ids[8])
    assert len(seen) == 3


def test_the_template_writes_what_training_saw() -> None:
    jinja2 = pytest.importorskip("jinja2.sandbox")
    environment = jinja2.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(chat.CHAT_TEMPLATE)
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What does the dog say?"},
        {"role": "assistant", "content": "<think>\nThe dog says woof.\n</think>\n\nThe dog says woof."},
        {"role": "user", "content": "And what does it eat?"},
    ]
    turns = [
        chat.Turn("What does the dog say?", "", "The dog says woof."),
        chat.Turn("And what does it eat?", "The dog eats bones.", "The dog eats bones."),
    ]
    for think, opening in ((True, ""), (False, "<think>\n\n</think>\n\n")):
        seen = world.plain(chat.chat(turns, system="Be short.", think=think))
        asked = template.render(messages=messages, add_generation_prompt=True, enable_thinking=think)
        assert seen.startswith(asked)
        assert asked.endswith(f"assistant\n{opening}")
