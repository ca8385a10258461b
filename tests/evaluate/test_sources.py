"""Rows from CSV and from data sets of the hub, and examples before a question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama import evaluate
from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import results, sources
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.shots import Shots
from tests.conftest import Cli
from tests.evaluate.test_evaluate import write_sums


def test_csv_is_what_json_lines_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        'question,choices,answer\n"x, y?","[""Paris"", ""Rome""]",B\nz?,"[""a"", ""b""]",A\n'
    )
    (tmp_path / "b.tsv").write_text("problem\tsolution\n1+1?\tso #### 2\n")
    d = evaluate.load(tmp_path / "a.csv")
    assert [(p.question, p.choices, p.answers) for p in d.problems] == [
        ("x, y?", ("Paris", "Rome"), ("B",)), ("z?", ("a", "b"), ("A",)),
    ]  # fmt: skip
    d = evaluate.load(tmp_path / "b.tsv")
    assert (d.kind, d.problems[0].answers, d.problems[0].solution) == ("steps", ("2",), "so #### 2")
    assert d.fields == (("question", "problem"), ("answer", "solution"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("a.csv", "question,answer\nx,1,2\n", "line 2: more cells"), ("a.csv", "question\nx\n", "line 2: it has no answer"),
     ("a.csv", "question,answer\n", "no problems")],
)  # fmt: skip
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SoftLlamaError, match=message):
        evaluate.load(tmp_path / name)


def test_a_file_has_no_subset_and_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SoftLlamaError, match="no --subset"):
        evaluate.load(write_sums(tmp_path / "s.jsonl", 2), split="test")
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    for name in ("hf:openai/gsm8k", "openai/gsm8k"):
        with pytest.raises(SoftLlamaError, match="needs the package datasets") as e:
            evaluate.load(name)
        assert "softllama[datasets]" in e.value.hint


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_data_set_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="needs the extra datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        rows = [{"question": f"{split} {i}", "answer": f"so #### {i}"} for i in range(3)]
        (tmp_path / "set" / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    d = evaluate.load(f"hf:{tmp_path / 'set'}")
    assert (d.kind, d.problems[2].question, d.problems[2].answers) == ("steps", "test 2", ("2",))
    assert d.name.endswith("test")
    train = evaluate.load(f"hf:{tmp_path / 'set'}", split="train")
    assert train.sha256 != d.sha256
    with pytest.raises(SoftLlamaError, match="no split 'dev'") as e:
        sources.read(f"hf:{tmp_path / 'set'}", split="dev")
    assert "--split" in e.value.hint


def problems(tmp_path: Path) -> evaluate.Dataset:
    rows = [{"question": f"q{i}", "answer": f"because\n#### {i}"} for i in range(4)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return evaluate.load(tmp_path / "p.jsonl")


def test_examples_are_turns_or_text(tmp_path: Path) -> None:
    d = problems(tmp_path)
    shots = Shots.of(d, 2)
    asked = EvaluateOptions(prompt="Q: {question}", chat=True, system="S", shots=shots).asked(d.problems[3])
    assert asked == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q: q0"},
        {"role": "assistant", "content": "because\n#### 0"},
        {"role": "user", "content": "Q: q1"},
        {"role": "assistant", "content": "because\n#### 1"},
        {"role": "user", "content": "Q: q3"},
    ]
    text = "Q: q0\nbecause\n#### 0\n\nQ: q1\nbecause\n#### 1\n\nQ: q3"
    assert EvaluateOptions(prompt="Q: {question}", chat=False, shots=shots).asked(d.problems[3]) == text + "\n"
    raw = Shots.of(d, 2, "raw")
    assert EvaluateOptions(prompt="Q: {question}", chat=True, shots=raw).asked(d.problems[3]) == text
    assert EvaluateOptions(prompt="Q: {question}", chat=False).asked(d.problems[3]) == "Q: q3"
    with pytest.raises(UsageError, match="has 4 examples, not 5"):
        Shots.of(d, 5)
    with pytest.raises(UsageError, match="chat or raw"):
        Shots.of(d, 1, "table")


def test_examples_are_fed_and_kept_in_the_header(tmp_path: Path, cli: Cli) -> None:
    data, out = write_sums(tmp_path / "s.jsonl", 6), tmp_path / "r.jsonl"
    given = ["eval", data, "-m", "bundled:sums", "--policy", "greedy", "--limit", "2", "--json", "-q"]
    assert cli(*given, "-o", out)[0] == 0
    assert (
        cli(*given, "-o", tmp_path / "shots.jsonl", "--shots", "2", "--shots-from", data, "--shots-form", "raw")[0] == 0
    )
    header, with_shots = results.read(tmp_path / "shots.jsonl")
    assert header["settings"]["shots"]["n"] == 2
    assert "shots" not in results.read(out)[0]["settings"]
    assert with_shots[0].evaluated > results.read(out)[1][0].evaluated
    code, _, err = cli(*given, "-o", out, "--shots", "2", "--shots-from", data)
    assert (code, "shots" in err) == (1, True)
    code, _, err = cli(*given, "--shots", "2")
    assert (code, "--shots-from FILE" in err) == (2, True)


def test_a_models_result_tells_what_its_steps_were_like() -> None:
    question = evaluate.Dataset(
        "x", (evaluate.Problem(0, "Who is bigger, the dog or the cat?", ("the dog",)),), "text", ""
    )
    chosen = evaluate.parse_all(["full", "greedy"])
    with sl.load("bundled:words") as model:
        header, rs = evaluate.evaluate(model, question, chosen, EvaluateOptions(max_tokens=100))
        _, cut = evaluate.evaluate(model, question, chosen, EvaluateOptions(max_tokens=100, think_budget=3))
        _, off = evaluate.evaluate(
            model, question, chosen, EvaluateOptions(max_tokens=100, think="off", allow_inactive=True)
        )
    by: dict[str, Any] = {r.way: r for r in rs}
    assert by["full"].mixture_tokens > 1
    assert by["greedy"].mixture_tokens is None
    assert all(r.entropy > 0 and r.host for r in rs)
    assert [r.thinking_end for r in rs] == ["by itself", "by itself"]
    assert {r.thinking_end for r in cut} == {"budget"}
    assert all(r.thinking_end != "by itself" for r in off)
    report = evaluate.summarize(header, rs)
    names = [t.name for t in report.tables]
    assert {"accuracy", "steps", "endings", "cost", "problems"} <= {*names}
    assert [f.name for f in report.figures] == ["accuracy", "cost"]
