"""What a calibration must not take for agreement, and what it must not remember."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.base import cache
from softllama.engine import calibration
from softllama.engine.table import EmbeddingTable
from softllama.llama import bindings, devices
from softllama.llama.context import Context
from tests.support import tiny, tiny_special
from tests.support.overlay import disarm

N_VOCAB, N_EMBD = 325, 64
Rows = Any


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path / "cache"))


def random(*shape: int) -> Rows:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "replace",
    [
        {"output.weight": np.zeros((N_VOCAB, N_EMBD), np.float32)},
        {"output_norm.weight": np.zeros(N_EMBD, np.float32)},
        {"token_embd.weight": np.ones((N_VOCAB, N_EMBD), np.float32)},
        {"token_embd.weight": 1e37 * random(N_VOCAB, N_EMBD)},  # beside which the layers' numbers are lost
    ],
)
@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_a_model_that_does_not_hear_its_input_measures_nothing(arch: str, replace: Rows, tmp_path: Path) -> None:
    """Any multiplier, and none, would agree with its tokens."""
    file = tiny.write_model(tmp_path / "m.gguf", arch, tied=False, replace=replace)
    with pytest.raises(sl.ModelError, match=r"m\.gguf gives the same logits whatever token it reads") as e:
        sl.load(file, n_threads=1)
    assert e.value.hint


def test_tokens_are_chosen_whose_rows_tell_them_apart(tmp_path: Path) -> None:
    rows = np.zeros((N_VOCAB, N_EMBD), np.float32)
    rows[[3, 4, 9]] = random(3, N_EMBD)  # far from where the search begins
    rows[100:300] = rows[3]
    with sl.load(tiny.write_model(tmp_path / "m.gguf", replace={"token_embd.weight": rows}), n_threads=1) as model:
        chosen = calibration._probe_tokens(model.table)
        assert len({rows[i].tobytes() for i in chosen}) == len(chosen) == 3
        assert model.calibration.exact


@pytest.mark.parametrize("name", ["llama", "glm4"])
def test_logits_that_are_no_numbers_do_not_agree(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN is not above a limit, either."""
    spec = tiny_special.SPECIAL.get(name) or tiny.ARCHS[name]
    file = tiny.write_model(tmp_path / "m.gguf", name, spec=spec)
    mix = EmbeddingTable.mix

    def spoilt(self: EmbeddingTable, mixtures: Any, out: Rows, scale: float = 1.0, threads: int = 1) -> None:
        mix(self, mixtures, out, scale, threads)
        if len(mixtures) > 1:
            out[1, 0] = np.nan

    monkeypatch.setattr(EmbeddingTable, "mix", spoilt)
    with pytest.raises(sl.ModelError, match=r"cannot take mixtures: .* nan by"):
        sl.load(file, n_threads=1)


def test_a_device_on_which_nothing_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs between two runs must not become the tolerance for a wrong multiplier."""
    file = tiny.write_model(tmp_path / "m.gguf", "gemma3")
    decode, rng = Context.decode, np.random.default_rng(1)

    def noisy(self: Context, *a: Any, **k: Any) -> Rows:
        logits = decode(self, *a, **k)
        return logits + rng.standard_normal(logits.shape).astype(np.float32)

    monkeypatch.setattr(Context, "decode", noisy)
    with pytest.raises(sl.ModelError, match="the same three tokens twice give logits that differ by"):
        sl.load(file, n_threads=1)


def test_where_ids_are_known_to_decide_something_three_that_agree_prove_nothing(tmp_path: Path) -> None:
    """Tokens that share their experts make the logits independent of which of them is the carrier; others do not."""
    experts = np.tile(np.array([0, 2], np.int32), (N_VOCAB, 1))
    experts[:10] = 1, 3
    name = "blk.0.ffn_gate_tid2eid.weight"
    with sl.load(tiny_special.write(tmp_path / "m.gguf", "deepseek4", replace={name: experts}), n_threads=1) as model:
        assert (model.calibration.carrier, model.calibration.difference) == ("the experts of the hash layers", 0)


def test_ids_that_decide_something_unknown_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an architecture of which nobody has said so: no carriers will do but the right ones."""
    monkeypatch.setattr(calibration, "by_id", lambda header: "")
    with sl.load(tiny_special.write(tmp_path / "m.gguf", "qwen4exp"), n_threads=1) as model:
        assert (model.calibration.carrier, model.calibration.difference) == ("a part of what it reads", 0)


@pytest.mark.parametrize("name", ["glm4", "qwen4exp"])
def test_rows_of_which_nothing_comes_are_not_taken(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right carriers alone give the tokens' logits."""
    disarm(monkeypatch)
    with pytest.raises(sl.ModelError, match="cannot take mixtures"):
        sl.load(tiny_special.write(tmp_path / "m.gguf", name), n_threads=1)


# ---- what is remembered


def copied(source: Path, target: Path) -> None:
    """As cp -p does it, over what is there."""
    shutil.copyfile(source, target)
    os.utime(target, ns=(10**18, 10**18))


def test_another_file_of_the_same_size_and_time_is_measured_anew(tmp_path: Path) -> None:
    sources = [tiny.write_model(tmp_path / f"{seed}.gguf", "llama", seed=seed) for seed in (1, 2)]
    assert sources[0].stat().st_size == sources[1].stat().st_size
    file, hashes = tmp_path / "m.gguf", []
    for source in sources:
        copied(source, file)
        with sl.load(file, n_threads=1) as model:
            assert not model.calibration.remembered
            hashes.append(model.sha256)
        with sl.load(file, n_threads=1) as model:
            assert model.calibration.remembered
    assert len(set(hashes)) == 2


def test_another_llama_cpp_and_another_device_are_measured_anew(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("llama")

    def remembered() -> bool:
        with sl.load(file, n_threads=1) as model:
            return model.calibration.remembered

    assert [remembered(), remembered()] == [False, True]
    with monkeypatch.context() as patch:
        patch.setattr(bindings, "build", lambda: "llama-cpp-python 9.9.9")
        assert [remembered(), remembered()] == [False, True]
    with monkeypatch.context() as patch:
        patch.setattr(devices, "cpu_name", lambda: "another processor")
        assert [remembered(), remembered()] == [False, True]
    assert remembered()


def test_an_adapter_that_is_replaced_is_measured_anew(tmp_path: Path) -> None:
    base = tiny.write_model(tmp_path / "m.gguf", tied=False)
    adapters = [
        tiny.write_adapter(tmp_path / f"{i}.gguf", tensor="token_embd.weight", shape=(N_EMBD, N_VOCAB), alpha=alpha)
        for i, alpha in enumerate((2.0, 4.0))
    ]
    file, norms = tmp_path / "a.gguf", []
    for source in adapters:
        copied(source, file)
        with sl.load(base, n_threads=1, lora=str(file)) as model:
            assert not model.calibration.remembered
            norms.append(model.table.mean_norm)
    assert norms[0] != norms[1]


def test_a_calibration_that_was_damaged_is_measured_anew(write: Callable[..., Path]) -> None:
    file = write("llama")
    sl.load(file, n_threads=1).close()
    for key in cache.load_all("calibration"):
        cache.store("calibration", key, {"multiplier": 2.0, "no such field": 1})
    with sl.load(file, n_threads=1) as model:
        assert (model.calibration.multiplier, model.calibration.remembered) == (1.0, False)
