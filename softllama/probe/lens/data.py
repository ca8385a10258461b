"""The results of a lens as data: what each layer would say at each position, for a prompt and for what stands beside it.

Knows numbers and texts, no model; and not how the results look: view.py, plot.py and page.py read them, run.py makes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    "run", "layer", "position", "input", "rank", "token_id", "token", "p", "entropy", "kl_to_last", "cosine", "js",
)  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class LensRun:
    """One run through the model: L layers, P positions, n_top tokens of each.

    name: "mixture" or "prompt" of the first, a word of one beside it. weight: its share in the mixture; None for the first.
    inputs: what was fed at each position, as text. ids, probs: the likeliest tokens of each readout. entropy: of the readout,
    nats. kl: KL(model's output ‖ readout) at the position, nats: what is lost by reading this layer. cosine: of the state and
    the first run's; js: of the readout and the first run's, nats; both None of the first run. states: after each layer.
    """

    name: str
    weight: float | None
    inputs: list[str]
    ids: NDArray[np.int32]  # (L, P, n_top)
    probs: NDArray[np.float32]  # (L, P, n_top)
    entropy: Floats  # (L, P)
    kl: Floats  # (L, P)
    cosine: Floats | None  # (L, P)
    js: Floats | None  # (L, P)
    states: NDArray[np.float32]  # (L, P, n_embd)


@dataclass(frozen=True, eq=False, kw_only=True)
class LensData:
    """What every layer would say.

    prompt: as it was written. title: with its mixtures in the slots. layers: their numbers;
    n_layer: how many the model has. positions: those that were looked at;
    n_positions: how many there are. runs: the prompt itself, then what stands beside it: each word of its mixtures alone, and
    the same prompt without patches. texts: of the tokens. make_manifest: see `manifest`.
    """

    prompt: str
    title: str
    layers: list[int]
    n_layer: int
    positions: list[int]
    n_positions: int
    runs: list[LensRun]
    n_top: int
    texts: dict[int, str]
    make_manifest: Callable[[], dict[str, Any]] = field(repr=False)

    @property
    def first(self) -> LensRun:
        """The prompt itself."""
        return self.runs[0]

    @property
    def beside(self) -> list[LensRun]:
        """What stands beside it."""
        return self.runs[1:]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, model and settings (softllama.engine.manifest). Reads the whole model file once, for its hash."""
        return self.make_manifest()

    def spell(self, token: int) -> str:
        """The text of a token among the results."""
        return self.texts[token]

    def cells(self) -> Iterator[tuple[LensRun, int, int]]:
        """(run, place of the layer, place of the position) of each readout."""
        for run in self.runs:
            for i in range(len(self.layers)):
                for j in range(len(self.positions)):
                    yield run, i, j

    def cell(self, run: LensRun, i: int, j: int) -> dict[str, Any]:
        """One readout, ready for JSON; what is infinite is None."""
        beside = {} if run.cosine is None else {"cosine": _number(run.cosine[i, j])}
        beside |= {} if run.js is None else {"js": _number(run.js[i, j])}
        return {
            "run": run.name,
            "layer": self.layers[i],
            "position": self.positions[j],
            "input": run.inputs[j],
            "entropy": _number(run.entropy[i, j]),
            "kl_to_last": _number(run.kl[i, j]),
            **beside,
            "top": [
                {"id": int(t), "text": self.spell(int(t)), "p": float(p)}
                for t, p in zip(run.ids[i, j], run.probs[i, j], strict=True)
            ],
        }

    def token_rows(self) -> Iterator[tuple[Any, ...]]:
        """A row of `COLUMNS` for each token of each readout."""
        for run, i, j in self.cells():
            c = self.cell(run, i, j)
            numbers = c["entropy"], c["kl_to_last"], c.get("cosine"), c.get("js")
            for rank, t in enumerate(c["top"], 1):
                yield (run.name, c["layer"], c["position"], c["input"], rank, t["id"], t["text"], t["p"], *numbers)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the states, ready for JSON: `cells` has an entry for each run, layer and position."""
        return {
            "prompt": self.prompt,
            "title": self.title,
            "n_layer": self.n_layer,
            "n_positions": self.n_positions,
            "layers": self.layers,
            "positions": self.positions,
            "runs": [{"name": r.name, "weight": r.weight, "inputs": r.inputs} for r in self.runs],
            "cells": [self.cell(*c) for c in self.cells()],
            "manifest": self.manifest,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the .npz form: the first axis is the run, then layers, then positions. `header` is JSON text."""
        header = {k: v for k, v in self.to_dict().items() if k != "cells"}
        blank = np.full(self.first.entropy.shape, np.nan)
        stacks: dict[str, list[NDArray[Any]]] = {
            "ids": [r.ids for r in self.runs],
            "probs": [r.probs for r in self.runs],
            "entropy": [r.entropy for r in self.runs],
            "kl_to_last": [r.kl for r in self.runs],
            "cosine": [blank if r.cosine is None else r.cosine for r in self.runs],
            "js": [blank if r.js is None else r.js for r in self.runs],
            "states": [r.states for r in self.runs],
        }
        texts = json.dumps({str(i): t for i, t in self.texts.items()})
        named = {"header": np.array(json.dumps(header)), "texts": np.array(texts)}
        places = {"layers": np.array(self.layers), "positions": np.array(self.positions)}
        return {**named, **places, **{k: np.stack(v) for k, v in stacks.items()}}


def _number(x: Any) -> float | None:
    return float(x) if math.isfinite(x) else None
