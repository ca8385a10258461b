"""Long runs leave nothing behind. scripts/dev/soak.py does the same for as long as one likes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import softllama as sl
from tests.conftest import ROOT

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.slow
@linux
def test_two_thousand_steps_of_a_kind_leave_no_memory_behind() -> None:
    """In a process of its own. An allocator may take half a megabyte at once; what is forgotten is so a second time, too."""
    kinds = "generate gumbel", "forks", "4 beams"
    code = (
        "import sys, softllama as sl\nfrom scripts.dev.soak import soak, works\nw = works(sl.load())\n"
        "sys.exit(any(soak(k, w[k], 2000) > 350 and soak(k, w[k], 2000) > 350 for k in sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *kinds], capture_output=True, text=True, timeout=400, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("bytes/step") >= len(kinds)


def maps(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


@linux
def test_models_and_sessions_that_are_closed_or_forgotten_leave_no_maps_files_or_threads(write: object) -> None:
    path: Path = write("llama")  # type: ignore[operator]

    def files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208

    def work() -> None:
        with sl.load(path, n_threads=1) as m, m.session(64) as s:
            s.feed([5, 6, 7])
            s.fork().feed([8])
        forgotten = sl.load(path, n_threads=1).session(64)
        forgotten.feed([5])

    for _ in range(3):
        work()
    gc.collect()
    before = maps(path), files(), threads()
    for _ in range(10):
        work()
    gc.collect()
    assert (maps(path), files(), threads()) == before


def test_a_closed_context_is_freed_at_once_and_its_python_side_with_the_last_reference(model: sl.Model) -> None:
    s = model.session(64)
    context = s._context
    alive = weakref.ref(context)
    n = len(model._weights.contexts)
    context.close()
    assert len(model._weights.contexts) == n - 1
    s.close()
    del s, context
    assert alive() is None


def test_a_stream_keeps_nothing_of_the_steps_that_it_gave_out(model: sl.Model) -> None:
    refs = []
    for step in model.stream("The dog", chat=False, policy="full", max_tokens=30, seed=1):
        refs.append(weakref.ref(step.mixture))
        del step
        assert sum(r() is not None for r in refs) <= 2
    assert len(refs) == 30


def test_a_stream_gives_what_a_generation_keeps(model: sl.Model) -> None:
    options = {"policy": "gumbel:where=everywhere", "max_tokens": 30, "seed": 1}
    streamed = list(model.stream("The dog", **options))
    kept = model.generate("The dog", **options)
    assert [(s.index, s.position, s.token, s.text, s.mixture) for s in streamed] == [
        (s.index, s.position, s.token, s.text, s.mixture) for s in kept.steps
    ]


def test_a_full_context_ends_the_generation_and_says_so(model: sl.Model) -> None:
    with sl.load(model.path, n_ctx=64, n_threads=1) as m:
        trace = m.generate("The dog", chat=False, policy="full", max_tokens=10**6, seed=1)
    assert trace.stop_reason == "context full"
    assert len(trace.prompt) + len(trace.steps) == 64
