"""What a wheel may hold: scripts/dev/wheel_contents.py notices what should not be there, and the sources hold nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "dev"))
import wheel_contents

GOOD = [
    "softllama/__init__.py", "softllama/serve/openai/chat.py", "softllama/_shim.abi3.so", "softllama/_shim.pyi",
    "softllama/py.typed", "softllama/models/words.gguf", "softllama/serve/web/page.html", "softllama/study/data/sums.jsonl",
    "softllama-0.1.0.dist-info/METADATA", "softllama-0.1.0.dist-info/licenses/LICENSE",
]  # fmt: skip


def test_good_names_pass() -> None:
    assert wheel_contents.problems(GOOD) == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/test_x.py",
        "softllama/__pycache__/a.cpython-311.pyc",
        "csrc/mix.c",
        "softllama/x.log",
        "softllama/a/b.gguf",
        ".github/x.yml",
    ],
)
def test_others_do_not(name: str) -> None:
    assert wheel_contents.problems([*GOOD, name]) == [f"should not be there: {name}"]


def test_what_is_missing_or_twice_is_named() -> None:
    assert wheel_contents.problems([n for n in GOOD if n != "softllama/py.typed"]) == [
        r"is not there: softllama/py\.typed"
    ]
    assert wheel_contents.problems([*GOOD, GOOD[0]]) == [f"is there twice: {GOOD[0]}"]


def test_a_wheel_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tag, extra, code in (("cp311-abi3", [], 0), ("cp311-cp311", [], 1), ("cp311-abi3", ["a.txt"], 1)):
        wheel = tmp_path / f"softllama-0.1.0-{tag}-linux_x86_64.whl"
        with zipfile.ZipFile(wheel, "w") as z:
            for name in [*GOOD, *extra]:
                z.writestr(name, "")
        assert wheel_contents.main([str(wheel)]) == code
    assert "should not be there: a.txt" in capsys.readouterr().out


def test_the_package_folder_holds_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files", "softllama"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode or not listed.stdout:
        pytest.skip("no checkout")
    assert [p for p in wheel_contents.problems(listed.stdout.split()) if p.startswith("should")] == []
