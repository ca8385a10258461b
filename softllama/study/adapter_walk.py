"""The measurement of an adapter along generations: what follows a fully soft step, before and after, against the exact average.

Knows how each position is measured. Does not know which prompts are walked, or what is made of the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softllama.show.progress import Tick
from softllama.study.adapter_models import Models
from softllama.study.feedback_walk import UNDECIDED, heaviest
from softllama.vectors.average import average
from softllama.vectors.mixture import Mixture

MOST, MASS = 32, 0.99  # of the tokens that a soft step mixes, and that the exact average runs over


@dataclass(frozen=True, kw_only=True)
class SoftStep:
    """One position: what follows a soft step, without and with the adapter. Distances in nats.

    Attributes:
        prompt: Of the generation.
        top: Probability of the likeliest token among those that are mixed.
        kl_before, kl_after: KL(exact average ‖ output).
        js_before, js_after: JS to the exact average.
        js_top_before, js_top_after: JS to what follows the likeliest token.
        js_token: JS of what follows the likeliest token to the exact average: what greedy decoding is off by.
    """

    prompt: str
    top: float
    kl_before: float
    kl_after: float
    js_before: float
    js_after: float
    js_top_before: float
    js_top_after: float
    js_token: float

    @property
    def undecided(self) -> bool:
        """Has no token UNDECIDED or more?"""
        return self.top < UNDECIDED


def measure(models: Models, prompts: Sequence[str], steps: int, seed: int, tick: Tick | None = None) -> list[SoftStep]:
    """Walk along text that the model without the adapter samples, and measure at each position.

    Args:
        models: Without and with the adapter.
        prompts: Beginnings.
        steps: Positions of each, unless an end of generation is drawn before.
        seed: Of the draws.
        tick: Called with "soft steps", how many are done, and how many there are.
    """
    out: list[SoftStep] = []
    for n, prompt in enumerate(prompts):
        rng = np.random.default_rng([seed, 24, n])
        ids = models.plain.tokenize(prompt, bos=True)
        with models.plain.session(len(ids) + 1) as s:
            p = s.feed(ids)
        for k in range(steps):
            heavy, weights = heaviest(p, MOST, MASS)
            weights = weights / weights.sum()
            drawn = p.sample(rng)
            before, after = models.run(ids, [[Mixture(heavy, weights)], *([i] for i in heavy), [drawn]], slice(1))
            alone = before[1 : 1 + len(heavy)]
            target = average(alone, weights)
            out.append(
                SoftStep(
                    prompt=prompt,
                    top=float(weights[0]),
                    kl_before=target.kl(before[0]),
                    kl_after=target.kl(after[0]),
                    js_before=target.js(before[0]),
                    js_after=target.js(after[0]),
                    js_top_before=alone[0].js(before[0]),
                    js_top_after=alone[0].js(after[0]),
                    js_token=alone[0].js(target),
                )
            )
            if tick is not None:
                tick("soft steps", n * steps + k + 1, len(prompts) * steps)
            if models.plain.is_eog(drawn):
                break
            ids, p = [*ids, drawn], before[-1]
    return out
