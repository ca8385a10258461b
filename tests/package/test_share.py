"""share/: the manual pages and completions that the wheel installs are current, and programs that read them take them."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ZshComplete

from softllama.cli import COMMANDS
from tests.conftest import ROOT

share: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "dev" / "share.py"))
SHARE = ROOT / "share"
MANUALS = sorted((SHARE / "man" / "man1").glob("*.1"))
HOW = "python scripts/dev/share.py writes it anew"


def test_the_manual_pages_are_current() -> None:
    assert {p.relative_to(SHARE).as_posix(): p.read_text("utf-8") for p in MANUALS} == share["manuals"](), HOW


def test_every_command_has_a_manual_page() -> None:
    assert {p.stem for p in MANUALS} == {"softllama", *(f"softllama-{name}" for name in COMMANDS)}


@pytest.mark.skipif(
    "loadautofunc" not in ZshComplete.source_template, reason="zsh cannot load an old click's script itself"
)
@pytest.mark.parametrize("shell", share["COMPLETIONS"])
def test_the_completions_are_current(shell: str) -> None:
    file = share["COMPLETIONS"][shell]
    assert (SHARE / file).read_text("utf-8") == share["completions"]()[file], HOW


def test_text_of_a_manual_page_is_no_request() -> None:
    assert share["escaped"](".TH\n'x\na\\b --c `d`") == "\\&.TH\n\\&'x\na\\eb \\-\\-c d"


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
@pytest.mark.parametrize("page", MANUALS, ids=lambda p: p.stem)
def test_man_shows_a_page_without_warnings(page: Path) -> None:
    env = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "--warnings", "-l", page], env=env, capture_output=True, text=True, check=False)
    if done.returncode and "option" in done.stderr + done.stdout:
        pytest.skip("this man has no --warnings")
    problems = [line for line in done.stderr.splitlines() if "can't break line" not in line]  # an example is long
    assert (done.returncode, problems) == (0, [])
    plain = re.sub(r".\x08", "", done.stdout)
    assert all(title in plain for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"))
    assert f"{page.stem} - " in " ".join(plain.replace("‐\n", "").split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "softllama").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m softllama "$@"\n')
    (tmp_path / "softllama").chmod(0o755)
    line = "softllama run --policy soft_"
    script = f"""
        complete() {{ :; }}  # it may want an option that an old bash lacks, and nobody types here
        . {SHARE}/{share["COMPLETIONS"]["bash"]}
        COMP_LINE="{line}" COMP_POINT={len(line)} COMP_CWORD=3
        _softllama_completion softllama
        echo "${{COMPREPLY[@]}}"
    """
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["soft_noise", "soft_thinking"]
