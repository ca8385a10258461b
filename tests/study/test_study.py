"""The studies: measures on cases with known results, averages against brute force, and reports that repeat to the digit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import Distribution, Mixture
from softllama.errors import SoftLlamaError, UsageError
from softllama.study import (
    answers,
    answers_ways,
    feedback,
    feedback_tables,
    feedback_walk,
    inputs,
    layers,
    mixing,
    mixing_sweep,
    rollout,
)
from softllama.study.inputs import Case
from softllama.vectors import measures, statistics
from tests.conftest import Cli
from tests.support import tiny

A = Distribution.from_probs([0.7, 0.2, 0.1, 0.0])
B = Distribution.from_probs([0.0, 0.1, 0.2, 0.7])
UNIFORM = Distribution.from_probs([0.25] * 4)
HOT = Distribution.from_probs([0.0, 1.0, 0.0, 0.0])
ALPHAS = np.linspace(0.0, 1.0, mixing_sweep.POINTS)


def blend(alpha: float, a: Distribution = A, b: Distribution = B) -> Distribution:
    return Distribution.from_probs((1 - alpha) * a.probs.astype(float) + alpha * b.probs.astype(float))


# ---- measures


def test_an_average_of_outputs_is_a_straight_line() -> None:
    case = Case("x", "The {}", "a", "b", 0, 1)
    m = mixing_sweep.measure(case, ALPHAS, [blend(float(x)) for x in ALPHAS])
    assert m.progress == pytest.approx(ALPHAS, abs=1e-6)
    assert (m.midpoint, m.width, m.sharpness) == pytest.approx((0.5, 0.8, 1.0), abs=1e-5)
    assert m.nearest == "their average"
    assert m.js_average == pytest.approx(0, abs=1e-7)
    assert m.mass_outside_nuclei <= 0.05


def test_a_switch_has_no_width() -> None:
    m = mixing_sweep.measure(Case("x", "The {}", "a", "b", 0, 1), ALPHAS, [A if x <= 0.5 else B for x in ALPHAS])
    assert m.width == pytest.approx(0.04)  # 0.8 of one step of the grid
    assert m.sharpness == pytest.approx(20)
    assert (m.nearest, m.js_nearest) == ("one of the two", 0.0)
    assert m.js_average == pytest.approx(A.js(blend(0.5)))


def test_two_equal_rows_have_no_transition() -> None:
    m = mixing_sweep.measure(Case("x", "The {}", "a", "a", 0, 0), ALPHAS, [A] * len(ALPHAS))
    assert m.js_ends == m.js_nearest == m.js_average == 0.0
    assert math.isnan(m.width)
    assert not m.is_third_token


def test_a_third_thing_is_seen() -> None:
    third = Distribution.from_probs([0.01, 0.98, 0.01, 0.0])
    far = Distribution.from_probs([0.0, 0.0, 0.02, 0.98])
    near = Distribution.from_probs([0.98, 0.0, 0.02, 0.0])
    m = mixing_sweep.measure(Case("x", "The {}", "a", "b", 0, 1), ALPHAS, [near] * 5 + [third] * 10 + [far] * 6)
    assert m.is_third_token
    assert m.mass_outside_nuclei == pytest.approx(0.99)  # tokens 1 and 2 are in neither nucleus


def test_uniform_and_one_hot() -> None:
    assert len(measures.nucleus(UNIFORM)) == 4
    assert measures.nucleus(HOT).tolist() == [1]
    assert measures.mass_outside_nuclei(UNIFORM, [HOT]) == pytest.approx(0.75)
    assert measures.mass_outside_nuclei(HOT, [UNIFORM]) == 0.0
    assert measures.progress([UNIFORM, HOT], UNIFORM, HOT) == pytest.approx([0, 1])
    assert np.isnan(measures.progress([HOT], HOT, HOT)).all()
    assert measures.total_variation(UNIFORM.probs, HOT.probs) == pytest.approx(0.75)
    assert measures.dominance(0.0, 0.3) == 1.0
    assert measures.dominance(0.2, 0.2) == 0.0
    assert math.isnan(measures.dominance(0.0, 0.0))
    assert measures.cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))


def test_weights_are_recovered_from_a_linear_state() -> None:
    rng = np.random.default_rng(0)
    for k in (2, 3, 6):
        parts, w = rng.standard_normal((k, 40)), rng.dirichlet(np.ones(k))
        assert measures.simplex_fit(w @ parts, parts) == pytest.approx(w, abs=1e-6)
        assert measures.simplex_fit(parts[1], parts) == pytest.approx(np.eye(k)[1], abs=1e-6)  # a collapsed state
    assert measures.project(np.array([0.2, 0.3, 0.5])) == pytest.approx([0.2, 0.3, 0.5])
    assert measures.project(np.array([5.0, 0.0])) == pytest.approx([1, 0])


def test_repetition_and_windows_by_hand() -> None:
    assert measures.repetition([1, 2, 3, 1, 2, 3]) == pytest.approx(1 / 4)
    assert measures.repetition([1, 2, 3, 4]) == 0.0
    assert math.isnan(measures.repetition([1, 2]))
    assert measures.windows([1, 2, 3, 4], 2).tolist() == [1.5, 2.5, 3.5]
    assert not len(measures.windows([1], 2))
    assert rollout.coherent([0.0] * 10 + [9.0] * 10, 1.0) == 3  # the window that begins at 3 has one of them
    assert rollout.coherent([0.0] * 10, 1.0) == 10


# ---- a model whose output is known


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], sl.Model]:
    """A llama of which logits are linear in the input: nothing but norm and head, and rows of (nearly) the same length.

    Token 5 gives logits (s, -s) to tokens 7 and 8, token 6 the opposite, and nothing to the others. So after
    (1-α) [5] + α [6], p(7) is 1 / (1 + exp(-2s(1 - 2α))), up to the tiny mass of the rest.
    """

    def make(s: float) -> sl.Model:
        n, vocab = 64, 64
        table = np.zeros((vocab, n), np.float32)
        table[:, 0] = 100.0  # so long that the norm hardly sees the rest
        table[5, 1], table[6, 1] = 1.0, -1.0
        head = np.zeros((vocab, n), np.float32)
        norm = 100.0 / math.sqrt(n)  # what the norm divides by
        head[7, 1], head[8, 1] = s * norm, -s * norm
        head[:7, 0] = head[9:, 0] = -40.0 / math.sqrt(n)  # the others: a logit of -40
        zeros = {
            f"blk.{i}.{name}.weight": np.zeros(shape, np.float32)
            for i in range(2)
            for name, shape in (("attn_output", (n, n)), ("ffn_down", (n, 96)))
        }
        path = tmp_path_factory.mktemp("linear") / "linear.gguf"
        more = {"token_embd.weight": table, "output.weight": head, "output_norm.weight": np.ones(n, np.float32)}
        return sl.load(tiny.write_model(path, tokenizer="none", replace={**zeros, **more}), n_threads=1)

    return make


def sweep_of(model: sl.Model) -> mixing_sweep.SweepResult:
    from softllama.engine import branches

    case = Case(inputs.PAIRS, "{}", "five", "six", 5, 6)
    ends = branches.run(model, [1], [[mixing_sweep.between(model, case, float(a))] for a in ALPHAS])
    return mixing_sweep.measure(case, ALPHAS, [e.next for e in ends])


@pytest.mark.parametrize("s", [0.5, 2.0, 4.0])
def test_a_linear_model_gives_the_curve_of_its_formula(linear: Callable[[float], sl.Model], s: float) -> None:
    m = sweep_of(linear(s))
    p = 1 / (1 + np.exp(-2 * s * (1 - 2 * ALPHAS)))  # of token 7
    expected = (p[0] - p) / (p[0] - p[-1])
    assert m.progress == pytest.approx(expected, abs=2e-3)
    assert m.midpoint == pytest.approx(0.5, abs=1e-3)
    at = [float(np.interp(x, expected, ALPHAS)) for x in (0.1, 0.9)]
    assert m.width == pytest.approx(at[1] - at[0], abs=3e-3)
    assert m.mass_outside_nuclei <= 0.05
    if s == 0.5:  # nearly straight: the output is nearly linear as well
        assert m.width == pytest.approx(0.8, abs=0.03)
        assert m.nearest == "their average"
    else:
        assert m.width < 0.7


def test_no_layer_of_a_linear_model_prefers_a_word(linear: Callable[[float], sl.Model]) -> None:
    from softllama.engine.lens import Lens

    model = linear(2.0)
    with Lens(model, 8) as r:
        runs = []
        for item in (Mixture([5, 6], [0.5, 0.5]), 5, 6):
            states, logits = r.states([1, item])
            runs.append((states, np.repeat(logits[None], len(states), 0)))
        numbers = layers.compare(*runs)
        weights = feedback_walk.recover(r, [1], [5, 6], np.array([0.3, 0.7]))
    assert numbers[0, :, 0] == pytest.approx(0, abs=1e-3)  # dominance
    assert numbers[0, :, 1] == pytest.approx(numbers[0, :, 2], abs=1e-3)  # KL to either
    assert weights == pytest.approx(np.array([[0.3, 0.7]] * 2), abs=1e-2)  # and the state holds all of the weights


def test_layers_of_a_word_with_itself_are_that_word(load: Callable[..., sl.Model]) -> None:
    model = load("llama")
    numbers = layers.measure(model, [Case("x", "The {} says", "dog", "dog", 300, 300)])
    assert numbers[0, :, :, 1:3] == pytest.approx(0, abs=1e-6)
    assert numbers[0, :, :, 3:] == pytest.approx(1, abs=1e-6)


# ---- averages by branching


@pytest.mark.parametrize("arch", ["llama", "lfm2"])
def test_the_average_by_branching_is_brute_force_on_a_vocabulary_of_100(arch: str, tmp_path: Path) -> None:
    path = tiny.write_model(tmp_path / "hundred.gguf", arch, tokenizer="none", n_vocab=100)
    with sl.load(path, n_threads=1) as model:
        assert model.n_vocab == 100
        prefix = [3, 1, 4, 1, 5]
        with model.session() as s:
            p = s.feed(prefix)
            total = np.zeros(100)
            for i in range(100):  # one after the other, each in a fresh sequence
                s.truncate(0)
                total += float(p.probs[i]) * s.feed([*prefix, i]).probs.astype(float)
        [after], mean, heavy, weights = feedback_walk.after_each(model, prefix, p, [[7]], most=100, mass=1.0)
        assert len(heavy) > 80  # the others have no mass in float32
        assert weights.sum() == pytest.approx(1, abs=1e-6)
        assert np.abs(mean.probs - total / total.sum()).max() <= 1e-6
        with model.session() as s:
            assert np.abs(after.probs - s.feed([*prefix, 7]).probs).max() <= 1e-6
        _, part, heavy, weights = feedback_walk.after_each(model, prefix, p, [], most=10)
        assert len(heavy) == 10
        assert weights.sum() == pytest.approx(float(np.sort(p.probs)[-10:].sum()))
        assert part.js(mean) > 0


# ---- the studies


@pytest.mark.slow
def test_a_study_repeats_to_the_digit() -> None:
    with sl.load("bundled:words") as model:
        for run, more in ((mixing.run, {"pairs": 4, "controls": 2}), (feedback.run, {"steps": 4, "tokens": 12})):
            first, again = run(model, seed=1, **more), run(model, seed=1, **more)  # type: ignore[arg-type]
            assert first.to_dict()["results"] == again.to_dict()["results"]
            assert first.csv() == again.csv()
            json.loads(first.json())
            assert run(model, seed=2, **more).csv() != first.csv()  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_pair_that_was_trained_on_mixtures_thinks_in_them() -> None:
    r = answers.run(["sums"], limit=60)
    rows = {t.name: t.rows for t in r.tables}
    square = rows["sums-square"]
    assert square[1][2].value > 0.9 > 0.6 > square[1][1].value  # type: ignore[union-attr, operator]
    assert "trained on tokens: no difference seen" in r.answer[0]
    assert "trained on mixtures: more on sums" in r.answer[0]
    again = answers.run(["sums"], limit=60)
    assert again.to_dict()["results"] == r.to_dict()["results"]


def test_held_out_problems_are_held_out() -> None:

    from scripts.training.sums import sums_task as task

    problems = answers_ways.problems(answers_ways.PAIRS["sums"])
    rows = np.array([[int(x) for x in p.question.split()] for p in problems.problems])
    base = task.MAIN.high - task.MAIN.low + 1
    index = (rows - task.MAIN.low) @ base ** np.arange(task.MAIN.m - 1, -1, -1)
    assert (task.MAIN.split_of[index] == 2).all()
    assert [int(p.answers[0]) for p in problems.problems] == task.solve(task.MAIN, rows).tolist()


def test_cases_of_ones_own(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(
        '{"prompt": "The {} says", "a": "dog", "b": "cat"}\n{"prompt": "A {} eats", "a": "cow", "b": "pig"}\n'
    )
    out = tmp_path / "out"
    code, text, err = cli("study", "mixing", "--cases", file, "--json", "-o", out)
    assert code == 0, err
    report = json.loads(text)
    assert [r["mixture"] for r in report["results"]["tables"][-1]["rows"]] == ["The [dog/cat] says", "A [cow/pig] eats"]
    assert report["command"].startswith("softllama")
    assert sorted(p.name for p in out.iterdir()) == ["mixing.csv", "mixing.html", "mixing.json"]
    page = (out / "mixing.html").read_text()
    for found in ("<svg", "To repeat it", "How it was measured", "Manifest"):
        assert found in page
    for banned in ("<script", "src=", "@import", "url("):
        assert banned not in page
    file.write_text('{"prompt": "The {} says", "a": "dog", "b": "hippopotamus"}\n')
    code, _, err = cli("study", "mixing", "--cases", file)
    assert code == 1
    assert "line 1: 'hippopotamus' is not one token" in err
    file.write_text("no json\n")
    assert cli("study", "mixing", "--cases", file)[0] == 1


@pytest.mark.parametrize(
    "given",
    [
        ("mixing", "--json", "--csv"),
        ("thinking", "--pair", "sum"),
        ("feedback", "--steps", "0"),
        ("all", "--seed", "-1"),
    ],
)
def test_usage_errors(given: tuple[Any, ...], cli: Cli) -> None:
    assert cli("study", *given)[0] == 2


def test_a_model_without_the_words_is_refused(load: Callable[..., sl.Model]) -> None:
    with pytest.raises(SoftLlamaError, match="no tokenizer"):
        mixing.run(load("llama", tokenizer="none"))
    with pytest.raises(UsageError, match="no cases"):
        mixing.run(load("llama"), [])
    with pytest.raises(UsageError, match="no prompts"):
        feedback.run(load("llama"), [])
    with pytest.raises(UsageError, match="has 2 slots"):
        inputs.encode(load("llama"), "{} and {}")


@pytest.mark.parametrize(("shift", "word"), [(0.0, "no difference seen"), (0.5, "better"), (-0.5, "worse")])
def test_the_sentence_about_weights_fits_every_outcome(shift: float, word: str) -> None:
    noise = np.linspace(-0.1, 0.1, 12)
    gain = statistics.mean(shift + noise)
    assert feedback_tables.verdict(gain).startswith(f"{word} (gain ")
    few = statistics.mean([0.5, 0.6, 0.7])
    assert feedback_tables.verdict(few).startswith("too few cases (n = 3, fewer than 10) to see a difference (gain ")
