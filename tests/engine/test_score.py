"""Scores against a second implementation, against single requests, and the windows of long texts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama.engine import score
from softllama.errors import ContextError, MixtureError, PromptError
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector
from tests.engine.test_forward import HALF, MANY, Llama

Items = Sequence[int | Mixture]


def expected(own: Llama, prompt: Items, continuation: Items) -> list[float]:
    """Σ w ln p of each item of a continuation, by the numpy model, one position at a time."""
    out = []
    for i, target in enumerate(continuation):
        z = own.logits(own.rows([*prompt, *continuation[:i]]))
        logp = z - z.max() - np.log(np.exp(z - z.max()).sum())
        m = target if isinstance(target, Mixture) else Mixture.one_hot(target)
        out.append(float((m.weights * logp[m.ids]).sum()))
    return out


PAIRS: list[tuple[Items, Items]] = [
    ([7, 40, 9], [5]),
    ([7, 40, 9], [5, 6, 7]),
    ([7, 40, 9], [8, 6]),
    ([7, 40, 9, 5], [6]),
    ([7, HALF, 9], [5, 6]),
    ([7, HALF, 9], [MANY, 6, HALF]),
    ([HALF], [3]),
    ([1, 2, 3, MANY, 5, 6, HALF], [10, 11, 12, 13]),
    ([7, 40, 9], [5, 6, 7]),
    ([7], []),
]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_scores_are_those_of_numpy(load: Callable[..., sl.Model], tied: bool) -> None:
    model = load("llama", tied=tied)
    own = Llama(Path(model.path))
    results = score.score_pairs(model, PAIRS, n_top=2)
    for (prompt, continuation), got in zip(PAIRS, results, strict=True):
        assert [s.logp for s in got] == pytest.approx(expected(own, prompt, continuation), abs=1e-4)
    assert [s.logp for s in results[1]] == [s.logp for s in results[8]]
    ends = {s.id: s for s in results[1]}
    assert all(s.greedy == (s.top[0][0] == s.id) for s in ends.values())
    assert all(s.top[0][1] >= s.logp for s in ends.values())


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma", "mamba"])
def test_many_pairs_are_what_each_is_alone(load: Callable[..., sl.Model], arch: str) -> None:
    model = load(arch)
    rng = np.random.default_rng(0)
    shots = rng.integers(1, 60, size=30).tolist()
    pairs = [
        (
            [*shots[: 10 * (i % 4)], *rng.integers(1, 4, size=rng.integers(1, 6)).tolist()],
            rng.integers(1, 5, size=3).tolist(),
        )
        for i in range(60)
    ]
    together = score.score_pairs(model, pairs)
    for pair, got in list(zip(pairs, together, strict=True))[::7]:
        alone = score.score(model, *pair)
        assert [s.logp for s in got] == pytest.approx([s.logp for s in alone], abs=2e-4)
        assert [s.id for s in got] == pair[1]


def test_what_pairs_begin_with_is_evaluated_once(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    prompt = [*range(1, 41)]
    pairs = [(prompt, [a, b]) for a, b in itertools.product(range(50, 60), range(50, 54))]
    context = score.score_context(model, 256, 32)
    done: list[int] = []
    score.score_pairs(model, pairs, context=context, tick=done.append)
    # 40 positions of the prompt and 10 of the first tokens; a pack after it goes on from what it has in common
    assert context.evaluated <= 40 + 10 + 2
    assert done[-1] == 40
    context.close()


def test_batches_keep_to_the_outputs_that_there_are(
    load: Callable[..., sl.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("llama")
    long = [1 + i % 50 for i in range(200)]
    whole = score.score_pairs(model, [([7], long), ([8, 9], long[:50])])
    monkeypatch.setattr(score, "OUTPUT_BYTES", 1)  # 16 outputs
    few = score.score_pairs(model, [([7], long), ([8, 9], long[:50])])
    for a, b in zip(whole, few, strict=True):
        assert [s.logp for s in a] == pytest.approx([s.logp for s in b], abs=1e-4)


@pytest.mark.parametrize(
    ("n", "first", "n_ctx", "stride"),
    [(10, 1, 4, 2), (10, 1, 4, 1), (10, 6, 4, 2), (3, 1, 8, 4), (30, 1, 8, 7), (9, 8, 4, 2)],
)
def test_windows_score_each_item_once_with_enough_before_it(n: int, first: int, n_ctx: int, stride: int) -> None:
    ws = [*score.windows(n, first, n_ctx, stride)]
    assert [i for _, a, b in ws for i in range(a, b)] == [*range(first, n)]
    for start, a, b in ws:
        assert b - 1 - start <= n_ctx
        assert start < a
        assert start == 0 or a - start > n_ctx - stride


def test_windows_of_a_text_begin_as_the_text_does(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    items = [3, *(1 + i % 50 for i in range(40))]
    pairs = score.pairs_of_windows(items, 1, 16, 8, keep=1)
    assert all(p[0] == 3 for p, _ in pairs)
    assert [x for _, c in pairs for x in c] == items[1:]
    assert len(pairs) > 2
    assert all(len(p) + len(c) - 1 <= 16 for p, c in pairs)
    first = score.score(model, items[:1], items[1:17])
    assert [s.logp for s in score.score_pairs(model, pairs)[0]] == pytest.approx([s.logp for s in first], abs=1e-4)


def test_what_cannot_be_scored_is_an_error(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    with pytest.raises(PromptError, match="pair 2: an empty prompt"):
        score.score_pairs(model, [([1], [2]), ([], [2])])
    with pytest.raises(MixtureError, match="no vectors"):
        score.score(model, [1], [Vector(np.ones(model.n_embd, dtype=np.float32))])  # type: ignore[list-item]
    context = score.score_context(model, 256)
    with pytest.raises(ContextError, match="have 300 tokens"):
        score.score(model, [1] * 299, [2, 3], context=context)
