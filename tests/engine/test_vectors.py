"""Vectors as inputs of a model: equal to a row they are its token; sums of embeddings; the tokens that are nearest.

That a vector is its token on every architecture is in tests/llama/test_architectures.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import Mixture, MixtureError, UsageError, Vector
from softllama.generation.replay import replay
from tests.conftest import Cli
from tests.support import tiny

Load = Callable[..., sl.Model]
IDS = [40, 7, 111, 23]


def row(model: sl.Model, token: int) -> Vector:
    return Vector(model.embed(token), scale="table")


def after(model: sl.Model, items: Any) -> Any:
    with model.session(n_ctx=64) as s:
        return s.feed(items).logits


@pytest.mark.parametrize("table_type", tiny.TABLE_TYPES)
def test_a_row_of_the_table_is_its_token(load: Load, table_type: str) -> None:
    model = load("llama", table_type=table_type)
    assert np.array_equal(after(model, [row(model, i) for i in IDS]), after(model, IDS))


def test_several_positions_are_fed_one_after_the_other(model: sl.Model) -> None:
    prompt = Vector(model.table.rows(IDS), scale="table")
    with model.session(n_ctx=64) as s:
        d = s.feed([5, prompt, 9])
        assert s.position == 6
    assert np.array_equal(d.logits, after(model, [5, *IDS, 9]))
    assert np.array_equal(after(model, prompt), after(model, IDS))  # alone, without a list


def test_the_models_scale_is_the_tables_times_the_multiplier(load: Load) -> None:
    model = load("gemma3")
    factor = np.float32(model.calibration.multiplier)
    assert factor == 8
    want = after(model, IDS)
    assert np.array_equal(after(model, [Vector(factor * model.embed(i), scale="model") for i in IDS]), want)
    assert not np.array_equal(after(model, [Vector(model.embed(i), scale="model") for i in IDS]), want)


def test_a_scale_is_said_where_it_matters(load: Load, model: sl.Model) -> None:
    assert np.array_equal(after(model, [Vector(model.embed(i)) for i in IDS]), after(model, IDS))
    gemma = load("gemma3")
    with pytest.raises(MixtureError, match="scale is not said") as e:
        after(gemma, [Vector(gemma.embed(7))])
    assert "@FILE:table" in e.value.hint


def test_a_vector_of_another_length_is_refused_before_anything_is_fed(model: sl.Model) -> None:
    with model.session(n_ctx=64) as s:
        with pytest.raises(MixtureError, match=r"shape \(3,\) does not fit") as e:
            s.feed([1, Vector([1.0, 2.0, 3.0])])
        assert s.position == 0
    assert f"({model.n_vocab},)" in e.value.hint
    assert f"({model.n_embd},)" in e.value.hint


# ---- wherever a mixture goes in


def test_a_probe_takes_a_vector(model: sl.Model) -> None:
    token = model.tokenize(" dog")[-1]
    by_vector = model.probe("The {a} says", {"a": row(model, token)})
    by_token = model.probe("The {a} says", {"a": Mixture.one_hot(token)})
    assert np.array_equal(by_vector.next.logits, by_token.next.logits)
    assert by_vector.to_dict()["mixtures"][0]["components"][0]["vector"]["n_embd"] == model.n_embd
    assert "vector" in by_vector.table()
    assert by_vector.csv()


def test_a_generation_takes_a_vector_and_its_trace_replays(model: sl.Model, tmp_path: Path) -> None:
    token = model.tokenize(" dog")[-1]
    pair = Vector(np.stack([model.embed(token)] * 2), scale="table")
    plain = model.generate([5, token, token], max_tokens=6, policy="greedy")
    for trace in (
        model.generate([5, pair], max_tokens=6, policy="greedy"),
        model.generate([5, *pair.positions()], max_tokens=6, policy="greedy"),
    ):
        assert [s.token for s in trace.steps] == [s.token for s in plain.steps]
        assert len(trace.prompt) == 3
        assert trace.prompt_text.endswith("[vector][vector]")
        for name in ("t.jsonl", "t.npz"):
            trace.save(tmp_path / name)
            back = sl.trace.load(tmp_path / name)
            assert back.prompt == trace.prompt
            assert max(replay(model, back)) == 0
    by_slot = model.generate("The {}", mix=pair, chat=False, max_tokens=4, policy="greedy")
    assert by_slot.prompt[-2:] == pair.positions()


def test_a_conversation_takes_a_file(model: sl.Model, tmp_path: Path) -> None:
    from softllama.chat.messages import Mix

    path = tmp_path / "soft.npy"
    Vector(model.table.rows(IDS)).save(path)
    chat = sl.Conversation(model, policy="greedy", max_tokens=4)
    chat.define("soft", Mix(f"@{path}"))
    trace = chat.reply("The {soft} says")
    assert sum(isinstance(i, Vector) for i in trace.prompt) == len(IDS)
    np.save(path, np.ones(3, dtype=np.float32))
    with pytest.raises(MixtureError, match="does not fit"):
        chat.define("soft", Mix(f"@{path}"))


def test_the_command_line_reads_both_kinds_of_files(cli: Cli, model: sl.Model, tmp_path: Path) -> None:
    m = ["-q", "-m", model.path, "--prompt", "The {soft} says", "--json"]
    Vector(model.table.rows(IDS), scale="table").save(tmp_path / "soft.safetensors")
    Vector(model.table.rows(IDS)).save(tmp_path / "soft.npy")
    np.save(tmp_path / "vocabulary.npy", np.full(model.n_vocab, 1 / model.n_vocab))
    outputs = [cli("probe", *m, "--mix", f"soft=@{tmp_path / name}") for name in ("soft.safetensors", "soft.npy:table")]
    assert [code for code, _, _ in outputs] == [0, 0]
    assert '"positions": 4' in outputs[0][1]
    code, out, _ = cli("probe", *m, "--mix", f"soft=@{tmp_path / 'vocabulary.npy'}")
    assert code == 0
    assert '"tokens"' in out
    code, _, err = cli("probe", *m, "--mix", f"soft=@{tmp_path / 'vocabulary.npy'}:model")
    assert code == 2
    assert "has no scale" in err


def test_no_mixture_comes_of_a_vector(model: sl.Model, tmp_path: Path) -> None:
    Vector(model.embed(7)).save(tmp_path / "v.npy")
    with pytest.raises(MixtureError, match="in place of an embedding") as e:
        model.mix(f"@{tmp_path / 'v.npy'}")
    assert "sl.Vector.load" in e.value.hint
    array: Any = np.ones(model.n_embd)
    with pytest.raises(MixtureError, match="not ndarray") as e:
        model.probe("The {}", array)
    assert "sl.Vector(array)" in e.value.hint


# ---- embeddings


def test_embeddings_of_words_ids_and_mixtures(model: sl.Model) -> None:
    (token,) = model.tokenize(" dog")
    assert np.array_equal(model.embed("dog"), model.table.rows([token])[0])
    assert np.array_equal(model.embed(token), model.embed("dog"))
    assert np.array_equal(model.embed({"dog": 0.5, "cat": 0.5}), model.embed(model.mix("dog:0.5,cat:0.5")))
    wrong: Any = 1.5
    with pytest.raises(UsageError, match="must be a Mixture"):
        model.embed(wrong)


@pytest.mark.parametrize("table_type", tiny.TABLE_TYPES)
@pytest.mark.parametrize("by", ["cosine", "dot"])
def test_nearest_is_brute_force_in_numpy(load: Load, table_type: str, by: Any) -> None:
    model = load("llama", table_type=table_type)
    table = np.stack([model.embed(i) for i in range(model.n_vocab)]).astype(np.float64)
    rng = np.random.default_rng(4)
    vectors = [table[7], table[7] - table[9] + table[40], rng.standard_normal(model.n_embd)]
    for v in vectors:
        scores = table @ v
        if by == "cosine":
            scores = scores / np.maximum(np.linalg.norm(table, axis=1), 1e-300) / np.linalg.norm(v)
        order = np.argsort(-scores, kind="stable")[:12]
        near = model.nearest(v.astype(np.float32), 12, by)
        assert np.allclose(scores[[t.id for t in near]], scores[order], rtol=0, atol=1e-12)  # some rows are as near
        assert len({t.id for t in near}) == 12
        assert np.allclose([t.score for t in near], scores[order], atol=1e-6)
        assert near[0].text == model.spell(near[0].id)


def test_nearest_of_more_than_a_tile_and_of_each_position(load: Load) -> None:
    model = load("llama")
    both = Vector(model.table.rows([3, 300]), scale="table")
    first, second = model.nearest_each(both, 1)
    assert (first[0].id, second[0].id) == (3, 300)
    assert first[0].score == pytest.approx(1)
    assert len(model.nearest(both.positions()[0], 10_000)) == model.n_vocab
    with pytest.raises(MixtureError, match="2 positions"):
        model.nearest(both)
    with pytest.raises(UsageError, match="by = 'l2'"):
        model.nearest("dog", by="l2")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="n must be"):
        model.nearest("dog", 0)
    with pytest.raises(MixtureError, match="does not fit"):
        model.nearest([1.0, 2.0])


def test_nearest_in_the_models_scale(load: Load) -> None:
    model = load("gemma3")
    factor = np.float32(model.calibration.multiplier)
    v = model.embed(9)
    want = model.nearest(Vector(v, scale="table"), 5, "dot")
    assert model.nearest(Vector(factor * v, scale="model"), 5, "dot") == want
    with pytest.raises(MixtureError, match="scale is not said"):
        model.nearest(Vector(v), 5, "dot")
    assert model.nearest(Vector(v), 1)[0].id == 9  # a cosine has no scale
