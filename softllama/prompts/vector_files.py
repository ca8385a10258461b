"""Files in place of a mixture: a vector over the vocabulary, or vectors in place of embeddings.

The shape says which: one number for each token is a mixture. Knows a vocabulary; whether vectors fit a model, the model checks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softllama.errors import MixtureError
from softllama.llama.tokenizer import Tokenizer
from softllama.prompts.resolved import Component, Resolved, from_mixture
from softllama.vectors import array_files
from softllama.vectors.mix_text import MixSpec
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import SCALES, Scale, Vector, scale_of


def read(spec: MixSpec, tokenizer: Tokenizer, signed: bool, normalize: bool) -> Resolved:
    """What the file of a mixture's text holds.

    Args:
        signed, normalize: how a vector over the vocabulary is read.

    Raises:
        MixtureError: the file cannot be read, or holds something else.
    """
    path, scale = _with_scale(spec.vector)
    stored = array_files.read(path)
    v = stored.values
    if v.shape != (tokenizer.n_vocab,):
        return _from_embedding(spec, path, stored, scale or scale_of(stored))
    if v.dtype.kind not in "fiub":
        raise MixtureError(f"{path!r} holds {v.dtype} {v.shape}", f"this model needs the shape ({tokenizer.n_vocab},)")
    if scale is not None:
        raise MixtureError(f"{path!r} is a vector over the vocabulary, which has no scale", f"leave out :{scale}")
    v = v.astype(np.float64)
    if normalize and np.isfinite(v).all() and v.sum() > 0:
        v = v / v.sum()
    return from_mixture(Mixture.from_dense(v, signed=signed), tokenizer, spec.name)


def _with_scale(text: str) -> tuple[str, Scale | None]:
    """A path, and the scale behind a colon, unless it belongs to the file's name."""
    path, _, scale = text.rpartition(":")
    return (path, scale) if path and scale in SCALES and not Path(text).exists() else (text, None)  # type: ignore[return-value]


def _from_embedding(spec: MixSpec, path: str, stored: array_files.Stored, scale: Scale | None) -> Resolved:
    try:
        vector = Vector(stored.values, scale=scale)
    except MixtureError as e:
        v = stored.values
        raise MixtureError(f"{path!r} holds {v.dtype} {v.shape}: {e.message}", e.hint) from None
    return Resolved(spec.name, vector, (Component(Path(path).name, 1.0, vector, ()),))
