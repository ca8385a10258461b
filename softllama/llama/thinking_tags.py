"""The pairs of tags that models put around their thinking.

Knows the pairs. Does not know models: callers hand in the text of a chat template, and which texts are tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

KNOWN = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3, QwQ, and the bundled models
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|channel|>analysis<|message|>", "<|end|>"),  # gpt-oss
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
    ("<thought>", "</thought>"),
)


def known(template: str, single: Callable[[Iterable[str]], set[str]]) -> tuple[str, str] | None:
    """The first known pair that a template holds, else the first whose tags are tokens.

    Args:
        template: the text of a chat template.
        single: returns which of some texts are single tokens.
    """
    for pair in KNOWN:
        if all(tag in template for tag in pair):
            return pair
    tokens = single({tag for pair in KNOWN for tag in pair})
    return next((pair for pair in KNOWN if tokens.issuperset(pair)), None)
