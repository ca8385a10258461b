"""A whole run on a tiny model: the loss falls, a run that was stopped goes on as if it had not been, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import softllama as sl
from softllama.adapt import network, pool, run, texts, trainer, training
from softllama.adapt.settings import Settings
from softllama.errors import SoftLlamaError, UsageError
from softllama.llama import header
from softllama.llama.adapter_facts import AdapterFacts
from tests.conftest import Cli

SETTINGS = Settings(
    rank=4, steps=30, minutes=None, learning_rate=0.01, pure_weight=1.0, tokens=300, priors=4, texts=8, text_length=32
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Few cases, in float32: a product in bfloat16 is no faster on every processor."""
    words = {"things": "dog cat ball bone woof meow a b", "others": "the says sees and The"}
    places = {"things": ("a {} says", "the {} and"), "others": ("The {} dog", "dog {} cat")}
    monkeypatch.setattr(pool.frames, "WORDS", words)
    monkeypatch.setattr(pool.frames, "FRAMES", places)
    monkeypatch.setattr(pool.frames, "TWO", (("the {} sees the {} and", "things", "things"),))
    monkeypatch.setattr(texts.openings, "OPENINGS", ("the dog", "a cat"))
    monkeypatch.setattr(texts, "PLACES", 3)
    monkeypatch.setattr(run, "MEASURES", 2)


def test_training_lowers_the_loss(model: sl.Model) -> None:
    net = network.load(Path(model.path), network.Shape(rank=4), half=False, n_threads=1)
    t = trainer.Trainer(net, texts.make_pool(model, net, SETTINGS, None, lambda *_: None), replace(SETTINGS, steps=80))
    some = [g for _ in range(10) for g in t.batch()]
    before = training.step(net, some, 1.0, 1.0)
    while t.done < 1:
        t.step()
    after = training.step(net, some, 1.0, 1.0)
    assert after.mixed < 0.75 * before.mixed
    assert after.states < 0.9 * before.states
    assert before.pure == pytest.approx(0, abs=1e-5)


@pytest.fixture(scope="module")
def model(write: Callable[..., Path]) -> sl.Model:
    return sl.load(write("llama", n_layer=3), n_threads=1)


def adapted(model: sl.Model, out: Path, settings: Settings = SETTINGS, **options: Any) -> tuple[run.Result, list[str]]:
    lines: list[str] = []
    return run.adapt(model, out, settings, note=lines.append, **options), lines


def tensors(path: Path) -> dict[str, bytes]:
    return {name: t.rows().tobytes() for name, t in header.read(str(path)).tensors.items()}


def test_a_run_makes_an_adapter_that_llama_cpp_takes(model: sl.Model, tmp_path: Path) -> None:
    out = tmp_path / "mix.lora.gguf"
    ticks: list[tuple[str, int, int]] = []
    result, lines = adapted(model, out, replace(SETTINGS, steps=12), tick=lambda *t: ticks.append(t))
    assert result.before.as_dict().keys() == result.after.as_dict().keys() == set(run.MEASURED)
    assert result.before.pure == pytest.approx(0, abs=1e-5)
    assert lines[0].startswith("about ")
    assert "of memory are needed" in lines[0]
    assert lines[-1].startswith("step 12, held-out: KL of mixtures 0.")
    assert [what for what, *_ in ticks if not what.startswith("training")][:3] == ["loading into PyTorch"] * 2 + [
        "texts"
    ]
    assert ticks[-1][1:] == (1000, 1000)
    assert not run.checkpoint_of(out).exists()
    facts = AdapterFacts.read(header.read(str(out)))
    assert facts is not None
    assert (facts.steps, facts.base_sha256, facts.settings["rank"]) == (12, model.sha256, 4)
    assert facts.result["after"] == result.after.as_dict()
    with sl.load(model.path, lora=[(str(out), 1.0)]) as m:
        assert m.generate("the dog", max_tokens=3).text


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(model: sl.Model, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.gguf", tmp_path / "parts.gguf"
    adapted(model, whole)
    count = 0

    def stop(what: str, done: int, total: int) -> None:
        nonlocal count
        count += what.startswith("training")
        if count == 11:
            raise KeyboardInterrupt

    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run.adapt(model, parts, SETTINGS, tick=stop, note=lines.append)
    assert lines[-1] == "stopped after 11 steps; the same command with --resume goes on"
    with pytest.raises(UsageError, match=r"an earlier run for parts\.gguf was not finished") as e:
        adapted(model, parts)
    assert "--resume" in e.value.hint
    _, lines = adapted(model, parts, replace(SETTINGS, steps=99), resume=True)  # its own settings go on
    assert "going on after 11 steps" in lines
    assert tensors(parts) == tensors(whole)


def test_an_interrupt_inside_a_step_takes_nothing_along(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network.load(Path(model.path), network.Shape(rank=4), half=False, n_threads=1)
    t = trainer.Trainer(net, texts.make_pool(model, net, SETTINGS, None, lambda *_: None), SETTINGS)
    t.step()
    before = t.state()
    with monkeypatch.context() as m:
        m.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            t.step()
    after = t.state()
    assert after["rng"] == before["rng"]
    assert after["progress"]["step"] == 1
    torch.testing.assert_close(after["adapter"], before["adapter"], atol=0, rtol=0)


def test_the_seed_decides(model: sl.Model, tmp_path: Path) -> None:
    short = replace(SETTINGS, steps=4)
    made = []
    for i, seed in enumerate((0, 0, 1)):
        adapted(model, tmp_path / f"{i}.gguf", replace(short, seed=seed))
        made.append(tensors(tmp_path / f"{i}.gguf"))
    assert made[0] == made[1] != made[2]


def test_a_text_of_ones_own(model: sl.Model, tmp_path: Path) -> None:
    text = "the dog sees a cat and the cat says meow " * 60
    result, _ = adapted(model, tmp_path / "a.gguf", replace(SETTINGS, steps=2), text=text)
    assert result.steps == 2
    with pytest.raises(UsageError, match=r"the text has \d+ tokens") as e:
        adapted(model, tmp_path / "b.gguf", text="the dog")
    assert e.value.hint == "use one of 64 or more"


def test_held_out_words_are_in_no_mixture_of_training(model: sl.Model) -> None:
    net = network.load(Path(model.path), network.Shape(rank=4), half=False, n_threads=1)
    made = texts.make_pool(model, net, SETTINGS, None, lambda *_: None)
    banned = set(pool.held_out_words(model.tokenize))
    assert banned
    for t in made.train:
        places = (t.alternatives != t.alternatives[:1]).any(axis=0)
        assert not banned & set(t.alternatives[:, places].ravel().tolist())
    assert pool.Pool.of(made.state()).train[0].prefix == made.train[0].prefix


@pytest.mark.parametrize("contents", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_checkpoint_that_is_none(contents: bytes, model: sl.Model, tmp_path: Path) -> None:
    out = tmp_path / "a.gguf"
    run.checkpoint_of(out).write_bytes(contents)
    with pytest.raises(SoftLlamaError, match=r"a\.gguf\.checkpoint is no checkpoint of this version"):
        adapted(model, out, resume=True)


def test_a_checkpoint_of_another_model(model: sl.Model, write: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "a.gguf"
    torch.save({"version": run.VERSION, "base": "0" * 64}, run.checkpoint_of(out))
    with pytest.raises(UsageError, match="is of another model"):
        adapted(model, out, resume=True)
    with pytest.raises(UsageError, match=r"there is no .* to go on from"):
        adapted(model, tmp_path / "b.gguf", resume=True)


def test_a_checkpoint_holds_no_code(model: sl.Model, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"version": run.VERSION, "base": Evil()}, run.checkpoint_of(tmp_path / "a.gguf"))
    with pytest.raises(SoftLlamaError, match="no checkpoint"):
        adapted(model, tmp_path / "a.gguf", resume=True)
    assert not (tmp_path / "ran").exists()


def test_the_command(model: sl.Model, cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "mix.gguf"
    options = ("--steps", "2", "--texts", "8", "--rank", "2", "--device", "cpu")
    code, stdout, stderr = cli("adapt", "-m", model.path, "-o", str(out), *options, "--json")
    assert code == 0, stderr
    answer = json.loads(stdout)
    assert answer["steps"] == 2
    assert answer["before"].keys() == answer["after"].keys() == set(run.MEASURED)
    assert "of memory are needed" in stderr
    code, stdout, stderr = cli("adapt", "-m", model.path, "-o", str(out), *options)  # replaces an adapter
    assert code == 0, stderr
    assert "KL(average || mixture)" in stdout
