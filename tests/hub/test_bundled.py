"""The bundled models through the command that users type."""

from __future__ import annotations

import json
import subprocess
import sys

import softllama as sl
from scripts.training.sums import sums_task as task
from softllama.hub import bundled
from tests.conftest import Cli
from tests.generation.test_loop import check_limits


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


def test_limits_of_each_method_on_words() -> None:
    with sl.load() as m:
        check_limits(m, "The dog and the cat live", 30)


def test_greedy_is_llama_cpp_pythons_greedy_on_words() -> None:
    import llama_cpp

    # one token at a time: llama.cpp's matrix product for the AMX unit crashes on some machines (llama.cpp #20824)
    reference = llama_cpp.Llama(str(bundled.FOLDER / "words.gguf"), n_ctx=512, n_batch=1, n_threads=1, verbose=False)
    compared = 0
    with sl.load(n_threads=1) as m:
        for animal in ("dog", "cat", "cow", "whale", "hen", "lion", "mouse", "fox", "bee", "horse", "frog", "owl"):
            question = m.chat_template.render(
                [{"role": "user", "content": f"Which is bigger, the {animal} or the wolf?"}]
            )
            prompt = m.tokenize(question, bos=True)
            ours = [s.token for s in m.stream(prompt, policy="greedy", max_tokens=60)]
            theirs = []
            for token in reference.generate(prompt, temp=0.0, repeat_penalty=1.0):
                theirs.append(token)
                if len(theirs) == len(ours) + 1:
                    break
            assert theirs[:-1] == ours
            assert m.is_eog(theirs[-1])
            compared += len(ours)
    reference.close()
    assert compared >= 200


def test_the_default_model_is_words() -> None:
    command = [sys.executable, "-m", "softllama", "probe", "--mix", "dog:0.5,cat:0.5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model: words" in done.stderr
    r = json.loads(done.stdout)
    assert r["baselines"]["dog"]["top"][0]["text"] == " woof"
    assert r["baselines"]["cat"]["top"][0]["text"] == " meow"
