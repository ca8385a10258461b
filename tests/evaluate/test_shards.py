"""Shards, and their files as one; and workers behind an executor, some of which are lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama import evaluate
from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import results, shards, summary, workers
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.shards import Shard
from tests.conftest import ROOT, Cli
from tests.evaluate.test_evaluate import HEADER, result, write_sums

CLOCK_AND_HOST = ("seconds", "wall", "host")


def seen(path: Path) -> list[str]:
    """The lines of a file of results, to the byte but for clock and host."""
    lines = []
    for i, line in enumerate(path.read_text().splitlines()):
        record = json.loads(line)
        if i == 0:
            for key in ("created", "n_threads_used"):
                record["info"]["manifest"].pop(key, None)
        lines.append(json.dumps({k: v for k, v in record.items() if k not in CLOCK_AND_HOST}))
    return lines


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no shard"):
        Shard.parse(text)


def test_shards_have_each_problem_once(tmp_path: Path) -> None:
    data = evaluate.load(write_sums(tmp_path / "s.jsonl", 10), 7)
    parts = [Shard(i, 3).of(data) for i in (1, 2, 3)]
    assert sorted(p.index for d in parts for p in d.problems) == list(range(7))
    with pytest.raises(UsageError, match="none of the 7 problems"):
        Shard(8, 8).of(data)


def test_four_shards_are_one_run_to_the_byte(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sums(tmp_path / "sums.jsonl", 22)
    given = [
        "eval",
        "sums.jsonl",
        "-m",
        "bundled:sums",
        "-q",
        "--policy",
        "greedy",
        "--policy",
        "sample",
        "--limit",
        "21",
    ]
    monkeypatch.setattr(sys, "argv", ["softllama", *given])
    assert cli(*given)[0] == 0
    (one,) = tmp_path.glob("*.results.jsonl")
    for i in range(1, 5):
        arguments = [*given, "--shard", f"{i}/4"]
        monkeypatch.setattr(sys, "argv", ["softllama", *arguments])
        assert cli(*arguments)[0] == 0
    parts = sorted(tmp_path.glob("*-of-4.jsonl"))
    assert len(parts) == 4
    code, text, _ = cli("eval", "report", *parts[::-1], "-o", "merged.jsonl", "--json")
    assert code == 0
    assert seen(tmp_path / "merged.jsonl") == seen(one)
    assert (
        json.loads(text)["results"]["answer"]
        == json.loads(cli("eval", "report", one, "--json")[1])["results"]["answer"]
    )
    # what is missing, and double
    code, text, _ = cli("eval", "report", *parts[:3], parts[0], "--json")
    notes = json.loads(text)["results"]["answer"]
    assert "shard 4 of 4 is missing" in " ".join(notes) or "shard 4 is of 4" in " ".join(notes)
    assert "in several files" in " ".join(notes)
    # a merged file can be continued
    monkeypatch.setattr(sys, "argv", ["softllama", *given])
    before = (tmp_path / "merged.jsonl").read_bytes()
    assert cli(*given, "-o", "merged.jsonl")[0] == 0
    assert (tmp_path / "merged.jsonl").read_bytes() == before


def files(tmp_path: Path, *headers: dict[str, Any]) -> list[Path]:
    paths = []
    for i, header in enumerate(headers):
        path = tmp_path / f"{i}.jsonl"
        with results.ResultsFile(path, header) as f:
            f.add(result(i, "a"))
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"model": {"name": "n"}}, "the model, name"),
        ({"data": {"name": "e"}}, "the data, name"),
        ({"settings": {"seed": 2}}, "seed"),
        ({"ways": [["a", "greedy"]]}, "different policies: b"),
        ({"ways": [["a", "full"], ["b", "full"]]}, "the policy a was"),
        ({"info": {"manifest": {"softllama": "9", "llama_cpp": "x"}}}, "different versions: softllama"),
    ],
)
def test_files_of_different_evaluations_are_not_merged(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    same = {**HEADER, "info": {"manifest": {"softllama": "1", "llama_cpp": "x"}}}
    with pytest.raises(SoftLlamaError, match=message):
        shards.read_all(files(tmp_path, same, {**same, **other}))


def test_machines_that_differ_are_said() -> None:
    from dataclasses import replace

    rs = [replace(result(i, "a"), host=("x" if i % 2 else "y")) for i in range(20)]
    assert "2 kinds of machines" in " ".join(summary.summarize(HEADER, rs).answer)
    assert "kinds of machines" not in " ".join(summary.summarize(HEADER, rs[::2]).answer)


# ---- workers


class Losing(Executor):
    """An executor that loses a worker now and then, as far as whoever waits can see."""

    def __init__(self, every: int) -> None:
        self._pool, self._every, self.n, self._lock = ThreadPoolExecutor(2), every, 0, threading.Lock()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self.n += 1
            lost = self.n % self._every == 0
        if lost:
            future: Future[Any] = Future()
            future.set_exception(RuntimeError("the worker died"))
            return future
        return self._pool.submit(fn, *args, **kwargs)


@pytest.fixture
def _no_solvers() -> Any:
    workers._solvers.clear()
    yield
    workers._solvers.clear()


@pytest.mark.usefixtures("_no_solvers")
def test_lost_tasks_are_done_again_and_the_file_is_the_same(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "s.jsonl", 12))
    chosen = evaluate.parse_all(["greedy", "sample"])
    losing = Losing(3)
    with sl.load("bundled:sums") as model:
        evaluate.evaluate(model, problems, chosen, None, tmp_path / "one.jsonl")
        evaluate.evaluate(model, problems, chosen, None, tmp_path / "many.jsonl", workers=workers.Workers(losing))
        assert losing.n > 24
        with pytest.raises(SoftLlamaError, match="given up after 5 workers: RuntimeError: the worker died"):
            evaluate.evaluate(model, problems, chosen, None, workers=workers.Workers(Losing(1)))
        with pytest.raises(UsageError, match="one problem at a time"):
            evaluate.evaluate(model, problems, chosen, EvaluateOptions(streams=2), workers=workers.Workers(losing))
    assert seen(tmp_path / "one.jsonl") == seen(tmp_path / "many.jsonl")


def test_who_went_is_said_and_an_empty_cluster_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from softllama.evaluate import cluster

    there, said = {"a", "b"}, []
    watch = cluster._Watch(lambda: set(there), said.append)
    watch()
    there.discard("b")
    watch()
    assert said == ["2 workers: a, b", "worker b is gone: 1 left; what it was doing is done again"]
    monkeypatch.setattr(cluster, "PATIENCE", 0.05)
    there.clear()
    watch()
    time.sleep(0.1)
    with pytest.raises(SoftLlamaError, match="no worker has been there"):
        watch()


def test_no_scheduler_is_one_message(cli: Cli, tmp_path: Path) -> None:
    problems = write_sums(tmp_path / "s.jsonl", 2)
    code, _, err = cli("eval", problems, "-m", "bundled:sums", "--workers", "nowhere", "-o", tmp_path / "r.jsonl")
    assert (code, "no address of a scheduler" in err) == (2, True)


def start(*words: str, folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "dask", *words], env=env, cwd=folder, stdout=log, stderr=log)


@pytest.mark.slow
def test_a_worker_that_is_killed_three_times_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    pytest.importorskip("dask", reason="needs the extra dask")
    problems = evaluate.load(write_sums(tmp_path / "s.jsonl", 200))
    chosen = evaluate.parse_all(["greedy"])
    address_file = tmp_path / "scheduler.json"
    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file",
                      str(address_file), folder=tmp_path)  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    stop = threading.Event()
    kills = 0
    try:
        deadline = time.monotonic() + 60
        while not address_file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        address = json.loads(address_file.read_text())["address"]

        def worker() -> subprocess.Popen[bytes]:
            return start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory",
                         str(tmp_path / "space"), folder=tmp_path)  # fmt: skip

        running += [worker(), worker()]
        out = tmp_path / "many.jsonl"

        def kill() -> None:
            nonlocal kills
            before = 1
            while not stop.is_set() and kills < 3:
                n = out.read_bytes().count(b"\n") if out.exists() else 0
                if n >= before + 20:
                    running[-1].send_signal(signal.SIGKILL)
                    running[-1].wait()
                    kills += 1
                    before = n
                    if kills < 3:  # the last one never comes back
                        running.append(worker())
                time.sleep(0.01)

        from softllama.evaluate import cluster

        said: list[str] = []
        with sl.load("bundled:sums") as model:
            evaluate.evaluate(model, problems, chosen, None, tmp_path / "one.jsonl")
            with cluster.workers(address, said.append) as crew:
                killer = threading.Thread(target=kill)
                killer.start()
                evaluate.evaluate(model, problems, chosen, None, out, workers=crew)
                stop.set()
                killer.join()
    finally:
        stop.set()
        for p in [*running, scheduler]:
            p.kill()
            p.wait()
    assert kills == 3, (tmp_path / "log.txt").read_text()[-2000:]
    assert seen(out) == seen(tmp_path / "one.jsonl")
    assert any("is gone" in line for line in said)
