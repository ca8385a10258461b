"""How much work this process has done: a number that grows while it works, for whoever shows that it does.

One for the whole process, as a progress bar need not know which of several models is at work.
"""

from __future__ import annotations


class Meter:
    """A number that only grows. total: what was added so far. Exact as long as one thread adds."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, n: int) -> None:
        """Add n to the total."""
        self.total += n


evaluated = Meter()  # positions that llama.cpp has evaluated, prompts included, in all contexts
