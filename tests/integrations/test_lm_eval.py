"""lm-evaluation-harness: a local multiple choice and a local generation task give what `score` and `generate` give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="needs the extra lm-eval")

import lm_eval
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import softllama as sl
from softllama.errors import UsageError
from softllama.integrations.lm_eval import SoftLlamaLM

pytestmark = pytest.mark.filterwarnings("ignore")  # the tools leave files and streams open
ANIMALS = [
    ("dog", "woof"),
    ("cat", "meow"),
    ("cow", "moo"),
    ("pig", "oink"),
    ("duck", "quack"),
    ("sheep", "baa"),
    ("owl", "hoot"),
]
CHOICES = ["woof", "meow", "moo", "oink", "quack"]


@pytest.fixture(scope="module")
def model() -> sl.Model:
    return sl.load("bundled:words", n_threads=1)


def tasks(folder: Path) -> TaskManager:
    """A multiple choice, a generation, and a text whose perplexity is asked for."""
    rows = [
        {"q": f"The {a} says", "choices": [f" {c}" for c in CHOICES], "gold": i % 5} for i, (a, _) in enumerate(ANIMALS)
    ]
    (folder / "mc.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    gen = [{"q": f"The {a} says", "a": f" {s}"} for a, s in ANIMALS]
    (folder / "gen.jsonl").write_text("".join(json.dumps(r) + "\n" for r in gen))
    (folder / "text.jsonl").write_text(json.dumps({"text": "The dog says woof. " * 30}) + "\n")

    def task(name: str, file: str, **more: Any) -> None:
        data = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / file)}},
                "test_split": "test", **more}  # fmt: skip
        (folder / f"{name}.yaml").write_text(json.dumps(data))  # JSON is YAML

    task("sl_mc", "mc.jsonl", output_type="multiple_choice", doc_to_text="{{q}}", doc_to_choice="{{choices}}", doc_to_target="gold",
         target_delimiter="", metric_list=[{"metric": "acc"}])  # fmt: skip
    task("sl_gen", "gen.jsonl", output_type="generate_until", doc_to_text="{{q}}", doc_to_target="{{a}}",
         generation_kwargs={"until": ["."], "max_gen_toks": 4, "do_sample": False},
         metric_list=[{"metric": "exact_match"}])  # fmt: skip
    task("sl_text", "text.jsonl", output_type="loglikelihood_rolling", doc_to_text="", doc_to_target="{{text}}",
         metric_list=[{"metric": "word_perplexity"}])  # fmt: skip
    return TaskManager(include_path=str(folder), include_defaults=False)


def samples(lm: Any, manager: TaskManager, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    out = lm_eval.simple_evaluate(model=lm, tasks=[name], task_manager=manager, log_samples=True, bootstrap_iters=0)
    return out["results"][name], out["samples"][name]


@pytest.mark.slow
def test_its_accuracy_is_that_of_score_and_generate(
    model: sl.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    manager = tasks(tmp_path)
    lm = SoftLlamaLM(model, streams=3)
    figures, rows = samples(lm, manager, "sl_mc")
    right = 0
    for row in rows:
        own = [model.score(row["doc"]["q"], c) for c in row["doc"]["choices"]]
        got = [float(r[0][0]) for r in row["resps"]]
        assert got == pytest.approx([s.logprob for s in own], abs=1e-4)
        right += max(range(5), key=lambda i: own[i].logprob) == row["doc"]["gold"]
    assert figures["acc,none"] == pytest.approx(right / len(rows))
    figures, rows = samples(lm, manager, "sl_gen")
    own_right = 0
    for row in rows:
        trace = model.generate(row["doc"]["q"], policy="greedy", chat=False, max_tokens=4, stop=".", seed=0)
        assert row["resps"][0][0] == trace.answer
        own_right += trace.answer == row["doc"]["a"]
    assert figures["exact_match,none"] == pytest.approx(own_right / len(rows))
    figures, _ = samples(lm, manager, "sl_text")
    assert figures["word_perplexity,none"] > 0


def request(kind: str, *arguments: Any) -> Instance:
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0)


def test_rolling_takes_the_harness_windows(model: sl.Model) -> None:
    text = "The dog says woof. The cat says meow. " * 3
    (total,) = SoftLlamaLM(model).loglikelihood_rolling([request("loglikelihood_rolling", text)])
    assert total == pytest.approx(model.score("", text).logprob, abs=1e-3)


def test_a_chat_thinks_and_gives_the_answer_alone(model: sl.Model) -> None:
    lm = SoftLlamaLM(model, policy="soft_thinking:n=10;tau=0.01")
    chat = [{"role": "user", "content": "Who is bigger, the dog or the cat?"}]
    text = lm.apply_chat_template(chat)
    (answer,) = lm.generate_until([request("generate_until", text, {"until": [], "max_gen_toks": 60})])
    trace = model.generate(chat, policy="soft_thinking:n=10,tau=0.01", max_tokens=60, seed=0)
    assert trace.n_soft > 0
    assert answer == trace.answer
    assert lm.chat_template(True) == model.chat_template.source


def test_the_tasks_sampling_is_used_without_a_policy_only(model: sl.Model) -> None:
    sampled = {"do_sample": True, "temperature": 0.7, "until": "x"}
    assert str(SoftLlamaLM(model)._options(None, sampled, {}).policy).startswith("sample:temperature=0.7")
    assert str(SoftLlamaLM(model)._options(None, {"do_sample": False, "temperature": 1.0}, {}).policy).startswith(
        "greedy"
    )
    assert str(SoftLlamaLM(model, policy="full")._options(None, sampled, {}).policy).startswith("full")
    with pytest.raises(UsageError):
        SoftLlamaLM(model, policy="gredy")
    with pytest.raises(UsageError, match="streams"):
        SoftLlamaLM(model, streams=0)


@pytest.mark.slow
def test_the_command_knows_the_model_by_name(tmp_path: Path) -> None:
    tasks(tmp_path)
    here = str(Path(sl.__file__).parents[1])  # the softllama that is tested, installed or not
    env = {**os.environ, "PYTHONPATH": here, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    words = ["-m", "softllama.integrations.lm_eval", "--model", "softllama", "--model_args", "pretrained=bundled:words,streams=2",
             "--tasks", "sl_mc", "--include_path", str(tmp_path)]  # fmt: skip
    p = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env, timeout=300, check=False)
    assert p.returncode == 0, p.stderr[-3000:]
    assert "sl_mc" in p.stdout
