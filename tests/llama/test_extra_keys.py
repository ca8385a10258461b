"""A key that an architecture does not read refuses no file: a header's check knows only what llama.cpp dies of or hangs on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.llama import bindings
from tests.conftest import ROOT
from tests.support import damage, tiny

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)

from tests.support import extra_keys

# which llama.cpp asserts for every architecture, and those of rotation and memory for the architectures that read them
KNOWN = {
    "block_count", "expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count", "nextn_predict_layers",
    "rope.dimension_count", "attention.key_length", "attention.value_length", "attention.head_count_kv", "attention.head_count",
    "attention.key_length_swa", "attention.value_length_swa", "ssm.inner_size", "wkv.head_size", "embedding_length", "vocab_size",
    "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
}  # fmt: skip
HARMLESS = (  # architecture, its key, and what a file of it may carry
    *((arch, "attention.kv_lora_rank", 512) for arch in ("llama", "minicpm", "granite", "qwen3vl", "gemma3", "qwen35", "mamba")),
    ("llama", "ssm.inner_size", 8192), ("llama", "ssm.conv_kernel", 4096), ("gpt2", "rope.dimension_count", 7),
    ("mamba", "rope.dimension_count", 0), ("mamba", "attention.head_count_kv", 4096), ("qwen2", "wkv.head_size", 1 << 30),
    ("llama", "shortconv.l_cache", 4096), ("phi3", "attention.key_length_mla", 4096), ("llama", "attention.key_length_swa", 4096),
    ("gemma2", "attention.q_lora_rank", 1536), ("gpt2", "attention.layer_norm_rms_epsilon", -1.0),
    ("llama", "attention.layer_norm_epsilon", float("nan")), ("llama", "adapter.type", 3),
)  # fmt: skip


@pytest.mark.parametrize(("arch", "key", "value"), HARMLESS, ids=lambda x: str(x))
def test_a_file_with_a_key_of_another_architecture_runs_as_without(
    arch: str, key: str, value: Any, tmp_path: Path
) -> None:
    if key.startswith("adapter."):
        whole = damage.take_apart(tiny.write_model(tmp_path / "plain.gguf", arch).read_bytes())
        entry = damage.Entry(key.encode(), damage.U32, value.to_bytes(4, "little"))
        (tmp_path / "extra.gguf").write_bytes(whole.bytes() if not entry else _with(whole, entry))
    else:
        tiny.write_model(tmp_path / "plain.gguf", arch)
        tiny.write_model(tmp_path / "extra.gguf", arch, extra={f"{arch}.{key}": value})
    next_tokens = []
    for name in ("plain.gguf", "extra.gguf"):
        with sl.load(tmp_path / name, n_threads=1) as model:
            next_tokens.append(model.probe("dog{}", mix="cat").next.probs.tolist())
    assert next_tokens[0] == next_tokens[1]


def _with(whole: Any, entry: damage.Entry) -> bytes:
    from dataclasses import replace

    data: bytes = replace(whole, entries=[*whole.entries, entry]).bytes()
    return data


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("extra")
    command = [sys.executable, "-m", "tests.support.extra_keys", str(folder), "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-2000:]
    return {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.xdist_group("extra keys")  # what one process found, once
@pytest.mark.skipif(
    not hasattr(bindings.lib, "llama_model_init_from_user"), reason="this llama.cpp does not say which tensors it needs"
)
@pytest.mark.parametrize("name", extra_keys.NAMES)
def test_what_a_header_refuses_llama_cpp_does_not_run(name: str, rows: dict[str, dict[str, Any]]) -> None:
    """Every key that architectures read, with numbers, texts, truth values and arrays, where the file does not have it."""
    row = rows[name]
    assert set(row["keys"]) <= KNOWN
    assert "loaded" not in row["tried"].values(), row["tried"]
