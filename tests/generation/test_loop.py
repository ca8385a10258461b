"""The loop: a generation's state machine on distributions made by hand, then whole generations on tiny models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.generation.replay import replay
from softllama.generation.run import collect, record
from softllama.generation.state import Generation
from softllama.generation.text_stream import TextStream
from softllama.prompts.thinking import Tags
from softllama.prompts.thinking import make as make_tags
from softllama.trace.reader import load
from softllama.trace.step import Step, StopReason
from tests.conftest import shared_model
from tests.support.tiny import CHAT_TEMPLATE

SOFT2 = "top_mean:n=2"


def peak(model: sl.Model, token: int, p: float = 0.9) -> sl.Distribution:
    """A distribution with p on one token and the rest spread evenly."""
    probs = np.full(model.n_vocab, (1 - p) / (model.n_vocab - 1))
    probs[token] = p
    return sl.Distribution.from_probs(probs)


def generation(
    model: sl.Model, rule: Any = "greedy", *, tags: Tags | None = None, thinking: bool = False, **limits: Any
) -> Generation:
    written = policy.parse(rule) if isinstance(rule, str) else policy.as_policy(rule)
    everywhere = tags is None
    options = GenerationOptions(**{"max_tokens": 20, **limits})
    return Generation(model, written, (1,), options, 0, tags, thinking, everywhere)


def play(g: Generation, tokens: Sequence[int]) -> list[Step]:
    """Advance with one peaked distribution for each token, until the generation ends."""
    steps = []
    for t in tokens:
        if g.done:
            break
        step = g.advance(peak(g.model, t))
        if step is not None:
            steps.append(step)
    return steps


def ids(model: sl.Model, text: str) -> list[int]:
    return model.tokenizer.tokenize(text, lead=False)


@pytest.fixture
def tags(model: sl.Model) -> Tags:
    return make_tags(model.tokenizer, "<|im_start|>", "<|bos|>")  # one token each


def eog(model: sl.Model) -> int:
    return next(i for i in range(model.n_vocab) if model.is_eog(i))


# ---- the state machine -------------------------------------------------------------------------------------------------


def test_end_of_generation_ends_the_answer_and_is_not_part_of_it(model: sl.Model) -> None:
    g = generation(model)
    steps = play(g, [*ids(model, "dog"), eog(model), *ids(model, "cat")])
    assert [s.text for s in steps] == ["dog"]
    assert g.stop_reason == "end of generation"


def test_end_of_generation_while_thinking_closes_the_block(model: sl.Model, tags: Tags) -> None:
    g = generation(model, tags=tags, thinking=True)
    dog, cat = ids(model, "dog")[0], ids(model, "cat")[0]
    steps = play(g, [dog, eog(model), cat, eog(model)])
    assert [(s.token, s.mode, s.thinking) for s in steps] == [
        (dog, "hard", True), (tags.close_ids[0], "forced", True), (cat, "hard", False)
    ]  # fmt: skip
    assert steps[1].mixture == sl.Mixture.one_hot(tags.close_ids[0])  # a real closing tag is fed
    assert "end of generation" in steps[1].why
    assert g.stop_reason == "end of generation"
    t = record(model, g)
    assert (t.thinking, t.answer, t.n_thinking, t.n_answer) == ("dog", "cat", 1, 1)


def test_a_budget_closes_the_block_with_the_whole_tag(model: sl.Model) -> None:
    long = make_tags(model.tokenizer, "(think)", "(done)")
    assert len(long.close_ids) > 1
    g = generation(model, tags=long, thinking=True, think_budget=2)
    dog = ids(model, "dog")[0]
    steps = play(g, [dog] * 12)
    assert [s.mode for s in steps[:3]] == ["hard", "hard", "forced"]
    assert tuple(s.token for s in steps[2 : 2 + len(long.close_ids)]) == long.close_ids
    assert not steps[2 + len(long.close_ids)].thinking
    assert record(model, g).thinking == "dogdog"


def test_a_budget_of_0_closes_at_once(model: sl.Model, tags: Tags) -> None:
    g = generation(model, tags=tags, thinking=True, think_budget=0)
    assert play(g, ids(model, "dog") * 2)[0].token == tags.close_ids[0]


def test_a_closing_tag_of_several_readouts_ends_the_block(model: sl.Model) -> None:
    long = make_tags(model.tokenizer, "(think)", "(done)")
    g = generation(model, SOFT2, tags=long, thinking=True)
    dog, cat = ids(model, "dog")[0], ids(model, "cat")[0]
    steps = play(g, [dog, *long.close_ids, cat])
    assert [s.thinking for s in steps] == [True] * (1 + len(long.close_ids)) + [False]
    assert steps[0].mode == "soft"
    t = record(model, g)
    assert (t.thinking, t.answer) == ("dog", "cat")


def test_part_of_a_closing_tag_does_not_end_the_block(model: sl.Model) -> None:
    long = make_tags(model.tokenizer, "(think)", "(done)")
    g = generation(model, tags=long, thinking=True)
    dog = ids(model, "dog")[0]
    play(g, [*long.close_ids[:-1], dog, long.close_ids[-1], dog])
    assert g.thinking  # its last id alone means nothing


def test_cold_stop_closes_the_block_at_the_first_step(model: sl.Model, tags: Tags) -> None:
    g = generation(model, "soft_thinking:k=1,tau=1000", tags=tags, thinking=True)
    steps = play(g, ids(model, "dog") * 3)
    assert (steps[0].token, steps[0].mode) == (tags.close_ids[0], "forced")
    assert not steps[1].thinking


def test_cold_stop_ends_a_raw_prompt(model: sl.Model) -> None:
    g = generation(model, "soft_thinking:k=1,tau=1000")
    assert play(g, ids(model, "dog") * 3) == []
    assert "cold" in g.stop_reason.lower()


def test_the_model_may_open_a_block_itself(model: sl.Model, tags: Tags) -> None:
    g = generation(model, SOFT2, tags=tags)
    dog, cat = ids(model, "dog")[0], ids(model, "cat")[0]
    steps = play(g, [tags.open_ids[0], dog, tags.close_ids[0], cat, tags.open_ids[0], dog])
    assert [s.thinking for s in steps] == [False, True, True, False, False, False]  # and only once
    assert [s.mode for s in steps][:2] == ["hard", "soft"]


def test_a_policy_is_hard_outside_the_block_and_soft_in_it(model: sl.Model, tags: Tags) -> None:
    g = generation(model, policy.top_mean(n=2, answer=policy.greedy()), tags=tags, thinking=True)
    dog = ids(model, "dog")[0]
    steps = play(g, [dog, tags.close_ids[0], dog])
    assert [s.mode for s in steps] == ["soft", "hard", "hard"]
    assert steps[1].mixture == sl.Mixture.one_hot(tags.close_ids[0])


def test_stop_strings_that_straddle_tokens_are_cut_and_never_shown(model: sl.Model) -> None:
    g = generation(model, stop=("gca",))
    steps = play(g, [*ids(model, "dog"), *ids(model, "cat"), *ids(model, "dog")])
    assert "".join(s.text for s in steps) == "do"
    assert (g.stop_reason, g.stop_string) == (StopReason.STOP_STRING, "gca")
    assert record(model, g).answer == "do"


def test_what_was_held_for_a_stop_string_comes_back_at_the_end(model: sl.Model) -> None:
    g = generation(model, stop=("gx",), max_tokens=1)
    assert play(g, ids(model, "dog"))[0].text == "do"
    assert record(model, g).answer == "dog"


def test_stop_strings_do_not_act_while_thinking(model: sl.Model, tags: Tags) -> None:
    g = generation(model, tags=tags, thinking=True, stop=("dog",))
    play(g, [*ids(model, "dog"), tags.close_ids[0], *ids(model, "cat"), *ids(model, "dog")])
    assert (g.stop_reason, g.stop_string) == (StopReason.STOP_STRING, "dog")
    assert record(model, g).answer == "cat"


def test_characters_split_over_tokens_appear_whole(model: sl.Model) -> None:
    pieces = ids(model, "é€😀")
    assert len(pieces) > 6
    texts = [s.text for s in play(generation(model), pieces)]
    assert [t for t in texts if t] == ["é", "€", "😀"]


def test_bytes_that_are_no_character_become_a_mark(model: sl.Model) -> None:
    g = generation(model, max_tokens=1)
    play(g, ids(model, "é")[:1])
    assert record(model, g).answer == "\ufffd"


def test_max_tokens_0_gives_nothing(model: sl.Model) -> None:
    t = model.generate("dog", max_tokens=0)
    assert (t.steps, t.answer, t.stop_reason) == ((), "", "max tokens")


def test_text_streams_leave_out_what_stands_around_the_text() -> None:
    pairs = [("<response>", "</response>"), ("<r2>", "</r2>")]
    for text, expected in [
        ("<response>The cat</response> and more", "The cat"),
        ("\n <response>\nThe cat\n</response>", "\nThe cat\n"),
        ("<r2>a</response>b</r2>c", "a</response>b"),
        ("The <response>cat</response>", "The <response>cat</response>"),
        ("<resp", "<resp"),
        ("  <respond>", "  <respond>"),
        ("", ""),
    ]:
        for n in (1, 3, 100):
            s = TextStream([], pairs)
            parts = [s.push(text[i : i + n].encode()) for i in range(0, len(text), n)]
            assert "".join(parts) + s.flush() == expected, (text, n)
    s = TextStream(["STOP"], [("", "<end>")])
    assert (s.push(b"a<end>b"), s.stopped) == ("a", "<end>")
    s = TextStream(["STOP"], pairs)
    assert s.push(b" <resp") == ""
    other = s.fork()
    assert (s.push(b"onse>aSTOP"), s.stopped) == ("a", "STOP")
    assert other.push(b"ect") == " <respect"


def test_text_streams_hold_back_no_more_than_needed() -> None:
    s = TextStream(["</s>", "STOP"])
    assert [s.push(b) for b in (b"a<", b"/", b"b", b"S", b"TOP", b"x")] == ["a", "", "</b", "", "", ""]
    assert s.stopped == "STOP"
    assert s.flush() == ""


# ---- whole generations -------------------------------------------------------------------------------------------------


def test_a_full_context_is_a_stop_reason_and_the_text_is_kept(model: sl.Model) -> None:
    t = collect(
        model, g := prepare(model, "dog", GenerationOptions(policy=SOFT2, max_tokens=500, seed=1)),
        loop.run(model, [g], n_ctx=20),
    )  # fmt: skip
    if t.stop_reason == "end of generation":
        pytest.skip("this random model ended by itself")
    assert t.stop_reason == "context full"
    assert len(g.prompt) + len(t.steps) == 20
    assert len(t.text) > 0


def test_an_empty_prompt_is_the_bos_token_alone_or_an_error(load: Callable[..., sl.Model]) -> None:
    assert len(load("llama").generate("", max_tokens=2, seed=1).prompt) == 1
    bare = load("llama", extra={"tokenizer.ggml.add_bos_token": False})
    with pytest.raises(sl.PromptError, match="empty prompt"):
        bare.generate("", max_tokens=2)
    with pytest.raises(sl.PromptError, match="empty prompt"):
        bare.generate([], max_tokens=2)


ALL = [
    "greedy", "sample", "full", "soft_thinking:n=5", "gumbel", "dirichlet", "moi", "swir", "selar", "multiplex",
    "soft_noise", "hidden", "random_mix", "top_mean", "cold_stop",
]  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_seeds_saving_loading_and_replaying(model: sl.Model, name: str, tmp_path: Any) -> None:
    first = model.generate("The dog says", chat=False, policy=name, max_tokens=12, seed=5)
    again = model.generate("The dog says", chat=False, policy=name, max_tokens=12, seed=5)

    def comparable(t: sl.Trace) -> list[Any]:
        return [(s.token, s.mode, s.mixture, s.entropy, s.top) for s in t.steps]

    assert comparable(first) == comparable(again)
    for suffix in ("jsonl", "npz"):
        first.save(tmp_path / f"t.{suffix}")
        loaded = load(tmp_path / f"t.{suffix}")
        assert loaded.to_dict() == first.to_dict()
        assert replay(model, loaded) == [0.0] * len(first.steps)


def test_a_policy_that_never_acted_replays_to_the_bit(model: sl.Model) -> None:
    """`hidden` has llama.cpp give hidden states, which changes how it rounds, whether they are fed or not."""
    template = "{{ messages[0].content }}, and so it went on and on, for a long day and half of the night"
    with pytest.warns(UserWarning, match="would never act"):
        t = model.generate("The dog says", template=template, policy="hidden", max_tokens=12, seed=5)
    assert not any(s.hidden for s in t.steps)
    assert replay(model, t) == [0.0] * len(t.steps)


def test_replaying_something_else_disagrees(model: sl.Model) -> None:
    t = model.generate("The dog says", chat=False, policy="full", max_tokens=6, seed=5)
    other = model.generate("The cat says", chat=False, policy="full", max_tokens=6, seed=5)
    wrong = sl.Trace(**{**t.__dict__, "prompt": other.prompt})
    assert max(replay(model, wrong)) > 1e-4


def test_the_same_seed_gives_the_same_trace_whatever_runs_beside_it(model: sl.Model) -> None:
    alone = [s.token for s in model.stream("The dog says", chat=False, policy="gumbel", max_tokens=10, seed=3)]
    a = model.stream("The dog says", chat=False, policy="gumbel", max_tokens=10, seed=3)
    b = model.stream("The cat sees", policy="sample", max_tokens=10, seed=4)
    beside = []
    for step, _ in zip(a, b, strict=False):
        beside.append(step.token)
    assert beside == alone[: len(beside)]
    assert len(beside) > 1


def test_streams_in_one_context_take_turns_and_all_finish(model: sl.Model) -> None:
    options = [GenerationOptions(policy="sample", max_tokens=n, seed=n) for n in (3, 9, 1, 0, 5)]
    gs = [prepare(model, "The dog says", o) for o in options]
    for _ in loop.run(model, gs, at_once=2):
        pass
    for g, o in zip(gs, options, strict=True):
        assert g.done
        alone = model.generate("The dog says", policy="sample", max_tokens=o.max_tokens, seed=o.seed)
        assert [s.token for s in g.steps] == [s.token for s in alone.steps]


def test_leaving_a_stream_early_ends_it(model: sl.Model) -> None:
    s = model.stream("The dog", chat=False, policy="full", max_tokens=10, seed=0)
    assert next(s).index == 0
    s.close()  # type: ignore[attr-defined]
    assert list(s) == []


def test_an_interrupt_keeps_what_there_is(model: sl.Model) -> None:
    def interrupted(d: sl.Distribution, moment: policy.Moment) -> policy.Decision:
        if moment.step == 3:
            raise KeyboardInterrupt
        return policy.Decision(sl.Mixture.one_hot(5), 5, "hard")

    with pytest.raises(KeyboardInterrupt) as e:  # a loop over prompts ends, too
        [model.generate(prompt, chat=False, policy=interrupted, max_tokens=10) for prompt in ("The dog", "The cat")]
    assert isinstance(e.value, sl.Interrupted)
    t = e.value.trace
    assert (len(t.steps), t.stop_reason) == (3, "interrupted")
    assert t.prompt_text.endswith("The dog")


def test_a_run_may_start_from_a_mixture(model: sl.Model) -> None:
    t = model.generate("The{} says", mix="dog:0.5,cat:0.5", max_tokens=2, seed=0)
    assert sum(isinstance(i, sl.Mixture) for i in t.prompt) == 1
    pure = model.generate("The{} says", mix="dog", max_tokens=8)
    assert [s.token for s in pure.steps] == [s.token for s in model.generate("Thedog says", max_tokens=8).steps]


@pytest.mark.parametrize(("tokenizer", "prompt"), [("spm-nobytes", "dog"), ("ugm", "dog"), ("none", (1, 2))])
def test_vocabularies_that_cannot_write_a_tag_or_a_line_end_generate_too(
    load: Callable[..., sl.Model], tokenizer: str, prompt: Any
) -> None:
    assert len(load("llama", tokenizer=tokenizer).generate(prompt, max_tokens=5).steps) == 5


def test_braces_are_braces_without_a_mixture(model: sl.Model) -> None:
    assert model.generate("a {b", chat=False, max_tokens=1).prompt_text.endswith("a {b")


def test_think_modes(load: Callable[..., sl.Model]) -> None:
    m = load("llama", chat_template=CHAT_TEMPLATE)
    pair = "(think),(done)"

    def prepared(**options: Any) -> Generation:
        return prepare(m, "dog", GenerationOptions(chat=True, think_tags=pair, **options))

    on, off = prepared(), prepared(think="off")
    assert on.thinking
    assert m.detokenize([i for i in on.prompt if isinstance(i, int)]).endswith("(think)\n")
    assert repr(on.policy).startswith("soft_thinking")
    assert not off.thinking
    assert off.policy.name == "greedy"
    plain = prepare(m, "dog", GenerationOptions(chat=True, think="prompt"))
    assert plain.thinking
    assert plain.tags is not None
    assert plain.tags.close == "Answer:"
    with pytest.raises(sl.UsageError, match="no thinking block"):
        prepare(m, "dog", GenerationOptions(chat=True, think="on"))


def test_where_on_a_raw_prompt(model: sl.Model) -> None:
    def modes(**options: Any) -> set[str]:
        return {s.mode for s in model.stream("The dog", chat=False, max_tokens=4, seed=0, **options)}

    assert modes(policy=SOFT2) == {"soft"}
    assert modes(policy=SOFT2, where="thinking") == {"hard"}
    assert modes(policy="top_mean:n=2,where=thinking") == {"hard"}


# ---- the identities of methods.md, on whole generations ------------------------------------------------------------------

GREEDY = "greedy"
SAMPLE = "sample:temperature=0.7,top_k=12,top_p=0.9"
LIMITS = [  # a method in a limit, and what it must equal token for token with the same seed
    ("soft_thinking:n=1,k=100000", GREEDY),
    ("soft_thinking:temperature=0,tau=0", GREEDY),
    ("full:temperature=0", GREEDY),
    ("sample:temperature=0", GREEDY),
    ("top_mean:n=1", GREEDY),
    ("multiplex:k=1,temperature=0.7,top_k=12,top_p=0.9", SAMPLE),
    ("selar:tau=1.1,temperature=0.7,top_k=12,top_p=0.9", SAMPLE),
    ("moi:beta=1e9,temperature=0.7,top_k=12,top_p=0.9", SAMPLE),
]


def check_limits(model: sl.Model, prompt: str, n: int) -> None:
    for limit, plain in LIMITS:
        for seed in (0, 1):
            a = model.generate(prompt, chat=False, policy=limit, max_tokens=n, seed=seed)
            b = model.generate(prompt, chat=False, policy=plain, max_tokens=n, seed=seed)
            assert [s.token for s in a.steps] == [s.token for s in b.steps], (limit, seed)


def test_limits_of_each_method_on_a_tiny_model(model: sl.Model) -> None:
    check_limits(model, "The dog says", 24)


@pytest.mark.real
def test_limits_of_each_method_on_stories260k() -> None:
    with sl.load(shared_model("stories260K-f32.gguf")) as m:
        check_limits(m, "Once upon a time", 48)


@pytest.mark.real
def test_greedy_is_llama_cpp_pythons_greedy_on_stories260k() -> None:
    import llama_cpp

    path = shared_model("stories260K-f32.gguf")
    with sl.load(path, n_threads=1) as m:
        prompt = m.tokenize("Once upon a time", bos=True)
        ours = [s.token for s in m.stream("Once upon a time", policy="greedy", max_tokens=200)]
    theirs = []
    reference = llama_cpp.Llama(str(path), n_ctx=512, verbose=False, n_threads=1, n_threads_batch=1)
    for token in reference.generate(prompt, temp=0.0, repeat_penalty=1.0):
        theirs.append(token)
        if len(theirs) == len(ours):
            break
    reference.close()
    assert ours == theirs
    assert len(ours) == 200


def test_the_noise_of_a_step_is_recorded_and_fed(model: sl.Model) -> None:
    """The first distribution is the prompt's, whatever sigma; the second is what came after the first noise."""

    def entropies(sigma: float) -> list[float]:
        t = model.generate("The dog", chat=False, policy=f"soft_noise:sigma={sigma}", max_tokens=2, seed=3)
        assert [s.noise for s in t.steps] == [sigma, sigma]
        return [s.entropy for s in t.steps]

    without, little, much = entropies(0), entropies(1e-4), entropies(2)
    assert without[0] == little[0] == much[0]
    assert 0 < abs(little[1] - without[1]) < 1e-2 < abs(much[1] - without[1])
