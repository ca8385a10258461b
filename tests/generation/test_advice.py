"""The line about models for which soft thinking is known to cost answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama import policy
from softllama.generation import advice
from softllama.hub import bundled, facts
from tests.conftest import Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model file that is nobody's bundled one."""
    return Path(shutil.copy(bundled.FOLDER / "words.gguf", tmp_path / "mine-Q8_0.gguf"))


@pytest.mark.parametrize(
    ("parameters", "size"),
    [(134_515_008, "135M"), (1_000_000_000, "1.0B"), (9_240_000_000, "9.2B"), (15e9, ""), (0, "")],
)
def test_the_line_has_the_models_size(
    file: Path, monkeypatch: pytest.MonkeyPatch, parameters: float, size: str
) -> None:
    monkeypatch.setattr(facts, "read", lambda _: {"parameters": parameters})
    with sl.load(file) as model:
        line = advice.small_model(model, policy.parse("soft_thinking:n=4"), "do this")
        assert (f"this one: {size})" in line and line.endswith("do this")) if size else line is None  # type: ignore[operator, union-attr]
        assert advice.small_model(model, policy.parse("greedy"), "x") is None
    with sl.load("bundled:words") as model:  # made for mixtures
        assert advice.small_model(model, policy.parse("soft_thinking"), "x") is None


def test_run_and_chat_say_it_once_and_not_when_quiet(file: Path, cli: Cli) -> None:
    commands: list[tuple[Any, ...]] = [
        ("run", "-m", file, "Who is bigger, the dog or the cat?", "--max-tokens", "4"),
        ("chat", "-m", file, "--private"),
    ]
    for command in commands:
        more = ("--policy", "soft_thinking")
        assert cli(*command, *more, stdin="")[2].count("models under about 14B") == 1
        assert "14B" not in cli(*command, *more, "-q", stdin="")[2]
        assert "14B" not in cli(*command, "--policy", "greedy", stdin="")[2]
