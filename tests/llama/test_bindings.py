"""llama.cpp's log, which each thread has for itself, and what older versions lack."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import softllama as sl
from softllama.llama import bindings, gguf, header
from tests.conftest import ROOT
from tests.support import tiny


def test_two_threads_capture_what_each_of_them_causes() -> None:
    """Each logs while the other captures, and the first to begin is the first to end."""
    began, logged, ended = threading.Event(), threading.Event(), threading.Event()
    seen: dict[str, list[str]] = {}

    def first() -> None:
        with bindings.capture_log() as lines:
            began.set()
            assert logged.wait(60)
            log("one")
        seen["first"] = lines
        ended.set()

    def second() -> None:
        assert began.wait(60)
        with bindings.capture_log() as lines:
            log("two")
            logged.set()
            assert ended.wait(60)
            log("three")
        log("four")
        seen["second"] = lines

    def log(text: str) -> None:
        bindings._keep(2, text.encode(), None)

    threads = [threading.Thread(target=f) for f in (first, second)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert seen == {"first": ["one"], "second": ["two", "three"]}


def test_captures_may_be_nested() -> None:
    with bindings.capture_log() as outer:
        bindings._keep(2, b"a", None)
        with bindings.capture_log() as inner:
            bindings._keep(2, b"b", None)
        bindings._keep(2, b"c", None)
    assert (outer, inner) == (["a", "c"], ["b"])


@pytest.mark.parametrize(
    ("code", "message", "again"),
    [
        (
            "raise RuntimeError('Failed to load shared library')",
            "cannot be loaded: Failed to load shared library",
            True,
        ),
        ("raise ModuleNotFoundError(\"No module named 'llama_cpp'\", name='llama_cpp')", "is not installed", False),
    ],
)
def test_a_llama_cpp_that_does_not_load_has_the_line_for_this_system(
    tmp_path: Path, code: str, message: str, again: bool
) -> None:
    (tmp_path / "llama_cpp.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    run = [sys.executable, "-m", "softllama", "probe", "--mix", "dog:0.5,cat:0.5"]
    done = subprocess.run(run, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert f"Error: llama-cpp-python {message}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/" in done.stderr
    assert ("--force-reinstall" in done.stderr) == again


def test_shapes_are_the_same_where_ggml_has_no_function_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in llama-cpp-python 0.3.17."""
    path = tiny.write_model(tmp_path / "m.gguf", "qwen35")
    now = header.read(path)
    monkeypatch.setattr(gguf, "_tensor_ne", None)
    assert header.read(path).tensors == now.tensors
    assert not gguf._tensors
    (tmp_path / "m.gguf").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(sl.ModelError, match="damaged or not complete"):
        header.read(path)
    assert not gguf._tensors
