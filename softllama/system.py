"""What the machine has: memory, the processor's instructions, GPUs, folders that can be written; and how bytes are written.
Knows no llama.cpp.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CGROUPS = (  # limit and use, of version 2 and of version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def size(n: float) -> str:
    """Bytes in three digits: 4.92 GB, 27.5 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= 0.9995 * scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f} B"


def free_memory() -> tuple[int, int]:
    """Bytes that can still be taken, and all; what a container may have counts. (0, 0) where the system does not tell."""
    free = total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemTotal":
                total = int(value.split()[0]) * 1024
            elif name == "MemAvailable":
                free = int(value.split()[0]) * 1024
    if sys.platform == "darwin":
        total, free = _mac_memory()
    for limit, used, stat in CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            most, now = int(Path(limit).read_text()), int(Path(used).read_text())
            if 0 < most < total:  # the files that are cached in memory give way
                total, free = most, min(free, max(0, most - now + _cached(Path(stat))))
    return free, total


def _cached(stat: Path) -> int:
    for line in stat.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _mac_memory() -> tuple[int, int]:
    """All, and what is free, inactive or speculative."""
    with contextlib.suppress(OSError, ValueError, IndexError, subprocess.SubprocessError):
        total = int(subprocess.run(["sysctl", "-n", "hw.memsize"], capture_output=True, text=True, check=True).stdout)
        lines = subprocess.run(["vm_stat"], capture_output=True, text=True, check=True).stdout.splitlines()
        size = int(lines[0].partition("page size of ")[2].split()[0])
        counts = {k: int(v.strip(" .")) for k, _, v in (x.partition(":") for x in lines[1:]) if v.strip(" .").isdigit()}
        return total, size * sum(counts.get(f"Pages {k}", 0) for k in ("free", "inactive", "speculative"))
    return 0, 0


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them ("avx2", "asimd"); none where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        line = next(x for x in lines if x.lower().startswith(("flags", "features")))
        return frozenset(line.partition(":")[2].split())
    return frozenset()


def gpu_without_driver_of_ours() -> str:
    """The maker of a GPU that the system shows, whether or not llama.cpp was built for it; "" if there is none."""
    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        return "NVIDIA"
    if Path("/dev/kfd").exists():
        return "AMD"
    if sys.platform == "darwin" and os.uname().machine == "arm64":
        return "Apple"
    return ""


def unwritable(folder: Path) -> str:
    """Why a file cannot be written in a folder, or in what it would be made in; "" if it can."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"{there} is not a folder"
    if there != folder:
        return "" if os.access(there, os.W_OK | os.X_OK) else f"it is not there, and {there} cannot be written"
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".softllama-") as f:
            f.write(bytes(4096))
    except OSError as e:
        return e.strerror or str(e)
    return ""


def free_disk(folder: Path) -> int:
    """Bytes that can still be written where a folder is, or would be."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return 0
