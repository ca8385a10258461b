r"""The answer in a text, by stated rules, as voting and evaluation compare it. Knows texts only, no models.

| rule | takes |
|---|---|
| boxed | what is in the last `\boxed{...}` or `\fbox{...}` with matching braces, or the word after a bare `\boxed` |
| hash | what follows the last `####` on its line: the number if it begins with one, else all of it |
| number | the last number |
| choice | a letter A to J, see `choice` |
| text | the whole text, stripped |
| auto | boxed; else hash, where a number follows; else number; else text |

Anything else is a regular expression: the first group of its last match that took part, or the whole match, stripped. A
function of a text that returns a text or None is a rule as well. None means that there is no answer.

A number is `5`, `-5`, `1,234`, `3.14`, `.5`, `1.5e3`; a minus sign counts where no digit, letter or closing bracket is
before it (so `10-5` ends in 5). Numbers are written in one way: no thousands separators, no `$`, no `%` (50% is 50), no
zeros that say nothing (007.50 is 7.5), no exponent. `3/4` is the two numbers 3 and 4; digits after a letter (H2O) are part
of a word. What boxed and hash take is written so where it is a number as a whole; else only the spaces around it, `$`
around it, `\text{...}` around it and a period at its end are dropped.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Callable
from decimal import Decimal

from softllama.errors import UsageError

Rule = Callable[[str], str | None]

_NUMBER = re.compile(
    r"(?P<sign>(?<![0-9A-Za-z_)\]}])[-+\u2212])?(?:\\?\$\s?(?P<inner>[-\u2212])?)?(?<![0-9A-Za-z_])(?<![0-9]\.)"
    r"(?P<digits>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"(?P<exponent>[eE][-+]?[0-9]{1,2}(?![0-9A-Za-z]))?"
)
_LATEX_COMMA = re.compile(r"\{,\}|,\\!|\\,(?=[0-9]{3})")  # thousands separators as LaTeX writes them
_WRAP = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}")
_ANSWER = r"(?i:\b{}\b)(?i:\s+is\b)?\s*[:=]?\s*"  # "answer is ", "answer: "
_LETTERS = (  # a small letter must be in brackets or end its line: "the answer is a dog"
    r"(?:\*\*)?\(?([A-J])(?![\w'])",
    r"(?:\*\*)?\(?([a-j])(?=\)|\.?\s*(?:\n|$))",
)


def boxed(text: str) -> str | None:
    r"""What is in the last `\boxed{...}`; one whose braces do not match is passed over."""
    closing = _braces(text)
    for m in reversed(list(re.finditer(r"\\(?:boxed|fbox)(?![A-Za-z])\s*", text))):
        if text[m.end() : m.end() + 1] == "{":
            if m.end() in closing:
                return _tidy(text[m.end() + 1 : closing[m.end()]])
        elif bare := re.compile(r"[^\s$]+").match(text, m.end()):
            return _tidy(bare[0])
    return None


def hash_mark(text: str) -> str | None:
    """What follows the last `####` on its line: the number if it begins with one, else all of it."""
    _, found, after = text.rpartition("####")
    if not found:
        return None
    line = after.split("\n", 1)[0].strip()
    m = _NUMBER.match(_LATEX_COMMA.sub(_comma, line))
    return _written(m) if m else _tidy(line)


def number(text: str) -> str | None:
    """The last number."""
    found = list(_NUMBER.finditer(_LATEX_COMMA.sub(_comma, text)))
    return _written(found[-1]) if found else None


def choice(text: str) -> str | None:
    r"""A letter A to J, as a capital. The first of these that there is:

    `\boxed{B}`; the last "answer is B", "answer: (b)"; the last "option B", "choice B"; a letter that begins the text
    ("B.", "(B) because", "b)", or alone); the last "(B)"; the last capital that stands alone, A and I (words) left out.
    """
    inside = boxed(text)
    if inside and (m := re.fullmatch(r"\(?([A-Ja-j])\)?", inside)):
        return m[1].upper()
    for word in ("answer", "(?:option|choice)"):
        for letter in _LETTERS:
            if found := re.findall(_ANSWER.format(word) + letter, text):
                return str(found[-1]).upper()
    if m := re.match(r"[\s*]*(?:\(([A-Ja-j])\)|([A-Ja-j])(?:[.:)]|[\s*]*$))", text):
        return (m[1] or m[2]).upper()
    if found := re.findall(r"\(([A-Ja-j])\)", text):
        return str(found[-1]).upper()
    if found := re.findall(r"(?<![\w'])([B-HJ])(?![\w'])", text):
        return str(found[-1])
    return None


def text(text: str) -> str | None:
    """The whole text, stripped."""
    return text.strip() or None


def auto(text: str) -> str | None:
    """boxed; else hash, where a number follows; else number; else text."""
    after = hash_mark(text)
    if after is not None and number(after) != after:  # a heading, perhaps
        after = None
    return boxed(text) or after or number(text) or text.strip() or None


RULES: dict[str, Rule] = {
    "auto": auto, "boxed": boxed, "hash": hash_mark, "number": number, "choice": choice, "text": text,
}  # fmt: skip


def rule(given: str | re.Pattern[str] | Rule) -> Rule:
    """The rule of a name, a regular expression or a function.

    Raises UsageError for a regular expression that is none, and for a single word that is no rule's name.
    """
    if isinstance(given, str):
        if given in RULES:
            return RULES[given]
        if re.fullmatch(r"\w*", given):
            near = difflib.get_close_matches(given, RULES, 1)
            names = f"use one of {', '.join(RULES)}, or a regular expression"
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


def _comma(m: re.Match[str]) -> str:
    return ","


def _tidy(text: str) -> str | None:
    """The written form of a number; else the text without what is only wrapping."""
    before = None
    while text != before:
        before = text
        text = text.strip()
        if m := _WRAP.fullmatch(text):
            text = m[1]
        if len(text) > 1 and text[0] == text[-1] == "$":
            text = text[1:-1]
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
    plain = _LATEX_COMMA.sub(_comma, text)
    m = _NUMBER.match(plain)
    if m and re.fullmatch(r"\s*\\?%?", plain[m.end() :]):
        return _written(m)
    return text or None


def _written(m: re.Match[str]) -> str:
    value = Decimal(m["digits"].replace(",", "") + (m["exponent"] or ""))
    digits = format(value, "f")
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    negative = (m["sign"] not in (None, "+")) != (m["inner"] is not None)
    return "-" + digits if negative and value else digits
