"""What a user can get wrong, one row each: what is called, (a part of) the message, (a part of) the hint. None may end in
a traceback, an abort or a wrong result; beside them, the nearest inputs that are right.

A new row is one line in MIXES, PROMPTS, OPTIONS, SESSIONS or FILES.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import MixtureError, ModelError, PromptError, SoftLlamaError, UsageError
from softllama.errors import ContextError
from tests.conftest import ROOT
from tests.support import tiny, tiny_special

Load = Callable[..., sl.Model]
Model = sl.Model
NONE = None  # no hint is asked for


def raises(call: Callable[[], Any], kind: type[SoftLlamaError], message: str, hint: str | None) -> None:
    with pytest.raises(SoftLlamaError) as e:
        call()
    assert type(e.value) is kind, f"{type(e.value).__name__}: {e.value}"
    assert message in str(e.value)
    if hint is not None:
        assert e.value.hint
        assert hint in e.value.hint


# ---- mixtures, as text and as arrays: model.mix(text, **options)

MIXES: list[tuple[str, dict[str, Any], type[SoftLlamaError], str, str | None]] = [
    ("", {}, MixtureError, "is empty", "word:weight"),
    ("dog:0.5,cat:0.4", {}, MixtureError, "sum to 0.9, not 1", "--normalize"),
    ("dog:-1,cat:2", {}, MixtureError, "negative: -1", "--signed"),
    ("dog:x,cat:0.5", {}, MixtureError, "'x', which is not a number", "quote"),
    ("dog:0.5,cat", {}, MixtureError, "'cat' has none", "every word"),
    ("dog:0.5,", {}, MixtureError, "an empty item", "quote a comma"),
    ('"dog:0.5', {}, MixtureError, "not closed", "New York"),
    ("dog:nan,cat:1", {}, MixtureError, "is nan", "plain numbers"),
    ("dog:0,cat:0", {"normalize": True}, MixtureError, "cannot be normalized", "positive"),
    ("dog:1e308,cat:1e308", {"normalize": True}, MixtureError, "inf cannot be normalized", "positive"),
    ("dog:1,cat:1", {"normalize": True, "signed": True}, MixtureError, "exclude each other", "signed"),
    ("dog:1e7,cat:1", {"signed": True}, MixtureError, "too large", "1e6"),
    ("doghouse", {}, MixtureError, "'doghouse' is", "--split"),
    ("New York:1", {}, MixtureError, "tokens here: ' '", "first|last|mean"),
    ("doghouse", {"split": "middle"}, MixtureError, "'middle' is no way", "first, last, mean"),
    ("#999999:1", {}, MixtureError, "token id 999999 is outside the vocabulary of 325", "0 to 324"),
    ("#325", {}, MixtureError, "token id 325 is outside", "0 to 324"),
    ("#-1", {}, MixtureError, "not a token id", "#1234"),
    ("#4294967296:1", {}, MixtureError, "out of range", "vocabulary"),
    ("@", {}, MixtureError, "needs the name", ".npy"),
    ("@no-such-file.npy", {}, MixtureError, "No such file", "numpy.save"),
    ("@{tmp}", {}, MixtureError, "Is a directory", "numpy.save"),
    ("@{tmp}/text.npy", {}, MixtureError, "not an .npy file", "numpy.save"),
    ("@{tmp}/empty.npy", {}, MixtureError, "not an .npy file", "numpy.save"),
    ("@{tmp}/cut.npy", {}, MixtureError, "not an .npy file", "numpy.save"),
    ("@{tmp}/object.npy", {}, MixtureError, "not an .npy file", "numpy.save"),
    ("@{tmp}/archive.npz", {}, MixtureError, "several arrays", "numpy.save"),
    ("@{tmp}/short.npy", {}, MixtureError, "the shape (3,)", "(325,)"),
    ("@{tmp}/matrix.npy", {}, MixtureError, "(325, 325)", "(325,)"),
    ("@{tmp}/complex.npy", {}, MixtureError, "complex128", "(325,)"),
    ("@{tmp}/text_array.npy", {}, MixtureError, "<U1", "(325,)"),
    ("@{tmp}/zero.npy", {}, MixtureError, "0 everywhere", NONE),
    ("@{tmp}/nan.npy", {}, MixtureError, "nan", NONE),
    ("@{tmp}/half.npy", {}, MixtureError, "sum to 0.5", "--normalize"),
    ("@{tmp}/negative.npy", {}, MixtureError, "negative", "--signed"),
    ("@\x00", {}, MixtureError, "cannot read the vector", "numpy.save"),
    ("\ud800:1", {}, PromptError, "not valid Unicode", "UTF-8"),
]


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for @vector, good ones among them."""
    d = tmp_path_factory.mktemp("vectors")
    n = 325
    uniform = np.full(n, 1 / n)
    arrays: dict[str, Any] = {
        "good": uniform, "good32": uniform.astype(np.float32), "counts": np.ones(n, dtype=np.int64),
        "short": np.ones(3) / 3, "matrix": np.eye(n), "complex": uniform.astype(complex), "zero": np.zeros(n),
        "nan": np.where(np.arange(n) == 5, np.nan, uniform), "half": uniform / 2,
        "negative": np.where(np.arange(n) == 5, -1.0, 2 / (n - 1)), "text_array": np.full(n, "a"),
    }  # fmt: skip
    for name, a in arrays.items():
        np.save(d / f"{name}.npy", a)
    np.save(d / "object.npy", np.array([{}] * n, dtype=object), allow_pickle=True)
    np.savez(d / "archive.npz", a=uniform)
    (d / "text.npy").write_text("0.5 0.5")
    (d / "empty.npy").write_bytes(b"")
    (d / "cut.npy").write_bytes((d / "good.npy").read_bytes()[:200])
    return d


@pytest.mark.parametrize(("text", "options", "kind", "message", "hint"), MIXES)
def test_bad_mixes(
    model: Model,
    vectors: Path,
    text: str,
    options: dict[str, Any],
    kind: type[SoftLlamaError],
    message: str,
    hint: str | None,
) -> None:
    raises(lambda: model.mix(text.replace("{tmp}", str(vectors)), **options), kind, message, hint)


@pytest.mark.parametrize(
    ("text", "options", "n"),
    [
        ("dog:0.5,cat:0.5", {}, 2),
        ("dog:2,cat:6", {"normalize": True}, 2),
        ("dog:1,cat:-1", {"signed": True}, 2),
        ("doghouse", {"split": "first"}, 1),
        ("doghouse", {"split": "last"}, 1),
        ("#324:1", {}, 1),
        ("#0", {}, 1),
        ("@{tmp}/good.npy", {}, 325),
        ("@{tmp}/good32.npy", {}, 325),
        ("@{tmp}/counts.npy", {"normalize": True}, 325),
        ("@{tmp}/negative.npy", {"signed": True}, 325),
    ],
)
def test_good_mixes(model: Model, vectors: Path, text: str, options: dict[str, Any], n: int) -> None:
    assert len(model.mix(text.replace("{tmp}", str(vectors)), **options)) == n


# ---- prompts: model.probe(prompt, mix, **options)

DOG = "dog:0.5,cat:0.5"
PROMPTS: list[tuple[str, Any, dict[str, Any], type[SoftLlamaError], str, str | None]] = [
    ("no place", DOG, {}, PromptError, "no slot for the mixture", "{}"),
    ("", DOG, {}, PromptError, "no slot for the mixture", "{}"),
    ("The {} {", DOG, {}, PromptError, "a lone '{' at character 8", "{{"),
    ("The {} }", DOG, {}, PromptError, "a lone '}'", "{{"),
    ("The {1}", DOG, {}, PromptError, "'{1}' in the prompt is not a slot", "{name}"),
    ("The {a}", DOG, {}, PromptError, "no {} for the mixture without a name", "--mix a="),
    ("The {}", "a=" + DOG, {}, PromptError, "no slot {a}", "its slots are {}"),
    ("The {a} {b}", "a=" + DOG, {}, PromptError, "no mixture for the slot {b}", "--mix b="),
    ("The {a}", ["a=dog", "a=cat"], {}, PromptError, "two mixtures are called 'a'", "own name"),
    ("The {} {}", ["dog", "cat", "ball"], {}, PromptError, "3 mixtures without a name and 2 {}", "names"),
    ("The {}", [], {}, MixtureError, "no mixture was given", "--mix"),
    ("The {}", (), {}, MixtureError, "no mixture was given", "--mix"),
    ("The {}", {}, {}, MixtureError, "no mixture was given", "--mix"),
    ("The {}", [None], {}, MixtureError, "not NoneType", NONE),
    ("The {}", [3], {}, MixtureError, "not int", NONE),
    ("The {}", 3, {}, MixtureError, "not int", NONE),
    ("The {}", None, {}, MixtureError, "no mixture was given", "--mix"),
    ("The {}", {"a": 3}, {}, MixtureError, "the weights sum to 3", NONE),
    ("The {}", {"a": "dog:1", "b": 3}, {}, MixtureError, "is no word with a number", NONE),
    ("The {}", {"a": DOG}, {}, PromptError, "no slot {a}", NONE),
    (b"The {}", DOG, {}, PromptError, "must be text, not bytes", NONE),
    ("a\ud800 {}", DOG, {}, PromptError, "not valid Unicode", "UTF-8"),
    ("The {}", "doghouse", {}, MixtureError, "tokens here", "--split"),
    ("The {}", sl.Mixture.one_hot(325), {}, MixtureError, "token id 325 is outside", NONE),
    ("the " * 300 + "{}", DOG, {}, PromptError, "302 tokens, and the context has room for 256", "--n-ctx"),
    ("The {}" + " the" * 300, DOG, {}, PromptError, "the context has room for 256", "--n-ctx"),
    ("The {}", DOG, {"n_ctx": 2}, PromptError, "3 tokens, and the context has room for 2", "--n-ctx"),
    ("The {}", DOG, {"continue_tokens": 300}, PromptError, "3 tokens and 300 more", "--n-ctx"),
    ("The {}", DOG, {"chat": True, "system": "x\ud800"}, PromptError, "not valid Unicode", NONE),
]


@pytest.mark.parametrize(("prompt", "mix", "options", "kind", "message", "hint"), PROMPTS, ids=lambda x: repr(x)[:30])
def test_bad_prompts(
    model: Model,
    prompt: Any,
    mix: Any,
    options: dict[str, Any],
    kind: type[SoftLlamaError],
    message: str,
    hint: str | None,
) -> None:
    raises(lambda: model.probe(prompt, mix, **options), kind, message, hint)


@pytest.mark.parametrize(
    ("prompt", "mix", "options"),
    [
        ("{}", DOG, {}),
        ("{{}} {}", DOG, {}),
        ("\n\t{}\x00犬", DOG, {}),
        ("The {a} sees {b}", {"a": DOG, "b": sl.Mixture.one_hot(3)}, {}),
        ("the " * 253 + "{}", "dog,cat", {}),
        ("The {}", DOG, {"n_ctx": 3}),
        ("The {}", DOG, {"continue_tokens": 253}),
    ],
)
def test_good_prompts(model: Model, prompt: str, mix: Any, options: dict[str, Any]) -> None:
    assert len(model.probe(prompt, mix, **options).next) == model.n_vocab


ENCODINGS: list[tuple[str, str, str]] = [  # tokenizer, prompt, the character that is named
    ("spm-nobytes", "犬 {}", "'犬' (U+72AC)"),
    ("spm-nobytes", "The\n{}", "'\\n' (U+000A)"),
    ("spm-nobytes", "{} 7", "'7' (U+0037)"),
    ("spm-nobytes", "{}\x00", "U+0000"),
    ("bpe-partial", "a~b {}", "'~' (U+007E)"),
    ("bpe-partial", "{}\x00", "U+0000"),
    ("ugm", "犬 {}", "cannot encode a part of '犬'"),
    ("none", "The {}", "no tokenizer"),
]


@pytest.mark.parametrize(("tokenizer", "prompt", "message"), ENCODINGS)
def test_characters_that_a_vocabulary_lacks(load: Load, tokenizer: str, prompt: str, message: str) -> None:
    raises(lambda: load("llama", tokenizer=tokenizer).probe(prompt, "#3:0.5,#4:0.5"), PromptError, message, "")


@pytest.mark.parametrize(
    ("tokenizer", "prompt"),
    [
        ("spm-nobytes", "The {} says, the ball."),
        ("spm-nobytes", "<s> The {} </s>"),  # tokens, whose characters the vocabulary does not have
        ("bpe-partial", "a\nb 犬 {}"),
        ("ugm", "The {} says"),
        ("none", "{}{}"),
    ],
)
def test_characters_that_a_vocabulary_has(load: Load, tokenizer: str, prompt: str) -> None:
    model = load("llama", tokenizer=tokenizer)
    assert len(model.probe(prompt, "#3:0.5,#4:0.5").next) == model.n_vocab


# ---- options

OPTIONS: list[tuple[dict[str, Any], type[SoftLlamaError], str, str | None]] = [
    ({"sweep": 0}, UsageError, "a sweep has 2 to 10001 points, not 0", "--sweep 21"),
    ({"sweep": 1}, UsageError, "not 1", "--sweep 21"),
    ({"sweep": -5}, UsageError, "not -5", "--sweep 21"),
    ({"sweep": 100_000}, UsageError, "not 100000", "--sweep 21"),
    ({"mix": "dog", "sweep": 5}, UsageError, "at least two components", "--mix"),
    ({"continue_tokens": -1}, UsageError, "cannot continue for -1", "--continue 20"),
    ({"continue_tokens": 10**9}, UsageError, "cannot continue for 1000000000", "--continue 20"),
    ({"n_top": 0}, UsageError, "cannot show 0 tokens", "--top"),
    ({"n_top": -1}, UsageError, "cannot show -1 tokens", "--top"),
    ({"n_top": 10**6}, UsageError, "cannot show 1000000", "--top"),
    ({"n_ctx": 0}, UsageError, "at least 1, not 0", NONE),
    ({"n_ctx": -1}, UsageError, "at least 1, not -1", NONE),
    ({"system": "be kind"}, UsageError, "a system message needs --chat", NONE),
    ({"split": "both"}, MixtureError, "'both' is no way", "first, last, mean"),
    ({"signed": True, "normalize": True}, MixtureError, "exclude each other", NONE),
]


@pytest.mark.parametrize(("options", "kind", "message", "hint"), OPTIONS, ids=str)
def test_bad_options(
    model: Model, options: dict[str, Any], kind: type[SoftLlamaError], message: str, hint: str | None
) -> None:
    options = {"prompt": "The {} says", "mix": DOG, **options}
    raises(lambda: model.probe(**options), kind, message, hint)


LOADING: list[tuple[dict[str, Any], type[SoftLlamaError], str]] = [
    ({"n_ctx": 0}, UsageError, "n_ctx must be between 1 and 2^30, not 0"),
    ({"n_ctx": -5}, UsageError, "not -5"),
    ({"n_ctx": 2**40}, UsageError, "not 1099511627776"),
    ({"n_threads": 0}, UsageError, "n_threads must be between 1 and 1024, not 0"),
    ({"n_threads": -1}, UsageError, "not -1"),
    ({"n_threads": 10**6}, UsageError, "not 1000000"),
    ({"n_gpu_layers": -1}, UsageError, "n_gpu_layers must be 0 or more, not -1"),
    ({"lora": "no-such-adapter.gguf"}, ModelError, "there is no file no-such-adapter.gguf"),
    ({"lora": "{model}"}, ModelError, "is not a LoRA adapter (general.type is 'model')"),
    ({"lora": "{tmp}/embedding.gguf"}, ModelError, "changes the token-embedding table"),
    ({"lora": "{tmp}/shape.gguf"}, ModelError, "cannot load the adapter"),
    ({"lora": "{tmp}/name.gguf"}, ModelError, "cannot load the adapter"),
    ({"lora": "{tmp}/arch.gguf"}, ModelError, "model arch and LoRA arch mismatch"),
    ({"lora": "{tmp}/cut.gguf"}, ModelError, "is not complete"),
    ({"lora": ("{tmp}/good.gguf", float("nan"))}, UsageError, "scale"),
    ({"lora": ("{tmp}/good.gguf", float("inf"))}, UsageError, "scale"),
]


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    d = tmp_path_factory.mktemp("adapters")
    tiny.write_adapter(d / "good.gguf")
    tiny.write_adapter(d / "embedding.gguf", tensor="token_embd.weight", shape=(325, 64))
    tiny.write_adapter(d / "shape.gguf", shape=(64, 65))
    tiny.write_adapter(d / "name.gguf", tensor="blk.9.attn_q.weight")
    tiny.write_adapter(d / "arch.gguf", arch="qwen2")
    (d / "cut.gguf").write_bytes((d / "good.gguf").read_bytes()[:-100])
    return d


@pytest.mark.parametrize(("options", "kind", "message"), LOADING, ids=str)
def test_bad_options_of_load(
    write: Callable[..., Path], adapters: Path, options: dict[str, Any], kind: type[SoftLlamaError], message: str
) -> None:
    def fill(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(fill(y) for y in x)
        return x.replace("{tmp}", str(adapters)).replace("{model}", str(write("llama"))) if isinstance(x, str) else x

    raises(lambda: sl.load(write("llama"), **{k: fill(v) for k, v in options.items()}), kind, message, None)


def test_a_model_without_a_chat_template(load: Load) -> None:
    raises(lambda: load("llama").probe("The {}", DOG, chat=True), ModelError, "has no chat template", "without --chat")


@pytest.mark.parametrize(
    ("template", "kind", "message"),
    [
        ("{% for m in %}", ModelError, "does not parse"),
        ("{{ raise_exception('no users') }}", PromptError, "no users"),
        ("{{ messages[7].content }}", PromptError, "refuses these messages"),
        ("{{ 1 // 0 }}", PromptError, "refuses these messages"),
        ("fixed text", PromptError, "leaves the message out"),
        ("{{ messages[0].content }}{{ messages[0].content }}", UsageError, "does not keep the message"),
    ],
)
def test_chat_templates_that_do_not_serve(load: Load, template: str, kind: type[SoftLlamaError], message: str) -> None:
    raises(lambda: load("llama", chat_template=template).probe("The {}", DOG, chat=True), kind, message, None)


# ---- sessions and small calls

SESSIONS: list[tuple[Callable[[Model, sl.Session], Any], type[SoftLlamaError], str, str | None]] = [
    (lambda m, s: s.feed([]), MixtureError, "at least one token or mixture", NONE),
    (lambda m, s: s.feed([-1]), MixtureError, "token id -1 is outside the vocabulary", NONE),
    (lambda m, s: s.feed([325]), MixtureError, "token id 325 is outside the vocabulary of 325", NONE),
    (lambda m, s: s.feed([2**40]), MixtureError, "token id 1099511627776", NONE),
    (lambda m, s: s.feed(["dog"]), MixtureError, "not str", "tokenize"),
    (lambda m, s: s.feed("dog"), MixtureError, "not str", "tokenize"),
    (lambda m, s: s.feed([1.5]), MixtureError, "not float", NONE),
    (lambda m, s: s.feed([True]), MixtureError, "not bool", NONE),
    (lambda m, s: s.feed([None]), MixtureError, "not NoneType", NONE),
    (lambda m, s: s.feed(None), MixtureError, "not NoneType", NONE),
    (lambda m, s: s.feed(1.5), MixtureError, "not float", NONE),
    (lambda m, s: s.feed([sl.Mixture.one_hot(325)]), MixtureError, "token id 325", "0 to 324"),
    (lambda m, s: s.feed([1] * 1000), ContextError, "1003 positions do not fit into a context of 256", "--n-ctx"),
    (lambda m, s: s.truncate(4), ContextError, "cannot keep 4 of 3 positions", NONE),
    (lambda m, s: s.truncate(-1), ContextError, "cannot keep -1", NONE),
    (lambda m, s: m.embed(sl.Mixture.one_hot(325)), MixtureError, "token id 325 is outside", "0 to 324"),
    (lambda m, s: m.detokenize([325]), PromptError, "token id 325 is outside", NONE),
    (lambda m, s: m.detokenize([-1]), PromptError, "token id -1 is outside", NONE),
    (lambda m, s: m.spell(325), PromptError, "token id 325 is outside", NONE),
    (lambda m, s: m.tokenize("\udfff"), PromptError, "not valid Unicode", "UTF-8"),
    (lambda m, s: m.tokenize(None), PromptError, "must be text, not NoneType", NONE),
    (lambda m, s: m.tokenize(3), PromptError, "must be text, not int", NONE),
    (lambda m, s: m.mix(None), PromptError, "must be text", NONE),
    (lambda m, s: m.session(n_ctx=-1), UsageError, "not n_ctx = -1", NONE),
    (lambda m, s: m.session(n_ctx=0), UsageError, "n_ctx = 0", NONE),
]


@pytest.mark.parametrize(("call", "kind", "message", "hint"), SESSIONS)
def test_bad_calls(
    model: Model, call: Callable[[Model, sl.Session], Any], kind: type[SoftLlamaError], message: str, hint: str | None
) -> None:
    with model.session(n_ctx=256) as s:
        truth = s.feed([1, 2, 3, 4]).logits
        s.truncate(3)
        raises(lambda: call(model, s), kind, message, hint)
        assert s.position == 3, "a call that failed left something behind"
        np.testing.assert_allclose(s.feed([4]).logits, truth, rtol=1e-3, atol=1e-3)


def test_a_closed_session(model: Model) -> None:
    s = model.session(n_ctx=64)
    s.feed([1])
    s.close()
    s.close()
    for call in (lambda: s.feed([1]), s.fork, lambda: s.truncate(0)):
        raises(call, ContextError, "this session is closed", "model.session()")


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", "mamba", "lfm2"])
def test_a_full_context_is_said_and_leaves_the_session_as_it_was(load: Load, arch: str) -> None:
    model = load(arch)
    with model.session(n_ctx=256) as s:
        room = s.n_ctx
        s.feed([5] * (room - 2))
        raises(lambda: s.feed([1, 2, 3]), ContextError, f"do not fit into a context of {room}", "--n-ctx")
        d = s.feed([1, 2])
        assert np.isfinite(d.logits).all()
        raises(lambda: s.feed([1]), ContextError, "do not fit", "--n-ctx")
        s.truncate(room - 1)
        assert np.isfinite(s.feed([2]).logits).all()


@pytest.mark.parametrize("n_ctx", [1, 2, 100, 255, 256, 257])
def test_more_at_once_than_the_context_that_was_asked_for(load: Load, n_ctx: int) -> None:
    """llama.cpp rounds a context up, and ends the process on a batch larger than what was asked for."""
    model = load("llama")
    with model.session(n_ctx=n_ctx) as s:
        room = s.n_ctx
        assert room >= n_ctx
        a = s.feed([5] * room)
        s.truncate(0)
        b = s.feed([sl.Mixture.one_hot(5)] * room)
        assert np.isfinite(a.logits).all()
        np.testing.assert_allclose(a.logits, b.logits, rtol=1e-3, atol=1e-3)
        raises(lambda: s.feed([1]), ContextError, "do not fit", "--n-ctx")


def test_learned_positions_end(load: Load) -> None:
    """A model with a table of positions cannot go beyond it, whatever n_ctx says."""
    model = load("gpt2", n_ctx=100)
    with model.session(n_ctx=1000) as s:
        assert s.n_ctx == 100
        s.feed([5] * 100)
        raises(lambda: s.feed([5]), ContextError, "101 positions do not fit into a context of 100", None)
    raises(lambda: model.probe("{}" + "\n" * 200, DOG, n_ctx=500), ContextError, "this model knows 100 positions", None)
    raises(lambda: model.probe("{}" + "\n" * 200, DOG), PromptError, "the context has room for 100", "--n-ctx")
    model.probe("{}" + "\n" * 90, DOG)


def test_forks_share_the_room(model: Model) -> None:
    """Two sequences in one memory: the second can run out of room before its own limit, and says so."""
    with model.session(n_ctx=256) as s:
        s.feed([1] * 100)
        t = s.fork()
        s.feed([2] * 100)
        raises(lambda: t.feed([3] * 100), ContextError, "the context of 256 positions is full", "--n-ctx")
        assert t.position == 100
        truth = t.feed([3] * 20).logits
        with model.session(n_ctx=256) as u:
            u.feed([1] * 100)
            np.testing.assert_allclose(u.feed([3] * 20).logits, truth, rtol=1e-3, atol=1e-3)
        assert s.position == 200


# ---- files: each is loaded, and if it loads evaluated, in a child process


def cut(data: bytes, n: int) -> bytes:
    return data[:n] if n >= 0 else data[: len(data) + n]


def patch(data: bytes, at: bytes, skip: int, new: bytes) -> bytes:
    """The bytes after a text in the header replaced."""
    i = data.index(at) + len(at) + skip
    return data[:i] + new + data[i + len(new) :]


def build_files(d: Path) -> dict[str, tuple[Path, str, str]]:
    """name -> (file, a part of the message or "" where it must load, a part of the hint)."""
    rows: dict[str, tuple[Path, str, str]] = {}
    good = tiny.write_model(d / "good.gguf", "llama").read_bytes()
    table = tiny.write_model(d / "good-q4.gguf", "llama", table_type="Q4_0").read_bytes()

    def raw(name: str, data: bytes, message: str, hint: str = "") -> None:
        (d / f"{name}.gguf").write_bytes(data)
        rows[name] = (d / f"{name}.gguf", message, hint)

    def header(name: str, message: str, extra: dict[str, Any], arch: str = "llama", **options: Any) -> None:
        rows[name] = (tiny.write_model(d / f"{name}.gguf", arch, extra=extra, **options), message, "")

    rows["good"] = (d / "good.gguf", "", "")
    rows["missing"] = (d / "no-such.gguf", "there is no file", "in that folder")
    rows["missing folder"] = (d / "no/such.gguf", "there is no file", "check the path")
    (d / "folder").mkdir()
    rows["folder"] = (d / "folder", "is a folder, not a model file", "name a .gguf file")
    rows["folder with models"] = (d, "is a folder, not a model file", "name the file, such as")
    raw("empty", b"", "is empty", "download")
    raw("text", b"hello, world\n" * 9, "begins with b'hell'", ".gguf")
    raw("html", b"<!DOCTYPE html>", "is not a GGUF file", ".gguf")
    raw("safetensors", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", "is not a GGUF file", ".gguf")
    raw("magic only", b"GGUF", "damaged or not complete", "fetch")
    raw("old magic", b"ggml" + good[4:], "is not a GGUF file", ".gguf")
    raw("big-endian magic", b"FUGG" + good[4:], "big-endian", "")
    raw("version 0", patch(good, b"GGUF", 0, b"\0\0\0\0"), "damaged or not complete", "fetch")
    raw("version 1", patch(good, b"GGUF", 0, b"\1\0\0\0"), "damaged or not complete", "")
    raw("version 999", patch(good, b"GGUF", 0, b"\xe7\3\0\0"), "damaged or not complete", "")
    raw("big-endian version", patch(good, b"GGUF", 0, b"\0\0\0\3"), "damaged or not complete", "")
    for n in (5, 8, 16, 23, 24, 40, 100, 1000, 5000):
        raw(f"cut at {n}", cut(good, n), "damaged or not complete", "fetch")
    for n in (1, 32, 1000, 100_000):
        raw(f"cut by {n}", cut(good, -n), "is not complete: the tensor", "download may have stopped")
    raw("many tensors", patch(good, b"GGUF", 4, b"\xff" * 8), "damaged or not complete", "fetch")
    raw("huge count", patch(good, b"GGUF", 4, b"\xff\xff\xff\x7f"), "damaged or not complete", "fetch")
    raw("many keys", patch(good, b"GGUF", 12, b"\xff" * 7), "damaged or not complete", "fetch")
    raw("no keys", patch(good, b"GGUF", 12, b"\0" * 8), "damaged or not complete", "fetch")
    raw("key type", patch(good, b"llama.context_length", 0, b"\xff"), "damaged or not complete", "fetch")
    raw("long string", patch(good, b"general.architecture", 4, b"\xff\xff\xff\xff"), "damaged or not complete", "fetch")
    raw("tensor type", patch(good, b"token_embd.weight", 4 + 16, b"\xc8"), "damaged or not complete", "fetch")
    raw("tensor offset", patch(good, b"token_embd.weight", 4 + 16 + 4, b"\1"), "damaged or not complete", "fetch")
    raw("tensor shape", patch(good, b"token_embd.weight", 4, b"\x20"), "'token_embd.weight' has wrong shape")
    raw("weights of NaN", good[:-4000] + b"\xff" * 4000, "not numbers", "damaged")
    raw("quantized table of NaN", table[:-40_000] + b"\xff" * 40_000, "not finite", "damaged")
    raw("token twice", good.replace("Ġdog".encode(), "Ġcat".encode(), 1), "lists 'Ġcat' twice", "fetch")

    header("no architecture", "cannot load", {"general.architecture": "no-such-arch"}, arch="no-such-arch")
    header("no layers", "llama.block_count = 0", {"{arch}.block_count": 0})
    header("65,536 layers", "llama.block_count = 65536", {"{arch}.block_count": 65536})
    header("a layer too many", "not found", {"{arch}.block_count": 3})
    header("experts without use", "llama.expert_count = 4", {"{arch}.expert_count": 4})
    header("more used than there are", "llama.expert_used_count = 2", {"{arch}.expert_used_count": 2})
    header("too many experts", "llama.expert_count", {"{arch}.expert_count": 1 << 20, "{arch}.expert_used_count": 1})
    header("too many draft layers", "llama.nextn_predict_layers = 9", {"{arch}.nextn_predict_layers": 9})
    header("epsilon below 0", "epsilon = -1.0", {"{arch}.attention.layer_norm_rms_epsilon": -1.0})
    header("epsilon not a number", "epsilon = nan", {"{arch}.attention.layer_norm_rms_epsilon": float("nan")})
    header("odd rotation", "rope.dimension_count = 7", {"{arch}.rope.dimension_count": 7}, arch="gemma3")
    header("wide rotation", "rope.dimension_count = 64", {"{arch}.rope.dimension_count": 64}, arch="qwen2")
    header("embedding length", "invalid n_rot", {"{arch}.embedding_length": 128})
    header("head count", "wrong shape", {"{arch}.attention.head_count_kv": 4})
    header("head count 0", "cannot load", {"{arch}.attention.head_count": 0})
    header("no tokenizer", "", {}, tokenizer="none")
    header("unknown tokenizer", "unknown pre-tokenizer type", {"tokenizer.ggml.pre": "no-such"})
    header("no epsilon", "layer_norm_rms_epsilon", {"{arch}.attention.layer_norm_rms_epsilon": None})
    header("text for a number", "wrong type", {"{arch}.context_length": "many"})
    header("a list for a number", "context_length", {"{arch}.context_length": [1, 2]})
    header("context of 0", "", {"{arch}.context_length": 0})
    header("no table", "no token_embd.weight tensor", {}, drop=["token_embd.weight"])
    header("no norm", "output_norm.weight' not found", {}, drop=["output_norm.weight"])
    header("no attention", "attn_q.weight' not found", {}, drop=["blk.1.attn_q.weight"])
    rng = np.random.default_rng(0)
    for name, shape, message in (
        ("short table", (100, 64), "wrong shape"), ("narrow table", (325, 32), "wrong shape"),
        ("flat table", (325 * 64,), "shape"), ("deep table", (2, 325, 64), "shape"),
    ):  # fmt: skip
        w = rng.standard_normal(shape).astype(np.float32)
        header(name, message, {}, replace={"token_embd.weight": w})
    header("table of zeros", "holds zeros only", {}, replace={"token_embd.weight": np.zeros((325, 64), np.float32)})
    header("table of NaN", "not finite", {}, replace={"token_embd.weight": np.full((325, 64), np.nan, np.float32)})
    header("norm of NaN", "not numbers", {}, replace={"output_norm.weight": np.full(64, np.nan, np.float32)})
    header(
        "an attention of one number",
        "shape",
        {},
        n_embd=64,
        replace={"blk.0.attn_q.weight": np.zeros((1, 1), np.float32)},
    )

    for arch, why in (
        ("bert", "it is an encoder"), ("nomic-bert", "it is an encoder"),
        ("gemma-embedding", "it is an encoder"), ("t5encoder", "it is an encoder"), ("t5", "encoder-decoder"),
        ("clip", "mmproj"), ("eagle3", "draft head"), ("gemma4-assistant", "draft head"),
        ("wavtokenizer-dec", "codes into sound"), ("gemma3n", "cannot load"),
    ):  # fmt: skip
        rows[arch] = (tiny.write_model(d / f"{arch}.gguf", arch), why, "")
    for name in (
        "glm4",
        "glm4moe",
        "graniteswitch",
        "cogvlm",
        "qwen4exp",
        "gemma4-e2b",
    ):  # an embedding batch would abort
        rows[name] = (tiny_special.write(d / f"{name}.gguf", name), "", "")
    for name, extra in (
        ("streams", {"{arch}.hyper_connection.count": 2}), ("indexer", {"{arch}.attention.indexer.key_length": 32}),
        ("ratios", {"{arch}.attention.compress_ratios": [0, 0, 4, 4]}),
    ):  # fmt: skip
        file = tiny_special.write(d / f"deepseek4-{name}.gguf", "deepseek4", extra=extra)
        rows[f"deepseek4 {name}"] = (file, "damaged: its header says deepseek4.", "fetch the file again")
    rows["mmproj"] = (tiny.write_mmproj(d / "mmproj.gguf"), "projector (mmproj)", "")
    rows["adapter"] = (tiny.write_adapter(d / "adapter.gguf"), "is a LoRA adapter, not a model", "--lora")
    rows["vocabulary"] = (tiny.write_vocab_only(d / "vocab.gguf"), "a vocabulary without weights", "complete model")

    first = tiny.write_model(d / "split.gguf", shards=3)
    rows["split"] = (first, "", "")
    rows["second of a split"] = (Path(str(first).replace("00001-of", "00002-of")), "is file 2 of 3", "name the first")
    lost = tiny.write_model(d / "lost.gguf", shards=2)
    Path(str(lost).replace("00001-of", "00002-of")).unlink()
    rows["split without its second"] = (lost, "lost-00002-of-00002.gguf is not beside it", "")
    renamed = tiny.write_model(d / "named.gguf", shards=2)
    renamed.rename(d / "renamed.gguf")
    rows["split by another name"] = (d / "renamed.gguf", "its name does not say which", "")
    half = tiny.write_model(d / "half.gguf", shards=2)
    other = Path(str(half).replace("00001-of", "00002-of"))
    other.write_bytes(cut(other.read_bytes(), -500))
    rows["split with a cut second"] = (half, "is not complete", "download")
    swapped = tiny.write_model(d / "swapped.gguf", shards=2)
    Path(str(swapped).replace("00001-of", "00002-of")).write_bytes(swapped.read_bytes())
    rows["split with the first twice"] = (swapped, "cannot load|no token_embd", "")
    if sys.platform != "win32":
        os.mkfifo(d / "pipe.gguf")
        rows["pipe"] = (d / "pipe.gguf", "is not a regular file", "")
        (d / "link.gguf").symlink_to(d / "gone.gguf")
        rows["dead link"] = (d / "link.gguf", "there is no file", "")
        (d / "alias.gguf").symlink_to(d / "good.gguf")
        rows["link"] = (d / "alias.gguf", "", "")
    rows["long name"] = (d / ("x" * 300), "cannot read|there is no file", "")
    odd = d / "odd name – 犬 'q'.gguf"
    odd.write_bytes(good)
    rows["odd name"] = (odd, "", "")
    return rows


FILES = [
    "good", "missing", "missing folder", "folder", "folder with models", "empty", "text", "html", "safetensors",
    "magic only", "old magic", "big-endian magic", "version 0", "version 1", "version 999", "big-endian version",
    *(f"cut at {n}" for n in (5, 8, 16, 23, 24, 40, 100, 1000, 5000)), *(f"cut by {n}" for n in (1, 32, 1000, 100_000)),
    "many tensors", "huge count", "many keys", "no keys", "key type", "long string", "tensor type", "tensor offset",
    "tensor shape", "weights of NaN", "quantized table of NaN", "token twice", "no architecture", "no layers", "65,536 layers",
    "a layer too many", "experts without use", "more used than there are", "too many experts", "too many draft layers",
    "epsilon below 0", "epsilon not a number", "odd rotation", "wide rotation", "embedding length", "head count",
    "head count 0", "no tokenizer", "unknown tokenizer", "no epsilon", "text for a number", "a list for a number",
    "context of 0", "no table", "no norm", "no attention", "short table", "narrow table", "flat table", "deep table",
    "table of zeros", "table of NaN", "norm of NaN", "an attention of one number",
    "bert", "nomic-bert", "gemma-embedding", "t5encoder", "t5", "clip", "eagle3",
    "gemma4-assistant", "wavtokenizer-dec", "gemma3n",
    "glm4", "glm4moe", "graniteswitch", "cogvlm", "qwen4exp", "gemma4-e2b", "deepseek4 streams", "deepseek4 indexer",
    "deepseek4 ratios", "mmproj",
    "adapter", "vocabulary", "split", "second of a split", "split without its second", "split by another name",
    "split with a cut second", "split with the first twice", "pipe", "dead link", "link", "long name", "odd name",
]  # fmt: skip


def in_child(call: str, paths: list[Path], cache: Path) -> list[dict[str, Any]]:
    """What came of each file. One child does them all; where it dies, the next goes on after the one that killed it."""
    results: list[dict[str, Any]] = []
    env = {**os.environ, "SOFTLLAMA_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    while len(results) < len(paths):
        rest = [str(p) for p in paths[len(results) :]]
        child = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "support" / "child.py"), call, *rest],
            capture_output=True,
            text=True,
            env=env,
            timeout=300,
        )
        results += [json.loads(line) for line in child.stdout.splitlines()]
        if len(results) < len(paths):
            results.append({"died": child.returncode, "stderr": child.stderr[-500:]})
    return results


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], str, str]]:
    rows = build_files(tmp_path_factory.mktemp("files"))
    results = in_child("probe", [p for p, _, _ in rows.values()], tmp_path_factory.mktemp("files-cache"))
    return {name: (r, *row[1:]) for (name, row), r in zip(rows.items(), results, strict=True)}


def test_every_file_has_its_row(files: dict[str, Any]) -> None:
    if sys.platform != "win32":
        assert list(files) == FILES


@pytest.mark.parametrize("name", FILES)
def test_files(files: dict[str, tuple[dict[str, Any], str, str]], name: str) -> None:
    result, message, hint = files[name]
    assert "died" not in result, result
    assert "traceback" not in result, result
    if not message:
        assert "ok" in result, result
        return
    assert "error" in result, result
    assert any(m in result["error"] for m in message.split("|")), result
    assert result["type"] == "ModelError"
    assert "it gave no reason" not in result["error"]
    if hint:
        assert hint in result["hint"], result


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tiny.write_model(tmp_path / "secret.gguf")
    path.chmod(0)
    raises(lambda: sl.load(path), ModelError, "Permission denied", None)


def test_bundled_models_that_do_not_exist() -> None:
    raises(lambda: sl.load("bundled:no-such"), ModelError, "no bundled model 'no-such'", "-m FILE.gguf")


@pytest.mark.parametrize("path", ["", "\x00", "a\x00b", "~no-such-user/x.gguf", "."])
def test_paths_that_are_none(path: str) -> None:
    raises(lambda: sl.load(path), ModelError, "", None)


@pytest.mark.parametrize("path", [3, 1.5, ["a"], b"model.gguf"])
def test_what_is_no_path(path: Any) -> None:
    raises(lambda: sl.load(path), ModelError, type(path).__name__, None)


def test_there_are_enough_rows() -> None:
    assert len(MIXES) + len(PROMPTS) + len(OPTIONS) + len(LOADING) + len(SESSIONS) + len(FILES) >= 200


def test_header_bytes_at_random(write: Callable[..., Path], tmp_path: Path) -> None:
    """One damaged byte anywhere before the weights: refused with a sentence, or harmless. Never an abort."""
    data = write("llama", n_layer=1).read_bytes()
    end = data.rindex(b"output_norm.weight") if b"output_norm.weight" in data else len(data)
    r = np.random.default_rng(11)
    paths = []
    for i in range(150):
        b = bytearray(data)
        b[int(r.integers(4, min(end, 900)))] = int(r.integers(0, 256))
        path = tmp_path / f"{i}.gguf"
        path.write_bytes(b)
        paths.append(path)
    for path, result in zip(paths, in_child("load", paths, tmp_path / "cache"), strict=True):
        assert {"ok", "error"} & set(result), (path.name, result)
