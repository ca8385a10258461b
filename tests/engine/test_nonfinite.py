"""Numbers that are none stop a run, with the name of the step and of the layer. Models are poisoned while they are used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import evaluate
from softllama.engine import nonfinite
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.llama import header
from tests.conftest import Cli


@pytest.mark.parametrize("bad", [0, 2, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_several_distributions_the_one_that_is_none_is_named(
    load: Callable[..., Any], bad: int, value: float
) -> None:
    m = load("llama")
    rows = np.random.default_rng(0).standard_normal((6, m.n_vocab)).astype(np.float32)
    assert [d.argmax for d in m.distributions(rows)] == rows.argmax(axis=1).tolist()
    rows[[bad, 5], 3] = value  # the first of two
    with pytest.raises(sl.NotFiniteError, match="element 3 is") as e:
        m.distributions(rows)
    assert e.value.index == bad


class Poisoned:
    """A model whose file one can write into while it is mapped: the model then has other weights."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = sl.load(path, n_threads=1)

    def spoil(self, tensor: str, value: float = np.nan) -> None:
        t = header.read(self.path).tensors[tensor]
        before = self.path.stat()
        with self.path.open("r+b") as f:
            f.seek(t.offset)
            f.write(np.full(t.size // 4, value, dtype=np.float32).tobytes())
        os.utime(self.path, ns=(before.st_atime_ns, before.st_mtime_ns))  # or the next context would be refused


@pytest.fixture
def poisoned(write: Callable[..., Path], tmp_path: Path) -> Poisoned:
    return Poisoned(Path(shutil.copy(write("llama"), tmp_path / "m.gguf")))


def test_the_first_layer_that_gives_no_numbers_is_named(poisoned: Poisoned) -> None:
    m = poisoned.model
    with m.session(64) as s:
        s.feed(m.tokenize("The dog"))
        before = s.feed([5]).logits
        s.truncate(s.position - 1)
        poisoned.spoil("blk.1.ffn_down.weight")
        with pytest.raises(sl.SoftLlamaError) as e:
            s.feed([5])
        assert "position" in e.value.message
        assert "the first layer that gives none is 1 (blk.1, of 2)" in e.value.message
        assert f"softllama doctor -m {poisoned.path}" in e.value.hint
        n = s.position
        poisoned.spoil("blk.1.ffn_down.weight", 0.0)
        assert s.feed([5]).logits.shape == before.shape  # what failed was not kept
        assert s.position == n + 1


@pytest.mark.parametrize(("tensor", "where"), [("blk.0.attn_v.weight", "blk.0"), ("output_norm.weight", "output head")])
def test_other_places_are_named_too(poisoned: Poisoned, tensor: str, where: str) -> None:
    poisoned.spoil(tensor)
    with poisoned.model.session(64) as s, pytest.raises(sl.SoftLlamaError, match=where):
        s.feed([sl.Mixture([5, 6], [0.5, 0.5]), 7])


def test_a_generation_names_the_step_that_led_there(poisoned: Poisoned) -> None:
    g = prepare(poisoned.model, "The dog", GenerationOptions(policy="full", max_tokens=20, seed=7))
    steps = loop.run(poisoned.model, [g])
    for _ in range(4):
        next(steps)
    poisoned.spoil("blk.1.ffn_down.weight", np.inf)
    with pytest.raises(sl.SoftLlamaError, match=r"after step 3 of the generation \(seed 7, position \d+\).*blk\.1"):
        next(steps)
    with pytest.raises(sl.SoftLlamaError, match="after the prompt"):
        poisoned.model.generate("The dog", max_tokens=2)


def test_what_noise_was_added_to_and_what_was_not_kept_cannot_be_fed_again_so_no_layer_is_named(
    poisoned: Poisoned,
) -> None:
    steps = poisoned.model.stream("The dog", policy="soft_noise", max_tokens=20, seed=7)
    next(steps)
    next(steps)
    poisoned.spoil("blk.1.ffn_down.weight")
    with pytest.raises(sl.SoftLlamaError, match="after step 1 of the generation") as e:
        next(steps)
    assert "blk." not in e.value.message


def test_a_probe_names_the_point_of_the_sweep(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    after = sl.Model.distributions

    bad = [0]

    def spoilt(self: sl.Model, logits: Any) -> Any:
        logits[bad[0], 3] = np.nan
        return after(self, logits)

    monkeypatch.setattr(sl.Model, "distributions", spoilt)
    for bad[0], name in ((0, "the mixture"), (2, "cat alone"), (4, "the sweep's α = 0.5"), (3, "the sweep's α = 0.25")):
        with pytest.raises(sl.SoftLlamaError, match=f"after the prompt with {name}: element 3 is nan"):
            model.probe("The {} says", mix="dog:0.3,cat:0.7", sweep=5)


def test_streams_and_searches_and_chats_name_theirs(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]
    from softllama.llama.context import Context

    whole = Context.evaluate

    def spoilt(self: Context, *a: Any, **k: Any) -> Any:
        logits = whole(self, *a, **k)
        calls[0] += 1
        if calls[0] == 3 and logits:
            logits[-1][0] = np.inf
        return logits

    monkeypatch.setattr(Context, "evaluate", spoilt)
    monkeypatch.setattr(nonfinite, "first_layer", lambda *_: "")
    for use, name in (
        (lambda: sl.search.self_consistency(model, "The", samples=3, seed=1, max_tokens=9), "of sample 2"),
        (lambda: sl.search.beam(model, "The", beams=2, max_tokens=9), "after step 1 of the generation"),
        (lambda: sl.Conversation(model, max_tokens=9, seed=1).reply("The dog"), "after step 1 of the generation"),
    ):
        calls[0] = 0
        with pytest.raises(sl.SoftLlamaError, match=name) as e:
            use()
        assert "element 0 is inf" in e.value.message


def test_an_evaluation_names_the_problem_and_keeps_what_there_is(poisoned: Poisoned, tmp_path: Path) -> None:
    data, out = tmp_path / "d.jsonl", tmp_path / "r.jsonl"
    data.write_text("".join(json.dumps({"question": f"The dog {i}", "answer": "x"}) + "\n" for i in range(4)))
    problems = evaluate.load(str(data), None)

    def tick(what: str, done: int, total: int) -> None:
        if done == 2:
            poisoned.spoil("blk.1.ffn_down.weight")

    settings = evaluate.EvaluateOptions(max_tokens=3, chat=False)
    with pytest.raises(sl.SoftLlamaError, match=r"after the prompt of problem 2, greedy"):
        evaluate.evaluate(poisoned.model, problems, evaluate.ways.parse_all(("greedy",)), settings, out, tick)
    assert len(out.read_text().splitlines()) == 3


def test_a_hidden_state_without_a_direction_is_told(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from softllama.llama.context import Context

    for value in (0.0, np.nan):
        monkeypatch.setattr(Context, "hidden", lambda self, i, v=value: np.full(model.n_embd, v, dtype=np.float32))
        with pytest.raises(
            sl.SoftLlamaError, match=r"after step 0 of the generation.*last hidden state is no direction"
        ):
            model.generate("The dog", policy="hidden:where=everywhere", max_tokens=3, seed=1)


def test_masked_logits_are_no_error(model: sl.Model) -> None:
    with model.session(64) as s:
        z = s.feed([5]).logits.copy()
    z[:100] = -np.inf
    (d,) = model.distributions(z[None])
    assert d[5].p == 0
    assert d.argmax >= 100
    with pytest.raises(sl.SoftLlamaError, match="all -inf"):
        model.distributions(np.full_like(z, -np.inf)[None])


def test_the_command_line_stops_with_the_sentence(
    poisoned: Poisoned, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sl.Model.rows

    def spoilt(*a: Any) -> Any:
        poisoned.spoil("blk.0.ffn_down.weight")
        return rows(*a)

    monkeypatch.setattr(sl.Model, "rows", spoilt)
    code, _, err = cli("run", "-q", "--raw", "The dog", "-m", poisoned.path, "--policy", "full", "--seed", 3)
    assert code == 1
    assert "after step 0 of the generation (seed 3" in err
    assert "blk.0" in err
