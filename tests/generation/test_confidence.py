"""DeepConf: its measures against loops written from the formulas, its limits against the plain vote, and the stop online."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation import confidence as conf
from softllama.generation.extract import rule
from softllama.generation.samples import sample, self_consistency

RNG = np.random.default_rng(11)


def token_reference(z: np.ndarray, k: int) -> float:
    p = np.exp(z.astype(np.float64) - z.max())
    p /= p.sum()
    best = sorted((x for x in p if x > 0), reverse=True)[:k]
    return float(-sum(np.log(x) for x in best) / len(best))


def lowest(c: list[float], window: int) -> float:
    if len(c) < window:
        return sum(c) / len(c)
    return min(sum(c[i : i + window]) / window for i in range(len(c) - window + 1))


@pytest.mark.parametrize("n", [3, 40, 1000])
@pytest.mark.parametrize("k", [2, 20])
def test_the_confidence_of_a_token(n: int, k: int) -> None:
    z = (RNG.normal(size=n) * 3).astype(np.float32)
    z[0] = -np.inf
    assert conf.token_confidence(sl.Distribution(z), k) == pytest.approx(token_reference(z, k), abs=1e-6)


def test_a_sure_model_is_more_confident() -> None:
    sure, even = sl.Distribution(np.eye(30)[0] * 20), sl.Distribution(np.zeros(30))
    assert conf.token_confidence(sure) > conf.token_confidence(even) == pytest.approx(np.log(30))


@pytest.mark.parametrize("n", [1, 5, 64])
@pytest.mark.parametrize("window", [1, 5, 100])
def test_measures_of_a_sample(n: int, window: int) -> None:
    c = RNG.random(n).tolist()
    assert conf.confidence(c, "mean") == pytest.approx(sum(c) / n)
    assert conf.confidence(c, "tail", window) == pytest.approx(sum(c[-window:]) / len(c[-window:]))
    assert conf.confidence(c, "lowest", window) == pytest.approx(lowest(c, window))
    w = min(window, n)
    means = sorted(sum(c[i : i + w]) / w for i in range(n - w + 1))
    worst = means[: max(1, len(means) // 10)]
    assert conf.confidence(c, "bottom", window) == pytest.approx(sum(worst) / len(worst))
    assert conf.confidence([], "mean") == 0


def test_weights_are_summed_and_none_does_not_vote() -> None:
    votes = conf.weighted(["a", "b", "a", None, "b"], [1.0, 5.0, 1.5, 9.0, 0.5], [0.0] * 5)
    assert votes == {"b": 5.5, "a": 2.5}
    assert list(conf.weighted(["a", "b"], [1.0, 1.0], [-2.0, -1.0])) == ["b", "a"]  # the likelier of equals


def test_the_threshold_is_a_percentile() -> None:
    assert conf.limit([1, 2, 3, 4, 5], 1.0) == 1
    assert conf.limit([1, 2, 3, 4, 5], 0.5) == 3
    assert conf.limit([1, 2, 3, 4, 5], 0.1) == pytest.approx(4.6)


OPTIONS: dict[str, Any] = {"chat": False, "max_tokens": 12, "seed": 3, "policy": "sample", "extract": "text"}


def test_equal_confidences_give_the_plain_vote(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "token_confidence", lambda d, k: 2.0)
    for seed in range(4):
        options = {**OPTIONS, "seed": seed, "max_tokens": 2, "policy": "sample:top_k=3"}
        plain = self_consistency(model, "The dog", samples=8, **options)
        for share in (0.1, 1.0):
            ours = conf.deepconf(model, "The dog", samples=8, share=share, **options)
            assert (ours.answer, ours.answers) == (plain.answer, plain.answers)
            assert ours.votes == {a: 2.0 * n for a, n in plain.votes.items()}


@pytest.mark.parametrize("measure", ["mean", "tail", "lowest", "bottom"])
def test_the_vote_equals_one_made_by_hand(model: sl.Model, measure: conf.Measure) -> None:
    """The confidences are computed again here, from the logits that the model gives for each sample's tokens."""
    ours = conf.deepconf(model, "The dog", samples=5, share=0.6, window=4, k=7, measure=measure, **OPTIONS)
    drawn = sample(model, "The dog", 5, **{k: v for k, v in OPTIONS.items() if k != "extract"})
    prompt = model.tokenize("The dog", bos=True)
    weights = []
    for t in drawn.traces:
        session, c = model.session(), []
        d = session.feed(prompt)
        for s in t.steps:
            c.append(token_reference(d.logits, 7))
            d = session.feed([s.mixture])
        if t.stop_reason == "end of generation":
            c.append(token_reference(d.logits, 7))
        session.close()
        weights.append(conf.confidence(c, measure, 4))
    np.testing.assert_allclose(ours.confidences, weights, rtol=2e-3)
    assert ours.threshold == pytest.approx(np.percentile(ours.confidences, 40))
    read = rule("text")
    sums: dict[str, float] = {}
    for t, w in zip(drawn.traces, ours.confidences, strict=True):
        if (a := read(t.answer)) is not None and w >= ours.threshold:
            sums[a] = sums.get(a, 0) + w
    assert ours.votes == pytest.approx(sums)
    assert ours.answer == max(sums, key=lambda a: sums[a])


def test_online_samples_stop_and_do_not_vote(model: sl.Model) -> None:
    ours = conf.deepconf(model, "The dog", samples=12, warmup=4, share=0.25, window=3, **OPTIONS)
    stopped = [t for t in ours.samples.traces[4:] if t.stop_reason == conf.LOW]
    assert stopped
    assert all(t.stop_reason != conf.LOW for t in ours.samples.traces[:4])
    assert ours.threshold == pytest.approx(np.percentile(ours.confidences[:4], 75))
    assert all(len(t.steps) < 12 for t in stopped if t.steps[-1].index < 11)
    read = rule("text")
    voters = [
        read(t.answer)
        for t, c in zip(ours.samples.traces, ours.confidences, strict=True)
        if t.stop_reason != conf.LOW and c >= ours.threshold
    ]
    assert set(ours.votes) == {a for a in voters if a is not None}
    whole = conf.deepconf(model, "The dog", samples=12, share=0.25, window=3, **OPTIONS)
    assert ours.cost.tokens < whole.cost.tokens


def test_watching_changes_no_sample(model: sl.Model) -> None:
    ours = conf.deepconf(model, "The dog", samples=3, **OPTIONS)
    drawn = sample(model, "The dog", 3, **{k: v for k, v in OPTIONS.items() if k != "extract"})
    assert [[s.token for s in t.steps] for t in ours.samples.traces] == [
        [s.token for s in t.steps] for t in drawn.traces
    ]
    assert [t.policy for t in ours.samples.traces] == [t.policy for t in drawn.traces]
    assert ours.to_dict()["kind"] == "deepconf"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 4, "warmup": 4}, "a warm-up of 4 leaves none of 4 samples"),
        ({"samples": 4, "warmup": 2, "measure": "mean"}, "the online form stops at the lowest window, not by mean"),
    ],
)
def test_what_cannot_be(model: sl.Model, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(sl.UsageError, match=message):
        conf.deepconf(model, "The dog", **settings)


def test_a_policy_that_needs_hidden_states_still_says_so() -> None:
    assert conf.watched(policy.hidden(), 20).needs_hidden
