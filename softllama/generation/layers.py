"""The logit lens along a generation: what every layer would say after each nth step.

The generation's own context keeps the states, so nothing is evaluated twice; they are read in a context beside it. Knows the
lens. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from softllama.engine.engine import Engine
from softllama.engine.layers import F32, LayerWatch
from softllama.engine.lens import Lens
from softllama.errors import UsageError
from softllama.generation.state import Generation
from softllama.trace.layers import LayerReadout, StepLayers
from softllama.vectors.distribution import Distribution

TOP = 5  # tokens of each readout


class LayerRecorder:
    """Keeps the states of one generation's steps, and reads them.

    Attributes:
        watch: the callback for the generation's context.
    """

    def __init__(self, model: Engine, g: Generation) -> None:
        self._every = g.options.lens or 1
        self._lens = Lens(model, 1)
        self._layers = self._lens.layers(None)
        self.watch = LayerWatch(model.n_embd)

    def along(self, g: Generation, feed: Callable[[], None]) -> None:
        """Feed the step that a generation has decided, and read its states if its turn has come. feed: of the loop."""
        self.watch.clear()
        self.watch.keep = self._layers if g.steps[-1].index % self._every == 0 else ()
        feed()
        if self.watch.keep:
            self._read(g, self.watch.seen)

    def _read(self, g: Generation, seen: Mapping[int, F32]) -> None:
        states = np.stack([seen[i][-1] for i in self._layers])  # (layers, n_embd)
        readouts = [Distribution(z) for z in self._lens.read(states)]
        layers = tuple(
            LayerReadout(i, d.entropy(), readouts[-1].kl(d), tuple((t.id, t.p) for t in d.top(TOP)))
            for i, d in zip(self._layers, readouts, strict=True)
        )
        g.layers.append(StepLayers(g.steps[-1].index, layers))

    def close(self) -> None:
        """Free the memory."""
        self._lens.close()


def recorder(model: Engine, generations: Sequence[Generation]) -> LayerRecorder | None:
    """What reads the layers along a generation; None where that was not asked for.

    Raises:
        UsageError: there are several generations.
        ContextError: the layers of this architecture cannot be read.
    """
    if all(g.options.lens is None for g in generations):
        return None
    if len(generations) > 1:
        raise UsageError("the layers are read along one generation, and not along a search", "leave out --lens")
    return LayerRecorder(model, generations[0])
