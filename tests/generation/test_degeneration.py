"""Loops, repetition and surprise are recognised in sequences of tokens; lists, code, counting and tables are none."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama import trace
from softllama.errors import UsageError
from softllama.generation.degeneration import SURPRISE, WINDOW, Degeneration, Monitor, Sign
from softllama.policy import Policy
from tests.conftest import Cli
from tests.support.tiny import CHAT_TEMPLATE

Load = Callable[..., sl.Model]


def tokens(text: str) -> list[str]:
    """Words with the space before them, digits one by one, other characters alone: as vocabularies have them."""
    return re.findall(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z0-9]|\s", text)


def watch(pieces: list[str], logp: float = -1.0) -> Degeneration | None:
    """The first thing that is found."""
    monitor, ids = Monitor(), {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    return next((f for p in pieces if (f := monitor.push(ids[p], logp, p.encode())) is not None), None)


STORY = (
    "Once upon a time there was a girl who lived in a small house by the sea. Every morning she went down to the water and "
    "looked for shells. One day she found a bottle with a letter in it, and the letter said that somebody was waiting."
)
GARBAGE = {
    "VVVV": ["V"] * 200,
    "VVVVVV, in pieces": ["VV", "V"] * 100,
    "boy boy boy": [" boy"] * 200,
    "a doubletach, a doubletach": tokens(" a doubletach," * 80),
    "a sentence": tokens(STORY + " The answer is that the cow is bigger than the dog and the cat." * 20),
    "a paragraph": tokens((STORY + "\n") * 8),
    "two phrases in no order": [
        t for i in np.random.default_rng(0).integers(0, 2, 80) for t in tokens((" I am happy.", " You are happy.")[i])
    ],
    "dashes without an end": ["-"] * 300,
}
FINE = {
    "a story": tokens(STORY),
    "a story told three times": tokens(STORY * 3),
    "counting": tokens(", ".join(map(str, range(1, 300)))),
    "a numbered list": tokens("".join(f"\n{i}. The {w} is an animal." for i, w in enumerate(STORY.split(), 1))),
    "a list of records": tokens(
        "".join(f'\n{{"name": "{w}", "age": {7 * i % 90}}},' for i, w in enumerate(STORY.split()))
    ),
    "code": tokens("".join(f"\n    {w} = read({w}, {i})\n    check({w})" for i, w in enumerate(STORY.split()))),
    "a table's rule": tokens("| name | age | size |\n" + "|---" * 8 + "|\n| a | 1 | 2 |"),
    "a matrix of zeros": tokens("[" + "0, " * 16 + "]"),
    "a refrain": tokens("".join(f" {v} La la la la la. Row the boat." for v in STORY.split(". "))),
    "multiplication": tokens("".join(f"\n7 x {i} = {7 * i}" for i in range(1, 60))),
    "laughing": tokens(STORY) + [" ha"] * 12 + tokens(STORY),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_recognised(name: str) -> None:
    found = watch(GARBAGE[name])
    assert found is not None
    assert found.sign in (Sign.LOOP, Sign.REPETITION)
    assert str(found.start) in found.message
    assert found.start <= found.step


@pytest.mark.parametrize("name", FINE)
def test_what_repeats_for_a_reason_is_not(name: str) -> None:
    assert watch(FINE[name]) is None


def test_where_it_began_and_what_is_repeated() -> None:
    start = tokens(STORY)
    found = watch([*start, *[" boy"] * 100])
    assert found is not None
    assert (found.sign, found.start, found.text, found.value) == (Sign.LOOP, len(start), " boy", 24)
    assert found.step == len(start) + 23
    assert found.to_dict()["text"] == " boy"


def test_surprise_is_a_mean() -> None:
    rng = np.random.default_rng(0)
    words = [f" w{i}" for i in rng.permutation(500)]
    assert watch(words, -SURPRISE + 0.01) is None
    found = watch(words, -SURPRISE - 0.01)
    assert found is not None
    assert (found.sign, found.step, found.start) == (Sign.SURPRISE, WINDOW - 1, 0)
    assert found.value == pytest.approx(SURPRISE + 0.01)
    assert watch(words, -np.inf) is not None


def test_a_fork_goes_on_by_itself() -> None:
    a = Monitor()
    for _ in range(20):
        a.push(1, -1.0, b"x")
    b = a.fork()
    assert all(b.push(i, -1.0, b"y") is None for i in range(100, 110))
    assert any(a.push(1, -1.0, b"x") is not None for _ in range(4))


# ---- in a generation


def stuck(token: int) -> Policy:
    """Feeds the model's vector, and reads out one token until it has done so 60 times; then another."""

    def rule(distribution: sl.Distribution, moment: sl.policy.Moment) -> sl.policy.Decision:
        return sl.policy.Decision(distribution.to_mixture(n=3), token if moment.step < 60 else token + 1, "soft")

    return sl.policy.as_policy(rule)


@pytest.fixture
def boy(load: Load) -> tuple[sl.Model, int]:
    model = load("llama")
    return model, model.tokenize(" dog")[0]


def test_a_warning_is_in_the_record(boy: tuple[sl.Model, int], tmp_path: Path) -> None:
    model, token = boy
    t = model.generate("The", policy=stuck(token), max_tokens=100, seed=1)
    (d,) = t.degenerations
    assert (d["sign"], d["start"], d["text"], t.stop_reason) == ("loop", 0, " dog", "max tokens")
    assert len(t.steps) == 100
    for name in ("t.jsonl", "t.npz"):
        t.save(tmp_path / name)
        again = trace.load(tmp_path / name)
        assert again.degenerations == t.degenerations
        assert "the text loops from step 0: ' dog'" in again.table()


def test_stop_ends_it(boy: tuple[sl.Model, int]) -> None:
    model, token = boy
    t = model.generate("The", policy=stuck(token), max_tokens=100, seed=1, on_loop="stop")
    assert (len(t.steps), t.stop_reason) == (24, "loop")


def test_hard_feeds_single_tokens_from_there_on(boy: tuple[sl.Model, int]) -> None:
    model, token = boy
    t = model.generate("The", policy=stuck(token), max_tokens=60, seed=1, on_loop="hard")
    assert [s.mode for s in t.steps] == ["soft"] * 24 + ["hard"] * 36
    assert all(len(s.mixture) == 1 for s in t.steps[24:])


def test_in_a_thinking_block_stop_ends_the_thinking(load: Load) -> None:
    model = load("llama", chat_template=CHAT_TEMPLATE)
    token = model.tokenize(" dog")[0]
    t = model.generate(
        "The", chat=True, think="on", think_tags="<a>,</a>", policy=stuck(token), max_tokens=100, seed=1, on_loop="stop"
    )
    assert t.n_thinking == 24
    assert t.n_answer > 0
    assert t.degenerations[0]["sign"] == "loop"


def test_the_command_says_it(cli: Cli, write: Callable[..., Path]) -> None:
    file = write("llama")
    run = ("run", "-m", file, "The", "--max-tokens", 80, "--seed", 1)  # a small random model repeats itself
    code, out, err = cli(*run)
    assert code == 0
    assert "warning: the text loops from step " in err
    assert "--on-loop stop ends" in err
    assert "warning" not in out
    assert "warning" not in cli(*run, "-q")[2]
    stopped = cli(*run, "--on-loop", "stop", "--json")
    assert json.loads(stopped[1])["stop_reason"] == "loop"
    assert "it was ended" in stopped[2]


def test_a_value_that_is_none(boy: tuple[sl.Model, int]) -> None:
    with pytest.raises(UsageError, match="on_loop = 'off' is not allowed"):
        boy[0].generate("The", on_loop="off")  # type: ignore[arg-type]
