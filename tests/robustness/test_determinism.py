"""The same seed and the same threads give the same result, in another process, too; what else changes is measured by
scripts/dev/determinism.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from scripts.dev import determinism
from softllama.llama import devices
from tests.conftest import ROOT

on_the_cpu = pytest.mark.skipif(bool(devices.gpus()), reason="a GPU adds in another order each time")
TIMES = ("seconds", "timings", "created")


def without_times(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: without_times(v) for k, v in x.items() if k not in TIMES}
    return [without_times(v) for v in x] if isinstance(x, list) else x


def record(path: Path, policy: str) -> list[str]:
    """What a run in a process of its own records, times left out."""
    arguments = ["run", "-q", "--raw", "Once upon a time", "--policy", policy, "--max-tokens", "40", "--seed", "11"]
    done = subprocess.run(
        [sys.executable, "-m", "softllama", *arguments, "--trace", str(path)], capture_output=True, text=True, cwd=ROOT,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.dumps(without_times(json.loads(line))) for line in path.read_text().splitlines()]


@on_the_cpu
@pytest.mark.parametrize("policy", ["sample", "full", "gumbel", "soft_noise"])
def test_two_processes_with_one_seed_write_the_same_trace_to_the_byte(tmp_path: Path, policy: str) -> None:
    first, second = record(tmp_path / "a.jsonl", policy), record(tmp_path / "b.jsonl", policy)
    assert len(first) > 5
    assert first == second


@on_the_cpu
def test_what_the_table_of_differences_says_of_the_bundled_model() -> None:
    found = determinism.differences("bundled:words")
    assert found["again"] == found["other process"] == 0
    assert found["2 threads"] == 0
    assert found["8 streams"] <= found["n_batch 1"] < 1  # batches of other shapes round differently
    assert determinism.row("x", found).count("|") == len(determinism.COLUMNS) + 4


@on_the_cpu
def test_a_search_and_a_chat_repeat_themselves(model: sl.Model) -> None:
    def vote() -> Any:
        found = sl.search.sample(model, "The dog", 5, seed=3, policy="gumbel:where=everywhere", max_tokens=10)
        return [[s.token for s in t.steps] for t in found.traces], found.likelihoods

    def chat() -> list[str]:
        c = sl.Conversation(model, seed=5, max_tokens=8)
        c.reply("The dog")
        c.reply("The cat")
        return [m.content for m in c.messages]

    assert vote() == vote()
    assert chat() == chat()


@on_the_cpu
def test_a_session_repeats_itself_after_any_past(model: sl.Model) -> None:
    items = determinism.items(model, 1, 20)

    def last(s: sl.Session) -> bytes:
        for i in items[:-1]:
            s.feed(i)
        return s.feed(items[-1]).logits.tobytes()

    with model.session(64) as s:
        first = last(s)
        s.truncate(0)
        assert last(s) == first
        s.truncate(5)
        for i in items[5:-1]:
            s.feed(i)
        assert np.array_equal(s.feed(items[-1]).logits, np.frombuffer(first, dtype=np.float32))
