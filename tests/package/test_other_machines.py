"""The kernels on another processor and other systems: the same bits, where a cross-compiler and an emulator are at hand."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

FIRST_LINES = {"check_arm64": "aarch64 neon", "check_musl": "musl scalar", "check_windows": "windows scalar"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("script", FIRST_LINES)
def test_other_machines_compute_the_same_bits(script: str) -> None:
    run = subprocess.run([str(ROOT / "scripts" / "dev" / script)], capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip(run.stderr.strip().splitlines()[-1].removeprefix("skipped: "))
    assert run.returncode == 0, run.stdout + run.stderr
    assert FIRST_LINES[script] in run.stdout
    assert "the same to the bit" in run.stdout
