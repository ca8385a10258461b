"""The `Moment` that a generation begins with: what only a vocabulary knows, for policies. Decides nothing."""

from __future__ import annotations

import numpy as np

from softllama.engine.engine import Engine
from softllama.policy import Moment
from softllama.prompts.thinking import Tags, encoded


def first_moment(model: Engine, tags: Tags | None, seed: int, *, thinking: bool, max_steps: int | None) -> Moment:
    """The moment before the first step.

    Args:
        tags: of the thinking block; None where there is none.
        thinking: does the prompt end inside a thinking block, or does the policy act everywhere?
        max_steps: the most steps there will be; None if unknown.
    """
    tokenizer = model.tokenizer
    close = (tags.end_ids or tags.close_ids) if tags else ()
    newline, blank = (encoded(tokenizer, t) for t in ("\n", "\n\n"))
    return Moment(
        np.random.default_rng(seed),
        thinking=thinking,
        max_steps=max_steps,
        think_open=tags.open_ids[0] if tags and len(tags.open_ids) == 1 else None,
        think_close=close[0] if len(close) == 1 else None,
        newline=newline[-1] if newline else None,
        blank_line=blank[0] if len(blank) == 1 else None,
        close_tag=close,
        answer_prefix=encoded(tokenizer, "\n\nThe final answer is") if tags else (),
        hard_only=tokenizer.math_ids,
    )
