"""Damaged model files: a few hundred in a forked process each. scripts/dev/fuzz_gguf.py does the same with many thousands."""

from __future__ import annotations

import collections
import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from tests.conftest import ROOT
from tests.support import damage, tiny

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)

from tests.support import forked

N = 200


def test_a_file_taken_apart_and_written_anew_is_the_same(tmp_path: Path) -> None:
    for tokenizer in ("bpe", "spm", "none"):
        data = tiny.write_model(tmp_path / "m.gguf", tokenizer=tokenizer).read_bytes()
        assert damage.take_apart(data).bytes() == data


def test_damage_is_the_same_for_the_same_seed_and_does_damage(tmp_path: Path) -> None:
    data = tiny.write_model(tmp_path / "m.gguf").read_bytes()
    many = [damage.damage(data, f"1/{i}") for i in range(60)]
    assert many == [damage.damage(data, f"1/{i}") for i in range(60)]
    assert sum(d != data for d, _ in many) > 50
    assert len({note for _, note in many}) > 50


@pytest.mark.slow
def test_damaged_model_files_are_refused_with_a_sentence_or_harmless(tmp_path: Path) -> None:
    """In a process of its own, as a fork must not have threads of llama.cpp's behind it."""
    command = [sys.executable, ROOT / "scripts/dev/fuzz_gguf.py", "--n", N, "--seed", "7", "--json", tmp_path / "found"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    *found, total = map(json.loads, (tmp_path / "found").read_text().splitlines())
    assert not found, done.stdout
    assert done.returncode == 0, done.stderr
    assert total["cases"] == N
    assert total["refused"] > N // 2
    assert total["loaded"] > N // 20  # damage that does nothing, or only to weights


def edited(data: bytes, key: str, kind: int, raw: bytes) -> bytes:
    """The file with a key that says something else, at the place of the one of that name or at the end."""
    whole = damage.take_apart(data)
    new = damage.Entry(key.encode(), kind, raw)
    return replace(whole, entries=[*(e for e in whole.entries if e.key != new.key), new]).bytes()


def retyped(data: bytes, name: str, kind: int) -> bytes:
    """The file with a tensor that says to be of another type."""
    whole = damage.take_apart(data)
    return replace(whole, infos=[replace(t, kind=kind) if t.name == name.encode() else t for t in whole.infos]).bytes()


FOUND: list[tuple[str, str, Callable[[bytes], bytes], str]] = [  # what fuzzing found, each once a crash or a hang
    ("rotation of 0", "gemma3", lambda d: edited(d, "gemma3.rope.dimension_count", 4, bytes(4)), "dimension_count = 0"),
    ("integers for weights", "llama", lambda d: retyped(d, "blk.0.attn_q.weight", 26), "does not hold floats"),
    ("a state of 2^31", "qwen35", lambda d: edited(d, "qwen35.ssm.inner_size", 4, b"\0\0\0\x80"), "inner_size = 2147483648"),
    ("groups of no experts", "llama", lambda d: edited(d, "llama.expert_group_count", 4, b"\4\0\0\0"), "group_count = 4"),
    ("2^27 tokens", "none", lambda d: edited(d, "llama.vocab_size", 4, b"\0\0\0\x08"), "vocab_size = 134217728"),
    ("tensors anywhere", "phi3", lambda d: edited(d, "general.alignment", 4, b"\1\0\0\0"), "no multiple of 32"),
    ("a number for the type", "llama", lambda d: edited(d, "general.type", 4, bytes(4)), "general.type is of another type"),
    ("a text for a count", "split", lambda d: edited(d, "split.no", 8, b"x"), "split.no is of another type"),
    ("a number for the kind", "adapter", lambda d: edited(d, "adapter.type", 4, bytes(4)), "adapter.type is of another"),
    ("integers for an adapter", "adapter", lambda d: retyped(d, "blk.0.attn_q.weight.lora_b", 25), "does not hold floats"),
    (
        "a long architecture with no layers", "llama",
        lambda d: edited(edited(d, "general.architecture", 8, b"x" * 99_999), "x" * 99_999 + ".block_count", 4, bytes(4)),
        "xxx.block_count = 0",
    ),
    ("a long architecture", "llama", lambda d: edited(d, "general.architecture", 8, b"x" * 99_999), "xxx…"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "edit", "message"), [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_what_fuzzing_found_is_refused(
    tmp_path: Path, model: str, edit: Callable[[bytes], bytes], message: str
) -> None:
    name = {"none": "llama none", "split": "second of a split"}.get(model, model)
    fuzzer = forked.Fuzzer(0, tmp_path)
    path, adapter, _ = fuzzer.write(1, name, edit(fuzzer.model(name).read_bytes()))
    with pytest.raises(sl.ModelError, match=re.escape(message)) as e:
        sl.load(path, n_threads=1, lora=str(adapter) if adapter else None)
    assert len(e.value.message) < forked.SENTENCE


def test_a_name_of_any_length_is_one_for_a_sentence(tmp_path: Path) -> None:
    fuzzer = forked.Fuzzer(0, tmp_path)
    data = fuzzer.model("architecture llada").read_bytes()
    for name, title in (("x" * 5000, "x" * 100), ("a\n\x1b[31mb", "a[31mb"), ("\n", "")):
        (tmp_path / "m.gguf").write_bytes(edited(data, "general.name", 8, name.encode()))
        with sl.load(tmp_path / "m.gguf", n_threads=1) as model, pytest.raises(sl.ModelError) as e:
            model.generate("The dog")
        assert model.title == title
        assert e.value.message.startswith("m (F32) (llada) is a diffusion model")
    odd = (tmp_path / "m.gguf").rename(tmp_path / "b\x1b[31m\nd.gguf")
    with sl.load(odd, n_threads=1) as model:
        assert model.name == "b[31md (F32)"


def test_a_byte_token_whose_number_is_none_is_no_byte_token(tmp_path: Path) -> None:
    data = tiny.write_model(tmp_path / "m.gguf", tokenizer="spm").read_bytes()
    (tmp_path / "m.gguf").write_bytes(data.replace(b"<0xE4>", b"<0x=4>"))
    with sl.load(tmp_path / "m.gguf", n_threads=1) as model:
        assert model.detokenize(model.tokenize("The dog")).strip() == "The dog"
        with pytest.raises(sl.PromptError, match="cannot encode '中'"):  # E4 B8 AD
            model.tokenize("中")


def test_a_tokenizer_that_would_not_end_is_refused(tmp_path: Path) -> None:
    """RWKV's, with the token "sums" but none for the byte "s": llama.cpp would fill the memory with token 0."""
    data = (forked.BUNDLED / "sums-soft.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(edited(data, "tokenizer.ggml.model", 8, b"rwkv"))
    with (
        sl.load(tmp_path / "m.gguf", n_threads=1) as model,
        pytest.raises(sl.PromptError, match="single bytes are missing"),
    ):
        model.tokenize("The dog says")


def test_a_tokenizer_that_gives_ids_it_does_not_have_is_refused(tmp_path: Path) -> None:
    data = tiny.write_model(tmp_path / "m.gguf", "phi3").read_bytes()
    (tmp_path / "m.gguf").write_bytes(edited(data, "tokenizer.ggml.model", 8, b"rwkv"))
    with sl.load(tmp_path / "m.gguf", n_threads=1) as model:
        vars(model.tokenizer)["_endless"] = False  # which it is, for other texts
        with pytest.raises(sl.PromptError, match="cannot encode a part of"):
            model.tokenize("犬")


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda path, adapter: os.abort(), "crash"),
        (lambda path, adapter: os._exit(3), "crash"),
        (lambda path, adapter: 1 // 0, "traceback"),
        (lambda path, adapter: ("refused", "x" * 5000), "wrong"),
        (lambda path, adapter: ("refused", str(len(bytearray(b"x") * (150 << 20)))), "memory"),
        (lambda path, adapter: ("loaded", ""), "loaded"),
        (lambda path, adapter: collections.deque(iter(int, 1), maxlen=0), "hang"),
    ],
)
def test_the_judge_sees_each_kind_of_end(tmp_path: Path, call: Any, kind: str) -> None:
    fuzzer = forked.Fuzzer(1, tmp_path, call, seconds=1 if kind == "hang" else 10, spare=64 << 20)
    assert fuzzer.run(0).kind == kind


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_that_the_parent_freed_counts_when_a_case_takes_it(tmp_path: Path) -> None:
    """A worker that has run for long keeps what it freed; a forked case that reuses it does not grow."""
    fuzzer = forked.Fuzzer(1, tmp_path, lambda path, adapter: ("loaded", _take(150 << 20)), spare=64 << 20)

    def worker() -> tuple[str, str]:  # in a process of its own, as the C library keeps what is learnt here
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
            ctypes.c_void_p,
            [ctypes.c_size_t],
            [ctypes.c_void_p],
        )
        libc.free(libc.malloc(31 << 20))  # from here on, pieces up to this size come from the heap
        pieces = [libc.malloc(20 << 20) for _ in range(10)]
        libc.malloc(1 << 20)  # above them, so that they are not given back
        for piece in pieces:
            ctypes.memset(piece, 1, 20 << 20)
            libc.free(piece)
        kinds = fuzzer.run(0).kind
        fuzzer.visit = lambda path, adapter: ("loaded", "")
        return "loaded", f"{kinds} {fuzzer.run(0).kind}"

    assert forked.in_child(worker, 1 << 30)[:2] == ("loaded", "memory loaded")


def _take(size: int) -> str:
    return str(len(bytearray(b"x") * size))
