"""What differs between Linux, macOS and Windows, in one place: locks, memory, processors, how processes end, colours.

Other modules ask here and do not look at sys.platform, but for where other programs keep their files. Knows the operating
system. What only one system has is imported in a function, so that this module, as all others, can be imported on each.
On Windows this was compiled and read, not run.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

WINDOWS = sys.platform == "win32"
BINARY = getattr(os, "O_BINARY", 0)  # for os.open: Windows would write "\r\n" for "\n"
EXPERIMENTAL = "experimental: Windows was compiled and emulated, not run by us" if WINDOWS else ""
_LOCKED = 1 << 40  # the byte that is locked on Windows: behind all that is read, as a locked byte cannot be
_ENDS = {  # how a process ends on Windows -> the signal by which it would end elsewhere
    3: "SIGABRT",  # abort() of the C library
    0xC0000005: "SIGSEGV",
    0xC00000FD: "SIGSEGV",  # the stack is full
    0xC0000006: "SIGBUS",
    0xC0000094: "SIGFPE",
    0xC000001D: "SIGILL",
    0x80000003: "SIGTRAP",
    0xC0000409: "SIGABRT",  # abort() of newer C libraries
}


# ---- files


def lock(fd: int) -> bool:
    """Lock an open file for this process alone, until it is closed. False where another has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            at = os.lseek(fd, 0, os.SEEK_CUR)
            os.lseek(fd, _LOCKED, os.SEEK_SET)
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(fd, at, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# ---- processes


def end_of(code: int, *, windows: bool = WINDOWS) -> tuple[str, str]:
    """How a process ended, from its return code as subprocess has it.

    Returns:
        The name of the signal, "" for none or an unknown one, and what the system calls it: "SIGSEGV", "0xC0000005".
    """
    if windows:
        return _ENDS.get(
            code & 0xFFFFFFFF, ""
        ), f"exit code {code}" if 0 <= code < 256 else f"0x{code & 0xFFFFFFFF:08X}"
    if code >= 0:
        return "", f"exit code {code}"
    import signal

    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
        return name, name
    return "", f"signal {-code}"


def wait_for(parent: int) -> None:
    """Return when the parent of this process, which holds the other end of stdin and writes nothing more to it, has ended.

    Args:
        parent: Its id. On Windows it is waited for itself: while a thread reads from stdin, libraries that are loaded and look
            at stdin would wait, too.
    """
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import ctypes

            kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            kernel.OpenProcess.restype = ctypes.c_void_p
            kernel.WaitForSingleObject.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
            if handle := kernel.OpenProcess(0x00100000, False, parent):  # SYNCHRONIZE
                kernel.WaitForSingleObject(handle, 0xFFFFFFFF)
        else:
            while os.read(0, 4096):
                pass


def no_core_file() -> None:
    """A crash of this process leaves no file of its memory, and no window that asks what to do."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)
        else:
            import resource

            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def work() -> tuple[float, int]:
    """What this process has used so far: seconds of all processors, and how often a thread was interrupted while it could
    have gone on (0 where the system does not count that).
    """
    if sys.platform == "win32":
        return time.process_time(), 0
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_nivcsw


def load() -> float:
    """Processes that want to run, a mean of the last minute; 0 where the system does not report it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


# ---- memory


def all_memory() -> int:
    """Bytes of the machine's memory; 0 where the system does not report it."""
    if sys.platform == "win32":
        return _windows_memory()[0]
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def free_memory() -> int | None:
    """Bytes that are free, or hold nothing but what can be read again; None where the system does not report it.

    What Linux reports is more: softllama.llama.memory.
    """
    if sys.platform == "win32":
        return _windows_memory()[1] or None
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, ValueError):
            text = _output("vm_stat")
            page: Any = re.search(r"page size of (\d+) bytes", text)
            kinds = re.findall(r"Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", text)
            if page and kinds:
                return int(page[1]) * sum(map(int, kinds))
    return None


def address_space_limit() -> int | None:
    """Bytes of address space that this process may have (`ulimit -v`); None for no limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def most_memory() -> int:
    """The most bytes that this process has had in memory at once; 0 where the system does not report it."""
    if sys.platform == "win32":
        return _windows_working_set()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _windows_memory() -> tuple[int, int]:
    """Bytes of the machine's memory, and those that are free (GlobalMemoryStatusEx)."""
    if sys.platform == "win32":
        import ctypes
        import struct

        # MEMORYSTATUSEX: two DWORDs (its size, the load), then seven 64-bit numbers: total and free memory come first
        data = ctypes.create_string_buffer(struct.pack("<II7Q", 64, 0, *[0] * 7), 64)
        if ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(data):
            total, free = struct.unpack_from("<QQ", data.raw, 8)
            return total, free
    return 0, 0


def _windows_working_set() -> int:
    """PeakWorkingSetSize of PROCESS_MEMORY_COUNTERS."""
    if sys.platform == "win32":
        import ctypes
        import struct

        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.K32GetProcessMemoryInfo.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
        data = ctypes.create_string_buffer(struct.pack("<I", 72), 72)
        if kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), data, 72):
            return int(struct.unpack_from("<Q", data.raw, 8)[0])
    return 0


# ---- processors and devices


def performance_cores() -> int | None:
    """Physical cores of the fast kind, where the system reports no other cores than that: on macOS. None elsewhere."""
    if sys.platform == "darwin":
        for key in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            with contextlib.suppress(OSError, ValueError):
                return max(1, int(_output("sysctl", "-n", key)))
    return None


def gpu_maker() -> str:
    """The maker of a GPU that the system shows, whether or not llama.cpp was built for it; "" if there is none."""
    import shutil

    if Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi"):
        return "NVIDIA"
    if Path("/dev/kfd").exists():
        return "AMD"
    if sys.platform == "darwin" and os.uname().machine == "arm64":
        return "Apple"
    return ""


def cuda_version() -> tuple[int, int] | None:
    """The newest CUDA that NVIDIA's driver takes; None where it does not say."""
    with contextlib.suppress(OSError):
        if found := re.search(r"CUDA Version: +(\d+)\.(\d+)", _output("nvidia-smi")):
            return int(found[1]), int(found[2])
    return None


def _output(*command: str) -> str:
    """What a program of the system prints. Raises OSError where there is none, or it fails."""
    import subprocess

    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except subprocess.SubprocessError as e:
        raise OSError(str(e)) from None


# ---- the console


def colours() -> None:
    """Let the console of Windows take escape sequences for colours, as all other terminals do."""
    if sys.platform == "win32":
        import ctypes

        kernel, mode = ctypes.WinDLL("kernel32"), ctypes.c_uint32()
        kernel.GetStdHandle.restype = ctypes.c_void_p
        kernel.GetConsoleMode.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        kernel.SetConsoleMode.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        for number in (-11, -12):  # stdout, stderr
            handle = kernel.GetStdHandle(number)
            if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
                kernel.SetConsoleMode(handle, mode.value | 4)  # ENABLE_VIRTUAL_TERMINAL_PROCESSING
