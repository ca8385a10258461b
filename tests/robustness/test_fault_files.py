"""Files that change or vanish, full disks, closed pipes, signals: nothing lost, nothing half, and a sentence."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from scripts.dev.interrupts import stress
from softllama import hub
from softllama.base import cache
from softllama.base.files import replacing
from softllama.chat import storage
from softllama.evaluate.results import Result, ResultsFile
from softllama.llama import architectures, header, weights
from softllama.report import report
from softllama.report.report import Report
from tests.conftest import ROOT, Cli


def command(*arguments: Any, timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "softllama", *map(str, arguments)], text=True, timeout=timeout, cwd=ROOT,
        **{"capture_output": True, **options},
    )  # fmt: skip


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A model file of one's own, to be spoilt."""
    return Path(shutil.copy(hub.resolve("bundled:words"), tmp_path / "words.gguf"))


# ---- model files


def test_a_model_that_is_deleted_while_it_is_in_use_goes_on(words: Path) -> None:
    with sl.load(words) as model, model.session(64) as s:
        before = s.feed(model.tokenize("The dog")).logits
        words.unlink()
        with model.session(64) as again:
            assert np.array_equal(again.feed(model.tokenize("The dog")).logits, before)
        assert model.generate("The", max_tokens=3, policy="full", seed=1).steps


def test_a_model_that_is_replaced_by_another_file_goes_on_as_it_was(words: Path, tmp_path: Path) -> None:
    with sl.load(words) as model:
        before = model.probe("The {} says", mix="dog,cat").next.logits
        other = Path(shutil.copy(hub.resolve("bundled:sums"), tmp_path / "other"))
        other.replace(words)
        assert np.array_equal(model.probe("The {} says", mix="dog,cat").next.logits, before)


@pytest.mark.parametrize("spoil", ["shorter", "other bytes"])
def test_a_model_that_is_changed_in_place_is_refused_at_the_next_context(words: Path, spoil: str) -> None:
    with sl.load(words) as model:
        with model.session(64) as s:
            s.feed([5])
        with words.open("r+b") as f:
            if spoil == "shorter":
                f.truncate(words.stat().st_size - 1)
            else:
                f.seek(-8, os.SEEK_END)
                f.write(b"nonsense")
        os.utime(words, (1, 1))
        with pytest.raises(sl.ModelError, match=r"words\.gguf has changed on the disk since it was loaded") as e:
            model.session(64)
        assert e.value.hint == "load it again"


@pytest.mark.parametrize("at", ["header", "table", "load"])
def test_a_file_that_is_swapped_between_header_and_weights_is_refused(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    other = Path(shutil.copy(words, tmp_path / "other"))

    def swap() -> None:
        if other.exists():
            other.replace(words)

    def first(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *a, **k: (swap(), f(*a, **k))[1]

    if at == "header":
        monkeypatch.setattr(architectures, "find_table", first(architectures.find_table))
    elif at == "table":
        monkeypatch.setattr(header.Tensor, "rows", first(header.Tensor.rows))
    else:
        monkeypatch.setattr(weights.Weights, "check_vocabulary", first(weights.Weights.check_vocabulary))
    with pytest.raises(sl.ModelError, match="has changed on the disk"):
        sl.load(words)


def test_a_file_that_vanishes_while_it_is_loaded_is_an_error_and_no_traceback(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = words.read_bytes()
    for where, name in ((header, "check_path"), (architectures, "find_table"), (weights.Weights, "check_vocabulary")):
        words.write_bytes(copy)
        original = getattr(where, name)

        def gone(*a: Any, original: Any = original, **k: Any) -> Any:
            found = original(*a, **k)
            words.unlink(missing_ok=True)
            return found

        with monkeypatch.context() as m:
            m.setattr(where, name, gone)
            with pytest.raises(sl.ModelError):
                sl.load(words)


def test_a_file_that_may_not_be_read_is_an_error(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *a: Any, **k: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)  # root may read everything, so this is what others meet
    with pytest.raises(sl.ModelError, match=r"cannot read .*words\.gguf.*Permission denied"):
        sl.load(words)


def test_a_file_that_is_cut_short_while_it_is_read_ends_the_command_with_a_sentence(words: Path) -> None:
    """Not the test's own process: SIGBUS ends it."""
    code = f"""
import os, sys, softllama.cli
from softllama.llama.context import Context
made = Context.__init__
def cut(self, *a, **k):
    made(self, *a, **k)
    os.truncate({str(words)!r}, 4096)
Context.__init__ = cut
softllama.cli.main(["run", "-q", "--raw", "The dog", "-m", {str(words)!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 1, done
    assert "cut short on the disk" in done.stderr
    assert "Hint:" in done.stderr


# ---- full disks


@contextlib.contextmanager
def small_files(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes, for every file: what a limit on their size looks like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def whole(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


@pytest.mark.parametrize("name", ["t.jsonl", "t.npz"])
def test_a_trace_that_does_not_fit_leaves_the_one_before(model: sl.Model, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    model.generate("The", max_tokens=2, seed=1).save(path)
    before = whole(tmp_path)
    long = model.generate("The", chat=False, max_tokens=40, policy="full", seed=1)
    with (
        small_files(2000),
        pytest.raises(sl.SoftLlamaError, match=r"File too large \(what was there before is as it was\)"),
    ):
        long.save(path)
    assert whole(tmp_path) == before


def test_a_conversation_a_picture_and_a_page_leave_what_was_there(model: sl.Model, tmp_path: Path, cli: Cli) -> None:
    c = sl.Conversation(model, max_tokens=3, seed=1)
    c.reply("The dog")
    r = model.probe("The {} says", mix="dog,cat")
    trace = tmp_path / "t.jsonl"
    model.generate("The", max_tokens=3, seed=1).save(trace)
    kept = [tmp_path / n for n in ("c.json", "p.png", "p.svg", "t.html")]
    for p in kept[:3]:
        p.write_text("before")
    assert cli("trace", "html", trace, "-o", kept[3])[0] == 0
    before = whole(tmp_path)
    with small_files(500):
        for save in (lambda: c.save(kept[0]), lambda: r.plot(str(kept[1])), lambda: r.plot(str(kept[2]))):
            with pytest.raises(sl.SoftLlamaError, match="cannot write"):
                save()
        code, _, err = cli("trace", "html", trace, "-o", kept[3])
        assert code == 1
        assert "ulimit -f" in err
    assert whole(tmp_path) == before


def result(n: int, text: str = "x" * 50) -> Result:
    return Result(
        problem=n, way="greedy", answer="dog", right=True, failure="", n_thinking=0, n_answer=1, tokens=1, evaluated=1,
        stop="end of generation", seed=0, text=text, seconds=0.0,
    )  # fmt: skip


def test_results_on_a_full_disk_keep_every_line_and_go_on_later(tmp_path: Path) -> None:
    path, told = tmp_path / "r.jsonl", ""
    header = {"settings": {}, "model": {"name": "m"}, "data": {"name": "d"}, "ways": [["greedy", "greedy"]]}
    with small_files(2000), ResultsFile(path, header) as f:
        for n in range(100):
            try:
                f.add(result(n))
            except sl.SoftLlamaError as e:
                told = f"{e.message}; {e.hint}"
                break
    kept = len(path.read_text().splitlines()) - 1
    assert 1 < kept < 20
    assert path.read_bytes().endswith(b"\n")
    assert f"the {kept} results before are there" in told
    assert "it goes on there" in told
    with ResultsFile(path, header) as f:
        assert sorted(f.results) == [(n, "greedy") for n in range(kept)]
        f.add(result(kept))
    assert len(path.read_text().splitlines()) == kept + 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path))
    cache.store("numbers", "a", 1)
    with small_files(10):
        cache.store("numbers", "b", "x" * 5000)
    assert cache.load("numbers", "a") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-q", "--raw", "The dog", "--json"], ["run", "-q", "--raw", "The dog", "--jsonl"],
        ["probe", "-q", "--mix", "dog,cat"], ["policies"], ["--version"],
    ],
    ids=lambda a: " ".join(a[:1] + a[-1:]),
)  # fmt: skip
def test_output_to_a_full_disk_is_a_sentence(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = command(*arguments, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1:] == ["Error: cannot write the output: No space left on device"]
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [["policies"], ["models"], ["--version"], ["probe", "-q", "--mix", "dog,cat"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # before anything is written
    with os.fdopen(write, "w") as out:
        done = command(*arguments, stdout=out, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-"])
def test_a_closed_stream_is_no_traceback(closed: str) -> None:
    """Python's sys.stdout is None then, and the first file that is opened would get its number."""
    run = f'exec "$0" -m softllama run hi --think off --max-tokens 3 --seed 1 {closed}'
    done = subprocess.run(["sh", "-c", run, sys.executable], capture_output=True, text=True, cwd=ROOT, check=False)
    if closed == ">&-":
        assert (done.returncode, done.stderr.splitlines()[0]) == (1, "Error: the standard output is closed")
    else:
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        assert ("policy:" in done.stderr) == ("2>&-" not in closed)
        assert command("run", "hi", "--think", "off", "--max-tokens", 3, "--seed", 1).stdout == done.stdout


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"\u2423woof"), ("utf-8", "␣woof")])
def test_what_the_encoding_of_stdout_lacks_is_an_escape(encoding: str, shown: str) -> None:
    done = command("probe", "--mix", "dog", env={**os.environ, "PYTHONIOENCODING": encoding}, encoding="utf-8")
    assert (done.returncode, shown in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("name", ["problems.jsonl", "data.npz"])
def test_a_trace_replaces_an_earlier_one_and_nothing_else(cli: Cli, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    arguments = ("run", "hi", "--think", "off", "--max-tokens", 2, "--trace", path)
    path.write_text('{"question": "mine", "answer": "too"}\n')
    code, out, err = cli(*arguments)
    assert (code, out, "is there already and is not a trace" in err) == (2, "", True)
    assert path.read_text() == '{"question": "mine", "answer": "too"}\n'
    path.unlink()
    assert cli(*arguments)[0] == 0
    first = path.read_bytes()
    assert cli(*arguments, "--seed", 7)[0] == 0
    assert path.read_bytes() != first


def test_a_folder_that_may_not_be_written_to_is_told_before_the_work(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    code, out, err = cli("run", "hi", "--trace", tmp_path / "t.jsonl")
    assert (code, out, "its folder may not be written to" in err) == (2, "", True)
    code, out, err = cli("study", "mixing", "-o", tmp_path / "out")
    assert (code, out, "cannot write to" in err) == (2, "", True)


def test_chats_and_reports_replace_nothing_else(cli: Cli, tmp_path: Path) -> None:
    mine = tmp_path / "mixing.csv"
    mine.write_text("mine,too\n")
    for line in (f"/save {mine}", f"/trace {tmp_path / 'no.npz'}\nHello\n/trace {mine}"):
        code, _, err = cli("chat", "-q", stdin=line + "\n")
        assert code == 1
        assert "is there already and is not a conversation" in err or "cannot save a trace as 'mixing.csv'" in err
    assert "Hello" in cli("chat", "-q", stdin=f"Hello\n/save {tmp_path / 'c.json'}\n/save {tmp_path / 'c.json'}\n")[1]
    with pytest.raises(sl.UsageError, match=r"mixing\.csv' is there already and is not a report"):
        report.save_all([Report("mixing", "T", "Q", ("A",), ())], tmp_path)
    assert mine.read_text() == "mine,too\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.json", "mixing.csv"]


def test_a_new_file_has_the_rights_that_others_have(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        for name, private in (("a", False), ("b", True)):
            with replacing(tmp_path / name, private=private) as f:
                f.write(b"x")
    finally:
        os.umask(before)
    assert [(tmp_path / n).stat().st_mode & 0o777 for n in "ab"] == [0o640, 0o600]


# ---- two processes


def test_two_evaluations_into_one_file_are_refused(tmp_path: Path, cli: Cli) -> None:
    data, out = tmp_path / "d.jsonl", tmp_path / "r.jsonl"
    data.write_text('{"question": "Who is bigger, the dog or the cat?", "answer": "dog"}\n')
    with ResultsFile(out, {"model": "m"}):
        code, _, err = cli("eval", data, "-o", out, "-q")
    assert code == 1
    assert "is being written by another process" in err


def test_two_chats_never_keep_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_STATE", str(tmp_path))
    first = storage.Autosave()
    second = storage.Autosave()
    assert first.path != second.path
    with pytest.raises(BlockingIOError):
        storage.Autosave(first.path)
    first.release()
    second.release()


def test_processes_that_load_one_model_at_once_leave_a_cache_that_can_be_read(tmp_path: Path) -> None:
    code = "import softllama as sl; print(sl.load(n_threads=1).probe('The {} says', mix='dog,cat').next.argmax)"
    env = {**os.environ, "SOFTLLAMA_CACHE": str(tmp_path)}
    many = [
        subprocess.Popen([sys.executable, "-c", code], env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({p.communicate(timeout=300)[0] for p in many}) == 1
    assert {p.returncode for p in many} == {0}
    assert {p.name for p in tmp_path.iterdir()} >= {"calibration.json", "vocabulary.json"}
    for p in tmp_path.iterdir():
        assert p.suffix == ".json"
        assert json.loads(p.read_text())


# ---- signals


@pytest.mark.parametrize("name", ["run", "chat", "probe", "study", "eval"])
def test_ctrl_c_at_any_moment_ends_in_order(name: str) -> None:
    assert stress(2, [name], random.Random(sum(map(ord, name)))) == []


def ready(p: subprocess.Popen[str], lines: int, path: Path) -> None:
    """Wait until a file has so many lines."""
    for _ in range(600):
        if path.exists() and path.read_text().count("\n") >= lines:
            return
        assert p.poll() is None, p.communicate()
        time.sleep(0.02)
    raise AssertionError(f"{path.name} does not get {lines} lines")


@pytest.mark.slow
def test_an_evaluation_that_sigterm_stops_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    animals = ("cat", "hen", "fox", "cow", "pig")
    questions = [{"question": f"Which is bigger, the dog or the {a}?", "answer": "dog"} for a in animals * 8]
    data.write_text("".join(json.dumps(q) + "\n" for q in questions))

    def start(name: str) -> subprocess.Popen[str]:
        arguments = ["eval", data, "-o", tmp_path / name, "--json", "--policy", "greedy", "--policy", "gumbel"]
        return subprocess.Popen(
            [sys.executable, "-m", "softllama", *map(str, arguments)], cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def lines(name: str) -> list[dict[str, Any]]:
        found = [json.loads(x) for x in (tmp_path / name).read_text().splitlines()]
        return [{k: v for k, v in r.items() if k not in ("seconds", "wall", "info")} for r in found]

    with start("stopped") as p:
        ready(p, 3, tmp_path / "stopped")
        p.send_signal(signal.SIGTERM)
        err = p.communicate(timeout=300)[1]
    assert p.returncode == 143, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert 3 <= len(lines("stopped")) < 81  # which takes half a second
    for name in ("stopped", "whole"):
        with start(name) as p:
            p.communicate(timeout=300)
        assert p.returncode == 0
    assert lines("stopped") == lines("whole")


@pytest.mark.slow
def test_ctrl_c_in_a_pull_leaves_what_the_next_one_goes_on_with(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    from tests.support.hub_server import serve

    data = hub.resolve("bundled:words").read_bytes() + bytes(40_000_000)  # it is written 10 MB at a time
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    with serve() as server:
        server.repos["user/words"] = {"words-Q8_0.gguf": data}
        env["HF_ENDPOINT"] = server.url
        for slow, after in ((0.05, 0.05), (0.05, 1.0), (0.05, 1.0), (0.0, 60.0)):  # of two seconds
            server.slow, before = slow, len(server.ranges())
            p = subprocess.Popen(
                [sys.executable, "-m", "softllama", "models", "pull", "user/words"], env=env, cwd=ROOT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            if slow:
                while len(server.ranges()) == before and p.poll() is None:
                    time.sleep(0.02)
                time.sleep(after)
                p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=300)
            assert p.returncode == (130 if slow else 0), err
            assert "Traceback" not in err
        whole_again = [r for r in server.ranges() if not r]
        assert len(whole_again) < len(server.ranges()), "nothing was gone on with"
    assert [f.read_bytes() == data for f in tmp_path.rglob("*.gguf")] == [True]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_ctrl_c_while_llama_cpp_python_loads_the_model_of_a_benchmark_is_not_lost() -> None:
    """It calls Python, where ctypes prints an exception and goes on, and it throws away what is printed."""
    code = """
import ctypes, os, signal, llama_cpp, softllama as sl
from softllama.base import signals as faults
from softllama.diagnostics import llama_loop as plain
faults.flag_interrupts()
class Llama:
    def __init__(self, *a, **k):
        ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))()
llama_cpp.Llama = Llama
model = sl.load(n_threads=1)
try:
    plain.high_level(model.path, [5], 1, 64, 1)
except KeyboardInterrupt:
    print("interrupted")
loop = plain.Loop(model.new_context(64), [5, 6])  # the flag that ended nothing is down again
loop.run(2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n", "", 0)


@pytest.mark.parametrize("flagged", [True, False])
def test_ctrl_c_while_llama_cpp_frees_a_context_is_not_lost(flagged: bool) -> None:
    """Its log calls Python then, too."""
    code = """
import ctypes, os, signal, sys, threading
from softllama.base import signals as faults
from softllama.llama.handle import Handle
if sys.argv[1] == "True":
    faults.flag_interrupts()
log = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGINT))
held = Handle(1, lambda pointer: log(), threading.RLock())
try:
    held.free()
except KeyboardInterrupt:
    print("interrupted", held.pointer)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(flagged)], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted None\n", "", 0)


def test_ctrl_c_does_not_wait_for_the_batch_it_falls_into(tmp_path: Path) -> None:
    """One batch that takes seconds: with llama.cpp's abort callback it ends at once."""
    code = """
import os, signal, statistics, sys, threading, time, softllama as sl
from softllama.base import signals as faults
flagged = sys.argv[1] == "flagged"
if flagged:
    faults.flag_interrupts()
model = sl.load(n_threads=1)
rows = 512
context = model.new_context(rows)
def batch():
    context.cut(0, 0)
    context.decode([0] * rows, range(rows), [False] * (rows - 1) + [True], tokens=[5] * rows)
def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start
def interrupted():
    try:
        threading.Timer(whole / 10, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        batch()
        time.sleep(10)
    except KeyboardInterrupt:
        pass
whole = min(seconds(batch) for _ in range(4))
print(statistics.median(seconds(interrupted) for _ in range(5)) / whole)  # other work on the machine may delay one
context.cut(0, 0)
if flagged:
    batch()  # what was stopped has left nothing behind
"""
    shares = {}
    for how in ("flagged", "plain"):
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, timeout=300, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        shares[how] = float(done.stdout)
    assert shares["flagged"] < 0.7 * shares["plain"], shares
