"""The sums task against arithmetic done by hand, and the two models that ship, through llama.cpp."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import softllama as sl
from scripts.training.sums import sums_task as task
from scripts.training.sums.sums_task import LOSING, MAIN, SPECIAL, Tokens

BY_HAND = np.array([[3, 5, 2, 7, 1], [9, 9, 9, 9, 9], [1, 1, 1, 1, 1], [1, 2, 4, 8, 9]])


def test_answers_by_hand() -> None:
    assert task.solve(MAIN, BY_HAND).tolist() == [0, 9, 1, 0]


@pytest.mark.parametrize("setting", [MAIN, LOSING])
def test_answers_are_the_smallest_of_all_signed_sums(setting: task.Setting) -> None:
    problems = setting.held_out("dev", 50)
    for problem, answer in zip(problems.tolist(), task.solve(setting, problems).tolist(), strict=True):
        sums = {sum(s * v for s, v in zip(signs, problem, strict=True)) for signs in product((1, -1), repeat=setting.m)}
        assert answer == min(s for s in sums if s >= 0)


def test_a_chain_adds_or_subtracts_each_number_and_ends_at_the_answer() -> None:
    chains = task.chains(MAIN, BY_HAND, np.random.default_rng(0))
    assert np.array_equal(np.abs(np.diff(chains, axis=1, prepend=0)), BY_HAND)
    assert chains[:, -1].tolist() == task.solve(MAIN, BY_HAND).tolist()


def test_reachable_sums_by_hand() -> None:
    reach = task.reachable(MAIN, BY_HAND[:1])[0]
    sums = [(np.flatnonzero(row) - MAIN.largest).tolist() for row in reach]
    assert sums[:3] == [[-3, 3], [-8, -2, 2, 8], [-10, -6, -4, 0, 4, 6, 10]]


@pytest.mark.parametrize("setting", [MAIN, LOSING])
def test_no_multiset_is_in_two_splits(setting: task.Setting) -> None:
    seen = [{tuple(sorted(p)) for p in setting.problems[setting.split_of == k].tolist()} for k in range(3)]
    assert sum(map(len, seen)) == len(set.union(*seen))
    held = {tuple(sorted(p)) for p in setting.held_out("test", 1000).tolist()}
    assert held <= seen[2]


def test_the_trivial_rules_fail() -> None:
    problems = MAIN.held_out("test", 1000)
    assert max(task.baselines(problems, task.solve(MAIN, problems)).values()) < 0.5


@pytest.mark.parametrize("name", ["sums", "sums-soft"])
def test_the_tokenizer_gives_the_ids_that_were_trained(name: str) -> None:
    problems = MAIN.held_out("test", 100)
    with sl.load(f"bundled:{name}") as model:
        for problem, ids in zip(problems, Tokens(MAIN).prompts(problems).tolist(), strict=True):
            text = task.prompt_text(problem)
            assert model.tokenize(text, bos=True) == ids
            assert model.detokenize(ids[1:]) == text
        for said in ("3 5 2 7 1", " 3, 5,2 7  1 ="):
            messages = [{"role": "user", "content": "9 9 9 9 9"}, {"role": "user", "content": said}]
            assert model.chat_template.render(messages) == " 3 5 2 7 1 =<think>"


def test_five_soft_thoughts_then_the_answer() -> None:
    tokens, right = Tokens(MAIN), 0
    problems = MAIN.held_out("dev", 100)
    close, end = SPECIAL.index(task.END_THINK), SPECIAL.index(task.END)
    with sl.load("bundled:sums-soft") as model, model.session() as session:
        for problem, answer in zip(problems, task.solve(MAIN, problems).tolist(), strict=True):
            session.truncate(0)
            d = session.feed(model.tokenize(task.prompt_text(problem), bos=True))
            for _ in range(MAIN.m):
                assert d.probs[close] < 0.01
                d = session.feed(sl.Mixture(np.arange(model.n_vocab), d.probs))
            assert d.probs[close] > 0.99
            said = int(session.feed(close).logits.argmax())
            right += tokens.value(said) == answer
            assert session.feed(said).probs[end] > 0.99
    assert right >= 97
