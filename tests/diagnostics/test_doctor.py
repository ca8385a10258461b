"""softllama doctor: what it finds on a sound machine and with a sound model, and that it finds what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.api import Model
from softllama.base import child, install_lines, system
from softllama.diagnostics import doctor, exactness, install, measures, view
from softllama.diagnostics.doctor import NOTE, OK, PROBLEM, Finding
from softllama.diagnostics.reporter import Reporter
from softllama.engine.table import EmbeddingTable
from softllama.errors import NotFiniteError
from softllama.llama import bindings, devices
from softllama.show import console
from softllama.vectors import kernels, native
from tests.conftest import ROOT, Cli
from tests.support import tiny, tiny_special
from tests.support.overlay import disarm

Write = Callable[..., Path]
MODEL = [
    "file", "weights", "table", "tensors", "loads", "vocabulary", "chat template", "thinking", "mixtures", "logits", "exact",
    "repeats", "rounding", "noise", "speed", "mixing", "memory",
]  # fmt: skip


@pytest.fixture(scope="module")
def here() -> doctor.Diagnosis:
    """This installation and the bundled model, in short."""
    return doctor.examine()


@pytest.fixture
def only_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation's own part takes half a second and is tested once."""
    inner = doctor._in_child

    def skipping(part: str, *rest: Any) -> Any:
        return inner(part, *rest) if part == "model" else iter(())

    monkeypatch.setattr(doctor, "_in_child", skipping)


def of(results: doctor.Diagnosis | list[Finding], name: str) -> Finding:
    findings = results.findings if isinstance(results, doctor.Diagnosis) else results
    (f,) = [f for f in findings if f.name == name]
    return f


# ---- the installation


def test_this_installation_is_usable(here: doctor.Diagnosis) -> None:
    assert here.usable, [f for f in here.findings if f.state == PROBLEM]
    assert here.verdict.startswith("this installation is usable")
    assert sl.__version__ in of(here, "softllama").text
    assert bindings.build() in of(here, "llama.cpp").text
    assert all(x in of(here, "llama.cpp").text for x in devices.features())
    assert native.isa_name() in of(here, "kernels").text
    assert devices.cpu_name() in of(here, "processor").text
    names = [f.name for f in here.findings]
    assert {"CPU", "chosen", "memory", "cache", "conversations", "models"} <= set(names)
    assert [f.name for f in here.findings if f.part == "model"] == [
        "table", "loads", "mixtures", "logits", "exact", "speed", "mixing",
    ]  # fmt: skip
    assert of(here, "exact").facts["difference"] == 0
    assert all(f.text and f.state in (OK, NOTE, PROBLEM) for f in here.findings)


@pytest.mark.slow
def test_neither_numpy_nor_llama_cpp_is_loaded_by_who_asks() -> None:
    code = (
        "import sys; from softllama.diagnostics import doctor; d = doctor.examine('/no/such.gguf')\n"
        "print(d.usable, [f.text for f in d.findings][-1], {'numpy', 'llama_cpp', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False there is no file /no/such.gguf set()\n", "")


@pytest.mark.parametrize(
    ("source", "said", "advice"),
    [
        (
            "raise ImportError('libllama.so: not found')",
            "llama-cpp-python cannot be loaded: libllama.so: not found",
            install_lines.here(again=True),
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "it was built for another processor (SIGILL)",
            doctor.REINSTALL,
        ),
    ],
)
def test_a_llama_cpp_that_cannot_be_loaded(
    source: str, said: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama_cpp.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = list(doctor.findings())
    assert found[-1].name == "llama.cpp"
    assert found[-1].state == PROBLEM
    assert said in found[-1].text
    assert found[-1].advice == advice


def test_a_c_module_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "softllama._shim", None)
    records: list[dict[str, Any]] = []
    install.installation(records.append)
    last = Finding(**records[-1]["finding"])
    assert (last.name, last.state) == ("C module", PROBLEM)
    assert "install softllama again" in last.advice


def test_whoever_asks_needs_no_c_module() -> None:
    code = (
        "import sys; sys.modules['softllama._shim'] = None\n"
        "from softllama.diagnostics import doctor; print(doctor.examine('/no/such.gguf').findings[-1].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("there is no file /no/such.gguf\n", "")


def test_a_llama_cpp_that_is_too_old() -> None:
    f = install.llama_version("0.3.9", "build 1", "", ())
    assert f.state == PROBLEM
    assert "older than 0.3.17" in f.text
    f = install.llama_version("0.3.40", "build 1", "", ())
    assert f.state == OK
    assert "was developed on 0.3.36" in f.text


def test_kernels_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = kernels.mix

    def wrong(*a: Any) -> None:
        right(*a)
        a[4][0, 5] += 1.0

    assert [f.state for f in install._kernels()] == [OK]
    monkeypatch.setattr(kernels, "mix", wrong)
    (f,) = install._kernels()
    assert f.state == PROBLEM
    assert "SOFTLLAMA_ISA=scalar" in f.advice


def test_a_slow_build_and_a_gpu_that_is_not_used() -> None:
    flags = ("avx2", "fma", "f16c")
    (build,) = install.unused_features(flags, ("SSE3", "FMA"))
    assert build.state == NOTE
    assert "without AVX2, F16C" in build.text
    assert not list(install.unused_features(flags, ("AVX2", "FMA", "F16C")))

    chosen = install.chosen_device
    for maker, switch in (("NVIDIA", "GGML_CUDA"), ("AMD", "GGML_HIP"), ("Apple", "GGML_METAL")):
        f = chosen((), False, maker)
        assert f.state == NOTE
        assert f"there is an {maker} GPU" in f.text
        assert switch in f.advice
    assert chosen((), False, "").state == OK
    assert "finds no device" in chosen((), True, "").text
    gpus = ("CUDA0 (NVIDIA H100)",)
    assert chosen(gpus, True, "NVIDIA").text.startswith("CUDA0 (NVIDIA H100), as this build has")
    cpu = chosen(gpus, True, "NVIDIA", 0)
    assert (cpu.state, cpu.text) == (OK, "the CPU, as --n-gpu-layers 0 asks for; without it CUDA0 (NVIDIA H100)")


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("SOFTLLAMA_STATE", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "new" / "folder"))
    found = list(install._folders())
    assert [f.state for f in found] == [NOTE, NOTE, OK]
    assert "is not a folder" in found[0].text
    assert "SOFTLLAMA_CACHE=FOLDER" in found[0].advice
    assert not (tmp_path / "new").exists()
    assert "only 1 MB free" in install.writable_folder("cache", tmp_path, "", "", "", 10**6).text


def test_memory_that_is_free() -> None:
    assert system.all_memory() > 1 << 28
    for free, state, said in ((10**10, OK, "10 GB free"), (4 * 10**8, NOTE, "400 MB free"), (None, NOTE, "not report")):
        f = install.free_memory(free, 1 << 34)
        assert f.state == state
        assert said in f.text


def test_a_model_that_is_larger_than_the_memory(load: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    (f,) = measures.context_memory(load("llama"))
    assert f.state == OK
    monkeypatch.setenv("SOFTLLAMA_MEMORY", "1kB")
    (f,) = measures.context_memory(load("llama"))
    assert f.state == NOTE
    assert "1 kB are free, so weights are read from the disk again and again" in f.text


# ---- a model


@pytest.mark.usefixtures("only_model")
@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "lfm2"])
def test_a_sound_model(write: Write, arch: str) -> None:
    path = write(arch, table_type="Q4_0")
    d = doctor.examine(path, n_threads=1)
    assert [f.name for f in d.findings] == MODEL
    assert [f.name for f in d.findings if f.state != OK] == ["chat template"]
    assert d.usable
    exact, table, memory = (of(d, n).facts for n in ("exact", "table", "memory"))
    assert (exact["difference"], exact["other_argmax"]) == (0, 0)
    assert (exact["tokens"], exact["positions"]) == (320, 256), "goes on at the beginning where the context ends"
    assert exact["batches"] == [1, 2, 3, 5, 8, 13, 32]
    assert table["damaged"] == 0
    assert memory["bytes"] > 256 * 64
    assert of(d, "weights").facts["table"] == "Q4_0"
    assert of(d, "repeats").facts["twice"] == 0
    assert json.loads(json.dumps(d.to_dict(), allow_nan=False))["usable"] is True


@pytest.mark.usefixtures("only_model")
@pytest.mark.parametrize(
    ("name", "said"), [("gemma3n", "by overlay on embd, inp_per_layer"), ("dream", "is a diffusion")]
)
def test_special_models(name: str, said: str, tmp_path: Path) -> None:
    mask = {"tokenizer.ggml.mask_token_id": 300} if name == "dream" else {}
    d = doctor.examine(tiny_special.write(tmp_path / "m.gguf", name, extra=mask), n_threads=1)
    assert d.usable, d.findings
    assert said in of(d, "mixtures").text
    assert of(d, "exact").facts["difference"] == 0
    without = ["speed", "mixing", "memory"] if name == "dream" else []
    assert [f.name for f in d.findings if f.name != "per-layer"] == [n for n in MODEL if n not in without]
    if name == "gemma3n":
        assert "325 rows of 512 in F32: all finite" in of(d, "per-layer").text


@pytest.mark.usefixtures("only_model")
def test_a_diffusion_model_that_cannot_be_asked(tmp_path: Path) -> None:
    d = doctor.examine(tiny_special.write(tmp_path / "m.gguf", "dream"), n_threads=1)
    assert not d.usable
    assert "names no mask token" in of(d, "mixtures").text
    assert "mask_token_id" in of(d, "mixtures").advice


@pytest.mark.usefixtures("only_model")
def test_a_model_on_which_llama_cpp_ends_the_process(write: Write) -> None:
    d = doctor.examine(write("qwen35", extra={"{arch}.full_attention_interval": 0}), n_threads=1)
    assert not d.usable
    last = d.findings[-1]
    assert (last.name, last.state) == ("loads", PROBLEM)
    assert "it divided by zero (SIGFPE); its last line: " in last.text
    assert "fresh copy" in last.advice
    assert of(d, "table").state == OK


@pytest.mark.usefixtures("only_model")
def test_rows_that_are_not_finite(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((325, 64)).astype(np.float32)
    table[[7, 11, 300], [0, 63, 5]] = np.nan, np.inf, -np.inf
    d = doctor.examine(tiny.write_model(tmp_path / "m.gguf", replace={"token_embd.weight": table}), n_threads=1)
    f = of(d, "table")
    assert (f.state, f.facts["damaged"], f.facts["first"]) == (PROBLEM, 3, [7, 11, 300])
    assert "3 of 325 rows of 64 in F32 hold numbers that are not finite: 7, 11, 300" in f.text
    assert not d.usable


@pytest.mark.usefixtures("only_model")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: tiny.write_model(p, "bert"), "it is an encoder"),
        (lambda p: tiny.write_model(p, replace={"output_norm.weight": np.full(64, np.nan, np.float32)}), "not numbers"),
        (lambda p: tiny.write_model(p, drop=["output_norm.weight"]), "'output_norm.weight' not found"),
        (lambda p: tiny.write_mmproj(p), "projector"),
        (lambda p: p, "there is no file"),
        (lambda p: p.parent, "is a folder"),
        (lambda p: Path(os.devnull), "not a regular file"),
        (lambda p: p.write_bytes(b"FUGG") and p, "big-endian"),
        (lambda p: p.write_bytes(b"text") and p, "not a GGUF file"),
        (lambda p: tiny.write_model(p, "eagle3"), "draft head"),
        (lambda p: tiny.write_model(p, extra={"{arch}.context_length": float("nan")}), "context_length"),
        (lambda p: tiny.write_adapter(p), "LoRA adapter"),
        (lambda p: tiny.write_vocab_only(p), "a vocabulary without weights"),
        (lambda p: tiny.write_model(p, shards=2).rename(p), "split model, but its name"),
    ],
)
def test_models_that_cannot_be_used(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    """Each with what to do about it."""
    d = doctor.examine(make(tmp_path / "m.gguf"), n_threads=1)
    assert not d.usable
    problems = [f for f in d.findings if f.state == PROBLEM]
    assert said in problems[-1].text
    assert all(f.advice and "softllama doctor" not in f.advice for f in problems), "who says it is the doctor"
    assert json.loads(json.dumps(d.to_dict(), allow_nan=False))["problems"] == len(problems)


@pytest.mark.usefixtures("only_model")
def test_tensors_that_are_not_finite(tmp_path: Path) -> None:
    """Also where the tokens that the doctor feeds do not come upon them: of an expert that is hardly ever chosen, say."""
    up = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
    up[[3, 90], [0, 63]] = np.inf, np.nan
    d = doctor.examine(tiny.write_model(tmp_path / "m.gguf", replace={"blk.1.ffn_up.weight": up}), n_threads=1)
    f = of(d, "tensors")
    assert (f.state, f.facts["damaged"]) == (PROBLEM, {"blk.1.ffn_up.weight": 2})
    assert "1 of 19 others hold numbers that are not finite: blk.1.ffn_up.weight (2 rows)" in f.text
    experts = np.ones((4, 64, 32), dtype=np.float32)
    experts[3, 60, 5] = np.nan
    d = doctor.examine(
        tiny_special.write(tmp_path / "m.gguf", "rnd1", replace={"blk.0.ffn_down_exps.weight": experts}), n_threads=1
    )
    assert of(d, "tensors").facts["damaged"] == {"blk.0.ffn_down_exps.weight": 1}


@pytest.mark.usefixtures("only_model")
def test_a_long_context_is_no_file_that_takes_too_much(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MEMORY", 1 << 20)
    assert "more than the file can need" in doctor.examine(write("llama"), n_threads=1).findings[-1].text
    assert doctor.examine(write("llama"), n_threads=1, n_ctx=512).usable


@pytest.mark.usefixtures("only_model")
def test_adapters_are_named(write: Write, tmp_path: Path) -> None:
    plain = tiny.write_adapter(tmp_path / "plain.gguf")
    table = tiny.write_adapter(tmp_path / "table.gguf", tensor="token_embd.weight", shape=(64, 325))
    d = doctor.examine(write("llama", tied=False), n_threads=1, lora=[(str(plain), 0.5), (str(table), -1.0)])
    assert d.usable
    first, second = (f for f in d.findings if f.name == "adapter")
    assert first.text == f"{plain} with scale 0.5"
    assert second.text == f"{table} with scale -1; it changes the embedding table, and is mixed with its rows"
    assert "rounded in another order" in of(d, "exact").text


def test_facts_are_json() -> None:
    records: list[dict[str, Any]] = []
    Reporter(records.append, "model").add("it", OK, "x", number=float("nan"), more={"a": [float("inf"), 1.0]})
    assert records[0]["finding"]["facts"] == {"number": None, "more": {"a": [None, 1.0]}}


@pytest.mark.usefixtures("only_model")
def test_names_and_options_that_are_wrong(write: Write) -> None:
    (f,) = doctor.findings("bundled:no-such")
    assert (f.state, "no bundled model" in f.text, "-m FILE" in f.advice) == (PROBLEM, True, True)
    (f,) = doctor.findings("")
    assert (f.state, doctor.diagnosis("", [f]).verdict) == (PROBLEM, "the model should not be used as it is: 1 problem")
    assert "threads must be between" in doctor.examine(write("llama"), n_threads=-1).findings[-1].text
    assert "not the address of a worker" in doctor.examine(write("llama"), rpc="nonsense").findings[-1].text


def test_rows_that_are_fed_wrongly(load: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison would notice a difference, small or large, and logits that are not numbers."""
    m = load("llama")
    right = Model.rows

    def patched(amount: float) -> None:
        def rows(self: Model, items: Any) -> Any:
            result = right(self, items)
            result.embeddings[-1, 0] += amount
            return result

        monkeypatch.setattr(Model, "rows", rows)

    patched(1e-6)
    logits, exact = exactness.one_hot(m)
    assert (logits.state, exact.state) == (OK, NOTE)
    assert 0 < exact.facts["difference"] < 1e-2
    patched(1.0)
    _, exact = exactness.one_hot(m)
    assert exact.state == PROBLEM
    assert exact.facts["other_argmax"] > 0
    assert "do not trust" in exact.advice
    monkeypatch.setattr(m._weights, "on_gpu", True)
    patched(1e-6)
    _, exact = exactness.one_hot(m)
    assert (exact.state, "the rounding of a GPU" in exact.text) == (OK, True)
    patched(float("nan"))
    (logits,) = exactness.one_hot(m)
    assert logits.state == PROBLEM
    assert "are NaN or infinite" in logits.text


@pytest.mark.parametrize("name", ["gemma3n", "glm4"])
def test_rows_that_go_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits that the carriers alone made would be those of the tokens, if the carriers were the tokens."""
    m = sl.load(tiny_special.write(tmp_path / "m.gguf", name), n_threads=1)
    assert of(list(exactness.one_hot(m)), "exact").state == OK
    disarm(monkeypatch)
    exact = of(list(exactness.one_hot(m)), "exact")
    assert exact.state == PROBLEM
    assert exact.facts["other_argmax"] > 0


def test_a_mixture_that_is_wrong_and_a_run_that_does_not_repeat(
    load: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    m = load("llama")
    calls = []
    decode = sl.llama.context.Context.decode

    def drifting(self: Any, *a: Any, **k: Any) -> Any:
        calls.append(1)
        return decode(self, *a, **k) + np.float32(1e-3 * len(calls))

    with monkeypatch.context() as patch:
        patch.setattr(sl.llama.context.Context, "decode", drifting)
        repeats, _ = exactness.determinism(m)
    assert repeats.state == NOTE
    assert repeats.facts["twice"] == pytest.approx(1e-3, rel=0.1)
    assert [f.state for f in exactness.determinism(m)] == [OK, OK]

    with monkeypatch.context() as patch:  # single positions are another batch shape
        patch.setattr(
            sl.llama.context.Context,
            "decode",
            lambda self, seqs, *a, **k: decode(self, seqs, *a, **k) * np.float32(1.1 if len(seqs) == 1 else 1),
        )
        rounding = of(list(exactness.determinism(m)), "rounding")
    assert rounding.state == NOTE
    assert "(10 %)" in rounding.text
    assert "one batch shape" in rounding.advice

    embed = EmbeddingTable.embed
    monkeypatch.setattr(EmbeddingTable, "embed", lambda self, mixture: embed(self, mixture) * np.float32(1.01))
    (f,) = exactness.rows(m.table, 1)
    assert f.state == PROBLEM
    assert "is wrong by" in f.text


def test_vocabularies_templates_and_tags(load: Callable[..., Model]) -> None:
    (f,) = measures.vocabulary(load("llama"))
    assert (f.state, f.facts["kind"], f.facts["BOS"]) == (OK, "byte-level BPE", "<|bos|>")
    (f,) = measures.vocabulary(load("llama", tokenizer="none"))
    assert (f.state, f.facts["kind"]) == (NOTE, "none")
    (f,) = measures.vocabulary(load("llama", tokenizer="spm-nobytes"))
    assert f.state == NOTE
    assert "'D'" in f.text or "vocabulary" in f.text
    chat, thinks = measures.template(load("llama", chat_template=tiny.CHAT_TEMPLATE + "{# <think> </think> #}"))
    assert (chat.state, chat.facts["ok"]) == (OK, True)
    assert thinks.text.startswith("between <think> and </think>, as DeepSeek-R1")
    _, thinks = measures.template(load("llama", chat_template=tiny.CHAT_TEMPLATE + "{# enable_thinking #}"))
    assert thinks.text.startswith("unknown: the chat template has 'enable_thinking'")
    for template, said in (
        ("{% for m in %}", "does not parse"),
        ("{{ raise_exception('no') }}", "refuses"),
        ("chatml", "leaves the message out"),
    ):
        chat, thinks = measures.template(load("llama", chat_template=template))
        assert (chat.state, chat.facts) == (NOTE, {"present": True, "ok": False})
        assert said in chat.text
        assert thinks.facts["open"] is None


def test_without_a_child_it_looks_by_itself(
    write: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(child, "possible", lambda: False)
    before = os.environ["SOFTLLAMA_CACHE"]
    d = doctor.examine(write("llama"), n_threads=1)
    assert d.usable
    assert of(d, "exact").facts["difference"] == 0
    assert d.findings[0].name == "child process"
    assert os.environ["SOFTLLAMA_CACHE"] == before
    assert capfd.readouterr() == ("", "")


def test_a_check_that_fails_is_a_finding() -> None:
    records: list[dict[str, Any]] = []
    report = Reporter(records.append, "model")

    def fails(e: BaseException) -> Any:
        raise e

    for e, said in (
        (ValueError("x"), "ValueError: x"),
        (MemoryError(), "memory ran out"),
        (sl.ModelError("m", "h"), "m"),
        (NotFiniteError("nan", "softllama doctor"), "nan"),
    ):
        assert not report.check("it", lambda e=e: fails(e))
        f = Finding(**records[-1]["finding"])
        assert (f.part, f.name, f.state) == ("model", "it", PROBLEM)
        assert said in f.text
        assert f.advice not in ("", "softllama doctor")
    assert report.check("it", lambda: None)


# ---- how it looks, and the command


def test_a_finding_wide_and_narrow() -> None:
    f = Finding("model", "exact", PROBLEM, "one two three four five six seven eight nine ten", "do this and that")
    wide = ["problem exact         one two three four five six seven eight", "nine ten", "-> do this and that"]
    narrow = ["problem exact", "  one two three four five six", "  seven eight nine ten", "  -> do this and that"]
    for width, lines in ((62, [wide[0], *(" " * 22 + x for x in wide[1:])]), (30, narrow)):
        assert str(view.finding(f, console.console(width=width))).split("\n") == lines


@pytest.mark.slow
def test_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    for width in (80, 40):
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, err = cli("doctor", "-m", write("llama"), "--threads", 1)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert "\x1b" not in out
        assert all(len(x) <= width and x == x.rstrip() for x in lines)
        assert [x for x in lines if x in ("installation", "machine", "model")] == ["installation", "machine", "model"]
        assert "is usable: " in " ".join(lines[-4:])


@pytest.mark.usefixtures("only_model")
def test_exit_codes_and_json(cli: Cli, write: Write, tmp_path: Path) -> None:
    bad = write("llama", drop=["output_norm.weight"])
    code, out, err = cli("doctor", "-m", bad)
    assert (code, err) == (1, "")
    assert "should not be used as it is: 1 problem" in " ".join(out.split())
    code, out, err = cli("doctor", "-m", bad, "--json")
    record = json.loads(out)
    assert (code, err, record["usable"], record["problems"]) == (1, "", False, 1)
    assert record["findings"][-1]["advice"]
    code, out, _ = cli("doctor", "--json", "-m", write("llama"), "--threads", 1)
    record = json.loads(out)
    assert (code, record["usable"], record["model"]) == (0, True, str(write("llama")))
    assert [f["name"] for f in record["findings"]] == MODEL
    assert cli("doctor", "-m", tmp_path / "none.gguf")[0] == 1
    assert cli("doctor", "--threads", "many")[0] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the child in /proc")
def test_ctrl_c() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "softllama", "doctor"], text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    children, pids = Path(f"/proc/{command.pid}/task/{command.pid}/children"), ""
    for _ in range(3000):
        if pids := children.read_text():
            break
        time.sleep(0.005)
    time.sleep(0.2)
    os.killpg(command.pid, signal.SIGINT)
    _, err = command.communicate(timeout=300)
    assert (command.returncode, err.strip()) == (130, "interrupted")
    assert not Path(f"/proc/{int(pids)}").exists()
