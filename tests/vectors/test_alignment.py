"""W_a: the map from output rows to input rows."""

from __future__ import annotations

import numpy as np
import pytest

from softllama.vectors.alignment import LAMBDA, align_of, ridge

RNG = np.random.default_rng(4)


def blocks(w: np.ndarray, e: np.ndarray, size: int = 7) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(w[i : i + size], e[i : i + size]) for i in range(0, len(w), size)]


@pytest.mark.parametrize("penalty", [LAMBDA, 0.5])
def test_ridge_is_the_least_squares_of_both_tables(penalty: float) -> None:
    w, e = (RNG.normal(size=(40, 6)).astype(np.float32) for _ in range(2))
    # the same as least squares on W with sqrt(lambda) I below it, and 0 below E
    tall = np.vstack([w.astype(np.float64), np.sqrt(penalty) * np.eye(6)])
    expected = np.linalg.lstsq(tall, np.vstack([e, np.zeros((6, 6))]), rcond=None)[0]
    np.testing.assert_allclose(ridge(blocks(w, e), 6, penalty), expected, rtol=1e-6, atol=1e-6)


def test_one_orthonormal_table_gives_the_identity() -> None:
    q = np.linalg.qr(RNG.normal(size=(20, 5)))[0].astype(np.float32)  # columns
    found = ridge([(q, q)], 5)
    np.testing.assert_allclose(found, np.eye(5) / (1 + LAMBDA), atol=1e-6)


def test_tied_blocks_count_once() -> None:
    w = RNG.normal(size=(30, 4)).astype(np.float32)
    np.testing.assert_allclose(ridge([(w, w)], 4), ridge([(w, w.copy())], 4), rtol=1e-6)


def test_names() -> None:
    assert align_of("ridge") == "ridge"
    with pytest.raises(ValueError, match="no hidden state is aligned by 'other'"):
        align_of("other")
