"""The baselines that spend more than one pass: beam search, self-consistency, best of n. They say what they cost.

Puts generations, contexts and extraction rules together. Knows no formula of soft decoding.
"""

from softllama.generation.beams import BeamResult, Hypothesis, beam
from softllama.generation.samples import (
    BestResult,
    Samples,
    VoteResult,
    best_of,
    likelihood,
    sample,
    seeds,
    self_consistency,
    vote,
)

__all__ = [
    "BeamResult", "BestResult", "Hypothesis", "Samples", "VoteResult", "beam", "best_of", "likelihood", "sample", "seeds",
    "self_consistency", "vote",
]  # fmt: skip
