"""The study of adapters: its target is brute force, nothing changes with an adapter of zeros, and cases are held out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

import softllama as sl
from softllama.hub import bundled
from softllama.llama import header
from softllama.study import (
    adapter,
    adapter_answer,
    adapter_cases,
    adapter_price,
    adapter_tables,
    adapter_walk,
    everything,
    inputs,
    sizes,
)
from softllama.study.adapter_models import Models, without_adapters
from softllama.study.adapter_words import ALPHAS, PairResult, compare, pairs, posterior, settled, several
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.noise import NO_NOISE
from tests.conftest import Cli
from tests.support import tiny

WORDS = bundled.FOLDER / "words.gguf"


def write_lora(path: Path, size: float) -> Path:
    """A random adapter of the bundled `words`; of zeros for size 0."""
    h, rng = header.read(WORDS), np.random.default_rng(0)
    w = gguf.GGUFWriter(path, h.arch)
    w.add_string("general.type", "adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", 4.0)
    for name, t in h.tensors.items():
        if name.endswith(("attn_q.weight", "ffn_down.weight")):
            w.add_tensor(f"{name}.lora_a", (size * rng.standard_normal((4, t.shape[0]))).astype(np.float32))
            w.add_tensor(f"{name}.lora_b", (size * rng.standard_normal((t.shape[1], 4))).astype(np.float32))
    tiny.finish(w)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lora")
    return {"zero": write_lora(folder / "zero.gguf", 0.0), "random": write_lora(folder / "random.gguf", 0.2)}


@pytest.fixture
def zero(files: dict[str, Path]) -> Iterator[Models]:
    with sl.load(WORDS) as plain, sl.load(WORDS, lora=str(files["zero"])) as adapted:
        yield Models(plain, adapted)


@pytest.fixture
def random(files: dict[str, Path]) -> Iterator[Models]:
    with sl.load(WORDS) as plain, sl.load(WORDS, lora=str(files["random"])) as adapted:
        yield Models(plain, adapted)


# ---- the target


def test_the_posterior_is_that_of_all_worlds_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    prior, step = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4), size=(3, 2))  # (words, places, texts)
    text = (1, 3)
    joint = np.array([prior[i] * step[i, 0, text[0]] * step[i, 1, text[1]] for i in range(3)])
    log_likelihoods = np.log([step[i, 0, text[0]] * step[i, 1, text[1]] for i in range(3)])
    np.testing.assert_allclose(posterior(log_likelihoods, prior), joint / joint.sum(), rtol=1e-12)
    assert posterior(np.array([-2000.0, -2001.0]), np.array([1.0, 0.0])).tolist() == [1.0, 0.0]


def test_the_likelihood_of_a_text_is_that_of_its_tokens_one_by_one(zero: Models) -> None:
    model = zero.plain
    prefix, (word, *text) = model.tokenize("The", bos=True), model.tokenize(" dog lives in")
    expected = 0.0
    with model.session() as s:
        d = s.feed([*prefix, word])
        for i in text:
            expected += d.logp(i)
            d = s.feed([i])
    assert zero.log_likelihoods(prefix, [word], text)[0] == pytest.approx(expected, abs=0.02)
    assert zero.log_likelihoods(prefix, [word], []).tolist() == [0.0]


def made(posterior_is_prior: bool = True) -> tuple[inputs.Case, list[Distribution], PairResult]:
    """A pair whose outputs with the adapter are the exact average, and whose outputs without it are a switch."""
    a, b = Distribution.from_probs([0.9, 0.05, 0.05]), Distribution.from_probs([0.05, 0.15, 0.8])
    ll = np.zeros(2) if posterior_is_prior else np.log([0.2, 0.6])
    right = [posterior(ll, np.array([1 - x, x]))[1] for x in ALPHAS]
    exact = [average([a, b], [1 - w, w]) for w in right]
    switch = [a if x < 0.5 else b for x in ALPHAS]
    case = inputs.Case(inputs.PAIRS, "The {} is", "a", "b", 0, 1)
    return case, exact, compare(case, switch, [a, *exact[1:-1], b], ll, NO_NOISE)


@pytest.mark.parametrize("prior", [True, False])
def test_an_adapter_that_gives_the_exact_average_is_at_distance_0(prior: bool) -> None:
    _, exact, r = made(prior)
    assert r.kl_after.max() < 1e-6
    assert r.js_after < 1e-6
    assert r.alpha_error(r.after) < 1e-6
    assert r.after.width == pytest.approx(r.target_width, abs=1e-6)
    assert r.kl_before[1:-1].min() > 0.005
    assert r.alpha_error(r.before) > 0.2
    assert exact[5].js(exact[5]) < 1e-9
    if prior:
        assert r.target_width == pytest.approx(0.8)
        np.testing.assert_allclose(r.posterior, ALPHAS, atol=1e-12)
    else:
        assert r.posterior[5] == pytest.approx(0.75)  # 3 times as likely


def test_sentences_and_tables_say_so() -> None:
    results = []
    for i in range(12):
        case, _, r = made()
        case = inputs.Case(case.kind, case.frame, f"a{i}", "b", 0, 1)
        results.append(PairResult(**{**vars(r), "case": case}))
    first, control, second, third = adapter_answer.words(results, 0)
    assert "falls from" in first
    assert "0.00 [0.00, 0.00] times as much" in first
    assert "nearer to the average (gain" in control
    assert "the exact average's is 0.80" in second
    assert "0.0 %" in third
    table = adapter_tables.words({inputs.PAIRS: results}, NO_NOISE, 0)
    assert [row[1] for row in table.rows] == ["without adapter", "with adapter"]
    assert table.rows[0][3].value > 0.1  # type: ignore[union-attr]
    assert table.rows[1][3].value < 1e-6  # type: ignore[union-attr]


def test_a_ratio_is_that_of_the_means() -> None:
    e = adapter_tables.ratio(
        [(1.0, 0.5), (3.0, 0.5), (2.0, float("nan"))], lambda x: x[0], lambda x: x[1], lambda x: x, 0
    )
    assert e.value == pytest.approx(0.25)
    assert e.n == 2
    assert e.low >= 0.5 / 3 - 1e-9
    assert e.high <= 0.5 + 1e-9
    assert np.isnan(adapter_tables.ratio([(0.0, 0.0)], lambda x: x[0], lambda x: x[1], lambda x: x, 0).value)


# ---- an adapter of zeros changes nothing


def test_before_and_after_are_equal_with_an_adapter_of_zeros(zero: Models) -> None:
    cases = adapter_cases.cases(zero.plain, 0, 2, 1)
    for r in pairs(zero, cases, NO_NOISE):
        np.testing.assert_allclose(r.kl_after, r.kl_before, atol=1e-5)
        np.testing.assert_allclose(r.after.progress, r.before.progress, atol=1e-5)
        if isinstance(r.case.b, int):
            assert r.pure < 1e-6
            assert r.kl_before[[0, -1]].max() < 1e-6  # one word is its own average
        else:
            assert np.isnan(r.posterior).all()
    some = [c for c in cases if c.kind == inputs.PAIRS]
    for s in settled(zero, some, NO_NOISE):
        assert s.kl_after == pytest.approx(s.kl_before, abs=1e-5)
    for step in adapter_walk.measure(zero, ["The dog"], 2, 0):
        assert step.kl_after == pytest.approx(step.kl_before, abs=1e-5)
        assert step.js_top_after == pytest.approx(step.js_top_before, abs=1e-5)


def test_several_words_are_measured_at_every_size(random: Models) -> None:
    groups = adapter_cases.groups(random.plain, list(inputs.ANIMAL_FRAMES), 8, 0)
    assert [len(set(ids)) for _, ids in groups] == [8, 8, 8]
    found = several(random, groups, 0)
    assert [r.size for r in found] == [3, 5, 8] * 3
    assert all(r.kl_before > 0 and r.kl_after > 0 and r.kl_before != r.kl_after for r in found)


def test_the_price_of_a_text_is_its_score(random: Models) -> None:
    ids = random.plain.tokenize("The dog says woof. The cat says meow.", bos=True)
    r = adapter_price.text(random, ids)
    score = (
        random.plain.score("", ids[1:]) if random.plain.tokenizer.bos is None else random.plain.score(ids[:1], ids[1:])
    )
    assert r.before == pytest.approx([-s.logp for s in score.items], abs=0.05)
    assert len(r.kl) == len(ids) - 1
    assert min(r.kl) > 0
    assert adapter_price.perplexity(r.before) == pytest.approx(float(np.exp(np.mean(r.before))))
    same = adapter_price.text(Models(random.plain, random.plain), ids)
    assert same.before == same.after
    assert max(same.kl) < 1e-6


# ---- what is asked


def test_words_and_frames_are_not_those_of_the_training() -> None:
    frames = pytest.importorskip("softllama.adapt.frames")
    taught = {w for words in frames.WORDS.values() for w in words.split()}
    asked = {w for words in adapter_cases.FRAMES.values() for w in words}
    asked |= {w for texts in adapter_cases.SAME.values() for t in texts for w in t.split()}
    assert not asked & taught
    texts = {t for some in frames.FRAMES.values() for t in some} | {t for t, *_ in frames.TWO}
    assert not set(adapter_cases.FRAMES) & texts


def test_a_question_has_four_answers_of_which_the_first_is_right() -> None:
    every = adapter_cases.choices(0)
    assert len(every) >= 80
    assert all(len(set(c.answers)) == 4 for c in every)
    paris = next(c for c in every if c.question == "The capital of France is")
    assert paris.answers[0] == "Paris"
    assert adapter_cases.choices(0) == every
    assert adapter_cases.choices(1) != every


# ---- the study


def test_the_study_runs_and_repeats_to_the_digit(files: dict[str, Path]) -> None:
    with sl.load(WORDS, lora=str(files["random"])) as model:
        first, again = (adapter.run(model, quick=True, speed=False) for _ in range(2))
        assert first.to_dict()["results"] == again.to_dict()["results"]
        given = adapter.run(model, quick=True, speed=False, text="The dog says woof. " * 20)
    names = [t.name for t in first.tables]
    assert names == ["words", "weights", "several", "settled", "steps", "rollout", "price", "noise", "examples"]
    assert [f.name for f in first.figures] == ["calibration", "kl", "steps"]
    assert "adapters" in first.manifest["model"]
    assert given.manifest["arguments"]["text"] is True
    assert "<svg" in first.page()


def test_a_model_without_adapter_is_told_how_to_have_one(cli: Cli) -> None:
    with sl.load(WORDS) as model, pytest.raises(sl.UsageError, match="there is no adapter") as e:
        adapter.run(model)
    assert "--lora FILE" in e.value.hint
    code, _, err = cli("study", "adapter", "-m", "bundled:words")
    assert code == 2
    assert "--lora FILE" in err


def test_the_command_takes_own_cases_and_a_text(cli: Cli, files: dict[str, Path], tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"prompt": "The {} says", "a": "dog", "b": "cat"}\n', encoding="utf-8")
    text = tmp_path / "text.txt"
    text.write_text("The dog says woof. " * 5, encoding="utf-8")
    given = ("study", "adapter", "-m", "bundled:words", "--lora", files["random"], "--quick", "--no-speed", "--json")
    code, out, err = cli(*given, "--cases", cases, "--text", text)
    assert code == 0, err
    report = json.loads(out)
    assert report["manifest"]["arguments"] == {"cases": 1, "built_in": False, "text": True, "quick": True}
    text.write_text(" \n", encoding="utf-8")
    assert cli(*given, "--text", text)[0] == 2


def test_nothing_but_the_adapter_differs_between_the_two_models(files: dict[str, Path]) -> None:
    how = {"n_ctx": 64, "n_threads": 1, "cache_type_k": "q8_0", "flash_attn": "on", "n_batch": 32}
    with sl.load(WORDS, lora=str(files["zero"]), any_base=True, **how) as m, without_adapters(m) as plain:
        assert plain.lora == []
        assert plain.runtime == m.runtime
        differ = {k for k in m.arguments if m.arguments[k] != plain.arguments.get(k)}
        assert differ == {"lora", "any_base"}


def test_all_studies_include_it_only_with_an_adapter(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for study in ("mixing", "feedback", "thinking", "adapter"):
        monkeypatch.setattr(f"softllama.study.{study}.run", lambda model, study=study, **_: study)
    with sl.load(WORDS) as model:
        assert everything.run(model) == ["mixing", "feedback", "thinking"]
    with sl.load(WORDS, lora=str(files["zero"])) as model:
        assert everything.run(model) == ["mixing", "feedback", "adapter", "thinking"]


def test_flattening_is_a_control_that_a_mere_loss_of_certainty_does_not_pass() -> None:
    """Outputs that are the average at half the temperature are repaired by flattening, and the study says so."""
    a, b = Distribution.from_probs([0.9, 0.05, 0.05]), Distribution.from_probs([0.05, 0.15, 0.8])
    exact = [average([a, b], [1 - x, x]) for x in ALPHAS]
    sharp = [a, *(Distribution(d.logits * 2) for d in exact[1:-1]), b]
    case = inputs.Case(inputs.PAIRS, "The {} is", "a", "b", 0, 1)
    results = [compare(case, sharp, exact, np.zeros(2), NO_NOISE)] * 12
    temperature, kl = adapter_tables.flattened(results)
    assert temperature == 2.0
    assert max(kl) < 1e-6
    assert "no difference seen" in adapter_answer.flattened(results, 0)


def test_the_sizes_know_how_many_frames_and_questions_there_are() -> None:
    assert len(adapter_cases.FRAMES) == sizes.FRAMES
    assert len(adapter_cases.choices(0)) == sizes.CHOICES
