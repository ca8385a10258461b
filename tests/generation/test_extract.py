"""Answers in texts: a table for each rule, then what may stand for a rule."""

from __future__ import annotations

import re

import pytest

import softllama as sl
from softllama.generation import extract

NUMBERS = [  # text, the last number in its one way of writing
    ("The answer is 5.", "5"),
    ("5", "5"),
    ("-5", "-5"),
    ("\u22127 degrees", "-7"),
    ("+3", "3"),
    ("so 10-5", "5"),
    ("x - -4", "-4"),
    ("f(x)-2", "2"),
    ("(-3)", "-3"),
    ("y=-3", "-3"),
    ("1,234", "1234"),
    ("12,345,678.", "12345678"),
    ("1,234.50 in all", "1234.5"),
    ("1{,}234", "1234"),
    (r"1,\!234", "1234"),
    (r"12\,000", "12000"),
    ("one of 1, 2", "2"),
    ("3.14", "3.14"),
    (".5", "0.5"),
    ("007.50", "7.5"),
    ("2.000", "2"),
    ("0.0", "0"),
    ("-0", "0"),
    ("100", "100"),
    ("1.5e3", "1500"),
    ("2e-3", "0.002"),
    ("$5", "5"),
    ("$1,000.00.", "1000"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    (r"\$ 18", "18"),
    ("50%", "50"),
    (r"12.5\%", "12.5"),
    ("5km", "5"),
    ("the 3rd of 4th", "4"),
    ("3/4", "0.75"),
    ("H2O", None),
    ("x2", None),
    ("none here", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), NUMBERS)
def test_last_number(text: str, answer: str | None) -> None:
    assert extract.number(text) == answer
    assert extract.number(f"First 17, then {text}") == (answer or "17")


BOXED = [
    (r"so \boxed{5}", "5"),
    (r"\boxed{1,234}", "1234"),
    (r"$\boxed{\frac{1}{2}}$", "0.5"),
    (r"\boxed{\sqrt{\frac{a}{b}}}.", r"\sqrt{\frac{a}{b}}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\}}", r"\}"),
    (r"\boxed{a} and \boxed{ b }", "b"),
    (r"\boxed{a} and \boxed{b{c}", "a"),
    (r"\fbox{7}", "7"),
    (r"\boxed {8}", "8"),
    (r"$\boxed 9$", "9"),
    (r"\boxed{\text{Tuesday}}", "Tuesday"),
    (r"\boxed{$12\%$}", "12"),
    (r"\boxed{-\$3.50.}", "-3.5"),
    (r"\boxed{x = 3.}", "x = 3"),
    (r"\boxed{12\text{ cm}}", "12 cm"),
    (r"\boxed{wait...}", "wait..."),
    (r"\boxed{}", None),
    (r"\boxedness{5}", None),
    (r"\boxed{5", None),
    ("5", None),
]


@pytest.mark.parametrize(("text", "answer"), BOXED)
def test_boxed(text: str, answer: str | None) -> None:
    assert extract.boxed(text) == answer


HASH = [
    ("12 + 30 = 42\n#### 42", "42"),
    ("#### 1,234 dollars", "1234"),
    ("#### $-5.00", "-5"),
    ("####72", "72"),
    ("#### 1\n#### 2\nand more", "2"),
    ("#### Tuesday.", "Tuesday"),
    ("####\n5", None),
    ("5", None),
]


@pytest.mark.parametrize(("text", "answer"), HASH)
def test_hash(text: str, answer: str | None) -> None:
    assert extract.hash_mark(text) == answer


CHOICES = [
    ("B", "B"),
    (" b. ", "B"),
    ("(c) since it is", "C"),
    ("B) because A is a trap", "B"),
    ("**D**", "D"),
    ("The answer is (B).", "B"),
    ("answer: b", "B"),
    ("Answer: **C**", "C"),
    ("The correct answer is: $\\boxed{D}$", "D"),
    (r"The answer is \boxed{\text{(E)}}", "E"),
    ("First the answer is A. No, the answer is C because A is a trap", "C"),
    ("The answer is B, since option C is wrong", "B"),
    ("I would choose option D", "D"),
    ("It must be (A), or (b).", None),
    ("A is wrong, so D", "D"),
    ("the answer is a dog", None),
    ("A dog barks", None),
    ("I say nothing", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), CHOICES)
def test_choice(text: str, answer: str | None) -> None:
    assert extract.choice(text) == answer


AUTO = [
    (r"17 then \boxed{5} of 9", "5"),
    ("17\n#### 5 apples", "5"),
    ("#### Step 2\nso 3", "3"),
    ("so 3 and 4.", "4"),
    ("  Paris. ", "Paris."),
    ("  ", None),
]


@pytest.mark.parametrize(("text", "answer"), AUTO)
def test_auto(text: str, answer: str | None) -> None:
    assert extract.auto(text) == answer


def test_what_may_stand_for_a_rule() -> None:
    assert extract.rule("number") is extract.number
    assert extract.rule(r"answer: (\w+)")("answer: a, answer: b") == "b"
    assert extract.rule(re.compile(r"\d+ km"))("5 km, 6 km") == "6 km"
    assert extract.rule(r"(x)|(y)")("y") == "y"
    assert extract.rule(r"answer: (\w+)")("none") is None
    assert extract.rule(r"(a)?b")("b") is None
    assert extract.rule(lambda text: text[:1] or None)("dog") == "d"


def test_what_may_not() -> None:
    with pytest.raises(sl.UsageError, match="numbr") as e:
        extract.rule("numbr")
    assert e.value.hint == "did you mean number?"
    with pytest.raises(sl.UsageError, match="regular expression"):
        extract.rule("(")
    with pytest.raises(sl.UsageError, match="not 5"):
        extract.rule(5)  # type: ignore[arg-type]
    with pytest.raises(sl.UsageError, match="not int"):
        extract.rule(lambda text: 5)("x")  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("text", ["1," * 20_000, "1" * 50_000, r"\boxed{" * 20_000, "$" * 20_000, "answer " * 10_000])
def test_long_texts_do_not_take_for_ever(text: str) -> None:
    for rule in extract.RULES.values():
        rule(text)
