"""The noise floor in the studies: what it leaves of distances, transitions, tokens and sentences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import softllama as sl
from softllama import Distribution, Mixture
from softllama.engine.lens import Lens
from softllama.study import floor, inputs, layers, mixing, mixing_sweep, mixing_tables, rollout
from softllama.study.inputs import Case
from softllama.vectors import measures, statistics
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.statistics import Estimate
from tests.study.test_study import ALPHAS, A, B, blend

CASE = Case(inputs.PAIRS, "The {} says", "dog", "cat", 0, 1)
NOISE = NoiseFloor(js=0.01, js_median=0.001, logit=0.5, log_odds=0.4, copies=16)


def half_of(p: list[float], a: Distribution = A, b: Distribution = B) -> list[Distribution]:
    """A sweep that is an average but for its middle."""
    points = [blend(float(x), a, b) for x in ALPHAS]
    points[len(points) // 2] = Distribution.from_probs(p)
    return points


def test_distances_within_the_noise_are_not_told_apart() -> None:
    between = half_of(blend(0.16).probs.tolist())  # about as near to A as to the average
    m = mixing_sweep.measure(CASE, ALPHAS, between)
    assert abs(m.js_nearest - m.js_average) < 0.02
    assert m.nearest in mixing_sweep.NEAREST[:2]
    assert mixing_sweep.measure(CASE, ALPHAS, between, NOISE).nearest == "not told apart"
    far = mixing_sweep.measure(CASE, ALPHAS, [A if x <= 0.5 else B for x in ALPHAS], NOISE)
    assert far.nearest == "one of the two"


def test_ends_within_twice_the_noise_have_no_transition() -> None:
    near = Distribution.from_probs([0.5, 0.4, 0.1, 0.0])
    points = [blend(float(x), A, near) for x in ALPHAS]
    js = A.js(near)
    small = NoiseFloor(js=js / 3, log_odds=0.01)
    large = NoiseFloor(js=js, log_odds=0.01)
    far = [blend(float(x)) for x in ALPHAS]
    assert js < mixing_sweep.SAME  # which has none in any case
    assert not mixing_sweep.measure(CASE, ALPHAS, points, small).moves
    assert mixing_sweep.measure(CASE, ALPHAS, far, small).moves
    assert not mixing_sweep.measure(CASE, ALPHAS, far, NoiseFloor(js=0.5)).moves
    assert not mixing_sweep.measure(CASE, ALPHAS, points, large).moves


def test_sharpness_of_a_noisy_line_is_that_of_a_line() -> None:
    rng = np.random.default_rng(0)
    points = []
    for x in ALPHAS:
        d = blend(float(x))
        z = np.log(np.maximum(d.probs.astype(float), 1e-12)) + 0.1 * rng.standard_normal(4)
        points.append(Distribution(z.astype(np.float32)))
    without = mixing_sweep.measure(CASE, ALPHAS, points).sharpness
    assert without > 1.5
    assert mixing_sweep.measure(CASE, ALPHAS, points, NOISE).sharpness < (1 + without) / 2


def test_noise_of_progress_by_hand() -> None:
    a, b = Distribution.from_probs([0.5, 0.5, 0.0]), Distribution.from_probs([0.5, 0.0, 0.5])
    got = measures.progress_noise([a, b], a, b, NOISE)
    step = 0.25 * 0.4  # p (1 - p) · log_odds at .5
    assert got == pytest.approx([0.5 * step / 0.5] * 2)  # one token of the way has noise, |w|² = 0.5
    assert measures.progress_noise([a, b], a, b, NO_NOISE).tolist() == [0, 0]
    assert np.isnan(measures.progress_noise([a], a, a, NOISE)).all()


def test_a_third_token_is_on_top_by_more_than_its_noise() -> None:
    for lead, seen in ((0.02, False), (0.3, True)):
        top, rest = 0.35 + lead / 2, 0.35 - lead / 2
        m = mixing_sweep.measure(CASE, ALPHAS, half_of([rest, top, 0.1, 0.2]), NOISE)
        assert m.top == ""  # no vocabulary
        assert m.is_third_token is seen
        assert mixing_sweep.measure(CASE, ALPHAS, half_of([rest, top, 0.1, 0.2])).is_third_token


def test_emergent_tokens_exceed_both_words_and_the_noise() -> None:
    d = Distribution.from_probs([0.3, 0.3, 0.3, 0.1])
    assert [(e.id, round(e.alone, 3)) for e in measures.emergent_tokens(d, [A, B])] == [(1, 0.2), (2, 0.2)]
    assert measures.emergent_tokens(d, [A, B], NoiseFloor(log_odds=0.5)) == []  # .3 · .7 · .5 is more than .1
    m = mixing_sweep.measure(CASE, ALPHAS, half_of([0.3, 0.3, 0.3, 0.1]), NOISE)
    assert [e.id for e in m.emergent] == [1, 2]
    sentence = mixing_tables.answer([m] * 12, NOISE, 0)[3]
    assert "100.0 %" in sentence
    assert "'The [dog/cat] says': emergent ∅ .300, at most .200 alone." in sentence
    none = mixing_sweep.measure(CASE, ALPHAS, half_of([0.4, 0.15, 0.15, 0.3]), NOISE)
    assert mixing_tables.answer([none] * 12, NOISE, 0)[3].endswith("either word: there is none.")
    assert not mixing_tables.emergent([none], NOISE).rows


def test_mass_that_neither_favours_has_its_floor_beside_it() -> None:
    m = mixing_sweep.measure(CASE, ALPHAS, half_of([0.4, 0.15, 0.15, 0.3]))
    assert m.mass_alone == measures.mass_outside_nuclei_alone([A, B])
    assert "neither word favours, where one of the two alone has up to" in mixing_tables.answer([m] * 12, NOISE, 0)[2]
    head = mixing_tables.half({inputs.PAIRS: [m]}, NOISE, 0).head
    assert head.index("of one alone") == head.index("to neither") + 1


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        (Estimate(0.2, 0.1, 0.3, 20), "yes"),
        (Estimate(-0.2, -0.3, -0.1, 20), "no"),
        (Estimate(0.2, -0.1, 0.3, 20), "no difference seen between x and y"),
        (Estimate(0.2, 0.1, 0.3, 5), "too few cases (n = 5, fewer than 10) to see a difference between x and y"),
        (Estimate(0.005, 0.004, 0.006, 20), "no difference beyond the noise floor between x and y"),
        (Estimate(math.nan, math.nan, math.nan, 0), "too few cases (n = 0, fewer than 10) to see a difference between x and y"),
    ],
)  # fmt: skip
def test_a_difference_has_a_verdict_in_every_case(gap: Estimate, words: str) -> None:
    assert floor.verdict(gap, NOISE, "yes", "no", "x and y") == words


def test_the_floor_in_words_and_in_a_table() -> None:
    assert "JS 0.01 nats, and about ±0.05" in floor.sentence(NOISE)
    assert "changes nothing" in floor.sentence(NO_NOISE)
    assert floor.table(NOISE).rows[0][0] == 0.01


@pytest.mark.parametrize(
    ("start", "kl", "n", "words"),
    [
        (0.2, 2.0, 12, ("rises from", "it has not become one of them")),
        (0.9, 0.01, 12, ("falls from", "it is almost one of them")),
        (0.2, 2.0, 3, ("does not clearly change", "it has not become one of them")),
    ],
)
def test_the_sentence_about_layers_fits_every_outcome(start: float, kl: float, n: int, words: tuple[str, str]) -> None:
    numbers = np.zeros((n, 2, 3, 5))
    numbers[:, 1, :, 0] = np.linspace(start, 0.5, 3)
    numbers[:, 1, :, 1] = kl
    text = layers.sentence(numbers + 1e-3 * np.arange(n)[:, None, None, None], 0)
    assert all(w in text for w in words)
    spread = np.where(np.arange(n) % 2, 2 * kl + 0.3, 0.0)[:, None]
    numbers[:, 1, :, 1] = spread
    if n == 12:
        assert (
            "it may have become one of them" in layers.sentence(numbers, 0) or statistics.mean(spread[:, 0]).low > 0.1
        )


def test_a_report_has_the_floor() -> None:
    with sl.load("bundled:words") as model:
        r = mixing.run(model, quick=True, with_layers=False)
    tables = {t.name: t for t in r.tables}
    assert tables["noise"].rows[0][4] == r.manifest["noise"]["copies"] == 16
    assert any(a.startswith("Noise floor of this model: ") for a in r.answer)
    assert tables["half"].floors.get("JS to the nearer", 0.0) == r.manifest["noise"]["js"]


@pytest.mark.parametrize("arch", ["llama", "gemma3", "lfm2", "mamba", "qwen35"])
def test_states_side_by_side_are_states_one_by_one(arch: str, load: Callable[..., sl.Model]) -> None:
    model = load(arch)
    endings = [7, 11, Mixture([3, 8], [0.25, 0.75])]
    with Lens(model, 32) as r:
        for prefix in ([5, 9, 2], [4]):
            got = r.states_after(prefix, endings)
            want = np.concatenate([r.states([*prefix, e])[0] for e in endings], axis=1)
            assert got.shape == want.shape
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_weights_of_many_layers_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    parts, target = rng.standard_normal((5, 4, 20)), rng.standard_normal((5, 20))
    got = measures.simplex_fit(target, parts)
    assert got == pytest.approx(
        np.stack([measures.simplex_fit(t, p) for t, p in zip(target, parts, strict=True)]), abs=1e-6
    )


def test_readouts_are_read_as_token_after_token(load: Callable[..., sl.Model]) -> None:
    model = load("llama", tokenizer="bpe")
    ids = [int(i) for i in np.random.default_rng(2).integers(0, model.n_vocab, 70)]
    got = rollout.surprise(model, "The dog", ids)
    with model.session() as s:
        d = s.feed(model.tokenize("The dog", bos=True))
        want = []
        for i in ids:
            want.append(-math.log(d[i].p))
            d = s.feed([i])
    assert got == pytest.approx(want, abs=5e-3)  # a batch of another shape
    assert rollout.surprise(model, "The dog", []) == []
