"""softllama adapt: what is refused before any work, and what an installation without PyTorch says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "a.txt"), "an adapter is a GGUF, but -o names 'a.txt'"),
        (("-o", "no/such/a.gguf"), "there is no folder"),
        (("-o", "a.gguf", "--steps", "3", "--minutes", "2"), "--steps and --minutes exclude each other"),
        (("-o", "a.gguf", "--lora", "b.gguf"), "--lora does not go with adapt"),
        (("-o", "a.gguf", "--rank", "0"), "--rank"),
        (("-o", "a.gguf", "--minutes", "0"), "--minutes"),
        ((), "-o"),
    ],
)
def test_what_is_refused_before_any_work(
    arguments: tuple[str, ...], message: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = cli("adapt", *arguments)
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert list(tmp_path.iterdir()) == []


def test_no_other_file_is_replaced(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "model.gguf"
    other.write_bytes(b"GGUF of something else")
    code, _, stderr = cli("adapt", "-o", str(other))
    assert code == 2
    assert "is not an adapter" in stderr
    assert other.read_bytes() == b"GGUF of something else"


@pytest.mark.parametrize("missing", ["torch", "transformers", "peft"])
def test_without_pytorch_the_extra_is_named(
    missing: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    there = object()
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: (None if name == missing else find(name, *a) or there) if name in EXTRA else find(name, *a),
    )
    code, _, stderr = cli("adapt", "-o", str(tmp_path / "a.gguf"))
    assert code == 2
    assert f"{missing} is not installed" in stderr
    assert "pip install 'softllama[adapt]'" in stderr


EXTRA = ("torch", "transformers", "peft", "gguf")
