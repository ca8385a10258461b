"""Patches as people write them: "layer=8,position=3,state=@run.npz", where the file is one that a lens saved.

Knows the .npz form of data.py. Runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from softllama.errors import UsageError
from softllama.vectors import array_files
from softllama.vectors.interventions import Patch, fields_of, file_of, number_of

FORM = '"layer=8,position=3,state=@run.npz"; run=NAME and from=POSITION choose among its states'


def parse(text: str) -> Patch:
    """ "layer=8,position=3,state=@run.npz,run=France,from=3".

    Without run, the first of the file's is taken; without from, the same position.
    A state may also be a .npy or .safetensors file of (n_embd,) numbers.

    Raises:
        UsageError: the text is not understood, or the file lacks that layer, position or run.
        MixtureError: the file cannot be read.
    """
    parts = fields_of(text, FORM, ("layer", "position", "state"), ("run", "from"))
    layer, position = (number_of(text, name, parts[name], int, FORM) for name in ("layer", "position"))
    path = file_of(text, "state", parts["state"], FORM)
    if not path.lower().endswith(".npz"):
        return Patch(layer, position, array_files.read(path).values)
    at = number_of(text, "from", parts.get("from", parts["position"]), int, FORM)
    return Patch(layer, position, _state(path, layer, at, parts.get("run")))


def _state(path: str, layer: int, position: int, run: str | None) -> Any:
    """The state (n_embd,) of one layer and position in a file of a lens."""
    try:
        with Path(path).expanduser().open("rb") as f, np.load(f, allow_pickle=False) as z:
            header, states = json.loads(str(z["header"])), z["states"]
            layers, positions = z["layers"].tolist(), z["positions"].tolist()
            names = [r["name"] for r in header["runs"]]
            n = {"layer": int(header["n_layer"]), "position": int(header["n_positions"])}
    except OSError as e:
        raise UsageError(
            f"cannot read {path!r}: {e.strerror or e}", "softllama lens ... --output FILE.npz writes one"
        ) from None
    except Exception as e:  # zipfile, zlib and numpy raise their own kinds
        raise UsageError(
            f"{path!r} is no file of a lens: {e}", "softllama lens ... --output FILE.npz writes one"
        ) from None
    places = {"layer": layers, "position": positions}
    i, j = (_place(path, what, wanted, places, n) for what, wanted in (("layer", layer), ("position", position)))
    if run is not None and run not in names:
        raise UsageError(f"{path!r} has no run {run!r}", f"there are: {', '.join(names)}")
    return states[0 if run is None else names.index(run), i, j]


def _place(path: str, what: str, wanted: int, places: Mapping[str, list[int]], n: Mapping[str, int]) -> int:
    number = wanted + n[what] if wanted < 0 else wanted
    if number not in places[what]:
        raise UsageError(
            f"{path!r} has no states of {what} {wanted}", f"it has {places[what][0]} to {places[what][-1]}"
        )
    return places[what].index(number)
