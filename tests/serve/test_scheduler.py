"""The scheduler without HTTP: what a generation gives alone it gives among others, and nothing of it is lost."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation import prepare
from softllama.generation.options import GenerationOptions
from softllama.serve.batching import ContinuousBatch
from softllama.serve.errors import ApiError
from softllama.serve.jobs import Begun, Ended, Event, Failed, Job, Stepped
from softllama.serve.scheduler import Scheduler
from softllama.serve.settings import Settings

TEXTS = [
    "What does the dog say?",
    "What does the cat eat?",
    "Where does the fox live?",
    "Who is bigger, the cow or the bee?",
]


class Heard:
    """A job, and all that was told of it."""

    def __init__(self, model: sl.Model, text: str, **options: object) -> None:
        options = {"chat": True, "max_tokens": 24, "seed": 3, "policy": "soft_thinking", **options}
        self.options, self.text = options, text
        g = prepare.prepare(model, text, GenerationOptions.of(options))
        self.events: list[Event] = []
        self.over = threading.Event()
        self.job = Job(g, self.tell)

    def tell(self, events: Sequence[Event]) -> None:
        self.events += events
        if self.job.done:
            self.over.set()

    def wait(self) -> Heard:
        assert self.over.wait(60)
        return self

    @property
    def tokens(self) -> list[int]:
        return [e.step.token for e in self.events if isinstance(e, Stepped)]


def alone(model: sl.Model, h: Heard) -> list[int]:
    return [s.token for s in model.generate(h.text, **h.options).steps]  # type: ignore[arg-type]


@pytest.fixture
def exact_words(exact: None) -> Iterator[sl.Model]:
    """The bundled model with contexts that round little, whatever the shape of a batch."""
    with sl.load(n_threads=1) as model:
        yield model


def started(model: sl.Model, **settings: object) -> Scheduler:
    return Scheduler(model, Settings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["greedy", "sample", "soft_thinking", "gumbel", "full", "hidden", "soft_noise", "swir"]
)
def test_a_request_gives_what_generate_gives(exact_words: sl.Model, text: str) -> None:
    s = started(exact_words, streams=2)
    try:
        h = Heard(exact_words, TEXTS[0], policy=text)
        s.submit([h.job])
        h.wait()
        assert h.tokens == alone(exact_words, h) != []
        assert isinstance(h.events[0], Begun)
        assert isinstance(h.events[-1], Ended)
    finally:
        s.stop()


def test_among_fifteen_others_a_request_gives_the_same(exact_words: sl.Model) -> None:
    s = started(exact_words, streams=16)
    try:
        rng = np.random.default_rng(0)
        policies = ["greedy", "soft_thinking", "gumbel", "sample"]
        heard = [
            Heard(exact_words, TEXTS[i % 4], policy=policies[(i // 4) % 4], seed=i, max_tokens=int(rng.integers(4, 40)))
            for i in range(32)
        ]
        for h in heard:
            s.submit([h.job])
            time.sleep(0.002)  # they join while others run
        assert [h.wait().tokens for h in heard] == [alone(exact_words, h) for h in heard]
        assert s.running == s.waiting == 0
        assert s.finished == 32
    finally:
        s.stop()


def test_with_batches_of_one_shape_the_bits_are_the_same_among_others(words: sl.Model) -> None:
    """llama.cpp's 16-bit memory, where batches of other shapes give other numbers."""

    def logps(others: int) -> list[float]:
        s = started(words, streams=8, fixed_batch=True)
        try:
            heard = [Heard(words, TEXTS[i % 4], seed=i, max_tokens=30) for i in range(1 + others)]
            for h in heard:
                s.submit([h.job])
            return [e.step.logp for e in heard[0].wait().events if isinstance(e, Stepped)]
        finally:
            s.stop()

    assert logps(0) == logps(7) == logps(20)


@pytest.mark.parametrize("arch", ["llama", "mamba", "gemma3"])
@pytest.mark.parametrize("hidden", [False, True])
def test_batches_of_one_shape_on_other_architectures(load: Callable[..., sl.Model], arch: str, hidden: bool) -> None:
    """Some cannot go back to half a prompt, some take rows in the order of their sequences only."""
    model = load(arch)
    if hidden and model.no_hidden_reason:
        pytest.skip(model.no_hidden_reason)

    def logps(others: int) -> list[float]:
        batch = ContinuousBatch(model, 4, 96, hidden=hidden, fixed=True)
        options = {"chat": False, "policy": "hidden:where=everywhere" if hidden else "gumbel", "max_tokens": 12}
        heard = [Heard(model, "a b c d " * (1 + 7 * i % 20), seed=i, **options) for i in range(1 + others)]
        try:
            waiting = list(heard)
            while waiting or batch.live:
                while waiting and batch.has_room:
                    batch.enter(waiting.pop(0).job)
                batch.round()
            assert all(isinstance(h.events[-1], Ended) for h in heard)
            return [e.step.logp for e in heard[0].events if isinstance(e, Stepped)]
        finally:
            batch.close()

    assert logps(0) == logps(3) == logps(9) != []


def test_a_prompt_that_fills_the_context_leaves_no_row_over(words: sl.Model) -> None:
    s = started(words, streams=2, n_ctx=64, fixed_batch=True)
    try:
        text = "The" + " dog" * 62
        for options in ({"policy": "greedy"}, {"policy": "greedy", "max_tokens": 3}):
            full = Heard(words, text, chat=False, **options)
            assert len(full.job.items) == 64
            s.submit([full.job])
            assert isinstance(full.wait().events[-1], Ended)
            other = Heard(words, TEXTS[0], max_tokens=5)
            s.submit([other.job])
            assert len(other.wait().tokens) == 5
    finally:
        s.stop()


def test_a_beginning_that_a_sequence_holds_is_not_evaluated_again(exact_words: sl.Model) -> None:
    s = started(exact_words, streams=2)
    try:
        first = Heard(exact_words, TEXTS[0])
        s.submit([first.job])
        first.wait()
        again = Heard(exact_words, TEXTS[0])
        s.submit([again.job])
        again.wait()
        assert first.job.cached == 0
        assert again.job.cached == len(again.job.items) - 1  # the last position gives the logits
        assert again.tokens == first.tokens
        other = Heard(exact_words, TEXTS[1])
        s.submit([other.job])
        assert other.wait().tokens == alone(exact_words, other)
        assert 0 < other.job.cached < len(other.job.items) - 1
        n = s.counts()
        assert n["reused"] == again.job.cached + other.job.cached
        assert n["prompted"] + n["reused"] == sum(len(h.job.items) for h in (first, again, other))
    finally:
        s.stop()


def test_choices_of_one_prompt_evaluate_it_once(exact_words: sl.Model) -> None:
    s = started(exact_words, streams=4)
    try:
        heard = [Heard(exact_words, TEXTS[0], seed=i) for i in range(4)]
        s.submit([h.job for h in heard])
        assert [h.wait().tokens for h in heard] == [alone(exact_words, h) for h in heard]
        assert s.counts()["prompted"] == len(heard[0].job.items) + 3
    finally:
        s.stop()


def test_a_mixture_in_a_prompt_is_reused_only_by_an_equal_one(exact_words: sl.Model) -> None:
    s = started(exact_words, streams=1)
    try:
        cached = []
        for mix in ("dog:0.5,cat:0.5", "dog:0.5,cat:0.5", "dog:0.6,cat:0.4"):
            h = Heard(exact_words, "The {} says", mix=mix)
            s.submit([h.job])
            assert h.wait().tokens == alone(exact_words, h)
            cached.append(h.job.cached)
        assert cached[0] == 0
        assert cached[1] == len(h.job.items) - 1 > cached[2]
    finally:
        s.stop()


def test_who_goes_away_frees_a_sequence_at_the_next_step(words: sl.Model) -> None:
    s = started(words, streams=1, n_ctx=512)
    try:
        long = Heard(words, TEXTS[0], max_tokens=None, policy="random_mix:where=everywhere", on_loop="warn")
        short = Heard(words, TEXTS[1], max_tokens=2)
        s.submit([long.job])
        s.submit([short.job])
        while not any(isinstance(e, Stepped) for e in long.events):
            time.sleep(0.001)
        assert not short.over.is_set()
        long.job.cancel()
        short.wait()
        n = len(long.events)
        assert s.running == 0
        time.sleep(0.05)
        assert len(long.events) == n
    finally:
        s.stop()


def test_the_queue_is_bounded_and_first_come_first_served(words: sl.Model) -> None:
    s = started(words, streams=1, queue=2)
    order: queue.Queue[int] = queue.Queue()
    refused = threading.Event()  # until then, the thread that decodes stands still at its first event
    try:
        heard = [Heard(words, TEXTS[0], max_tokens=20, seed=i) for i in range(3)]
        for i, h in enumerate(heard):
            told = h.tell

            def tell(events: Sequence[Event], i: int = i, told: object = told) -> None:
                refused.wait(60)
                if any(isinstance(e, Begun) for e in events):
                    order.put(i)
                told(events)  # type: ignore[operator]

            h.job.tell = tell
        s.submit([h.job for h in heard])
        with pytest.raises(ApiError) as e:
            s.submit([Heard(words, TEXTS[0]).job])
        assert e.value.status == 429
        assert int(e.value.headers["Retry-After"]) >= 1
        refused.set()
        for h in heard:
            h.wait()
        assert [order.get() for _ in heard] == [0, 1, 2]
    finally:
        refused.set()
        s.stop()


def test_a_prompt_longer_than_the_context_is_refused(words: sl.Model) -> None:
    s = started(words, streams=1, n_ctx=32)
    try:
        with pytest.raises(ApiError, match="maximum context length is 32 tokens") as e:
            s.submit([Heard(words, "dog " * 40).job])
        assert (e.value.status, e.value.code) == (400, "context_length_exceeded")
        h = Heard(words, "dog", max_tokens=None, policy="random_mix:where=everywhere")
        s.submit([h.job])
        h.wait()
        assert len(h.tokens) + len(h.job.items) <= 32
        assert h.job.generation.stop_reason in ("context full", "end of generation")
    finally:
        s.stop()


def test_logits_that_are_no_numbers_end_one_generation_only(words: sl.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ContinuousBatch(words, 2, 256)
    good, bad = Heard(words, TEXTS[0], policy="greedy"), Heard(words, TEXTS[1], policy="greedy")
    batch.enter(good.job)
    batch.enter(bad.job)
    evaluate, broken = batch._context.evaluate, []

    def poisoned(seqs: Sequence[int], *args: object, **more: object) -> list[Any]:
        logits = evaluate(seqs, *args, **more)  # type: ignore[arg-type]
        if len(seqs) == 2 and not broken:
            broken.append(1)
            logits[1][0] = np.nan
        return logits

    monkeypatch.setattr(batch._context, "evaluate", poisoned)
    try:
        for _ in range(80):
            batch.round()
        assert isinstance(bad.events[-1], Failed)
        assert isinstance(bad.events[-1].error, sl.NotFiniteError)
        assert isinstance(good.events[-1], Ended)
        monkeypatch.undo()
        assert good.tokens == alone(words, good)
        assert batch.live == []
        assert [s for s in batch.slots if s.items] == [batch.slots[0]]
    finally:
        batch.close()


def test_an_unexpected_error_reaches_everybody_and_the_next_request_is_answered(
    words: sl.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = started(words, streams=2)
    try:
        with monkeypatch.context() as m:
            m.setattr("softllama.serve.batching.after_prompt", lambda *a, **k: 1 / 0)
            h = Heard(words, TEXTS[0])
            s.submit([h.job])
            h.wait()
        assert isinstance(h.events[-1], Failed)
        assert isinstance(h.events[-1].error, ZeroDivisionError)
        again = Heard(words, TEXTS[0])
        s.submit([again.job])
        assert again.wait().tokens
        assert s.running == 0
    finally:
        s.stop()


def test_a_long_prompt_lets_others_go_on(words: sl.Model) -> None:
    batch = ContinuousBatch(words, 2, 512)
    running, long = Heard(words, TEXTS[0], policy="random_mix:where=everywhere"), Heard(words, "dog " * 400)
    batch.enter(running.job)
    batch.round()
    batch.enter(long.job)
    try:
        before = len(running.tokens)
        rounds = 0
        while not long.events:
            batch.round()
            rounds += 1
        assert rounds >= 4  # 400 positions in pieces of 128
        assert len(running.tokens) == before + rounds or running.over.is_set()
    finally:
        batch.close()


def test_stopping_gives_time_and_then_ends_what_runs(words: sl.Model) -> None:
    s = started(words, streams=1)
    short = Heard(words, TEXTS[0], max_tokens=5)
    s.submit([short.job])
    s.drain(30)
    assert isinstance(short.wait().events[-1], Ended)
    with pytest.raises(ApiError) as e:
        s.submit([Heard(words, TEXTS[0]).job])
    assert e.value.status == 503
    s.stop()
    s = started(words, streams=1)
    heard = [Heard(words, TEXTS[0], max_tokens=None, policy="random_mix:where=everywhere") for _ in range(3)]
    s.submit([h.job for h in heard])
    s.stop()
    ends = [h.wait().events[-1] for h in heard]
    assert all(isinstance(e, Failed | Ended) for e in ends)
    assert [e.error.status for e in ends[1:] if isinstance(e, Failed) and isinstance(e.error, ApiError)] == [503, 503]


def test_a_generation_goes_on_where_an_earlier_one_was(exact_words: sl.Model) -> None:
    """The same items after the same prompt give the same next steps, as if they had been decoded."""
    options = {"chat": True, "max_tokens": 40, "policy": policy.soft_thinking(answer=policy.greedy()), "seed": 1}
    whole = exact_words.generate(TEXTS[0], **options)  # type: ignore[arg-type]
    for n in (1, 5, whole.n_thinking + 2):
        g = prepare.prepare(exact_words, TEXTS[0], GenerationOptions.of(options))
        g.resume([s.token for s in whole.steps[:n]])
        h = Heard(exact_words, TEXTS[0])
        h.job = Job(g, h.tell, items=(*g.prompt, *(s.mixture for s in whole.steps[:n])))
        s = started(exact_words, streams=1)
        try:
            s.submit([h.job])
            assert h.wait().tokens == [s.token for s in whole.steps[n:]]
            steps = [e.step for e in h.events if isinstance(e, Stepped)]
            assert [x.position for x in steps] == [x.position for x in whole.steps[n:]]
            assert [x.thinking for x in steps] == [x.thinking for x in whole.steps[n:]]
        finally:
            s.stop()
