"""The bundled models through the command that users type."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import softllama as sl
from softllama import bundled

from .conftest import Cli

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import sums_task as task


def test_the_wheels_models_are_small() -> None:
    assert sum(p.stat().st_size for p in bundled.FOLDER.glob("*.gguf")) <= 8 * 2**20


def test_softllama_run_solves_sums_softly(cli: Cli) -> None:
    """A few problems as typed, with the policy that the file asks for."""
    problems = task.MAIN.held_out("test", 12)
    answers = task.solve(task.MAIN, problems)
    for problem, answer in zip(problems.tolist(), answers.tolist(), strict=True):
        code, out, _ = cli("run", "-q", "-m", "bundled:sums-soft", " ".join(map(str, problem)))
        assert (code, out.strip()) == (0, str(answer))


def test_soft_decoding_reaches_the_accuracy_in_the_card() -> None:
    """1.000 over 1,000 problems in the card: here the first 200, of which one may be wrong."""
    problems = task.MAIN.held_out("test", 200)
    answers = task.solve(task.MAIN, problems)
    with sl.load("bundled:sums-soft") as m:
        said = [m.generate(" ".join(map(str, p)), chat=True, max_tokens=20).answer.strip() for p in problems.tolist()]
    assert sum(s == str(a) for s, a in zip(said, answers.tolist(), strict=True)) >= 199


def test_the_default_model_is_words() -> None:
    command = [sys.executable, "-m", "softllama", "probe", "--mix", "dog:0.5,cat:0.5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model: words" in done.stderr
    r = json.loads(done.stdout)
    assert r["baselines"]["dog"]["top"][0]["text"] == " woof"
    assert r["baselines"]["cat"]["top"][0]["text"] == " meow"
