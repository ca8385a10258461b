"""Write small generation tasks for `softllama eval`: chains of sums, two-step look-ups, orders and counts in plain English.

    python scripts/bench/thinking_tasks.py tasks --problems 150 --seed 0
    python scripts/bench/thinking_gain.py gain -m model.gguf --lora mix.lora.gguf      # asks them in several ways

Each task is two files: NAME.jsonl has the problems, NAME.shots.jsonl examples with their steps written out. A model of 0.1 billion
parameters solves a part of each with the examples before the question, so that a better or a worse way of decoding shows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

Problem = tuple[str, str, str]  # question, steps, answer
SHOTS = 4


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words("Anna Ben Carl Dora Emma Fred Gina Henry Ida Jack Kate Leo Mary Nick Olga Paul Rosa Sam Tina Will")
THINGS = _words("coin key ring pen book ball cup knife map bell apple letter")
HOLDERS = _words("box bag basket drawer bucket jar chest cart sack case")
PLACES = _words("kitchen garden cellar garage attic bedroom barn office hall shed")
PAIRS = (
    ("big", "small"),
    ("hot", "cold"),
    ("old", "new"),
    ("light", "dark"),
    ("heavy", "light"),
    ("wet", "dry"),
    ("hard", "soft"),
    ("long", "short"),
    ("clean", "dirty"),
    ("full", "empty"),
    ("thick", "thin"),
    ("good", "bad"),
)


def sums(rng: random.Random) -> Problem:
    """A small number that is changed twice."""
    now = rng.randint(2, 6)
    question, steps = [f"Start with {now}."], []
    for _ in range(2):
        by = rng.randint(1, 4)
        if now > by and rng.random() < 0.4:
            question.append(f"Take away {by}.")
            steps.append(f"{now} - {by} = {now - by}.")
            now -= by
        else:
            question.append(f"Add {by}.")
            steps.append(f"{now} + {by} = {now + by}.")
            now += by
    return " ".join(question), " ".join(steps), str(now)


def rooms(rng: random.Random) -> Problem:
    """A thing is in something that is in a room: one of two things."""
    n = 2
    things, holders, places = rng.sample(THINGS, n), rng.sample(HOLDERS, n), rng.sample(PLACES, n)
    facts = [f"The {t} is in the {h}." for t, h in zip(things, holders, strict=True)]
    facts += [f"The {h} is in the {p}." for h, p in zip(holders, places, strict=True)]
    rng.shuffle(facts)
    steps = f"The {things[0]} is in the {holders[0]}. The {holders[0]} is in the {places[0]}."
    return f"{' '.join(facts)} In which room is the {things[0]}?", steps, places[0]


def lookup(rng: random.Random) -> Problem:
    """Who has which thing: one fact of five, asked for at once."""
    n = 5
    names, things = rng.sample(NAMES, n), rng.sample(THINGS, n)
    facts = [f"{name} has a {t}." for name, t in zip(names, things, strict=True)]
    i = rng.randrange(n)
    return f"{' '.join(facts)} Who has the {things[i]}?", "", names[i]


def oldest(rng: random.Random) -> Problem:
    """Who is the oldest of three, from two comparisons?"""
    names = rng.sample(NAMES, 3)
    facts = [f"{a} is older than {b}." for a, b in itertools.pairwise(names)]
    rng.shuffle(facts)
    return f"{' '.join(facts)} Who is the oldest?", f"From old to young: {', '.join(names)}.", names[0]


def opposite(rng: random.Random) -> Problem:
    """The opposite of a word, and then something of that kind."""
    a, b = rng.choice(PAIRS)
    if rng.random() < 0.5:
        a, b = b, a
    thing, other = rng.sample(THINGS, 2)
    facts = [f"The {thing} is {a}.", f"The {other} is {b}."]
    rng.shuffle(facts)
    return f"{' '.join(facts)} Which is the opposite of {a}?", f"The opposite of {a} is {b}. The {other} is {b}.", other


TASKS: dict[str, Callable[[random.Random], Problem]] = {
    "sums": sums,
    "rooms": rooms,
    "lookup": lookup,
    "oldest": oldest,
    "opposite": opposite,
}


def write(folder: Path, name: str, problems: int, seed: int) -> None:
    """Write a task's examples and its problems, none of which is among the examples or twice among the problems."""
    rng = random.Random(f"{seed} {name}")
    drawn: dict[str, Problem] = {}
    while len(drawn) < SHOTS + problems:
        p = TASKS[name](rng)
        drawn.setdefault(p[0], p)
    rows = [
        {
            "question": f"Question: {question}",
            "solution": " ".join(x for x in (f"Answer: {steps}".strip(), f"The answer is {answer}.") if x),
            "answer": answer,
        }
        for question, steps, answer in drawn.values()
    ]
    for file, part in ((f"{name}.shots.jsonl", rows[:SHOTS]), (f"{name}.jsonl", rows[SHOTS:])):
        (folder / file).write_text("".join(json.dumps(r) + "\n" for r in part), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--task", choices=sorted(TASKS), action="append", help="One of them; repeat it for several.")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    for name in a.task or TASKS:
        write(a.folder, name, a.problems, a.seed)


if __name__ == "__main__":
    main()
