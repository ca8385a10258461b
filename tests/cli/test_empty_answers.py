"""No answer is empty without a word: room is kept for it, and where it is empty all the same, stderr and the exit code say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.errors import EmptyAnswerError
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.run import no_answer, record
from softllama.generation.state import ROOM, ROOM_MOST, Generation
from softllama.policy import Decision
from softllama.prompts import thinking
from tests.conftest import Cli
from tests.support import tiny


@pytest.fixture(scope="module")
def chat(write: Callable[..., Path]) -> Path:
    return write("llama", chat_template=tiny.CHAT_TEMPLATE)


def always(*tokens: int) -> Any:
    """A policy that says these tokens one after another, the last one for ever."""
    left = list(tokens)

    def rule(d: sl.Distribution, moment: Any) -> Decision:
        token = left.pop(0) if len(left) > 1 else left[0]
        return Decision(sl.Mixture.one_hot(token), token, "hard")

    return rule


def thought(m: sl.Model, text: str, open_: str = "(think)", n_ctx: int | None = None, **limits: Any) -> sl.Trace:
    """The trace of a model that says `text`, and its last token for ever, in a block that the prompt opened."""
    close = "(done)" if open_ else thinking.PLAIN_CLOSE
    tags = thinking.make(m.tokenizer, open_, close)
    rule = always(*m.tokenizer.tokenize(text, lead=False))
    g = Generation(m, rule, (1, 2), GenerationOptions(**limits), 0, tags, True, False)
    for _ in loop.run(m, [g], n_ctx=n_ctx):
        pass
    return record(m, g)


@pytest.mark.parametrize("n", [16, 40, 200])
def test_a_quarter_of_the_room_is_the_answers(model: sl.Model, n: int) -> None:
    t = thought(model, "dog", max_tokens=n)
    assert len(t.steps) == n
    assert t.n_answer == n // 4
    assert t.thinking == "dog" * (n - n // 4 - len(model.tokenizer.tokenize("(done)", lead=False)))
    assert {s.why for s in t.steps if s.forced} >= {ROOM}


def test_room_is_kept_where_the_context_ends_before_the_limit(model: sl.Model) -> None:
    t = thought(model, "dog", max_tokens=4000, n_ctx=64)
    assert t.n_answer == (64 - 2) // 4
    assert t.answer.strip()


def test_a_budget_of_ones_own_counts_where_it_is_the_smaller(model: sl.Model) -> None:
    assert thought(model, "dog", max_tokens=40, think_budget=5).n_thinking == 5
    assert thought(model, "dog", max_tokens=40, think_budget=1000).n_answer == 10


def test_the_room_for_the_answer_is_bounded() -> None:
    assert ROOM_MOST == 512


@pytest.mark.parametrize(
    ("text", "end"),
    [("dog", "dog\n\n"), ("dog\n", "\n"), ("```\ndog", "dog\n```\n\n"), ("```\ndog\n", "\n```\n\n")],
)
def test_thinking_in_plain_text_ends_on_a_line_of_its_own(model: sl.Model, text: str, end: str) -> None:
    """Also where the budget ends inside a sentence or a code block."""
    n = len(model.tokenizer.tokenize(text, lead=False))
    t = thought(model, text, open_="", max_tokens=80, think_budget=n)
    assert t.thinking.endswith(end)
    assert t.thinking.count("```") % 2 == 0
    assert t.answer


@pytest.mark.parametrize("more", [("--think-tags", "<think>,</think>"), ("--think", "prompt")])
def test_a_model_that_never_closes_its_thinking_answers(cli: Cli, chat: Path, more: tuple[str, ...]) -> None:
    """Tags that the model has never seen, and thinking in plain text, used to take every token."""
    code, out, err = cli(
        "run", "-m", chat, "dog", "--policy", "top_mean", "--max-tokens", 120, "--seed", 3, *more, "--json"
    )
    assert code == 0, err
    t = json.loads(out)
    assert t["n_thinking"]
    assert t["answer"].strip()


def test_an_empty_answer_has_an_exit_code_of_its_own(cli: Cli, chat: Path, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    code, out, err = cli(
        "run", "-m", chat, "dog", "--max-tokens", 3, "--think-tags", "(think),(done)", "--trace", file, "-q"
    )
    assert code == EmptyAnswerError.exit_code == 3
    assert not out.strip()
    assert "the answer is empty: all 3 tokens went to thinking" in err
    assert "--think-budget" in err
    assert "--think off" in err
    assert file.exists()
    assert cli("run", "-m", chat, "dog", "--max-tokens", 0, "-q")[0] == 0  # none was asked for
    code, _, err = cli(
        "chat", "-m", chat, "--private", "--max-tokens", 3, "--think-tags", "(think),(done)", stdin="dog\n"
    )
    assert code == 3
    assert "the answer is empty" in err


@pytest.mark.parametrize(
    ("text", "stop", "reason"), [("dog(done)cat", ("cat",), "stop string 'cat'"), ("dog(done) \n", (), "white space")]
)
def test_reasons(model: sl.Model, text: str, stop: tuple[str, ...], reason: str) -> None:
    assert reason in no_answer(thought(model, text, max_tokens=50, stop=stop))


def test_hints_name_what_helps(cli: Cli, chat: Path) -> None:
    _, _, err = cli("run", "-m", chat, "dog", "--think", "on")
    assert err.index("--think prompt") < err.index("--think-tags")
    assert "<think>" not in err
