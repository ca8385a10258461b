"""Every function of csrc/softmix.h against numpy, and every argument it must turn down. Needs no llama.cpp."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from softllama._shim import ffi, lib
from softllama.errors import SoftLlamaError
from softllama.vectors import divergence, kernels, passes
from softllama.vectors.kernels import Rows
from softllama.vectors.mixture import Mixture, blend

SIZES = [1, 2, 3, 17, 256, 2047, 2048, 2049, 5003, 1 << 20]
LN2 = float(np.log(2))


def rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([2024, *key])


def table_of(values: NDArray[np.float32]) -> Rows:
    return Rows(np.ascontiguousarray(values).view(np.uint8), values.shape[1])


def mix(
    values: NDArray[np.float32], mixtures: list[Mixture], stride: int = 0, scale: float = 1.0
) -> NDArray[np.float32]:
    """Rows mixed by the C function, in an array that held rubbish before."""
    out = np.full((len(mixtures), stride or values.shape[1]), np.nan, dtype=np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(m) for m in mixtures])])
    ids, weights = (np.concatenate(x) for x in zip(*((m.ids, m.weights) for m in mixtures), strict=True))
    kernels.mix(table_of(values), offsets, ids, weights, out, scale)
    return out


def softmax(z: Any, t: float = 1.0) -> NDArray[np.float32]:
    """Probabilities, by the passes that a Distribution makes."""
    logits = np.asarray(z, dtype=np.float32)
    high, _ = passes.peak(logits)
    return passes.probs(logits, high, passes.sums(logits, high, t)[0], t)


def entropy(z: Any, t: float = 1.0) -> float:
    logits = np.asarray(z, dtype=np.float32)
    total, total_x = passes.sums(logits, passes.peak(logits)[0], t)
    return max(float(np.log(total)) - total_x / total, 0.0)


# ---- oracles: the textbook formulas in numpy, in double (softmax in long double where it matters)


def p_of(z: Any, t: float = 1.0) -> NDArray[np.float64]:
    x = np.asarray(z, dtype=np.float64)
    e = np.exp((x - x.max()) / t)
    return e / e.sum()


def plogp(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Σ p ln(p/q) with 0 ln 0 = 0."""
    on = p > 0
    with np.errstate(divide="ignore"):
        return float((p[on] * (np.log(p[on]) - np.log(q[on]))).sum())


def entropy_of(z: Any, t: float = 1.0) -> float:
    p = p_of(z, t)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def js_of(a: Any, b: Any) -> float:
    p, q = p_of(a), p_of(b)
    m = (p + q) / 2
    return (plogp(p, m) + plogp(q, m)) / 2


# ---- mixing


@pytest.mark.parametrize("n_embd", [1, 3, 64, 2047, 2048, 2049, 6151])
@pytest.mark.parametrize("k", [1, 2, 7])
def test_mix_equals_numpy(n_embd: int, k: int) -> None:
    r = rng(n_embd, k)
    e = r.standard_normal((11, n_embd)).astype(np.float32)
    mixtures = [Mixture(r.choice(11, k, replace=False), r.dirichlet(np.ones(k))) for _ in range(5)]
    got = mix(e, mixtures)
    for m, row in zip(mixtures, got, strict=True):
        want = m.weights.astype(np.float64) @ e[m.ids].astype(np.float64)
        np.testing.assert_allclose(row, want, rtol=1e-6, atol=1e-7)


def test_one_hot_is_the_row_to_the_bit() -> None:
    e = rng().standard_normal((50, 3000)).astype(np.float32)
    e[3, :4] = [np.float32(1e-42), -0.0, np.finfo(np.float32).max, -np.finfo(np.float32).tiny]
    got = mix(e, [Mixture.one_hot(i) for i in range(50)])
    assert np.array_equal(got, e)


def test_a_row_wider_than_the_embedding_is_padded_with_zeros() -> None:
    e = rng().standard_normal((4, 5)).astype(np.float32)
    got = mix(e, [Mixture([0, 3], [0.25, 0.75]), Mixture.one_hot(2)], stride=9)
    np.testing.assert_allclose(got[0, :5], 0.25 * e[0] + 0.75 * e[3], rtol=1e-6)
    assert np.array_equal(got[1, :5], e[2])
    assert np.array_equal(got[:, 5:], np.zeros((2, 4)))


def test_the_scale_is_applied_once_in_float32() -> None:
    e = rng().standard_normal((4, 100)).astype(np.float32)
    scale = np.float32(np.sqrt(1152))
    assert np.array_equal(mix(e, [Mixture.one_hot(1)], scale=float(scale))[0], e[1] * scale)


def test_permuted_weights_give_the_same_vector() -> None:
    r = rng(5)
    e = r.standard_normal((200, 300)).astype(np.float32)
    ids, w = r.choice(200, 40, replace=False), r.dirichlet(np.ones(40))
    order = r.permutation(40)
    a, b = Mixture(ids, w), Mixture(ids[order], w[order])
    assert a == b
    assert np.array_equal(mix(e, [a]), mix(e, [b]))


def test_a_mixture_of_mixtures_is_the_mixture_of_the_sums() -> None:
    r = rng(6)
    e = r.standard_normal((100, 500)).astype(np.float32)
    parts = [Mixture(r.choice(100, 9, replace=False), r.dirichlet(np.ones(9))) for _ in range(4)]
    shares = r.dirichlet(np.ones(4))
    whole = mix(e, [blend(parts, shares)])[0]
    one_by_one = shares @ mix(e, parts).astype(np.float64)
    assert np.abs(whole - one_by_one).max() <= 1e-6 * np.abs(e).max()


def test_signed_weights_cancel_in_double() -> None:
    e = np.array([[1.0], [1.0], [1e-3]], dtype=np.float32)
    assert mix(e, [Mixture([0, 1, 2], [1e6, -1e6, 1.0], signed=True)])[0, 0] == np.float32(1e-3)


def test_blocks_go_to_the_dequantizer_whole() -> None:
    """A made-up type of 32 values in 33 bytes: a scale of one byte, then 32 signed bytes."""
    calls: list[int] = []

    @ffi.callback("softmix_to_float")
    def to_float(src: Any, dst: Any, n: int) -> None:
        calls.append(n)
        raw = np.frombuffer(ffi.buffer(src, n // 32 * 33), dtype=np.uint8).reshape(-1, 33)
        out = np.frombuffer(ffi.buffer(dst, 4 * n), dtype=np.float32)
        out[:] = (raw[:, :1].astype(np.float32) * raw[:, 1:].view(np.int8)).reshape(-1)

    r = rng(7)
    n_embd = 2048 + 96
    data = r.integers(0, 256, (6, n_embd // 32 * 33), dtype=np.uint8)
    rows = Rows(data, n_embd, 32, int(ffi.cast("intptr_t", to_float)))
    raw = data.reshape(6, -1, 33)
    e = (raw[:, :, :1].astype(np.float32) * raw[:, :, 1:].view(np.int8)).reshape(6, n_embd)
    out = np.empty((1, n_embd), dtype=np.float32)
    kernels.mix(rows, [0, 2], [1, 4], [0.5, 0.5], out)
    np.testing.assert_allclose(out[0], (e[1] + e[4]) / 2, rtol=1e-6)
    assert sorted(calls) == [96, 96, 2048, 2048]


def test_rows_need_not_be_aligned() -> None:
    """Rows in a file begin at any byte."""
    e = rng(8).standard_normal((3, 10)).astype(np.float32)
    shifted = np.zeros(3 * 40 + 1, dtype=np.uint8)
    shifted[1:] = e.view(np.uint8).reshape(-1)
    out = np.empty((1, 10), dtype=np.float32)
    kernels.mix(Rows(shifted[1:].reshape(3, 40), 10), [0, 1], [2], [1.0], out)
    assert np.array_equal(out[0], e[2])


# ---- measures


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("t", [0.1, 1.0, 7.5])
def test_softmax_equals_numpy(n: int, t: float) -> None:
    z = rng(n).standard_normal(n).astype(np.float32) * 10
    got = softmax(z, t)
    np.testing.assert_allclose(got, p_of(z, t), rtol=1e-6, atol=1e-38)
    assert got.dtype == np.float32
    assert abs(got.sum(dtype=np.float64) - 1) < 1e-5


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("t", [0.1, 1.0, 7.5])
def test_entropy_equals_numpy(n: int, t: float) -> None:
    z = rng(n).standard_normal(n).astype(np.float32) * 10
    assert entropy(z, t) == pytest.approx(entropy_of(z, t), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_divergences_equal_numpy(n: int) -> None:
    a, b = (rng(n, i).standard_normal(n).astype(np.float32) * 5 for i in range(2))
    assert divergence.kl(a, b) == pytest.approx(plogp(p_of(a), p_of(b)), rel=1e-9, abs=1e-12)
    assert divergence.js(a, b) == pytest.approx(js_of(a, b), rel=1e-9, abs=1e-12)
    assert divergence.js(a, b) == divergence.js(b, a)
    assert divergence.kl(a, a) == divergence.js(a, a) == 0


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 2, 5, 1000, 1 << 20])
def test_top_equals_a_stable_sort(n: int, k: int) -> None:
    if k > 1000 and n > 6000:
        k = 6000
    v = rng(n).integers(-9, 9, n).astype(np.float32)  # many ties
    assert np.array_equal(passes.top(v, k), np.argsort(-v, kind="stable")[:k])


def test_top_of_equal_values_is_in_the_order_of_ids() -> None:
    assert passes.top(np.zeros(10), 4).tolist() == [0, 1, 2, 3]
    assert passes.top([-0.0, 0.0, -np.inf, np.inf, np.inf], 5).tolist() == [3, 4, 0, 1, 2]


def test_uniform_and_certain() -> None:
    assert entropy(np.full(1000, 3.5)) == pytest.approx(np.log(1000), rel=1e-14)
    certain = np.full(1000, -np.inf)
    certain[17] = -5
    assert entropy(certain) == 0
    assert softmax(certain)[17] == 1
    other = np.full(1000, -np.inf)
    other[18] = 80
    assert divergence.js(certain, other) == LN2
    assert divergence.kl(certain, other) == np.inf
    assert divergence.kl(certain, np.zeros(1000)) == pytest.approx(np.log(1000), rel=1e-14)


@pytest.mark.parametrize("t", [1e-30, 1e-10, 1e10, 1e30])
def test_extreme_temperatures(t: float) -> None:
    z = np.array([1.0, 3.0, 3.0, -2.0, -np.inf], dtype=np.float32)
    p = softmax(z, t)
    want = [0, 0.5, 0.5, 0, 0] if t < 1 else [0.25, 0.25, 0.25, 0.25, 0]
    np.testing.assert_allclose(p, want, atol=1e-7)
    assert entropy(z, t) == pytest.approx(np.log(2 if t < 1 else 4), rel=1e-9)


def test_a_temperature_outside_float32() -> None:
    z = [0.0, 1.0]
    assert softmax(z, 1e-300).tolist() == [0, 1]
    assert entropy(z, 1e-300) == 0
    assert softmax(z, 1e300).tolist() == [0.5, 0.5]
    assert entropy(z, 1e300) == LN2


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 3e38, -3e38])
def test_extreme_logits(shift: float) -> None:
    z = np.array([0.0, 1.0, 2.0], dtype=np.float32) + np.float32(shift)
    np.testing.assert_allclose(softmax(z), p_of(z), rtol=1e-6)
    assert entropy(z) == pytest.approx(entropy_of(z), rel=1e-9)
    assert divergence.js(z, z[::-1]) == pytest.approx(js_of(z, z[::-1]), rel=1e-9, abs=1e-15)
    spread = np.array([-3e38, 3e38], dtype=np.float32)
    assert softmax(spread).tolist() == [0, 1]


def test_minus_infinity_on_either_side() -> None:
    a = np.array([0.0, -np.inf, 1.0, -np.inf], dtype=np.float32)
    b = np.array([-np.inf, 0.5, 1.0, -np.inf], dtype=np.float32)
    assert divergence.kl(a, b) == np.inf
    assert divergence.js(a, b) == pytest.approx(js_of(a, b), rel=1e-12)
    assert divergence.kl(a, [0.0, 0.0, 1.0, 0.0]) == pytest.approx(plogp(p_of(a), p_of([0, 0, 1, 0])), rel=1e-12)


def test_close_distributions_do_not_lose_their_distance() -> None:
    """KL and JS of near-equal logits are about the square of the difference."""
    z = rng(9).standard_normal(1000).astype(np.float32)
    other = z.copy()
    other[5] += np.float32(1e-2)
    d = float(other[5]) - float(z[5])
    p = p_of(z)[5]
    assert divergence.kl(z, other) == pytest.approx(p * (1 - p) * d * d / 2, rel=0.02)
    assert divergence.js(z, other) == pytest.approx(p * (1 - p) * d * d / 8, rel=0.02)


def test_probabilities_may_be_written_over_the_logits() -> None:
    z = rng(10).standard_normal(100).astype(np.float32)
    want, p, high = softmax(z), f32(z), float(z.max())
    assert lib.softmix_probs(p, 100, 1.0, high, passes.sums(z, high)[0], p, ISA) == 0
    assert np.array_equal(z, want)


# ---- threads


def test_eight_threads_at_once_give_the_same_results() -> None:
    r = rng(11)
    e, z = r.standard_normal((64, 4096)).astype(np.float32), r.standard_normal((8, 50_000)).astype(np.float32)
    m = Mixture(np.arange(64), r.dirichlet(np.ones(64)))

    def work(i: int) -> tuple[Any, ...]:
        a, b = z[i % 8], z[(i + 1) % 8]
        return (
            mix(e, [m]).tobytes(), softmax(a).tobytes(), passes.top(a, 50).tobytes(), entropy(a),
            divergence.kl(a, b), divergence.js(a, b),
        )  # fmt: skip

    alone = [work(i) for i in range(32)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(32))) == alone


def test_the_gil_is_released() -> None:
    """A call in one thread waits for a second call: neither would end if they held the lock."""
    import threading

    barrier = threading.Barrier(2, timeout=20)
    broken: list[bool] = []

    @ffi.callback("softmix_to_float")
    def to_float(src: Any, dst: Any, n: int) -> None:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            broken.append(True)
        ffi.memmove(dst, src, 4 * n)

    rows = Rows(np.ones((1, 4), dtype=np.float32).view(np.uint8), 4, 1, int(ffi.cast("intptr_t", to_float)))

    def call() -> None:
        kernels.mix(rows, [0, 1], [0], [1.0], np.empty((1, 4), dtype=np.float32))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not broken


# ---- arguments: straight to C


def f32(a: NDArray[np.float32]) -> Any:
    return ffi.cast("float *", a.ctypes.data)


NULL = ffi.NULL
ISA = int(lib.softmix_isa())
N_MAX = int(lib.SOFTMIX_MAX_N)
INF, NAN = float("inf"), float("nan")


class Call:
    """Good arguments for softmix_mix: 3 rows of 4 floats, two mixtures of 2 and 1 entries. Fields are replaced by name."""

    names = (
        "table", "n_rows", "row_bytes", "n_embd", "block", "to_float", "offsets", "n", "ids", "weights", "scale", "out",
        "stride", "type", "isa",
    )  # fmt: skip

    def __init__(self) -> None:
        self.keep: list[Any] = []
        self.out = np.zeros((2, 6), dtype=np.float32)
        self.args: dict[str, Any] = {
            "table": self.array(np.arange(12, dtype=np.float32), "void *"), "n_rows": 3, "row_bytes": 16, "n_embd": 4,
            "block": 1, "to_float": NULL, "offsets": self.array(np.array([0, 2, 3], dtype=np.int64), "int64_t *"), "n": 2,
            "ids": self.array(np.array([0, 1, 2], dtype=np.int32), "int32_t *"),
            "weights": self.array(np.array([0.5, 0.5, 1.0], dtype=np.float32), "float *"), "scale": 1.0,
            "out": self.array(self.out, "float *"), "stride": 6, "type": -1, "isa": ISA,
        }  # fmt: skip

    def array(self, a: NDArray[Any], ctype: str) -> Any:
        self.keep.append(a)
        return ffi.cast(ctype, a.ctypes.data)

    def __call__(self, **changes: Any) -> int:
        assert set(changes) <= set(self.names)
        args = self.args | {
            k: self.array(v, {"offsets": "int64_t *", "ids": "int32_t *"}.get(k, "float *"))
            if isinstance(v, np.ndarray)
            else v
            for k, v in changes.items()
        }
        return int(lib.softmix_mix(*(args[k] for k in self.names)))


def i64(*v: int) -> NDArray[np.int64]:
    return np.array(v, dtype=np.int64)


def i32(*v: int) -> NDArray[np.int32]:
    return np.array(v, dtype=np.int32)


def fl(*v: float) -> NDArray[np.float32]:
    return np.array(v, dtype=np.float32)


def test_mix_accepts_the_good_call() -> None:
    call = Call()
    assert call() == 0
    assert call.out.tolist() == [[2, 3, 4, 5, 0, 0], [8, 9, 10, 11, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"table": NULL}, 1),
        ({"n_rows": 0}, 2),
        ({"n_rows": -1}, 2),
        ({"n_rows": N_MAX + 1}, 2),
        ({"row_bytes": 0}, 3),
        ({"row_bytes": 15}, 3),
        ({"row_bytes": 20}, 3),
        ({"row_bytes": N_MAX + 1}, 3),
        ({"n_embd": 0}, 4),
        ({"n_embd": -4}, 4),
        ({"n_embd": N_MAX + 1}, 4),
        ({"block": 0}, 5),
        ({"block": 3}, 5),
        ({"block": 8}, 5),
        ({"block": 4096}, 5),
        ({"offsets": NULL}, 7),
        ({"offsets": i64(1, 2, 3)}, 7),
        ({"offsets": i64(0, 0, 3)}, 7),
        ({"offsets": i64(0, 2, 2)}, 7),
        ({"offsets": i64(0, 2, 1)}, 7),
        ({"offsets": i64(0, -1, 3)}, 7),
        ({"offsets": i64(0, 1, N_MAX + 1)}, 7),
        ({"n": 0}, 8),
        ({"n": -2}, 8),
        ({"n": N_MAX + 1}, 8),
        ({"ids": NULL}, 9),
        ({"weights": NULL}, 10),
        ({"scale": NAN}, 11),
        ({"scale": INF}, 11),
        ({"out": NULL}, 12),
        ({"stride": 3}, 13),
        ({"stride": -1}, 13),
        ({"stride": N_MAX + 1}, 13),
        ({"isa": -1}, 15),
        ({"isa": 99}, 15),
        ({"ids": i32(0, 3, 2)}, -2),
        ({"ids": i32(-1, 1, 2)}, -1),
        ({"ids": i32(0, 1, 2**31 - 1)}, -3),
        ({"weights": fl(0.5, NAN, 1)}, -2),
        ({"weights": fl(0.5, 0.5, INF)}, -3),
        ({"weights": fl(-INF, 0.5, 1)}, -1),
        ({"weights": fl(0.5, 0.5, 3e38)}, -3),  # finite rows whose sum overflows
        ({"scale": 3e38}, -1),
    ],
    ids=lambda x: str(x)[:40],
)
def test_mix_turns_down(changes: dict[str, Any], code: int) -> None:
    assert Call()(**changes) == code


def test_mix_blames_the_row_that_is_not_finite() -> None:
    e = np.ones((3, 4), dtype=np.float32)
    e[1, 2] = np.nan
    call = Call()
    assert call(table=e.reshape(-1)) == -2
    assert call(table=e.reshape(-1), ids=i32(0, 2, 1)) == -3
    assert call(table=e.reshape(-1), ids=i32(0, 2, 2)) == 0


Z = fl(0.0, 1.0, -INF, 2.0)
BAD_LOGITS = [(fl(0, NAN, 1), -2), (fl(INF, 0), -1), (fl(0, 1, INF), -3), (fl(-INF, -INF), -1), (fl(-INF), -1)]
D = ffi.new("double *")
OUT = np.empty(8, dtype=np.float32)
IDS = np.empty(8, dtype=np.int32)
pi = ffi.cast("int32_t *", IDS.ctypes.data)


def c_kl(*args: Any) -> int:
    return int(lib.softmix_kl(*args, ISA))


def c_js(*args: Any) -> int:
    return int(lib.softmix_js(*args, NULL, ISA))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: lib.softmix_top(NULL, 4, 2, pi, ISA), 1),
        (lambda: lib.softmix_top(f32(Z), 0, 2, pi, ISA), 2),
        (lambda: lib.softmix_top(f32(Z), N_MAX + 1, 2, pi, ISA), 2),
        (lambda: lib.softmix_top(f32(Z), 4, 0, pi, ISA), 3),
        (lambda: lib.softmix_top(f32(Z), 4, 5, pi, ISA), 3),
        (lambda: lib.softmix_top(f32(Z), 4, -1, pi, ISA), 3),
        (lambda: lib.softmix_top(f32(Z), 4, 2, NULL, ISA), 4),
        (lambda: lib.softmix_top(f32(fl(0, 1, NAN)), 3, 2, pi, ISA), -3),
        (lambda: lib.softmix_top(f32(fl(0, INF, -INF)), 3, 3, pi, ISA), 0),
        *((lambda z=z: lib.softmix_peak(f32(z), len(z), f32(OUT), pi, ISA), rc) for z, rc in BAD_LOGITS),
        *((lambda f=f: f(NULL, f32(Z), 4, NULL, D), 1) for f in (c_kl, c_js)),
        *((lambda f=f: f(f32(Z), NULL, 4, NULL, D), 2) for f in (c_kl, c_js)),
        *((lambda f=f: f(f32(Z), f32(Z), 0, NULL, D), 3) for f in (c_kl, c_js)),
        *((lambda f=f: f(f32(Z), f32(Z), 4, NULL, NULL), 5) for f in (c_kl, c_js)),
        (lambda: lib.softmix_kl(f32(Z), f32(Z), 4, NULL, D, 99), 6),
        (lambda: lib.softmix_js(f32(Z), f32(Z), 4, NULL, D, NULL, 99), 7),
        *((lambda z=z: c_kl(f32(z), f32(Z), len(z), NULL, D), rc) for z, rc in BAD_LOGITS),
        *((lambda z=z: c_js(f32(Z), f32(z), len(z), NULL, D), rc) for z, rc in BAD_LOGITS if len(z) > 1),
    ],
)
def test_measures_return_the_code(call: Callable[[], int], code: int) -> None:
    assert call() == code


# ---- arguments: through the Python modules


E = np.ones((3, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: passes.top([], 1), "shape"),
        (lambda: passes.top(np.zeros((2, 2)), 1), r"\(2, 2\)"),
        (lambda: softmax([0.0, NAN]), "element 1 is nan"),
        (lambda: softmax([INF, 0.0]), "element 0 is inf"),
        (lambda: softmax([-INF, -INF]), "all -inf"),
        (lambda: softmax([0.0], 0), "temperature"),
        (lambda: softmax([0.0], -1), "-1"),
        (lambda: softmax([0.0], INF), "inf"),
        (lambda: softmax([0.0], NAN), "nan"),
        (lambda: passes.top([0.0], 0), "k >= 1"),
        (lambda: passes.top([0.0, NAN], 1), "element 1 is nan"),
        (lambda: divergence.kl([0.0], [0.0, 1.0]), "1 and 2 tokens"),
        (lambda: divergence.kl([0.0, NAN], [0.0, 1.0]), "element 1 is nan"),
        (lambda: divergence.js([0.0, 1.0], [INF, 1.0]), "element 0 is inf"),
        (lambda: divergence.js([0.0, 1.0], [-INF, -INF]), "all -inf"),
        (lambda: kernels.mix(table_of(E), [0, 1], [3], [1.0], E.copy()), "token id 3 is outside the vocabulary of 3"),
        (lambda: kernels.mix(table_of(E), [0, 1], [-1], [1.0], E.copy()), "token id -1"),
        (lambda: kernels.mix(table_of(E), [0, 1], [1], [NAN], E.copy()), "weight of token 1 is nan"),
        (lambda: kernels.mix(table_of(E * 3e38), [0, 2], [0, 1], [1.0, 1.0], E.copy()), "overflows"),
        (lambda: kernels.mix(table_of(E), [0, 1, 2], [0], [1.0], E.copy()), "do not fit"),
        (lambda: kernels.mix(table_of(E), [0, 1], [0, 1], [1.0], E.copy()), "do not fit"),
        (lambda: kernels.mix(table_of(E), [0, 1], [0], [1.0], E.astype(np.float64)), "float32"),
        (lambda: kernels.mix(table_of(E), [0, 1], [0], [1.0], np.empty((4, 8), np.float32)[:, ::2]), "contiguous"),
        (lambda: kernels.mix(table_of(E), [0, 1, 2], [0, 1], [1.0, 1.0], E[:1].copy()), "at least 2 rows"),
        (lambda: kernels.mix(table_of(E), [0, 1], [0], [1.0], np.empty((1, 3), np.float32)), "argument 13"),
        (lambda: kernels.mix(table_of(E), [0, 0, 1], [0], [1.0], E.copy()), "argument 7"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(SoftLlamaError, match=message):
        call()


def test_a_mass_below_what_bins_tell_apart_leaves_nothing_out() -> None:
    """Found by scripts/dev/fuzz_shim: the farthest bin, beyond 128 nats, was counted as gone and kept all the same."""
    logits = np.array([0, -40, -60, -100, -np.inf], dtype=np.float32)
    ids, _, left = passes.truncated(logits, 0.0, 1.0, 1e-300)
    assert (ids.tolist(), left) == ([0, 1, 2, 3], 0)
    ids, _, left = passes.truncated(logits, 0.0, 1.0, 1e-20)
    assert ids.tolist() == [0, 1]
    assert left == pytest.approx(np.exp(-60) + np.exp(-100), rel=1e-6)
