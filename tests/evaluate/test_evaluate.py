"""softllama eval: reading problems, judging answers, the file of results, and being killed."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
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
from softllama.evaluate.solve import problem_seed
from softllama.study import answers_tables
from softllama.vectors.statistics import Estimate, wilson
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


@pytest.mark.parametrize(
    ("record", "kind", "right", "fields"),
    [
        ({"question_id": 70, "question": "q", "options": list("0123456789"), "answer": "I", "answer_index": 8, "src": "x"},
         "choice", "I", "question choices=options answer"),  # MMLU-Pro
        ({"question": "q", "subject": "s", "choices": list("0123"), "answer": 2}, "choice", "C", "question choices answer"),
        ({"question": "q", "A": "1", "B": "2", "C": "3", "D": "4", "answer": "(B)"}, "choice", "B", "question answer choices=A-D"),
        ({"question": "q", "options": {"A": "x", "B": "y"}, "answer": "b"}, "choice", "B", "question choices=options answer"),
        ({"Question": "q", "options": ["x", "y"], "answer_index": 1}, "choice", "B",
         "question=Question choices=options answer=answer_index"),
        ({"problem": "q", "level": "5", "solution": r"so $\boxed{\frac{1}{2}}$"}, "boxed", "0.5",
         "question=problem answer=solution"),
        ({"problem": "q", "solution": r"so $\boxed{x^2}$", "answer": "x^2"}, "boxed", "x^2", "question=problem answer"),
        ({"prompt": "q", "target": "yes"}, "text", "yes", "question=prompt answer=target"),
    ],
)  # fmt: skip
def test_fields_of_usual_names_are_found_and_reported(
    tmp_path: Path, record: dict[str, Any], kind: str, right: str, fields: str
) -> None:
    d = data.load(lines(tmp_path / "a.jsonl", record))
    assert (d.kind, d.problems[0].answers, d.problems[0].question) == (kind, (right,), "q")
    assert " ".join(what if what == name else f"{what}={name}" for what, name in d.fields) == fields


def test_a_right_choice_that_is_given_twice_must_agree(tmp_path: Path) -> None:
    record = {"question": "q", "options": ["x", "y"], "answer": "A", "answer_index": 1}
    with pytest.raises(SoftLlamaError, match="its answer is A, and its answer_index is 1, which is B"):
        data.load(lines(tmp_path / "a.jsonl", record))


def test_right_answers_lose_their_wrapping_as_the_models_do() -> None:
    for answer, right in (("10", r"10\%"), ("Evelyn", r"\text{Evelyn}"), ("32348", r"\$32,\!348"), ("C", "(C)")):
        assert data.is_right(answer, (right,))


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
        f.sort()
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
    with pytest.raises(SoftLlamaError, match="the policy a was greedy, and is a"):
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
        f.sort()
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
    records[0]["info"].pop("commands")
    return [{k: v for k, v in r.items() if k not in ("seconds", "wall")} for r in records]


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


def test_a_policy_can_be_added_to_an_evaluation(tmp_path: Path, cli: Cli) -> None:
    problems, out, page = write_sums(tmp_path / "sums.jsonl", 12), tmp_path / "r.jsonl", tmp_path / "r.html"
    given = ["eval", problems, "-m", "bundled:sums", "-o", out, "--json"]
    assert cli(*given, "--policy", "greedy", "--limit", "8")[0] == 0
    first = results.read(out)[1]
    code, _, err = cli(*given, "--policy", "greedy", "--policy", "sample", "--limit", "8")
    assert code == 0, err
    header, both = results.read(out)
    assert [r for r in both if r.way == "greedy"] == first  # not asked again
    assert [name for name, _ in header["ways"]] == ["greedy", "sample"]
    assert [r.key for r in both] == [(i, w) for i in range(8) for w in ("greedy", "sample")]
    code, text, _ = cli(*given, "--policy", "top_mean", "--html", page)  # the new one alone, and on more problems
    report = json.loads(text)
    assert [r["policy"] for r in report["results"]["tables"][0]["rows"]] == ["greedy", "sample", "top_mean"]
    header, every = results.read(out)
    assert len(every) == 16 + 12
    assert [q[0] for q in header["info"]["questions"]] == list(range(12))
    assert len(out.read_text().splitlines()) == 1 + 28  # one header again
    assert json.loads(cli("eval", "report", out, "--json")[1])["results"] == report["results"]
    code, _, err = cli(*given, "--policy", "greedy=sample")
    assert (code, "the policy greedy was" in err) == (1, True)


def test_a_policy_that_was_being_added_when_the_process_died_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    more = {**HEADER, "ways": [["a", "greedy"], ["c", "moi"]]}
    with ResultsFile(path, HEADER) as f:
        f.add(result(0, "a"))
    with ResultsFile(path, more) as f:
        f.add(result(0, "c"))
    whole = path.read_bytes()
    header, both = results.read(path)
    assert header["ways"] == [["a", "greedy"], ["b", "full"], ["c", "moi"]]
    assert [r.way for r in both] == ["a", "c"]
    start = whole.index(b'{"kind":"more"')
    for cut in range(start, len(whole)):  # killed anywhere in it
        path.write_bytes(whole[:cut])
        with ResultsFile(path, more) as f:
            assert [w for w, _ in f.header["ways"]] == ["a", "b", "c"]
            f.add(result(0, "c"))
        assert path.read_bytes() == whole


def test_the_time_of_an_evaluation_is_that_of_the_clock(tmp_path: Path) -> None:
    problems = evaluate.load(write_sums(tmp_path / "sums.jsonl", 24))
    path, elapsed = tmp_path / "r.jsonl", 0.0
    chosen = evaluate.parse_all(["greedy", "sample"])
    with sl.load("bundled:sums") as model:
        for part in (problems.first(10), problems):  # two runs
            start = time.perf_counter()
            header, rs = evaluate.evaluate(model, part, chosen, evaluate.EvaluateOptions(streams=8), path)
            elapsed += time.perf_counter() - start
    assert 0.3 * elapsed < evaluate.summarize(header, rs).seconds <= elapsed
    assert evaluate.summarize(*evaluate.read(path)).seconds <= elapsed
    old = [replace(r, wall=0.0) for r in rs]  # files that have no such times
    assert evaluate.summarize(header, old).seconds == pytest.approx(sum(r.seconds for r in rs))


def test_a_page_has_every_problem_with_all_answers_the_command_and_the_time(tmp_path: Path, cli: Cli) -> None:
    data, out, page = tmp_path / "d.jsonl", tmp_path / "r.jsonl", tmp_path / "r.html"
    data.write_text('{"question": "5 4 3 2 <6>", "answer": "0"}\n{"question": "7 9 9 7 8", "answer": "4"}\n')
    given = ["eval", data, "-m", "bundled:sums", "--policy", "greedy", "--policy", "full", "-o", out]
    code, text, _ = cli(*given, "--max-tokens", "24")
    assert code == 0
    assert "Every problem" not in text  # too long for a terminal
    assert cli("eval", "report", out, "--html", page)[0] == 0
    html = page.read_text()
    rows = html[html.index("Every problem") :]
    assert "5 4 3 2 &lt;6&gt;" in rows
    assert rows.count("✓") + rows.count("✗") - 2 == 4  # two in the note
    header, _ = results.read(out)
    assert header["info"]["commands"][0] in html.replace("&#39;", "'")
    assert "It took" in html


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


TWO_WAYS = {"ways": [["a", "a"], ["b", "b"]], "model": {"name": "m"}, "data": {"name": "d"}, "settings": {}}


def answers(n: int, a: int, b: int) -> list[Result]:
    """n problems, of which the way a solves the first ones, and b the first ones."""
    return [result(i, way, right=i < k) for i in range(n) for way, k in (("a", a), ("b", b))]


def test_few_problems_give_no_verdict() -> None:
    for a, b in ((8, 0), (0, 0), (3, 2)):
        text = " ".join(summary.summarize(TWO_WAYS, answers(8, a, b)).answer)
        assert "8 problems are too few for a verdict (fewer than 10)" in text
        assert "difference" not in text
        assert "more than" not in text


def test_what_was_not_seen_has_its_power_beside_it() -> None:
    text = summary.summarize(TWO_WAYS, answers(40, 21, 20)).answer[0]
    assert "No difference seen" in text
    assert "40 problems would show a difference of about" in text
    r = summary.summarize(TWO_WAYS, answers(8, 0, 0))
    ((_, difference, *_, detectable, _),) = next(t for t in r.tables if t.name == "paired").rows
    assert isinstance(difference, Estimate)
    assert (difference.low, difference.high) == pytest.approx((-0.369, 0.369), abs=1e-3)
    assert 0.7 < detectable < 0.9  # type: ignore[operator]


def test_the_highest_share_is_not_said_of_what_is_equal() -> None:
    assert (
        "None of the ways of decoding solves any of the 20 problems"
        in summary.summarize(TWO_WAYS, answers(20, 0, 0)).answer[0]
    )
    assert "All have the same share, 50.0 %" in summary.summarize(TWO_WAYS, answers(20, 10, 10)).answer[0]
    three = {**TWO_WAYS, "ways": [["a", "a"], ["b", "b"], ["c", "c"]]}
    rows = [result(i, way, right=i < k) for i in range(20) for way, k in (("a", 15), ("b", 15), ("c", 0))]
    assert summary.summarize(three, rows).answer[0] == "a and b have the highest share, 75.0 % [53.1, 88.8]."
    rows = [result(i, way, right=i < k) for i in range(20) for way, k in (("a", 16), ("b", 15), ("c", 0))]
    assert summary.summarize(three, rows).answer[0].startswith("a has the highest share, 80.0 %")


@pytest.mark.parametrize(
    ("text", "passes"),
    [("greedy", 1), ("sample:temperature=0.6,top_k=30", 1), ("soft_thinking:answer=greedy", 1), ("vote:samples=4", 4),
     ("best:samples=3,policy=sample(temperature=0.7)", 3), ("beam:beams=5", 5), ("beam", 4)],
)  # fmt: skip
def test_passes_are_counted_from_what_runs(text: str, passes: int) -> None:
    assert ways.parse(text).passes == passes
    assert answers_tables.cost(text) == ("one pass" if passes == 1 else f"{passes} passes")


# ---- loops and garbage


def test_the_share_of_degenerate_answers_is_in_the_report() -> None:
    signs = ["loop", "", "", "surprise"]
    rs = [replace(result(i, "a"), degenerate=s) for i, s in enumerate(signs)]
    r = summary.summarize({**TWO_WAYS, "ways": [["a", "a"], ["b", "b"]]}, [*rs, *(result(i, "b") for i in range(4))])
    table = r.tables[0]
    at = table.head.index("degenerate")
    (share, unknown) = (row[at] for row in table.rows)
    assert isinstance(share, Estimate)
    assert (share.value, share.n) == (0.5, 4)
    assert share == wilson(2, 4)
    assert isinstance(unknown, float)
    assert math.isnan(unknown)  # a file of an earlier version does not tell
    for form in (r.page(), r.json(), r.csv()):
        assert "degenerate" in form


def test_on_loop_stops_an_answer_and_is_a_setting_of_the_results(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from softllama.generation import degeneration

    monkeypatch.setattr(degeneration, "SURPRISE", 1e-6)  # whatever it says is garbage
    (tmp_path / "p.jsonl").write_text('{"question": "Who is bigger, the dog or the cat?", "answer": "the dog"}\n')

    def run(*options: str) -> tuple[int, str, str]:
        file = ("-o", tmp_path / f"{len(options)}.jsonl", "--json", "--policy", "sample:temperature=5", "--raw")
        return cli("eval", tmp_path / "p.jsonl", *file, "--max-tokens", 200, "--think", "off", *options)

    assert run()[0] == 0
    header, (warned,) = results.read(tmp_path / "0.jsonl")
    assert "on_loop" not in header["settings"]  # as in files of earlier versions, which go on
    assert run("--on-loop", "stop")[0] == 0
    header, (stopped,) = results.read(tmp_path / "2.jsonl")
    assert header["settings"]["on_loop"] == "stop"
    assert warned.degenerate == stopped.degenerate == "surprise"
    assert (stopped.stop, stopped.failure) == ("surprise", "garbage: surprise")
    assert stopped.tokens == degeneration.WINDOW <= warned.tokens
    code, _, err = cli("eval", tmp_path / "p.jsonl", "-o", tmp_path / "0.jsonl", "--on-loop", "hard")
    assert code == 1
    assert "on_loop" in err or "was" in err


def test_long_answers_have_a_wide_column_and_an_end() -> None:
    long = "AngAng" * 200  # one word
    rs = [replace(result(i, "a"), answer=long) for i in range(2)]
    r = summary.summarize({**TWO_WAYS, "ways": [["a", "a"]]}, rs)
    cell = r.tables[-1].rows[0][-1]
    assert isinstance(cell, str)
    assert cell == f"✓ {long[: summary.MOST]} …"
    assert 'class="text long"' in r.page()
