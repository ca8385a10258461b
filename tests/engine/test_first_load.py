"""The first load of a file, in a child process: files on which llama.cpp ends the process become sentences."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.base import cache, child, folders
from softllama.engine import first_load
from softllama.engine.engine import Engine
from softllama.engine.session import Session
from softllama.errors import ModelError, SoftLlamaError, UsageError
from softllama.llama import bindings
from softllama.llama.runtime import Runtime
from tests.conftest import ROOT, Cli
from tests.support import tiny

ENDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {  # architecture, header, options, the last line
    **{
        f"a head's length that is not the model's: {arch}": (
            arch, {"{arch}.attention.key_length": 24}, {}, f"{arch}.cpp:",
        )
        for arch in ("qwen2", "qwen2vl", "gpt2", "phi3")
    },
    "inner size": ("qwen35", {"{arch}.ssm.inner_size": 48}, {}, "GGML_ASSERT"),
    "attention in every 0th layer": ("qwen35", {"{arch}.full_attention_interval": 0}, {}, "SIGFPE"),
    "sections wider than a head": ("qwen2vl", {"{arch}.rope.dimension_sections": [16] * 4}, {}, "sect_dims"),
    "sections of nothing": ("qwen2vl", {"{arch}.rope.dimension_sections": [0] * 4}, {}, "sections[0] > 0"),
    "deepstack in every layer": ("qwen3vl", {"{arch}.n_deepstack_layers": 2}, {}, "ggml_can_repeat"),
    "a hybrid without attention": ("lfm2", {}, {"n_layer": 1}, "GGML_ASSERT(buffer)"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trials as users have them, and nothing remembered."""
    monkeypatch.delenv("SOFTLLAMA_TRIAL")
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(write: Callable[..., Path], tmp_path: Path) -> Path:
    """A good model whose file is the test's own."""
    path = tmp_path / "model.gguf"
    path.write_bytes(write("llama").read_bytes())
    return path


def damaged(write: Callable[..., Path], name: str) -> Path:
    arch, extra, options, _ = ENDS[name]
    return write(arch, extra=extra, **options)


@pytest.mark.parametrize("name", ENDS)
def test_files_on_which_llama_cpp_ends_the_process(write: Callable[..., Path], name: str) -> None:
    path = damaged(write, name)
    with pytest.raises(ModelError) as e:
        sl.load(path, n_threads=1)
    text = str(e.value)
    assert text.startswith(f"{path} cannot be used: in a trial, llama.cpp ")
    assert ENDS[name][3] in text
    assert "(SIGABRT)" in text or "(SIGFPE)" in text
    assert "\n" not in text
    assert "/vendor/" not in text
    assert f"softllama doctor -m {path}" in e.value.hint


@pytest.mark.parametrize("name", ["inner size", "attention in every 0th layer"])
def test_they_do_end_the_process_without_a_trial(write: Callable[..., Path], name: str) -> None:
    code = f"import softllama as sl; sl.load({str(damaged(write, name))!r}, n_threads=1, trial=False)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.returncode in (-signal.SIGABRT, -signal.SIGFPE)


def test_the_command_line_says_it_and_exits_with_1(cli: Cli, write: Callable[..., Path]) -> None:
    path = damaged(write, "attention in every 0th layer")
    code, out, err = cli("probe", "-m", path, "--mix", "dog,cat", "--threads", 1)
    assert (code, out) == (1, "")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["first use of this file here", "Error", "Hint"]
    assert "it divided by zero (SIGFPE)" in err


def test_a_file_is_tried_once(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = sl.load(file, n_threads=1)
    assert first.trial is not None
    assert first.trial.seconds > 0
    second = sl.load(file, n_threads=1)
    assert second.trial is None
    assert second.calibration.remembered
    assert (first.calibration.multiplier, first.calibration.exact) == (1.0, True)
    assert not first.calibration.remembered
    os.utime(file, (1, 1))  # another file, as far as one can tell
    assert sl.load(file, n_threads=1).trial is not None
    assert sl.load(file, n_threads=1, trial=True).trial is not None
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3", "gpt2", "mamba", "lfm2", "qwen35"])
def test_ids_without_a_vocabulary_give_the_same(write: Callable[..., Path], arch: str) -> None:
    """What the child measures holds for the model that is used."""
    found = []
    for vocabulary in (True, False):
        with (
            Engine(write(arch), n_threads=1, trial=False, vocabulary=vocabulary) as model,
            Session.start(model, 256) as s,
        ):
            found.append((replace(model.calibration, remembered=False), s.feed([5, 7, 6]).logits.tolist()))
            assert (model.tokenizer.kind == "none") is not vocabulary
        (folders.cache() / "calibration.json").unlink()
    assert found[0] == found[1]


def test_the_child_that_leaves_the_vocabulary_out_does_not_read_it(file: Path) -> None:
    """A word that is listed twice, at which llama.cpp ends the process, is nothing to it."""
    cat, dog = (len(w).to_bytes(8, "little") + w for w in (b"cat", b"dog"))
    file.write_bytes(file.read_bytes().replace(cat, dog, 1))
    how: dict[str, Any] = {
        "path": str(file),
        "n_gpu_layers": 0,
        "n_threads": 1,
        "lora": [],
        "any_base": False,
        "rpc": [],
    }
    call = "softllama.engine.attempt:attempt"
    without = {**how, "runtime": {}, "vocabulary": False}
    assert [list(r) for r in child.messages(call, without, seconds=60)] == [["calibration"]]
    with pytest.raises(ModelError, match="lists 'dog' twice"):
        list(child.messages(call, {**without, "vocabulary": True}, seconds=60))


@pytest.mark.parametrize("why", ["aborts", "refuses"])
def test_a_child_without_the_vocabulary_has_not_the_last_word(
    file: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A file that llama.cpp loads whole is not refused because it does not load in part."""
    monkeypatch.setattr(first_load, "ATTEMPT", f"tests.support.trial:{why}_without_vocabulary")
    with sl.load(file, n_threads=1) as model:
        assert model.trial is not None
        assert not model.calibration.remembered


def test_a_child_with_the_vocabulary_has(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_load, "ATTEMPT", "tests.support.trial:aborts")
    with pytest.raises(ModelError, match=r"in a trial, llama.cpp ended the process"):
        sl.load(file, n_threads=1)


def test_the_children_have_every_option_of_the_load(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {
        "cache_type_k": "q8_0",
        "cache_type_v": "q4_0",
        "flash_attn": "on",
        "n_batch": 16,
        "n_ubatch": 8,
        "mmap": False,
        "mlock": True,
        "numa": "distribute",
    }
    asked: dict[str, dict[str, Any]] = {}
    messages = child.messages

    def spy(function: str, arguments: dict[str, Any], **limits: Any) -> Any:
        asked[function.rpartition(":")[2]] = arguments
        return messages(function, arguments, **limits)

    monkeypatch.setattr(child, "messages", spy)
    monkeypatch.setattr(Runtime, "prepare", lambda self: None)  # it holds for a process, and this is that of all tests
    with sl.load(write("llama", n_embd=256), n_threads=1, any_base=True, **how) as m:
        assert m.trial is not None  # a child that does not take them gives none
    assert asked["attempt"]["any_base"] is True
    # where the weights lie in the child is its own: one copy of them, whoever reads it
    assert asked["attempt"]["runtime"] == how | {"mmap": True, "mlock": False, "repack": False}
    if "build" in asked:  # llama.cpp can do without weights
        kind = type(bindings.api.llama_context_default_params())
        context = kind.from_buffer_copy(bytes.fromhex(asked["build"]["context"]))
        on = bindings.api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        assert (context.type_k, context.type_v, context.flash_attn_type) == (8, 2, on)


def test_the_calibration_is_measured_in_the_child_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from softllama.engine import calibration

    def measured(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(calibration, "_Measurement", measured)
    assert sl.load(file, n_threads=1).calibration.exact


def test_without_a_cache_it_still_works(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path / "no-folder"))
    for _ in range(2):
        model = sl.load(file, n_threads=1)
        assert model.trial is not None
        assert model.calibration.exact


@pytest.mark.parametrize("word", ["off", "0", "no", "OFF"])
def test_the_variable_turns_it_off(file: Path, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_TRIAL", word)
    assert sl.load(file, n_threads=1).trial is None
    assert not cache.load_all("trial")


@pytest.mark.parametrize("word", ["off", "0", "no", "OFF"])
def test_a_trial_that_is_asked_for_is_made_where_the_variable_turns_it_off(
    file: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTLLAMA_TRIAL", word)
    assert sl.load(file, n_threads=1, trial=True).trial is not None


def test_what_is_not_tried(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sl.load(n_threads=1).trial is None  # ours
    assert sl.load(file, n_threads=1, trial=False).trial is None
    monkeypatch.setattr(child, "possible", lambda: False)
    assert sl.load(file, n_threads=1).trial is None


def test_a_child_that_cannot_be_started_is_not_the_file_s_fault(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python3")
    model = sl.load(file, n_threads=1)
    assert model.trial is None
    assert model.calibration.exact
    assert not cache.load_all("trial")


def test_what_the_child_refuses_is_refused_in_the_same_words(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("llama", drop=["output_norm.weight"])
    said = []
    for on in (True, False):
        with pytest.raises(SoftLlamaError) as e:
            sl.load(path, n_threads=1, trial=on)
        said.append((type(e.value), str(e.value), e.value.hint))
    assert said[0] == said[1]
    with pytest.raises(ModelError, match="there is no file"):
        sl.load(write("llama"), lora=str(tmp_path / "none.gguf"))


def test_an_adapter_is_tried_with_its_model(file: Path, tmp_path: Path) -> None:
    adapter = tiny.write_adapter(tmp_path / "adapter.gguf")
    assert sl.load(file, n_threads=1).trial is not None
    assert sl.load(file, n_threads=1, lora=str(adapter)).trial is not None
    assert sl.load(file, n_threads=1, lora=(str(adapter), 0.5)).trial is None


def test_the_limit_of_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_TRIAL", "0.01")
    with pytest.raises(ModelError, match="did not come to an end in 0 s"):
        sl.load(file, n_threads=1)
    monkeypatch.setenv("SOFTLLAMA_TRIAL", "300")
    assert sl.load(file, n_threads=1).trial is not None
    monkeypatch.setenv("SOFTLLAMA_TRIAL", "soon")
    with pytest.raises(UsageError, match="neither off nor a number"):
        sl.load(file, n_threads=1, trial=True)
    assert first_load._seconds("", 5_000_000_000) == pytest.approx(1120)


def test_the_limit_of_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_load, "SPARE", -(1 << 30))
    monkeypatch.setattr(child, "TICK", 0.0)
    monkeypatch.setattr(child, "own_memory", lambda pid: 1 << 30)
    with pytest.raises(ModelError, match=r"took 1\.1 GB of memory, more than the file can need"):
        sl.load(file, n_threads=1)


def test_after_a_fork(file: Path) -> None:
    code = f"""
import os, sys
import softllama as sl
pid = os.fork()
if pid == 0:
    model = sl.load({str(file)!r}, n_threads=1)
    os._exit(0 if model.trial is not None and model.calibration.exact else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
@pytest.mark.parametrize("group", [True, False])
def test_ctrl_c_during_a_trial(file: Path, group: bool) -> None:
    """The command is interrupted as always, and nothing is left of the child. A long sweep, so that on a busy machine the signal
    does not come when all is done."""
    call = ["probe", "-m", str(file), "--mix", "dog,cat", "-q", "--sweep", "10001"]
    command = subprocess.Popen(
        [sys.executable, "-m", "softllama", *call], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    children, pids = Path(f"/proc/{command.pid}/task/{command.pid}/children"), ""
    for _ in range(3000):
        if pids := children.read_text():
            break
        time.sleep(0.005)
    (os.killpg if group else os.kill)(command.pid, signal.SIGINT)
    out, err = command.communicate(timeout=300)
    assert (command.returncode, out, err.strip()) == (130, "", "interrupted")
    assert not Path(f"/proc/{int(pids)}").exists()
