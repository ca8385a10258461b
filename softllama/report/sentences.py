"""Estimates and comparisons as parts of sentences. Knows no report."""

from __future__ import annotations

import math

from softllama.vectors.statistics import FEWEST, POWER, Estimate, Paired

ALPHA = 0.05


def share(e: Estimate) -> str:
    """ "12.3 % [10.1, 14.9]": a share with its interval."""
    if math.isnan(e.value):
        return "unknown (no cases)"
    return f"{100 * e.value:.1f} %{_ends(100 * e.low, 100 * e.high, 1)}"


def value(e: Estimate, digits: int = 3) -> str:
    """ "0.512 [0.480, 0.544]"."""
    return "unknown (no cases)" if math.isnan(e.value) else f"{e.value:.{digits}f}{_ends(e.low, e.high, digits)}"


def _ends(low: float, high: float, digits: int) -> str:
    return "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"


def unclear(e: Estimate) -> str:
    """What there is to say about a difference that is not clear: none was seen, or there are too few cases."""
    return "no difference seen" if e.enough else f"too few cases (n = {e.n}, fewer than {FEWEST}) to see a difference"


def verdict(r: Paired, p: float | None = None, more: str = "more", fewer: str = "fewer") -> str:
    """A paired comparison of two shares in a word or two. p: after a correction; r.p if None."""
    if not r.difference.enough or (r.p if p is None else p) >= ALPHA:
        return unclear(r.difference)
    return more if r.difference.value > 0 else fewer


def versus(first: str, second: str, r: Paired, p: float | None = None) -> str:
    """A sentence about a paired comparison of two shares. p: after a correction; r.p if None.

    It speaks of a difference only where the test finds one at 0.05 in FEWEST problems or more. Where it does not, it says
    what difference would have been found.
    """
    p = r.p if p is None else p
    d = r.difference
    if not d.enough:
        return f"too few problems to compare {first} with {second} (n = {d.n}, fewer than {FEWEST}; {_points(d, 1)})"
    if p >= ALPHA:
        return (
            f"no difference seen between {first} and {second} ({first} minus {second}: {_points(d, 1)}, {p_text(p)}, n = {d.n}, "
            f"{power(r)})"
        )
    if d.value < 0:
        first, second = second, first
    return f"{first} solves more than {second} ({_points(d, 1 if d.value > 0 else -1)}, {p_text(p)}, n = {d.n})"


def power(r: Paired) -> str:
    """ "80 % power for 4.1 points": the difference that would have been found."""
    if math.isnan(r.detectable):
        return f"less than {100 * POWER:.0f} % power for any difference"
    return f"{100 * POWER:.0f} % power for {100 * r.detectable:.1f} points"


def points(d: Estimate) -> str:
    """ "+1.2 points [0.3, 2.1]": a difference of two shares."""
    return "unknown (no cases)" if math.isnan(d.value) else _points(d, 1)


def _points(d: Estimate, sign: int) -> str:
    low, high = sorted((100 * sign * d.low, 100 * sign * d.high))
    return f"{100 * sign * d.value:+.1f} points{_ends(low, high, 1)}"


def p_text(p: float) -> str:
    """ "p = 0.03", or "p < 0.0001"."""
    return f"p {significant(p)}" if p < 1e-4 else f"p = {significant(p)}"


def significant(p: float) -> str:
    """A p value in a few characters."""
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"
