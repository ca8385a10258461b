"""THE equations: a one-hot mixture is its token, to the bit; a mixed row is numpy's; the ways to the same sequence give
the same distribution. Maximum absolute logit difference exactly 0 means np.array_equal here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import softllama as sl
from softllama.engine import branches
from softllama.generation import continuation
from softllama.llama import header
from softllama.llama.context import N_BATCH
from softllama.vectors.mixture import Mixture
from tests.conftest import shared_model
from tests.support import tiny

Load = Callable[..., sl.Model]
Item = int | Mixture
SEQUENCE = (40, 7, 111, 23, 5, 60)


def logits(model: sl.Model, *chunks: Sequence[Item]) -> NDArray[np.float32]:
    """Logits after the chunks, each of them one call of feed."""
    with model.session(n_ctx=64) as s:
        for c in chunks:
            d = s.feed(list(c))
    return d.logits


def one_hot(ids: Sequence[int], at: Sequence[int]) -> list[Item]:
    return [Mixture.one_hot(t) if i in at else t for i, t in enumerate(ids)]


def assert_one_hot_is_token(model: sl.Model, ids: Sequence[int] = SEQUENCE) -> None:
    """At the first position, in the middle, at the end, everywhere; and each token alone, by the two llama.cpp paths."""
    n = len(ids)
    truth = logits(model, ids)
    assert np.isfinite(truth).all()
    assert np.ptp(truth) > 0
    for at in ([0], [n // 2], [n - 1], [0, n - 1], range(n)):
        assert np.array_equal(logits(model, one_hot(ids, at)), truth), f"mixtures at {list(at)}"
    stepwise = logits(model, *([t] for t in ids))
    for at in ([0], [n // 2], [n - 1], range(n)):
        # a chunk of one row is either a token or an embedding for llama.cpp: its two paths take turns
        assert np.array_equal(logits(model, *([x] for x in one_hot(ids, at))), stepwise), f"steps at {list(at)}"


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("table_type", tiny.TABLE_TYPES)
def test_one_hot_is_token_for_every_table_type(load: Load, table_type: str, tied: bool) -> None:
    model = load("llama", table_type=table_type, tied=tied)
    assert model.table.quantization == table_type
    assert model.calibration.exact
    assert_one_hot_is_token(model)


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_one_hot_is_token_for_every_architecture(load: Load, arch: str) -> None:
    spec = tiny.ARCHS[arch]
    model = load(arch)
    assert model.arch == (spec.name or arch)
    assert model.calibration.exact
    assert model.calibration.difference == 0
    assert model.calibration.multiplier == (np.float32(np.sqrt(model.n_embd)) if spec.multiplier == "sqrt" else 1)
    assert model.recurrent == spec.recurrent
    assert_one_hot_is_token(model)


@pytest.mark.parametrize("arch", ["gemma3", "qwen3vl", "lfm2"])
@pytest.mark.parametrize("table_type", ["Q4_K", "Q6_K"])
def test_one_hot_is_token_where_type_and_architecture_meet(load: Load, arch: str, table_type: str) -> None:
    assert_one_hot_is_token(load(arch, table_type=table_type))


@pytest.mark.real
@pytest.mark.parametrize("quantization", ["f32", "q8_0", "q4_0"])
def test_one_hot_is_token_on_stories260k(quantization: str) -> None:
    with sl.load(shared_model(f"stories260K-{quantization}.gguf"), n_threads=1) as model:
        assert_one_hot_is_token(model, [1, 403, 407, 261, 378, 309])


def test_one_hot_is_token_with_several_threads(write: Callable[..., Path]) -> None:
    with sl.load(write("llama"), n_threads=2) as model:
        assert_one_hot_is_token(model)


def test_one_hot_is_token_in_a_split_file(load: Load, write: Callable[..., Path]) -> None:
    model = load("llama", shards=2, table_type="Q4_0")
    assert len(model.files) == 2
    assert len(model.table.rows(range(model.n_vocab))) == model.n_vocab
    assert_one_hot_is_token(model)
    whole = load("llama", table_type="Q4_0")
    assert np.array_equal(logits(model, SEQUENCE), logits(whole, SEQUENCE))


def test_different_mixtures_give_different_logits(load: Load) -> None:
    """The equations above would hold for a model that ignores its input."""
    for arch in tiny.ARCHS:
        model = load(arch)
        a, b = Mixture.one_hot(40), Mixture.one_hot(41)
        half = Mixture([40, 41], [0.5, 0.5])
        z = [logits(model, [7, m, 9]) for m in (a, b, half)]
        assert min(np.abs(z[i] - z[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3, arch


# ---- rows


def dequantized(model: sl.Model, kind: str) -> NDArray[np.float32]:
    """The whole table as the gguf package reads it; and as we do, for two types that it does not know."""
    if kind not in ("Q1_0", "Q2_0"):
        tensor = next(t for t in gguf.GGUFReader(model.path).tensors if t.name == "token_embd.weight")
        return gguf.quants.dequantize(np.asarray(tensor.data), tensor.tensor_type)
    data = header.read(model.path).tensors["token_embd.weight"].rows()
    bits, block = (1, 128) if kind == "Q1_0" else (2, 64)
    blocks = data.reshape(-1, 18)  # a scale in F16, and 16 bytes
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    values = (blocks[:, 2:, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & (2**bits - 1)
    values = values.reshape(-1, block).astype(np.float32)
    return (scale * (2 * values - 1 if bits == 1 else values - 1)).reshape(len(data), -1)


@pytest.mark.parametrize("table_type", tiny.TABLE_TYPES)
def test_a_mixed_row_is_numpys(load: Load, table_type: str) -> None:
    """Against the gguf package's own dequantizer, reading the file by its own reader."""
    model = load("llama", table_type=table_type, tied=True)
    e = dequantized(model, table_type).astype(np.float64)
    assert e.shape == (model.n_vocab, model.n_embd)
    r = np.random.default_rng(1)
    for k in (1, 2, 5, 300):
        m = Mixture(r.choice(model.n_vocab, k, replace=False), r.dirichlet(np.ones(k)))
        got = model.embed(m)
        assert got.shape == (model.n_embd,)
        assert got.dtype == np.float32
        want = m.weights.astype(np.float64) @ e[m.ids]
        assert np.abs(got - want).max() <= 1e-6 * np.abs(e[m.ids]).max()
    assert np.array_equal(model.embed(Mixture.one_hot(17)), e[17].astype(np.float32))


def test_mixing_is_linear(load: Load) -> None:
    model = load("llama", table_type="Q6_K")
    r = np.random.default_rng(2)
    parts = [Mixture(r.choice(model.n_vocab, 6, replace=False), r.dirichlet(np.ones(6))) for _ in range(3)]
    shares = r.dirichlet(np.ones(3))
    whole = model.embed(sl.blend(parts, shares))
    by_parts = shares @ np.stack([model.embed(m) for m in parts]).astype(np.float64)
    assert np.abs(whole - by_parts).max() <= 1e-6 * np.abs(by_parts).max()


def test_signed_mixtures_are_sums(load: Load) -> None:
    model = load("llama")
    m = Mixture([3, 4, 5], [1, -1, 1], signed=True)
    e = model.table.rows([3, 4, 5])
    np.testing.assert_allclose(model.embed(m), e[0] - e[1] + e[2], rtol=1e-5, atol=1e-6)


def test_rows_are_padded_where_llama_cpp_wants_wider_ones(load: Load) -> None:
    model = load("qwen3vl")
    assert model._weights.n_embd_inp == 2 * model.n_embd
    rows = model.rows([Mixture.one_hot(3)]).embeddings
    assert rows.shape == (1, 2 * model.n_embd)
    assert np.array_equal(rows[0, : model.n_embd], model.table.rows([3])[0])
    assert not rows[0, model.n_embd :].any()


# ---- sequences: chunks, forks, truncation

ALL = tuple(tiny.ARCHS)
MIX = Mixture([40, 111], [0.5, 0.5])


@pytest.mark.parametrize("arch", ALL)
def test_fork_then_feed_is_feed_straight(load: Load, arch: str) -> None:
    model = load(arch)
    straight = logits(model, [7, MIX, 9], [4, 5])
    other = logits(model, [7, MIX, 9], [MIX, 6])
    with model.session(n_ctx=64) as s:
        s.feed([7, MIX, 9])
        with s.fork() as t:
            assert t.position == 3
            assert np.array_equal(t.feed([4, 5]).logits, straight)
            assert (s.position, t.position) == (3, 5)
            assert np.array_equal(s.feed([MIX, 6]).logits, other), "the fork left its traces"


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "mamba", "lfm2", "qwen35"])
def test_many_forks(load: Load, arch: str) -> None:
    """More of them than a session has sequences: the others get a context of their own."""
    model = load(arch)
    straight = logits(model, [7, MIX, 9], [4])
    with model.session(n_ctx=64) as s:
        s.feed([7, MIX, 9])
        forks = [s.fork() for _ in range(20)]
        for f in forks:
            assert np.array_equal(f.feed([4]).logits, straight)
        grandchild = forks[-1].fork()
        assert np.array_equal(grandchild.feed([MIX]).logits, forks[-1].feed([MIX]).logits)
        for f in forks:
            f.close()


@pytest.mark.parametrize("arch", ALL)
def test_truncate_then_feed_is_feed_straight(load: Load, arch: str) -> None:
    model = load(arch)
    truth = logits(model, [7, MIX, 9], [4])
    with model.session(n_ctx=64) as s:
        s.feed([7, MIX, 9])
        s.feed([1, MIX, 3, 8])
        s.truncate(3)
        assert s.position == 3
        assert np.array_equal(s.feed([4]).logits, truth)
        s.truncate(0)
        assert s.position == 0
        s.feed([7, MIX, 9])
        assert np.array_equal(s.feed([4]).logits, truth)


@pytest.mark.parametrize("arch", ["gemma2", "gemma3"])
def test_truncating_behind_a_sliding_window(load: Load, arch: str) -> None:
    """What lies behind the window is still needed when a session goes back by more than the window."""
    model = load(arch, extra={"{arch}.attention.sliding_window": 8})
    ids = [int(i) for i in np.random.default_rng(6).integers(0, model.n_vocab, 60)]
    with model.session(n_ctx=128) as s, model.session(n_ctx=128) as t:
        s.feed(ids[:20])
        s.feed(ids[20:])
        s.truncate(20)
        t.feed(ids[:20])
        assert np.array_equal(s.feed([4, MIX]).logits, t.feed([4, MIX]).logits)
    tails: list[list[Item]] = [[i, *ids[:30]] for i in range(100)]  # several batches: the first sequence goes back
    results = branches.run(model, ids[:20], tails)
    with model.session(n_ctx=128) as s:
        s.feed(ids[:20])
        want = s.feed([Mixture.one_hot(99), *ids[:30]]).logits
    assert np.abs(results[99].next.logits - want).max() <= 5e-3 * np.abs(want).max()


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "mamba", "lfm2", "qwen35"])
def test_truncating_a_fork_leaves_the_other(load: Load, arch: str) -> None:
    model = load(arch)
    truth = logits(model, [7, MIX, 9], [4])
    with model.session(n_ctx=64) as s:
        s.feed([7, MIX, 9])
        with s.fork() as t:
            t.feed([1, 2])
            t.truncate(1)
            t.feed([3, 3, 3, 3])
        assert np.array_equal(s.feed([4]).logits, truth)


@pytest.mark.parametrize("arch", ALL)
def test_chunks_agree_up_to_rounding(load: Load, arch: str) -> None:
    """Other batch shapes add up in another order, so the difference is small and not 0."""
    model = load(arch)
    ids = [*SEQUENCE, *SEQUENCE]
    whole = logits(model, ids)
    scale = np.abs(whole).max()
    for cut in (1, 5, 11):
        assert np.abs(logits(model, ids[:cut], ids[cut:]) - whole).max() <= 5e-3 * scale
    mixed: list[Item] = [*SEQUENCE, MIX, *SEQUENCE]
    assert np.abs(logits(model, mixed[:6], mixed[6:]) - logits(model, mixed)).max() <= 5e-3 * scale


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "mamba", "lfm2"])
@pytest.mark.parametrize("n", [N_BATCH - 1, N_BATCH, N_BATCH + 1, 2 * N_BATCH + 3])
def test_prompts_longer_than_a_batch(load: Load, arch: str, n: int) -> None:
    model = load(arch, n_ctx=2048)
    ids = [int(i) for i in np.random.default_rng(n).integers(0, model.n_vocab, n)]
    with model.session(n_ctx=n + 8) as s, model.session(n_ctx=n + 8) as t, model.session(n_ctx=n + 8) as u:
        truth = s.feed(ids).logits
        assert s.position == n
        assert np.array_equal(t.feed(one_hot(ids, [0, n // 2, n - 1])).logits, truth)
        u.feed(ids[:200])
        close = u.feed(ids[200:]).logits
        assert np.abs(close - truth).max() <= 1e-2 * np.abs(truth).max()
        assert np.array_equal(s.feed([4]).logits, t.feed([Mixture.one_hot(4)]).logits)


@pytest.mark.parametrize("arch", ALL)
def test_branches_are_their_tails_alone(load: Load, arch: str) -> None:
    """Sequences that go through llama.cpp together do not see each other: order and company change nothing."""
    model = load(arch)
    prefix = [1, 40, 9]
    tails: list[list[Item]] = [[Mixture.one_hot(i), 5] for i in (3, 40, 77, 100)] + [[MIX, 5]]
    together = [b.next.logits for b in branches.run(model, prefix, tails)]
    backwards = [b.next.logits for b in branches.run(model, prefix, tails[::-1])][::-1]
    scale = np.abs(together[0]).max()
    for i, tail in enumerate(tails):
        assert np.array_equal(together[i], backwards[i])
        alone = logits(model, prefix, tail)
        assert np.abs(together[i] - alone).max() <= 5e-3 * scale
    by_id = branches.run(model, prefix, [[3, 5], [40, 5], [77, 5], [100, 5], [MIX, 5]])
    for a, b in zip(together, by_id, strict=True):
        assert np.array_equal(a, b.next.logits)


@pytest.mark.parametrize("arch", ALL)
def test_more_branches_than_go_at_once(load: Load, arch: str) -> None:
    model = load(arch)
    tails: list[list[Item]] = [[Mixture([40, 111], [1 - a, a]), 5] for a in np.linspace(0, 1, 150)]
    results = branches.run(model, [7, 8, 9], tails, then=continuation.greedy(model, 3, 2))
    assert len(results) == 150
    again = branches.run(model, [7, 8, 9], tails)
    for a, b in zip(results, again, strict=True):
        assert np.array_equal(a.next.logits, b.next.logits)
    ends = branches.run(model, [7, 8, 9], [tails[0], tails[-1]])
    scale = np.abs(ends[0].next.logits).max()
    assert np.abs(results[0].next.logits - ends[0].next.logits).max() <= 5e-3 * scale
    assert np.abs(results[-1].next.logits - ends[1].next.logits).max() <= 5e-3 * scale
    assert [len(r.continuation) for r in results[:3]] == [3, 3, 0]


@pytest.mark.parametrize("arch", ["llama", "qwen2vl", "mamba", "lfm2"])
def test_continuations_are_greedy(load: Load, arch: str) -> None:
    model = load(arch)
    (b,) = branches.run(model, [7, 8], [[MIX]], then=continuation.greedy(model, 6, 1))
    with model.session(n_ctx=64) as s:
        d = s.feed([7, 8])
        d = s.feed([MIX])
        ids = []
        for _ in range(6):
            if model.is_eog(d.argmax):
                break
            ids.append(d.argmax)
            d = s.feed([ids[-1]])
    assert list(b.continuation) == ids


def test_a_long_tail_goes_through_in_pieces(load: Load) -> None:
    """More rows than one batch holds, for several branches at once and for a single one."""
    model = load("llama", n_ctx=2048)
    body = [int(i) for i in np.random.default_rng(3).integers(0, model.n_vocab, 700)]
    (alone,) = branches.run(model, [1], [[MIX, *body]])
    with model.session(n_ctx=1024) as s:
        s.feed([1])
        truth = s.feed([MIX, *body]).logits
    assert np.abs(alone.next.logits - truth).max() <= 1e-2 * np.abs(truth).max()
    two = branches.run(model, [1], [[MIX, *body[:300]], [40, *body[:300]], [111, *body[:300]]])
    one = branches.run(model, [1], [[40, *body[:300]]])
    assert np.abs(two[1].next.logits - one[0].next.logits).max() <= 1e-2 * np.abs(truth).max()


# ---- adapters


def test_an_attention_adapter_changes_logits_and_keeps_the_identity(
    write: Callable[..., Path], load: Load, tmp_path: Path
) -> None:
    adapter = tiny.write_adapter(tmp_path / "a.gguf")
    plain = logits(load("llama"), SEQUENCE)
    seen = {}
    for scale in (0.0, 0.5, 1.0):
        with sl.load(write("llama"), n_threads=1, lora=(str(adapter), scale)) as model:
            assert model.lora == [(str(adapter), scale)]
            assert_one_hot_is_token(model)
            seen[scale] = logits(model, SEQUENCE)
    assert np.abs(seen[0.0] - plain).max() <= 1e-5
    assert np.abs(seen[1.0] - plain).max() > 1e-2
    assert np.abs(seen[1.0] - seen[0.5]).max() > 1e-2
    with sl.load(write("llama"), n_threads=1, lora=[str(adapter), (str(adapter), 0.5)]) as model:
        assert [s for _, s in model.lora] == [1.0, 0.5]


# ---- calibration


def test_calibration_is_remembered_per_file(write: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "copy.gguf"
    path.write_bytes(write("gemma3").read_bytes())
    with sl.load(path) as first:
        assert not first.calibration.remembered
    with sl.load(path) as second:
        assert second.calibration.remembered
        assert second.calibration.multiplier == first.calibration.multiplier == 8
    path.write_bytes(write("llama").read_bytes())
    with sl.load(path) as third:
        assert not third.calibration.remembered
        assert third.calibration.multiplier == 1


@pytest.mark.parametrize(
    "rubbish", ["", "{", "[]", "7", '{"key": 3}', '{"key": {"multiplier": "x"}}', '{"key": {"bad": 1}}', '{"key": []}']
)
def test_a_damaged_cache_is_measured_again(
    rubbish: str, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from softllama.base import cache
    from softllama.engine import calibration
    from softllama.llama import bindings

    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path))
    path = write("gemma3")
    key = cache.file_key([path], f"calibration {calibration.FORMAT}", bindings.build(), "False")
    (tmp_path / "calibration.json").write_text(rubbish.replace("key", key))
    with sl.load(path) as model:
        assert model.calibration.multiplier == 8
        assert not model.calibration.remembered


def test_a_cache_that_cannot_be_written_is_no_error(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(blocked / "below"))
    with sl.load(write("llama")) as model:
        assert model.calibration.exact


def test_a_table_that_would_fit_no_multiplier_is_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Were llama.cpp to scale by something else, no candidate would agree."""
    from softllama.engine import calibration

    def none_fits(weights: Any) -> list[tuple[float, str]]:
        return [(0.5, "0.5"), (2.0, "2")]

    monkeypatch.setattr(calibration, "candidates", none_fits)
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path))
    with pytest.raises(sl.ModelError, match=r"does not equal feeding the token .*with 0.5, .*with 2\)") as e:
        sl.load(write("llama"))
    assert e.value.hint
