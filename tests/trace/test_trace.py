"""Traces as files: what is saved is loaded, what is cut off loads as far as it goes, what is damaged says so in one line."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import trace as traces
from softllama.errors import ContextError, MixtureError, ModelError, SoftLlamaError, UsageError
from softllama.generation.replay import replay
from softllama.trace.data import ids_of
from softllama.trace.reader import CUT_OFF
from softllama.trace.record import Trace
from softllama.trace.step import HARD, HEAVY, SOFT, Rest, Step, effective, heavy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.whole import WholeVector
from tests.support.traces import HOSTILE, TEXTS, first_format, hostile, step, trace

SUFFIXES = (".jsonl", ".npz")


def same(a: Trace, b: Trace) -> bool:
    return list(a.jsonl()) == list(b.jsonl()) and a.to_dict() == b.to_dict() and a.texts == b.texts


# ---- numbers that can be checked by hand


def test_counts_and_means() -> None:
    t = trace()
    assert (t.n_thinking, t.n_answer, t.n_soft) == (2, 1, 2)
    assert t.mean_entropy == pytest.approx(2.0)  # of 1, 2 and 3; the forced step was not decided
    assert t.effective_tokens == pytest.approx(1.5)  # two equal tokens, and one
    assert t.tokens_per_second == pytest.approx(4.0)  # four steps in one second after the prompt
    assert (t.thinking, t.answer, t.text) == (" dog cat", " the", " the")


def test_effective_tokens_of_a_mixture() -> None:
    assert effective(Mixture([1, 2, 3, 4], [0.25] * 4)) == pytest.approx(4)
    assert effective(Mixture.one_hot(3)) == 1
    assert effective(Mixture([1, 2], [2.0, -1.0], signed=True)) == 1


def test_an_empty_trace_has_numbers_too() -> None:
    t = trace([], timings={})
    assert (t.mean_entropy, t.effective_tokens, t.tokens_per_second, t.text) == (0, 1, 0, "")


# ---- round trips


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "made", [trace, hostile, lambda: trace([]), lambda: trace([step(0, {1: 2.0, 2: -1.0}, signed=True)])]
)
def test_saved_and_loaded_it_is_the_same(tmp_path: Path, suffix: str, made: Callable[[], Trace]) -> None:
    t = made()
    if not t.steps:
        t = trace([], texts={})
    t.save(tmp_path / f"t{suffix}")
    u = traces.load(tmp_path / f"t{suffix}")
    used = {i for s in t.steps for i in ids_of(s)}
    assert same(trace_with(t, {i: t.spell(i) for i in used}), u)
    assert [s.mixture for s in u.steps] == [s.mixture for s in t.steps]
    assert u.prompt == t.prompt


def trace_with(t: Trace, texts: dict[int, str]) -> Trace:
    return Trace(
        t.steps, t.prompt, t.prompt_text, t.policy, t.seed, t.stop_reason, t.stop, t.thinking_tags, t.evaluated, t.timings,
        t.manifest, t.tail, texts,
    )  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_keep_every_bit(tmp_path: Path, suffix: str) -> None:
    w = np.random.default_rng(0).dirichlet(np.ones(50)).astype(np.float32)
    t = trace([step(0, dict(enumerate(w.tolist())))])
    t.save(tmp_path / f"t{suffix}")
    assert np.array_equal(traces.load(tmp_path / f"t{suffix}").steps[0].mixture.weights, t.steps[0].mixture.weights)


def test_each_text_is_written_once() -> None:
    lines = [json.loads(line) for line in trace().jsonl()]
    found = [i for line in lines[1:-1] for i in line["texts"]]
    assert len(found) == len(set(found))
    assert lines[1]["texts"] == {"1": " dog", "2": " cat", "5": " the"}
    assert lines[2]["texts"] == {}


def test_a_trace_without_texts_spells_ids(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in trace().jsonl()]
    for line in lines:
        line.pop("texts", None)
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert traces.load(tmp_path / "t.jsonl").spell(1) == "#1"


def test_saving_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    trace().save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):  # in the last line: the others are written by then
        trace(timings={"total": float("nan")}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("name", "words"), [("t.txt", "cannot save"), ("no/t.jsonl", "cannot write"), ("d.npz", "not a file")]
)
def test_what_cannot_be_written(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(SoftLlamaError, match=words) as e:
        trace().save(tmp_path / name)
    assert e.value.hint


# ---- cut off


def test_a_file_that_was_cut_off_loads_as_far_as_it_goes(tmp_path: Path) -> None:
    """Every length: never anything but a shorter trace, or a clear error while there is no whole header."""
    t = trace([step(i, {6: 0.5, 2: 0.5}, text="é") for i in range(3)])  # two bytes that may be cut between
    t.save(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    ends = [i for i, b in enumerate(whole) if b == 10]
    path = tmp_path / "cut.jsonl"
    for n in range(len(whole) + 1):
        path.write_bytes(whole[:n])
        if n < ends[0]:
            with pytest.raises(SoftLlamaError):
                traces.load(path)
            continue
        u = traces.load(path)
        complete = sum(n >= end for end in ends) - 1
        assert len(u.steps) == min(3, complete), n
        assert u.stop_reason == ("max tokens" if complete == 4 else CUT_OFF), n


# ---- files of format 1, in which every mixture is whole


def test_json_lines_of_format_1_are_read(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in trace().jsonl()]
    lines[0]["format"] = 1
    for line in lines[1:-1]:
        del line["whole"], line["rest"]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert same(traces.load(tmp_path / "t.jsonl"), trace_with(trace(), {i: TEXTS[i] for i in (1, 2, 3, 5)}))


@pytest.mark.parametrize("made", [trace, hostile, lambda: trace([step(0, {1: 2.0, 2: -1.0}, signed=True)])])
def test_an_npz_of_format_1_is_read(tmp_path: Path, made: Callable[[], Trace]) -> None:
    t = made()
    np.savez_compressed(tmp_path / "t.npz", **first_format(t))
    u = traces.load(tmp_path / "t.npz")
    assert list(u.jsonl()) == list(trace_with(t, {i: t.spell(i) for s in t.steps for i in ids_of(s)}).jsonl())


# ---- mixtures that are the whole distribution


def whole_step(index: int, n: int = 1000, **more: Any) -> Step:
    """A step that fed n tokens, in a record that holds the heaviest."""
    w = np.random.default_rng(index).dirichlet(np.full(n, 0.1)).astype(np.float32) + np.float32(1e-6)
    whole = step(index, dict(enumerate((w / w.sum()).tolist())), whole=WholeVector(1.0, 1e-6), **more)
    return heavy(whole)


def test_the_heaviest_entries_keep_their_weights_and_the_rest_is_counted() -> None:
    """Of 0.5, 0.25 and four of 0.0625, two are kept: four with 0.25 are left."""
    w = {7: 0.0625, 1: 0.5, 3: 0.0625, 2: 0.25, 8: 0.0625, 9: 0.0625}
    s = heavy(step(0, w, whole=WholeVector()), 2)
    assert s.mixture.top() == [(1, 0.5), (2, 0.25)]
    assert s.rest == Rest(4, 0.25, pytest.approx(4.0))  # H = 0.5 ln 2 + 0.25 ln 4 + 0.25 ln 16 = 2 ln 2
    assert (s.n_tokens, s.effective_tokens) == (6, pytest.approx(4.0))
    assert heavy(s, 1) is s  # it is not made smaller again


def test_what_cannot_be_computed_again_is_kept() -> None:
    s = step(0, dict.fromkeys(range(1000), 0.001))
    assert heavy(s) is s
    assert (s.n_tokens, s.rest) == (1000, None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_rest_is_saved_and_loaded(tmp_path: Path, suffix: str) -> None:
    more = {"whole": WholeVector(0.5, 1e-3, 0.75, 9)}
    t = trace([whole_step(0), heavy(step(1, dict.fromkeys(range(400), 0.0025), **more)), step(2, {1: 1.0})], texts={})
    t.save(tmp_path / f"t{suffix}")
    u = traces.load(tmp_path / f"t{suffix}")
    assert [(s.mixture, s.whole, s.rest) for s in u.steps] == [(s.mixture, s.whole, s.rest) for s in t.steps]
    assert [s.n_tokens for s in u.steps] == [1000, 400, 1]
    assert u.effective_tokens == t.effective_tokens


def test_a_table_counts_what_the_record_does_not_hold() -> None:
    t = trace([whole_step(0)], texts={})
    assert "+995" in t.table(200)
    assert t.step_columns()["n_tokens"] == [1000]
    assert len(t.token_columns()["weight"]) == HEAVY


@pytest.mark.parametrize(("tokens", "megabytes"), [(10, 1), (150_000, 20)])
def test_a_thousand_steps_fit(tmp_path: Path, tokens: int, megabytes: float) -> None:
    """Soft Thinking's 10 tokens, or the heaviest of 150,000, with ids, weights and texts that have no pattern."""
    rng, steps = np.random.default_rng(0), []
    for i in range(1000):
        ids = rng.choice(150_000, size=min(tokens, HEAVY), replace=False)
        w = rng.dirichlet(np.ones(len(ids)))
        more: dict[str, Any] = {} if tokens == 10 else {"whole": WholeVector(), "rest": Rest(tokens - HEAVY, 0.5, 99.5)}
        w = w if tokens == 10 else w / 2
        top = tuple((int(k), float(p)) for k, p in zip(ids[:5], rng.random(5), strict=True))
        steps.append(
            step(i, dict(zip(ids.tolist(), w, strict=True)), signed=tokens > 10, top=top, seconds=rng.random(), **more)
        )
    trace(steps, texts={i: f" token{i}" for i in range(150_000)}).save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").stat().st_size < megabytes * 1e6


def test_the_arrays_are_tables(tmp_path: Path) -> None:
    """What reads .npz reads three tables: the arrays of each group have one length."""
    t = trace([whole_step(0), step(1, {1: 0.25, 2: 0.75}), step(2, {3: 1.0}, HARD)])
    t.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as z:
        tables: dict[str, dict[str, Any]] = {}
        for name in z.files:
            group, slash, column = name.partition("/")
            if slash:
                tables.setdefault(group, {})[column] = z[name]
    lengths = {group: {len(a) for a in columns.values()} for group, columns in tables.items()}
    assert lengths == {"steps": {3}, "mixtures": {HEAVY + 3}, "top": {6}}
    fed = tables["mixtures"]
    assert fed["weight"][fed["step"] == 1].tolist() == [0.25, 0.75]
    assert tables["steps"]["rest_n"].tolist() == [1000 - HEAVY, 0, 0]


def test_a_data_frame_of_tokens() -> None:
    pytest.importorskip("pandas")
    frame = trace().to_dataframe("tokens")
    assert frame.to_dict("list") == {
        "step": [0, 0, 1, 2, 3], "token_id": [1, 2, 2, 3, 5], "token": [" dog", " cat", " cat", "</think>", " the"],
        "weight": [0.5, 0.5, 1.0, 1.0, 1.0],
    }  # fmt: skip
    with pytest.raises(UsageError, match="rows = 'x'"):
        trace().to_dataframe("x")


# ---- damaged


def damaged(change: Callable[[list[dict[str, Any]]], Any]) -> bytes:
    """The lines of a good trace after a change."""
    lines = [json.loads(line) for line in trace().jsonl()]
    change(lines)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def put(line: int, key: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(lines: list[dict[str, Any]]) -> None:
        lines[line][key] = value

    return change


def drop(line: int, key: str) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda lines: lines[line].pop(key)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "not text": (b"\xff\xfe\x00\x01", "not a trace"),
    "no JSON": (b"hello\n", "not JSON"),
    "other JSON": (b'{"prompt": 1}\n', "does not begin"),
    "a list": (b"[1, 2]\n", "does not begin"),
    "deep": (b"[" * 200_000, "not a trace"),
    "another format": (damaged(put(0, "format", 3)), "format is 3, and this softllama reads 1 to 2"),
    "no policy": (damaged(drop(0, "policy")), "'policy' is missing"),
    "a seed that is none": (damaged(put(0, "seed", -1)), "damaged"),
    "a manifest that is a list": (damaged(put(0, "manifest", [1])), "damaged"),
    "a prompt of words": (damaged(put(0, "prompt", ["a"])), "not a whole number"),
    "a prompt that is a number": (damaged(put(0, "prompt", 3)), "damaged"),
    "one tag": (damaged(put(0, "thinking_tags", ["a"])), "damaged"),
    "a line of garbage": (
        b"\n".join([*damaged(lambda x: None).split(b"\n")[:2], b"%%%", b"%%%"]),
        "line 3 .* not JSON",
    ),
    "a byte that is no UTF-8": (damaged(lambda x: None).replace(b'"mode"', b'"\xffode"', 1), "line 2 .* not JSON"),
    "an unknown kind": (damaged(put(2, "kind", "comment")), "kind is 'comment'"),
    "a second header": (damaged(lambda x: x.insert(1, x[0])), "kind is 'trace'"),
    "steps after the end": (damaged(lambda x: x.append(x[1])), "line 7 .* ended before"),
    "a step twice": (damaged(lambda x: x.insert(1, x[1])), "step 0 where 1"),
    "a step missing": (damaged(lambda x: x.pop(2)), "step 2 where 1"),
    "no mixture": (damaged(drop(1, "mixture")), "'mixture' is missing"),
    "an empty mixture": (damaged(put(1, "mixture", [])), "mixture"),
    "a mixture of text": (damaged(put(1, "mixture", "dog")), "mixture"),
    "half an id": (damaged(put(1, "mixture", [[1.5, 1.0]])), "not a whole number"),
    "a negative id": (damaged(put(1, "token", -5)), "not a token id"),
    "a huge id": (damaged(put(1, "token", 10**40)), "not a whole number"),
    "infinity": (damaged(lambda x: None).replace(b'"entropy": 1.0', b'"entropy": 1e999', 1), "it holds 1e999"),
    "NaN": (damaged(put(1, "entropy", float("nan"))), "NaN"),
    "true for a number": (damaged(put(1, "entropy", True)), "not a number"),
    "a number for true": (damaged(put(1, "thinking", 1)), "neither true nor false"),
    "an unknown mode": (damaged(put(1, "mode", "mushy")), "none of soft, hard, forced"),
    "a list for a mode": (damaged(put(1, "mode", ["soft"])), "none of"),
    "a weight of text": (damaged(put(1, "mixture", [[1, "all"]])), "not a number"),
    "texts that are a list": (damaged(put(1, "texts", ["a"])), "texts|attribute"),
    "texts that are numbers": (damaged(put(1, "texts", {"1": 2})), "not text"),
    "an ending of the wrong kind": (damaged(put(-1, "timings", [1])), "damaged"),
    "a tail of three": (damaged(put(-1, "tail", ["", "", ""])), "damaged"),
    "a rest that nothing computes": (
        damaged(put(1, "rest", {"n": 3, "weight": 0.5, "effective_tokens": 2.0})),
        "nothing says how",
    ),
    "a share above 1": (
        damaged(put(1, "whole", {"temperature": 1.0, "epsilon": 0.0, "share": 2.0, "token": 1})),
        "share 2",
    ),
    "an endless count": (damaged(put(-1, "evaluated", 1.5)), "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    data, words = BAD[name]
    path = tmp_path / "t.jsonl"
    path.write_bytes(data)
    with pytest.raises(SoftLlamaError, match=words) as e:
        traces.load(path)
    assert "t.jsonl" in e.value.message
    assert "\n" not in e.value.message
    assert len(e.value.message) < 400
    assert e.value.hint


def npz(**changes: Any) -> dict[str, Any]:
    return {**trace().arrays(), **changes}


BAD_NPZ: dict[str, dict[str, Any]] = {
    "no header": {k: v for k, v in npz().items() if k != "header"},
    "a header that is no JSON": npz(header=np.array("{")),
    "a header that is a list": npz(header=np.array("[]")),
    "words that are a number": npz(words=np.array("3")),
    "a step without a text": npz(words=np.array('{"text": ["a", "b", "c"], "why": ["", "", "", ""]}')),
    "an unknown mode": npz(**{"steps/mode": np.array(["soft", "soft", "mushy", "hard"])}),
    "a column that is missing": {k: v for k, v in npz().items() if k != "steps/entropy"},
    "a column that is too short": npz(**{"steps/entropy": np.zeros(3)}),
    "an entropy that is no number": npz(**{"steps/entropy": np.full(4, np.nan)}),
    "a probability above 1": npz(**{"steps/logp": np.full(4, np.inf)}),
    "a readout that is no id": npz(**{"steps/token": np.full(4, -1)}),
    "fewer weights than ids": npz(**{"mixtures/weight": np.zeros(2, np.float32)}),
    "weights that are no numbers": npz(**{"mixtures/weight": np.full(5, np.nan, np.float32)}),
    "ids that are text": npz(**{"mixtures/id": np.array(list("abcde"))}),
    "ids that are none": npz(**{"mixtures/id": np.array([1, 2, -3, 4, 5])}),
    "pickled objects": npz(**{"mixtures/id": np.array([None] * 5, dtype=object)}),
    "mixtures in another order": npz(**{"mixtures/step": np.array([0, 0, 2, 1, 3])}),
    "a step without a mixture": npz(**{"mixtures/step": np.array([0, 0, 1, 1, 3])}),
    "a mixture of no step": npz(**{"mixtures/step": np.array([0, 0, 1, 2, 99])}),
    "a rest that nothing computes": npz(**{"steps/rest_n": np.array([5, 0, 0, 0])}),
    "a temperature below 0": npz(**{"steps/whole_temperature": np.full(4, -1.0)}),
    "format 1 and its arrays are not there": npz(header=np.array(json.dumps({**trace().header(), "format": 1}))),
    "steps that are a number": {**first_format(trace()), "steps": np.array("3")},
    "offsets that are too few": {**first_format(trace()), "offsets": np.array([0, 1])},
    "offsets that go back": {**first_format(trace()), "offsets": np.array([0, 4, 2, 3, 5])},
    "offsets that go too far": {**first_format(trace()), "offsets": np.array([0, 2, 3, 4, 99])},
    "fewer weights than ids, before": {**first_format(trace()), "weights": np.zeros(2, np.float32)},
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_a_damaged_npz_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "t.npz", **BAD_NPZ[name])
    with pytest.raises(SoftLlamaError, match=r"t\.npz") as e:
        traces.load(tmp_path / "t.npz")
    assert "\n" not in e.value.message


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello", b"\x93NUMPY\x01\x00"])
def test_what_is_no_npz_says_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.npz").write_bytes(data)
    with pytest.raises(SoftLlamaError, match=r"t\.npz"):
        traces.load(tmp_path / "t.npz")


def test_an_npz_that_was_cut_off_or_changed(tmp_path: Path) -> None:
    trace().save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    rng = np.random.default_rng(0)
    for n in range(60):
        data = bytearray(whole)
        if n < 20:
            del data[rng.integers(len(whole)) :]
        else:
            data[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "t.npz").write_bytes(data)
        with contextlib.suppress(SoftLlamaError):  # nothing else comes out of it
            assert len(traces.load(tmp_path / "t.npz").steps) == 4  # a bit that nothing reads


def test_bits_of_jsonl_that_changed(tmp_path: Path) -> None:
    trace().save(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "t.jsonl").write_bytes(data)
        with contextlib.suppress(SoftLlamaError):  # nothing else comes out of it
            assert len(traces.load(tmp_path / "t.jsonl").steps) <= 4


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.npz", ".", "d.npz"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "d.npz").mkdir()
    with pytest.raises(SoftLlamaError, match="cannot read the trace"):
        traces.load(tmp_path / name)


# ---- with a model


@pytest.fixture(scope="module")
def told(model: Any) -> Trace:
    prompt = model.tokenize("Once", bos=True)
    t: Trace = model.generate([*prompt, Mixture([3, 5], [0.5, 0.5])], policy="soft_thinking:n=4", max_tokens=12, seed=3)
    return t


def test_a_generated_trace_has_the_text_of_every_token(model: Any, told: Trace) -> None:
    used = {i for s in told.steps for i in ids_of(s)}
    assert told.texts == {i: model.spell(i) for i in used}
    assert told.n_soft > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("policy", ["greedy", "full", "soft_noise", "hidden", "swir", "gumbel"])
def test_saved_loaded_and_replayed_it_agrees(model: Any, tmp_path: Path, policy: str, suffix: str) -> None:
    t = model.generate("Once upon", chat=False, policy=policy, max_tokens=10, seed=1)
    t.save(tmp_path / f"t{suffix}")
    u = traces.load(tmp_path / f"t{suffix}")
    assert same(t, u)
    differences = replay(model, u)
    assert len(differences) == len(t.steps) > 0
    assert max(differences) == 0


@pytest.mark.parametrize(
    "policy", ["full", "full:temperature=1.5,epsilon=1e-3", "soft_noise:temperature=1.5", "swir:window=2,math=soft"]
)
def test_what_a_trace_does_not_hold_is_computed_again(model: Any, tmp_path: Path, policy: str) -> None:
    """The heaviest weights are those that were fed, the others come out of the distribution to the last bit."""
    lean = model.generate("Once upon", chat=False, policy=policy, max_tokens=10, seed=1)
    everything = model.generate("Once upon", chat=False, policy=policy, max_tokens=10, seed=1, keep="all")
    assert [s.token for s in lean.steps] == [s.token for s in everything.steps]
    assert any(s.rest for s in lean.steps)
    for a, b in zip(lean.steps, everything.steps, strict=True):
        assert b.rest is None
        assert a.mixture.top() == b.mixture.top(len(a.mixture))
        assert a.n_tokens == b.n_tokens
        assert a.effective_tokens == b.effective_tokens
        assert float(b.mixture.weights.sum(dtype=float)) == pytest.approx(
            float(a.mixture.weights.sum(dtype=float)) + (a.rest.weight if a.rest else 0), abs=1e-6
        )
    lean.save(tmp_path / "t.npz")
    assert max(replay(model, traces.load(tmp_path / "t.npz"))) == 0
    assert max(replay(model, everything)) == 0


def test_a_policy_that_changes_the_whole_vector_is_kept_whole(model: Any) -> None:
    """What the record says is computed from the distribution is: a policy's word alone is not enough."""
    full = sl.policy.full(where="everywhere")

    def half(d: Distribution, moment: Any) -> Any:
        decision = full(d, moment)
        return replace(decision, mixture=sl.blend([decision.mixture, Mixture.one_hot(3)], [0.5, 0.5]))

    def other(d: Distribution, moment: Any) -> Any:
        return full(Distribution(d.logits * np.float32(0.5)), moment)

    for rule in (half, other):
        t = model.generate("Once upon", policy=rule, max_tokens=4, seed=1)
        assert all(s.rest is None and s.whole is None and len(s.mixture) > HEAVY for s in t.steps)
        assert max(replay(model, t)) == 0


def test_a_replay_shows_what_was_changed(model: Any, told: Trace) -> None:
    """Another mixture at step 1 changes the distributions after it, and none up to it."""
    changed = list(told.steps)
    changed[1] = step(1, {9: 0.5, 11: 0.5}, SOFT, token=told.steps[1].token, top=told.steps[1].top)
    d = replay(model, Trace(tuple(changed), told.prompt, "", told.policy, told.seed, ""))
    assert max(d[:2]) == 0
    assert max(d[2:]) > 0


def test_a_replay_goes_on_after_a_readout_that_ends_generations(model: Any, told: Trace) -> None:
    eog = next(i for i in range(model.n_vocab) if model.is_eog(i))
    steps = [step(i, {eog: 1.0}, top=()) for i in range(3)]
    assert replay(model, Trace(tuple(steps), told.prompt, "", "", 0, "")) == [0.0, 0.0, 0.0]
    assert model.is_eog(eog)


def test_a_trace_of_another_model_is_refused(model: Any, told: Trace) -> None:
    other = Trace(
        told.steps, told.prompt, "", told.policy, 0, "", manifest={"model": {"path": "/x/y.gguf", "sha256": "ab" * 32}}
    )
    with pytest.raises(ModelError, match=r"y\.gguf \(sha256 ababab.*this is .*\.gguf \(sha256 ") as e:
        replay(model, other)
    assert "--any-model" in e.value.hint
    assert len(replay(model, other, any_model=True)) == len(told.steps)


def test_a_trace_with_other_adapters_is_refused(model: Any, told: Trace) -> None:
    made = {**told.manifest["model"], "lora": [["/a/b.gguf", 0.5]]}
    with pytest.raises(ModelError, match=r"b\.gguf:0\.5, not with no adapter"):
        replay(model, Trace(told.steps, told.prompt, "", "", 0, "", manifest={"model": made}))


@pytest.mark.parametrize("where", ["prompt", "a mixture of the prompt", "token", "mixture", "top"])
def test_ids_outside_the_vocabulary_are_refused(model: Any, where: str) -> None:
    n = model.n_vocab
    steps = {
        "token": [step(0, {1: 1.0}, token=n)],
        "mixture": [step(0, {1: 0.5, n: 0.5}, token=1)],
        "top": [step(0, {1: 1.0}, top=((n, 0.5),))],
    }.get(where, [step(0, {1: 1.0})])
    prompt = {"prompt": (n,), "a mixture of the prompt": (Mixture([1, n], [0.5, 0.5]),)}.get(where, (1,))
    with pytest.raises(MixtureError, match=f"token id {n}, and .* vocabulary of {n}"):
        replay(model, Trace(tuple(steps), prompt, "", "", 0, ""))


def test_a_replay_that_does_not_fit_says_so(write: Any, told: Trace) -> None:
    with (
        sl.load(write("llama"), n_ctx=8, n_threads=1) as small,
        pytest.raises(ContextError, match="context"),
    ):
        replay(small, told, any_model=True)


def test_hostile_texts_are_known_to_be_hostile() -> None:
    assert not any(t.isprintable() and t.isalnum() for i, t in HOSTILE.items() if i not in (9, 10))
    assert set(TEXTS) == set(range(1, 7))
