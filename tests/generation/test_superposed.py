"""Superposed decoding against a dense version of its formulas, and its limits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.generation.ngrams import WEIGHTS, NGrams
from softllama.generation.replay import replay
from softllama.generation.superposed import PENALTY, scores, superposed, weights_of
from tests.conftest import Cli

TEXT = "The dog"


def test_n_grams_by_hand() -> None:
    g = NGrams([1, 2, 3, 1, 2, 4], weights=(0.5, 0.25))
    assert g.score([2], 3) == 0.25  # of the two 2s, one goes on with 3; there is nothing before
    assert g.score([1, 2], 3) == 0.5 * 0.5 + 0.25 * 0.5
    assert g.score([9, 1], 2) == 0.5  # "9 1" is unknown
    assert g.score([9], 2) == 0
    assert g.score([1, 2], 9) == 0


def ngram_reference(text: list[int], before: list[int], token: int) -> float:
    total = 0.0
    for n, weight in enumerate(WEIGHTS, 1):
        if len(before) < n:
            continue
        after = Counter(text[i + n] for i in range(len(text) - n) if text[i : i + n] == before[-n:])
        if after:
            total += weight * after[token] / sum(after.values())
    return total


def test_scores_equal_the_formula() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(0, 6, 300).tolist()
    grams = NGrams(text)
    p = rng.dirichlet(np.ones(9))
    for _ in range(30):
        before = rng.integers(0, 6, 5).tolist()
        got = scores(np.log(p), list(range(9)), before, 0.54, grams)
        for i in range(9):
            q = ngram_reference(text, before, i)
            expected = 0.46 * np.log(p[i]) + 0.54 * np.log(q) if q else -np.inf
            assert got[i] == pytest.approx(expected, abs=1e-6)
    unknown = scores(np.log(p), list(range(9)), [77], 0.54, grams)
    np.testing.assert_allclose(unknown, 0.46 * np.log(p) - PENALTY)
    np.testing.assert_array_equal(scores(np.log(p), list(range(9)), [1], 0.54, None), np.log(p))


def test_weights_are_a_softmax() -> None:
    np.testing.assert_allclose(weights_of([-1.0, -2.0, -900.0]), [1 / (1 + np.e**-1), 1 / (1 + np.e), 0], atol=1e-12)


def reference(model: sl.Model, k: int, n: int, temperature: float, alpha: float, text: list[int] | None) -> list[Any]:
    """The method with dense vectors and plain lists, on a session: the drafts after n steps, and what was fed."""
    prompt = model.tokenize(TEXT, bos=True)
    session = model.session()
    z = session.feed(prompt).logits.astype(np.float64)
    drafts, fed = [([], 0.0)], []
    for _ in range(n):
        x = np.exp((z - z.max()) / temperature)
        p = np.zeros_like(x)
        best = sorted(range(len(x)), key=lambda i: (-z[i], i))[: 3 * k]
        p[best] = x[best] / x[best].sum()
        rows = []
        for d, (ids, total) in enumerate(drafts):
            q = {i: ngram_reference(text, [*prompt, *ids], i) for i in best} if text else {}
            for i in best:
                if text is None:
                    s = np.log(p[i])
                elif not any(q.values()):
                    s = (1 - alpha) * np.log(p[i]) - 200
                elif q[i] > 0:
                    s = (1 - alpha) * np.log(p[i]) + alpha * np.log(q[i])
                else:
                    continue
                rows.append((total + s, d, i))
        rows.sort(key=lambda r: -r[0])
        rows = [r for r in rows[: 2 * k] if not model.is_eog(r[2])][:k]
        w = np.exp(np.array([r[0] for r in rows]) - rows[0][0])
        w /= w.sum()
        mixture = np.zeros_like(x)
        for share, (_, _, i) in zip(w, rows, strict=True):
            mixture[i] += share
        drafts = [([*drafts[d][0], i], total) for total, d, i in rows]
        ids = np.flatnonzero(mixture)
        fed.append(mixture)
        z = session.feed([sl.Mixture(ids, mixture[ids])]).logits.astype(np.float64)
    session.close()
    return [drafts, fed]


@pytest.mark.parametrize("grams", [False, True])
@pytest.mark.parametrize("k", [2, 3])
def test_it_equals_a_dense_version(model: sl.Model, k: int, grams: bool) -> None:
    text = np.random.default_rng(3).integers(0, model.n_vocab, 40_000).tolist() if grams else None
    drafts, fed = reference(model, k, 5, 0.5, 0.54, text)
    corpus = NGrams(text) if text else None
    ours = superposed(model, TEXT, chat=False, drafts=k, temperature=0.5, corpus=corpus, max_tokens=5)
    going = [h for h in ours.hypotheses if not h.finished]
    assert going
    by_ids = {tuple(ids): total for ids, total in drafts}
    for h in going:
        ids = tuple(s.token for s in h.trace.steps)
        assert h.score * 5 == pytest.approx(by_ids[ids], rel=1e-3, abs=1e-3)
        for s, w in zip(h.trace.steps, fed, strict=True):
            dense = np.zeros(model.n_vocab)
            dense[s.mixture.ids] = s.mixture.weights
            np.testing.assert_allclose(dense, w, atol=2e-3)


def test_one_draft_without_n_grams_is_greedy(model: sl.Model) -> None:
    for temperature in (0.06, 1.0, 5.0):
        ours = superposed(model, TEXT, chat=False, drafts=1, temperature=temperature, max_tokens=12).trace
        plain = model.generate(TEXT, chat=False, policy="greedy", max_tokens=12)
        assert [s.token for s in ours.steps] == [s.token for s in plain.steps]
        assert [s.mixture for s in ours.steps] == [s.mixture for s in plain.steps]
        assert ours.stop_reason == plain.stop_reason


def test_one_draft_with_n_grams_of_its_own_text_repeats_it(model: sl.Model) -> None:
    text = model.tokenize("The dog says one two three four", bos=True)
    ours = superposed(
        model, TEXT, chat=False, drafts=1, alpha=1.0, temperature=1000, corpus=NGrams(text * 3), max_tokens=2
    )
    assert len(ours.trace.steps) == 2


def test_drafts_differ_and_cost_one_pass(model: sl.Model) -> None:
    ours = superposed(model, TEXT, chat=False, drafts=4, temperature=1.0, max_tokens=8)
    texts = [tuple(s.token for s in h.trace.steps) for h in ours.hypotheses]
    assert len(set(texts)) == len(texts) == 4
    assert [h.score for h in ours.hypotheses] == sorted((h.score for h in ours.hypotheses), reverse=True)
    assert ours.cost.calls <= 9
    assert ours.to_dict()["kind"] == "superposed"
    assert replay(model, ours.trace) == pytest.approx([0.0] * len(ours.trace.steps), abs=1e-6)


def test_a_corpus_file_on_the_command_line(model: sl.Model, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("The dog says the cat says the dog\n" * 20)
    run = ("run", "-m", model.path, "--raw", TEXT, "--max-tokens", "6", "--policy")
    code, out, err = cli(*run, f"superposed:drafts=3,corpus={tmp_path / 'book.txt'}", "--json")
    assert code in (0, 3), err
    assert '"kind": "superposed"' in out
    code, _, err = cli(*run, "superposed:drafts=3,corpus=nothing.txt")
    assert (code, "nothing.txt" in err) == (2, True)
    code, _, err = cli(*run, "superposed:drafts=0")
    assert (code, "drafts = 0 is not allowed" in err) == (2, True)


def test_what_cannot_be(model: sl.Model) -> None:
    for settings, message in (
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"policy": "greedy"}, "superposed decoding has no policy"),
        ({"drafts": 0}, "drafts"),
    ):
        with pytest.raises(sl.UsageError, match=message):
            superposed(model, TEXT, chat=False, **settings)  # type: ignore[arg-type]
