"""Devices that llama.cpp can compute on, and this machine's processor.

Knows ggml's registry of back ends and the operating system. Does not know models, nor which device one is put on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from softllama.base import control_groups, system
from softllama.llama import bindings
from softllama.llama.bindings import api, declare

_dev_count = declare("ggml_backend_dev_count", ctypes.c_size_t)
_dev_get = declare("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
_dev_name = declare("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
_dev_description = declare("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
_dev_type = declare("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
_GPU = 1  # GGML_BACKEND_DEVICE_TYPE_GPU; integrated ones are 2


@cache
def gpus() -> tuple[str, ...]:
    """Names of the GPUs that this build of llama.cpp can use, such as "CUDA0 (NVIDIA H100)"."""
    bindings.init()
    if not api.llama_supports_gpu_offload():
        return ()
    handles = [dev for dev in map(_dev_get, range(_dev_count())) if _dev_type(dev) in (_GPU, _GPU + 1)]
    return tuple(f"{_dev_name(dev).decode()} ({_dev_description(dev).decode().strip()})" for dev in handles)


_dev_memory = declare("ggml_backend_dev_memory", None, ctypes.c_void_p, *[ctypes.POINTER(ctypes.c_size_t)] * 2)
_dev_reg = declare("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
_reg_name = declare("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
_KINDS = ("CPU", "GPU", "integrated GPU", "accelerator")  # ggml_backend_dev_type


@dataclass(frozen=True)
class Device:
    """One device. free, total: bytes of its memory; 0 if the back end does not report them."""

    name: str
    description: str
    kind: str
    back_end: str
    free: int
    total: int


def all_devices() -> list[Device]:
    """All devices of the back ends that this llama.cpp was built with."""
    bindings.init()
    devices = []
    for dev in map(_dev_get, range(_dev_count())):
        free, total, kind = ctypes.c_size_t(), ctypes.c_size_t(), _dev_type(dev)
        _dev_memory(dev, free, total)
        texts = _dev_name(dev), _dev_description(dev), _reg_name(_dev_reg(dev))
        name, text, back_end = (x.decode("utf-8", "replace").strip() for x in texts)
        kind_name = _KINDS[kind] if kind < len(_KINDS) else "device"
        devices.append(Device(name, text, kind_name, back_end, free.value, total.value))
    return devices


@cache
def features() -> tuple[str, ...]:
    """The processor features that this llama.cpp was built with: "AVX2", "AVX512", "NEON"."""
    bindings.init()
    text = (api.llama_print_system_info() or b"").decode("utf-8", "replace")
    return tuple(re.findall(r"(\w+) = 1", text))


@cache
def amx() -> bool:
    """Would llama.cpp use this processor's AMX unit? Its code for it crashes on some machines (llama.cpp #20824)."""
    return "AMX_INT8" in features()


@cache
def physical_cores() -> int:
    """Physical cores that this process may use; on Apple silicon the performance cores. At least 1."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    if (fast := system.performance_cores()) is not None:
        return fast
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        with contextlib.suppress(OSError):
            siblings.add(path.read_text().strip())
    return max(1, len(siblings) or len(allowed))


def default_threads() -> int:
    """Threads that a model of some size computes with: the physical cores, or as many as a container's quota pays for.

    With more threads than that, all of them stand still for a part of each period, and those that wait spin.
    """
    quota = control_groups.cpus()
    return physical_cores() if quota is None else max(1, min(physical_cores(), int(quota + 0.01)))


def cpu_name() -> str:
    """The processor as its maker calls it, as far as the system reports it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
