"""In which layer does a mixture become one thing? States and readouts of every layer, beside those of each word alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softllama.engine.lens import Lens
from softllama.report.data import Cell, Figure, Series, Table, value
from softllama.study import inputs
from softllama.study.inputs import Case
from softllama.vectors import measures, statistics
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.statistics import Estimate

if TYPE_CHECKING:
    from softllama.api import Model

Tick = Callable[[str, int, int], None]
PLACES = ("at the mixture", "at the end")
NAMES = ("dominance", "KL nearer", "KL farther", "cosine nearer", "cosine farther")
METHOD = (
    "Layers: the state after each layer at the mixture's place and at the prompt's end, read through the model's own final "
    "norm and head. Nearer is the word whose readout has the smaller KL(mixture ‖ word) in that layer.",
    "Dominance: |x - y| / (x + y) of the JS divergences to the two words' readouts in the same layer. 0: as far from one as "
    "from the other; 1: one of them, as if the other had not been there.",
)


def study(model: Model, cases: Sequence[Case], tick: Tick | None = None) -> NDArray[np.float64]:
    """(cases, places, layers, NAMES): each case at α = 0.5 beside its two words."""
    out: list[NDArray[np.float64]] = []
    longest = max(len(inputs.encode(model, c.frame).items) for c in cases)
    with Lens(model, longest) as r:
        for n, c in enumerate(cases):
            assert not isinstance(c.b, np.ndarray)
            encoded = inputs.encode(model, c.frame)
            at = encoded.first_slot
            found = []
            for item in (Mixture([c.a, c.b], [0.5, 0.5]), c.a, c.b):
                states, _ = r.states(
                    [*encoded.items[:at], item, *encoded.items[at + 1 :]], (at, -1)
                )  # (layers, 2, n_embd)
                logits = r.read(states.reshape(-1, model.n_embd)).reshape(*states.shape[:2], -1)
                found.append((states, logits))
            out.append(compare(*found))
            if tick is not None:
                tick("layers", n + 1, len(cases))
    return np.stack(out)


Seen = tuple[NDArray[np.float32], NDArray[np.float32]]


def compare(mix: Seen, a: Seen, b: Seen) -> NDArray[np.float64]:
    """(places, layers, NAMES) of (states (layers, places, n_embd), logits (layers, places, n_vocab)) of three runs."""
    n_layer, n_place = mix[0].shape[:2]
    out = np.empty((n_place, n_layer, len(NAMES)))
    for p in range(n_place):
        for layer in range(n_layer):
            m, x, y = (Distribution(run[1][layer, p]) for run in (mix, a, b))
            kls = [m.kl(x), m.kl(y)]
            near = int(kls[1] < kls[0])
            cosines = [measures.cosine(mix[0][layer, p], run[0][layer, p]) for run in (a, b)]
            out[p, layer] = (
                measures.dominance(m.js(x), m.js(y)), kls[near], kls[1 - near], cosines[near], cosines[1 - near],
            )  # fmt: skip
    return out


def _cell(seen: NDArray[np.float64], place: int, layer: int, name: str, seed: int) -> Estimate:
    return statistics.mean(seen[:, place, layer, NAMES.index(name)], seed)


def table(seen: NDArray[np.float64], seed: int) -> Table:
    """A row for each place and layer."""
    rows: list[tuple[Cell, ...]] = [
        (place, layer, *(_cell(seen, p, layer, n, seed) for n in NAMES))
        for p, place in enumerate(PLACES)
        for layer in range(seen.shape[2])
    ]
    return Table("layers", "Layer by layer, at half and half", ("place", "layer", *NAMES), tuple(rows), "KL in nats.")


def figure(seen: NDArray[np.float64], seed: int) -> Figure:
    """Dominance over the layers."""
    series = []
    for p, place in enumerate(PLACES):
        es = [_cell(seen, p, layer, "dominance", seed) for layer in range(seen.shape[2])]
        series.append(
            Series(
                place, tuple(range(seen.shape[2])), tuple(e.value for e in es), tuple(e.low for e in es),
                tuple(e.high for e in es),
            )
        )  # fmt: skip
    return Figure(
        "layers", "Dominance of one word, layer by layer", "lines", "layer", "dominance", tuple(series), (0.0, 1.0),
        "0: the readout is as far from one word's as from the other's; 1: it is one of them.",
    )  # fmt: skip


def sentence(seen: NDArray[np.float64], seed: int) -> str:
    """Where one word takes over, in words."""
    last = seen.shape[2] - 1
    first, end = (_cell(seen, 1, layer, "dominance", seed) for layer in (0, last))
    rise = statistics.mean(seen[:, 1, last, 0] - seen[:, 1, 0, 0], seed)
    how = "rises" if rise.low > 0 else "falls" if rise.high < 0 else "does not clearly change"
    near, far = (_cell(seen, 1, last, name, seed) for name in ("KL nearer", "KL farther"))
    return (
        f"Layer by layer, at the end of the prompt, the dominance of one word {how} from {value(first, 2)} after the first "
        f"layer to {value(end, 2)} after the last (0: halfway, 1: one word alone). KL to the nearer word's run is there "
        f"{value(near, 2)} nats, to the farther one's {value(far, 2)}: it {'has not become' if near.value > 0.1 else 'is almost'} "
        "one of them."
    )
