"""How much memory a context will take, and how much is free.

llama.cpp allocates memory when a context is made. If the system promises more than it has, as Linux does, the process is
killed later, when the memory is used. So the sizes are compared beforehand. The estimate is a little low on purpose: a
context that cannot fit is refused, and one that might fit is tried. Knows a model's header and the system's own accounts.
Does not know the context itself.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from softllama.base import control_groups, system
from softllama.base.text import size
from softllama.errors import ContextError, UsageError
from softllama.llama.header import Header

F16, F32 = 2, 4  # bytes
Cell: TypeAlias = tuple[float, float]  # bytes of a key's number, and of a value's
IGNORED = 64 << 20  # bytes that are not worth asking the system about
STEP = 256  # llama.cpp rounds a context up to a multiple of it
TIGHT = 1 << 30  # bytes of address space, half of which the graphs of some architectures take for each context
MANY = 16384  # positions from which on a context is worth a closer look, whatever the estimate says


@dataclass(frozen=True)
class Need:
    """Bytes that a context takes.

    Attributes:
        cells: keys and values of all positions.
        states: of recurrent layers, for each sequence.
        outputs: logits that one batch may return.
        work: what a batch is computed in, as far as it grows with the context.
    """

    cells: int
    states: int
    outputs: int
    work: int

    @property
    def total(self) -> int:
        return self.cells + self.states + self.outputs + self.work


def need(h: Header, n_ctx: int, n_seq: int, n_batch: int, n_outputs: int, cell: Cell = (F16, F16)) -> Need:
    """An estimate of what a context of n_ctx positions takes. Layers whose shapes are unknown here count as nothing."""
    per_position, per_sequence = _layers(h, cell)
    n_embd, n_vocab = _table(h)
    cells = -(-n_ctx // STEP) * STEP
    return Need(
        cells * per_position,
        n_seq * per_sequence,
        n_outputs * n_vocab * F32,
        # the mask of a batch has an F16 for each of its positions and each cell
        (cells * n_batch * F16 if per_position else 0) + n_batch * n_embd * F32,
    )


def _layers(h: Header, cell: Cell) -> tuple[int, int]:
    """Bytes for each position, and for each sequence, over all layers."""

    def number(key: str) -> int:
        value = h.get(f"{{arch}}.{key}", 0)
        return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0

    layers = number("block_count")
    own = layers - number("attention.shared_kv_layers") - number("nextn_predict_layers")  # the others have no cells
    of_key, of_value = cell
    position, sequence = 0.0, 0
    for i in range(max(0, own)):

        def rows(name: str, i: int = i) -> int:
            t = h.tensors.get(f"blk.{i}.{name}.weight")
            return t.shape[1] if t is not None and len(t.shape) > 1 else 0

        if k := rows("attn_k"):
            position += of_key * k + of_value * (rows("attn_v") or k)
        elif qkv := rows("attn_qkv"):
            position += (of_key + of_value) / 2 * max(0, qkv - number("embedding_length"))
        elif latent := rows("attn_kv_a_mqa"):
            position += of_key * latent
        if number("ssm.inner_size") and any(n.startswith(f"blk.{i}.ssm") for n in h.tensors):
            sequence += F32 * number("ssm.inner_size") * (number("ssm.state_size") + number("ssm.conv_kernel"))
        elif number("wkv.head_size") and any(n.startswith(f"blk.{i}.time_mix") for n in h.tensors):
            sequence += F32 * number("embedding_length") * (number("wkv.head_size") + 2)
    return int(position), sequence


def _table(h: Header) -> tuple[int, int]:
    t = h.tensors.get("token_embd.weight")
    return t.shape[:2] if t is not None and len(t.shape) > 1 else (0, 0)  # type: ignore[return-value]


def check(
    h: Header,
    n_ctx: int,
    n_seq: int,
    n_batch: int,
    n_outputs: int,
    fits: Callable[[], int],
    cell: Cell = (F16, F16),
) -> None:
    """Check that there is memory for a context.

    Args:
        fits: calls `fitting` for this context, which takes some milliseconds.
        cell: as for `need`.

    Raises:
        ContextError: there is not. The message has the sizes, the hint has what would fit.
    """
    n = need(h, n_ctx, n_seq, n_batch, n_outputs, cell)
    have = available() if n.total >= IGNORED or n_ctx > MANY else None
    if have is None:
        return
    what = f"a context of {n_ctx:,} positions{f' for {n_seq} sequences' if n_seq > 1 else ''}"
    if n.total > have:
        parts = {"positions": n.cells, "recurrent states": n.states, "logits": n.outputs, "work": n.work}
        list_of = ", ".join(f"{size(part)} of {name}" for name, part in parts.items() if part > n.total // 100)
        raise ContextError(
            f"{what} needs {size(n.total)} of memory ({list_of}), and {size(have)} are free", hint(fits(), n_seq)
        )
    # no layer's shape was understood, or there are no cells; twice, as a sliding window's memory does not go on growing
    if not n.cells and n_ctx > MANY and 2 * (most := fits()) < n_ctx:
        raise ContextError(f"{what} needs more memory than the {size(have)} that are free", hint(most, n_seq))


def fitting(
    h: Header, taken: Callable[[int], tuple[int, int] | None], n_ctx: int, n_batch: int, cell: Cell = (F16, F16)
) -> int:
    """The positions, fewer than n_ctx and a multiple of 256, that fit with a tenth of the memory left over; 0 if none do.

    Two small contexts are measured, since what a batch is computed in differs between architectures. llama.cpp ends the
    process if `ulimit -v` leaves it nothing, so nothing is measured near that limit: four times the estimate is used.

    Args:
        taken: makes a context of so many positions. Returns the bytes that llama.cpp reports for it, and those by which the
            process grew; None if llama.cpp cannot make it.
    """
    estimated = (need(h, STEP, 1, n_batch, 0, cell).total - need(h, 0, 1, n_batch, 0, cell).total) / STEP
    each, fixed = 4 * estimated, 0.0
    sizes = 16 * STEP, 4 * STEP  # the larger ones tell more, but may be what does not fit
    for few in sizes if min(_limits_of_process(Path("/proc")), default=TIGHT) >= TIGHT else ():
        few = max(few, -(-n_batch // STEP) * STEP)
        small, large = taken(few), taken(2 * few)
        if small is not None and large is not None:
            each = max((large[0] - small[0]) / few, estimated)
            fixed = max(0.0, max(large) - 2 * few * each)
            break
    left = (available() or 0) * 0.9 - fixed
    most = min(left / each, n_ctx - 1) if each else n_ctx - 1
    return STEP * int(most // STEP) if left > 0 else 0


def hint(fits: int, n_seq: int) -> str:
    """The hint for a context for which there is no memory. fits: positions for all sequences together."""
    each = fits // n_seq
    if n_seq > 1:
        fewer = "fewer samples, beams or streams at once"
        return f"--n-ctx {each} (n_ctx={each}) fits; so do {fewer}" if each else f"{fewer} need less"
    return f"--n-ctx {each} (n_ctx={each}) fits" if each else "a smaller model needs less"


# ---- what there is


def available(proc: Path = Path("/proc"), sys_fs: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that this process may still take: the least of the system's, its control groups' and its own limits.

    None if the system does not report it. The variable SOFTLLAMA_MEMORY ("4GB") stands in place of all of them.
    """
    if text := os.environ.get("SOFTLLAMA_MEMORY", "").strip():
        return bytes_of(text)
    limits = [*_limits_of_process(proc)]
    if (free := system.free_memory()) is not None:
        limits.append(free)
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = (proc / "meminfo").read_text().splitlines()
        limits.append(1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1]))
    limits += _groups(proc, sys_fs)
    return max(0, min(limits)) if limits else None


def bytes_of(text: str) -> int:
    """Bytes of "4GB", "500 MB" or "1000000". Raises UsageError for another text."""
    m = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if m is None:
        raise UsageError(f"SOFTLLAMA_MEMORY = {text!r} is no amount of memory", "such as 4GB or 500MB")
    base = 1024.0 if m[3] else 1000.0
    return round(float(m[1]) * math.pow(base, " kmgt".index(m[2] or " ")))


def _limits_of_process(proc: Path) -> Iterator[int]:
    """What `ulimit -v` leaves."""
    limit = system.address_space_limit()
    if limit is not None and (used := address_space(proc)):
        yield limit - used


def address_space(proc: Path = Path("/proc")) -> int:
    """Bytes of this process's address space, which `ulimit -v` limits; 0 if the system does not report it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((proc / "self/statm").read_text().split()[0]) * mmap.PAGESIZE
    return 0


def _groups(proc: Path, sys_fs: Path) -> Iterator[int]:
    """What control groups leave, of this process's group and of those above it. Cached pages of files can be dropped."""
    for version, folder in control_groups.folders("memory", proc, sys_fs):
        if version == 2:
            yield from _group(folder, "memory.max", "memory.current", "inactive_file")
        else:
            yield from _group(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _group(folder: Path, limit: str, usage: str, cached: str) -> Iterator[int]:
    try:
        most = int((folder / limit).read_text())  # "max" for none
        used = int((folder / usage).read_text())
        stat: Any = re.search(rf"^{cached} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return
    if most < 1 << 60:  # version 1 writes a large number for none
        yield most - used + (int(stat[1]) if stat else 0)


def note(n_bytes: int) -> str | None:
    """A note for a model whose file is larger than the free memory; None if it fits."""
    have = available() if n_bytes >= IGNORED else None
    if have is None or n_bytes <= have:
        return None
    return (
        f"memory: the model's {size(n_bytes)} are more than the {size(have)} that are free, so parts of it are read "
        "from the disk again and again"
    )
