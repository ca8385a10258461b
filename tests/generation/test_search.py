"""Beams against greedy, against brute force and against their own tokens read again; samples, votes and what they cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.generation import beams, loop, search
from softllama.generation.cost import Cost
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.run import record
from softllama.generation.search import (
    BeamResult,
    BestResult,
    Samples,
    VoteResult,
    beam,
    best_of,
    self_consistency,
    vote,
)
from softllama.prompts.thinking import Tags
from softllama.trace import load as load_trace
from softllama.trace.step import FORCED, HARD, StopReason
from tests.conftest import shared_model
from tests.support import tiny
from tests.support.traces import step, trace

ARCHS = ["llama", "gemma3", "qwen3vl", "mamba", "lfm2", "qwen35"]  # the last three cannot go back
PROMPT = "The dog says"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], sl.Model]]:
    """few(seed) -> a model of five ids, of which 3 ends the generation."""
    folder, known = tmp_path_factory.mktemp("few"), {}

    def make(seed: int) -> sl.Model:
        if seed not in known:
            path = tiny.write_model(folder / f"{seed}.gguf", tokenizer="none", tied=False, seed=seed, n_vocab=5)
            known[seed] = sl.load(path, n_threads=1)
            known[seed].tokenizer.is_eog = lambda token: token == 3  # type: ignore[method-assign]
        return known[seed]

    return make


@pytest.fixture(scope="module")
def stories() -> Iterator[sl.Model]:
    with sl.load(shared_model("stories260K-f32.gguf"), n_threads=1) as m:
        yield m


def tokens(t: sl.Trace) -> tuple[int, ...]:
    return tuple(s.token for s in t.steps)


def log_softmax(d: sl.Distribution) -> np.ndarray[Any, np.dtype[np.float64]]:
    z = d.logits.astype(np.float64)
    return np.asarray(z - z.max() - np.log(np.exp(z - z.max()).sum()))


def read_again(model: sl.Model, t: sl.Trace) -> float:
    """Σ ln p of a trace's chosen tokens and, if one ended it, of the likeliest end-of-generation token."""
    total = 0.0
    with model.session() as s:
        d = s.feed(t.prompt)
        for x in t.steps:
            if x.mode != FORCED:
                total += log_softmax(d)[x.token]
            d = s.feed(x.token)
        if t.stop_reason == StopReason.END_OF_GENERATION:
            total += max(log_softmax(d)[i] for i in range(model.n_vocab) if model.is_eog(i))
    return total


# ---- beam search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_one_beam_is_greedy(load: Callable[..., sl.Model], arch: str) -> None:
    m = load(arch, tied=False)
    for prompt in (PROMPT, "a", "The cat sees the ball and"):
        greedy = m.generate(prompt, policy="greedy", max_tokens=24)
        found = beam(m, prompt, beams=1, max_tokens=24)
        assert tokens(found.trace) == tokens(greedy)
        assert found.trace.stop_reason == greedy.stop_reason
        assert found.best.text == greedy.text
        assert len(found.hypotheses) == 1
        assert found.cost.evaluated == greedy.evaluated
        if greedy.stop_reason != StopReason.END_OF_GENERATION:
            assert found.best.logp == pytest.approx(sum(s.logp for s in greedy.steps), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_one_beam_is_greedy_where_generations_end(few: Callable[[int], sl.Model], seed: int) -> None:
    m = few(seed)
    for first in (0, 1, 2, 4):
        greedy = m.generate([first], policy="greedy", max_tokens=12)
        found = beam(m, [first], beams=1, max_tokens=12)
        assert tokens(found.trace) == tokens(greedy)
        assert found.trace.stop_reason == greedy.stop_reason
        assert found.best.finished == (greedy.stop_reason == StopReason.END_OF_GENERATION)


@pytest.mark.real
def test_one_beam_is_greedy_for_200_tokens(stories: sl.Model) -> None:
    greedy = stories.generate("Once upon a time", policy="greedy", max_tokens=200)
    found = beam(stories, "Once upon a time", beams=1, max_tokens=200)
    assert tokens(found.trace) == tokens(greedy)
    assert len(found.best.tokens) == 200


@pytest.mark.parametrize("budget", [0, 1, 3, None])
def test_one_beam_is_greedy_with_thinking_and_stop_strings(load: Callable[..., sl.Model], budget: int | None) -> None:
    m = load("llama", tied=False)
    plain = m.generate(PROMPT, policy="greedy", max_tokens=24).text
    options: dict[str, Any] = {
        "think": "on", "think_tags": "(think),(done)", "think_budget": budget, "max_tokens": 30, "stop": plain[-3:]
    }  # fmt: skip
    greedy = m.generate(PROMPT, policy="greedy", **options)
    found = beam(m, PROMPT, beams=1, **options).trace
    assert tokens(found) == tokens(greedy)
    assert [s.mode for s in found.steps] == [s.mode for s in greedy.steps]
    assert (found.thinking, found.answer, found.stop_reason) == (greedy.thinking, greedy.answer, greedy.stop_reason)


@pytest.mark.parametrize("penalty", [1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("exact")
def test_wide_enough_it_is_brute_force(few: Callable[[int], sl.Model], seed: int, penalty: float) -> None:
    """Five ids, three positions: 5**3 beams lose nothing, so the result is the true order of all texts."""
    m, n = few(seed), 3
    found = beam(m, [1, 0], beams=5**n, length_penalty=penalty, max_tokens=n)
    every: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(5), repeat=n):
        end = path.index(3) if 3 in path else n
        text, chosen = path[:end], path[: end + 1]
        if text in every and 3 not in chosen:
            continue
        total = 0.0
        with m.session(16) as s:
            d = s.feed([1, 0])
            for t in chosen:
                total += log_softmax(d)[t]
                d = s.feed(t)
        every[text] = total / len(chosen) ** penalty
    order = sorted(every, key=lambda t: -every[t])
    got = [h.tokens for h in found.hypotheses]
    assert got[0] == order[0]
    assert [h.score for h in found.hypotheses] == pytest.approx([every[t] for t in got], abs=1e-4)
    assert sorted(got) == sorted(order)  # 1 + 4 + 16 that end, and 64 that max_tokens cuts off
    assert len(got) == 85


def plain_beam_search(m: sl.Model, prompt: list[int], beams: int, penalty: float, n: int) -> list[tuple[int, ...]]:
    """The rule of `beam` once more, without memory: every text is read from its start at every step."""

    def after(ids: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        with m.session(32) as s:
            return log_softmax(s.feed([*prompt, *ids]))

    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []  # score and ids
    for length in range(1, n + 1):
        children = [(total + x, (*ids, t)) for total, ids in live for t, x in enumerate(after(ids))]
        children = sorted(children, key=lambda c: -c[0])[: 2 * beams]
        ended += [(x / length**penalty, ids[:-1]) for x, ids in children[:beams] if ids[-1] == 3]
        live = [c for c in children if c[1][-1] != 3][:beams]
        best = sorted((x for x, _ in ended), reverse=True)[:beams]
        if len(best) == beams and live[0][0] / length**penalty <= best[-1]:
            live = []
            break
    ended += [(x / n**penalty, ids) for x, ids in live]
    return [ids for _, ids in sorted(ended, key=lambda e: -e[0])[:beams]]


@pytest.mark.parametrize("penalty", [1.0, 0.0, 0.6])
@pytest.mark.parametrize("beams", [2, 3, 4])
@pytest.mark.usefixtures("exact")
def test_it_is_the_rule_written_plainly(few: Callable[[int], sl.Model], beams: int, penalty: float) -> None:
    for seed in range(12):
        found = beam(few(seed), [1, 4], beams=beams, length_penalty=penalty, max_tokens=8)
        assert [h.tokens for h in found.hypotheses] == plain_beam_search(few(seed), [1, 4], beams, penalty, 8), seed


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.usefixtures("exact")
def test_scores_are_those_of_the_tokens_read_again(load: Callable[..., sl.Model], arch: str) -> None:
    """So the memory of every beam is that of its own tokens, in models that cannot go back as well."""
    m = load(arch, tied=False)
    found = beam(m, PROMPT, beams=4, max_tokens=16, length_penalty=0.7)
    assert len({h.tokens for h in found.hypotheses}) == 4
    for h in found.hypotheses:
        assert h.logp == pytest.approx(read_again(m, h.trace), abs=1e-4)
        assert h.score == pytest.approx(h.logp / h.length**0.7)
        assert h.text == m.detokenize(h.tokens)
    scores = [h.score for h in found.hypotheses]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.real
@pytest.mark.usefixtures("exact")
def test_scores_on_a_trained_model(stories: sl.Model) -> None:
    for prompt in ("Once upon a time", "Lily had a", "The dog saw"):
        for h in beam(stories, prompt, beams=4, max_tokens=40).hypotheses:
            assert h.logp == pytest.approx(read_again(stories, h.trace), abs=1e-4)


@pytest.mark.real
def test_scores_with_a_16_bit_memory(stories: sl.Model) -> None:
    for h in beam(stories, "Once upon a time", beams=4, max_tokens=40).hypotheses:
        assert h.score == pytest.approx(read_again(stories, h.trace) / h.length, abs=1e-3)


@pytest.mark.usefixtures("exact")
def test_scores_of_texts_that_end(few: Callable[[int], sl.Model]) -> None:
    ended = 0
    for seed in range(8):
        m = few(seed)
        for h in beam(m, [1], beams=3, max_tokens=10).hypotheses:
            ended += h.finished
            assert h.finished == (h.trace.stop_reason == StopReason.END_OF_GENERATION)
            assert h.length == len(h.tokens) + h.finished
            assert h.logp == pytest.approx(read_again(m, h.trace), abs=1e-4)
    assert ended > 4


@pytest.mark.usefixtures("exact")
def test_forced_tags_are_no_choice(load: Callable[..., sl.Model]) -> None:
    m = load("llama", tied=False)
    options: dict[str, Any] = {"think": "on", "think_tags": "(think),(done)", "think_budget": 2, "max_tokens": 16}
    found = beam(m, PROMPT, beams=3, **options)
    for h in found.hypotheses:
        forced = [s for s in h.trace.steps if s.forced]
        assert m.detokenize([s.token for s in forced]) == "(done)"
        assert len(forced) > 1
        assert h.length == len(h.tokens) - len(forced)
        assert h.trace.n_thinking == 2
        assert h.logp == pytest.approx(read_again(m, h.trace), abs=1e-4)


def test_ending_a_thinking_block_counts_once(few: Callable[[int], sl.Model]) -> None:
    """The end of generation while thinking and the closing tag itself make one hypothesis, not two."""
    m = few(3)
    tags = Tags("", "#2", (), (2,))
    options = GenerationOptions(policy="greedy", max_tokens=3)
    g = prepare(m, [1], options)
    g.policy, g.tags, g.thinking = sl.policy.as_policy(beams._follow), tags, True
    ended = beams._search(m, g, 8, 1.0, None, Cost())
    texts = [tokens(record(m, b.g)) for b in ended]
    assert len(set(texts)) == len(texts)
    assert any(2 in t for t in texts)


def test_stop_strings_finish_a_hypothesis(load: Callable[..., sl.Model]) -> None:
    m = load("llama", tied=False)
    options: dict[str, Any] = {"beams": 3, "max_tokens": 12, "length_penalty": 0}  # so that the shorter is the likelier
    stop = beam(m, PROMPT, **options).best.text[4:6]
    found = beam(m, PROMPT, stop=stop, **options)
    stopped = [h for h in found.hypotheses if h.finished]
    assert stopped
    for h in stopped:
        assert (h.trace.stop_reason, h.trace.stop_string) == (StopReason.STOP_STRING, stop)
        assert stop not in h.text


@pytest.mark.real
def test_the_best_beam_is_at_least_as_likely_as_greedy(stories: sl.Model, capsys: pytest.CaptureFixture[str]) -> None:
    """On 95 of 100 prompts; a beam may drop greedy's path when others look better. Prints where it did."""
    names = ["Lily", "Tom", "Ben", "Mia", "Sam", "The dog", "A cat", "Mom", "The old man", "One day, a bird"]
    verbs = [
        "went to",
        "had a",
        "saw the",
        "wanted to",
        "said",
        "was very",
        "played with",
        "found",
        "liked",
        "could not",
    ]
    worse = []
    for prompt in (f"{n} {v}" for n in names for v in verbs):
        greedy = beam(stories, prompt, beams=1, max_tokens=30).best
        best = beam(stories, prompt, beams=4, max_tokens=30).best
        if best.score < greedy.score - 1e-5:
            worse.append((prompt, greedy.score, best.score))
    with capsys.disabled():
        print(f"\nthe best of 4 beams is below greedy on {len(worse)} of 100 prompts", *worse, sep="\n  ")
    assert len(worse) <= 5


def test_what_beams_cost(model: sl.Model) -> None:
    """The prompt once, then a position for each live beam and step; the last tokens are never fed."""
    for n in (1, 2, 4):
        found = beam(model, PROMPT, beams=n, max_tokens=6)
        assert not any(h.finished for h in found.hypotheses)
        assert found.cost.tokens == 6 * n
        assert found.cost.evaluated == len(found.trace.prompt) + 5 * n
        assert found.cost.calls == 1 + 5
        assert found.cost.seconds > 0
        assert found.trace.evaluated == len(found.trace.prompt) + 5  # one path alone


@pytest.mark.real
def test_beams_are_the_same_each_time(stories: sl.Model) -> None:
    a, b = (beam(stories, "Once upon a time", beams=5, max_tokens=40) for _ in range(2))
    assert [h.tokens for h in a.hypotheses] == [h.tokens for h in b.hypotheses]
    assert [h.logp for h in a.hypotheses] == [h.logp for h in b.hypotheses]


def test_beams_end_where_the_context_does(model: sl.Model) -> None:
    n = len(beam(model, PROMPT, max_tokens=0).trace.prompt)
    found = beam(model, PROMPT, beams=3, max_tokens=50, n_ctx=n + 4)
    assert {h.trace.stop_reason for h in found.hypotheses} == {"context full"}
    assert {len(h.tokens) for h in found.hypotheses} == {4}
    assert not found.best.finished
    with pytest.raises(sl.ContextError, match="room for 2"):
        beam(model, PROMPT, n_ctx=2)


def test_beams_of_nothing(model: sl.Model) -> None:
    found = beam(model, PROMPT, max_tokens=0)
    assert (found.best.tokens, found.best.text, found.best.score, found.cost.evaluated) == ((), "", 0.0, 0)


@pytest.mark.usefixtures("exact")
def test_beams_after_a_mixture(model: sl.Model) -> None:
    found = beam(model, "The{} says", mix="dog:0.5,cat:0.5", beams=2, max_tokens=4)
    assert found.best.logp == pytest.approx(read_again(model, found.trace), abs=1e-4)


def test_an_interrupt_keeps_the_beams(model: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()
    real = sl.Model.rows

    def rows(*args: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(sl.Model, "rows", rows)
    with pytest.raises(sl.Interrupted) as e:
        beam(model, PROMPT, beams=2, max_tokens=10)
    found = e.value.result
    assert isinstance(found, BeamResult)
    assert e.value.trace is found.trace
    assert [h.trace.stop_reason for h in found.hypotheses] == ["interrupted"] * 2
    assert len(found.best.tokens) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beams": 0}, "beams"), ({"beams": 1.5}, "beams"), ({"beams": 1000}, "sequences"),
        ({"length_penalty": math.nan}, "length_penalty"), ({"length_penalty": 99}, "length_penalty"),
        ({"policy": "full"}, "no policy"), ({"seed": 1}, "no seed"), ({"where": "thinking"}, "no where"),
    ],
)  # fmt: skip
def test_what_beams_refuse(model: sl.Model, options: dict[str, Any], words: str) -> None:
    with pytest.raises(sl.UsageError, match=words):
        beam(model, PROMPT, **options)


def test_beams_as_data(model: sl.Model) -> None:
    d = beam(model, PROMPT, beams=2, max_tokens=3).to_dict()
    assert [len(h["tokens"]) for h in d["hypotheses"]] == [3, 3]
    assert set(d["cost"]) == {"tokens", "evaluated", "calls", "seconds"}


# ---- samples -----------------------------------------------------------------------------------------------------------


def test_seeds_do_not_depend_on_their_number() -> None:
    assert search.seeds(7, 3) == search.seeds(7, 16)[:3]
    assert len({*search.seeds(7, 1000), *search.seeds(8, 1000)}) == 2000
    assert all(0 <= s < 2**53 for s in search.seeds(0, 100))
    state = np.random.SeedSequence(7).spawn(2)[1].generate_state(1, np.uint64)[0]
    assert search.seeds(7, 2)[1] == int(state) >> 11
    with pytest.raises(sl.UsageError):
        search.seeds(-1, 2)


@pytest.mark.real
@pytest.mark.usefixtures("exact")
def test_the_log_probability_of_a_step(stories: sl.Model) -> None:
    t = stories.generate("Once upon a time", policy="sample:temperature=1.5", max_tokens=30, seed=4)
    assert sum(s.logp for s in t.steps) == pytest.approx(read_again(stories, t), abs=1e-4)
    for s in t.steps:
        if s.token in dict(s.top):
            assert s.logp == pytest.approx(math.log(dict(s.top)[s.token]), abs=1e-6)


def test_the_log_probability_of_what_cannot_be() -> None:
    d = sl.Distribution([0.0, -np.inf, -200.0])
    assert d.logp(1) == -math.inf
    assert d.logp(2) == pytest.approx(-200)  # p is 0 in float32
    with pytest.raises(sl.SoftLlamaError):
        d.logp(3)


def test_an_impossible_readout_is_saved_and_loaded(tmp_path: Any) -> None:
    t = trace([step(0, {1: 1.0}, FORCED, logp=-math.inf), step(1, {5: 1.0}, HARD, logp=-1.5)])
    for suffix in ("jsonl", "npz"):
        t.save(tmp_path / f"t.{suffix}")
        assert [s.logp for s in load_trace(tmp_path / f"t.{suffix}").steps] == [-math.inf, -1.5]


@pytest.mark.parametrize("arch", ["llama", "mamba", "qwen35"])
@pytest.mark.parametrize("policy", ["sample:temperature=2", "gumbel", "hidden"])
def test_a_shared_prompt_changes_nothing(load: Callable[..., sl.Model], arch: str, policy: str) -> None:
    """To the bit, one after the other: copied memory is the memory that was computed."""
    m = load(arch, tied=False)
    prompts = [PROMPT, PROMPT, PROMPT, "a", "The cat", "The cat", PROMPT]
    alone = [m.generate(p, policy=policy, max_tokens=8, seed=i) for i, p in enumerate(prompts)]
    gs = [prepare(m, p, GenerationOptions(policy=policy, max_tokens=8, seed=i)) for i, p in enumerate(prompts)]
    cost = Cost()
    for _ in loop.run(m, gs, cost=cost):
        pass
    for g, a in zip(gs, alone, strict=True):
        assert [s.token for s in g.steps] == list(tokens(a))
        assert [(s.entropy, s.logp) for s in g.steps] == [(s.entropy, s.logp) for s in a.steps]
    saved = [a.evaluated - g.evaluated for g, a in zip(gs, alone, strict=True)]
    assert saved == [0, *[len(alone[0].prompt)] * 2, 0, 0, len(alone[5].prompt), 0]  # the last is not in a row
    assert cost.evaluated == sum(g.evaluated for g in gs)
    assert cost.tokens == sum(len(g.steps) for g in gs)


@pytest.mark.parametrize("arch", ["llama", "mamba"])
def test_a_shared_prompt_side_by_side(load: Callable[..., sl.Model], arch: str) -> None:
    m = load(arch, tied=False)
    prompts = [PROMPT, PROMPT, "a", "a", PROMPT, "The cat", "The cat", "The cat", "The cat"]
    lengths = [3, 9, 1, 7, 0, 8, 2, 6, 4]
    options = [GenerationOptions(policy="sample:temperature=2", max_tokens=k, seed=i) for i, k in enumerate(lengths)]
    gs = [prepare(m, p, o) for p, o in zip(prompts, options, strict=True)]
    for _ in loop.run(m, gs, at_once=3):
        pass
    for g, p, o in zip(gs, prompts, options, strict=True):
        alone = m.generate(p, policy=o.policy, max_tokens=o.max_tokens, seed=o.seed)
        assert [s.token for s in g.steps] == list(tokens(alone))


def test_a_shared_prompt_that_holds_a_mixture(model: sl.Model) -> None:
    options = {"mix": "dog:0.5,cat:0.5", "max_tokens": 5, "policy": "sample", "seed": 3}
    drawn = search.sample(model, "The{} says", 3, at_once=1, **options)
    assert drawn.cost.evaluated == len(drawn.traces[0].prompt) + 3 * 4
    alone = model.generate("The{} says", **{**options, "seed": drawn.traces[2].seed})
    assert tokens(drawn.traces[2]) == tokens(alone)


def test_what_samples_cost(model: sl.Model) -> None:
    found = self_consistency(model, PROMPT, samples=6, at_once=3, max_tokens=5, seed=1, policy="sample:temperature=0.5")
    if any(t.stop_reason != "max tokens" for t in found.samples.traces):
        pytest.fail("choose a seed with which nothing ends early")
    assert found.cost.tokens == 6 * 5
    assert found.cost.evaluated == len(found.trace.prompt) + 6 * 4
    assert found.cost.calls == 1 + 2 * 4
    assert found.cost.seconds > 0
    assert sum(t.evaluated for t in found.samples.traces) == found.cost.evaluated


@pytest.mark.real
def test_the_same_seed_gives_the_same_samples_in_one_batch_or_many(stories: sl.Model) -> None:
    """Rounding differs between batches, so a draw could fall differently; with these seeds none does."""
    options: dict[str, Any] = {"samples": 8, "max_tokens": 30, "extract": "text"}
    for seed in (1, 2):
        first = self_consistency(stories, "Once upon a time", seed=seed, at_once=8, **options)
        again = self_consistency(stories, "Once upon a time", seed=seed, at_once=8, **options)
        single = self_consistency(stories, "Once upon a time", seed=seed, at_once=1, **options)
        assert first.answers == again.answers == single.answers
        assert first.samples.likelihoods == again.samples.likelihoods
        assert first.samples.likelihoods == pytest.approx(single.samples.likelihoods, abs=1e-3)
        assert len(set(first.answers)) > 1
    fewer = self_consistency(stories, "Once upon a time", seed=2, at_once=1, **{**options, "samples": 3})
    assert fewer.answers == single.answers[:3]


def test_a_seed_that_is_not_given_is_told(model: sl.Model) -> None:
    a = best_of(model, PROMPT, n=3, max_tokens=6)
    b = best_of(model, PROMPT, n=3, max_tokens=6, seed=a.samples.seed)
    assert [tokens(t) for t in a.samples.traces] == [tokens(t) for t in b.samples.traces]


@pytest.mark.real
def test_every_policy_can_be_sampled(stories: sl.Model) -> None:
    found = self_consistency(
        stories, "Once upon a time", samples=3, policy="gumbel", max_tokens=8, seed=0, extract="text"
    )
    assert len(set(found.answers)) > 1
    assert all(t.n_soft for t in found.samples.traces)


def drawn(*texts: str, logps: list[float] | None = None) -> Samples:
    """Samples that say these texts, each in one step."""
    x = logps or [-1.0] * len(texts)
    made = [trace([step(0, {5: 1.0}, HARD, text=t, logp=p)]) for t, p in zip(texts, x, strict=True)]
    return Samples(tuple(made), tuple(map(search.likelihood, made)), 0, Cost())


def test_the_majority_wins() -> None:
    found = vote(drawn("so 7", "it is 1,000", "7.0", "no idea", "$7"), "number")
    assert found.answer == "7"
    assert found.votes == {"7": 3, "1000": 1}
    assert found.answers == ("7", "1000", "7", None, "7")


def test_a_tie_goes_to_the_likelier_votes() -> None:
    found = vote(drawn("1", "2", "2", "1", "3", logps=[-1.0, -2.0, -2.0, -2.5, -0.1]), "number")
    assert found.answer == "1"  # -3.5 against -4
    assert list(found.votes) == ["1", "2", "3"]
    assert found.trace.text == "1"
    assert found.trace.steps[0].logp == -1.0  # the likeliest that gave the answer
    assert vote(drawn("1", "2", "2", "1", logps=[-3.0, -2.0, -2.0, -2.5]), "number").answer == "2"


def test_a_tie_of_equally_likely_votes_goes_to_the_first() -> None:
    assert vote(drawn("2", "1", "1", "2"), "number").answer == "2"


def test_no_answer_at_all() -> None:
    found = vote(drawn("no", "idea", logps=[-2.0, -1.0]), "number")
    assert (found.answer, found.votes, found.answers) == (None, {}, (None, None))
    assert found.trace.text == "idea"


def test_only_the_answer_votes_and_counts() -> None:
    thinking = step(0, {1: 1.0}, HARD, thinking=True, text="5", logp=-9.0)
    t = trace(
        [
            thinking,
            step(1, {3: 1.0}, FORCED, thinking=True, text="", logp=-9.0),
            step(2, {5: 1.0}, HARD, text="6", logp=-1),
        ]
    )
    assert search.likelihood(t) == -1
    assert vote(Samples((t,), (-1.0,), 0, Cost()), "number").answer == "6"
    unfinished = trace([thinking])
    assert search.likelihood(unfinished) == -math.inf
    assert vote(Samples((unfinished,), (-math.inf,), 0, Cost()), "number").answer is None


@pytest.mark.real
@pytest.mark.usefixtures("exact")
def test_the_best_of_n_is_the_likeliest(stories: sl.Model) -> None:
    found = best_of(stories, "Once upon a time", n=6, max_tokens=20, seed=5, policy="sample:temperature=1.2")
    means = [read_again(stories, t) / len(t.steps) for t in found.samples.traces]
    assert found.index == int(np.argmax(means))
    assert found.score == pytest.approx(max(means), abs=1e-4)
    assert found.trace is found.samples.traces[found.index]
    assert len(set(means)) > 1


def test_an_interrupt_keeps_the_samples_that_ended(model: sl.Model) -> None:
    def each(i: int, s: sl.Step) -> None:
        if (i, s.index) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(sl.Interrupted) as e:
        self_consistency(model, PROMPT, samples=5, at_once=1, max_tokens=6, each=each, policy="sample", seed=1)
    found = e.value.result
    assert isinstance(found, VoteResult)
    assert len(found.samples.traces) == len(found.answers) == 2
    assert found.cost.tokens == 6 + 6 + 4

    def at_once(i: int, s: sl.Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as b:
        best_of(model, PROMPT, n=5, at_once=2, max_tokens=6, each=at_once, policy="sample", seed=1)
    assert isinstance(b.value, sl.Interrupted)
    best = b.value.result
    assert isinstance(best, BestResult)
    assert [t.stop_reason for t in best.samples.traces] == ["interrupted"] * len(best.samples.traces)
    assert len(best.samples.traces) >= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "number of samples"), ({"samples": 2.0}, "number of samples"), ({"at_once": 0}, "at_once"),
        ({"at_once": 300, "samples": 300}, "sequences"), ({"extract": "nmber"}, "nmber"), ({"extract": "("}, "wrong"),
        ({"seed": -1}, "seed"), ({"policy": "samle"}, "samle"),
    ],
)  # fmt: skip
def test_what_samples_refuse(model: sl.Model, options: dict[str, Any], words: str) -> None:
    with pytest.raises(sl.UsageError, match=words):
        self_consistency(model, PROMPT, **options)


def test_samples_as_data(model: sl.Model) -> None:
    d = self_consistency(model, PROMPT, samples=2, max_tokens=3, seed=4).to_dict()
    assert d["seed"] == 4
    assert [s["seed"] for s in d["samples"]] == search.seeds(4, 2)
    assert best_of(model, PROMPT, n=2, max_tokens=0, seed=4).to_dict()["samples"][0]["likelihood"] is None
