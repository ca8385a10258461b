"""A copy in F32: the same numbers and keys, all types, less noise, and no half file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import softllama as sl
from softllama.engine import noise
from softllama.errors import ModelError, SoftLlamaError, UsageError
from softllama.hub import bundled
from softllama.llama import dequantize, header
from tests.conftest import Cli
from tests.engine.test_forward import Llama
from tests.support import tiny

WORDS = bundled.FOLDER / "words.gguf"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled Q8_0 model in F32."""
    out = tmp_path_factory.mktemp("f32") / "words-F32.gguf"
    dequantize.write(WORDS, out)
    return out


def fields(path: Path) -> dict[str, Any]:
    return {k: f.contents() for k, f in gguf.GGUFReader(path).fields.items() if not k.startswith("GGUF.")}


def test_keys_stay_and_weights_are_what_another_reader_makes_of_them(words: Path) -> None:
    assert fields(words) == {**fields(WORDS), "general.file_type": 0}
    before, after = gguf.GGUFReader(WORDS).tensors, gguf.GGUFReader(words).tensors
    assert [t.name for t in before] == [t.name for t in after]
    for a, b in zip(before, after, strict=True):
        assert b.tensor_type == gguf.GGMLQuantizationType.F32
        assert np.array_equal(gguf.dequantize(a.data, a.tensor_type), b.data), a.name
    assert words.stat().st_size == pytest.approx(dequantize.expected_bytes(header.read(WORDS)), rel=0.05)


@pytest.mark.usefixtures("exact")
def test_the_copy_is_nearer_to_double_precision(words: Path) -> None:
    own = Llama(words)
    errors = {}
    for path in (WORDS, words):
        with sl.load(path, n_threads=1) as model:
            items = [*model.tokenize("The", bos=True), model.mix("dog:0.5,cat:0.5"), *model.tokenize(" says")]
            want = own.logits(own.rows(items))
            with model.session(n_ctx=64) as s:
                errors[path] = np.abs(s.feed(items).logits - want).max()
    assert errors[words] < 1e-3
    assert errors[words] < errors[WORDS] / 20


def test_the_copy_is_exact_and_has_less_noise(words: Path) -> None:
    floors = []
    for path in (WORDS, words):
        with sl.load(path, n_threads=1) as model, model.session(n_ctx=64) as s:
            by_row = s.feed([sl.Mixture.one_hot(i) for i in (5, 300, 7)]).logits
            s.truncate(0)
            assert np.array_equal(by_row, s.feed([5, 300, 7]).logits)
            floors.append(noise.measure(model).logit)
    assert floors[1] < floors[0] / 10 or floors[1] == 0


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL", "IQ3_XXS"])
def test_every_type_becomes_floats(kind: str, write: Callable[..., Path], tmp_path: Path) -> None:
    source = write("llama", table_type=kind)
    dequantize.write(source, tmp_path / "out.gguf")
    with sl.load(source, n_threads=1) as a, sl.load(tmp_path / "out.gguf", n_threads=1) as b:
        m = sl.Mixture([5, 9], [0.25, 0.75])
        assert np.array_equal(a.embed(m), b.embed(m))


def test_a_split_model_becomes_one_file(tmp_path: Path) -> None:
    source = tiny.write_model(tmp_path / "m.gguf", table_type="Q8_0", shards=2)
    dequantize.write(source, tmp_path / "one.gguf")
    assert "split.count" not in fields(tmp_path / "one.gguf")
    assert set(header.read(tmp_path / "one.gguf").tensors) == set(header.read(source).tensors)
    sl.load(tmp_path / "one.gguf", n_threads=1).close()


def test_names_of_copies() -> None:
    for name, quantization, want in (
        ("SmolLM2-135M-Instruct-Q4_1.gguf", "Q4_1", "SmolLM2-135M-Instruct-F32.gguf"),
        ("qwen-0.5b-q4_k_m.gguf", "Q4_K_M", "qwen-0.5b-F32.gguf"),
        ("words.gguf", "Q8_0", "words-F32.gguf"),
        ("m-Q8_0-00001-of-00002.gguf", "Q8_0", "m-F32.gguf"),
    ):
        assert dequantize.target(Path("folder") / name, quantization) == Path(want)


def test_nothing_is_overwritten_or_left_half(tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "there.gguf"
    there.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        dequantize.write(WORDS, there)
    assert there.read_text() == "mine"
    with pytest.raises(ModelError, match="in F32 already"):
        dequantize.write(words, tmp_path / "again.gguf")
    with pytest.raises(UsageError, match="no folder"):
        dequantize.write(WORDS, tmp_path / "none" / "a.gguf")

    def interrupt(name: str, done: int, total: int) -> None:
        assert 0 < done <= total
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dequantize.write(WORDS, tmp_path / "cut.gguf", interrupt)
    monkeypatch.setattr(dequantize.shutil, "disk_usage", lambda p: type("U", (), {"free": 1_000_000})())
    with pytest.raises(SoftLlamaError, match=r"would have .* MB, and the disk has 1 MB left"):
        dequantize.write(WORDS, tmp_path / "full.gguf")
    assert [p.name for p in tmp_path.iterdir()] == ["there.gguf"]


def test_the_command(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("models", "dequantize", "bundled:words")
    assert (code, out) == (0, "words-F32.gguf\n")
    assert "2.1 MB of weights; in F32 they take 7.8 MB" in err
    assert "F32" in cli("models", "show", tmp_path / "words-F32.gguf")[1]
    code, _, err = cli("models", "dequantize", "bundled:words")
    assert code == 2
    assert "-o" in err
