r"""Answers without their wrapping, and when two are equal. Knows texts and numbers. Knows no rule that finds an answer.

Both sides of a comparison are treated alike, so `\$32,\!348` is `32348`, `\text{Evelyn}` is `Evelyn`, and `(C)` is `C`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from softllama.generation import answer_numbers

_WRAP = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|boxed|fbox|mbox)\s*\{((?:[^{}\\]|\\.)*)\}", re.DOTALL
)
_AROUND = ((r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("$", "$"), ("`", "`"))
_UNITS = (  # units that are compared: each line has the ways of writing one; a plural's s is dropped first
    "% percent", "° degree deg", "mm millimeter millimetre", "cm centimeter centimetre", "m meter metre",
    "km kilometer kilometre", "in inch inche", "ft foot feet", "yd yard", "mi mile", "g gram", "kg kilogram", "lb pound",
    "oz ounce", "ml mL milliliter millilitre", "l L liter litre", "s sec second", "min minute", "h hr hour", "day", "week",
    "month", "year yr", "$ dollar usd", "¢ cent", "€ euro eur", "£", "am", "pm", "bc", "ad", "mph", "Hz", "J", "N", "W", "V",
    "K", "Pa", "C", "F", "mol",
)  # fmt: skip
_MEASURES = {word: line.split()[0] for line in _UNITS for word in line.split()}
_NO_UNITS = re.compile(
    r"\b(?:or|and|to|plus|minus|times|pi|is|if|when|mod|over|than|per|then|but|not)\b", re.IGNORECASE
)
_WORD = r"[A-Za-z$€£¢°%]+"
_UNIT = re.compile(rf"({_WORD})((?:\^?\{{?[23]\}}?|²|³)?)(?:\s?(?:/|per )\s?({_WORD})((?:\^?\{{?[23]\}}?|²|³)?))?")


@dataclass(frozen=True)
class _Quantity:
    """A number with what stands behind it. unit: the text; measure: in one way of writing, "" for what is no measure."""

    number: Fraction
    unit: str
    measure: str

    def values(self) -> set[Fraction]:
        """The number; of a percentage its hundredth as well."""
        return {self.number, self.number / 100} if self.measure == "%" else {self.number}


def tidy(text: str) -> str | None:
    """The written form of a number, with its unit if it has one; else the text without what is only wrapping."""
    text = unwrap(text)
    q = _quantity(text)
    if q is None:
        return text or None
    return answer_numbers.written(q.number) + (f" {q.unit}" if q.unit and q.measure != "%" else "")


def unwrap(text: str) -> str:
    r"""Without spaces, `$`, `**`, `\text{...}` around it and a period at its end."""
    before = None
    while text != before:
        before = text
        text = text.strip()
        if m := _WRAP.fullmatch(text):
            text = m[1]
        for opening, closing in _AROUND:
            inner = text[len(opening) : len(text) - len(closing)]
            if inner and text.startswith(opening) and text.endswith(closing) and opening not in inner:
                text = inner
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1]
    return text


def equal(answer: str, right: str) -> bool:
    """Are two answers the same: the same number, with units that do not differ, or the same text without its wrapping?

    10% is 10 and 0.1. A unit that only one of them has is not compared; 3 cm is not 3 m. `x = 3` is 3. Texts are compared
    with their capitals.
    """
    a, b = (_quantity(_right_side(unwrap(x))) for x in (answer, right))
    if a and b:
        units_differ = bool(a.measure and b.measure and a.measure != b.measure)
        return not units_differ and bool(a.values() & b.values())
    return _text_key(answer) == _text_key(right)


def _right_side(text: str) -> str:
    return re.sub(r"^[A-Za-z]\s*=\s*", "", text)


def _quantity(text: str) -> _Quantity | None:
    """A text that is a number as a whole, or one with a unit; else None."""
    plain = answer_numbers.plain(text.strip())
    m = answer_numbers.number_at(plain)
    if m is None or m.value is None:
        return None
    rest = plain[m.end :]
    unit = _unit(rest)
    if unit is None:
        return None
    currency = re.search(r"[$€£]", plain[: m.end])
    return _Quantity(m.value, unit, _measure(unit) or (currency[0] if currency else ""))


def _unit(rest: str) -> str | None:
    """What stands behind a number, if it may be a unit: "" for nothing, None if it is something else."""
    free = bool(re.match(r"\s|\\|~", rest))  # 5 m and 5\text{m} are metres, 5m may be a product
    text = re.sub(r"\^\s*\{?\\circ\}?|\\degree", "°", rest)
    text = re.sub(r"\\[,;:! ]|~", " ", text.replace("\\%", "%").replace("\\$", "$"))
    while (inner := _WRAP.sub(r"\1", text)) != text:
        text = inner
    text = " ".join(text.split()).rstrip(".")
    if not text:
        return ""
    if m := _UNIT.fullmatch(text):
        words = [w for w in (m[1], m[3]) if w]
        known = all(_one(w) in _MEASURES for w in words)
        if known and (free or len(m[1]) > 1 or not m[1].isalpha()):
            return text
    words = text.replace("'", "").replace("-", " ").split()
    plausible = len(words) <= 3 and all(w.isalpha() and len(w) > 1 for w in words)
    return text if free and plausible and not _NO_UNITS.search(text) else None


def _one(word: str) -> str:
    """A word in the singular, if it is in the table so."""
    for form in (word, word.lower(), word.lower().removesuffix("s")):
        if form in _MEASURES:
            return form
    return word


def _measure(unit: str) -> str:
    """A unit that is in the table, in one way of writing, with its powers; else ""."""
    text = re.sub(r"^(square|cubic) (\w+)$", lambda m: f"{m[2]}^{2 if m[1] == 'square' else 3}", unit)
    m = _UNIT.fullmatch(text)
    if not m or any(_one(w) not in _MEASURES for w in (m[1], m[3]) if w):
        return ""
    powers = [p.translate(str.maketrans("²³", "23", "^{}")) for p in (m[2] or "", m[4] or "")]
    below = f"/{_MEASURES[_one(m[3])]}{powers[1]}" if m[3] else ""
    return _MEASURES[_one(m[1])] + powers[0] + below


def _text_key(text: str) -> str:
    r"""A text in one way of writing: without `\text`, `\left`, `$`, and spaces that say nothing."""
    text = _right_side(unwrap(text))
    while (inner := _WRAP.sub(r"\1", text)) != text:
        text = inner
    text = re.sub(r"\\(?:left|right|displaystyle)(?![A-Za-z])|\\[,!;:]|(?<!\\)\$", "", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text.replace("\\$", "$").replace("\\%", "%").replace("\\ ", " "))
    text = re.sub(r"\\frac\s*([0-9a-z])\s*([0-9a-z])(?![0-9])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*([0-9a-z])", r"\\sqrt{\1}", text)
    text = re.sub(r"([\^_])\{([0-9A-Za-z])\}", r"\1\2", re.sub(r"\^\{?\\circ\}?", "°", text))
    if m := re.fullmatch(r"\(?([A-Ja-j])[.)]?", text.strip()):  # (C) is C
        return m[1]
    return re.sub(r"\s*([^\w\s])\s*", r"\1", " ".join(text.split())).rstrip(".")
