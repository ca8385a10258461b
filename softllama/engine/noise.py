"""The noise floor of a model: copies of one prompt whose row is moved by 1e-5 of its size, and how far their outputs are apart.

Measured once per file, device and build of llama.cpp, and remembered. Knows an engine. Does not know what is compared to it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from softllama.base import cache
from softllama.engine import branches
from softllama.engine.calibration import key_of
from softllama.engine.engine import Engine
from softllama.errors import SoftLlamaError
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.vector import Vector

FORMAT = 1  # raised when the procedure changes, so that what was remembered is measured again
COPIES = branches.BRANCHES  # of each prompt: one batch
RELATIVE = 1e-5  # of the row's root mean square: enough to roll every rounding anew, and nothing in exact arithmetic
LIKELIEST, LEAST = 20, 0.01  # tokens whose log-odds are compared: at most so many, of at least this probability
PROMPTS = (("The capital of", " France", " is the city of"), ("Once upon a time, the", " dog", " went to the"))
SHOWN_JS, SHOWN_LOG_ODDS = 2e-5, 4e-3  # below both, JS of four digits and p of three show nothing: no floor

logger = logging.getLogger(__name__)


def floor(model: Engine) -> NoiseFloor:
    """Measure a model's noise floor, or recall it."""
    if model.noise_floor is None:
        model.noise_floor = _remembered(model)
    return model.noise_floor


def _remembered(model: Engine) -> NoiseFloor:
    key = key_of(model._weights, " ".join([f"noise {FORMAT}", *_adapters(model)]))
    known = cache.load("noise", key)
    if isinstance(known, dict):
        try:
            return NoiseFloor(**known)
        except TypeError:
            logger.debug("%s: the remembered noise floor is of another version", model.name)
    result = measure(model)
    cache.store("noise", key, asdict(result))
    logger.info("%s: JS up to %.2g from rounding alone", model.name, result.js)
    return result


def _adapters(model: Engine) -> list[str]:
    """What tells the adapters apart: unlike a calibration, the floor depends on those of other matrices, too."""
    return [f"{a['sha256']} {a['scale']}" for a in model.adapters]


def perturbed(model: Engine, item: Mixture | Vector, copy: int) -> Mixture | Vector:
    """A mixture or vector whose row is moved by 1e-5 of its size; copy 0 is itself. The same copy always moves alike."""
    if copy == 0:
        return item
    if isinstance(item, Vector):
        size = RELATIVE * float(np.sqrt(np.mean(np.square(item.values, dtype=np.float64))))
        moved = item.values + size * np.random.default_rng(copy).standard_normal(item.values.shape)
        return Vector(moved, scale=item.scale, mixture=item.mixture, added=item.added)
    row = model.embed(item)  # (n_embd,)
    size = RELATIVE * float(np.sqrt(np.mean(np.square(row, dtype=np.float64))))
    values = (size * np.random.default_rng(copy).standard_normal(len(row))).astype(np.float32)
    return Vector(values, scale="table", mixture=item, added=True)


def measure(model: Engine) -> NoiseFloor:
    """Measure the floor: two prompts, each with `COPIES` copies of a row in one batch."""
    groups = []
    for before, word, after in _prompts(model):
        fills = [perturbed(model, Mixture.one_hot(word), i) for i in range(COPIES)]
        try:
            groups.append([b.next for b in branches.run(model, before, [[f, *after] for f in fills])])
        except SoftLlamaError as e:  # a context of a few positions, or NaN: what is asked for next will say so
            logger.debug("%s: no noise floor: %s", model.name, e.message)
    return of_copies(groups) if groups else NO_NOISE


def of_copies(groups: Sequence[Sequence[Distribution]]) -> NoiseFloor:
    """The floor from distributions that would be equal without rounding.

    Args:
        groups: for each prompt the distributions of its copies, two or more.
    """
    js, logit, odds = [], [], 0.0
    for copies in groups:
        for a, b in itertools.combinations(copies, 2):
            js.append(a.js(b))
            on = np.isfinite(a.logits) & np.isfinite(b.logits)
            logit.append(float(np.abs(a.logits - b.logits)[on].max()))
        top = copies[0].top(LIKELIEST)
        ids = [t.id for t in top if t.p >= LEAST] or [top[0].id]
        z = np.array([_log_odds(d, ids) for d in copies])  # (copies, k)
        odds = max(odds, float(np.ptp(z, axis=0).max()))
    if max(js) < SHOWN_JS and odds < SHOWN_LOG_ODDS:
        return NoiseFloor(copies=sum(map(len, groups)))
    return NoiseFloor(
        js=max(js),
        js_median=float(np.median(js)),
        logit=max(logit),
        logit_median=float(np.median(logit)),
        log_odds=odds,
        copies=sum(map(len, groups)),
    )


def _log_odds(d: Distribution, ids: Sequence[int]) -> NDArray[np.float64]:
    """ln(p / (1 - p)) of some tokens, (k,)."""
    p = np.clip(np.array([d[i].p for i in ids], dtype=np.float64), 1e-12, 1 - 1e-7)
    return np.asarray(np.log(p) - np.log1p(-p))


def _prompts(model: Engine) -> list[tuple[list[int], int, list[int]]]:
    """Prompts as ids: before the row that is moved, its token, and after it."""
    if model.tokenizer.kind == "none":
        n = model.n_vocab
        return [([n // 3], n // 2, [2 * n // 3]), ([n // 5], n // 4, [n // 7])]
    results = []
    for before, word, after in PROMPTS:
        try:
            first, *more = model.tokenize(word)
            results.append((model.tokenize(before, bos=True), first, [*more, *model.tokenize(after)]))
        except (SoftLlamaError, ValueError) as e:
            logger.debug("%s: no noise floor from %r: %s", model.name, before, e)
    return results
