"""The kernels on another processor: the same bits, where a cross-compiler and an emulator are at hand."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "dev" / "check_arm64"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_arm64_computes_the_same_bits() -> None:
    run = subprocess.run([str(SCRIPT)], capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip(run.stderr.strip().splitlines()[-1].removeprefix("skipped: "))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "aarch64 neon" in run.stdout
