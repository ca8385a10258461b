"""When hidden states are fed, and when that ends. What they are is the loop's business: tests/engine/test_alignment.py."""

from __future__ import annotations

import numpy as np
import pytest

from softllama import policy
from softllama.errors import UsageError
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

NEWLINE, BLANK, CLOSE = 8, 9, 10


def moment(**more: object) -> policy.Moment:
    ids = {"newline": NEWLINE, "blank_line": BLANK, "think_close": CLOSE}
    return policy.Moment(np.random.default_rng(0), **(ids | more))  # type: ignore[arg-type]


def peak(token: int, others: int = 0) -> Distribution:
    """Nearly all on one token, or with `others` beside it nearly as likely."""
    z = np.full(12, -50.0)
    z[:others] = 4.9
    z[token] = 5
    return Distribution(z)


def modes(decide: policy.Policy, ds: list[Distribution], m: policy.Moment) -> list[bool]:
    return [decide(d, m).hidden for d in ds]


def test_align_is_handed_on() -> None:
    assert policy.hidden()(peak(1), moment()).align == "none"
    d = policy.hidden(align="ridge")(peak(1), moment())
    assert (d.hidden, d.align, d.token, d.mixture) == (True, "ridge", 1, Mixture.one_hot(1))


def test_an_entropy_ends_it_for_good() -> None:
    ds = [peak(1), peak(1, others=6), peak(1), peak(1)]
    assert modes(policy.hidden(exit_entropy=1.0), ds, moment()) == [True, False, False, False]
    assert modes(policy.hidden(), ds, moment()) == [True] * 4


def test_exit_entropy_0_is_the_answer() -> None:
    decide, answer = policy.hidden(exit_entropy=0, answer=policy.sample(top_k=3)), policy.sample(top_k=3)
    for seed in range(5):
        d = Distribution(np.random.default_rng(seed).normal(size=12))
        assert decide(d, moment()) == answer(d, moment())


@pytest.mark.parametrize("token", [NEWLINE, BLANK])
def test_a_newline_ends_it_where_that_is_asked_for(token: int) -> None:
    ds = [peak(1), peak(token), peak(1)]
    assert modes(policy.hidden(exit_newline=True), ds, moment()) == [True, False, False]
    assert modes(policy.hidden(), ds, moment()) == [True] * 3


def test_a_closing_tag_ends_it_everywhere() -> None:
    m = moment()
    assert modes(policy.hidden(where="everywhere"), [peak(1), peak(CLOSE), peak(1)], m) == [True, False, False]


def test_a_user_may_align_too() -> None:
    def rule(distribution: Distribution, moment: policy.Moment) -> policy.Decision:
        return policy.Decision(Mixture.one_hot(0), 0, "soft", hidden=True, align="other")  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="the align of a decision is 'other'"):
        policy.as_policy(rule, needs_hidden=True)(peak(1), moment())
