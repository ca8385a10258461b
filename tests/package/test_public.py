"""The public names: all of them load, and a type checker sees them with their types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import softllama as sl

USE = """
import numpy as np
import softllama as sl

m: sl.Model = sl.load("x.gguf", n_ctx=10)
mixture: sl.Mixture = m.mix("dog:0.5,cat:0.5")
with m.session() as s:
    d: sl.Distribution = s.feed([1, mixture])
top: float = d.top(1)[0].p
r: sl.ProbeResult = m.probe("The {} says", mix="dog,cat")
t: sl.Trace = m.generate("x", policy=sl.policy.greedy())
decision: sl.policy.Decision = sl.policy.gumbel()(sl.Distribution([1.0, 2.0]), np.random.default_rng(0))
wrong: str = d.entropy()
"""


def test_every_name_loads() -> None:
    assert set(sl.__all__) == {"__version__", *sl._HOME, *sl._MODULES}
    for name in sl.__all__:
        assert getattr(sl, name) is not None
    assert set(sl.__all__) <= set(dir(sl))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sl.nothing  # noqa: B018


def test_types_are_seen_from_outside(tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "c"), "--config-file=", "use.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if line.startswith("use.py") and ": error:" in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert 'use.py:13: error: Incompatible types in assignment (expression has type "float"' in errors[0]
