"""A token by its text. Knows texts and logits; does not know a vocabulary beyond the function that spells its ids."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from softllama.errors import SoftLlamaError


def find(text: str, logits: NDArray[np.float32], spell: Callable[[int], str] | None) -> int:
    """The most probable id with exactly this text, white space included.

    Args:
        text: of one token, such as " Paris".
        logits: (n_vocab,) of a distribution.
        spell: the text of an id.

    Raises:
        SoftLlamaError: no token has this text, or texts are not known. The hint names one that differs in white space only.
    """
    if spell is None:
        raise SoftLlamaError(f"the text {text!r} cannot be found: no vocabulary is known", "use the token's id")
    near = ""
    for i in np.argsort(-logits, kind="stable").tolist():  # a text that is asked for is mostly a likely one
        shown = spell(i)
        if shown == text:
            return int(i)
        if not near and shown.strip() and shown.strip() == text.strip():
            near = shown
    hint = f"did you mean {near!r}?" if near else "model.tokenize(text) shows the tokens of a text"
    raise SoftLlamaError(f"no single token reads {text!r}", hint)
