"""Damaged model files through load and probe, one forked process each, so that thousands of them take minutes: llama.cpp is
imported once, and no thread of it has started when a case is forked. Linux and macOS.

A case is a number: with the seed it says which model is taken and what is done to it (tests/support/damage.py). A bare case is
loaded straight away; one that is tried goes the way of a user's file, which softllama first loads in a child process.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import random
import resource
import select
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import softllama as sl
from tests.support import damage, tiny, tiny_more

for _name in (
    "api",
    "hub",
    "probe.run",
    "generation.prepare",
    "engine.manifest",
):  # or each child would, for a tenth of a second
    importlib.import_module(f"softllama.{_name}")

BUNDLED = Path(sl.__file__).parent / "models"
SECONDS = 20  # of processor time; an undamaged file takes 0.1
TRIAL_SECONDS = "15"  # that the trial waits for llama.cpp
TICK = 0.05  # seconds between two looks at a child
PATIENCE = 2400  # looks at one that takes no processor time; not seconds, as a machine may stand still
SPARE = 128 << 20  # bytes that a case may take beyond its file: context, logits, and what llama.cpp needs by itself
TIMES = 8  # the file's size, for what is read, copied and repacked
SENTENCE = 1000  # characters of a message, beyond which it is none

WRITERS: dict[str, Callable[[Path], Path]] = {}
for _arch in (
    "llama", "qwen2", "qwen3", "gemma2", "gemma3", "granite", "minicpm", "gpt2", "phi3", "glm4-vision", "qwen2vl", "qwen3vl",
    "mamba", "lfm2", "qwen35",
):  # fmt: skip
    WRITERS[_arch] = lambda path, arch=_arch: tiny.write_model(path, arch)  # type: ignore[misc]
for _type in ("F16", "Q4_0", "Q8_0", "IQ4_NL", "Q4_K", "Q6_K"):
    WRITERS[f"llama {_type}"] = lambda path, t=_type: tiny.write_model(path, table_type=t, n_layer=1)  # type: ignore[misc]
for _vocab in ("spm", "spm-nobytes", "ugm", "none", "bpe-partial"):
    WRITERS[f"llama {_vocab}"] = lambda path, v=_vocab: tiny.write_model(path, tokenizer=v, n_layer=1)  # type: ignore[misc]
WRITERS["llama with chat"] = lambda path: tiny.write_model(path, chat_template=tiny.CHAT_TEMPLATE, tied=False)
WRITERS["adapter"] = lambda path: tiny.write_adapter(path)
for _name in ("sums", "sums-soft", "words", "words-mixed"):
    WRITERS[f"bundled {_name}"] = lambda path, n=_name: BUNDLED / f"{n}.gguf"  # type: ignore[misc]
WRITERS["first of a split"] = lambda path: tiny.write_model(path, shards=2)
WRITERS["second of a split"] = lambda path: Path(str(tiny.write_model(path, shards=2)).replace("-00001-", "-00002-"))
ARCHITECTURES = tuple(f"architecture {name}" for name in sorted(tiny_more.RECIPES))
NAMES = (*WRITERS, *ARCHITECTURES)


@dataclass(frozen=True)
class Outcome:
    """What came of a case. kind: "loaded", "refused" (a SoftLlamaError), or a finding: "crash", "hang", "memory",
    "traceback", "wrong"."""

    number: int
    name: str
    note: str
    kind: str
    what: str
    seconds: float
    megabytes: float  # taken beyond what the process had before

    @property
    def finding(self) -> bool:
        return self.kind not in ("loaded", "refused")


class Fuzzer:
    """Cases of a seed. folder: where files are written; what crashed is kept there. visit: what is done to a file, in a
    forked process; it gives ("loaded" or "refused" or a finding, a sentence)."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        visit: Callable[[Path, Path | None], tuple[str, str]] | None = None,
        *,
        seconds: int = SECONDS,
        spare: int = SPARE,
    ) -> None:
        self.seed, self.folder, self.visit = seed, folder, visit or visit_once
        self.seconds, self.spare = seconds, spare
        self._known: dict[str, Path] = {}

    def model(self, name: str) -> Path:
        """An undamaged file."""
        if name in self._known:
            return self._known[name]
        folder = self.folder / "models" / name.replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        if name in WRITERS:
            path = WRITERS[name](folder / "model.gguf")
        else:  # llama.cpp is asked which tensors it wants: in a child, too
            arch = name.removeprefix("architecture ")
            path = folder / f"{arch}.gguf"
            made = in_child(lambda: ("loaded", str(tiny_more.write(folder, arch))), 1 << 30)
            if made[:2] != ("loaded", str(path)):
                raise RuntimeError(f"{name} cannot be written: {made}")
        self._known[name] = path
        return path

    def case(self, number: int) -> tuple[str, bytes, str]:
        """The model's name, its damaged file, and what was done to it."""
        rng = random.Random(f"{self.seed}/{number}")
        name = rng.choice(ARCHITECTURES if rng.random() < 0.6 else tuple(WRITERS))
        return (name, *damage.damage(self.model(name).read_bytes(), f"{self.seed}/{number}/{name}"))

    def run(self, number: int, *, tried: bool = False) -> Outcome:
        """Write the file, load it in a child, and judge. tried: as a user's file is loaded."""
        name, data, note = self.case(number)
        os.environ["SOFTLLAMA_TRIAL"] = TRIAL_SECONDS if tried else "off"
        path, adapter, others = self.write(number, name, data)
        limit = self.spare + TIMES * len(data)
        try:
            kind, what, seconds, taken = in_child(lambda: self.visit(path, adapter), limit, self.seconds)
        finally:
            for other in others:
                other.unlink()
        return Outcome(number, name, note, kind, what, seconds, taken / (1 << 20))

    def write(self, number: int, name: str, data: bytes) -> tuple[Path, Path | None, list[Path]]:
        """The model to load, the adapter for it, and the files written."""
        path = self.folder / f"{number}.gguf"
        if "split" in name:
            good = self.model("first of a split")
            first = path.with_name(f"{number}-00001-of-00002.gguf")
            second = path.with_name(f"{number}-00002-of-00002.gguf")
            damaged, whole = (first, second) if name.startswith("first") else (second, first)
            source = good.with_name(good.name.replace("-00001-", "-00002-")) if whole == second else good
            damaged.write_bytes(data)
            whole.write_bytes(source.read_bytes())
            return first, None, [first, second]
        path.write_bytes(data)
        return (self.model("llama"), path, [path]) if name == "adapter" else (path, None, [path])


def visit_once(path: Path, adapter: Path | None) -> tuple[str, str]:
    """Load, probe, decode a little, and check what comes out."""
    stage = "refused"
    try:
        with sl.load(path, n_threads=1, lora=str(adapter) if adapter else None) as model:
            stage = "loaded"
            r = model.probe("{}{}", mix=sl.Mixture([0, 1], [0.5, 0.5]), continue_tokens=2, sweep=3)
            for d in (r.next, *r.baselines.values()):
                if not np.isfinite(d.probs).all() or abs(float(d.probs.sum(dtype=np.float64)) - 1) > 1e-4:
                    return "wrong", f"probabilities that sum to {d.probs.sum()}"
            for token in range(min(model.n_vocab, 300)):
                model.spell(token)
            for text in ("The dog says", "犬 \x00 <|im_end|>"):
                model.detokenize(model.tokenize(text))
            model.generate("The dog", policy="full", where="everywhere", max_tokens=3, seed=1)
            if "tokenizer.chat_template" in model.metadata:
                model.probe("{}", mix=sl.Mixture([0, 1], [0.5, 0.5]), chat=True)
        return stage, ""
    except sl.SoftLlamaError as e:
        return stage, f"{type(e).__name__}: {e.message}"


def in_child(call: Callable[[], tuple[str, str]], limit: int, at_most: int = SECONDS) -> tuple[str, str, float, int]:
    """What a call in a forked process came to: kind, reason, seconds of processor time, bytes taken."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    read, write = os.pipe()
    go_read, go = os.pipe()
    _give_back_freed_memory()  # before the fork: a child's peak begins with what it has inherited
    child = os.fork()
    if not child:
        os.close(read)
        os.close(go)
        os.read(go_read, 1)  # until its memory before the call is known
        _child(call, write, errors.fileno(), at_most)
    os.close(write)
    os.close(go_read)
    before, over, out, looks = _rss(child), "", b"", 0
    os.close(go)
    while True:
        readable, _, _ = select.select([read], [], [], TICK)
        looks += 1
        if readable:
            piece = os.read(read, 1 << 16)
            if not piece:
                break
            out += piece
        elif looks > PATIENCE:
            over = "hang"
        elif _rss(child) - before > 8 * limit:  # before it takes the machine's
            over = "memory"
        if over:
            os.kill(child, signal.SIGKILL)
            break
    os.close(read)
    _, status, usage = os.wait4(child, 0)
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace")
    errors.close()
    peak = usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
    seconds, taken = usage.ru_utime + usage.ru_stime, max(0, peak - before)
    if over:
        return over, said[-300:], seconds, taken
    if os.WIFSIGNALED(status):
        which = os.WTERMSIG(status)
        if which == signal.SIGXCPU:
            return "hang", _frames(said), seconds, taken
        return "crash", f"{signal.Signals(which).name} {_cause(said)}", seconds, taken
    kind, what = json.loads(out) if out else ("crash", f"exit code {os.WEXITSTATUS(status)} {_cause(said)}")
    if kind in ("loaded", "refused") and taken > limit:
        return "memory", f"{taken >> 20} MB for a limit of {limit >> 20}: {what}", seconds, taken
    return kind, what, seconds, taken


def _child(call: Callable[[], tuple[str, str]], write: int, errors: int, limit: int) -> None:
    """Does not return."""
    try:
        os.dup2(errors, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 2))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.enable(2)
        if hasattr(signal, "SIGXCPU"):
            faulthandler.register(signal.SIGXCPU, 2, chain=True)
        try:
            result: Any = call()
        except BaseException as e:
            where = e.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else ""
            result = ("traceback", f"{type(e).__name__}: {e} ({place})")
        kind, what = result
        if kind in ("refused", "loaded") and len(what) > SENTENCE:
            kind = "wrong"
        os.write(write, json.dumps((kind, what[:SENTENCE])).encode())
    finally:
        os._exit(0)


def _give_back_freed_memory() -> None:
    """What this process has freed and its C library kept: a case that takes memory of that kind would seem to take none."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc
        trim(ctypes.c_size_t(0))


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _cause(said: str) -> str:
    """llama.cpp's last words, or where Python was."""
    for line in said.splitlines():
        for mark in ("GGML_ASSERT", "GGML_ABORT", "what():", "fatal error", "terminate called"):
            if mark in line:
                return line.strip()[-200:]
    return _frames(said)


def _frames(said: str) -> str:
    frames = [line.split(" in ")[-1] for line in said.splitlines() if line.startswith("  File")]
    return "in " + " < ".join(frames[:4]) + " | " + " ".join(said.split()[:6]) if frames else said.strip()[-200:]
