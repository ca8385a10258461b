"""softllama eval: reading problems, judging answers, the file of results, and being killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from scripts.training.sums import sums_task as task
from softllama import evaluate
from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import data, results, run, summary, ways
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.results import Result, ResultsFile
from softllama.evaluate.run import problem_seed
from tests.conftest import SHARED, Cli


def write_sums(path: Path, n: int) -> Path:
    problems = task.MAIN.held_out("test", n)
    lines = [
        json.dumps({"question": " ".join(map(str, p)), "answer": str(a)})
        for p, a in zip(problems.tolist(), task.solve(task.MAIN, problems).tolist(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


# ---- problems


def test_a_gsm8k_answer_is_the_number_after_the_marks(tmp_path: Path) -> None:
    d = data.load(lines(tmp_path / "a.jsonl", {"question": "q", "answer": "1 + 1 = <<1+1=2>>2\n#### 1,200"}))
    assert (d.kind, d.rule, d.problems[0].answers) == ("steps", "auto", ("1200",))
    assert d.problems[0].to_prompt(d.prompt).startswith("q\n\nThink step by step")


@pytest.mark.parametrize("answer", ["B", 1, "Rome"])
def test_a_choice_is_a_letter_an_index_or_its_text(tmp_path: Path, answer: Any) -> None:
    d = data.load(lines(tmp_path / "a.jsonl", {"question": "q", "choices": ["Paris", "Rome"], "answer": answer}))
    assert (d.kind, d.problems[0].answers) == ("choice", ("B",))
    assert "A. Paris\nB. Rome" in d.problems[0].to_prompt(d.prompt)


def test_arcs_form_is_read(tmp_path: Path) -> None:
    record = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
    assert data.load(lines(tmp_path / "a.jsonl", record)).problems[0].answers == ("B",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no problems"),
        ("{", "line 1: not JSON"),
        ('{"answer": "1"}', "line 1: it has no question"),
        ('{"question": "q"}', "line 1: it has no answer"),
        ('{"question": "q", "answer": "x", "choices": ["y", "z"]}', "none of its choices"),
        ('{"question": "q", "answer": 7, "choices": ["y", "z"]}', "choice 7, of 2"),
        ('{"question": "q", "answer": "1"}\n{"question": "q", "answer": "#### 1"}', "mixes"),
        ('["q"]', "not an object"),
    ],
)
def test_what_is_no_data_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(SoftLlamaError, match=message):
        data.load(tmp_path / "a.jsonl")


def test_all_of_gsm8k_is_read() -> None:
    path = SHARED / "data" / "gsm8k-test.jsonl"
    if not path.is_file():
        pytest.skip("needs gsm8k-test.jsonl")
    d = data.load(path)
    assert (len(d.problems), d.kind) == (1319, "steps")
    assert d.problems[0].answers == ("18",)
    assert all(float(p.answers[0]) is not None for p in d.problems)


def test_numbers_are_compared_as_numbers_and_texts_as_texts() -> None:
    assert data.is_right("18.0", ("18",))
    assert data.is_right("1,200", ("1200",))
    assert not data.is_right("180", ("18",))
    assert not data.is_right(None, ("18",))
    assert data.is_right("The cat.", ("The dog.", "The cat."))
    assert not data.is_right("the cat.", ("The cat.",))
    assert not data.is_right("it is 18", ("18",))


# ---- ways


def test_ways_are_policies_and_searches() -> None:
    a = ways.parse("vote:samples=4,policy=sample(temperature=0.7,top_k=40)")
    assert (a.search, a.policy, dict(a.settings)) == ("vote", "sample:temperature=0.7,top_k=40", {"samples": 4})
    assert ways.parse("soft=soft_thinking:n=10") == ways.Way("soft", "", "soft_thinking:n=10")
    assert ways.parse("soft_thinking:n=10").name == "soft_thinking:n=10"
    assert dict(ways.parse("beam").settings) == {"beams": 4}


@pytest.mark.parametrize("text", ["gredy", "vote:n=3", "vote:samples=x", "beam:beams=0", "vote:policy=(sample", ""])
def test_what_is_no_way_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        ways.parse(text)


def test_two_ways_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        ways.parse_all(["greedy", "greedy"])


# ---- the file of results


def result(problem: int, way: str = "greedy", right: bool = True) -> Result:
    return Result(
        problem=problem,
        way=way,
        answer="1",
        right=right,
        failure="" if right else "wrong answer",
        n_thinking=1,
        n_answer=1,
        tokens=2,
        evaluated=9,
        stop="end of generation",
        seed=5,
        text="1",
        seconds=0.1,
    )


HEADER = {"settings": {}, "model": {"name": "m"}, "data": {"name": "d"}, "ways": [["a", "greedy"], ["b", "full"]]}


def test_a_half_written_line_is_dropped_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path, HEADER) as f:
        f.add(result(0))
        f.add(result(1))
    whole = path.read_bytes()
    for cut in range(len(whole.splitlines(keepends=True)[0]) + 1, len(whole)):
        path.write_bytes(whole[:cut])
        with ResultsFile(path, HEADER) as f:
            kept = len(f.results)
            assert kept == whole[:cut].count(b"\n") - 1
            for i in range(2):
                f.add(result(i))
        assert path.read_bytes() == whole
    for cut in range(15):  # even the header may be half
        path.write_bytes(whole[:cut])
        with ResultsFile(path, HEADER) as f:
            assert not f.results


def test_results_are_sorted_and_never_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path, HEADER) as f:
        for i, way in [(2, "b"), (0, "b"), (2, "a"), (0, "a"), (0, "a"), (1, "a")]:
            f.add(result(i, way))
        f.sort(["a", "b"])
    assert [r.key for r in results.read(path)[1]] == [(0, "a"), (0, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_results_of_something_else_are_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with ResultsFile(path, {**HEADER, "info": {"problems": 1}}) as f:
        with pytest.raises(SoftLlamaError, match="being written"):
            ResultsFile(path, HEADER)
        f.add(result(0))
    with pytest.raises(SoftLlamaError, match="the model, name, was 'm', and is 'y'"):
        ResultsFile(path, {**HEADER, "model": {"name": "y"}})
    other = {**HEADER, "model": {"name": "y", "sha256": "1"}}
    with pytest.raises(SoftLlamaError, match="the model, sha256, was None, and is '1'"):
        ResultsFile(path, {**HEADER, "model": {"name": "m", "sha256": "1"}})
    with ResultsFile(tmp_path / "hashed.jsonl", {**HEADER, "model": {"name": "m", "sha256": "1"}}):
        pass
    with ResultsFile(tmp_path / "hashed.jsonl", other):  # the same model under another name
        pass
    with pytest.raises(SoftLlamaError, match="evaluation: prompt was None, and is 'x'"):
        ResultsFile(path, {**HEADER, "settings": {"prompt": "x"}})
    with pytest.raises(SoftLlamaError, match="the policies were a=greedy, b=full, and are a, mine=greedy"):
        ResultsFile(path, {**HEADER, "ways": [["a", "a"], ["mine", "greedy"]]})
    with ResultsFile(path, {**HEADER, "info": {"problems": 2}}) as f:
        assert len(f.results) == 1
    (tmp_path / "notes.txt").write_text("my notes\nand more")
    with pytest.raises(SoftLlamaError, match="no file of results"):
        ResultsFile(tmp_path / "notes.txt", {})
    assert (tmp_path / "notes.txt").read_text() == "my notes\nand more"


def test_files_with_the_old_names_are_read_and_continued(tmp_path: Path) -> None:
    """Before format 2, a way was an arm, and tokens were "thinking" and "said"."""
    path = tmp_path / "r.jsonl"
    with ResultsFile(path, HEADER) as f:
        f.add(result(0))
    new = path.read_text()
    old = new.replace('"format":2', '"format":1').replace('"ways"', '"arms"').replace('"way"', '"arm"')
    old = old.replace('"n_thinking"', '"thinking"').replace('"n_answer"', '"said"')
    assert old != new
    path.write_text(old)
    assert results.read(path)[1] == [result(0)]
    with ResultsFile(path, HEADER) as f:
        f.add(result(2))
        f.add(result(1))
        f.sort(["greedy"])
    assert [r.problem for r in results.read(path)[1]] == [0, 1, 2]
    assert path.read_text().startswith(old)
    path.write_text(new.replace('"format":2', '"format":3'))
    with pytest.raises(SoftLlamaError, match="no file of results"):
        results.read(path)


# ---- the whole


def test_the_bundled_pair_is_solved_as_its_cards_say(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "sums.jsonl", 100))
    with sl.load("bundled:sums-soft") as model:
        _, results = evaluate.evaluate(model, problems, ways.parse_all(["full", "greedy"]))
    right = {a: sum(r.right for r in results if r.way == a) for a in ("full", "greedy")}
    assert right["full"] >= 95
    assert right["greedy"] <= 50
    assert all(r.n_thinking == 6 and r.tokens == 7 for r in results if r.way == "full" and r.right)


def test_a_problem_depends_on_the_seed_and_its_number_alone(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "sums.jsonl", 40))
    some = evaluate.Dataset(problems.name, problems.problems[25:30], problems.kind, problems.sha256)
    settings = EvaluateOptions(seed=3)
    with sl.load("bundled:sums") as model:
        _, all_of = evaluate.evaluate(model, problems, ways.parse_all(["sample", "gumbel"]), settings)
        _, part = evaluate.evaluate(model, some, ways.parse_all(["gumbel"]), settings)
        other = run.evaluate(model, problems, ways.parse_all(["sample"]), EvaluateOptions(seed=4))[1]
    assert [r.text for r in part] == [r.text for r in all_of if r.way == "gumbel" and 25 <= r.problem < 30]
    assert [r.text for r in other] != [r.text for r in all_of if r.way == "sample"]
    assert len({problem_seed(3, i) for i in range(1000)}) == 1000


def test_streams_give_the_same_answers(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "sums.jsonl", 60))
    with sl.load("bundled:sums") as model:
        one, eight = (
            evaluate.evaluate(model, problems, ways.parse_all(["greedy", "sample"]), EvaluateOptions(streams=n))[1]
            for n in (1, 8)
        )
    same = sum(a.text == b.text for a, b in zip(one, eight, strict=True))
    assert [r.key for r in one] == [r.key for r in eight]
    assert same >= 0.97 * len(one)  # the last bits of logits may differ in a batch


def test_failures_have_reasons(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "sums.jsonl", 3))
    with sl.load("bundled:sums") as model:
        _, cut = evaluate.evaluate(model, problems, ways.parse_all(["greedy"]), EvaluateOptions(max_tokens=3))
        _, none = evaluate.evaluate(
            model, problems, ways.parse_all(["greedy"]), EvaluateOptions(extract="answer: (.*)")
        )
        long = evaluate.Dataset("x", (data.Problem(0, "1 " * 500, ("1",)),), "text", "")
        _, refused = evaluate.evaluate(model, long, ways.parse_all(["greedy"]))
    assert {r.failure for r in cut} == {"max tokens while thinking"}
    assert {r.failure for r in none} == {"no answer found"}
    assert refused[0].failure == "prompt too long"


def seen(path: Path) -> list[dict[str, Any]]:
    """What must be equal: everything but the clock."""
    records = [json.loads(x) for x in path.read_text().splitlines()]
    records[0]["info"]["manifest"].pop("created")
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records]


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_if_it_never_was(tmp_path: Path) -> None:
    problems = write_sums(tmp_path / "sums.jsonl", 200)
    command = [
        sys.executable, "-m", "softllama", "eval", str(problems), "-m", "bundled:sums", "-q",
        "--policy", "greedy", "--policy", "sample", "-o",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    kills, before = 0, 0
    for attempt in range(40):
        process = subprocess.Popen([*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            count = killed.read_bytes().count(b"\n") if killed.exists() else 0
            if count >= before + 5 + 7 * (attempt % 4) and kills < 10:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        before = killed.read_bytes().count(b"\n")
    assert kills == 10
    assert seen(killed) == seen(whole)
    assert len(seen(whole)) == 1 + 400


def test_the_report_is_built_again_from_the_file(tmp_path: Path, cli: Cli) -> None:
    problems, out, page = write_sums(tmp_path / "sums.jsonl", 30), tmp_path / "r.jsonl", tmp_path / "r.html"
    given = ["eval", problems, "-m", "bundled:sums", "--policy", "greedy", "--policy", "top_mean", "-o", out, "--json"]
    code, text, err = cli(*given, "--html", page)
    assert code == 0
    assert "30 problems" in err
    report = json.loads(text)
    code, again, _ = cli("eval", "report", out, "--json")
    assert json.loads(again)["results"] == report["results"]
    code, table, _ = cli("eval", "report", out)
    assert "greedy" in table
    assert "Why answers were not right" in table
    html = page.read_text()
    assert "<svg" in html
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    code, csv, _ = cli("eval", "report", out, "--csv")
    assert csv.startswith("table,row,column,value,low,high,n\naccuracy,greedy,right,")


def test_usage_errors_come_before_the_model(tmp_path: Path, cli: Cli) -> None:
    problems = write_sums(tmp_path / "sums.jsonl", 3)
    assert cli("eval", problems, "--policy", "gredy")[0] == 2
    assert cli("eval", tmp_path / "none.jsonl")[0] == 1
    assert cli("eval", problems, "--extract", "numbr")[0] == 2
    assert cli("eval", problems, "--html", tmp_path / "x.txt")[0] == 2
    code, _, err = cli("eval", problems, "--html", tmp_path / "no" / "x.html", "-o", tmp_path / "unasked.jsonl")
    assert (code, "there is no folder" in err, (tmp_path / "unasked.jsonl").exists()) == (2, True, False)
    assert cli("eval", problems, "--extract", "")[0] == 2
    assert "softllama eval DATA writes one" in cli("eval", "report", problems)[2]


def test_a_summary_says_when_there_is_no_difference() -> None:
    header = {"ways": [["a", "a"], ["b", "b"]], "model": {"name": "m"}, "data": {"name": "d"}, "settings": {}}
    same = [result(i, way, right=i % 2 == 0) for i in range(20) for way in "ab"]
    assert "No difference seen" in summary.summarize(header, same).answer[0]
    far = [result(i, way, right=way == "a") for i in range(20) for way in "ab"]
    r = summary.summarize(header, far)
    assert "a solves most" in r.answer[0]
    assert "a solves more than b (+100.0 points" in r.answer[1]
    half = summary.summarize({**header, "info": {"problems": 40}}, far)
    assert "20 of 40 problems have been asked so far" in half.answer[0]
