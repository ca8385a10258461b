"""Help in groups, and what is said of a command, option or model that does not exist."""

from __future__ import annotations

import pytest

from softllama.cli import help
from tests.conftest import Cli


def titles(text: str) -> list[str]:
    return [line[:-1] for line in text.splitlines() if line.endswith(":") and line[:1].isalpha()]


def test_the_options_of_a_long_command_are_in_groups(cli: Cli) -> None:
    assert titles(cli("run", "--help")[1]) == [*(t for t in help.GROUPS if t != "Layers"), help.OTHERS]
    probe = titles(cli("probe", "--help")[1])
    assert probe == ["Prompt", "Mixtures", "Output", "Model", "llama.cpp", "Options"]
    assert titles(cli("policies", "--help")[1]) == ["Options"]


def test_every_option_is_in_one_group(cli: Cli) -> None:
    lines = [line.split()[0] for line in cli("run", "--help")[1].splitlines() if line.startswith("  -")]
    assert {"--prompt", "--mix", "--policy", "--think", "--beams", "--json", "-m,", "-h,"} <= set(lines)
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prob"], "No such command 'prob'. Did you mean 'probe'? There are: probe, "),
        (["zzz"], "No such command 'zzz'. There are: probe, lens, run, chat, "),
        (["study", "mixin"], "No such command 'mixin'. Did you mean 'mixing'? There are: mixing, "),
        (["models", "shwo"], "Did you mean 'show'? There are: show, dequantize, pull."),
        (["generate"], "Did you mean 'run'?"),
    ],
)
def test_a_command_that_does_not_exist(cli: Cli, words: list[str], said: str) -> None:
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_two_options_are_suggested_at_most(cli: Cli) -> None:
    assert "Did you mean '--temp'?" in cli("run", "x", "--tempo", 1)[2]
    assert "Did you mean '--policy'?" in cli("eval", "x", "--polcy", 1)[2]
    assert "Did you mean" not in cli("run", "x", "--n", 1)[2]


def test_a_model_that_does_not_exist(cli: Cli) -> None:
    code, _, err = cli("run", "x", "-m", "wrods")
    assert code == 1
    assert "did you mean bundled:words or bundled:words-mixed?" in err
    assert "softllama models pull user/repo" in err
    assert "did you mean" not in cli("run", "x", "-m", "qqqqq")[2]
