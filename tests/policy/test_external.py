"""Policies of Python files and of installed packages: found, typed, checked, and run only where someone typed them."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.errors import UsageError
from softllama.policy import external
from tests.conftest import Cli

SOURCE = '''
"""Policies for the tests."""
from typing import Annotated, Literal
import softllama as sl

def _one(d, why=""):
    return sl.policy.Decision(sl.Mixture.one_hot(d.argmax), d.argmax, "hard", why)

def best(distribution, moment):
    """The best token."""
    return _one(distribution)

@sl.policy.as_policy
def second(distribution, moment):
    i = distribution.top(2)[1].id
    return sl.policy.Decision(sl.Mixture.one_hot(i), i, "hard")

def bounded(
    limit: Annotated[int, sl.policy.Range(1, 9)] = 3,
    share: float = 0.5,
    how: Literal["plain", "loud"] = "plain",
    note: str = "x",
    loud=False,
    where: Literal["thinking", "everywhere"] = "everywhere",
    answer: sl.policy.Rule | None = None,
):
    """Whole vectors, but never more than `limit` in a row."""
    def rule(distribution, moment):
        run = moment.state.get("run", 0)
        moment.state["run"] = 0 if run >= limit else run + 1
        if run >= limit:
            return _one(distribution, f"{limit} {share} {how} {note} {loud}")
        return sl.policy.Decision(distribution.to_mixture(), distribution.argmax, "soft")
    return rule

def three(a, b, c):
    raise AssertionError("never called")

SETTING = 5
'''


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mine.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(external, "_FILES", {})
    return "mine.py"


def d() -> sl.Distribution:
    return sl.Distribution([1.0, 3.0, 2.0])


def test_nothing_is_run_unless_it_is_loaded(file: str) -> None:
    with pytest.raises(UsageError, match=r"the policies of mine\.py are not loaded: a file is run only where") as e:
        policy.parse("mine.py:best")
    assert e.value.hint == "--policy mine.py:best"
    with pytest.raises(UsageError, match="not loaded"):
        sl.policy.parse("gumbel:answer=mine.py:best")
    policy.load_files("mine.py:best")
    assert policy.parse("mine.py:best")(d(), np.random.default_rng(0)).token == 1


@pytest.mark.parametrize(
    "text",
    ["mine.py:best", "gumbel:answer=mine.py:best", "vote:samples=8,policy=(mine.py:bounded(limit=2))", "mine.py"],
)
def test_files_are_found_wherever_a_text_names_them(file: str, text: str) -> None:
    policy.load_files(text)
    assert external.in_file(file) == ["mine.py:best", "mine.py:bounded", "mine.py:second"]


def test_settings_are_typed_checked_and_written_again(file: str) -> None:
    policy.load_files("mine.py:bounded")
    decide = policy.parse("mine.py:bounded(limit=1,share=0.25,how=loud,note=hello,loud=yes,answer=sample(top_k=3))")
    assert decide.parameters["answer"] == "sample(top_k=3)"
    moment = policy.Moment(np.random.default_rng(0))
    assert [decide(d(), moment).mode for _ in range(4)] == ["soft", "hard", "soft", "hard"]
    moment.state["run"] = 1
    assert decide(d(), moment).why == "1 0.25 loud hello True"
    assert policy.parse(repr(decide)).parameters == decide.parameters
    assert repr(policy.parse("mine.py:bounded:limit=2")) == "mine.py:bounded:limit=2"
    assert policy.parse("gumbel:answer=mine.py:bounded(limit=2)").parameters["answer"] == "mine.py:bounded(limit=2)"
    thinking = policy.parse("mine.py:bounded:where=thinking")
    assert thinking(d(), policy.Moment(np.random.default_rng(0), thinking=False)).mode == "hard"
    assert policy.parse("mine.py:second")(d(), moment).token == 2


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mine.py:bonded", r"mine\.py has no policy 'bonded'", "bounded"),
        ("mine.py:bounded(limit=0)", "limit = 0 is not allowed: it must be a whole number between 1 and 9", ""),
        ("mine.py:bounded(limit=x)", "limit = 'x' is not allowed: it must be a whole number", ""),
        ("mine.py:bounded(how=soft)", "how = 'soft' is not allowed: it must be plain or loud", ""),
        ("mine.py:bounded(n=3)", "has no parameter 'n'", ""),
        ("mine.py:bounded(answer=zzz)", "there is no policy 'zzz'", ""),
        ("mine.py:three", "has no policy 'three'", ""),
        ("mine.py:(n=3)", "is no policy of mine.py", ""),
    ],
)
def test_mistakes_are_errors_with_what_is_allowed(file: str, text: str, message: str, hint: str) -> None:
    policy.load_files("mine.py:best")
    with pytest.raises(UsageError, match=message) as e:
        policy.parse(text)
    assert hint in e.value.hint


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\nraise RuntimeError('no luck')", r"bad\.py, line 2: RuntimeError: no luck"),
        ("def f(:\n", r"bad\.py, line 1: SyntaxError"),
        ("import nothing_of_this_name", r"bad\.py, line 1: ModuleNotFoundError"),
        ("x = 1", r"bad\.py has no policies"),
        ("def f(x: list = [1]):\n    return 1", r"bad\.py: the parameter x is list, which cannot be written"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(file: str, source: str, message: str) -> None:
    Path("bad.py").write_text(source)
    with pytest.raises(UsageError, match=message):
        policy.load_files("bad.py:f")
    with pytest.raises(UsageError, match=r"there is no file other\.py"):
        policy.load_files("other.py:f")


def test_a_factory_that_returns_no_policy(file: str) -> None:
    Path("odd.py").write_text("def f(n: int = 3):\n    return n\n")
    policy.load_files("odd.py:f")
    with pytest.raises(UsageError, match=r"odd\.py:f returned int, not a policy"):
        policy.parse("odd.py:f")


class _Entry:
    """An entry point whose object is at hand."""

    def __init__(self, value: Any) -> None:
        self._object, self.value = value, "somewhere:thing"

    def load(self) -> Any:
        if isinstance(self._object, Exception):
            raise self._object
        return self._object


def test_entry_points_are_policies_by_name(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    def mild(strength: float = 0.5) -> Any:
        """Something mild."""
        return lambda distribution, moment: policy.greedy()(distribution, moment)

    found = {"mild": _Entry(mild), "broken": _Entry(ImportError("no such thing")), "number": _Entry(3)}
    monkeypatch.setattr(external, "installed", lambda: found)
    monkeypatch.setattr(external, "_PACKAGES", {})
    decide = policy.parse("mild:strength=0.25")
    assert (repr(decide), decide(d(), np.random.default_rng(0)).token) == ("mild:strength=0.25", 1)
    assert {"mild", "greedy"} <= set(policy.names())
    with pytest.raises(UsageError, match=r"the policy broken \(somewhere:thing\) cannot be imported: ImportError"):
        policy.parse("broken")
    with pytest.raises(UsageError, match="is int, not a policy"):
        policy.parse("number")
    code, out, _ = cli("policies", "mild")
    assert code == 0
    assert "mild: Something mild." in out
    assert "strength = 0.5" in out
    monkeypatch.setattr(external, "installed", lambda: {"mild": _Entry(mild)})
    assert "Something mild." in cli("policies")[1]


def test_the_group_is_read_from_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "package.module:mine", external.GROUP)
    monkeypatch.setattr(external, "entry_points", lambda group: [entry] if group == "softllama.policies" else [])
    external.installed.cache_clear()
    assert external.installed() == {"mine": entry}
    external.installed.cache_clear()


# ---- on the command line ---------------------------------------------------------------------------------------------


def test_the_commands_take_them(file: str, cli: Cli, model: sl.Model, tmp_path: Path) -> None:
    code, out, err = cli("policies", "mine.py")
    assert code == 0, err
    assert "mine.py:bounded" in out
    assert "Whole vectors, but never more than" in out
    code, out, _ = cli("policies", "mine.py:bounded")
    assert code == 0
    assert "limit  = 3  (a whole number between 1 and 9)" in out
    run = ("run", "-m", model.path, "--raw", "The dog", "--max-tokens", "6", "--json", "--policy")
    code, out, err = cli(*run, "mine.py:bounded(limit=2)")
    assert code == 0, err
    record = json.loads(out)
    assert record["policy"] == "mine.py:bounded:limit=2"
    assert [s["mode"] for s in record["steps"]] == ["soft", "soft", "hard"] * 2
    code, _, err = cli(*run, "mine.py:bounded(limit=99)")
    assert (code, "limit = 99 is not allowed" in err) == (2, True)
    code, _, err = cli("chat", "-m", model.path, "--policy", "mine.py:best", "--max-tokens", "3", stdin="hello\n")
    assert code in (0, 3), err  # an answer of white space is none
    assert "policy: mine.py:best" in err
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "dog?", "answer": "dog"}\n')
    ways = ("--policy", "mine.py:best", "--policy", "two=vote:samples=2,policy=(mine.py:bounded(limit=2))")
    code, out, err = cli("eval", data, "-m", model.path, "--raw", "--max-tokens", "3", *ways, "--json")
    assert code == 0, err
    assert "mine.py:best" in out
    assert "two" in out


def test_a_model_file_runs_nothing(file: str, load: Any) -> None:
    other = load("llama", extra={"softllama.policy": "mine.py:best"})
    with pytest.raises(UsageError, match="not loaded"):
        other.generate("The dog", max_tokens=2)
