"""What the machine has: the processor's instructions, folders that can be written. Knows no llama.cpp."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import tempfile
import time
from pathlib import Path

from softllama.base import system


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them ("avx2", "asimd"); none where the system does not report it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        line = next(x for x in lines if x.lower().startswith(("flags", "features")))
        return frozenset(line.partition(":")[2].split())
    return frozenset()


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


def process_memory() -> dict[str, float]:
    """Bytes of this process in memory: "now", and the "most" so far."""
    now = most = system.most_memory()
    with contextlib.suppress(OSError):
        now = int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    return {"now": float(now), "most": float(most)}


def copy_bandwidth(n_threads: int, megabytes: int = 256, repeat: int = 7) -> list[float]:
    """Bytes that so many threads together copy from memory to memory in a second, measured `repeat` times."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    n = megabytes << 20
    pairs = [(np.ones(n, dtype=np.uint8), np.ones(n, dtype=np.uint8)) for _ in range(n_threads)]
    rates = []
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(repeat):
            start = time.perf_counter()
            list(pool.map(lambda p: np.copyto(*p), pairs))
            rates.append(n_threads * n / (time.perf_counter() - start))
    return rates
