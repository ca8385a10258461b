"""In which layer does a mixture become one thing? States and readouts of every layer, beside those of each word alone.

Knows how layers are compared and how the comparison is reported. Does not know which cases are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine
from softllama.engine.lens import Lens
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.sentences import value
from softllama.show.progress import Tick
from softllama.study import inputs
from softllama.study.inputs import Case
from softllama.vectors import measures, statistics
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.statistics import Estimate

PLACES = ("at the mixture", "at the end")
ALMOST = 0.1  # nats of KL to a word's own run up to which a mixture counts as that word
NAMES = ("dominance", "KL nearer", "KL farther", "cosine nearer", "cosine farther")
METHOD = (
    "Layers: the state after each layer at the mixture's place and at the prompt's end, read through the model's own final "
    "norm and head. Nearer is the word whose readout has the smaller KL(mixture ‖ word) in that layer.",
    "Dominance: |x - y| / (x + y) of the JS divergences to the two words' readouts in the same layer. 0: as far from one as "
    "from the other; 1: one of them, as if the other had not been there.",
)
LayerRun = tuple[NDArray[np.float32], NDArray[np.float32]]  # states (layers, places, n_embd), logits (..., n_vocab)


def measure(model: Engine, cases: Sequence[Case], tick: Tick | None = None) -> NDArray[np.float64]:
    """Compare each case at α = 0.5 with its two words, in every layer.

    Args:
        model: The model.
        cases: Pairs of tokens; not noise.
        tick: Called with "layers", how many cases are done, and how many there are.

    Returns:
        (cases, PLACES, layers, NAMES) float64.

    Raises:
        SoftLlamaError: The states of the model's layers cannot be read.
    """
    out: list[NDArray[np.float64]] = []
    longest = max(len(inputs.encode(model, c.frame).items) for c in cases)
    with Lens(model, longest) as r:
        for n, c in enumerate(cases):
            assert not isinstance(c.b, np.ndarray)
            encoded = inputs.encode(model, c.frame)
            at = encoded.first_slot
            runs: list[LayerRun] = []
            for item in (Mixture([c.a, c.b], [0.5, 0.5]), c.a, c.b):
                items = [*encoded.items[:at], item, *encoded.items[at + 1 :]]
                states, _ = r.states(items, (at, -1))  # (layers, 2, n_embd)
                logits = r.read(states.reshape(-1, model.n_embd)).reshape(*states.shape[:2], -1)
                runs.append((states, logits))
            out.append(compare(*runs))
            if tick is not None:
                tick("layers", n + 1, len(cases))
    return np.stack(out)


def compare(mix: LayerRun, a: LayerRun, b: LayerRun) -> NDArray[np.float64]:
    """The numbers of one mixture beside its two words.

    Args:
        mix, a, b: States (layers, places, n_embd) and logits (layers, places, n_vocab) of the three runs.

    Returns:
        (places, layers, NAMES) float64.
    """
    n_layer, n_place = mix[0].shape[:2]
    out = np.empty((n_place, n_layer, len(NAMES)))
    for p in range(n_place):
        for layer in range(n_layer):
            m, x, y = (Distribution(run[1][layer, p]) for run in (mix, a, b))
            kls = [m.kl(x), m.kl(y)]
            near = int(kls[1] < kls[0])
            far = 1 - near
            cosines = [measures.cosine(mix[0][layer, p], run[0][layer, p]) for run in (a, b)]
            dominance = measures.dominance(m.js(x), m.js(y))
            out[p, layer] = dominance, kls[near], kls[far], cosines[near], cosines[far]
    return out


def _cell(numbers: NDArray[np.float64], place: int, layer: int, name: str, seed: int) -> Estimate:
    return statistics.mean(numbers[:, place, layer, NAMES.index(name)], seed)


def table(numbers: NDArray[np.float64], seed: int) -> Table:
    """A row for each place and layer. numbers: what `measure` gives."""
    rows: list[tuple[Cell, ...]] = [
        (place, layer, *(_cell(numbers, p, layer, n, seed) for n in NAMES))
        for p, place in enumerate(PLACES)
        for layer in range(numbers.shape[2])
    ]
    return Table("layers", "Layer by layer, at half and half", ("place", "layer", *NAMES), tuple(rows), "KL in nats.")


def figure(numbers: NDArray[np.float64], seed: int) -> Figure:
    """Dominance over the layers. numbers: what `measure` gives."""
    layers = range(numbers.shape[2])
    return Figure(
        name="layers",
        title="Dominance of one word, layer by layer",
        kind="lines",
        x_label="layer",
        y_label="dominance",
        series=tuple(
            Series.of(place, layers, [_cell(numbers, p, layer, "dominance", seed) for layer in layers])
            for p, place in enumerate(PLACES)
        ),
        y_range=(0.0, 1.0),
        note="0: the readout is as far from one word's as from the other's; 1: it is one of them.",
    )


def sentence(numbers: NDArray[np.float64], seed: int) -> str:
    """Where one word takes over, in words. numbers: what `measure` gives."""
    last = numbers.shape[2] - 1
    first, end = (_cell(numbers, 1, layer, "dominance", seed) for layer in (0, last))
    rise = statistics.mean(numbers[:, 1, last, 0] - numbers[:, 1, 0, 0], seed)
    how = "does not clearly change" if not rise.clear else "rises" if rise.value > 0 else "falls"
    near, far = (_cell(numbers, 1, last, name, seed) for name in ("KL nearer", "KL farther"))
    became = (
        "it has not become" if near.low > ALMOST else "it is almost" if near.high <= ALMOST else "it may have become"
    )
    return (
        f"Layer by layer, at the end of the prompt, the dominance of one word {how} from {value(first, 2)} after the first "
        f"layer to {value(end, 2)} after the last (0: halfway, 1: one word alone). KL to the nearer word's run is there "
        f"{value(near, 2)} nats, to the farther one's {value(far, 2)}: {became} one of them."
    )
