"""Digits, letters and mathematics symbols, which SwiReasoning and SeLaR feed as single tokens: as texts, and as ids.

The authors of both take the same texts (arXiv 2510.05069, 2604.08299), and every token that one of them is written with: of
"\\frac", which is two tokens in most vocabularies, both count. Knows texts. `Tokenizer.math_ids` keeps the ids of a vocabulary.
"""

from __future__ import annotations

import string
from collections.abc import Callable

from softllama.errors import PromptError

SIGNS = tuple("+-*/^=<>()[]{}_|")
PAIRS = (r"\left(", r"\right)", r"\left[", r"\right]", r"\left\{", r"\right\}", r"\sqrt[]")
MATRICES = (r"\begin{pmatrix}", r"\end{pmatrix}")
COMMANDS = """
    alpha beta gamma delta epsilon zeta theta lambda mu nu pi
    sin cos tan cot cotg sec csc arcsin arccos arctan log ln exp lim min max arg deg gcd operatorname
    leq geq neq approx sim equiv to implies iff because therefore forall exists wedge vee neg
    in notin subset supset subseteq supseteq cup cap emptyset varnothing
    frac dfrac sqrt binom choose sum prod int infty circ prime ast star cdot dots ldots cdots vdots ddots
    triangle triangleleft triangleright perp parallel angle mid vert Vert left right lceil rceil lfloor rfloor
    overline underline boxed mathbb mathbf mathrm text mbox
""".split()  # noqa: SIM905 - a list literal would take a line for each
TEXTS = (*SIGNS, *PAIRS, *MATRICES, *("\\" + c for c in COMMANDS), *string.digits, *string.ascii_letters)


def ids_of(tokenize: Callable[[str], list[int]]) -> frozenset[int]:
    """The ids that the texts are written with; those that a vocabulary cannot write are left out.

    Args:
        tokenize: a text that goes on from other text, as ids.
    """
    found: set[int] = set()
    for text in TEXTS:
        try:
            found.update(tokenize(text))
        except PromptError:
            continue
    return frozenset(found)
