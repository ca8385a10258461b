"""An adapter that says which base it was trained on is refused on another one, with a way out; any other works as before."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

import softllama as sl
from softllama.cli.model_options import ModelOptions
from softllama.engine import noise
from softllama.evaluate import workers
from softllama.evaluate.options import EvaluateOptions
from softllama.llama import header
from softllama.llama.adapter_facts import AdapterFacts, norms_digest
from tests.conftest import Cli
from tests.llama.test_adapter_facts import FACTS
from tests.support import tiny

Write = Callable[..., Path]


def write_trained(path: Path, base: Path, *, arch: str = "llama", n_in: int = 64, size: float = 0.05) -> Path:
    """An adapter on the first layer's queries that says it was trained on this base."""
    h = header.read(base)
    rng = np.random.default_rng(0)
    w = gguf.GGUFWriter(path, arch)
    w.add_string("general.type", "adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", 4.0)
    for key, value in replace(FACTS, base_norms_sha256=norms_digest(h)).metadata().items():
        w.add_uint32(key, value) if isinstance(value, int) else w.add_string(key, value)
    w.add_tensor("blk.0.attn_q.weight.lora_a", rng.standard_normal((4, n_in)).astype(np.float32) * size)
    w.add_tensor("blk.0.attn_q.weight.lora_b", rng.standard_normal((64, 4)).astype(np.float32))
    tiny.finish(w)
    return path


def fine_tuned(path: Path, base: Path) -> Path:
    """The same model with one value of its last norm changed."""
    data = bytearray(base.read_bytes())
    at = header.read(base).tensors["output_norm.weight"].offset
    data[at : at + 4] = np.float32(1.25).tobytes()
    path.write_bytes(data)
    return path


def test_on_its_base_it_changes_the_output_and_the_record_says_what_it_is(write: Write, tmp_path: Path) -> None:
    base = write("llama")
    file = write_trained(tmp_path / "a.gguf", base)
    with sl.load(base, n_threads=1, lora=str(file)) as m, sl.load(base, n_threads=1) as plain:
        (record,) = m.generate("dog", max_tokens=1, chat=False).manifest["model"]["adapters"]
        with m.session() as s, plain.session() as t:
            assert np.abs(s.feed([1, 2, 3]).logits - t.feed([1, 2, 3]).logits).max() > 1e-3
        assert "adapters" not in plain.generate("dog", max_tokens=1, chat=False).manifest["model"]
    assert record["fits"] is True
    assert (record["base"], record["steps"], record["purpose"]) == ("Tiny", 1200, "mixtures")
    assert len(record["sha256"]) == 64
    assert record["result"] == FACTS.result


def test_on_another_quantization_it_is_taken(write: Write, tmp_path: Path) -> None:
    file = write_trained(tmp_path / "a.gguf", write("llama"))
    with sl.load(write("llama", table_type="Q8_0"), n_threads=1, lora=str(file)) as m:
        assert m.adapters[0]["fits"] is True


def test_on_another_fine_tune_it_is_refused_with_a_way_out(write: Write, tmp_path: Path) -> None:
    base = write("llama")
    file, other = write_trained(tmp_path / "a.gguf", base), fine_tuned(tmp_path / "other.gguf", base)
    with pytest.raises(sl.ModelError, match=r"trained for mixtures on Tiny, 1,200 steps.*its norms differ") as e:
        sl.load(other, n_threads=1, lora=str(file))
    assert "--any-base" in e.value.hint
    with sl.load(other, n_threads=1, lora=str(file), any_base=True, trial=True) as m:  # in the child of the trial, too
        assert m.adapters[0]["fits"] is False
        assert m.adapter_texts == [
            "a.gguf, trained for mixtures on Tiny, 1,200 steps, of which this model is another fine-tune"
        ]
    with ModelOptions(model=str(other), lora=(str(file),), any_base=True, quiet=True).load() as m:
        assert m.adapters[0]["fits"] is False


def test_a_base_of_another_size_or_architecture_is_named(write: Write, tmp_path: Path) -> None:
    base = write("llama")
    file = write_trained(tmp_path / "a.gguf", base, n_in=32)
    with pytest.raises(sl.ModelError, match=r"another size: blk.0.attn_q.weight is 64 x 64, not 64 x 32") as e:
        sl.load(base, n_threads=1, lora=str(file), any_base=True)
    assert e.value.hint == "load the model that it was trained on: Tiny"
    file = write_trained(tmp_path / "b.gguf", base, arch="qwen2")
    with pytest.raises(sl.ModelError, match="another architecture: llama, not qwen2"):
        sl.load(base, n_threads=1, lora=str(file))


def test_an_adapter_that_says_nothing_is_taken_on_any_model_that_it_fits(write: Write, tmp_path: Path) -> None:
    file = tiny.write_adapter(tmp_path / "a.gguf")
    with sl.load(fine_tuned(tmp_path / "other.gguf", write("llama")), n_threads=1, lora=(str(file), 0.5)) as m:
        assert m.adapters[0].keys() == {"path", "scale", "sha256"}
        assert m.adapter_texts == []


def test_facts_without_norms_are_no_reason_to_refuse(write: Write, tmp_path: Path) -> None:
    w = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    w.add_string("general.type", "adapter")
    w.add_string("adapter.type", "lora")
    w.add_float32("adapter.lora.alpha", 4.0)
    w.add_uint32("softllama.adapter.version", 1)
    for name, shape in (("a", (4, 64)), ("b", (64, 4))):
        w.add_tensor(f"blk.0.attn_q.weight.lora_{name}", np.zeros(shape, dtype=np.float32))
    tiny.finish(w)
    facts = AdapterFacts.read(header.read(tmp_path / "a.gguf"))
    assert facts is not None
    assert facts.base_norms_sha256 == ""
    with sl.load(write("llama"), n_threads=1, lora=str(tmp_path / "a.gguf")) as m:
        assert m.adapters[0]["fits"] is None


def test_the_noise_floor_is_that_of_the_adapter(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path / "cache"))
    base = write("llama", table_type="Q4_0")
    file = write_trained(tmp_path / "a.gguf", base, size=3.0)
    with sl.load(base, n_threads=1) as m:
        plain = noise.floor(m)
    with sl.load(base, n_threads=1, lora=str(file)) as m:
        assert noise.floor(m) == noise.measure(m)
        assert noise.floor(m) != plain


def test_workers_of_an_evaluation_load_the_adapter(write: Write, tmp_path: Path) -> None:
    base = write("llama")
    file = write_trained(tmp_path / "a.gguf", base)
    with sl.load(base, n_threads=1, lora=(str(file), 0.5)) as m:
        work = workers.work_of(m, EvaluateOptions())
    assert hash(work)
    assert dict(work.load)["lora"] == ((str(file), 0.5),)
    with sl.load(work.model, **dict(work.load)) as again:
        assert again.lora == [(str(file), 0.5)]
    other = fine_tuned(tmp_path / "other.gguf", base)
    with sl.load(other, n_threads=1, lora=str(file), any_base=True) as m:
        work = workers.work_of(m, EvaluateOptions())
    with sl.load(work.model, **dict(work.load)) as again:
        assert again.adapters[0]["fits"] is False


def test_a_replay_takes_an_adapter_that_the_trace_was_made_with_on_another_base(
    cli: Cli, write: Write, tmp_path: Path
) -> None:
    base = write("llama")
    file, other = write_trained(tmp_path / "a.gguf", base), fine_tuned(tmp_path / "other.gguf", base)
    trace = tmp_path / "t.jsonl"
    run = ["run", "-m", other, "--raw", "dog cat", "--lora", file, "--max-tokens", 3, "--n-threads", 1, "-q"]
    assert cli(*run, "--trace", trace)[0] == 1  # without --any-base it is refused
    assert cli(*run, "--any-base", "--trace", trace)[0] in (0, 3)
    assert sl.trace.load(trace).manifest["model"]["adapters"][0]["fits"] is False
    code, out, _ = cli("trace", "replay", trace, "--n-threads", 1, "-q")
    assert code == 0
    assert "The largest difference of a recorded probability is 0," in out
