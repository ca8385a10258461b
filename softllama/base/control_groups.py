"""Linux control groups, by which containers limit what a process may use. Knows where they lie. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

PROC, SYS_FS = Path("/proc"), Path("/sys/fs/cgroup")


def folders(controller: str, proc: Path = PROC, sys_fs: Path = SYS_FS) -> Iterator[tuple[int, Path]]:
    """Yield the folders of this process's group and of those above it, whose limits hold, too.

    Args:
        controller: "memory" or "cpu".
        proc: Where the system's account of processes lies.
        sys_fs: Where control groups are mounted.

    Yields:
        The version, 1 or 2, and a folder that may or may not exist.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / "self/cgroup").read_text().splitlines():
            number, names, path = line.split(":", 2)
            if number == "0" and not names:
                version, root = 2, sys_fs
            elif controller in names.split(","):
                version, root = 1, sys_fs / controller
            else:
                continue
            # in a container the path may be that of the host, and its own group the root of what is mounted
            inside = root / path.strip("/")
            for folder in dict.fromkeys([inside, *inside.parents, root]):
                if folder == root or root in folder.parents:
                    yield version, folder


def cpus(proc: Path = PROC, sys_fs: Path = SYS_FS) -> float | None:
    """Return the processors' time that this process may use, 1.5 for one and a half processors; None for no limit."""
    return min(_quotas(proc, sys_fs), default=None)


def _quotas(proc: Path, sys_fs: Path) -> Iterator[float]:
    for version, folder in folders("cpu", proc, sys_fs):
        with contextlib.suppress(OSError, ValueError):
            if version == 2:
                most, period = (folder / "cpu.max").read_text().split()  # "max 100000" for no limit
            else:
                most, period = ((folder / f"cpu.cfs_{x}_us").read_text() for x in ("quota", "period"))  # -1 for none
            if float(most) > 0 < float(period):
                yield float(most) / float(period)
