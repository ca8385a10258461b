"""The shim under libFuzzer, for some seconds: scripts/dev/fuzz_shim does it for as long as one likes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

TARGETS = ("MIX", "ADD", "SCAN", "TOP")


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_shim_stands_noise_of_all_kinds(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts/dev/fuzz_shim"), "--seconds", "2", *TARGETS]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "WORK": str(tmp_path)}, timeout=300
    )
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    counts = [int(n) for n in re.findall(r"number_of_executed_units: (\d+)", done.stdout)]
    assert len(counts) == len(TARGETS)
    assert min(counts) > 20


def test_the_script_says_what_is_missing(tmp_path: Path) -> None:
    env = {**os.environ, "CLANG": "no-such-compiler", "WORK": str(tmp_path)}
    done = subprocess.run([str(ROOT / "scripts/dev/fuzz_shim")], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 3
    assert "apt install clang" in done.stderr
