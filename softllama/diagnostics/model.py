"""What doctor looks at in a model, in its child process: from the header to the speed.

Each check is a function that gives findings. One that fails is a finding itself, and the next goes on. Numbers are
measured here and now; nothing is taken from what an earlier run remembered. Knows the order of the checks. The numbers are
in measures and exactness.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from softllama.base.child import Send
from softllama.base.text import size
from softllama.diagnostics.doctor import OK, Finding
from softllama.diagnostics.reporter import Reporter

if TYPE_CHECKING:
    from softllama.api import Model
    from softllama.llama.runtime import RuntimeKeywords

WEIGHTS = (  # what of a header's facts a finding keeps
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


def check(
    send: Send,
    path: str,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: Sequence[Sequence[Any]],
    any_base: bool,
    rpc: str,
    runtime: RuntimeKeywords,
    brief: bool,
) -> None:
    """Look at one model.

    Args:
        send: Takes the records of the findings, in order.
        path: The model's file.
        n_ctx, n_gpu_layers, n_threads, lora: As for softllama.load; of adapters [path, scale] each.
        any_base: Take adapters that were trained on another fine-tune, too.
        rpc, runtime: Workers, "host:port,host:port", and llama.cpp's options, as for softllama.load.
        brief: Look only at what shows that the installation works.
    """
    from softllama.api import Model
    from softllama.diagnostics import measures

    report = Reporter(send, "model")
    if not brief and not report.check("header", lambda: _header(path), "reading its header"):
        return
    report.check("table", lambda: _tables(path, n_threads, brief), "reading its tables")
    models: list[Model] = []

    def load() -> Iterable[Finding]:
        start = measures.clock()
        adapters = [(str(p), float(s)) for p, s in lora]
        m = Model(
            path,
            n_ctx=n_ctx,
            n_gpu_layers=n_gpu_layers,
            n_threads=n_threads,
            lora=adapters,
            any_base=any_base,
            rpc=_workers(rpc),
            trial=False,
            **runtime,
        )
        models.append(m)
        return measures.loaded(m, measures.clock() - start)

    if not report.check("loads", load, "loading it"):
        return
    with models[0] as m:
        for name, doing, measure, always in _of_a_loaded_model():
            if always or not brief:
                report.check(name, partial(measure, m), doing)


def _of_a_loaded_model() -> tuple[tuple[str, str, Callable[[Model], Iterable[Finding]], bool], ...]:
    """The checks: what each looks at, what a reader sees meanwhile, the check, and whether a brief look has it."""
    from softllama.diagnostics import exactness, measures

    return (
        ("vocabulary", "its vocabulary", measures.vocabulary, False),
        ("chat template", "its chat template", measures.template, False),
        ("mixtures", "how mixtures are fed", measures.mixtures, True),
        ("exact", "one-hot mixtures and tokens", exactness.one_hot, True),
        ("repeats", "the same thing twice", exactness.determinism, False),
        ("noise", "the noise floor", exactness.noise_floor, False),
        ("speed", "speed", measures.speed, True),
        ("memory", "memory of a context", measures.context_memory, False),
    )


def check_in_child(send: Send, **options: Any) -> None:
    """`check` in a process of its own, where nothing is recalled, and the parent gets what llama.cpp prints."""
    from softllama.llama import bindings

    bindings.echo_log()
    os.environ["SOFTLLAMA_CACHE"] = f"{os.devnull}/none"
    check(send, **options)


def _workers(rpc: str) -> list[str]:
    if not rpc:
        return []
    from softllama.llama import rpc as workers

    return workers.parse(rpc)


def _finding(name: str, text: str, **facts: Any) -> Finding:
    return Finding(part="model", name=name, state=OK, text=text, facts=facts)


def _header(path: str) -> Iterable[Finding]:
    from softllama.hub import facts
    from softllama.llama import architectures, header

    h = header.read(path)
    f = facts.read(h)
    more = f" and {len(h.files) - 1} more" if len(h.files) > 1 else ""
    yield _finding("file", f"{h.path}{more}, {size(f['n_bytes'])}", files=f["files"], bytes=f["n_bytes"])
    parts = [
        f["architecture"] or "no architecture",
        f"{_count(f['parameters'])} parameters",
        f["quantization"],
        f"{f['n_layer']} layers",
        f"table {f['n_vocab']:,} x {f['n_embd']:,} in {f['table']}" if f["table"] else "",
        f"context {f['n_ctx']:,}",
        f"takes mixtures {f['note']}" if f["note"] else "",
    ]
    yield _finding("weights", ", ".join(p for p in parts if p), **{k: f[k] for k in WEIGHTS})
    architectures.find_table(h)  # raises for what cannot take mixtures


def _tables(path: str, n_threads: int | None, brief: bool) -> Iterable[Finding]:
    from softllama.diagnostics import exactness
    from softllama.engine.table import EmbeddingTable
    from softllama.llama import architectures, devices, header

    h = header.read(path)
    n_threads = n_threads or devices.default_threads()
    tables = {"table": architectures.find_table(h), "per-layer": architectures.per_layer(h)}
    for name, tensor in tables.items():
        if tensor is not None:
            yield from exactness.rows(EmbeddingTable(tensor), n_threads, name)
    if not brief:
        yield from exactness.tensors(h, [t.name for t in tables.values() if t is not None], n_threads)


def _count(n: int) -> str:
    for unit, scale in (("billion", 1e9), ("million", 1e6)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:,}"
