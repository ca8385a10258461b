"""The quotas of containers, in file trees such as Linux has."""

from __future__ import annotations

from pathlib import Path

import pytest

from softllama.base import control_groups
from softllama.llama import devices

V2, V1 = "0::/a/b\n", "5:cpuset:/\n3:cpu,cpuacct:/box\n"
BOX, HALF = "sys/cpu/box/cpu.cfs_", "50000 100000\n"
TREES = {
    "no account of it": ({}, None),
    "no limit": ({"proc/self/cgroup": V2, "sys/a/b/cpu.max": "max 100000\n"}, None),
    "half a processor": ({"proc/self/cgroup": V2, "sys/a/b/cpu.max": HALF}, 0.5),
    "the least of all above": (
        {"proc/self/cgroup": V2, "sys/a/b/cpu.max": "400000 100000\n", "sys/a/cpu.max": HALF, "sys/cpu.max": "max 1\n"}, 0.5,
    ),
    "in a container, whose path is the host's": ({"proc/self/cgroup": "0::/on/the/host\n", "sys/cpu.max": HALF}, 0.5),
    "version 1": ({"proc/self/cgroup": V1, f"{BOX}quota_us": "300000\n", f"{BOX}period_us": "100000\n"}, 3.0),
    "version 1 without": ({"proc/self/cgroup": V1, f"{BOX}quota_us": "-1\n", f"{BOX}period_us": "100000"}, None),
    "damaged": ({"proc/self/cgroup": "x\n", "sys/cpu.max": "1 0\n"}, None),
    "damaged numbers": ({"proc/self/cgroup": V2, "sys/a/b/cpu.max": "1 0\n", "sys/a/cpu.max": "x y\n", "sys/cpu.max": "1"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_quotas(name: str, tmp_path: Path) -> None:
    files, quota = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert control_groups.cpus(tmp_path / "proc", tmp_path / "sys") == quota


@pytest.mark.parametrize(
    ("cores", "quota", "threads"),
    [(8, None, 8), (8, 0.5, 1), (8, 1.5, 1), (8, 2.0, 2), (8, 2.999, 3), (8, 16.0, 8), (1, None, 1), (2, 0.01, 1)],
)
def test_threads_by_default(cores: int, quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "physical_cores", lambda: cores)
    monkeypatch.setattr(control_groups, "cpus", lambda: quota)
    assert devices.default_threads() == threads
