r"""The answer in a text, by stated rules, as voting and evaluation compare it. Knows texts only, no models.

| rule | takes |
|---|---|
| boxed | what is in the last `\boxed{...}` or `\fbox{...}` with matching braces, or the word after a bare `\boxed` |
| hash | what follows the last `####` on its line: the number if it begins with one, else all of it |
| number | the last number; no answer if that one can be read in two ways |
| choice | a letter A to J, see softllama.generation.answer_letters |
| text | the whole text, stripped |
| math | boxed; else hash; else the last expression; compared as mathematics (needs the extra `math`) |
| auto | boxed; else hash, where a number follows; else number; else, without any number, text |

Anything else is a regular expression: the first group of its last match that took part, or the whole match, stripped. A
function of a text that returns a text or None is a rule as well. None means that there is no answer.

A number is written in one way: no thousands separators, no currency, no `%` (50% is 50), no zeros that say nothing (007.50
is 7.5), no exponent (1.5 \times 10^6 is 1500000), fractions as decimals (3/4 is 0.75) or in lowest terms (2/6 is 1/3). What
boxed and hash take is written so where it is a number as a whole, with its unit behind it (12 cm); else only the wrapping
is dropped. `equal` compares an answer with a right one. docs/answer-rules.md has all rules in tables.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable

from softllama.errors import UsageError
from softllama.generation import answer_letters, answer_math, answer_numbers
from softllama.generation.answer_text import equal, tidy

__all__ = [
    "RULES", "Rule", "auto", "boxed", "choice", "equal", "hash_mark", "math", "number", "rule", "same", "text",
]  # fmt: skip

Rule = Callable[[str], str | None]


def boxed(text: str) -> str | None:
    r"""What is in the last `\boxed{...}`; one whose braces do not match is passed over."""
    inside = _boxed(text)
    return None if inside is None else tidy(inside)


def _boxed(text: str) -> str | None:
    closing = _braces(text)
    for m in reversed(list(re.finditer(r"\\(?:boxed|fbox)(?![A-Za-z])\s*", text))):
        if text[m.end() : m.end() + 1] == "{":
            if m.end() in closing:
                return text[m.end() + 1 : closing[m.end()]]
        elif bare := re.compile(r"[^\s$]+").match(text, m.end()):
            return bare[0]
    return None


def hash_mark(text: str) -> str | None:
    """What follows the last `####` on its line: the number if it begins with one, else all of it."""
    _, found, after = text.rpartition("####")
    if not found:
        return None
    line = after.split("\n", 1)[0].strip().strip("*").strip()
    plain = answer_numbers.plain(line)
    m = answer_numbers.number_at(plain)
    if m and m.text is not None and not re.match(r"[-–/:^]\s?[0-9]", plain[m.end :]):
        return m.text
    return tidy(line)


def number(text: str) -> str | None:
    """The last number; None if there is none, or if it can be read in two ways (`1.234,50`)."""
    found = list(answer_numbers.numbers(answer_numbers.plain(text)))
    return found[-1].text if found else None


def choice(text: str) -> str | None:
    r"""A letter A to J, as a capital: in `\boxed{B}`, else as softllama.generation.answer_letters says."""
    inside = _boxed(text)
    return (answer_letters.letter_in_box(inside) if inside is not None else None) or answer_letters.letter(text)


def text(text: str) -> str | None:
    """The whole text, stripped."""
    return text.strip() or None


def auto(text: str) -> str | None:
    """boxed; else hash, where a number follows; else number; else, without any number, text."""
    after = hash_mark(text)
    if after is not None and number(after) != after:  # a heading, perhaps
        after = None
    found = boxed(text) or after
    if found:
        return found
    has_number = any(True for _ in answer_numbers.numbers(answer_numbers.plain(text)))
    return number(text) if has_number else text.strip() or None


def math(text: str) -> str | None:
    """What is in the last box, or follows the last ####; else the last expression that math-verify finds. Compared by it, too."""
    answer_math.require()
    return boxed(text) or hash_mark(text) or answer_math.expression(text)


def same(rule: str, answer: str, right: str) -> bool:
    """Is an answer that a rule took the right one? As `equal` says; with the rule math, also as mathematics."""
    return equal(answer, right) or (rule == MATH and answer_math.same(answer, right))


MATH = "math"
RULES: dict[str, Rule] = {
    "auto": auto, "boxed": boxed, "hash": hash_mark, "number": number, "choice": choice, "text": text,
}  # fmt: skip


def rule(given: str | re.Pattern[str] | Rule) -> Rule:
    """The rule of a name, a regular expression or a function.

    Raises UsageError for a regular expression that is none, and for a single word that is no rule's name.
    """
    if isinstance(given, str):
        if given == MATH:  # not among the others, as it needs a package
            answer_math.require()
            return math
        if given in RULES:
            return RULES[given]
        if re.fullmatch(r"\w*", given):
            near = difflib.get_close_matches(given, [*RULES, MATH], 1)
            names = f"use one of {', '.join([*RULES, MATH])}, or a regular expression"
            raise UsageError(f"{given!r} is no way to extract an answer", f"did you mean {near[0]}?" if near else names)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what an expression may mean in a Python to come
                given = re.compile(given)
        except (re.error, OverflowError, RecursionError) as e:
            raise UsageError(f"the regular expression {given!r} is wrong: {e}", 'such as "answer: (.*)"') from None
    if isinstance(given, re.Pattern):
        return _last_match(given)
    if not callable(given):
        raise UsageError(f"answers are extracted by a name, a regular expression or a function, not {given!r}")
    return _checked(given)


def _last_match(pattern: re.Pattern[str]) -> Rule:
    def find(text: str) -> str | None:
        found = list(pattern.finditer(text))
        if not found:
            return None
        groups = found[-1].groups() or (found[-1][0],)
        return next((g for g in groups if g is not None), "").strip() or None

    return find


def _checked(function: Rule) -> Rule:
    def find(text: str) -> str | None:
        answer = function(text)
        if answer is not None and not isinstance(answer, str):
            raise UsageError(f"a rule for answers returns a text or None, not {type(answer).__name__}")
        return answer

    return find


def _braces(text: str) -> dict[int, int]:
    """Where each brace that opens is closed, if it is; `\\{` and `\\}` do not count."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for m in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        if m[0] == "{":
            opened.append(m.start())
        elif m[0] == "}" and opened:
            pairs[opened.pop()] = m.start()
    return pairs
