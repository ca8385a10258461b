"""What differs between systems: locks, how a process ended, memory and processors."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from softllama.base import system


def opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | system.BINARY)


def test_one_at_a_time_has_a_lock(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "x"), opened(tmp_path / "x")
    assert system.lock(first)
    assert not system.lock(second)
    os.write(second, b"a lock keeps nobody from reading\n")
    assert os.read(first, 6) == b"a lock"
    os.close(first)
    assert system.lock(second)
    os.close(second)


@pytest.mark.parametrize(
    ("code", "windows", "expected"),
    [
        (0, False, ("", "exit code 0")),
        (3, False, ("", "exit code 3")),
        (-signal.SIGSEGV, False, ("SIGSEGV", "SIGSEGV")),
        (-200, False, ("", "signal 200")),
        (0, True, ("", "exit code 0")),
        (3, True, ("SIGABRT", "exit code 3")),
        (0xC0000005, True, ("SIGSEGV", "0xC0000005")),
        (0xC0000094 - (1 << 32), True, ("SIGFPE", "0xC0000094")),
        (0xC0000409, True, ("SIGABRT", "0xC0000409")),
    ],
)
def test_how_a_process_ended(code: int, windows: bool, expected: tuple[str, str]) -> None:
    assert system.end_of(code, windows=windows) == expected


def test_work_grows_with_work() -> None:
    before, _ = system.work()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    assert 0.04 < system.work()[0] - before < 10


def test_memory() -> None:
    assert system.all_memory() > 1 << 28
    assert 1 << 20 < system.most_memory() < system.all_memory()
    assert system.load() >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_what_other_systems_report_is_left_out_here() -> None:
    assert system.performance_cores() is None
    assert system.free_memory() is None
    assert system.EXPERIMENTAL == ""
    system.colours()  # does nothing


def test_a_mac_is_asked_by_its_own_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (
        ("sysctl", "6"),
        ("vm_stat", "Mach (page size of 4096 bytes)\nPages free:  10.\nPages inactive: 5."),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'E'\n{text}\nE\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert system.performance_cores() == 6
    assert system.free_memory() == 15 * 4096
    (tmp_path / "sysctl").write_text("#!/bin/sh\nexit 1\n")
    assert system.performance_cores() is None


def test_the_cuda_that_a_driver_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho '| NVIDIA-SMI 550.1   Driver Version: 550.1   CUDA Version: 12.4 |'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert system.gpu_maker() == "NVIDIA"
    assert system.cuda_version() == (12, 4)
    script.write_text("#!/bin/sh\nexit 9\n")
    assert system.cuda_version() is None
