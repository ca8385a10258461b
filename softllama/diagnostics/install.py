"""What doctor.py runs in its child process: the installation and the machine, and a model from its header to its speed.

Each check is a function that returns findings. One that fails is a finding itself, and the next goes on. Numbers are
measured here and now; nothing is taken from what an earlier run remembered.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import math
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from softllama._version import __version__
from softllama.base import folders
from softllama.base.child import Send
from softllama.base.text import size
from softllama.diagnostics import machine
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, REINSTALL, Finding
from softllama.errors import NotFiniteError, SoftLlamaError

if TYPE_CHECKING:
    from softllama.api import Model

FLOOR = (0, 3, 17)
DEVELOPED = "0.3.36"
BUILDS = {  # what a machine has -> the switch of the build that uses it
    "NVIDIA": 'CMAKE_ARGS="-DGGML_CUDA=on" ' + REINSTALL,
    "AMD": 'CMAKE_ARGS="-DGGML_HIP=on" ' + REINSTALL,
    "Apple": 'CMAKE_ARGS="-DGGML_METAL=on" ' + REINSTALL,
}
FEATURES = {"avx2": "AVX2", "fma": "FMA", "f16c": "F16C"}  # Linux's names -> ggml's; without them it is far slower
LITTLE_MEMORY, LITTLE_DISK = 1 << 30, 1 << 30


class Report:
    """Where findings go. part: which part they belong to."""

    def __init__(self, send: Send, part: str) -> None:
        self.send, self.part = send, part

    def doing(self, name: str, text: str = "") -> None:
        """Say what comes next: the finding's name, and what a reader is told."""
        self.send({"doing": text or name, "name": name})

    def add(self, name: str, state: str, text: str, advice: str = "", **facts: Any) -> None:
        """One finding."""
        self.found(Finding(self.part, name, state, text, advice, facts))

    def found(self, f: Finding) -> None:
        """A finding that was made elsewhere."""
        self.send({"finding": dataclasses.asdict(dataclasses.replace(f, facts=_plain(f.facts)))})

    def check(self, name: str, what: Callable[[], Iterable[Finding] | None], doing: str = "") -> bool:
        """Run a check, whose errors are findings. False if it failed."""
        self.doing(name, doing)
        try:
            for f in what() or ():
                self.found(f)
        except NotFiniteError as e:  # whose hint is to ask the doctor
            self.add(name, PROBLEM, e.message, "fetch the file again; on a GPU, try --n-gpu-layers 0")
            return False
        except SoftLlamaError as e:
            self.add(name, PROBLEM, e.message, e.hint)
            return False
        except MemoryError:
            self.add(name, PROBLEM, "memory ran out", "close other programs, or use a smaller model or --n-ctx")
            return False
        except Exception as e:
            self.add(name, PROBLEM, f"this check failed: {type(e).__name__}: {e}", "please report it")
            return False
        return True


def _plain(x: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


# ---- the installation and the machine --------------------------------------------------------------------------------


def installation(send: Send) -> None:
    """Everything that needs no model."""
    report = Report(send, "installation")
    report.add(
        "softllama", OK, _versions(), version=__version__, python=platform.python_version(), optional=_optional()
    )
    report.doing("C module", "the C module")
    try:
        importlib.import_module("softllama._shim")
    except ImportError as e:
        report.add("C module", PROBLEM, f"softllama's own C module cannot be loaded: {e}",
                   "install softllama again: pip install --force-reinstall --no-deps softllama")  # fmt: skip
        return
    report.doing("llama.cpp")
    try:
        importlib.import_module("softllama.llama.library")
    except SoftLlamaError as e:
        report.add("llama.cpp", PROBLEM, e.message, e.hint)
        return
    except Exception as e:  # llama_cpp raises what it likes where its library is missing or of another kind
        report.add("llama.cpp", PROBLEM, f"llama-cpp-python cannot be loaded: {e}", REINSTALL)
        return
    for name, check in {"llama.cpp": _llama, "kernels": _kernels}.items():
        report.check(name, check)
    report.part = "machine"
    for name, check in {"processor": _processor, "devices": _devices, "memory": _memory, "folders": _folders}.items():
        report.check(name, check)


def _versions() -> str:
    import numpy

    return f"{__version__} with Python {platform.python_version()}, numpy {numpy.__version__}; {_optional_text()}"


def _optional() -> dict[str, str]:
    """Versions of what extras need; "" where it is not installed."""
    found = {}
    for name in ("matplotlib", "huggingface-hub"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _optional_text() -> str:
    use = {"matplotlib": "for --plot", "huggingface-hub": "for softllama models pull"}
    return ", ".join(f"{n} {v}" if v else f"no {n} ({use[n]})" for n, v in _optional().items())


def _llama() -> Iterable[Finding]:
    from softllama.llama import devices, library

    library.table_type(library.api.GGML_TYPE_Q8_0)  # raises where ggml's own table has another layout
    numbers = tuple(int(x) for x in library.VERSION.split(".")[:3] if x.isdigit())
    ggml = library.ggml_version()
    text = library.build() + (f", ggml {ggml}" if ggml else "")
    facts = {
        "llama_cpp_python": library.VERSION,
        "build": library.build(),
        "ggml": ggml,
        "features": devices.features(),
    }
    if numbers < FLOOR:
        floor = ".".join(map(str, FLOOR))
        yield Finding("installation", "llama.cpp", PROBLEM, f"{text}: older than {floor}",
                      "pip install --upgrade llama-cpp-python", facts)  # fmt: skip
        return
    if library.VERSION != DEVELOPED:
        text += f" (softllama was developed on {DEVELOPED}; what differs is measured for each model)"
    if devices.features():
        text += f"; built with {', '.join(devices.features())}"
    yield Finding("installation", "llama.cpp", OK, text, "", facts)


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
    facts = {"isa": name, "error": error}
    if not error < 1e-5:
        yield Finding("installation", "kernels", PROBLEM, f"{text}, and a sum is wrong by {error:.2g} of its size",
                      "SOFTLLAMA_ISA=scalar avoids them; please report it", facts)  # fmt: skip
        return
    yield Finding("installation", "kernels", OK, f"{text}; 3,000 rows sum to within {error:.1g}", "", facts)


def _processor() -> Iterable[Finding]:
    from softllama.llama import devices

    has, built = machine.cpu_flags(), devices.features()
    lacks = [ours for theirs, ours in FEATURES.items() if theirs in has and ours not in built]
    cores = devices.physical_cores()
    text = f"{devices.cpu_name()}, {cores} core{'s'[: cores > 1]} to use; {platform.system()} {platform.release()}"
    facts = {"name": devices.cpu_name(), "cores": cores, "platform": platform.platform(), "amx": devices.amx()}
    yield Finding("machine", "processor", OK, text, "", facts)
    if lacks:
        yield Finding("machine", "build", NOTE, f"llama.cpp was built without {', '.join(lacks)}, which this processor has: "
                      "it is several times slower than it could be", REINSTALL, {"lacks": lacks})  # fmt: skip
    if devices.amx():
        yield Finding("machine", "AMX", NOTE, "llama.cpp would use this processor's AMX unit, whose code crashes on some "
                      "machines (llama.cpp #20824), so softllama keeps weights away from it")  # fmt: skip


def _devices() -> Iterable[Finding]:
    from softllama.llama import devices, library

    found = devices.all_devices()
    for d in found:
        memory = f", {size(d.free)} of {size(d.total)} free" if d.total and d.kind != "CPU" else ""
        yield Finding("machine", d.name, OK, f"{d.kind}, {d.back_end} back end: {d.description}{memory}", "",
                      dataclasses.asdict(d))  # fmt: skip
    gpus = devices.gpus()
    maker = machine.gpu_without_driver_of_ours()
    if gpus:
        yield Finding("machine", "chosen", OK, f"{', '.join(gpus)}, as this build has a GPU back end; --n-gpu-layers 0 keeps "
                      "to the CPU", "", {"gpus": list(gpus)})  # fmt: skip
    elif library.api.llama_supports_gpu_offload():
        yield Finding("machine", "chosen", NOTE, "the CPU: this build has a GPU back end, which finds no device",
                      "look at the GPU's driver (nvidia-smi, rocminfo, vulkaninfo)", {"gpus": []})  # fmt: skip
    elif maker:
        yield Finding("machine", "chosen", NOTE, f"the CPU: there is an {maker} GPU, but this build has no back end for it",
                      BUILDS[maker], {"gpus": [], "maker": maker})  # fmt: skip
    else:
        yield Finding("machine", "chosen", OK, "the CPU, as this build has no GPU back end", "", {"gpus": []})


def _memory() -> Iterable[Finding]:
    from softllama.llama import memory as room

    free, total = room.available(), machine.all_memory()
    facts = {"free": free, "total": total}
    if free is None:
        yield Finding("machine", "memory", NOTE, "the system does not tell how much memory is free", "", facts)
        return
    little = free < LITTLE_MEMORY
    yield Finding("machine", "memory", NOTE if little else OK, f"{size(free)} free, of the machine's {size(total)}",
                  "close other programs, or use a small model" if little else "", facts)  # fmt: skip


def _folders() -> Iterable[Finding]:
    from softllama.chat import storage
    from softllama.hub import caches

    for name, folder, lost, variable in (
        ("cache", folders.cache(), "every start measures again what it could remember", "SOFTLLAMA_CACHE"),
        ("conversations", storage.folder(), "chats are not kept by themselves", "SOFTLLAMA_STATE"),
        ("models", caches.hugging_face_folder(), "softllama models pull cannot store anything", "HF_HUB_CACHE"),
    ):
        why, disk = machine.unwritable(folder), machine.free_disk(folder)
        facts = {"path": str(folder), "writable": not why, "free": disk}
        if why:
            yield Finding("machine", name, NOTE, f"{folder} cannot be written ({why}): {lost}",
                          f"{variable}=FOLDER names another", facts)  # fmt: skip
        elif disk < LITTLE_DISK:
            yield Finding("machine", name, NOTE, f"{folder}: only {size(disk)} free", "free some space", facts)
        else:
            yield Finding("machine", name, OK, f"{folder}, {size(disk)} free", "", facts)


# ---- a model ---------------------------------------------------------------------------------------------------------


def model(
    send: Send,
    path: str,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: Sequence[Sequence[Any]],
    rpc: str,
    brief: bool,
) -> None:
    """Everything about one model. brief: only what shows that the installation works."""
    from softllama.api import Model
    from softllama.diagnostics import measures

    report = Report(send, "model")
    if not brief and not report.check("header", lambda: _header(path), "reading its header"):
        return
    report.check("table", lambda: _tables(path, n_threads, brief), "reading its tables")
    opened: list[Model] = []

    def load() -> Iterable[Finding]:
        workers: list[str] = []
        if rpc:
            from softllama.llama import rpc as workers_of

            workers = workers_of.parse(rpc)
        options: dict[str, Any] = {"n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "n_threads": n_threads, "rpc": workers}
        start = measures.clock()
        opened.append(Model(path, lora=[(str(p), float(s)) for p, s in lora], trial=False, **options))
        return measures.loaded(opened[0], measures.clock() - start)

    if not report.check("loads", load, "loading it"):
        return
    m = opened[0]
    with m:
        for name, doing, check, always in (
            ("vocabulary", "its vocabulary", measures.vocabulary, False),
            ("chat template", "its chat template", measures.template, False),
            ("mixtures", "how mixtures are fed", measures.fed, True),
            ("exact", "one-hot mixtures and tokens", measures.exactness, True),
            ("repeats", "the same thing twice", measures.determinism, False),
            ("speed", "speed", measures.speed, True),
            ("memory", "memory of a context", measures.context_memory, False),
        ):
            if always or not brief:
                report.check(name, lambda check=check: check(m), doing)  # type: ignore[misc]


def model_in_child(send: Send, **options: Any) -> None:
    """The same in a process of its own, where nothing is recalled, and the parent hears what llama.cpp says."""
    from softllama.llama import library

    library.echo_log()
    os.environ["SOFTLLAMA_CACHE"] = f"{os.devnull}/none"
    model(send, **options)


def _header(path: str) -> Iterable[Finding]:
    from softllama.hub import facts
    from softllama.llama import architectures, header

    h = header.read(path)
    f = facts.read(h)
    n = len(h.files)
    yield Finding("model", "file", OK, f"{h.path}" + (f" and {n - 1} more" if n > 1 else "") + f", {size(f['n_bytes'])}", "",
                  {"files": f["files"], "bytes": f["n_bytes"]})  # fmt: skip
    keys = (
        "architecture",
        "title",
        "quantization",
        "table",
        "n_vocab",
        "n_embd",
        "n_layer",
        "n_ctx",
        "parameters",
        "note",
    )
    what = [f"{f['architecture'] or 'no architecture'}", f"{_count(f['parameters'])} parameters", f["quantization"],
            f"{f['n_layer']} layers"]  # fmt: skip
    if f["table"]:
        what.append(f"table {f['n_vocab']:,} x {f['n_embd']:,} in {f['table']}")
    what.append(f"context {f['n_ctx']:,}")
    if f["note"]:
        what.append(f"takes mixtures {f['note']}")
    yield Finding("model", "weights", OK, ", ".join(w for w in what if w), "", {k: f[k] for k in keys})
    architectures.find_table(h)  # raises for what cannot take mixtures


def _tables(path: str, n_threads: int | None, brief: bool) -> Iterable[Finding]:
    from softllama.diagnostics import measures
    from softllama.engine.table import Table
    from softllama.llama import architectures, devices, header

    h = header.read(path)
    n_threads = n_threads or devices.physical_cores()
    tables = {"table": architectures.find_table(h), "per-layer": architectures.per_layer(h)}
    for name, tensor in tables.items():
        if tensor is not None:
            yield from measures.rows(Table(tensor), n_threads, name)
    if not brief:
        yield from measures.tensors(h, [t.name for t in tables.values() if t is not None], n_threads)


def _count(n: int) -> str:
    for unit, scale in (("billion", 1e9), ("million", 1e6)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:,}"
