"""Mixtures in requests: text, words with weights, ids with weights, vectors as JSON or as the bytes of an .npy file.

Nothing here opens a file: a text that names one is refused. Knows JSON and .npy. Knows no prompt.
"""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from numpy.typing import NDArray

from softllama.errors import MixtureError, SoftLlamaError
from softllama.prompts.words import MixArgument, OneMix
from softllama.serve.errors import ApiError
from softllama.serve.requests import Given, Mixtures, Vector
from softllama.vectors import mix_text
from softllama.vectors.mixture import Mixture

MOST = 64  # mixtures of a prompt


def argument(mixtures: Mixtures | str | None, *, signed: bool, n_vocab: int, param: str) -> MixArgument:
    """The mixtures of a request, as `mix` of probes and generations.

    Raises:
        ApiError: one of them names a file, or is no vector over this vocabulary.
    """
    if mixtures is None:
        return ()
    if isinstance(mixtures, str):
        return _text(mixtures, param)
    if len(mixtures) > MOST:
        raise ApiError(400, f"a prompt has at most {MOST} mixtures, not {len(mixtures)}", param=param)
    out: dict[str, OneMix] = {}
    for name, value in mixtures.items():
        where = f"{param}.{name}" if name else param
        if isinstance(value, str):
            out[name] = _text(value, where)
        elif isinstance(value, Vector):
            out[name] = _numbers(value, signed, n_vocab, where)
        else:
            out[name] = dict(value)
    return out


def given(item: Given, n_vocab: int) -> tuple[int | Mixture, int]:
    """A position that was fed before, and its readout.

    Raises:
        ApiError: it is neither a token nor a mixture of this vocabulary.
    """
    param = "softllama.prefix"
    if item.id is not None:
        return _checked(item.id, n_vocab, param), item.id
    mixture = _numbers(Vector(ids=item.ids, weights=item.weights), False, n_vocab, param)
    readout = mixture.argmax if item.readout is None else item.readout
    return mixture, _checked(readout, n_vocab, param)


def _checked(token: int, n_vocab: int, param: str) -> int:
    if token >= n_vocab:
        raise ApiError(400, f"token id {token} is outside the vocabulary of {n_vocab}", param=param)
    return token


def _text(text: str, param: str) -> str:
    """A mixture as text, which may not name a file."""
    if mix_text.parse(text, signed=True).vector:
        message = "a request names no files: send the vector itself, as {'vector': [...]} or {'npy': base64}"
        raise ApiError(400, message, param=param)
    return text


def _numbers(value: Vector, signed: bool, n_vocab: int, param: str) -> Mixture:
    try:
        if value.ids is not None and value.weights is not None:
            mixture = Mixture(value.ids, value.weights, signed=signed)
        elif value.vector is not None:
            mixture = Mixture.from_dense(_sized(np.array(value.vector, dtype=np.float64), n_vocab), signed=signed)
        elif value.npy is not None:
            mixture = Mixture.from_dense(_sized(npy(value.npy), n_vocab), signed=signed)
        else:
            raise MixtureError("a mixture has ids and weights, a vector, or an npy file")
        _checked(int(mixture.ids[-1]), n_vocab, param)
    except SoftLlamaError as e:
        raise ApiError(400, e.message, param=param) from None
    return mixture


def npy(text: str) -> NDArray[np.float64]:
    """The vector in an .npy file, given in base64. Python objects are not read.

    Raises:
        MixtureError: the text is not such a file, or not a vector of finite numbers.
    """
    try:
        data = base64.b64decode(text, validate=True)
        array = np.load(io.BytesIO(data), allow_pickle=False, max_header_size=10_000)
    except (binascii.Error, ValueError, OSError, EOFError, MemoryError, SyntaxError) as e:
        raise MixtureError(f"npy is not an .npy file in base64: {e}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "fiu":
        raise MixtureError("an .npy file must hold a vector of numbers")
    vector = array.astype(np.float64)
    if not np.isfinite(vector).all():
        raise MixtureError("the vector has entries that are not finite")
    return vector


def _sized(vector: NDArray[np.float64], n_vocab: int) -> NDArray[np.float64]:
    if len(vector) != n_vocab:
        raise MixtureError(f"the vector has {len(vector):,} entries, and the vocabulary {n_vocab:,}")
    return vector
