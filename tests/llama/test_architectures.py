"""Every architecture that llama.cpp knows: a one-hot mixture is its token, to the bit, or one sentence says why not.

All of them are measured by scripts/dev/architectures.py, once, in child processes; the tests look at what it found. It prints
the tables of docs/architectures.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from scripts.dev import architectures
from softllama.llama import bindings
from tests.conftest import ROOT
from tests.support import tiny, tiny_more
from tests.support.overlay import disarm

ENCODER, DRAFT = "it is an encoder", "it is a draft head"
DIFFUSION = ("dream", "llada", "llada-moe", "rnd1")  # probed only
REFUSED = {
    **dict.fromkeys(tiny_more.REFUSED, ENCODER), **dict.fromkeys(("dflash", "eagle3", "gemma4-assistant"), DRAFT),
    "clip": "image or audio projector",
    "gptj": "unsupported model architecture", "pockettts": "turns codes into sound", "t5": "encoder-decoder",
    "wavtokenizer-dec": "turns codes into sound",
}  # fmt: skip
BY_HEAVIEST = {"deepseek4+hashed": "experts", "graniteswitch": "adapter", "qwen4exp": "n-grams"}
OVERLAY = {
    **dict.fromkeys(("cogvlm", "deepseek4+hashed", "deepseek4+vision", "glm4", "glm4moe"), "overlay on embd"),
    **dict.fromkeys(("gemma3n", "gemma4+per-layer"), "overlay on embd, inp_per_layer_selected"),
    "graniteswitch": "overlay on inp_embd", "qwen4exp": "overlay on model.input_embed",
}  # fmt: skip
MULTIPLIERS = {
    "gemma3": "sqrt(n_embd)", "gemma3+full": "sqrt(n_embd)", "gemma4": "sqrt(n_embd)",
    **dict.fromkeys(("granite+deepstack", "granite_swa+deepstack", "graniteswitch"), "embedding_scale"),
}  # fmt: skip
DEEPSEEK4 = ("deepseek4", "deepseek4+hashed", "deepseek4+vision")
WIDER = "256 numbers long, and its embeddings 64"
NO_HIDDEN = {"lfm2": "other logits", "lfm2moe": "other logits", **dict.fromkeys((*DEEPSEEK4, "qwen4exp"), WIDER)}
NO_VECTORS = {
    **{name: f"the token id decides {what}" for name, what in (
        ("deepseek4+hashed", "the experts"), ("graniteswitch", "which adapter"), ("qwen4exp", "the n-grams"))},
    **dict.fromkeys(("gemma3n", "gemma4+per-layer"), "per-layer embedding by token id"),
}  # fmt: skip
UNNAMED = (*DEEPSEEK4, "plamo2", "qwen4exp", "step35")
NO_LAYERS = {
    **dict.fromkeys(UNNAMED, "does not name the layers"), "nemotron_h": "names only some", "nemotron_h_moe": "names only some",
    **dict.fromkeys(("gemma3n", "glm5-next", "hy_v4"), "has 8 rows, not 2"),
    "kimi-k3": "not all that its output is made of",
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("architectures"),  # what one process measured, once
    pytest.mark.skipif(
        not hasattr(bindings.lib, "llama_model_init_from_user"),
        reason="this llama.cpp does not say which tensors it needs",
    ),
]
FED = [n for n in architectures.ARCHITECTURES if n not in REFUSED]
ORDERED = [n for n in FED if n not in DIFFUSION]
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {r["name"]: r for r in architectures.run([*architectures.ARCHITECTURES, *architectures.TYPES])}


@pytest.fixture(scope="module")
def load_more(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], sl.Model]:
    """load_more("plamo2"): a model of tiny_more, with one thread."""
    folder = tmp_path_factory.mktemp("more")
    known: dict[str, sl.Model] = {}

    def load(name: str) -> sl.Model:
        if name not in known:
            known[name] = sl.load(tiny_more.write(folder, name), n_threads=1)
        return known[name]

    return load


@pytest.mark.parametrize("name", FED)
def test_a_one_hot_mixture_is_its_token(name: str, rows: Rows) -> None:
    """In batches of 1 and 8, at the start, in the middle and at the end; and the model listens to its input."""
    row = rows[name]
    assert row.get("difference") == 0, row
    assert row["how"] == OVERLAY.get(name, "embedding batch")
    assert BY_HEAVIEST.get(name, "") in row["carrier"]
    assert row["multiplier"] == MULTIPLIERS.get(name, "1")
    assert row["finite"]
    assert row["moves"] > 1e-3


@pytest.mark.parametrize("name", FED)
def test_a_vector_equal_to_a_row_is_its_token(name: str, rows: Rows) -> None:
    """In the table's scale and in the model's; where the id decides something beside the embedding, it is refused."""
    if name in NO_VECTORS:
        assert NO_VECTORS[name] in rows[name]["no vectors"]
    else:
        assert rows[name]["vectors"] == 0, rows[name]


@pytest.mark.parametrize("name", ORDERED)
def test_ways_to_the_same_sequence_agree(name: str, rows: Rows) -> None:
    """Forks, cuts and copied states, to the bit; other batches, up to rounding."""
    row = rows[name]
    assert row["again"] == 0
    assert row["side"] == 0
    assert row["chunks"] <= 5e-3
    assert row["company"] <= 5e-3


@pytest.mark.parametrize("name", ORDERED)
def test_hidden_states_and_layers_are_right_or_refused(name: str, rows: Rows) -> None:
    row = rows[name]
    if name in NO_HIDDEN:
        assert NO_HIDDEN[name] in row["no hidden states"]
    else:
        assert row["hidden"] == 0, row
        assert row["beside hidden"] == 0
        assert row["hidden size"] > 1e-3
    if name in NO_LAYERS:
        assert NO_LAYERS[name] in row["no layers"]
    else:
        assert row["layers"] <= 1e-4, row
        assert row["patch"] == 0, row  # a state in its own place
        assert row["control"] <= 1e-4, row  # llama.cpp's control vectors and the callback's, against patched sums
        assert row["moved"] > 1e-4, row
        assert row["control by"] == " callback llama.cpp"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fed_is_refused_with_one_sentence(name: str, rows: Rows) -> None:
    said = rows[name].get("refused", "")
    assert REFUSED[name] in said, rows[name]
    assert "\n" not in said
    assert name.partition("+")[0] in said


@pytest.mark.parametrize("name", architectures.TYPES)
def test_every_type_of_table_is_exact_or_refused(name: str, rows: Rows) -> None:
    row = rows[name]
    if name in tiny.NO_TABLES:
        assert re.fullmatch(f"llama.cpp cannot turn the tensor type {name} into floats", row["refused"], re.I)
    else:
        assert row.get("difference") == 0, row
        assert row["moves"] > 1e-3


def test_all_types_that_ggml_can_read_are_tried() -> None:
    readable = set()
    for number in range(1000):
        try:
            readable.add(bindings.table_type(number).name)
        except sl.SoftLlamaError:
            continue
    assert readable == set(tiny.TABLE_TYPES)


# ---- what is gone around


def test_sequences_that_llama_cpp_mixes_up_go_one_after_the_other(load_more: Callable[[str], sl.Model]) -> None:
    """PLaMo 2's graph exchanges tokens and sequences in a batch of several tokens of several sequences."""
    model = load_more("plamo2")
    seqs, positions = [2, 0, 2, 1, 0, 1, 1], [0, 0, 1, 0, 1, 1, 2]
    ids = [5, 9, 7, 30, 41, 8, 60]
    want = [True, False, True, False, True, True, True]
    together = model.new_context(64, 3, embeddings=True)
    logits = together.decode(seqs, positions, want, tokens=ids)
    for seq in range(3):
        together.cut(seq, 0)
    assert np.array_equal(together.decode(seqs, positions, want, rows=model.rows(ids)), logits)
    at = [i for i, w in enumerate(want) if w]
    for seq in range(3):
        mine = [i for i, s in enumerate(seqs) if s == seq]
        alone = model.new_context(64, 1, embeddings=True)
        truth = alone.decode([0] * len(mine), range(len(mine)), [True] * len(mine), tokens=[ids[i] for i in mine])
        for j, i in enumerate(mine):
            assert np.array_equal(together.hidden(i), alone.hidden(j))
            if want[i]:
                assert np.array_equal(logits[at.index(i)], truth[j])
        alone.close()
    together.close()


def test_hidden_states_that_do_not_fit_are_refused_before_llama_cpp_aborts(
    load_more: Callable[[str], sl.Model],
) -> None:
    model = load_more("deepseek4")
    with pytest.raises(sl.UsageError, match=r"the policy hidden does not work with deepseek4: .* 256 numbers") as e:
        model.generate("dog", policy="hidden", max_tokens=3)
    assert e.value.hint
    with pytest.raises(sl.ContextError, match="gives no hidden states"):
        model.new_context(64, embeddings=True)


# ---- the script


@pytest.mark.parametrize("name", [n for n in OVERLAY if n not in BY_HEAVIEST])
def test_it_notices_rows_that_go_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the right carriers, an overlay that writes nothing would be exact."""
    with sl.load(tiny_more.write(tmp_path, name), n_threads=1) as model:
        disarm(monkeypatch)
        assert architectures.measure(model)["difference"] == 0
        architectures.mislead(model)
        assert architectures.measure(model)["difference"] > 1e-2


def test_a_crash_of_the_child_is_a_row(rows: Rows) -> None:
    found = list(architectures.run(["no such type", "Q4_0"]))
    assert found[0] == {"name": "no such type", "crash": 1}
    assert found[1] == rows["Q4_0"]
    assert "**fails**" in architectures.table(found, "table type")


def test_tables_are_put_between_comments(rows: Rows) -> None:
    texts = architectures.blocks([rows["gemma3"], rows["bert"], rows["mamba"], rows["Q4_0"]])
    assert "| gemma3 | embedding batch | sqrt(n_embd) | 0 |  |" in texts["architectures"]
    assert "| bert | refused |  |  | it is an encoder, which has no next-token distribution |" in texts["architectures"]
    assert "2 models of 2 architectures" in texts["architectures"]
    assert texts["types"].endswith("| Q4_0 | embedding batch | 1 | 0 |  |")
    document = "a\n<!-- architectures -->\nold\n<!-- /architectures -->\nb\n<!-- types --><!-- /types -->\nc\n"
    once = architectures.written(document, texts)
    assert "old" not in once
    assert re.fullmatch(r"a\n<!-- architectures -->\n.*\n<!-- /architectures -->\nb\n.*\nc\n", once, re.S)
    assert architectures.written(once, texts) == once
    with pytest.raises(ValueError, match="has no <!-- types -->"):
        architectures.written("a", {"types": "x"})


def test_the_documents_tables_are_what_the_script_prints(rows: Rows) -> None:
    path = Path(ROOT / "docs" / "architectures.md")
    if not path.is_file():
        pytest.skip("docs/architectures.md is not written yet")
    document = path.read_text("utf-8")
    if f"llama-cpp-python {bindings.VERSION} " not in document:
        pytest.skip(f"docs/architectures.md is of another llama-cpp-python than {bindings.VERSION}")
    new = architectures.written(document, architectures.blocks(list(rows.values())))
    assert document == new, "python scripts/dev/architectures.py --write docs/architectures.md"
