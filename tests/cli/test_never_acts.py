"""A policy that would never act, as the model has no thinking block, is never run without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support import tiny

SOFT = ("soft_thinking", "full", "gumbel", "swir:where=thinking", "hidden")
THINKS = "{#<think></think>#}" + tiny.CHAT_TEMPLATE


@pytest.fixture(scope="module")
def plain(write: Callable[..., Path]) -> Path:
    """A model with a chat template and without a thinking block."""
    return write("llama", chat_template=tiny.CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "p.jsonl"
    path.write_text('{"question": "dog", "answer": "cat"}\n{"question": "cat", "answer": "dog"}\n')
    return path


@pytest.mark.parametrize("policy", SOFT)
def test_run_says_so_and_asks_for_thinking_in_plain_text(cli: Cli, plain: Path, policy: str) -> None:
    code, out, err = cli("run", "-m", plain, "dog", "--policy", policy, "--max-tokens", 8, "--seed", 1, "--json")
    assert code in (0, 3)
    line = next(x for x in err.splitlines() if "would never act" in x)
    assert "has no thinking block" in line
    assert "--think prompt" in line
    assert "--where everywhere" in line
    assert json.loads(out)["thinking_tags"] == ["", "Answer:"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--policy", "greedy"),
        (),
        ("--policy", "soft_thinking", "--where", "everywhere"),
        ("--policy", "soft_thinking", "--think", "prompt"),
        ("--policy", "soft_thinking", "--raw"),
        ("--policy", "soft_thinking", "--think-tags", "(a),(b)"),
    ],
)
def test_run_says_nothing_where_the_policy_acts(cli: Cli, plain: Path, arguments: tuple[str, ...]) -> None:
    _, _, err = cli("run", "-m", plain, "dog", "--max-tokens", 4, *arguments)
    assert "never act" not in err


def test_thinking_that_is_switched_off_stays_off(cli: Cli, plain: Path, write: Callable[..., Path]) -> None:
    for path in (plain, write("llama", chat_template=THINKS)):
        _, out, err = cli(
            "run", "-m", path, "dog", "--policy", "soft_thinking", "--think", "off", "--max-tokens", 4, "--json"
        )
        assert "thinking is switched off, so soft_thinking would never act" in err
        assert json.loads(out)["n_thinking"] == 0


def test_chat_says_so_and_asks_for_thinking_in_plain_text(cli: Cli, plain: Path) -> None:
    given = ("chat", "-m", plain, "--private", "--max-tokens", 8, "--seed", 1)
    _, _, err = cli(*given, "--policy", "soft_thinking", stdin="/set think\n")
    assert err.count("would never act") == 1
    assert "/think prompt" in err
    _, _, err = cli(*given, stdin="/policy soft_thinking\n/think\n")
    assert err.count("would never act") == 1
    assert "thinking: prompt" in err
    _, _, err = cli(*given, stdin="/policy greedy\n/set policy full\n/think\n")
    assert "thinking: prompt" in err
    _, _, err = cli(*given, "--think", "prompt", "--policy", "soft_thinking", stdin="dog\n")
    assert "never act" not in err
    _, _, err = cli(*given, stdin="/think prompt\n/policy\n")
    assert "thinking: prompt" in err


def test_eval_refuses_a_method_that_never_acts(cli: Cli, plain: Path, problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    given = ("eval", problems, "-m", plain, "--max-tokens", 4, "-o", out, "--policy", "greedy")
    for policy in (*SOFT, "vote:samples=2,policy=soft_thinking"):
        code, _, err = cli(*given, "--policy", policy)
        assert code == 2
        assert "would never act" in err
        assert "--allow-inactive" in err
        assert not out.exists()
    code, text, _ = cli(*given, "--policy", "soft_thinking", "--allow-inactive", "--json")
    assert code == 0
    assert "share soft" in text


def test_eval_shows_the_share_of_soft_steps(cli: Cli, plain: Path, problems: Path, tmp_path: Path) -> None:
    given = ("eval", problems, "-m", plain, "--max-tokens", 6, "-o", tmp_path / "r.jsonl", "--csv")
    code, text, _ = cli(*given, "--policy", "greedy", "--policy", "top_mean:where=everywhere")
    assert code == 0
    shares = {
        x.split(",")[1]: float(x.split(",")[3])
        for x in text.splitlines()
        if ",share soft," in x and x.startswith("acc")
    }
    assert shares["greedy"] == 0
    assert shares["top_mean:where=everywhere"] > 0
    code, text, _ = cli(*given[:-1], "--policy", "greedy", "--policy", "top_mean:where=everywhere")
    assert "highest share" not in text
    assert "solves any of the 2 problems" in " ".join(text.split())
