"""Text files that users write, from whatever system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softllama.base import files
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo"), (b"one\ntwo\n", "one\ntwo"), (b"one\r\n\r\ntwo", "one\n\ntwo"),
        (b"\xef\xbb\xbfone\r\n", "one"),
        (b"one\ntwo\r\nthree\n\n", "one\ntwo\nthree\n"), (b"a\rb\n", "a\rb"), (b"", ""),
    ],
)  # fmt: skip
def test_line_ends_of_windows_are_newlines(tmp_path: Path, data: bytes, text: str) -> None:
    file = tmp_path / "f.txt"
    file.write_bytes(data)
    assert files.decode(data, "it") == files.read_text(file) == files.text_or_file(f"@{file}", "it") == text


def test_the_numbers_of_a_prompt_file_are_those_of_its_text(tmp_path: Path, cli: Cli) -> None:
    text = "The dog says\nThe cow says\n"
    outputs = []
    for name, end in (("unix.txt", b"\n"), ("windows.txt", b"\r\n")):
        (tmp_path / name).write_bytes(text.encode().replace(b"\n", end))
        shared = ("run", "-q", "--json", "--seed", 1, "--max-tokens", 4)
        code, raw, _ = cli(*shared, "--raw", "--prompt-file", tmp_path / name)
        assert code == 0
        code, said, _ = cli(*shared, "--system", f"@{tmp_path / name}", "Hello")
        assert code == 0
        code, piped, _ = cli(*shared, "--raw", "-", stdin=text.replace("\n", end.decode()))
        assert code == 0
        records = [json.loads(x) for x in (raw, said, piped)]
        outputs.append([(r["prompt_text"], [s["token"] for s in r["steps"]]) for r in records])
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == outputs[0][2]


def test_prompts_of_a_study_have_no_line_ends(tmp_path: Path, cli: Cli) -> None:
    outputs = []
    for name, end in (("unix.txt", b"\n"), ("windows.txt", b"\r\n")):
        (tmp_path / name).write_bytes(b"The dog says" + end + b"The cow says" + end)
        arguments = ("study", "feedback", "-q", "-m", "bundled:words", "--prompts", tmp_path / name)
        code, printed, err = cli(*arguments, "--steps", 2, "--tokens", 8, "--no-layers", "--csv")
        assert code == 0, err
        outputs.append(printed.replace(name, "NAME"))
    assert outputs[0] == outputs[1]
