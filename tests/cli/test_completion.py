"""Shell completion: what is offered, in each shell's form, and that it is quick to find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from softllama.cli import cli as group
from softllama.cli import completion
from tests.conftest import Cli
from tests.hub.test_hub import HF, cached, home, manifest, put  # noqa: F401  (home: an empty one, for all)


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    shell = ShellComplete(group, {}, "softllama", completion.VARIABLE)
    return [str(c.value) for c in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def at_hand(home: Path) -> Path:  # noqa: F811
    put(home / "Downloads/mistral-7b.gguf")
    put(home / "Downloads/half.gguf.part")
    manifest(home / ".ollama/models", "registry.ollama.ai/library/llama3/8b")
    manifest(home / ".ollama/models", "registry.ollama.ai/library/llama3/70b", b"GGUF2")
    cached(home / HF, "user/repo", {"m-Q4_0.gguf": b"GGUF"})
    return home


def test_commands_and_options() -> None:
    assert offered("ru") == ["run"]
    assert "--max-tokens" in offered("run", "--m")
    assert offered("run", "--n-") == ["--n-ctx", "--n-gpu-layers", "--n-threads", "--n-batch", "--n-ubatch"]
    assert offered("run", "--gpu") == offered("run", "--thr") == []  # old spellings
    assert offered("models", "sh") == ["show"]
    assert offered("completion", "f") == ["fish"]
    assert offered("run", "--think", "o") == ["on", "off"]


def test_models(at_hand: Path) -> None:
    assert offered("run", "-m", "mist") == ["mistral-7b"]
    assert offered("probe", "--model", "ollama:") == ["ollama:llama3:70b", "ollama:llama3:8b"]
    assert offered("models", "show", "user") == ["user/repo:Q4_0"]
    assert offered("models", "pull", "us") == ["user/repo"]
    assert offered("run", "-m", "half") == ["half"]  # only files: it cannot be opened
    assert "bundled:sums" in offered("run", "-m", "bundled:")


def test_policies() -> None:
    assert offered("run", "--policy", "soft_") == ["soft_noise", "soft_thinking"]
    assert offered("run", "--answer-policy", "gre") == ["greedy"]
    assert offered("policies", "greedy", "gum") == ["gumbel"]


def test_a_broken_configuration_does_not_stop_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_CONFIG", str(tmp_path / "c.ini"))
    (tmp_path / "c.ini").write_text("[run\n")
    assert "--max-tokens" in offered("run", "--m")


@pytest.mark.parametrize(
    ("shell", "says"), [("bash", "complete -o nosort"), ("zsh", "#compdef softllama"), ("fish", "complete --no-files")]
)
def test_scripts(cli: Cli, shell: str, says: str) -> None:
    code, out, err = cli("completion", shell)
    assert (code, err) == (0, "")
    assert says in out
    assert completion.VARIABLE in out
    if program := shutil.which(shell):
        subprocess.run([program, "-n", "/dev/stdin"], input=out, text=True, check=True)


def test_an_unknown_shell(cli: Cli) -> None:
    code, out, err = cli("completion", "tcsh")
    assert (code, out) == (2, "")
    assert "bash" in err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("softllama ru", ["run"]),
        ("softllama run -m mist", ["mistral-7b"]),
        ("softllama run -m ollama:llama3:", ["70b", "8b"]),
        ("softllama run -m user/repo:Q", ["Q4_0"]),
        ("softllama run --policy=gre", ["greedy"]),
        ("softllama run --policy ", None),
    ],
)
def test_bash_itself(cli: Cli, at_hand: Path, tmp_path: Path, line: str, expected: list[str] | None) -> None:
    """bash runs the script with the words as its readline would split them, at colons and equals signs too."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    script = tmp_path / "complete.sh"
    script.write_text(cli("completion", "bash")[1])
    program = tmp_path / "bin" / "softllama"
    put(program, f'#!/bin/sh\nexec {sys.executable} -m softllama "$@"\n'.encode()).chmod(0o755)
    words = line.replace(":", " : ").replace("=", " = ").split() + ([""] if line[-1] in ": =" else [])
    quoted = " ".join(f"'{w}'" for w in words)
    text = f"""
compopt() {{ :; }}
source {script}
COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}
_softllama_completion softllama '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run([bash, "-c", text], capture_output=True, text=True, env=env, check=False, timeout=60)
    assert not done.stderr
    got = done.stdout.split()
    assert got == expected if expected is not None else {"greedy", "full", "swir"} <= set(got)


def test_names_are_completed_without_llama_cpp(at_hand: Path) -> None:
    code = """
import os, sys
os.environ |= {"_SOFTLLAMA_COMPLETE": "bash_complete", "COMP_WORDS": "softllama run -m mis", "COMP_CWORD": "3"}
from softllama.cli import main
try:
    main([])
finally:
    print("llama_cpp" in sys.modules, "numpy" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "plain,mistral-7b\n"
    assert done.stderr == "False False\n"
