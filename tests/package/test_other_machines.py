"""The kernels on another processor and another system: the same bits, where a cross-compiler and an emulator are at hand."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize(
    ("script", "line"),
    [("check_arm64", "aarch64 neon"), ("check_windows", "windows scalar"), ("check_musl", "musl scalar")],
)
@pytest.mark.slow
def test_other_machines_compute_the_same_bits(script: str, line: str) -> None:
    run = subprocess.run([str(ROOT / "scripts" / "dev" / script)], capture_output=True, text=True)
    if run.returncode == 77:
        pytest.skip(run.stderr.strip().splitlines()[-1].removeprefix("skipped: "))
    assert run.returncode == 0, run.stdout + run.stderr
    assert line in run.stdout
    assert "the same to the bit" in run.stdout
