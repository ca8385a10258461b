"""Conversations without a terminal: what is evaluated and what is not, turns that no longer fit, seeds, files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.chat import settings, storage
from softllama.chat.conversation import Conversation
from softllama.chat.messages import Message, Mix, slotted, user
from softllama.chat.prefix_cache import PrefixCache, shared
from softllama.trace.step import Step

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS = TEMPLATE.replace("{% if add", "{#<think></think>#}{% if add")  # a model whose template speaks of thinking
KEEPS = (  # keeps thinking that it is given, as some templates do in some places
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HYBRID = ("qwen35", "lfm2", "mamba")
SOFT = "top_mean:n=3"


@pytest.fixture
def talk(load: Callable[..., sl.Model]) -> Callable[..., Conversation]:
    """talk("qwen35", think_budget=3, ...) -> a conversation with a tiny random model that is made to think softly."""

    def make(arch: str = "llama", *, template: str = THINKS, context: int = 1024, **options: Any) -> Conversation:
        model = load(arch, chat_template=template, n_ctx=context)
        given = {"policy": SOFT, "think_budget": 4, "max_tokens": 24, "seed": 5}
        return Conversation(model, **{**given, **options})

    return make


def prompt_part(c: Conversation, trace: sl.Trace) -> int:
    """Positions of the prompt that were evaluated for an answer: all, less the steps that were fed."""
    return trace.evaluated - (len(c.cache.items) - len(trace.prompt))


def fresh(c: Conversation) -> Conversation:
    """The same conversation in an empty memory."""
    again = Conversation(c.model)
    again.restore(c.to_dict())
    return again


# ---- what is evaluated -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", *HYBRID])
def test_the_prefix_of_a_turn_is_not_evaluated_again(talk: Callable[..., Conversation], arch: str) -> None:
    c = talk(arch)
    a = c.reply("the dog says")
    assert prompt_part(c, a) == len(a.prompt)
    for said in ("and the cat", "and the ball", "a bone"):
        before, a = a, c.reply(said)
        common = shared(before.prompt, a.prompt)
        assert common > len(before.prompt) - 20  # all but the tag that opened the thinking, which the history has not
        assert 0 < prompt_part(c, a) <= len(a.prompt) - common + (3 if c.model.recurrent else 0)
    assert c.evaluated == sum(m.details["evaluated"] for m in c.messages if m.details)


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", *HYBRID])
def test_nor_after_undo_and_regen(talk: Callable[..., Conversation], arch: str) -> None:
    c = talk(arch)
    first = c.reply("the dog says")
    second = c.reply("and the cat")
    again = c.regen()
    assert again.prompt == second.prompt
    assert again.seed == second.seed + 1
    tag = len(c.tags.open_ids) + 4 if c.tags else 0
    assert prompt_part(c, again) <= tag + 12  # hybrid: the answer's beginning, which follows the state that was kept
    assert c.undo().content == "and the cat"
    other = c.reply("and a ball")
    assert prompt_part(c, other) <= len(other.prompt) - shared(first.prompt, other.prompt) + 3
    assert [m.content for m in c.messages if m.role == "user"] == ["the dog says", "and a ball"]


@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen2vl", *HYBRID])
def test_what_is_reused_is_right(talk: Callable[..., Conversation], arch: str) -> None:
    """A long history of cut, restored and soft steps gives the distribution of a memory that has seen nothing of it."""
    c = talk(arch, policy="greedy")
    c.define("animal", Mix("dog:0.5,cat:0.5"))
    c.reply("the {animal} says")
    c.compare(SOFT)
    c.reply("and the cat")
    c.regen()
    c.undo()
    c.reply("a {animal} and a ball")
    c.compare("full")
    again = fresh(c)
    one, two = c.reply("woof"), again.reply("woof")
    assert one.prompt == two.prompt
    mine, others = c.distributions()["thinking"].logits, again.distributions()["thinking"].logits
    # splitting a prompt into other batches does as much, without any reuse: memories are kept in half precision
    np.testing.assert_allclose(mine, others, atol=0.02 * float(np.std(others)))


def parrot(model: sl.Model, *, soft: bool) -> policy.Policy:
    """Says "dog" at every step, whatever it feeds: a readout that becomes the same token again in the history."""
    dog, cat = (model.tokenizer.tokenize(w, lead=False)[0] for w in ("dog", "cat"))
    fed = sl.Mixture([dog, cat], [0.5, 0.5]) if soft else sl.Mixture.one_hot(dog)
    return policy.as_policy(lambda d, m: policy.Decision(fed, dog, "soft" if soft else "hard"), name="parrot")


@pytest.mark.parametrize("soft", [True, False])
def test_soft_steps_are_never_matched_by_their_readouts(talk: Callable[..., Conversation], soft: bool) -> None:
    c = talk(template=TEMPLATE, think_budget=None, max_tokens=6)
    c.set(policy=parrot(c.model, soft=soft))
    a = c.reply("the dog says")
    assert c.messages[1].content == "dog" * 6
    b = c.reply("and")
    common = shared(a.prompt, b.prompt)
    assert b.prompt[common : common + 6] == tuple(s.token for s in a.steps)
    assert len(b.prompt) - common - prompt_part(c, b) == (0 if soft else 5)  # the sixth was decided, and not yet fed


@pytest.mark.parametrize("arch", ["llama", *HYBRID])
def test_an_interrupt_within_an_evaluation_leaves_nothing_wrong_behind(
    talk: Callable[..., Conversation], arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = talk(arch, template=TEMPLATE, think_budget=None)
    c.set(policy=parrot(c.model, soft=False))
    c.reply("the dog")
    context = c.cache._context
    assert context is not None
    evaluate, calls = context.evaluate, []

    def interrupted(*arguments: Any, **more: Any) -> Any:
        out = evaluate(*arguments, **more)
        calls.append(1)
        if len(calls) == 5:  # llama.cpp has evaluated it, and nobody has written that down
            raise KeyboardInterrupt
        return out

    monkeypatch.setattr(context, "evaluate", interrupted)
    a = c.reply("says")
    assert a.stop_reason == "interrupted"
    assert len(c.cache.items) < context.length(0)
    c.set(policy="greedy")  # one's own policy has no written form
    again = fresh(c)
    one, two = c.reply("and", stop_at(0)), again.reply("and", stop_at(0))
    assert one.prompt == two.prompt
    mine, others = c.distributions()["end"].logits, again.distributions()["end"].logits
    np.testing.assert_allclose(mine, others, atol=0.02 * float(np.std(others)))


def test_a_mixture_matches_an_equal_mixture_and_nothing_else(model: sl.Model) -> None:
    m = sl.Mixture([1, 2], [0.5, 0.5])
    assert shared([5, m, 7], [5, sl.Mixture([1, 2], [0.5, 0.5]), 7]) == 3
    assert shared([5, m, 7], [5, 1, 7]) == 1
    assert shared([5, sl.Mixture.one_hot(1), 7], [5, 1, 7]) == 1
    assert shared([5, None, 7], [5, None, 7]) == 1
    assert PrefixCache(model, 64).items == []


def test_a_users_mixture_is_not_evaluated_again(talk: Callable[..., Conversation]) -> None:
    c = talk()
    c.define("animal", Mix("dog:0.5,cat:0.5"))
    a = c.reply("the {animal} says")
    b = c.reply("and")
    mixed = [i for i in a.prompt if isinstance(i, sl.Mixture)]
    assert len(mixed) == 1
    assert shared(a.prompt, b.prompt) > a.prompt.index(mixed[0])
    assert prompt_part(c, b) == len(b.prompt) - shared(a.prompt, b.prompt)


@pytest.mark.parametrize("arch", ["llama", "qwen35"])
def test_hidden_states_and_noise_can_be_fed_too(talk: Callable[..., Conversation], arch: str) -> None:
    c = talk(arch)
    c.reply("the dog says")
    assert c.compare("hidden:steps=2").n_soft == 2
    assert None in c.cache.items
    assert c.compare("soft_noise").n_soft > 0
    assert c.reply("and").n_thinking == 4


def test_a_policy_that_the_model_cannot_have_changes_nothing(talk: Callable[..., Conversation]) -> None:
    c = talk("lfm2", policy="hidden")  # llama.cpp gives other logits beside hidden states there
    with pytest.raises(sl.UsageError, match="hidden does not work"):
        c.reply("the dog says")
    assert (c.messages, c.answers) == ([], 0)
    c.set(policy="greedy")
    c.reply("the dog says")
    before = c.messages
    c.set(policy="hidden")
    with pytest.raises(sl.UsageError, match="hidden does not work"):
        c.regen()
    assert c.messages == before


# ---- thinking ----------------------------------------------------------------------------------------------------------


def test_thinking_leaves_the_history_as_the_template_has_it(talk: Callable[..., Conversation]) -> None:
    c = talk(policy="sample:temperature=2")
    c.reply("the dog")
    assert c.messages[1].thinking
    b = c.reply("and")
    assert f"assistant\n{c.messages[1].content}<|im_end|>" in b.prompt_text
    assert b.prompt_text.count("<think>") == 1
    kept = talk(template=KEEPS, policy="sample:temperature=2")
    kept.reply("the dog")
    b = kept.reply("and")
    assert f"<think>{kept.messages[1].thinking}</think>{kept.messages[1].content}" in b.prompt_text


def test_a_message_that_speaks_of_tags_opens_no_block(talk: Callable[..., Conversation]) -> None:
    c = talk(think="off")
    assert c.reply("the <think> dog").n_thinking == 0
    c = talk()
    a = c.reply("the <think> dog")
    assert a.prompt_text.endswith("assistant\n<think>\n")


def test_defaults_say_why(talk: Callable[..., Conversation]) -> None:
    c = talk(policy=None)
    assert c.policy.name == "soft_thinking"
    assert "thinking block" in c.default_policy()[1]
    c = talk(policy=None, template=TEMPLATE)
    assert c.policy.name == "sample"
    assert "no thinking block" in c.default_policy()[1]
    assert c.reply("the dog").n_soft == 0


def test_no_template_is_an_error_that_says_what_to_do(load: Callable[..., sl.Model]) -> None:
    with pytest.raises(sl.ModelError) as e:
        Conversation(load("llama"))
    assert "--template FILE" in e.value.hint
    assert Conversation(load("llama"), template=TEMPLATE, max_tokens=3).reply("dog").answer is not None


# ---- interrupts, errors, seeds -----------------------------------------------------------------------------------------


def stop_at(n: int) -> Callable[[Step], None]:
    def each(step: Step) -> None:
        if step.index == n:
            raise KeyboardInterrupt

    return each


@pytest.mark.parametrize("arch", ["llama", "lfm2"])
def test_an_interrupt_keeps_the_text(talk: Callable[..., Conversation], arch: str) -> None:
    c = talk(arch, think_budget=2, max_tokens=40)
    a = c.reply("the dog says", stop_at(18))
    assert a.stop_reason == "interrupted"
    assert len(a.steps) == 19
    assert c.messages[-1].content == a.answer.strip()
    assert c.messages[-1].details["stop_reason"] == "interrupted"
    again = fresh(c)
    one, two = c.reply("and", stop_at(0)), again.reply("and", stop_at(0))
    assert one.prompt == two.prompt
    np.testing.assert_allclose([p for _, p in one.steps[0].top], [p for _, p in two.steps[0].top], atol=2e-3)


def test_a_message_that_does_not_fit_changes_nothing(talk: Callable[..., Conversation]) -> None:
    c = talk(context=256, max_tokens=8)
    c.reply("the dog")
    before = list(c.messages)
    with pytest.raises(sl.ContextError) as e:
        c.reply("x" * 400)
    assert "room for 256" in e.value.message
    assert "--n-ctx" in e.value.hint
    assert c.messages == before
    assert c.left_out == 0
    assert c.reply("the cat").prompt_text.count("the dog") == 1


def test_a_mixture_that_is_none_changes_nothing(talk: Callable[..., Conversation]) -> None:
    c = talk()
    with pytest.raises(sl.MixtureError, match="tokens here"):
        c.define("x", Mix("hippopotamus"))
    assert c.mixes == {}
    c.define("x", Mix("hippopotamus", split="mean"))
    with pytest.raises(sl.PromptError):
        c.reply("\udc80")
    assert c.messages == []


def test_seeds_make_a_conversation_again(talk: Callable[..., Conversation]) -> None:
    def said(c: Conversation) -> list[Message]:
        for text in ("the dog", "and the cat"):
            c.reply(text)
        c.regen()
        return c.messages

    def plain(m: list[Message]) -> list[Any]:
        return [(x.content, x.thinking, x.details.get("seed")) for x in m]

    one, two, other = talk(policy="gumbel"), talk(policy="gumbel"), talk(policy="gumbel", seed=6)
    assert plain(said(one)) == plain(said(two)) != plain(said(other))
    assert [m.details["seed"] for m in one.messages if m.details] == [5, 7]
    one.compare("sample")
    assert one.compare("sample").seed == 7
    assert one.answers == 3


def test_50_turns_that_overflow_leave_the_oldest_out(talk: Callable[..., Conversation]) -> None:
    c = talk(context=256, max_tokens=30, system="be a dog")
    counts = []
    for i in range(50):
        a = c.reply(f"turn {i} the dog")
        assert a.prompt_text.count("be a dog") == 1
        assert f"turn {i} the dog" in a.prompt_text
        assert len(a.prompt) <= 256 - 30
        assert a.stop_reason != "context full"
        first = c.left_out
        assert [f"turn {j} the dog" in a.prompt_text for j in range(i + 1)] == [j >= first for j in range(i + 1)]
        counts.append(first)
    assert counts == sorted(counts)
    assert 0 < counts[-1] < 50
    assert len(c.messages) == 100  # all are still there for people
    assert len(set(counts)) < 30  # several at once, so that the rest is not evaluated anew at every turn


# ---- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("the {animal} says", ("the ", " says")),
        ("{animal}", ("", "")),
        ("{animal}{animal}", ("", "", "")),
        ("{{animal}}", ("{animal}",)),
        ("{other} {} { }", ("{other} {} { }",)),
        ("{{other}} {{ }}", ("{{other}} {{ }}",)),
        ("def f(): return {'animal': 1}", ("def f(): return {'animal': 1}",)),
    ],
)
def test_braces_are_braces_unless_a_mixture_has_the_name(text: str, texts: tuple[str, ...]) -> None:
    assert slotted(user(text, {"animal": Mix("dog,cat")})).texts == texts
    assert slotted(user(text, {})).texts == (text,)


def test_a_message_keeps_the_mixture_it_was_written_with(talk: Callable[..., Conversation]) -> None:
    c = talk()
    c.define("animal", Mix("dog:0.5,cat:0.5"))
    c.reply("the {animal}")
    c.define("animal", Mix("ball:0.5,bone:0.5"))
    mixed = [i for i in c.reply("a {animal}").prompt if isinstance(i, sl.Mixture)]
    spelled = [{c.model.spell(int(i)).strip() for i in m.ids} for m in mixed]
    assert spelled == [{"dog", "cat"}, {"ball", "bone"}]


# ---- files -------------------------------------------------------------------------------------------------------------


def test_a_conversation_saves_and_loads(talk: Callable[..., Conversation], tmp_path: Path) -> None:
    c = talk(system="be a dog", stop=("ball",))
    c.define("animal", Mix("dog:0.5,cat:0.5"))
    c.reply("the {animal} ä\n\x07")
    c.reply("and")
    c.save(tmp_path / "c.json", traces=True)
    d = Conversation(c.model)
    d.load(tmp_path / "c.json")
    assert d.messages == c.messages
    assert (d.system, d.seed, d.answers, d.mixes) == (c.system, c.seed, c.answers, c.mixes)
    assert settings.to_dict(d.settings) == settings.to_dict(c.settings)
    assert d.to_dict(traces=True)["messages"] == c.to_dict(traces=True)["messages"]
    assert d.last is not None
    assert c.last is not None
    assert d.last.trace is not None
    assert c.last.trace is not None
    assert [s.mixture for s in d.last.trace.steps] == [s.mixture for s in c.last.trace.steps]
    one, two = c.reply("woof"), d.reply("woof")
    assert one.prompt == two.prompt
    assert one.seed == two.seed
    assert not list(tmp_path.glob(".*"))
    data = json.loads((tmp_path / "c.json").read_text())
    assert len(data["manifests"]) == 1
    assert len(data["manifests"][0]["model"]["sha256"]) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "trace"},
        {"format": 2},
        {"messages": None},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"content": "x"}]},
        {"messages": [{"role": "user", "content": "{a}", "mixes": {"a": {"text": "dog:0.3"}}}]},
        {"messages": [{"role": "user", "content": "x", "mixes": {"a b": {"text": "dog"}}}]},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "made": {"manifest": 7}},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "trace": [{"kind": "no"}]},
            ]
        },
        {"messages": [{"role": "user", "content": "x" * 3000}]},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "content": "y", "made": {"n_soft": "z"}},
            ]
        },
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "made": {"seed": 1.5}}]},
        {"seed": -1},
        {"seed": "x"},
        {"answers": True},
        {"system": 5},
        {"settings": {"policy": "nonsense"}},
        {"settings": {"surprise": 1}},
        {"settings": {"max_tokens": 0}},
        {"settings": None},
        {"mixes": {"a": {"text": 5}}},
        {"mixes": []},
        {"template": "{% if %}"},
        {"template": "{{ raise_exception('no') }}", "messages": [{"role": "user", "content": "x"}]},
    ],
    ids=lambda c: json.dumps(c)[:50],
)
def test_damaged_conversations_change_nothing(talk: Callable[..., Conversation], change: dict[str, Any]) -> None:
    c = talk()
    c.reply("the dog")
    before = c.to_dict()
    with pytest.raises(sl.SoftLlamaError):
        c.restore({**before, **change})
    after = c.to_dict()
    assert {**after, "saved": ""} == {**before, "saved": ""}
    assert c.reply("the cat").answer is not None


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    for name, said in (("a.json", "not JSON"), ("b.json", "not JSON"), ("c.json", "No such file"), (".", "directory")):
        with pytest.raises(sl.SoftLlamaError, match=said):
            storage.read(tmp_path / name)
    with pytest.raises(sl.SoftLlamaError, match="cannot write"):
        storage.write(tmp_path / "nowhere" / "x.json", {})


def test_the_autosave_is_ones_own_and_the_newest_is_found(
    talk: Callable[..., Conversation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTLLAMA_STATE", str(tmp_path / "state"))
    assert storage.latest() is None
    c = talk()
    saves = storage.Autosave()
    saves.write(c.snapshot())
    assert not saves.path.exists()  # nothing was said
    c.changed = lambda: saves.write(c.snapshot())
    c.reply("the dog")
    assert saves.path.stat().st_mode & 0o077 == 0
    assert storage.latest() is None  # it is held
    saves.release()
    found = storage.latest()
    assert found is not None
    assert found[0] == saves.path
    assert found[1]["open"] is True
    d = talk()
    d.restore(found[1])
    assert d.messages == c.messages
    saves.path.with_name("99999999T0.json").write_text("{damaged")
    assert storage.latest() is not None
    for i in range(60):
        storage.write(saves.path.with_name(f"1999-{i:02}.json"), {})
    os.utime(saves.path)
    storage.Autosave().release()
    assert len(list(saves.path.parent.glob("*.json"))) <= storage.KEEP
    assert saves.path.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"think": "maybe"}, {"think": "on", "template": TEMPLATE}, {"think_budget": -1}, {"max_tokens": 0},
        {"max_tokens": True}, {"stop": ("",)}, {"stop": (5,)}, {"policy": "greddy"}, {"policy": 5}, {"answer": "sample:x=1"},
        {"think_tags": "<t>"}, {"seed": -1}, {"seed": 2**63}, {"nonsense": 1}, {"template": "{% for %}"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_are_none(load: Callable[..., sl.Model], settings: dict[str, Any]) -> None:
    with pytest.raises(sl.SoftLlamaError):
        Conversation(load("llama", chat_template=TEMPLATE), **settings).tags  # noqa: B018


def test_changed_settings_count_from_the_next_answer_on(talk: Callable[..., Conversation]) -> None:
    c = talk()
    assert c.reply("dog").n_thinking == 4
    c.set(think_budget=2, answer=policy.greedy())
    assert c.reply("cat").n_thinking == 2
    c.set(think="off")
    assert c.reply("ball").n_thinking == 0
    with pytest.raises(sl.UsageError):
        c.set(think="sometimes")
    assert c.settings.think == "off"
    c.clear()
    assert c.messages == []
    with pytest.raises(sl.UsageError, match="no message"):
        c.undo()
    with pytest.raises(sl.UsageError, match="empty"):
        c.reply("")
