"""What probe reports, against hand computation; and the equations between its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.engine.branches import BRANCHES
from softllama.probe.inputs import MAX_BASELINES, combinations
from softllama.probe.run import ProbeResult
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.sweep import Sweep, crossing, sharpness
from tests.support import tiny

Load = Callable[..., sl.Model]
Model = sl.Model
LN2 = float(np.log(2))


def same(a: Distribution, b: Distribution) -> bool:
    return bool(np.array_equal(a.logits, b.logits))


# ---- baselines, average, weights


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_a_one_hot_mixture_equals_its_component_exactly(load: Load, arch: str) -> None:
    r = load(arch).probe("The {} says", "dog:1")
    assert list(r.baselines) == ["dog"]
    assert same(r.next, r.baselines["dog"])
    assert r.mass_outside_nuclei == pytest.approx(1 - 0.95, abs=0.05)
    assert not r.is_third_token


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "mamba", "lfm2"])
def test_baselines_are_the_prompts_with_the_word(load: Load, arch: str) -> None:
    model = load(arch)
    r = model.probe("The {} says", "dog:0.5,cat:0.5")
    for word in ("dog", "cat"):
        with model.session(n_ctx=64) as s:
            ids = model.tokenize(f"The {word} says", bos=True)
            want = s.feed([*ids[:-1], Mixture.one_hot(ids[-1])]).logits
        assert np.abs(r.baselines[word].logits - want).max() <= 5e-3 * np.abs(want).max()
    with model.session(n_ctx=64) as s:
        the, says = model.tokenize("The", bos=True), model.tokenize(" says")
        want = s.feed([*the, model.mix("dog:0.5,cat:0.5"), *says]).logits
    assert np.abs(r.next.logits - want).max() <= 5e-3 * np.abs(want).max()


def test_weights_and_average_by_hand(model: Model) -> None:
    r = model.probe("The {} says", "dog:0.6,cat:0.3,ball:0.1")
    assert r.weights == {"dog": 0.6, "cat": 0.3, "ball": 0.1}
    assert r.heaviest == "dog"
    assert r.weight_covered == 1
    want = sum(w * r.baselines[k].probs.astype(np.float64) for k, w in r.weights.items())
    assert r.average is not None
    np.testing.assert_allclose(r.average.probs, want, rtol=1e-5)
    assert r.next.js(r.average) > 1e-6, "the model is not linear, so the mixture is not the average"


def test_the_heaviest_of_equals_is_the_first(model: Model) -> None:
    assert model.probe("The {}", "cat:0.5,dog:0.5").heaviest == "cat"


def test_a_weight_of_zero_still_has_a_baseline(model: Model) -> None:
    r = model.probe("The {}", "dog:1,cat:0")
    assert list(r.baselines) == ["dog", "cat"]
    assert same(r.next, r.baselines["dog"])
    np.testing.assert_allclose(r.average.probs, r.next.probs, rtol=1e-5)  # type: ignore[union-attr]


def test_a_signed_mixture_has_no_average(model: Model) -> None:
    r = model.probe("The {}", "dog:1,cat:-1,ball:1", signed=True)
    assert r.average is None
    assert r.weights == {"dog": 1, "cat": -1, "ball": 1}
    assert r.to_dict()["average"] is None


def test_two_mixtures_give_the_combinations(model: Model) -> None:
    r = model.probe("The {a} sees the {b}", ["a=dog:0.75,cat:0.25", "b=ball:0.5,bone:0.5"])
    assert r.weights == {"dog+ball": 0.375, "dog+bone": 0.375, "cat+ball": 0.125, "cat+bone": 0.125}
    alone = model.probe("The {a} sees the {b}", {"a": "cat", "b": "bone"})
    assert np.abs(alone.next.logits - r.baselines["cat+bone"].logits).max() < 1e-3
    assert [m.name for m in r.mixtures] == ["a", "b"]
    by_names = model.probe("The {a} sees the {b}", {"b": "ball:0.5,bone:0.5", "a": "dog:0.75,cat:0.25"})
    assert np.abs(by_names.next.logits - r.next.logits).max() < 1e-3
    assert set(by_names.weights) == {"ball+dog", "ball+cat", "bone+dog", "bone+cat"}


def test_mixtures_without_names_go_in_order(model: Model) -> None:
    r = model.probe("The {} sees the {}", ["dog:0.75,cat:0.25", "ball:0.5,bone:0.5"])
    named = model.probe("The {a} sees the {b}", ["a=dog:0.75,cat:0.25", "b=ball:0.5,bone:0.5"])
    assert same(r.next, named.next)
    assert list(r.weights) == list(named.weights)


def test_one_mixture_in_two_places_moves_in_both(model: Model) -> None:
    r = model.probe("The {} sees the {}", "dog:0.5,cat:0.5", sweep=3)
    assert list(r.baselines) == ["dog", "cat"]
    twice = model.probe("The {a} sees the {b}", ["a=dog", "b=dog"])
    assert np.abs(twice.next.logits - r.baselines["dog"].logits).max() < 1e-3
    assert r.sweep is not None
    assert same(r.sweep.distributions[0], r.baselines["dog"])
    assert same(r.sweep.distributions[1], r.next)


def test_a_place_at_the_start_has_no_space_and_one_inside_has(model: Model) -> None:
    r = model.probe("{} sees the {}", "dog:0.5,cat:0.5")
    texts = [[model.spell(i) for i, _ in c.mixture.top()] for m in r.mixtures for c in m.components]
    assert texts == [["dog"], ["cat"]]
    with model.session(n_ctx=64) as s:
        ids = model.tokenize("dog sees the dog", bos=True)
        want = s.feed(ids).logits
    assert np.abs(r.baselines["dog"].logits - want).max() <= 5e-3 * np.abs(want).max()


def test_baselines_are_bounded_and_say_what_they_cover(load: Load) -> None:
    model = load("llama")
    r = np.random.default_rng(4)
    weights = r.dirichlet(np.ones(200))
    result = model.probe("The {}", Mixture(np.arange(200), weights))
    assert len(result.baselines) == MAX_BASELINES
    heaviest = np.sort(Mixture(np.arange(200), weights).weights)[::-1][:MAX_BASELINES]
    assert result.weight_covered == pytest.approx(heaviest.sum(), rel=1e-5)
    assert sorted(result.weights.values(), reverse=True) == pytest.approx(heaviest.tolist(), rel=1e-6)
    two = model.probe(
        "{a}{b}", {"a": Mixture(np.arange(20), np.full(20, 0.05)), "b": Mixture(np.arange(9), np.full(9, 1 / 9))}
    )
    assert len(two.baselines) == MAX_BASELINES
    assert two.weight_covered == pytest.approx(MAX_BASELINES / 180, rel=1e-4)


def test_the_heaviest_combinations_are_found(load: Load) -> None:
    class Part:
        def __init__(self, weight: float) -> None:
            self.weight = weight

    class Fake:
        def __init__(self, weights: Any) -> None:
            self.components = [Part(float(w)) for w in weights]

    r = np.random.default_rng(5)
    sets = [r.dirichlet(np.ones(n)) for n in (9, 7, 11)]
    combos, covered = combinations([Fake(w) for w in sets])  # type: ignore[misc]
    products = np.einsum("i,j,k->ijk", *sets)
    best = np.sort(products.reshape(-1))[::-1][:MAX_BASELINES]
    assert sorted((products[c] for c in combos), reverse=True) == pytest.approx(best.tolist(), rel=1e-12)
    assert covered == pytest.approx(best.sum(), rel=1e-9)
    assert combos == sorted(combos)


def test_words_with_the_same_text_keep_their_places(model: Model) -> None:
    r = model.probe("The {}", '"dog":0.5," dog":0.5')
    assert len(r.baselines) == 2
    assert len(r.weights) == 2
    assert same(r.baselines["dog"], model.probe("The {}", "dog:0.5,cat:0.5").baselines["dog"])
    twice = model.probe("{a}{b}", {"a": "#40:0.5,#41:0.5", "b": "#40:0.5,#41:0.5"})
    assert len(twice.baselines) == 4


def test_labels_with_a_plus_do_not_collide(model: Model) -> None:
    """ "a+b" in one place and "a", "b" in two would have one label: every combination must be kept."""
    r = model.probe("{a}{b}", {"a": '"a+b":0.5,"a":0.5', "b": '"c":0.5,"b+c":0.5'}, split="mean")
    assert len(r.baselines) == len(r.weights) == 4


def test_words_that_are_names_of_rows(model: Model) -> None:
    r = model.probe("The {}", "mixture:0.5,average:0.5", split="first", continue_tokens=1)
    assert list(r.baselines) == ['"mixture"', '"average"']
    assert list(r.continuations) == ["mixture", '"mixture"', '"average"']
    assert [name for name, _, _ in r.rows()] == ["mixture", '"mixture"', '"average"', "average"]


def test_splits(model: Model) -> None:
    ids = model.tokenize(" doghouse")
    for split, want in (("first", Mixture.one_hot(ids[0])), ("last", Mixture.one_hot(ids[-1]))):
        assert model.probe("The {}", "doghouse", split=split).mixtures[0].mixture == want
    mean = model.probe("The {}", "doghouse:0.5,cat:0.5", split="mean")
    assert list(mean.baselines) == ["doghouse", "cat"]
    assert mean.mixtures[0].components[0].mixture == Mixture(ids, np.full(len(ids), 1 / len(ids)))


def test_a_vector_is_a_mixture(model: Model, tmp_path: Path) -> None:
    v = np.zeros(model.n_vocab)
    v[[40, 41]] = 0.75, 0.25
    np.save(tmp_path / "v.npy", v)
    r = model.probe("The {a}", f"a=@{tmp_path / 'v.npy'}")
    assert r.mixtures[0].mixture == Mixture([40, 41], [0.75, 0.25])
    assert list(r.weights.values()) == [0.75, 0.25]
    assert same(r.next, model.probe("The {}", Mixture([40, 41], [0.75, 0.25])).next)


# ---- tokens that neither word brings, tokens by name, copies, prompts


def test_emergent_tokens_by_hand() -> None:
    a, b = d(0.9, 0.05, 0.05, 0, 0), d(0.05, 0.9, 0.05, 0, 0)
    r = result(d(0.45, 0.2, 0.15, 0.195, 0.005), a, b)
    assert [(e.id, round(e.p, 3), round(e.alone, 3)) for e in r.emergent] == [(3, 0.195, 0), (2, 0.15, 0.05)]
    assert "emergent: ∅ .195, at most .000 alone; ∅ .150, at most .050 alone" in r.table()
    assert [e["id"] for e in r.to_dict()["emergent"]] == [3, 2]
    quiet = replace(r, noise=NoiseFloor(js=1e-3, log_odds=1.0))  # which may move .15 by .13
    assert [e.id for e in quiet.emergent] == [3]
    assert result(a, a, b).emergent == []


def test_the_floor_of_mass_outside_nuclei_stands_beside_it() -> None:
    a, b = d(0.96, 0.01, 0.01, 0.01, 0.01), d(0.01, 0.96, 0.01, 0.01, 0.01)
    r = result(a, a, b)
    assert r.mass_outside_nuclei == pytest.approx(0.03)
    assert r.mass_outside_nuclei_alone == pytest.approx(0.03)
    assert "a component alone has up to 0.0300 there" in r.table()
    assert r.to_dict()["stray_mass_alone"] == pytest.approx(0.03)


def test_emergent_tokens_are_in_a_sweep() -> None:
    rows = [[0.9, 0.1, 0], [0.5, 0.3, 0.2], [0.1, 0.9, 0]]
    s = sweep_of(rows)
    assert s.emergent == [2]
    assert [c.id for c in s.curves] == [0, 1, 2]


def test_tokens_are_followed_by_name(model: Model) -> None:
    r = model.probe("The {} says", "dog,cat", sweep=3, watch=" ball, bone")
    ids = [model.tokenize(w)[0] for w in (" ball", " bone")]
    assert list(r.watched) == ids
    assert r.sweep is not None
    assert [c.id for c in r.sweep.curves[:2]] == ids
    assert [t["id"] for t in r.to_dict()["next"]["watched"]] == ids
    assert "alone: dog" in r.table()
    with pytest.raises(sl.MixtureError):
        model.probe("The {} says", "dog,cat", watch=",")


@pytest.mark.parametrize("arch", ["llama", "gemma3", "mamba"])
def test_repeats_are_averages_over_copies(load: Load, arch: str) -> None:
    model = load(arch)
    one = model.probe("The {} says", "dog,cat", sweep=3, continue_tokens=2)
    many = model.probe("The {} says", "dog,cat", sweep=3, continue_tokens=2, repeats=5)
    assert many.repeats == 5
    assert many.continuations == one.continuations
    assert many.sweep is not None
    assert same(many.sweep.distributions[1], many.next)
    assert not same(one.next, many.next)
    assert one.next.js(many.next) < 1e-5
    with pytest.raises(sl.UsageError):
        model.probe("The {} says", "dog,cat", repeats=0)


def test_without_a_prompt_the_frame_is_taken_in_which_the_words_differ_most(model: Model) -> None:
    r = model.probe(mix="dog:0.3,cat:0.7")
    assert r.prompt == max(r.frames, key=lambda k: r.frames[k]) == next(iter(r.frames))
    assert len(r.frames) > 3
    for frame in r.frames:
        alone = model.probe(frame, "dog:0.3,cat:0.7").baselines
        assert r.frames[frame] == pytest.approx(alone["dog"].js(alone["cat"]))
    assert model.probe(mix="dog").prompt == "The {} says"  # nothing to compare


# ---- stray mass


def result(next_: Distribution, *baselines: Distribution) -> ProbeResult:
    named = {str(i): d for i, d in enumerate(baselines)}
    return ProbeResult(
        prompt="",
        mixtures=[],
        next=next_,
        baselines=named,
        weights=dict.fromkeys(named, 1 / len(named)),
        average=None,
        weight_covered=1.0,
        sweep=None,
        continuations={},
        n_top=5,
        tokens=[],
        make_manifest=dict,
    )


def d(*p: float) -> Distribution:
    return Distribution.from_probs(p)


def test_stray_mass_by_hand() -> None:
    a, b = d(0.90, 0.06, 0.02, 0.01, 0.01), d(0.01, 0.01, 0.96, 0.01, 0.01)
    # the nucleus of a is {0, 1} (0.90 < 0.95 <= 0.96), that of b {2}: tokens 3 and 4 are favoured by none
    assert result(d(0.1, 0.1, 0.1, 0.3, 0.4), a, b).mass_outside_nuclei == pytest.approx(0.7, abs=1e-6)
    assert result(d(0.1, 0.1, 0.1, 0.3, 0.4), a).mass_outside_nuclei == pytest.approx(0.8, abs=1e-6)
    assert result(a, a, b).mass_outside_nuclei == pytest.approx(0.02, abs=1e-6)
    assert result(d(0, 0, 0, 0, 1), d(1, 0, 0, 0, 0)).mass_outside_nuclei == pytest.approx(1)
    assert result(d(0.25, 0.25, 0.25, 0.25), d(0.25, 0.25, 0.25, 0.25)).mass_outside_nuclei == pytest.approx(
        0, abs=1e-6
    )


def test_a_third_token_by_hand() -> None:
    a, b = d(0.9, 0.1, 0.0), d(0.1, 0.9, 0.0)
    assert result(d(0.1, 0.1, 0.8), a, b).is_third_token
    assert not result(d(0.1, 0.8, 0.1), a, b).is_third_token


# ---- sweeps


@pytest.mark.parametrize("arch", tiny.ARCHS)
@pytest.mark.parametrize("points", [2, 21, 150])
def test_the_ends_of_a_sweep_are_the_baselines_exactly(load: Load, arch: str, points: int) -> None:
    """Bit for bit, whichever batch they went through in."""
    r = load(arch).probe("The {} says", "dog:0.3,cat:0.7", sweep=points)
    assert r.sweep is not None
    assert len(r.sweep.distributions) == len(r.sweep.alphas) == points
    assert same(r.sweep.distributions[0], r.baselines["dog"])
    assert same(r.sweep.distributions[-1], r.baselines["cat"])
    assert not same(r.sweep.distributions[0], r.sweep.distributions[-1])


def test_a_sweep_goes_through_the_mixture(model: Model) -> None:
    r = model.probe("The {} says", "dog:0.5,cat:0.5", sweep=5)
    assert r.sweep is not None
    assert r.sweep.alphas.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert same(r.sweep.distributions[2], r.next)
    assert (r.sweep.start, r.sweep.end) == ("dog", "cat")


def test_a_sweep_of_three_keeps_the_proportion_of_the_others(model: Model) -> None:
    r = model.probe("The {} says", "dog:0.5,cat:0.375,ball:0.125", sweep=3)
    end = model.probe("The {} says", "cat:0.75,ball:0.25")
    assert r.sweep is not None
    assert r.sweep.end == "cat + ball"
    assert np.abs(r.sweep.distributions[-1].logits - end.next.logits).max() < 1e-3
    assert same(r.sweep.distributions[1], r.next)
    zero = model.probe("The {} says", "dog:1,cat:0,ball:0", sweep=3)
    even = model.probe("The {} says", "cat:0.5,ball:0.5")
    assert zero.sweep is not None
    assert np.abs(zero.sweep.distributions[-1].logits - even.next.logits).max() < 1e-3


def test_the_second_mixture_stays_in_a_sweep(model: Model) -> None:
    r = model.probe("The {a} {b}", ["a=dog,cat", "b=ball,bone"], sweep=3)
    assert r.sweep is not None
    end = model.probe("The {a} {b}", ["a=cat", "b=ball,bone"])
    assert np.abs(r.sweep.distributions[-1].logits - end.next.logits).max() < 1e-3
    assert same(r.sweep.distributions[1], r.next)


def test_room_is_made_for_what_is_continued_only(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 points of a sweep need no room for the text that follows the mixture and its components."""
    asked: list[int] = []
    context = sl.Model.new_context
    monkeypatch.setattr(sl.Model, "new_context", lambda self, n, *rest: asked.append(n) or context(self, n, *rest))
    r = model.probe("The {}", "dog:0.3,cat:0.7", sweep=60, continue_tokens=200)
    assert len(r.continuations) == 3
    assert asked == [2 + BRANCHES + 3 * 200]


@pytest.mark.parametrize("table", ["F32", "Q8_0", "Q4_K"])
@pytest.mark.parametrize("rest", [" says", " says that the dog and the cat and the ball"])
def test_a_mixture_has_one_value_whatever_else_is_asked(load: Load, table: str, rest: str) -> None:
    """Sweeps of 11 and of 21 points, a probe without one, other components beside it: the same to the bit."""
    model = load("llama", table_type=table)
    alone = model.probe("The {}" + rest, "dog:0.5,cat:0.5")
    for points in (3, 11, 21):
        r = model.probe("The {}" + rest, "dog:0.5,cat:0.5", sweep=points)
        assert r.sweep is not None
        assert same(r.sweep.distributions[points // 2], alone.next)
        assert same(r.sweep.distributions[-1], alone.baselines["cat"])
    other = model.probe("The {}" + rest, "cat:0.25,ball:0.25,dog:0.25,bone:0.25", continue_tokens=3)
    assert same(other.baselines["cat"], alone.baselines["cat"])


@pytest.mark.parametrize("arch", ["llama", "lfm2"])
def test_the_beginning_is_computed_once(load: Load, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 points cost their own tails, not a prompt each."""
    from softllama.llama.context import Context

    model, batches = load(arch), []
    model.probe("the {} says", "dog,cat", sweep=3)  # the noise floor is measured once
    decode = Context.decode

    def count(self: Context, seqs: Any, *rest: Any, **more: Any) -> Any:
        batches.append(len(seqs))
        return decode(self, seqs, *rest, **more)

    monkeypatch.setattr(Context, "decode", count)
    prefix = "the " * 100
    model.probe(prefix + "{} says", "dog,cat", sweep=101)
    n_tails = 101  # the mixture and the two components are points of the sweep
    n_batches = -(-n_tails // BRANCHES)
    n_prefix = len(model.tokenize(prefix[:-1], bos=True))
    repeated = n_batches if model.recurrent else 1  # recurrent memories cannot go back to the end of the prefix
    assert sum(batches) == 2 * n_batches * BRANCHES + repeated * n_prefix
    assert len(batches) == n_batches + repeated


def sweep_of(rows: Any) -> Sweep:
    return Sweep("a", "b", np.linspace(0, 1, len(rows)), [Distribution.from_probs(p) for p in rows])


def test_a_straight_line() -> None:
    alphas = np.linspace(0, 1, 11)
    s = sweep_of([[1 - a, a] for a in alphas])
    for c in s.curves:
        assert c.sharpness == pytest.approx(1, rel=1e-5)
        assert c.midpoint == pytest.approx(0.5, abs=1e-6)
        assert c.above == c.below == 0
    assert s.midpoint == pytest.approx(0.5, abs=1e-6)
    assert s.js_start[0] == s.js_end[-1] == 0
    assert s.js_start[-1] == pytest.approx(LN2)
    np.testing.assert_allclose(s.js_start, s.js_end[::-1], atol=1e-7)
    assert s.entropy[5] == pytest.approx(LN2)


def test_a_step() -> None:
    s = sweep_of([[0.9, 0.1]] * 7 + [[0.1, 0.9]] * 4)  # between 0.6 and 0.7
    c = s.curve(1)
    assert c.sharpness == pytest.approx(10, rel=1e-5)  # all of it in one tenth
    assert c.midpoint == pytest.approx(0.65, abs=1e-6)
    assert s.midpoint == pytest.approx(0.65, abs=1e-6)
    assert c.above == c.below == 0
    np.testing.assert_allclose(c.p, [0.1] * 7 + [0.9] * 4, rtol=1e-6)


def test_an_excursion() -> None:
    s = sweep_of([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    third, first = s.curve(2), s.curve(0)
    assert third.above == pytest.approx(0.4, abs=1e-6)
    assert third.below == 0
    assert first.below == pytest.approx(0.1, abs=1e-6)
    assert first.above == 0
    assert third.sharpness == pytest.approx(0.5 / 0.5 / 0.5, rel=1e-5)  # 0.5 in half a step, of a spread of 0.5


def test_a_curve_that_does_not_move() -> None:
    s = sweep_of([[0.5, 0.5]] * 3)
    c = s.curve(0)
    assert (c.sharpness, c.midpoint, c.above, c.below) == (0, None, 0, 0)
    assert s.midpoint is None


@pytest.mark.parametrize("p", [[0.687, 0.70, 0.69, 0.718, 0.70], [0.70, 0.70, 0.70, 0.70, 0.70]])
def test_a_curve_within_the_noise_floor_has_no_midpoint_and_no_sharpness(p: list[float]) -> None:
    """P(Paris) along α = ±0.0001 on a quantized model, where the same weights in F32 give .7045 to .7050."""
    rows = [Distribution.from_probs([x, 1 - x]) for x in p]
    js = rows[0].js(rows[3]) + 1e-6
    s = Sweep("a", "b", np.linspace(0, 1, 5), rows, NoiseFloor(js=js, log_odds=0.16))
    assert s.midpoint is None
    for c in s.curves:
        assert (c.midpoint, c.sharpness) == (None, None)


def test_of_a_step_only_what_exceeds_the_floor_counts() -> None:
    """A line from 0.1 to 0.9 with steps of rounding on it: sharpness near 1, as without them."""
    alphas = np.linspace(0, 1, 101)
    p = 0.1 + 0.8 * alphas + 0.02 * np.where(np.arange(101) % 2, 1, -1) * (np.abs(alphas - 0.5) < 0.49)
    rows = [Distribution.from_probs([x, 1 - x]) for x in p]
    raw = Sweep("a", "b", alphas, rows).curve(0).sharpness
    shown = Sweep("a", "b", alphas, rows, NoiseFloor(js=1e-3, log_odds=0.5)).curve(0).sharpness
    assert raw is not None
    assert shown is not None
    assert raw > 5
    assert 0.7 < shown <= 1.05


def test_crossing_by_hand() -> None:
    x = np.linspace(0, 1, 5)
    assert crossing(x, np.array([0, 0, 1, 1, 1.0]), 0.5) == pytest.approx(0.375)
    assert crossing(x, np.array([1, 1, 0, 0, 0.0]), 0.25) == pytest.approx(0.4375)
    assert crossing(x, np.array([0, 2, 0, 2, 0.0]), 1) == pytest.approx(0.125)  # the first of several
    assert crossing(x, np.array([0, 0, 0, 0, 1.0]), 1) == 1
    assert crossing(x, np.array([0, 0, 0, 0, 0.5]), 1) is None
    assert crossing(x, np.array([1, 0, 0, 0, 0.5]), 1) is None


def test_sharpness_by_hand() -> None:
    assert sharpness(np.array([0, 0.5, 1]), np.array([0, 0.75, 1])) == pytest.approx(1.5)
    assert sharpness(np.array([0, 0.5, 1]), np.array([0, 1, 0])) == pytest.approx(2)
    assert sharpness(np.array([0, 1.0]), np.array([0.3, 0.3])) == 0


def test_which_curves_are_shown() -> None:
    p = np.full((5, 20), 1e-4)
    p[0, 0], p[-1, 1], p[1, 2], p[2, 3], p[3, 4] = (1,) * 5
    s = sweep_of(p / p.sum(1, keepdims=True))
    ids = [c.id for c in s.curves]
    assert ids[:2] == [0, 1]  # the likeliest of each end first
    assert {2, 3, 4} <= set(ids)
    assert len(ids) == len(set(ids)) <= 6
    assert set(s.measures["curves"]) == set(ids)
    assert set(s.measures["curves"][0]) == {"text", "midpoint", "sharpness", "above", "below"}


# ---- continuations, chat, records


@pytest.mark.parametrize("arch", ["llama", "qwen2vl", "mamba", "lfm2"])
def test_continuations(load: Load, arch: str) -> None:
    model = load(arch)
    r = model.probe("The {} says", "dog:0.5,cat:0.5", continue_tokens=8)
    assert list(r.continuations) == ["mixture", "dog", "cat"]
    with model.session(n_ctx=64) as s:
        d = s.feed(model.tokenize("The dog says", bos=True))
        ids = []
        while len(ids) < 8 and not model.is_eog(d.argmax):
            ids.append(d.argmax)
            d = s.feed([d.argmax])
    assert r.continuations["dog"] == model.detokenize(ids)
    one = model.probe("The {} says", "dog:1", continue_tokens=8)
    assert one.continuations["mixture"] == one.continuations["dog"]


def test_chat_puts_the_place_into_the_template(load: Load) -> None:
    model = load("llama", chat_template=tiny.CHAT_TEMPLATE)
    r = model.probe("The {} says", "dog:0.5,cat:0.5", chat=True, system="a b")
    text = "".join(r.tokens)
    assert text == (
        "<|bos|><|im_start|>system\na b<|im_end|>\n<|im_start|>user\nThe{} says<|im_end|>\n<|im_start|>assistant\n"
    )
    raw = text.replace("The{}", "The {}").removeprefix("<|bos|>")
    assert same(r.next, model.probe(raw, "dog:0.5,cat:0.5").next)
    assert r.tokens.count("{}") == 1
    two = model.probe("{a} and {b}", {"a": "dog", "b": "cat"}, chat=True)
    assert [t for t in two.tokens if t.startswith("{")] == ["{a}", "{b}"]


def test_a_template_that_writes_bos_gets_one(load: Load) -> None:
    model = load("llama", chat_template="{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    r = model.probe("{}", "dog", chat=True)
    assert r.tokens == ["<|bos|>", "{}", "<|eos|>"]


def test_to_dict_is_json(model: Model) -> None:
    r = model.probe("The {a} \n犬 {b}", ["a=dog:0.5,cat:0.5", "b=ball,bone"], sweep=4, continue_tokens=3, n_top=2)
    out = json.loads(json.dumps(r.to_dict(), allow_nan=False))
    assert out["prompt"] == "The {a} \n犬 {b}"
    assert len(out["next"]["top"]) == 2
    assert set(out["next"]["top"][0]) == {"id", "text", "p"}
    assert out["next"]["js_to_mixture"] == 0
    assert set(out["baselines"]) == {"dog+ball", "dog+bone", "cat+ball", "cat+bone"}
    assert out["baselines"]["dog+ball"]["weight"] == 0.25
    assert out["baselines"]["dog+ball"]["entropy"] == pytest.approx(r.baselines["dog+ball"].entropy())
    assert out["baselines"]["dog+ball"]["js_to_mixture"] == pytest.approx(r.baselines["dog+ball"].js(r.next))
    assert out["sweep"]["alphas"] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert len(out["sweep"]["curves"][0]["p"]) == 4
    assert set(out["continuations"]) == {"mixture", *out["baselines"]}
    assert out["mixtures"][0] == {
        "name": "a",
        "components": [
            {"label": w, "weight": 0.5, "tokens": [[model.tokenize(f" {w}")[0], 1.0]]} for w in ("dog", "cat")
        ],
    }
    assert out["stray_mass"] == pytest.approx(r.mass_outside_nuclei)
    assert "sweep" not in model.probe("{}", "dog").to_dict()


def test_the_manifest_says_how(model: Model) -> None:
    import hashlib

    m = model.probe("The {}", "dog:1,cat:1", normalize=True, n_top=3).manifest
    assert set(m) >= {
        "softllama", "llama_cpp", "numpy", "python", "system", "created", "model", "calibration", "device", "device_reason",
        "n_threads", "n_ctx", "seed", "arguments",
    }  # fmt: skip
    assert m["softllama"] == sl.__version__
    assert m["model"]["sha256"] == hashlib.sha256(Path(model.path).read_bytes()).hexdigest()
    assert m["model"]["bytes"] == Path(model.path).stat().st_size
    assert (m["model"]["architecture"], m["model"]["table"]) == ("llama", "F32")
    assert m["calibration"]["multiplier"] == 1
    assert m["n_threads"] == 1
    assert m["arguments"]["normalize"] is True
    assert m["arguments"]["mix"] == ["dog:1,cat:1"]
    assert m["arguments"]["top"] == 3


def test_rows_and_how_it_shows_itself(model: Model) -> None:
    r = model.probe("The {} says", "dog:0.5,cat:0.5")
    assert [(name, w) for name, w, _ in r.rows()] == [("mixture", None), ("dog", 0.5), ("cat", 0.5), ("average", None)]
    assert repr(r).startswith("ProbeResult('The {} says', top ")
    assert "<table" in r._repr_html_()
    table = r.table()
    assert all(name in table for name in ("mixture", "dog", "cat", "average"))
    assert r.csv().count("\n") > 4


def test_the_same_probe_twice_is_the_same_to_the_bit(model: Model) -> None:
    a, b = (model.probe("The {} says", "dog:0.5,cat:0.5", sweep=9, continue_tokens=5) for _ in range(2))
    assert same(a.next, b.next)
    assert a.continuations == b.continuations
    assert a.sweep is not None
    assert b.sweep is not None
    assert all(same(x, y) for x, y in zip(a.sweep.distributions, b.sweep.distributions, strict=True))


def test_a_mixture_of_a_mapping_is_in_the_title_by_its_slot(model: Model) -> None:
    as_text = model.probe("The {a} says", "a=dog:0.5,cat:0.5")
    as_mapping = model.probe("The {a} says", {"a": "dog:0.5,cat:0.5"})
    assert as_mapping.title == as_text.title == "The [0.5 dog + 0.5 cat] says"
