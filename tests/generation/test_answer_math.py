"""The rule math: what it takes, what it compares, and that it asks for its package. How many are wrong is printed."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from softllama.errors import SoftLlamaError
from softllama.evaluate.data import is_right
from softllama.generation import extract


def test_the_rule_asks_for_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "math_verify":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SoftLlamaError, match="needs math-verify") as e:
        extract.rule("math")
    assert "softllama[math]" in e.value.hint
    assert "math" not in extract.RULES
    assert extract.same("auto", "0.5", r"\frac12")  # numbers are compared as numbers all the same


SAME = [
    (r"2\sqrt{3}", r"\sqrt{12}"), ("x+1", "1+x"), (r"\frac{\sqrt2}{2}", r"1/\sqrt{2}"), ("0.5", r"\frac12"), ("(1,2)", "(1, 2)"),
    (r"\{2,1\}", r"\{1,2\}"), ("2x+2", "2(x+1)"), (r"\frac{2\pi}{4}", r"\frac{\pi}{2}"), ("x^2-1", "(x-1)(x+1)"),
    (r"2^{10}", "1024"),
    ("18 apples", "18"), (r"\text{Evelyn}", "Evelyn"), (r"10\%", "10"), ("1,234", "1234"),
]  # fmt: skip
OTHER = [
    (r"2\sqrt{3}", r"\sqrt{13}"), ("x+1", "x-1"), ("(1,2)", "(2,1)"), ("cat", "dog"), ("3", "4"), ("x^2", "x^3"), ("1/3", "0.33"),
    (r"\pi", "3"), (r"\{1,2\}", r"\{1,3\}"), ("180", "18"),
]  # fmt: skip


def test_answers_are_compared_as_mathematics(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("math_verify", reason="needs the extra math")
    rejected = [(a, b) for a, b in SAME if not extract.same("math", a, b)]
    accepted = [(a, b) for a, b in OTHER if extract.same("math", a, b)]
    with capsys.disabled():
        print(
            f"\n{len(SAME) + len(OTHER)} pairs as mathematics: {len(accepted)} false accepts, {len(rejected)} false rejects"
        )
    assert (accepted, rejected) == ([], [])
    assert not extract.same("auto", r"2\sqrt{3}", r"\sqrt{12}")
    assert is_right(r"2\sqrt{3}", (r"\sqrt{12}",), "math")
    assert not is_right(r"2\sqrt{3}", (r"\sqrt{12}",), "boxed")


@pytest.mark.parametrize(
    ("text", "answer"),
    [(r"so $\boxed{2\sqrt{3}}$", r"2\sqrt{3}"), ("#### 18", "18"), (r"The answer is $\frac{\sqrt{2}}{2}$.", r"\frac{\sqrt{2}}{2}"),
     ("I do not know", None)],
)  # fmt: skip
def test_the_rule_takes_the_last_expression(text: str, answer: str | None) -> None:
    pytest.importorskip("math_verify", reason="needs the extra math")
    assert extract.rule("math")(text) == answer
