"""What the study of thinking compares: pairs of bundled models, their held-out problems, and the ways of decoding.

Knows names and settings. Does not ask a model anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from softllama.errors import ModelError, UsageError
from softllama.evaluate import data
from softllama.hub import bundled

SAMPLES = 4
_DRAWN = "temperature=0.6,top_k=30,top_p=0.95"  # the defaults of the random soft methods, so that sampling matches them
WAYS = {  # name -> as text; the order of the tables
    "greedy": "greedy",
    "sampling": f"sample:{_DRAWN}",
    "Cold Stop alone": "cold_stop",
    "whole vector": "full",
    "soft thinking": "soft_thinking:answer=greedy",
    "gumbel": "gumbel",
    "random mixture": "random_mix:answer=greedy",
    "plain mean": "top_mean:answer=greedy",
    f"majority of {SAMPLES} sampled": f"vote:samples={SAMPLES},policy=sample({_DRAWN})",
    f"majority of {SAMPLES} gumbel": f"vote:samples={SAMPLES},policy=gumbel",
    f"beam search, {SAMPLES}": f"beam:beams={SAMPLES}",
}
DISCRETE, SOFT = "greedy", "whole vector"
COMPARED = (  # first minus second; at equal cost
    (SOFT, DISCRETE),
    ("soft thinking", DISCRETE),
    ("gumbel", "sampling"),
    ("Cold Stop alone", "sampling"),
    (SOFT, "random mixture"),
    (f"majority of {SAMPLES} gumbel", f"majority of {SAMPLES} sampled"),
)


@dataclass(frozen=True)
class Pair:
    """A task with two models: the same network trained on tokens and on mixtures.

    Attributes:
        name: What --pair takes.
        title: The task, in words.
        discrete, soft: Names of the models, as for -m.
        max_tokens: Positions for a problem.
    """

    name: str
    title: str
    discrete: str
    soft: str
    max_tokens: int


PAIRS = {
    "sums": Pair("sums", "minimum non-negative sums", "bundled:sums", "bundled:sums-soft", 24),
    "words": Pair("words", "questions about a small world", "bundled:words", "bundled:words-mixed", 96),
}


def problems(pair: Pair, limit: int | None = None) -> data.Dataset:
    """The held-out problems of a pair; the first `limit` of them."""
    return data.load(Path(str(files("softllama.study") / "data" / f"{pair.name}.jsonl")), limit)


def available(names: Sequence[str] | None = None) -> list[Pair]:
    """The pairs whose models are installed.

    Args:
        names: Of some pairs. None or (): all.

    Raises:
        UsageError: There is no pair of that name.
        ModelError: No pair is installed.
    """
    for n in names or ():
        if n not in PAIRS:
            raise UsageError(f"there is no pair {n!r}", f"there are {', '.join(PAIRS)}")
    models = {f"bundled:{n}" for n in bundled.names()}
    pairs = [p for p in PAIRS.values() if (not names or p.name in names) and {p.discrete, p.soft} <= models]
    if not pairs:
        raise ModelError(
            "the bundled pairs are not in this installation", "softllama eval compares policies on any model"
        )
    return pairs
