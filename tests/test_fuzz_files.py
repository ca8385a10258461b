"""Damaged model files: a few hundred in a forked process each. scripts/fuzz_gguf.py does the same with many thousands."""

from __future__ import annotations

import os
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import damage, tiny

if sys.platform == "win32":
    pytest.skip("needs fork", allow_module_level=True)

from tests import forked

N = 300


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


def test_damaged_model_files_are_refused_with_a_sentence_or_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTLLAMA_CACHE", "/dev/null/none")
    fuzzer = forked.Fuzzer(7, tmp_path)
    outcomes = [fuzzer.run(i) for i in range(N)]
    assert not [o for o in outcomes if o.finding]
    kinds = Counter(o.kind for o in outcomes)
    assert kinds["refused"] > N // 2
    assert kinds["loaded"] > N // 20  # damage that does nothing, or only to weights


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda path, adapter: os.abort(), "crash"),
        (lambda path, adapter: os._exit(3), "crash"),
        (lambda path, adapter: 1 // 0, "traceback"),
        (lambda path, adapter: ("refused", "x" * 5000), "wrong"),
        (lambda path, adapter: ("refused", str(len(bytearray(b"x") * (600 << 20)))), "memory"),
        (lambda path, adapter: ("loaded", ""), "loaded"),
        (lambda path, adapter: [struct.pack("<I", 1) for _ in iter(int, 1)], "hang"),
    ],
)
def test_the_judge_sees_each_kind_of_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, kind: str
) -> None:
    monkeypatch.setattr(forked, "SECONDS", 1)
    assert forked.Fuzzer(1, tmp_path, call).run(0).kind == kind
