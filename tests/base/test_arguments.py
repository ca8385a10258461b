"""Arguments that are no numbers, or none that is allowed, are sentences wherever a user meets them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import trace
from softllama.base import arguments
from softllama.diagnostics import doctor
from softllama.generation import replay
from softllama.policy import Decision, Moment
from softllama.probe import run

D = sl.Distribution([1.0, 2.0, 3.0])
BAD = ("x", 1.5, None, True, float("nan"), [1])  # none of them is a whole number


def test_a_whole_number_is_what_python_can_count_with() -> None:
    assert arguments.integer("n", np.int64(3)) == 3
    assert arguments.integer("n", 3, 3, 3) == 3
    assert arguments.integer_or_none("n", None) is None
    for bad in ("3", 3.0, True, None, [3], 2, 4):
        with pytest.raises(sl.UsageError, match="n must be a whole number from 3 to 3, not"):
            arguments.integer("n", bad, 3, 3)


def test_a_seed_fits_into_63_bits() -> None:
    assert arguments.seed(np.int64(7)) == 7
    assert arguments.seed(2**63 - 1) == 2**63 - 1
    for bad in ("7", 7.0, True, None, -1, 2**63):
        with pytest.raises(sl.UsageError, match=r"a seed is a whole number from 0 to 2\^63 - 1, not"):
            arguments.seed(bad)


def test_a_number_is_finite_and_no_text() -> None:
    assert arguments.number("x", np.float32(0.5), 0, 1) == 0.5
    assert arguments.number("x", 1) == 1.0
    for bad in ("0.5", True, None, float("nan"), float("inf"), -0.1, 10**400):
        with pytest.raises(sl.UsageError, match="x must be a number of 0 or more, not"):
            arguments.number("x", bad, 0)


LOADING: dict[str, Callable[[Any], Any]] = {
    "n_ctx": lambda x: sl.load(n_ctx=x),
    "threads": lambda x: sl.load(n_threads=x),
    "n_gpu_layers": lambda x: sl.load(n_gpu_layers=x),
}
WITH_MODEL: dict[str, Callable[[sl.Model, Any], Any]] = {
    "session": lambda m, x: m.session(x),
    "context": lambda m, x: m.new_context(x),
    "sequences": lambda m, x: m.new_context(64, x),
    "max_tokens": lambda m, x: m.generate("The", max_tokens=x),
    "think_budget": lambda m, x: m.generate("The", think_budget=x),
    "seed": lambda m, x: m.generate("The", seed=x),
    "sweep": lambda m, x: m.probe("The {}", mix="dog,cat", sweep=x),
    "continue": lambda m, x: m.probe("The {}", mix="dog,cat", continue_tokens=x),
    "n_top": lambda m, x: m.probe("The {}", mix="dog,cat", n_top=x),
    "probe n_ctx": lambda m, x: m.probe("The {}", mix="dog,cat", n_ctx=x),
    "beams": lambda m, x: sl.search.beam(m, "The", beams=x),
    "beam n_ctx": lambda m, x: sl.search.beam(m, "The", n_ctx=x, max_tokens=1),
    "samples": lambda m, x: sl.search.self_consistency(m, "The", samples=x),
    "sample seed": lambda m, x: sl.search.self_consistency(m, "The", samples=1, seed=x),
    "at_once": lambda m, x: sl.search.self_consistency(m, "The", samples=1, at_once=x),
    "best": lambda m, x: sl.search.best_of(m, "The", n=x),
    "chat n_ctx": lambda m, x: sl.Conversation(m, n_ctx=x),
    "chat seed": lambda m, x: sl.Conversation(m, seed=x),
    "chat max_tokens": lambda m, x: sl.Conversation(m, max_tokens=x),
    "truncate": lambda m, x: m.session(64).truncate(x),
    "spell": lambda m, x: m.spell(x),
    "is_eog": lambda m, x: m.is_eog(x),
    "detokenize": lambda m, x: m.detokenize([x]),
    "feed": lambda m, x: m.session(64).feed([x]),
    "prompt": lambda m, x: m.generate([x]),
}
MAY_BE_NONE = {
    "n_ctx",
    "threads",
    "n_gpu_layers",
    "session",
    "think_budget",
    "seed",
    "sweep",
    "probe n_ctx",
    "beam n_ctx",
}
MAY_BE_NONE |= {"max_tokens", "sample seed", "chat n_ctx", "chat seed", "chat max_tokens"}


@pytest.mark.parametrize("name", [*LOADING, *WITH_MODEL])
def test_what_is_no_whole_number_is_told(model: sl.Model, name: str) -> None:
    for bad in BAD:
        if bad is None and name in MAY_BE_NONE:
            continue
        with pytest.raises(sl.SoftLlamaError) as e:
            LOADING[name](bad) if name in LOADING else WITH_MODEL[name](model, bad)
        assert str(bad) in e.value.message or type(bad).__name__ in e.value.message


@pytest.mark.parametrize("name", ["sample", "soft_thinking", "gumbel", "full", "moi", "multiplex"])
def test_settings_of_policies_are_told(name: str) -> None:
    for bad in ("x", None, [1], float("nan")):
        with pytest.raises(sl.UsageError, match="temperature"):
            getattr(sl.policy, name)(temperature=bad)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.generate("The", nonsense=1), lambda m: m.generate("The", max_token=1), lambda m: m.generate(5),
        lambda m: m.generate(None), lambda m: m.generate("The", stop=5), lambda m: m.generate("The", mix=5),
        lambda m: m.generate("The", think_tags=5), lambda m: m.generate("The", template=5, chat=True),
        lambda m: m.generate([{"role": "user"}]), lambda m: m.generate([{"role": "user", "content": 5}]),
        lambda m: m.generate("The", policy=5), lambda m: m.generate("The", where=5), lambda m: sl.load(lora=5),
        lambda m: sl.load(rpc=5), lambda m: sl.load(rpc="host:1"), lambda m: sl.load(5), lambda m: m.embed(None),
        lambda m: m.tokenize(5), lambda m: m.mix(5), lambda m: sl.Conversation(m, stop=5),
        lambda m: sl.Conversation(m, system=5), lambda m: sl.Conversation(m).reply(5), lambda m: D.top("x"),
        lambda m: D.entropy("x"), lambda m: D.sample(5), lambda m: D["x"], lambda m: D.to_mixture(n="x"),
        lambda m: D.to_mixture(mass="x"), lambda m: D.logp("x"), lambda m: D.kl(5), lambda m: D.js(5),
        lambda m: sl.blend(5, [1]), lambda m: sl.blend([sl.Mixture.one_hot(1)], "x"), lambda m: sl.blend([5], [1]),
        lambda m: sl.average([5], [1]), lambda m: sl.average(5, [1]), lambda m: sl.average([D], "x"),
        lambda m: sl.Mixture.one_hot([5]), lambda m: sl.Mixture.one_hot(5).top("x"), lambda m: m.detokenize(5),
        lambda m: sl.Mixture.one_hot(5).top(-1), lambda m: m.detokenize("ab"), lambda m: m.generate(b"The"),
        lambda m: m.session(64).feed(b"The"), lambda m: m.generate("The", policy=""), lambda m: sl.search.beam(5, "The"),
        lambda m: m.generate("The", policy=np.zeros(3)), lambda m: sl.Conversation(5), lambda m: run.probe(5, "The {}", "dog"),
        lambda m: replay.replay(m, 5), lambda m: replay.replay(5, m.generate("The", max_tokens=1)), lambda m: trace.load(5),
        lambda m: m.generate("The", max_tokens=1).save(5), lambda m: m.probe("The {}", "dog").plot(5),
        lambda m: trace.load(b"a.jsonl"), lambda m: sl.Conversation(m).save(5), lambda m: sl.Conversation(m).load(5),
        lambda m: doctor.examine(5),
    ],
)  # fmt: skip
def test_arguments_of_another_kind_are_told(model: sl.Model, use: Callable[[sl.Model], Any]) -> None:
    with pytest.raises(sl.SoftLlamaError):
        use(model)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs notes of exceptions")
def test_a_traceback_shows_the_hint(model: sl.Model) -> None:
    with pytest.raises(sl.UsageError) as e:
        model.generate("The", max_token=5)
    assert traceback.format_exception(e.value)[-2:] == [
        "softllama.errors.UsageError: there is no option 'max_token'\n",
        "Hint: did you mean max_tokens?\n",
    ]


def test_a_misspelt_option_names_the_one_that_was_meant(model: sl.Model) -> None:
    with pytest.raises(sl.UsageError, match="no option 'max_token'") as e:
        model.generate("The", max_token=5)
    assert e.value.hint == "did you mean max_tokens?"


DOG = sl.Mixture.one_hot(5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"token": "x"}, "the token of a decision must be a whole number"), ({"token": 10**6}, "from 0 to"),
        ({"noise": float("nan")}, "the noise of a decision"), ({"noise": -1.0}, "the noise of a decision"),
        ({"left_out": float("nan")}, "left out"), ({"mode": "loud"}, "mode"), ({"mixture": "dog"}, "not a Mixture"),
        ({"forced": (10**6,)}, "a forced token"), ({"forced": "ab"}, "a forced token"), ({"stop": None}, "the stop"),
        ({"mixture": sl.Mixture.trusted(np.array([1]), np.array([np.nan]))}, "step 2 has weights that are no numbers"),
    ],
)  # fmt: skip
def test_what_a_users_policy_decides_is_looked_at_before_it_is_fed(
    model: sl.Model, wrong: dict[str, Any], message: str
) -> None:
    def mine(d: sl.Distribution, moment: Moment) -> Decision:
        right = {"mixture": DOG, "token": 5, "mode": "soft"}
        return Decision(**{**right, **(wrong if moment.step == 2 else {})})

    with pytest.raises(sl.UsageError, match=message):
        model.generate("The dog", policy=mine, max_tokens=5, seed=1)


def test_a_users_policy_may_use_numpys_numbers(model: sl.Model) -> None:
    def mine(d: sl.Distribution, moment: Moment) -> Decision:
        token = d.logits.argmax()  # an np.int64
        return Decision(sl.Mixture.one_hot(int(token)), token, "hard", forced=[token])  # type: ignore[arg-type]

    steps = model.generate("The dog", policy=mine, max_tokens=4, seed=1).steps
    assert [type(s.token) for s in steps] == [int] * 4
    assert steps[1].token == steps[0].token
