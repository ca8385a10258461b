"""When a method is soft: Cold Stop, the closing tag, the answer, user-written policies, many sequences at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softllama import policy
from softllama.errors import UsageError
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

CLOSE = 9


def uniform(m, n_vocab=12, first=0):
    """Equal probabilities on m ids: the entropy is ln m."""
    z = np.full(n_vocab, -np.inf)
    z[first : first + m] = 0
    return Distribution(z)


def moment(seed=0, **more):
    return policy.Moment(np.random.default_rng(seed), **{"think_close": CLOSE} | more)


def follow(decide, sizes, m):
    """The decisions on uniform distributions of these sizes."""
    decisions = []
    for size in sizes:
        d = decide(uniform(size), m)
        m.advance(d.token)
        decisions.append(d)
    return decisions


METHODS_WITH_COLD_STOP = ["soft_thinking", "random_mix", "top_mean", "cold_stop"]


# ---- Cold Stop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS_WITH_COLD_STOP)
def test_k_1_and_infinite_tau_end_thinking_at_the_first_step(name):
    decide = getattr(policy, name)(k=1, tau=math.inf)
    d = decide(uniform(8), moment())
    assert (d.end_thinking, d.token, d.mode, d.why) == (True, CLOSE, "hard", "cold stop: k=1 steps with H < inf")
    assert d.mixture == Mixture.one_hot(CLOSE)
    bare = decide(uniform(8), np.random.default_rng(0))  # no closing tag is known
    assert bare.end_thinking
    assert bare.token != CLOSE


@pytest.mark.parametrize("name", METHODS_WITH_COLD_STOP)
def test_any_step_that_is_not_below_tau_resets_the_count(name):
    # ln 1 = 0 and ln 2 = 0.693 are below 0.7, ln 3 is not: 3 in a row come only at the end
    decide = getattr(policy, name)(k=3, tau=0.7)
    ends = [d.end_thinking for d in follow(decide, [1, 2, 3, 1, 3, 1, 1, 3, 2, 1, 2], moment())]
    assert ends == [False] * 10 + [True]


def test_cold_stop_is_strict():
    h = uniform(2).entropy(0.6)
    assert not policy.soft_thinking(k=1, tau=h)(uniform(2), moment()).end_thinking
    assert policy.soft_thinking(k=1, tau=np.nextafter(h, 1))(uniform(2), moment()).end_thinking


def test_the_entropy_is_taken_before_the_filters_and_after_temperature():
    flat = Distribution(np.zeros(1000))  # n = 1 leaves one token, of entropy 0; before the filters it is ln 1000
    assert not policy.soft_thinking(n=1, top_k=1, k=1, tau=6.9)(flat, moment()).end_thinking
    assert policy.soft_thinking(n=1, top_k=1, k=1, tau=6.91)(flat, moment()).end_thinking
    two = Distribution([1.0, 0.0])
    tau = two.entropy(0.5)
    assert not policy.soft_thinking(temperature=1, k=1, tau=tau * 1.001)(two, moment(think_close=None)).end_thinking
    assert policy.soft_thinking(temperature=0.5, k=1, tau=tau * 1.001)(two, moment(think_close=None)).end_thinking


def test_tau_0_is_no_cold_stop():
    assert not any(d.end_thinking for d in follow(policy.soft_thinking(k=1, tau=0), [1] * 20, moment()))


def test_cold_stop_acts_only_while_thinking_and_starts_anew():
    decide = policy.soft_thinking(k=3, tau=0.7)
    m = moment()
    assert not any(d.end_thinking for d in follow(decide, [1, 1], m))
    m.thinking = False
    assert not any(d.end_thinking for d in follow(decide, [1] * 10, m))
    m.thinking = True
    assert [d.end_thinking for d in follow(decide, [1, 1, 1, 1], m)] == [False, False, True, False]


@pytest.mark.parametrize("name", METHODS_WITH_COLD_STOP)
def test_a_natural_close_resets_the_count(name):
    decide = getattr(policy, name)(k=3, tau=0.7)
    m = moment()
    follow(decide, [1, 1], m)
    d = decide(uniform(1, first=CLOSE), m)
    assert (d.token, d.end_thinking) == (CLOSE, False)
    assert [d.end_thinking for d in follow(decide, [1, 1, 1], m)] == [False, False, True]


def test_cold_stop_on_discrete_tokens_samples():
    for seed in range(10):
        settings = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.0}
        d = policy.cold_stop(**settings)(uniform(8), np.random.default_rng(seed))
        assert d == policy.sample(**settings)(uniform(8), np.random.default_rng(seed))


# ---- where, and the answer -----------------------------------------------------------------------------------------

SOFT_IN_THINKING = {
    "cold_stop", "dirichlet", "full", "gumbel", "hidden", "multiplex", "random_mix", "route", "soft_noise",
    "soft_thinking", "top_mean",
}  # fmt: skip


@pytest.mark.parametrize("name", policy.names())
def test_where_is_the_published_one(name):
    assert policy.parse(name).where == ("thinking" if name in SOFT_IN_THINKING else "everywhere")


@pytest.mark.parametrize("name", sorted(SOFT_IN_THINKING))
def test_the_answer_has_its_own_settings(name):
    make = getattr(policy, name)
    m = moment(thinking=False)
    d = make(answer=policy.greedy())(uniform(8), m)
    assert (d.token, d.mode, len(d.mixture)) == (0, "hard", 1)
    answer = make().answer
    for seed in range(5):
        assert make()(uniform(8), moment(seed, thinking=False)) == answer(uniform(8), moment(seed))


def test_default_answers():
    answers = {name: repr(policy.parse(name).answer) for name in policy.names()}
    soft = "sample:temperature=0.6,top_k=30,top_p=0.95"
    assert answers == {
        "cold_stop": soft, "dirichlet": soft, "gumbel": soft, "random_mix": soft, "route": soft, "soft_thinking": soft,
        "top_mean": soft, "full": "greedy", "hidden": "greedy", "soft_noise": "greedy", "multiplex": "sample",
        "moi": "sample:temperature=0.6,top_p=0.95", "selar": "sample:temperature=0.6,top_k=20,top_p=0.95",
        "swir": "sample:temperature=0.6,top_k=20,top_p=0.95", "greedy": "None", "sample": "None",
    }  # fmt: skip


def test_where_everywhere_ignores_the_block():
    decide = policy.soft_thinking(where="everywhere")
    assert decide(uniform(8), moment(thinking=False)) == decide(uniform(8), moment())


@pytest.mark.parametrize("name", ["moi", "swir", "selar"])
def test_methods_for_everywhere_can_be_kept_to_thinking(name):
    decide = policy.parse(f"{name}:where=thinking,answer=greedy")
    assert decide(uniform(8), moment(thinking=False)).mode == "hard"
    assert decide(uniform(8), moment()).mode == "soft"


@pytest.mark.parametrize("name", sorted(SOFT_IN_THINKING))
def test_a_readout_that_closes_thinking_is_fed_as_the_tag_alone(name):
    z = np.zeros(12)
    z[CLOSE] = 9
    d = policy.parse(name)(Distribution(z), moment(2))
    assert (d.token, d.mode, d.end_thinking, d.noise, d.hidden) == (CLOSE, "hard", False, 0, False)
    assert d.mixture == Mixture.one_hot(CLOSE)


def test_everywhere_a_closing_readout_stays_a_mixture():
    z = np.zeros(12)
    z[CLOSE] = 4
    assert len(policy.full(where="everywhere")(Distribution(z), moment()).mixture) == 12


def test_hidden_feeds_hidden_states_first():
    decisions = follow(policy.hidden(steps=3), [4] * 5, moment())
    assert [d.hidden for d in decisions] == [True, True, True, False, False]
    assert [d.mode for d in decisions] == ["soft"] * 3 + ["hard"] * 2
    assert not policy.hidden(steps=0)(uniform(4), moment()).hidden


@pytest.mark.parametrize("name", ["selar", "swir"])
def test_hard_only_tokens_are_never_mixed(name):
    decide = policy.parse(name)
    assert decide(uniform(3), moment()).mode == "soft"
    d = decide(uniform(3), moment(hard_only=frozenset(range(3))))
    assert (d.mode, len(d.mixture), d.why) == ("hard", 1, "kept discrete")
    mixed = policy.parse(f"{name}:math=soft")(uniform(3), moment(hard_only=frozenset(range(3))))
    assert mixed == decide(uniform(3), moment())


def test_a_closing_tag_of_several_tokens_is_the_last_after_the_others():
    tag = (3, 4, CLOSE)
    m = moment(think_close=None, close_tag=tag)
    assert not m.closes(CLOSE)
    m.readouts = [7, 3, 4]
    assert m.closes(CLOSE)
    assert not m.closes(4)
    m.readouts = [3, 4, 7]
    assert not m.closes(CLOSE)
    assert moment(close_tag=(CLOSE,)).closes(CLOSE)


@pytest.mark.parametrize("name", METHODS_WITH_COLD_STOP)
def test_the_last_token_of_a_longer_tag_does_not_reset_the_count(name):
    decide = getattr(policy, name)(k=3, tau=0.7)
    m = moment(think_close=None, close_tag=(3, CLOSE))
    follow(decide, [1, 1], m)
    assert decide(uniform(1, first=CLOSE), m).end_thinking


# ---- many sequences ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", policy.names())
def test_one_policy_serves_interleaved_sequences(name):
    text = {
        "soft_thinking": "k=3,tau=0.7", "random_mix": "k=3,tau=0.7", "top_mean": "k=2,tau=0.7",
        "cold_stop": "k=3,tau=0.7", "swir": "window=2,max_switches=1,answer_tokens=2", "hidden": "steps=3",
        "sample": "repetition_penalty=1.3",
    }.get(name, "")  # fmt: skip
    decide = policy.parse(f"{name}:{text}")
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 5, size=(2, 40))
    alone = [follow(decide, sizes[i], moment(i)) for i in range(2)]
    moments = [moment(i) for i in range(2)]
    together = [[], []]
    for step in range(40):
        for i in range(2):
            together[i] += follow(decide, sizes[i, step : step + 1], moments[i])
    assert together == alone


# ---- user-written policies -----------------------------------------------------------------------------------------


def two_when_unsure(distribution, moment):
    """The two best tokens, by their probabilities, unless one of them has most of the mass (README shows this one)."""
    best = distribution.top(2)[0]
    if best.p > 0.5:
        return policy.Decision(Mixture.one_hot(best.id), best.id, "hard")
    return policy.Decision(distribution.to_mixture(n=2), best.id, "soft", why=f"p={best.p:.2f}")


def test_a_plain_function_is_a_policy():
    decide = policy.as_policy(two_when_unsure)
    assert (decide.name, repr(decide), decide.where) == ("two_when_unsure", "two_when_unsure", "everywhere")
    assert decide(uniform(4), np.random.default_rng(0)).mode == "soft"
    assert decide(uniform(4), moment()).mixture == Mixture([0, 1], [0.5, 0.5])
    assert decide(Distribution([9.0, 0.0]), moment()) == policy.Decision(Mixture.one_hot(0), 0, "hard")
    assert policy.as_policy(decide) is decide
    thinking = policy.as_policy(two_when_unsure, where="thinking")
    assert thinking(uniform(4), moment(thinking=False)) == policy.greedy()(uniform(4), moment())
    answer = policy.as_policy(two_when_unsure, where="thinking", answer=lambda d, m: policy.sample()(d, m))
    assert answer(uniform(4), moment(3, thinking=False)) == policy.sample()(uniform(4), moment(3))


def test_a_plain_function_can_be_an_answer():
    decide = policy.full(answer=two_when_unsure)
    assert decide.parameters["answer"] == "two_when_unsure"
    assert decide(uniform(4), moment(thinking=False)).mode == "soft"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: policy.as_policy(3), "a policy is a function of a distribution and a moment, not int"),
        (lambda: policy.as_policy(two_when_unsure, where="later"), "where = 'later' is not allowed"),
        (lambda: policy.greedy()(np.zeros(3), moment()), "a policy needs a Distribution, not ndarray"),
        (lambda: policy.greedy()(uniform(2), 7), "a policy needs a Moment or a numpy Generator, not int"),
        (lambda: policy.as_policy(lambda d, m: d.argmax, name="mine")(uniform(2), moment()), "mine returned int"),
    ],
)
def test_misuse_is_an_error_with_a_sentence(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_policy_is_fixed():
    decide = policy.full()
    with pytest.raises(AttributeError):
        decide.name = "other"
    with pytest.raises(TypeError):
        decide.parameters["epsilon"] = 0.5


def test_advance_records_the_readout():
    m = moment()
    m.advance(np.int64(4))
    assert (m.readouts, m.step) == ([4], 1)


def test_a_policy_says_beforehand_that_it_needs_hidden_states() -> None:
    def back(distribution: Distribution, moment: policy.Moment) -> policy.Decision:
        return policy.Decision(Mixture.one_hot(distribution.argmax), distribution.argmax, "soft", hidden=True)

    assert [name for name in policy.names() if policy.parse(name).needs_hidden] == ["hidden"]
    assert policy.parse("soft_thinking:answer=hidden").needs_hidden  # its answer does
    assert not policy.parse("hidden").answer.needs_hidden
    assert policy.as_policy(back, needs_hidden=True)(uniform(2), moment()).hidden
    with pytest.raises(UsageError, match="feeds a hidden state, which was not kept"):
        policy.as_policy(back)(uniform(2), moment())
