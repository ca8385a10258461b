"""What a report tells beside shares: cost, unread answers, endings, and how many problems a difference takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from softllama.evaluate import behaviour
from softllama.evaluate.results import ResultsFile
from softllama.vectors import statistics
from tests.conftest import Cli
from tests.evaluate.test_evaluate import HEADER, result


def test_cost_at_equal_accuracy_and_accuracy_at_equal_cost() -> None:
    cheap = {i: replace(result(i, "cheap", right=i < 5), tokens=10 + i) for i in range(10)}
    dear = {i: replace(result(i, "dear", right=i < 8), tokens=100 + i) for i in range(10)}
    by = {"cheap": cheap, "dear": dear}
    assert [e.value for e in behaviour.within([*cheap.values()], [9, 10, 12, 1000])] == [0, 0.1, 0.3, 0.5]
    t = behaviour.cost_table(by)
    rows = {str(r[0]): r for r in t.rows}
    assert rows["cheap"][3] == 14  # the fifth of its right answers
    assert rows["dear"][3] == 104
    f = behaviour.cost_figure(by)
    assert [s.y[-1] for s in f.series] == [0.5, 0.8]
    assert all(a <= b for s in f.series for a, b in zip(s.y, s.y[1:], strict=False))
    assert behaviour.cost_figure({"a": {}}).series == ()


def test_unread_answers_and_endings_are_counted() -> None:
    rs = {
        i: replace(result(i, "a"), answer=None if i < 3 else "1", thinking_end="budget" if i < 2 else "Cold Stop")
        for i in range(10)
    }
    (row,) = behaviour.steps({"a": rs}).rows
    assert row[4].value == 0.3  # type: ignore[union-attr]
    assert behaviour.endings({"a": rs}).rows == (("Cold Stop", 8), ("budget", 2))
    assert behaviour.endings({"a": {0: result(0, "a")}}).rows == ()


@pytest.mark.parametrize(("difference", "share"), [(0.05, 0.2), (0.1, 0.2), (0.2, 0.3), (0.02, 0.1)])
def test_the_problems_needed_have_the_power(difference: float, share: float) -> None:
    n = statistics.needed(difference, share)
    assert n is not None
    # Connor's formula, as the sum of two normal quantiles
    expected = (1.96 * share**0.5 + 0.8416 * (share - difference**2) ** 0.5) ** 2 / difference**2
    assert n == pytest.approx(expected, rel=0.15)
    assert statistics.detectable(n, round(share * n)) == pytest.approx(difference, rel=0.15)
    assert statistics.needed(0.0, share) is None


def test_plan_prints_tables(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("eval", "plan")
    assert code == 0
    assert "20 %" in out
    code, out, _ = cli("eval", "plan", "--difference", "3", "--differ", "20")
    assert f"{statistics.needed(0.03, 0.2):,}" in out
    code, out, _ = cli("eval", "plan", "--problems", "200", "--differ", "10")
    assert f"{100 * statistics.detectable(200, 20):.1f} points" in out
    with ResultsFile(tmp_path / "r.jsonl", HEADER) as f:
        for i in range(20):
            f.add(result(i, "a", right=i < 10))
            f.add(result(i, "b", right=i < 12))
    code, out, _ = cli("eval", "plan", tmp_path / "r.jsonl", "--difference", "5")
    assert "b − a: 13.6 %" in out
    for wrong in (["--difference", "0"], ["--differ", "200"], ["--problems", "0"]):
        assert cli("eval", "plan", *wrong)[0] == 2
