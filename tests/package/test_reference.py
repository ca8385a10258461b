"""docs/commands.md is what the commands' help says, and every help text has its examples first."""

from __future__ import annotations

import inspect
import re
import runpy
from typing import Any

import pytest

from tests.conftest import ROOT

reference: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "dev" / "reference.py"))
COMMANDS = dict(reference["commands"]())


def test_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert written == reference["text"](), "python scripts/dev/reference.py writes it anew"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_texts_begin_with_a_sentence_and_examples(name: str) -> None:
    first, second, *_ = re.split(r"\n{2,}", inspect.cleandoc(COMMANDS[name].help or ""))
    assert first.endswith((".", "?"))
    assert second.startswith("\b\n")
    assert any(line.strip().startswith(("softllama ", "echo ")) for line in second.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for option in reference["config"].options(COMMANDS[name]):
        assert option.help, option.opts


def test_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in COMMANDS:
        assert " ".join(name.split()[:2]) in readme, name
