"""A child process: what it sends, how it may end, and that it is always gone afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from softllama.base import child
from softllama.errors import ContextError
from tests.conftest import ROOT


def call(name: str, seconds: float = 60, memory: int | None = None, **arguments: Any) -> list[dict[str, Any]]:
    return list(child.messages(f"tests.support.in_child:{name}", arguments, seconds=seconds, memory=memory))


def died(name: str, **arguments: Any) -> child.DiedError:
    with pytest.raises(child.DiedError) as e:
        call(name, **arguments)
    return e.value


def gone(pid: int) -> bool:
    """Is there no such process, not even one that nobody has waited for?"""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with contextlib.suppress(OSError):  # an orphan is waited for by whoever adopts it, which may take its time
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" and not ours(pid):
                return True
        time.sleep(0.05)
    return False


def ours(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    with pytest.raises(ChildProcessError):  # there is none to wait for
        os.waitpid(-1, os.WNOHANG)


def test_what_is_sent_arrives_in_order() -> None:
    assert call("count", to=50) == [{"i": i, "text": "犬\n" * i} for i in range(50)]


def test_what_is_printed_does_not_get_in_between(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(call("noise")[0]) == ["pid"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGABRT, "ended the process (SIGABRT)"),
        (signal.SIGSEGV, "read memory that is not its own (SIGSEGV)"),
        (signal.SIGFPE, "divided by zero (SIGFPE)"),
        (signal.SIGKILL, "killed (SIGKILL), as happens when memory runs out"),
    ],
)
def test_a_signal_becomes_a_sentence(number: int, how: str) -> None:
    e = died("die", number=int(number), text="first\n/build/llama.cpp/src/x.cpp:7: GGML_ASSERT(a/b) failed\nlater\n\n")
    assert how in e.reason
    assert e.last_line == "x.cpp:7: GGML_ASSERT(a/b) failed"
    assert e.at_work


def test_the_last_line_is_told_if_there_is_no_assertion() -> None:
    assert died("die", number=int(signal.SIGFPE), text="one\ntwo\n").last_line == "two"
    assert died("die", number=int(signal.SIGFPE), text="one\nwithout an end").last_line == "without an end"
    assert died("die", number=int(signal.SIGFPE), text="").last_line == ""


def test_an_exit_in_the_middle_is_no_end() -> None:
    assert "exit code 0" in died("leave", code=0).reason
    assert "exit code 3" in died("leave", code=3).reason


def test_silence_has_a_limit() -> None:
    start = time.monotonic()
    e = died("sleep", seconds=2)
    assert "did not come to an end in 2 s" in e.reason
    assert time.monotonic() - start < 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has for itself")
def test_memory_has_a_limit() -> None:
    e = died("grow", n_bytes=600 << 20, memory=300 << 20)
    assert "MB of memory, more than the file can need" in e.reason
    assert e.at_work


def test_our_errors_come_through_and_others_are_told() -> None:
    with pytest.raises(ContextError, match="no room") as c:
        call("refuse")
    assert c.value.hint == "make some"
    e = died("fail")
    assert e.reason == "ValueError: as planned"
    assert not e.at_work
    e = died("no_such_function")
    assert not e.at_work


def test_a_consumer_that_leaves_ends_the_child() -> None:
    found = child.messages("tests.support.in_child:sleep", {}, seconds=60)
    pid = next(found)["pid"]
    found.close()
    assert gone(pid)


def test_no_python_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert child.possible()
    for name in ("", None, "/opt/app/blender", "/usr/sbin/uwsgi"):
        monkeypatch.setattr(sys, "executable", name)
        assert not child.possible()
    monkeypatch.setattr(sys, "executable", "/no/such/python3")
    assert child.possible()
    assert not died("count", to=1).at_work
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert not child.possible()


def test_an_interpreter_that_cannot_import_us_is_not_blamed_on_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/no/such/folder"])
    e = died("count", to=1)
    assert not e.at_work
    assert "could not begin" in e.reason


def test_modules_in_the_current_folder_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "signal", "selectors", "softllama"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert len(call("count", to=2)) == 2


PARENT = """
import sys
from softllama.base import child
try:
    for record in child.messages("tests.support.in_child:sleep", {}, seconds=60):
        print(record["pid"], flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(
    ("number", "group", "code"),
    [
        (signal.SIGINT, True, 130),  # Ctrl-C in a terminal reaches parent and child
        (signal.SIGINT, False, 130),
        (signal.SIGTERM, False, -signal.SIGTERM),
        (signal.SIGKILL, False, -signal.SIGKILL),
    ],
)
def test_a_parent_that_ends_takes_the_child_with_it(number: int, group: bool, code: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    (os.killpg if group else os.kill)(parent.pid, number)
    _, err = parent.communicate(timeout=300)
    assert (parent.returncode, err) == (code, "")
    assert gone(pid)
