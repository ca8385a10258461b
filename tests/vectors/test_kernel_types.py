"""The kernels of each table type and instruction set against ggml's own dequantizer and numpy, and against each other."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import softllama as sl
from softllama._shim import lib
from softllama.errors import MixtureError, ModelError, NotFiniteError, SoftLlamaError
from softllama.llama import bindings
from softllama.vectors import divergence, kernels, native, passes
from softllama.vectors.kernels import Rows
from tests.support import tiny

WITH_KERNEL = (
    *("F32", "F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "IQ4_NL", "MXFP4"),
    *("Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "IQ4_XS"),
)
WITHOUT = ("IQ3_S", "TQ1_0")
MINIMUM = ("Q5_1", "Q4_1", "Q5_K", "Q4_K", "Q2_K")  # d q - m, which ggml may fuse where the compiler does
bindings.init()  # tells the kernels of llama.cpp's OpenMP
RUNS = [name for name, i in native.ISAS.items() if lib.softmix_has(i)]
N_ROWS = 2500
DISTINCT = 401  # a prime: ids that are wrong by a power of two do not meet the same row


@pytest.fixture(params=RUNS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each instruction set of this machine, forced as a user would."""
    monkeypatch.setenv("SOFTLLAMA_ISA", request.param)
    native.isa.cache_clear()
    yield request.param
    native.isa.cache_clear()


@cache
def table(kind: str, n_embd: int, n_rows: int = N_ROWS) -> tuple[Rows, NDArray[np.float64]]:
    """Random rows of a type, and what ggml reads in them. Few of them are quantized, which takes long, and repeat."""
    values = np.random.default_rng([5, n_embd]).standard_normal((min(n_rows, DISTINCT), n_embd)).astype(np.float32)
    number = gguf.GGMLQuantizationType[kind].value
    t = bindings.table_type(number)
    data = tiny.quantize(values, kind).view(np.uint8).reshape(len(values), -1)
    again = np.arange(n_rows) % len(values)
    read = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(number)) if kind != "F32" else values
    return Rows(data[again], n_embd, t.block, t.to_float, number), read[again].astype(np.float64)


def sizes(kind: str) -> list[int]:
    """Around the tiles of 2,048 columns, as far as whole blocks go."""
    block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    return [1, 15, 17, 2047, 2048, 2065] if block == 1 else [block, 2048 - block, 2048, 2048 + block, 4096 + 3 * block]


def mixed(rows: Rows, ids: Any, weights: Any, threads: int = 1) -> NDArray[np.float32]:
    out = np.full((1, rows.n_embd + 3), np.nan, dtype=np.float32)
    kernels.mix(rows, [0, len(ids)], ids, weights, out, 1.0, threads)
    assert not out[0, rows.n_embd :].any()
    return out[0, : rows.n_embd]


def draw(k: int, n_rows: int = N_ROWS) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    r = np.random.default_rng([6, k])
    return np.sort(r.choice(n_rows, k, replace=False)).astype(np.int32), r.dirichlet(np.ones(k)).astype(np.float32)


@pytest.mark.parametrize("kind", WITH_KERNEL + WITHOUT)
def test_mixtures_equal_numpy(kind: str, isa: str) -> None:
    """Within 1e-6 of Σ |wᵢ vᵢ|; k around the edges of what is summed in double, in batches, and in pieces."""
    for n_embd in sizes(kind):
        rows, e = table(kind, n_embd)
        for k in (1, 2, 31, 256, 257, 289, 1024, 1025, 2400):
            ids, w = draw(k)
            terms = w.astype(np.float64)[:, None] * e[ids]
            error = np.abs(mixed(rows, ids, w) - terms.sum(axis=0))
            assert (error <= 1e-6 * np.abs(terms).sum(axis=0)).all(), (n_embd, k)


@pytest.mark.parametrize("kind", WITH_KERNEL + WITHOUT)
def test_a_row_is_what_ggml_reads_to_the_bit(kind: str, isa: str) -> None:
    """Alone, by ggml's own function; beside a row of weight 0, by the kernel; among many, by the kernel in float32."""
    for n_embd in sizes(kind)[-2:]:
        rows, e = table(kind, n_embd)
        for i in (0, 7, N_ROWS - 1):
            assert np.array_equal(mixed(rows, [i], [1.0]), e[i].astype(np.float32))
            if kind not in MINIMUM or native.isa_name() != "neon":
                assert np.array_equal(mixed(rows, [i, (i + 1) % N_ROWS], [1.0, 0.0]), e[i].astype(np.float32))
                w = np.zeros(N_ROWS, dtype=np.float32)
                w[i] = 1
                assert np.array_equal(mixed(rows, np.arange(N_ROWS), w), e[i].astype(np.float32))


@pytest.mark.parametrize("kind", WITH_KERNEL[1:])
def test_types_with_a_kernel_need_no_other_reader(kind: str, isa: str) -> None:
    """A reader that gives zeros is seen in a single row alone."""
    rows, _e = table(kind, 256)
    zeros = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        lambda _src, to, n: ctypes.memset(to, 0, 4 * n) and None
    )
    blind = Rows(rows.data, 256, rows.block, ctypes.cast(zeros, ctypes.c_void_p).value or 0, rows.type)
    assert not mixed(blind, [3], [1.0]).any()
    for k in (2, 300, 2400):
        assert np.array_equal(mixed(blind, *draw(k)), mixed(rows, *draw(k)))


@pytest.mark.parametrize("kind", WITH_KERNEL + WITHOUT)
def test_the_number_of_threads_changes_no_bit(kind: str, isa: str) -> None:
    rows, _ = table(kind, 2304)
    for k in (1025, 2400, N_ROWS):
        ids, w = draw(k)
        one = mixed(rows, ids, w)
        assert all(np.array_equal(mixed(rows, ids, w, threads), one) for threads in (2, 3, 7))


@pytest.mark.parametrize("kind", WITH_KERNEL)
def test_the_instruction_set_changes_no_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in RUNS:
        monkeypatch.setenv("SOFTLLAMA_ISA", name)
        native.isa.cache_clear()
        rows, _ = table(kind, 2304)
        found.append([mixed(rows, *draw(k)).tobytes() for k in (2, 300, 2400, N_ROWS)])
    native.isa.cache_clear()
    assert all(f == found[0] for f in found)


def test_the_whole_table_equals_its_rows_gathered() -> None:
    """All rows in order go another way than some: a gap in the ids must not."""
    rows, e = table("Q8_0", 64)
    ids, w = draw(N_ROWS)
    shuffled = np.random.default_rng(1).permutation(N_ROWS)
    got = mixed(rows, ids[shuffled], w[shuffled])
    np.testing.assert_allclose(got, w.astype(np.float64)[shuffled] @ e[shuffled], rtol=1e-5, atol=1e-7)
    twice = np.concatenate([[0, 0], np.arange(2, N_ROWS)])
    np.testing.assert_allclose(mixed(rows, twice, w), w.astype(np.float64) @ e[twice], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_0"])
@pytest.mark.parametrize("n_embd", [256, 2304])
def test_most_rows_in_order_equal_the_same_rows_scattered(kind: str, n_embd: int, isa: str) -> None:
    """To the bit: rows between them are read, too, with weight 0, and wherever the rows lie, they are added in one order."""
    rows, _e = table(kind, n_embd)
    order = np.random.default_rng(2).permutation(N_ROWS)
    scattered = Rows(rows.data[order], n_embd, rows.block, rows.to_float, rows.type)
    place = np.argsort(order)
    for k in (1400, 1700, 2000, 2499):
        ids, w = draw(k)
        w[::7] = 0
        w[1::7] *= -1
        assert np.array_equal(mixed(rows, ids, w), mixed(scattered, place[ids], w)), k


def test_damaged_rows_between_those_of_a_mixture_are_not_read(isa: str) -> None:
    rows, _e = table("Q8_0", 64)
    data = rows.data.copy()
    ids = np.delete(np.arange(N_ROWS), [300, 1234]).astype(np.int32)
    data[[300, 1234]] = 0xFF  # NaN as a scale
    damaged, w = Rows(data, 64, rows.block, rows.to_float, rows.type), draw(N_ROWS - 2)[1]
    assert np.array_equal(mixed(damaged, ids, w), mixed(rows, ids, w))
    with pytest.raises(ModelError, match="row 1234 of the embedding table"):
        mixed(damaged, np.delete(np.arange(N_ROWS), [300, 1235]), w)
    with pytest.raises(MixtureError, match="overflows"):
        mixed(damaged, ids, np.full(N_ROWS - 2, 3e38))


def test_every_half_float(isa: str) -> None:
    """All finite halves, subnormals included, through the kernel."""
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    values = bits.view(np.float16)[np.isfinite(bits.view(np.float16))]
    rows = Rows(np.stack([values, values]).view(np.uint8), len(values), 1, table("F16", 1)[0].to_float, 1)
    assert np.array_equal(mixed(rows, [0, 1], [1.0, 0.0]), values.astype(np.float32))


def test_rows_at_odd_addresses(isa: str) -> None:
    for kind in WITH_KERNEL:
        rows, _e = table(kind, 2304)
        shifted = np.zeros(rows.data.size + 1, dtype=np.uint8)
        shifted[1:] = rows.data.reshape(-1)
        moved = Rows(shifted[1:].reshape(rows.data.shape), rows.n_embd, rows.block, rows.to_float, rows.type)
        ids, w = draw(300)
        assert np.array_equal(mixed(moved, ids, w), mixed(rows, ids, w))


def test_what_is_not_finite_is_named_in_large_mixtures_too(isa: str) -> None:
    values = np.ones((3000, 8), dtype=np.float32)
    values[2100, 3] = np.nan
    rows = Rows(values.view(np.uint8), 8, 1, 0, 0)
    ids, w = np.arange(3000), np.full(3000, 1 / 3000, dtype=np.float32)
    for threads in (1, 2):
        with pytest.raises(SoftLlamaError, match="row 2100"):
            mixed(rows, ids, w, threads)
        with pytest.raises(SoftLlamaError, match="row 2100"):
            mixed(rows, ids[1:], w[1:], threads)
    w[1999] = np.inf
    with pytest.raises(SoftLlamaError, match="weight of token 1999 is inf"):
        mixed(rows, ids, w)
    with pytest.raises(SoftLlamaError, match="token id 3000"):
        mixed(rows, np.where(ids == 5, 3000, ids), np.ones(3000))


# ---- passes over logits: the same for every instruction set


SIZES = [1, 2, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 151_936]


@pytest.mark.parametrize("n", SIZES)
def test_passes_equal_numpy(n: int, isa: str) -> None:
    r = np.random.default_rng(n)
    z = (r.standard_normal(n) * 6).astype(np.float32)
    z[r.random(n) < 0.1] = -np.inf
    z[n // 2] = 20
    high, at = passes.peak(z)
    assert (high, at) == (z.max(), z.argmax())
    for t in (0.3, 1.0, 8.0):
        x = (z.astype(np.float64) - high) / t
        e = np.exp(x)
        s, sx = passes.sums(z, high, t)
        assert s == pytest.approx(e.sum(), rel=1e-12)
        assert sx == pytest.approx((x[e > 0] * e[e > 0]).sum(), rel=1e-11, abs=1e-300)
        np.testing.assert_allclose(passes.probs(z, high, s, t), e / e.sum(), rtol=1e-6, atol=1e-37)
        for eps in (0.0, 1e-2, 1e-4, 1e-6):
            ids, w, left = passes.truncated(z, high, s, eps, t)
            np.testing.assert_array_equal(ids, whole_by_hand(z, t, eps))
            assert left == pytest.approx(e[~np.isin(np.arange(n), ids)].sum() / s if eps else 0.0, rel=1e-9, abs=1e-43)
            assert left <= eps
            np.testing.assert_allclose(w, e[ids] / e[ids].sum(), rtol=1e-6, atol=1e-44)


def whole_by_hand(z: NDArray[np.float32], t: float, eps: float) -> NDArray[np.int64]:
    """The ids that stay when the smallest logits go, equal ones together, as long as their p sum to at most eps."""
    x = np.exp((z.astype(np.float64) - z.max()) / t)
    p = x / x.sum()
    which = np.unique(z, return_inverse=True)[1]
    gone = np.searchsorted(np.cumsum(np.bincount(which, p)), eps, side="right") if eps else 0
    return np.flatnonzero((which >= gone) & (p.astype(np.float32) > 0))


@pytest.mark.parametrize("n", [2, 100, 3000, 40_000])
@pytest.mark.parametrize("levels", [1, 2, 7, 400])
def test_the_whole_vector_without_its_smallest_where_many_are_equal(n: int, levels: int, isa: str) -> None:
    """Few values, often repeated and close to each other: what goes is decided within one bin."""
    r = np.random.default_rng([n, levels])
    z = (r.integers(0, levels, n) / 2048).astype(np.float32)
    high = float(z.max())
    for t in (0.01, 1.0, 30.0):
        total = passes.sums(z, high, t)[0]
        for eps in (1e-9, 1e-3, 0.1, 0.5, 0.999):
            ids, w, left = passes.truncated(z, high, total, eps, t)
            np.testing.assert_array_equal(ids, whole_by_hand(z, t, eps))
            assert 0 <= left <= eps
            assert w.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def test_the_exponential_is_good_to_14_units_in_the_last_place(isa: str) -> None:
    """Of a double, where the result is not below 1e-300; seen through the sum over a single other logit."""
    x = -np.concatenate([np.linspace(0, 690, 4001), np.geomspace(1e-12, 1, 500)]).astype(np.float32)
    for v in x.tolist():
        s, _ = passes.sums(np.array([v], dtype=np.float32), 0.0)
        assert abs(s / np.exp(np.float64(v)) - 1) <= 14 * 2**-52, v


def test_the_instruction_set_changes_no_bit_of_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    z = (np.random.default_rng(3).standard_normal(50_001) * 5).astype(np.float32)
    found = []
    for name in RUNS:
        monkeypatch.setenv("SOFTLLAMA_ISA", name)
        native.isa.cache_clear()
        found.append(everything(z, 1))
    native.isa.cache_clear()
    assert all(f == found[0] for f in found)


def everything(z: NDArray[np.float32], threads: int) -> tuple[Any, ...]:
    """What all passes over logits give."""
    high, at = passes.peak(z)
    s = passes.sums(z, high, 0.7, threads)
    ids, w, left = passes.truncated(z, high, s[0], 1e-4, 0.7, threads)
    known = passes.summary(z, threads)
    return (
        high, at, s, ids.tobytes(), w.tobytes(), left, list(known.sums), list(known.ids), list(known.p),
        list(known.parts), passes.probs(z, high, known.sums[0]).tobytes(),
        passes.top(z, 99).tobytes(), divergence.js(z, z[::-1], n_threads=threads),
        divergence.js_two([z, z + 1, z * 2], [1.0, 2.0, 3.0], [z, z - 3], [1.0, 0.5], threads).tobytes(),
        *(passes.sample(z, high, u, 0.7, n_threads=threads) for u in (0.1, 0.5, 0.99)),
    )  # fmt: skip


def test_threads_are_those_of_llama_cpp() -> None:
    """Others would wait for a processor on which these still spin: seen only as lost time, so it is asked for here."""
    theirs = hasattr(bindings.lib, "GOMP_parallel")
    assert bool(native.team(2)) == theirs  # none, or none but theirs, for passes over logits
    started = native.ffi.addressof(lib, "softmix_spawn")
    run = int(native.ffi.cast("intptr_t", native.team(2, True).run))
    assert run == (native.openmp_address() if theirs else int(native.ffi.cast("intptr_t", started)))
    assert not native.team(1, True)


@pytest.mark.parametrize("n", [40_000, 151_936, 600_001])
def test_the_number_of_threads_changes_no_bit_of_a_pass(n: int) -> None:
    """By llama.cpp's OpenMP, where it was built with one, and by threads that are started for the call."""
    z = (np.random.default_rng(n).standard_normal(n) * 5).astype(np.float32)
    alone = everything(z, 1)
    for threads in (2, 3, 8):
        assert everything(z, threads) == alone
    before = native.openmp_address()
    native.use_openmp(int(native.ffi.cast("intptr_t", native.ffi.addressof(lib, "softmix_spawn"))))
    try:
        assert native.team(2)
        assert all(everything(z, threads) == alone for threads in (2, 5, 100))
    finally:
        native.use_openmp(before)


def test_an_instruction_set_that_is_not_there_is_an_error() -> None:
    for name in ("avx9000", next((n for n in ("neon", "avx512", "avx2") if n not in RUNS), "sse")):
        code = "from softllama.vectors import passes; passes.top([1.0], 1)"
        run = subprocess.run(
            [sys.executable, "-c", code], env={"SOFTLLAMA_ISA": name, "PATH": ""}, capture_output=True, text=True
        )
        assert "this machine cannot run that" in run.stderr
        assert name in run.stderr


# ---- filters, draws, and what every step records


def test_filters_by_hand() -> None:
    z = np.log(np.array([0.1, 0.4, 0.2, 0.3], dtype=np.float32))
    first = passes.top(z, 4)

    def p(**settings: float) -> list[tuple[int, float]]:
        ids, found = passes.filtered(z, first, 4, **settings)  # type: ignore[arg-type]
        return [(i, round(x, 6)) for i, x in zip(ids.tolist(), found.tolist(), strict=True)]

    assert p() == [(0, 0.1), (1, 0.4), (2, 0.2), (3, 0.3)]
    assert p(top_p=0.65) == [(1, round(4 / 7, 6)), (3, round(3 / 7, 6))]
    assert p(min_p=0.49) == p(at_most=3) == [(1, round(4 / 9, 6)), (2, round(2 / 9, 6)), (3, round(3 / 9, 6))]
    assert p(top_p=1e-9) == p(min_p=1) == p(at_most=1) == p(temperature=1e-30) == [(1, 1.0)]
    assert len(passes.filtered(z, first, 2, total=0.4**-1, top_p=0.69)[0]) == 2
    assert len(passes.filtered(z, first, 2, total=0.4**-1, top_p=0.71)[0]) == 0  # two of the four are not enough
    assert p(total=10 * 0.4**-1, top_p=0.05) == [(1, round(4 / 7, 6)), (3, round(3 / 7, 6))]  # of a tenth of the mass


def test_many_ids_come_back_in_order() -> None:
    z = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    ids, p = passes.filtered(z, passes.top(z, 20_000), 20_000, top_p=0.9)
    assert (np.diff(ids) > 0).all()
    e = np.exp(z[ids].astype(np.float64))
    np.testing.assert_allclose(p, e / e.sum(), rtol=1e-12)


def test_draws_invert_the_cumulative_sum() -> None:
    p = np.array([0.2, 0.0, 0.5, 0.3])
    for u, want in ((0.0, 0), (0.19, 0), (0.21, 2), (0.69, 2), (0.71, 3), (1 - 1e-16, 3)):
        assert passes.draw(p, u) == want
        assert passes.draw(7 * p, u) == want


@pytest.mark.parametrize("n", SIZES)
def test_a_sample_inverts_the_cumulative_sum_of_the_whole_vocabulary(n: int, isa: str) -> None:
    r = np.random.default_rng(n)
    z = (r.standard_normal(n) * 4).astype(np.float32)
    z[r.random(n) < 0.3] = -np.inf
    z[n // 2] = 3
    high = passes.peak(z)[0]
    for t in (0.2, 1.0, 9.0):
        c = np.cumsum(np.exp((z.astype(np.float64) - high) / t))
        for u in (0.0, *r.random(20), 1 - 2**-53):
            found = passes.sample(z, high, u, t)
            assert found == passes.sample(z, high, u, t, known=passes.summary(z), n_threads=2)
            assert z[found] > -np.inf
            below = c[found - 1] if found else 0.0
            assert below <= u * c[-1] * (1 + 1e-12)
            assert u * c[-1] <= c[found] * (1 + 1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_divergences_to_two_are_those_to_each(n: int, isa: str) -> None:
    r = np.random.default_rng(n)
    z = [(r.standard_normal(n) * 5).astype(np.float32) for _ in range(4)]
    for v in z[:3]:
        v[r.random(n) < 0.1] = -np.inf
        v[0] = 1
    z.append(z[3] + np.float32(1e-3) * (np.arange(n) == 0))  # a close one
    ds = [sl.Distribution(v) for v in z]
    ln = [passes.peak(v)[0] + math.log(passes.sums(v, passes.peak(v)[0])[0]) for v in z]
    found = divergence.js_two(z, ln, [z[0], z[3]], [ln[0], ln[3]])
    for d, pair in zip(ds, found, strict=True):
        assert pair.tolist() == pytest.approx([d.js(ds[0]), d.js(ds[3])], rel=1e-9, abs=1e-18)
    assert found[0, 0] == found[3, 1] == 0
    assert found[3, 0] == found[0, 1]
    with pytest.raises(SoftLlamaError, match="different numbers"):
        divergence.js_two(z, ln, [z[0], z[3][1:]], ln[:2])


def test_a_sample_never_has_the_probability_0() -> None:
    z = np.full(3000, -np.inf, dtype=np.float32)
    z[[5, 2100]] = 0, -9000  # e^-9000 is 0
    assert {passes.sample(z, 0.0, u) for u in (0.0, 0.5, 1 - 2**-53)} == {5}


def test_the_summary_is_the_other_functions(isa: str) -> None:
    for n in (1, 3, 5, 31, 922, 1025, 40_000, 151_936, 600_000):
        z = (np.random.default_rng(n).standard_normal(n) * 4).astype(np.float32)
        z[:: max(1, n // 100)] = z.max() - 0.5  # equal ones in many places
        z[n // 2] = 30
        k = min(n, passes.KNOWN)
        known = passes.summary(z)
        ids = list(known.ids[0:k])
        assert (known.max, ids[0], known.k) == (*passes.peak(z), k)
        assert tuple(known.sums) == passes.sums(z, known.max)
        assert ids == passes.top(z, k).tolist() == np.argsort(-z, kind="stable")[:k].tolist()
        assert list(known.p[0:k]) == passes.probs(z, known.max, known.sums[0])[ids].tolist()
    with pytest.raises(SoftLlamaError, match="element 1 is nan"):
        passes.summary(np.array([0, np.nan], dtype=np.float32))


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_the_summaries_of_rows_are_those_of_each(isa: str, n_threads: int) -> None:
    z = (np.random.default_rng(n_threads).standard_normal((5, 40_000)) * 4).astype(np.float32)
    for row, known in zip(z, passes.summaries(list(z), n_threads), strict=True):
        one = passes.summary(row)
        assert (known.max, tuple(known.sums), known.k) == (one.max, tuple(one.sums), one.k)
        assert (list(known.ids), list(known.p)) == (list(one.ids), list(one.p))
    assert passes.summaries([]) == []
    z[3, 7] = np.nan
    with pytest.raises(NotFiniteError, match="element 7 is nan") as e:
        passes.summaries(list(z), n_threads)
    assert e.value.index == 3


Z = np.zeros(4, dtype=np.float32)
D2, I4, F4, D4, N1 = (native.ffi.new(t) for t in ("double[2]", "int32_t[4]", "float[4]", "double[4]", "int64_t *"))
z4 = native.ffi.from_buffer("float[]", Z)
KNOWN = native.ffi.new("softmix_known *")
NULL, NAN, ISA = native.ffi.NULL, float("nan"), int(lib.softmix_isa())


@pytest.mark.parametrize(
    ("function", "good", "bad"),
    [
        ("peak", (z4, 4, F4, I4, ISA), {1: NULL, 2: 0, 3: NULL, 4: NULL, 5: 99}),
        ("sums", (z4, 4, 1.0, 0.0, D2, NULL, ISA), {1: NULL, 2: 0, 3: 0.0, 4: NAN, 5: NULL, 7: 99}),
        ("probs", (z4, 4, 1.0, 0.0, 4.0, F4, ISA), {1: NULL, 2: -1, 3: NAN, 4: NAN, 5: 0.0, 6: NULL, 7: -2}),
        (
            "summary",
            (z4, 4, KNOWN, NULL, ISA),
            {1: NULL, 2: 0, 3: NULL, 5: 99},
        ),
        (
            "summaries",
            (native.ffi.new("float *[]", [z4]), 1, 4, native.ffi.new("softmix_known *[]", [KNOWN]), I4, NULL, ISA),
            {1: NULL, 2: 0, 3: 0, 4: NULL, 5: NULL, 7: 99},
        ),
        (
            "whole",
            (z4, 4, 1.0, 0.0, 4.0, 0.1, I4, F4, N1, D2, NULL, ISA),
            {1: NULL, 2: 0, 3: -1.0, 4: NAN, 5: 0.0, 6: NAN, 7: NULL, 8: NULL, 9: NULL, 10: NULL, 12: 99},
        ),
        (
            "sample",
            (z4, 4, 1.0, 0.0, 0.5, NULL, I4, NULL, ISA),
            {1: NULL, 2: 0, 3: 0.0, 4: NAN, 5: 1.0, 7: NULL, 9: 99},
        ),
        (
            "filter",
            (z4, 4, I4, 1, 1.0, 0.0, 1.0, 0.0, 1, I4, D4, N1),
            {1: NULL, 2: 0, 3: NULL, 4: 5, 5: 0.0, 6: -1.0, 7: 0.0, 8: NAN, 9: 0, 10: NULL, 11: NULL, 12: NULL},
        ),
    ],
)
def test_bad_arguments_have_their_number(function: str, good: tuple[Any, ...], bad: dict[int, Any]) -> None:
    call = getattr(lib, f"softmix_{function}")
    assert call(*good) == 0
    for number, value in bad.items():
        assert call(*good[: number - 1], value, *good[number:]) == number


def test_divergences_to_two_check_their_arguments() -> None:
    many, ln = native.ffi.new("float *[]", [z4, z4]), native.ffi.new("double[]", [1.0, 1.0])
    work, out = native.ffi.new("double[]", 64 * 4), native.ffi.new("double[]", 4)
    good = (many, ln, 2, many, ln, 4, work, out, NULL, ISA)
    assert lib.softmix_js_two(*good) == 0
    bad_ln, no_row = native.ffi.new("double[]", [1.0, NAN]), native.ffi.new("float *[]", [z4, NULL])
    wrong = {
        1: [NULL, no_row],
        2: [NULL, bad_ln],
        3: [0],
        4: [NULL, no_row],
        5: [NULL, bad_ln],
        6: [0],
        7: [NULL],
        8: [NULL],
        10: [99],
    }
    for number, values in wrong.items():
        for value in values:
            assert lib.softmix_js_two(*good[: number - 1], value, *good[number:]) == number


def test_large_mixtures_check_their_arguments() -> None:
    rows, _ = table("Q8_0", 64)
    w, ids = np.ones(9, dtype=np.float32), np.arange(9, dtype=np.int32)
    at = [native.ffi.from_buffer(t, a) for t, a in (("int32_t[]", ids), ("float[]", w))]
    sums, out = np.empty((16, 64)), np.empty(66, dtype=np.float32)
    to = [native.ffi.from_buffer(t, a) for t, a in (("double[]", sums), ("float[]", out))]
    good = (*rows.table, at[0], at[1], 9, 0.5, to[0], to[1], 66, rows.type, NULL, ISA)
    assert lib.softmix_mix_many(*good) == 0
    np.testing.assert_allclose(out[:64], table("Q8_0", 64)[1][:9].sum(axis=0) / 2, rtol=1e-5, atol=1e-6)
    assert not out[64:].any()
    bad = {1: NULL, 2: 0, 3: 67, 4: 0, 5: 3, 8: NULL, 9: 0, 10: NAN, 11: NULL, 12: NULL, 13: 63, 16: 99}
    for number, value in bad.items():
        assert lib.softmix_mix_many(*good[: number - 1], value, *good[number:]) == number
    assert lib.softmix_mix_many(*good[:6], NULL, at[1], N_ROWS + 1, *good[9:]) == 9  # more than there are, without ids
    ids[4] = N_ROWS
    assert lib.softmix_mix_many(*good) == -5


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q5_0", "Q4_1", "Q4_K", "IQ4_XS", "IQ3_S"])
def test_damaged_rows_are_found(kind: str, isa: str) -> None:
    """The first row, those around a chunk's end, two side by side, the last; none in a sound table."""
    rows, _ = table(kind, 256)
    assert not len(kernels.damaged_rows(rows))
    data = rows.data.copy()
    bad = [0, 1023, 1024, 1500, 1501, N_ROWS - 1]
    data[bad] = 0xFF  # NaN, as a float and as the scale of a block
    damaged = Rows(data, rows.n_embd, rows.block, rows.to_float, rows.type)
    for threads in (1, 2):
        assert kernels.damaged_rows(damaged, threads).tolist() == bad
    data[:] = 0xFF
    assert len(kernels.damaged_rows(damaged)) == N_ROWS


def test_a_damaged_row_and_a_large_mixture_are_different_errors() -> None:
    values = np.full((2, 8), 3e38, dtype=np.float32)
    rows = Rows(values.view(np.uint8), 8, 1, 0, 0)
    with pytest.raises(MixtureError, match="the mixture overflows"):
        mixed(rows, [0, 1], [1.0, 1.0])
    values[1, 7] = np.inf
    with pytest.raises(ModelError, match="row 1 of the embedding table") as e:
        mixed(rows, [0, 1], [0.5, 0.5])
    assert "softllama doctor -m FILE" in e.value.hint
