"""llama.cpp's options: what is refused, what is recorded, and that a one-hot mixture stays its token under each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.engine import calibration
from softllama.engine.engine import Engine
from softllama.errors import ContextError, ModelError, UsageError
from softllama.evaluate import additions, workers
from softllama.evaluate.data import Dataset
from softllama.evaluate.options import EvaluateOptions, make_header
from softllama.generation.replay import replay
from softllama.llama import memory, runtime
from softllama.llama.runtime import CACHE_TYPES, Runtime
from softllama.vectors.mixture import Mixture
from tests.conftest import Cli

WAYS: list[dict[str, Any]] = [
    *({"cache_type_k": t, "cache_type_v": t} for t in CACHE_TYPES),
    {"cache_type_k": "q8_0"},
    {"flash_attn": "on"},
    {"flash_attn": "off"},
    {"cache_type_k": "q4_0", "flash_attn": "off"},
    {"n_batch": 4},
    {"n_batch": 8, "n_ubatch": 3},
    {"mmap": False},
    {"mlock": True},
    {"repack": False},
]
WIDE = {"n_embd": 256}  # heads of 64: two blocks of the types of the cache


@pytest.fixture
def wide(write: Callable[..., Path]) -> Path:
    return write("llama", **WIDE)


def logits(path: Path, items: Any, **how: Any) -> Any:
    with sl.load(path, n_threads=1, **how) as m, m.session(64) as s:
        return s.feed(items).logits


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_a_one_hot_mixture_is_its_token(wide: Path, how: dict[str, Any]) -> None:
    ids = [3, 17, 5, 40, 8, 3, 11, 29, 6]
    with sl.load(wide, n_threads=1, **how) as m:
        assert m.runtime.chosen() == {k: v for k, v in how.items() if v != getattr(Runtime(), k)}
        with m.session(64) as a, m.session(64) as b:
            np.testing.assert_array_equal(a.feed(ids).logits, b.feed([Mixture.one_hot(i) for i in ids]).logits)
            np.testing.assert_array_equal(a.feed([7]).logits, b.feed([Mixture.one_hot(7)]).logits)


def test_they_reach_llama_cpp(wide: Path) -> None:
    ids = [3, 17, 5, 40, 8, 3, 11, 29, 6, 2, 14]
    plain = logits(wide, ids)
    spread = float(plain.std())
    for how, least, most in (
        ({"cache_type_k": "q4_0", "cache_type_v": "q4_0"}, 1e-4, 1.0),
        ({"cache_type_k": "f32", "cache_type_v": "f32"}, 0.0, 0.05),
        ({"mmap": False}, 0.0, 0.0),
        ({"mlock": True}, 0.0, 0.0),
    ):
        off = float(np.abs(logits(wide, ids, **how) - plain).max()) / spread
        assert least <= off <= most, how
    with sl.load(wide, n_threads=1, n_batch=4) as m:
        context = m.new_context(64)
        assert context.n_batch == 4
        m.feed(context, 0, ids, 0)
        assert (context.evaluated, context.calls) == (11, 3)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"cache_type_k": "q3_k"}, "cache_type_k is 'q3_k'"),
        ({"cache_type_v": 3}, "cache_type_v is 3"),
        ({"flash_attn": True}, "flash_attn is True"),
        ({"numa": "mirror"}, "numa is 'mirror'"),
        ({"mmap": "no"}, "mmap must be True or False"),
        ({"n_batch": 0}, "n_batch must be between 1 and 65,536, not 0"),
        ({"n_ubatch": 1.5}, "n_ubatch"),
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "values of type q8_0 need flash attention, which is off"),
    ],
)
def test_what_is_not_allowed(how: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sl.load(**how)


def test_an_unknown_option_is_a_type_error_as_everywhere() -> None:
    with pytest.raises(TypeError, match="cache_types"):
        sl.load(cache_types="q8_0")  # type: ignore[call-arg]


def test_heads_that_a_block_does_not_divide(write: Callable[..., Path]) -> None:
    with pytest.raises((ContextError, ModelError), match="K cache type q8_0 with block size 32") as e:
        sl.load(write("llama"), n_threads=1, cache_type_k="q8_0").session(64)
    assert "--cache-type-k" in e.value.hint


def test_one_numa_strategy_for_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_numa", "isolate")
    Runtime(numa="isolate").prepare()
    with pytest.raises(UsageError, match="numa='isolate' already, not 'numactl'"):
        Runtime(numa="numactl").prepare()


def test_smaller_cells_take_less_memory(wide: Path) -> None:
    with sl.load(wide, n_threads=1) as m:
        h = m._weights.header
        full, small = (
            memory.need(h, 4096, 1, 512, 1, Runtime(cache_type_k=t, cache_type_v=t).cell_bytes).cells
            for t in ("f16", "q4_0")
        )
    assert small / full == pytest.approx(9 / 32, rel=0.01)


def test_a_trace_keeps_them_and_a_replay_wants_them(wide: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"cache_type_k": "q8_0", "cache_type_v": "q8_0", "n_batch": 16}
    with sl.load(wide, n_threads=1, **how) as m:
        trace = m.generate([1, 2, 3], policy="soft_thinking", max_tokens=4, seed=1)
        assert trace.manifest["runtime"] == how
        assert max(replay(m, trace), default=0) == 0
    with sl.load(wide, n_threads=1) as m:
        with pytest.raises(ModelError, match="another KV cache or flash attention: cache_type_k='q8_0'"):
            replay(m, trace)
        replay(m, trace, any_model=True)
        assert "runtime" not in m.generate([1, 2, 3], max_tokens=1).manifest


@pytest.mark.parametrize("runtime", [[], "q8_0", {"cache_type_k": 8}])
def test_a_trace_whose_options_are_nonsense_is_an_error_at_most(wide: Path, runtime: Any) -> None:
    with sl.load(wide, n_threads=1) as m:
        trace = m.generate([1, 2, 3], policy="full", max_tokens=2, seed=1)
        trace.manifest["runtime"] = runtime
        if isinstance(runtime, dict):
            with pytest.raises(ModelError, match="cache_type_k=8"):
                replay(m, trace)
        else:
            assert max(replay(m, trace)) == 0


def test_workers_of_an_evaluation_have_them(wide: Path) -> None:
    how: dict[str, Any] = {"cache_type_k": "q8_0", "flash_attn": "on", "n_batch": 16, "n_ubatch": 8, "mmap": False}
    with sl.load(wide, n_threads=1, **how) as m:
        work = workers.work_of(m, EvaluateOptions())
        assert hash(work)
        with Engine(work.model, **dict(work.load)) as again:
            assert again.runtime == m.runtime
            assert again.runtime.chosen() == how


def test_what_is_remembered_or_goes_on_knows_them(wide: Path) -> None:
    data = Dataset(name="d", problems=(), kind="text", sha256="", fields=())
    found = []
    for how in ({}, {"mmap": False}, {"cache_type_k": "q4_0", "cache_type_v": "q4_0"}):
        with sl.load(wide, n_threads=1, **how) as m:
            found.append((calibration.key_of(m._weights, "noise"), make_header(m, data, [], EvaluateOptions())))
    (key, header), (same_key, same), (other_key, other) = found
    assert (same_key, additions.difference(header, same)) == (key, "")  # they change no number
    assert other_key != key
    assert "cache_type_k, was None, and is 'q4_0'" in additions.difference(header, other)


def test_the_command_line_has_them_and_replays_with_them(cli: Cli, wide: Path, tmp_path: Path) -> None:
    options = ["-ctk", "q8_0", "--cache-type-v", "q4_0", "-fa", "on", "-b", 8, "-ub", 4, "--no-mmap", "--mlock"]
    file = tmp_path / "t.npz"
    run = ["run", "-m", wide, "dog cat", "--policy", "moi", "--max-tokens", 3, "--threads", 1, "-q"]
    assert cli(*run, "--trace", file, *options)[0] in (0, 3)
    recorded = sl.trace.load(file).manifest["runtime"]
    assert recorded == {
        "cache_type_k": "q8_0",
        "cache_type_v": "q4_0",
        "flash_attn": "on",
        "n_batch": 8,
        "n_ubatch": 4,
        "mmap": False,
        "mlock": True,
    }
    code, out, _ = cli("trace", "replay", file, "--threads", 1, "-q")
    assert code == 0
    assert "The largest difference of a recorded probability is 0," in out
    code, _, err = cli(*run, "--cache-type-v", "q8_0", "--flash-attn", "off")
    assert code == 2
    assert "Error: values of type q8_0 need flash attention" in err
