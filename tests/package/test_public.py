"""The public names: all of them load, and a type checker sees them with their types."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import softllama as sl
from tests.conftest import ROOT

USE = """
import os

import numpy as np
import softllama as sl

m: sl.Model = sl.load("x.gguf", n_ctx=10)
mixture: sl.Mixture = m.mix("dog:0.5,cat:0.5")
with m.session() as s:
    d: sl.Distribution = s.feed([1, mixture])
top: float = d.top(1)[0].p
r: sl.ProbeResult = m.probe("The {} says", mix="dog,cat")
t: sl.Trace = m.generate("x", policy=sl.policy.greedy())
diagnosis: sl.doctor.Diagnosis = sl.doctor.examine("x.gguf", n_threads=1)
report = sl.study.mixing.run(m, seed=1)
text: str = report.csv()
header, results = sl.evaluate.evaluate(m, sl.evaluate.load("x.jsonl"), sl.evaluate.parse_all(["greedy"]))
n_thinking: int = results[0].n_thinking
path: str | os.PathLike[str] = sl.hub.resolve("bundled:words")
loaded: sl.Trace = sl.trace.load("x.jsonl")
answer: str | None = sl.extract.number("18")
best: sl.Trace = sl.search.best_of(m, "x", n=2).trace
generated: sl.Trace = sl.generate(m, "x")
error: sl.SoftLlamaError = sl.NotFiniteError("x")
decision: sl.policy.Decision = sl.policy.gumbel()(sl.Distribution([1.0, 2.0]), np.random.default_rng(0))
wrong: str = d.entropy()
"""
WRONG = "wrong: str = d.entropy()"


def test_every_name_loads() -> None:
    for name in sl.__all__:
        assert getattr(sl, name) is not None
    assert set(dir(sl)) == set(sl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sl.nothing  # noqa: B018


def test_modules_are_reached_without_being_loaded_before() -> None:
    code = (
        "import sys, softllama as sl\n"
        "print(*sorted(m for m in sys.modules if m.startswith('softllama.')))\n"
        "print(sl.doctor.examine.__name__, {'numpy', 'llama_cpp', 'rich'} & set(sys.modules))\n"
        "print(sl.evaluate.evaluate.__name__, sl.study.mixing.run.__name__, sl.hub.resolve.__name__, sl.trace.load.__name__)\n"
        "print(sl.search.beam.__name__, sl.extract.rule.__name__, sl.policy.greedy.__name__, sl.stream.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == [
        "softllama._version softllama.errors",
        "examine set()",
        "evaluate run resolve load",
        "beam rule greedy stream",
    ]
    assert done.stderr == ""


def test_what_the_package_decides_is_logged_and_not_printed(load: Callable[..., sl.Model]) -> None:
    records: list[logging.LogRecord] = []
    logger, handler = logging.getLogger("softllama"), logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        problems = sl.evaluate.Dataset("d", (sl.evaluate.Problem(0, "The dog " * 500, ("x",)),), "text", "")
        sl.evaluate.evaluate(load("llama"), problems, sl.evaluate.parse_all(["greedy"]))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    messages = [r.getMessage() for r in records if r.name.startswith("softllama.evaluate.")]
    assert messages[0] == "1 problems of d, raw, answers read by 'text'"
    assert messages[1].startswith("problem 0, greedy: prompt too long: ")
    assert any(isinstance(h, logging.NullHandler) for h in logger.handlers)


def test_types_are_seen_from_outside(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "c"), "--config-file=", "use.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if line.startswith("use.py") and ": error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert (
        f'use.py:{USE.splitlines().index(WRONG) + 1}: error: Incompatible types in assignment (expression has type "float"'
        in errors[0]
    )
