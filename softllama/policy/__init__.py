"""Decoding policies: from a distribution, and what a sequence remembers, to what is fed next. No model is needed.

`policy(distribution, moment) -> Decision`. A policy holds only its settings: what it remembers of a sequence is in the
sequence's `Moment`, so that one policy may serve many sequences. Knows vectors. Does not know models or the loop.

    base      Decision, Moment, Policy, as_policy
    filters   temperature, top-k, top-p, min-p, repetition penalty
    discrete  greedy, sample, cold_stop
    soft      full, soft_thinking, gumbel, dirichlet, soft_noise
    controls  random_mix, top_mean
    hidden    hidden
    route     route
    sampled   moi, selar, multiplex
    swir      swir
    external  policies of files and of installed packages
    registry  the decorator `@policy`, which checks settings and lists policies
    text      parse, describe, names
"""

from softllama.policy.base import Decision, Moment, Policy, Rule, Where, as_policy
from softllama.policy.controls import random_mix, top_mean
from softllama.policy.discrete import cold_stop, greedy, sample
from softllama.policy.external import load_files
from softllama.policy.hidden import hidden
from softllama.policy.registry import Range
from softllama.policy.route import route
from softllama.policy.sampled import moi, multiplex, selar
from softllama.policy.soft import dirichlet, full, gumbel, soft_noise, soft_thinking
from softllama.policy.swir import swir
from softllama.policy.text import describe, names, parse

__all__ = [
    "Decision",
    "Moment",
    "Policy",
    "Range",
    "Rule",
    "Where",
    "as_policy",
    "cold_stop",
    "describe",
    "dirichlet",
    "full",
    "greedy",
    "gumbel",
    "hidden",
    "load_files",
    "moi",
    "multiplex",
    "names",
    "parse",
    "random_mix",
    "route",
    "sample",
    "selar",
    "soft_noise",
    "soft_thinking",
    "swir",
    "top_mean",
]
