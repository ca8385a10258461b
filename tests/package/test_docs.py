"""The README and the pages of docs/ do what they show: every block of Python and of shell runs, in order, file by file.

A block that cannot run says why in the line before it: `<!-- not run: it needs the network -->`. The blocks of a file
share one folder and one namespace. In that folder lie model.gguf, which is the bundled model, and the small files of FILES.
A block of shell holds commands of softllama, which must end with exit code 0, and what HARMLESS lists beside them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import click
import numpy as np
import pytest

import softllama as sl
from softllama.cli import cli
from tests.conftest import ROOT

PAGES = ["README.md", *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))]
HELP = "docs/commands.md"  # made from the commands' help, so it has no marks; test_the_examples_of_the_help_are_read
HARMLESS = ("cat", "cd", "cp", "curl", "echo", "export", "head", "ls", "mkdir", "printf", "tail", "unset", "wc")
SERVED = {"docs/serve.md": "http://127.0.0.1:8080"}  # pages whose blocks ask a server, and where they think it is
SHOWN = {
    "",
    "c",
    "csv",
    "html",
    "ini",
    "json",
    "jsonl",
    "markdown",
    "text",
    "toml",
    "yaml",
}  # languages that nothing runs
SECONDS = 300  # for a command, on a machine that does other things, too
MODELS = Path(sl.__file__).parent / "models"
DATA = Path(sl.__file__).parent / "study" / "data"


def some(name: str) -> Callable[[Path], None]:
    """A writer of the first problems of a bundled file."""

    def write(to: Path) -> None:
        with (DATA / name).open(encoding="utf-8") as f:
            to.write_text("".join(islice(f, 3)), encoding="utf-8")

    return write


def shown(name: str) -> Callable[[Path], None]:
    """A writer of the block of docs/extending.md that begins with the file's name as a docstring."""

    def write(to: Path) -> None:
        text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
        (block,) = [b for b in blocks(text) if b.language == "python" and b.text.startswith(f'"""{name}"""')]
        to.write_text(block.text, encoding="utf-8")

    return write


FILES: dict[str, Callable[[Path], None]] = {
    "model.gguf": lambda to: shutil.copyfile(MODELS / "words.gguf", to) and None,
    "problems.jsonl": some("words.jsonl"),
    "sums.jsonl": some("sums.jsonl"),
    "rules.txt": lambda to: to.write_text("Answer in one sentence.\n") and None,
    "mine.py": shown("mine.py"),
    "prompt.npy": lambda to: np.save(to, np.full((3, 192), 0.01, dtype=np.float32)),
    "v.npy": lambda to: np.save(to, np.linspace(-1, 1, 192, dtype=np.float32)),
    "vector.npy": lambda to: np.save(to, np.full(923, 1 / 923, dtype=np.float32)),
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the number of its first line, and why it does not run."""

    language: str
    text: str
    line: int
    reason: str | None


def blocks(markdown: str) -> Iterator[Block]:
    lines = markdown.splitlines()
    reason: str | None = None
    i = 0
    while i < len(lines):
        if mark := re.fullmatch(r"\s*<!-- not run: *(.*?) *-->", lines[i]):
            assert reason is None, f"line {i + 1}: no block follows the mark before"
            reason = mark[1]
            assert reason, f"line {i + 1}: a mark gives a reason"
        elif fence := re.fullmatch(r"( *)(`{3,}|~{3,}) *(\w*)", lines[i]):
            end = next(j for j in range(i + 1, len(lines)) if lines[j].strip() == fence[2])
            text = "\n".join(line.removeprefix(fence[1]) for line in lines[i + 1 : end]) + "\n"
            yield Block(fence[3], text, i + 2, reason)
            reason, i = None, end
        else:
            assert reason is None or not lines[i].strip(), f"line {i + 1}: a mark stands just before its block"
        i += 1
    assert reason is None, "no block follows the last mark"


def commands(block: Block) -> Iterator[tuple[int, str]]:
    """Line number and text of each command; a backslash at a line's end continues it."""
    start, parts = block.line, []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not parts:
            start = number
        parts.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            command = " ".join(parts).strip()
            parts = []
            if command and not command.startswith("#"):
                yield start, command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where blocks run: softllama is a command there, and nothing is fetched."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "softllama"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m softllama "$@"\n')
    program.chmod(0o755)
    (tmp_path / "here").mkdir()
    for name, write in FILES.items():
        write(tmp_path / "here" / name)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(sl.__file__).parents[1]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    return tmp_path / "here"


def run_shell(block: Block) -> Iterator[str]:
    """What is wrong with each command of a block, after it has run."""
    for line, command in commands(block):
        if not re.search(r"(^|[|;&(\s])softllama\s", command + " ") and command.split()[0] not in HARMLESS:
            yield f"line {line}: {command!r} is no command of softllama: put <!-- not run: WHY --> before the block"
            continue
        process = subprocess.Popen(
            ["sh", "-e", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        try:
            err = process.communicate(timeout=SECONDS)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            yield f"line {line}: {command!r} takes more than {SECONDS} seconds"
            continue
        if process.returncode != 0:
            yield f"line {line}: {command!r} ends with {process.returncode}: {err.strip()[-600:]}"


def run_python(block: Block, name: str, namespace: dict[str, object]) -> Iterator[str]:
    source = "\n" * (block.line - 1) + block.text  # so that a traceback has the page's own line
    try:
        exec(compile(source, name, "exec"), namespace)
    except Exception as e:
        line = next(
            (f.lineno for f in reversed(traceback.extract_tb(e.__traceback__)) if f.filename == name), block.line
        )
        yield f"line {line}: {type(e).__name__}: {e}"


@contextlib.contextmanager
def serving(page: str) -> Iterator[tuple[str, str]]:
    """A server of model.gguf, if the page asks one. Yields the address on the page, and the server's."""
    if page not in SERVED:
        yield "", ""
        return
    for library in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(library, reason=f"needs {library}")
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    line = [sys.executable, "-m", "softllama", "serve", "-m", "model.gguf", "--port", "0"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            notes = (re.search(r"serving at (\S+),", note) for note in process.stderr)
            yield SERVED[page], next(m[1] for m in notes if m)
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p != HELP])
def test_every_block_runs(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(page) as (shown, real):
        problems = run_page(page, shown, real)
    capsys.readouterr()
    if problems:
        pytest.fail("\n".join([page, *problems]), pytrace=False)


def run_page(page: str, shown: str, real: str) -> list[str]:
    """What is wrong with the blocks of a page. Where they ask the server at `shown`, they get the one at `real`."""
    problems: list[str] = []
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks((ROOT / page).read_text("utf-8")):
        if shown:
            block = replace(block, text=block.text.replace(shown, real))
        if block.reason is None and block.language == "sh":
            problems += run_shell(block)
        elif block.reason is None and block.language == "python":
            problems += run_python(block, page, namespace)
    return problems


def test_the_examples_of_the_help_are_read() -> None:
    """Of the page that is made from the help: all options of its examples are there and take such values."""
    n = 0
    for block in blocks((ROOT / HELP).read_text("utf-8")):
        for line, command in commands(block) if block.language == "sh" else ():
            words = shlex.split(command, comments=True)
            assert "softllama" in words, f"line {line}"
            words = words[words.index("softllama") + 1 :]
            end = next((i for i, w in enumerate(words) if w in ("|", ">", ">>", "<", "&&")), len(words))
            try:
                read(cli, "softllama", words[:end])
            except click.ClickException as e:
                pytest.fail(f"line {line}: {command!r}: {e.format_message()}", pytrace=False)
            n += 1
    assert n > 40


def read(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Let click read the words as it would for a user, and call no command."""
    with command.make_context(name, words, parent=parent) as context:
        kept = (
            vars(context).get("_protected_args") or vars(context).get("protected_args") or []
        )  # click 8.2, and before
        if isinstance(command, click.Group) and (rest := [*kept, *context.args]):
            name, inner, rest = command.resolve_command(context, rest)
            assert inner is not None
            read(inner, name or "", rest, context)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_names_a_language_that_is_known(page: str) -> None:
    """`bash`, `console` or `py` would be shown, and never run."""
    for block in blocks((ROOT / page).read_text("utf-8")):
        assert block.language in SHOWN | {"python", "sh"}, f"line {block.line - 1}"


def test_marks_belong_to_blocks() -> None:
    page = "<!-- not run: it installs -->\n\n```sh\npip install .\n```\n\n```sh\nsoftllama \\\n  doctor  # here\n```\n"
    first, second = blocks(page)
    assert (first.reason, first.line, second.reason) == ("it installs", 4, None)
    assert list(commands(second)) == [(8, "softllama    doctor  # here")]
    for wrong in (
        "<!-- not run: -->\n```sh\n```",
        "<!-- not run: x -->\ntext\n```sh\n```",
        "```sh\n```\n<!-- not run: x -->",
    ):
        with pytest.raises(AssertionError, match="mark"):
            list(blocks(wrong))


def test_problems_are_found(folder: Path) -> None:
    shell = Block("sh", "softllama nothing\npip install x\necho y\nsoftllama --version\n", 7, None)
    first, second = run_shell(shell)
    assert first.startswith("line 7: 'softllama nothing' ends with 2: ")
    assert second.startswith("line 8: 'pip install x' is no command of softllama")
    (error,) = run_python(Block("python", "x = 1\nx.y\n", 7, None), "page.md", {})
    assert error.startswith("line 8: AttributeError: ")
