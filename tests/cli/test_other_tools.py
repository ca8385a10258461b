"""What people type who know llama.cpp, Ollama or the Hugging Face tools: taken, or answered with what to type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli

RUN = ("--max-tokens", 4, "--seed", 1)


@pytest.fixture
def file(write: Callable[..., Path]) -> Path:
    return write("llama")


def test_the_spellings_of_llama_cpp(cli: Cli, file: Path) -> None:
    ours = cli("run", "-q", "-m", file, "--prompt", "The dog", *RUN, "--n-ctx", 64, "--n-threads", 1)
    theirs = cli("run", "-q", "-m", file, "-p", "The dog", "-n", 4, "-s", 1, "-c", 64, "-t", 1, "-ngl", 0)
    assert ours == theirs
    assert ours[0] == 0


@pytest.mark.parametrize(
    ("option", "parameter"), [("--temp", "temperature"), ("--top-k", "top_k"), ("--top-p", "top_p")]
)
def test_a_sampling_option_is_a_parameter_of_a_policy(cli: Cli, option: str, parameter: str) -> None:
    code, out, err = cli("run", "The dog", option, 1)
    assert (code, out) == (2, "")
    assert f'--policy "sample:{parameter}=' in err


@pytest.mark.parametrize("command", ["run", "probe"])
def test_the_model_may_be_the_first_word(cli: Cli, file: Path, command: str) -> None:
    prompt, rest = ("The dog", RUN) if command == "run" else ("The{} says", ("--mix", "dog,cat"))
    named = cli(command, "-q", "-m", file, prompt, *rest) if command == "run" else cli(
        command, "-q", "-m", file, "--prompt", prompt, *rest
    )  # fmt: skip
    first = cli(command, "-q", file, prompt, *rest)
    assert first == named
    assert first[0] == 0
    assert "from the first word" in cli(command, file, prompt, *rest)[2]


def test_a_prompt_from_stdin_with_the_model_as_first_word(cli: Cli, file: Path) -> None:
    assert cli("run", "-q", file, *RUN, stdin="The dog") == cli("run", "-q", "-m", file, "The dog", *RUN)
    code, _, err = cli("run", "-q", file, *RUN, stdin="")
    assert code == 2
    assert "no prompt was given" in err


def test_a_model_s_name_is_a_prompt_if_m_names_a_model(cli: Cli, file: Path) -> None:
    code, out, _ = cli("run", "-q", "-m", file, "model.gguf", *RUN, "--json")
    assert code == 0
    assert json.loads(out)["prompt_text"].endswith("model.gguf")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["run", "Who", "is", "bigger"], "the prompt is 3 arguments", '"Who is bigger"'),
        (["run", "-m", "a.gguf", "b.gguf", "x"], "the model is given twice", "'b.gguf' as the first word"),
        (["chat", "-m", "a.gguf", "b.gguf"], "the model is given twice", "with -m"),
        (["run", "and/or"], "", ""),
        (["probe", "The {} says", "--prompt", "x", "--mix", "dog,cat"], "the prompt is given twice", "argument"),
        (["list"], "No such command 'list'", "'models'"),
        (["pull", "user/repo"], "No such command 'pull'", "'models pull'"),
        (["model.gguf"], "No such command 'model.gguf'", "'chat -m model.gguf'"),
    ],
)
def test_messages(cli: Cli, arguments: list[str], message: str, hint: str) -> None:
    code, _, err = cli(*arguments)
    assert code == (2 if message else 0)
    assert message in err
    assert hint in err


@pytest.mark.parametrize("command", ["list", "ls"])
def test_models_list(cli: Cli, command: str) -> None:
    assert cli("models", command) == cli("models")
    assert cli("models", command, "--json") == cli("models", "--json")


def test_only_what_was_typed_is_named_as_the_reason(cli: Cli) -> None:
    err = cli("models", "show", "nobody/nothing")[2]
    assert "--offline" not in err
    assert "fetches nothing" in err
    assert "--offline was given" in cli("run", "-m", "nobody/nothing", "--offline", "x")[2]


def test_a_pipe_does_not_wrap(cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a-model-with-a-very-long-name-indeed-" * 4 + "Q4_K_M"
    (tmp_path / f"{name}.gguf").write_bytes(file.read_bytes())
    monkeypatch.setenv("SOFTLLAMA_MODELS", str(tmp_path))
    out = cli("models")[1]
    assert any(name in line for line in out.splitlines())
    monkeypatch.setenv("COLUMNS", "70")  # which asks for it
    assert not any(name in line for line in cli("models")[1].splitlines())
    assert max(map(len, cli("models")[1].splitlines())) <= 70


def test_a_model_is_called_as_its_file(cli: Cli, file: Path, tmp_path: Path) -> None:
    """Two quantizations of one model have one title. Their files have two names."""
    import softllama as sl

    for name, shown in (("m-Q4_K_M", "m-Q4_K_M"), ("m", "m (F32)"), ("sha256-" + "0" * 64, "tiny (F32)")):
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(file.read_bytes())
        with sl.load(path) as model:
            assert model.name == shown.replace("tiny", model.title)


def test_no_component_is_the_heaviest_among_equals(cli: Cli, file: Path) -> None:
    equal = cli("probe", "-q", "-m", file, "The{} says", "--mix", "dog:0.5,cat:0.5")[1]
    assert "heaviest" not in equal
    assert "nearest of 2 components of equal weight" in equal
    assert "the heaviest component (cat)" in cli("probe", "-q", "-m", file, "The{} says", "--mix", "dog:0.4,cat:0.6")[1]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (
            "What is {animal}?",
            "{animal} in the prompt is text, as there is no mixture for it: --mix animal=dog:0.5,cat:0.5",
        ),
        ("The {} says", "{} in the prompt is text, as there is no mixture for it: --mix dog:0.5,cat:0.5"),
        ("int main() {}", ""),
        ("f(x){y} and {2}", ""),
        (r"\frac{a}{b}", ""),
        ('{"a": 1}', ""),
    ],
)
def test_braces_without_a_mixture_are_noticed(cli: Cli, file: Path, prompt: str, said: str) -> None:
    code, _, err = cli("run", "-m", file, prompt, *RUN)
    assert code == 0
    assert (said in err) if said else ("there is no mixture" not in err)


def test_a_word_that_is_there_twice_is_noticed(cli: Cli, file: Path) -> None:
    code, out, err = cli("probe", "-m", file, "The{} says", "--mix", "dog:0.5,dog:0.5")
    assert code == 0
    assert "'dog' is in the mixture more than once: its weights are added" in err
    assert "The[1 dog] says" in out
    assert "more than once" not in cli("probe", "-m", file, "The{} says", "--mix", "dog,cat")[2]


@pytest.mark.parametrize("mix", ["dog:0.5;cat:0.5", "dog:0.5 cat:0.5", "dog:0.5 | cat:0.5", "dog:0.5 + cat:0.5"])
def test_other_signs_between_words_are_named(cli: Cli, mix: str) -> None:
    code, _, err = cli("probe", "The {} says", "--mix", mix)
    assert code == 2
    assert 'a comma goes between words: "dog:0.5,cat:0.5"' in err
