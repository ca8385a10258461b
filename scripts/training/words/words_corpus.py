"""How often each kind of text is drawn, and the stream of training texts.

Knows every kind of plan and its weight. Does not know tokens or mixtures (`train_words.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scripts.training.words.words_chat import (
    OF_KNOWN,
    SMALL_TALK,
    UNSURE,
    Turn,
    casual,
    open_turn,
    talk_plan,
    unknown_plan,
    unknown_text,
)
from scripts.training.words.words_questions import (
    compare_question,
    fact_question,
    follow_up_question,
    one_step,
    same_question,
    tell_plan,
    two_step_question,
    which_question,
    who_chases_question,
    yes_no_question,
)
from scripts.training.words.words_texts import (
    facts_plan,
    raw_compare_plan,
    raw_which_plan,
    sameness_plan,
    story_plan,
    two_plan,
)
from scripts.training.words.words_world import ANIMALS, MUTE, RELATIONS, Plan, Rng, World, asked, plain

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
    "sameness": (sameness_plan, 1.2),
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
    """Animals for the open subjects, uniform over what is allowed; None if none was found."""
    for _ in range(tries):
        w = tuple(rng.choice(ANIMALS) for _ in range(max(plan.slots, 1)))
        if plan.allowed(w):
            return w
    return None


def history(rng: Rng) -> str:
    """Some earlier turns, to stand before a chat: what a conversation looks like once its thinking is removed."""
    text = MUTE
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8))):
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
    rng, out = Rng(0), list[str]()
    builders: list[Callable[[], Plan]] = [partial(b, rng, False) for b, _ in QUESTION_KINDS.values()]
    builders += [partial(b, rng) for k, (b, _) in RAW_KINDS.items() if k != "unknown"]
    for build in builders:
        for _ in range(3000):
            plan = build()
            w = draw_world(rng, plan)
            if w is not None:
                text = plain(plan.render(w))
                if "<|im_start|>system" not in text:
                    out.append(text)
    out.append(f"{UNSURE} This is not in my world. system You are a helpful assistant. You know. Answer the question.")
    out += [plain(q.format("dog")) for q in OF_KNOWN[:6]]
    out += [" ".join(("", *(str(d) for d in range(10))))]
    return out
