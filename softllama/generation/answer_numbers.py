r"""Numbers in texts: which there are, and their value. Knows no rule for answers, and no model.

A number that can be read in two ways is found, but has no value: `1.234,50`, `3,14`, `1,23,456`, `12 000`, `10:30`, `1/2/2024`,
`10–20` with an en dash, `±3`, `5k`, `2x`, `2^3`, `3\sqrt{2}`. docs/answer-rules.md has the table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

LONGEST = 300  # digits of a number; more are no number but noise
NO_VALUE = "\ufdd0"  # stands for what has no value that could be read here, such as \sqrt{2}
SLASH = "\u2044"  # the fraction slash: stands for \frac
MINUS = "\\-\u2212\u2013\u2014\u2010\u2011\u2012\ufe63\uff0d"  # hyphen, minus, en dash, em dash and their relatives
SPACES = "\u00a0\u202f\u2009"  # between groups of three digits
_VULGAR = {c: f"{int(n)}{SLASH}{int(d)}" for c, n, d in (
    (c, *unicodedata.normalize("NFKC", c).split(SLASH)) for c in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
)}  # fmt: skip
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SCALES = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "万": 10**4,
    "萬": 10**4, "亿": 10**8, "億": 10**8,
}  # fmt: skip

_RUN = rf"(?:[0-9]+(?:[.,'’_{SPACES}][0-9]+)*|(?<![0-9])\.[0-9]+(?:[.,][0-9]+)*)"
_PLAIN = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+")
_GROUPED = re.compile(rf"[1-9][0-9]{{0,2}}([,'’_{SPACES}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:\.[0-9]+)?")
_NUMBER = re.compile(
    rf"""
    (?P<either>(?:±|\\pm|\\mp|\+/-)\s*)?
    (?P<sign>(?<![0-9A-Za-z_)\]}}^])(?<!\^\{{)[-+{MINUS}])?
    (?:(?:\\?\$|[€£¥₹₩₽])\s?(?P<inner>[{MINUS}])?)?
    (?<![0-9A-Za-z_^{NO_VALUE}])(?<![0-9][.,])(?<!\^\{{)(?<!_\{{)(?<!\^-)(?<!\^\{{-)
    (?:(?P<mixed>[0-9]+)\s(?=[0-9]+[/{SLASH}][0-9]))?
    (?P<run>{_RUN})
    (?P<exponent>[eE][-+\u2212]?[0-9]+(?![0-9A-Za-z]))?
    (?:\s*(?:\\times|\\cdot|[×x*·⋅])\s*10\s*(?:\^|\*\*)\s*\{{?\s*(?P<ten>[-+\u2212]?[0-9]+)\s*\}}?)?
    (?:\s?[/{SLASH}]\s?(?P<below>{_RUN})(?![A-Za-z0-9_]))?
    (?:(?:\s*\\text\{{|\s)?\s*(?P<scale>(?i:(?:hundred|thousand|million|billion|trillion)(?:s|en)?)\b|[万萬亿億]))?
    (?P<power>(?:\s?\^\s?|\*\*)\{{?[-+]?[0-9]+\}}?)?
    (?P<unclear>
        \s?[/:]\s?[0-9] | (?<![0-9]{{4}})(?:[ ][0-9]{{3}}(?![0-9]))+ | \s?[\u2012\u2013]\s?[0-9] | -[0-9]+-[0-9]
        | [kKMB](?![A-Za-z]) | (?:bn|mn)\b | [xyzni](?![A-Za-z]) | \s*{NO_VALUE} | _[0-9] | [eE][-+]?[0-9] | \\overline | \\dot
    )?
    """,
    re.VERBOSE,
)
_MATH = r"(?:\\left|\\right|\\displaystyle)(?![A-Za-z])"
_FRACTION = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|([0-9a-z]))\s*(?:\{([^{}]*)\}|([0-9a-z]))")
_ROOT = re.compile(r"\\sqrt\s*(?:\[[^\[\]]*\])?\s*(?:\{[^{}]*\}|[0-9a-z])")
_WHOLE = re.compile(rf"\s*([-\u2212]?)\s*({_RUN})\s*")


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number in a text.

    Attributes:
        start, end: Where it is in the text that `numbers` was given after `plain`.
        value: None if it can be read in two ways.
    """

    start: int
    end: int
    value: Fraction | None

    @property
    def text(self) -> str | None:
        """The value in the one way in which it is written; None if there is none."""
        return None if self.value is None else written(self.value)


def plain(text: str) -> str:
    r"""The text with one way of writing for what is written in several.

    Digits of other scripts and wide ones, `1{,}234`, `\frac{1}{2}`, ½, 10⁶, √2. What has no value becomes one mark.
    """
    text = re.sub(r"[^\W0-9]", _digit, text) if not text.isascii() else text
    if not text.isascii():
        text = text.replace("，", ", ").replace("．", ".").replace("％", "%").replace("٬", ",").replace("٫", ".")
        text = re.sub(r"([0-9]?)([¼½¾⅐⅑⅒⅓-⅞])", lambda m: f"{m[1] and m[1] + ' '}{_VULGAR[m[2]]}", text)
        text = re.sub(
            "[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+",
            lambda m: "^{" + m[0].translate(_SUPERSCRIPT) + "}",
            text,
        )
        text = re.sub("√[0-9]*|π", NO_VALUE, text)
    text = re.sub(  # with a currency before them, groups with plain spaces are one number
        r"([$€£¥]\s?[1-9][0-9]{0,2})((?: [0-9]{3})+)(?![0-9])", lambda m: m[1] + m[2].replace(" ", SPACES[1]), text
    )
    if "\\" not in text and "{,}" not in text:
        return text
    text = re.sub(r"\{,\}|,\\!|\\[,;: ](?=[0-9]{3}(?![0-9]))|~(?=[0-9]{3}(?![0-9]))", ",", text)
    text = re.sub(_MATH, "", text)
    for _ in range(8):  # the innermost first
        text, n = _ROOT.subn(NO_VALUE, text)
        text, m = _FRACTION.subn(_ratio, text)
        if not n and not m:
            break
    return re.sub(r"\\(?:sqrt|[dtc]?frac|pi|infty)(?![A-Za-z])", NO_VALUE, text)


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a text that `plain` has returned, in their order."""
    for m in _NUMBER.finditer(text):
        yield _number(text, m)


def number_at(text: str, start: int = 0) -> Number | None:
    """The number that begins there, if one does."""
    m = _NUMBER.match(text, start)
    return _number(text, m) if m else None


def written(value: Fraction) -> str:
    """A value in the one way in which it is written: `18`, `-0.5`, and `1/3` where decimals would have no end."""
    d, twos, fives = value.denominator, 0, 0
    while d % 2 == 0:
        d, twos = d // 2, twos + 1
    while d % 5 == 0:
        d, fives = d // 5, fives + 1
    if d > 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else sign + digits


def _number(text: str, m: re.Match[str]) -> Number:
    return Number(start=m.start(), end=m.end(), value=_value(text, m))


def _value(text: str, m: re.Match[str]) -> Fraction | None:
    if m["either"] or m["unclear"] or (m["power"] and m["run"] != "10"):
        return None
    if "." in m["run"] and text.startswith(("...", "…", "\\ldots", "\\dots"), m.end()):
        return None
    sign = _sign(text, m)
    value = _run(m["run"])
    if sign is None or value is None:
        return None
    for exponent in (m["exponent"] and m["exponent"][1:], m["ten"]):
        if exponent:
            n = int(exponent.replace("\u2212", "-")) if len(exponent) < 5 else 999
            if abs(n) > 99:
                return None
            value *= Fraction(10) ** n
    if m["power"]:
        n = int(re.sub(r"[\s^*{}]", "", m["power"])[:6])
        if m["ten"] or m["exponent"] or abs(n) > 99:
            return None
        value = Fraction(10) ** n
    if m["below"]:
        below = _run(m["below"])
        if not below:
            return None
        value /= below
        if m["mixed"]:
            if value >= 1:
                return None
            value += int(m["mixed"][:LONGEST])
    if m["scale"]:
        value *= next(n for word, n in _SCALES.items() if m["scale"].lower().startswith(word))
    return sign * value


def _sign(text: str, m: re.Match[str]) -> int | None:
    """1 or -1; None where a dash and a space stand before the number, and it may be a minus or not."""
    if (m["sign"] or "+") != "+" or m["inner"]:
        return 1 if (m["sign"] or "+") != "+" and m["inner"] else -1
    before = re.search(rf"(\S?)\s*([{MINUS}])\s+(?:\\?\$|[€£¥₹₩₽])?$", text[max(0, m.start() - 20) : m.start("run")])
    if m["sign"] or not before or re.match(r"[0-9)\]}%]", before[1]):
        return 1
    if before[1] in "=" and before[1]:
        return -1
    if before[1].isalpha():
        word = re.search(rf"([A-Za-z]*)\s*[{MINUS}]\s+\S*$", text[max(0, m.start() - 20) : m.start("run")])
        if before[2] == "\u2212":
            return -1 if word and len(word[1]) > 1 else 1
        return 1 if before[2] == "\u2014" or (word and len(word[1]) == 1) else None
    return None


def _run(run: str) -> Fraction | None:
    if len(run) > LONGEST or not (_PLAIN.fullmatch(run) or _GROUPED.fullmatch(run)):
        return None
    return Fraction(Decimal(re.sub("[^0-9.]", "", run)))


def _digit(m: re.Match[str]) -> str:
    return str(unicodedata.decimal(m[0], m[0]))


def _ratio(m: re.Match[str]) -> str:
    r"""\frac with two numbers as `a⁄b`, with a space where a whole number is before it; another as a mark."""
    above, below = (_WHOLE.fullmatch(a or b or "") for a, b in ((m[1], m[2]), (m[3], m[4])))
    if not above or not below or below[1]:
        return NO_VALUE
    before = m.string[m.start() - 1 : m.start()]
    return f"{' ' if before.isdigit() else ''}{above[1]}{above[2]}{SLASH}{below[2]}"
