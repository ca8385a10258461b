"""What doctor looks at in its child process before any model: the installation and the machine.

Each check is a function that gives findings. One that fails is a finding itself, and the next goes on. Nothing is taken from
what an earlier run remembered. Knows no model.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import platform
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from softllama._version import __version__
from softllama.base import folders, install_lines, system
from softllama.base.child import Send
from softllama.base.text import size
from softllama.diagnostics import machine
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, REINSTALL, Finding
from softllama.diagnostics.reporter import Reporter
from softllama.errors import SoftLlamaError

FLOOR = (0, 3, 17)
DEVELOPED = "0.3.36"
FEATURES = {"avx2": "AVX2", "fma": "FMA", "f16c": "F16C"}  # Linux's names -> ggml's; without them it is far slower
LITTLE_MEMORY, LITTLE_DISK = 1 << 30, 1 << 30


def _installation(name: str, state: str, text: str, advice: str = "", **facts: Any) -> Finding:
    return Finding(part="installation", name=name, state=state, text=text, advice=advice, facts=facts)


def _machine(name: str, state: str, text: str, advice: str = "", **facts: Any) -> Finding:
    return Finding(part="machine", name=name, state=state, text=text, advice=advice, facts=facts)


def installation(send: Send, n_gpu_layers: int | None = None) -> None:
    """Look at everything that needs no model.

    Args:
        send: Takes the records of the findings, in order.
        n_gpu_layers: As for softllama.load; 0 keeps to the CPU.
    """
    report = Reporter(send, "installation")
    report.add(
        "softllama", OK, _versions(), version=__version__, python=platform.python_version(), optional=_optional()
    )
    if not (_loads_c_module(report) and _loads_llama(report)):
        return
    for name, check in {"llama.cpp": _llama, "kernels": _kernels}.items():
        report.check(name, check)
    report.part = "machine"
    if system.EXPERIMENTAL:
        report.add("system", NOTE, system.EXPERIMENTAL, "please report what does not work")
    report.check("processor", _processor)
    report.check("devices", partial(_devices, n_gpu_layers))
    for name, check in {"memory": _memory, "folders": _folders}.items():
        report.check(name, check)


def _loads_c_module(report: Reporter) -> bool:
    report.doing("C module", "the C module")
    try:
        importlib.import_module("softllama._shim")
    except ImportError as e:
        advice = "install softllama again: pip install --force-reinstall --no-deps softllama"
        report.add("C module", PROBLEM, f"softllama's own C module cannot be loaded: {e}", advice)
        return False
    return True


def _loads_llama(report: Reporter) -> bool:
    report.doing("llama.cpp")
    try:
        importlib.import_module("softllama.llama.bindings")
    except SoftLlamaError as e:
        report.add("llama.cpp", PROBLEM, e.message, e.hint)
        return False
    except Exception as e:  # llama_cpp raises what it likes where its library is missing or of another kind
        report.add("llama.cpp", PROBLEM, f"llama-cpp-python cannot be loaded: {e}", install_lines.here(again=True))
        return False
    return True


def _versions() -> str:
    import numpy

    return f"{__version__} with Python {platform.python_version()}, numpy {numpy.__version__}; {_optional_text()}"


def _optional() -> dict[str, str]:
    """Versions of what extras need; "" where it is not installed."""
    versions = {}
    for name in ("matplotlib", "huggingface-hub"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


def _optional_text() -> str:
    use = {"matplotlib": "for --plot", "huggingface-hub": "for softllama models pull"}
    return ", ".join(f"{n} {v}" if v else f"no {n} ({use[n]})" for n, v in _optional().items())


def _llama() -> Iterable[Finding]:
    from softllama.llama import bindings, devices

    bindings.table_type(bindings.api.GGML_TYPE_Q8_0)  # raises where ggml's own table has another layout
    yield llama_version(bindings.VERSION, bindings.build(), bindings.ggml_version(), devices.features())


def llama_version(version: str, build: str, ggml: str, features: Sequence[str]) -> Finding:
    """Is llama-cpp-python new enough? features: of the processor, that it was built with."""
    numbers = tuple(int(x) for x in version.split(".")[:3] if x.isdigit())
    text = build + (f", ggml {ggml}" if ggml else "")
    facts: dict[str, Any] = {"llama_cpp_python": version, "build": build, "ggml": ggml, "features": features}
    if numbers < FLOOR:
        text += f": older than {'.'.join(map(str, FLOOR))}"
        return _installation("llama.cpp", PROBLEM, text, "pip install --upgrade llama-cpp-python", **facts)
    if version != DEVELOPED:
        text += f" (softllama was developed on {DEVELOPED}; what differs is measured for each model)"
    if features:
        text += f"; built with {', '.join(features)}"
    return _installation("llama.cpp", OK, text, **facts)


def _kernels() -> Iterable[Finding]:
    """The row kernels of this machine's instruction set, against plain arithmetic."""
    import numpy as np

    from softllama.vectors import kernels, native

    rng = np.random.default_rng(1)
    values = rng.standard_normal((3000, 96)).astype(np.float32)
    weights = rng.random(3000).astype(np.float32)
    out = np.empty((1, 96), dtype=np.float32)
    kernels.mix(kernels.Rows(values.view(np.uint8), 96, type=0), [0, 3000], np.arange(3000), weights, out)
    truth = weights.astype(np.float64) @ values.astype(np.float64)
    error = float(np.abs(out[0] - truth).max() / np.abs(truth).max())
    name, forced = native.isa_name(), os.environ.get("SOFTLLAMA_ISA", "")
    text = f"softllama mixes with {name} instructions" + (f", as SOFTLLAMA_ISA={forced} asks" if forced else "")
    if not error < 1e-5:
        text += f", and a sum is wrong by {error:.2g} of its size"
        yield _installation(
            "kernels", PROBLEM, text, "SOFTLLAMA_ISA=scalar avoids them; please report it", isa=name, error=error
        )
        return
    yield _installation("kernels", OK, f"{text}; 3,000 rows sum to within {error:.1g}", isa=name, error=error)


def _processor() -> Iterable[Finding]:
    from softllama.base import control_groups
    from softllama.llama import devices

    cores, amx = devices.physical_cores(), devices.amx()
    text = f"{devices.cpu_name()}, {cores} core{'s'[: cores > 1]} to use"
    if (quota := control_groups.cpus()) is not None:
        text += f", a quota of {quota:.3g} of the container"
    text += f"; {platform.system()} {platform.release()}"
    facts = {"name": devices.cpu_name(), "cores": cores, "quota": quota, "platform": platform.platform(), "amx": amx}
    yield Finding(part="machine", name="processor", state=OK, text=text, facts=facts)
    yield from unused_features(machine.cpu_flags(), devices.features())
    if amx:
        text = "llama.cpp would use this processor's AMX unit, whose code crashes on some machines (llama.cpp #20824), "
        yield _machine("AMX", NOTE, text + "so softllama keeps weights away from it")


def unused_features(flags: Collection[str], built: Collection[str]) -> Iterable[Finding]:
    """What the processor has (Linux's names) and llama.cpp was built without (ggml's names)."""
    lacks = [ours for theirs, ours in FEATURES.items() if theirs in flags and ours not in built]
    if lacks:
        text = f"llama.cpp was built without {', '.join(lacks)}, which this processor has: "
        text += "it is several times slower than it could be"
        yield _machine("build", NOTE, text, REINSTALL, lacks=lacks)


def _devices(n_gpu_layers: int | None = None) -> Iterable[Finding]:
    from softllama.llama import bindings, devices

    for d in devices.all_devices():
        memory = f", {size(d.free)} of {size(d.total)} free" if d.total and d.kind != "CPU" else ""
        text = f"{d.kind}, {d.back_end} back end: {d.description}{memory}"
        yield Finding(part="machine", name=d.name, state=OK, text=text, facts=dataclasses.asdict(d))
    offload = bool(bindings.api.llama_supports_gpu_offload())
    yield chosen_device(devices.gpus(), offload, system.gpu_maker(), n_gpu_layers)


def chosen_device(gpus: Sequence[str], offload: bool, maker: str, n_gpu_layers: int | None = None) -> Finding:
    """What a model is computed on, and why.

    Args:
        gpus: that this build of llama.cpp can use.
        offload: Does it have a GPU back end?
        maker: of a GPU that the system shows; "" for none.
        n_gpu_layers: as asked for.
    """
    if gpus and n_gpu_layers == 0:
        text = f"the CPU, as --n-gpu-layers 0 asks for; without it {', '.join(gpus)}"
        return _machine("chosen", OK, text, gpus=list(gpus))
    if gpus:
        text = f"{', '.join(gpus)}, as this build has a GPU back end; --n-gpu-layers 0 keeps to the CPU"
        return _machine("chosen", OK, text, gpus=list(gpus))
    if offload:
        text = "the CPU: this build has a GPU back end, which finds no device"
        return _machine("chosen", NOTE, text, "look at the GPU's driver (nvidia-smi, rocminfo, vulkaninfo)", gpus=[])
    if maker:
        text = f"the CPU: there is an {maker} GPU, but this build has no back end for it"
        advice = (
            f"{install_lines.here(again=True)}, or from source with CMAKE_ARGS=-DGGML_{install_lines.WITH[maker]}=on"
        )
        return _machine("chosen", NOTE, text, advice, gpus=[], maker=maker)
    return _machine("chosen", OK, "the CPU, as this build has no GPU back end", gpus=[])


def _memory() -> Iterable[Finding]:
    from softllama.llama import memory

    yield free_memory(memory.available(), system.all_memory())


def free_memory(free: int | None, total: int) -> Finding:
    """Is there some? free: bytes, None where the system does not report it."""
    if free is None:
        text = "the system does not report how much memory is free"
        return _machine("memory", NOTE, text, free=free, total=total)
    text = f"{size(free)} free, of the machine's {size(total)}"
    if free < LITTLE_MEMORY:
        return _machine("memory", NOTE, text, "close other programs, or use a small model", free=free, total=total)
    return _machine("memory", OK, text, free=free, total=total)


def _folders() -> Iterable[Finding]:
    from softllama.chat import storage
    from softllama.hub import caches

    for name, folder, loss, variable in (
        ("cache", folders.cache(), "every start measures again what it could remember", "SOFTLLAMA_CACHE"),
        ("conversations", storage.folder(), "chats are not kept by themselves", "SOFTLLAMA_STATE"),
        ("models", caches.hugging_face_folder(), "softllama models pull cannot store anything", "HF_HUB_CACHE"),
    ):
        yield writable_folder(name, folder, loss, variable, machine.unwritable(folder), machine.free_disk(folder))


def writable_folder(name: str, folder: Path, loss: str, variable: str, why: str, disk: int) -> Finding:
    """Can files be kept there?

    Args:
        loss: What does not work without it.
        variable: That names another folder.
        why: It cannot be written; "" if it can.
        disk: Free bytes.
    """
    facts: dict[str, Any] = {"path": str(folder), "writable": not why, "free": disk}
    if why:
        text = f"{folder} cannot be written ({why}): {loss}"
        return _machine(name, NOTE, text, f"{variable}=FOLDER names another", **facts)
    if disk < LITTLE_DISK:
        return _machine(name, NOTE, f"{folder}: only {size(disk)} free", "free some space", **facts)
    return _machine(name, OK, f"{folder}, {size(disk)} free", **facts)
