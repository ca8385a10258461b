"""SwiReasoning's state machine against tables worked out by hand from its description."""

from __future__ import annotations

import numpy as np
import pytest

from softllama import policy
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

NEWLINE, OPEN, CLOSE, N = 8, 9, 10, 12


def uniform(m):
    z = np.full(N, -np.inf)
    z[:m] = 0
    return Distribution(z)


CLOSES = Distribution(np.eye(1, N, CLOSE)[0] * 1e4)  # the closing tag is sampled; the entropy is 0


def moment(seed=0, **more):
    ids = {"newline": NEWLINE, "think_open": OPEN, "think_close": CLOSE}
    return policy.Moment(np.random.default_rng(seed), **ids | more)


def follow(decide, sizes, m):
    decisions = []
    for size in sizes:
        decisions.append(decide(CLOSES if size == "close" else uniform(size), m))
        m.advance(decisions[-1].token)
        for token in decisions[-1].forced:
            m.advance(token)
    return decisions


def fed(decision):
    """What a step feeds, in words that the tables use."""
    weights = dict(decision.mixture.top())
    tag = {NEWLINE: "newline", OPEN: "open", CLOSE: "close"}
    if decision.mode == "hard":
        assert decision.mixture == Mixture.one_hot(decision.token)
        return "y"
    for token, name in tag.items():
        if token in weights:
            return f"{1 - weights[token]:.2f} p + {weights[token]:.2f} {name}"
    return "p"


# step, tokens of equal probability (H is its logarithm), fed; window 2, a0 0.5, b0 0.7, t_max unknown
TABLE = [
    (0, 4, "0.90 p + 0.10 newline"),  # Href = ln 4, soft
    (1, 4, "p"),  # H = Href: no switch
    (2, 8, "p"),  # rises: soft stays soft, Href stays ln 4
    (3, 5, "p"),  # falls, but not below Href
    (4, 2, "0.70 p + 0.30 close"),  # H < Href: hard, C = 1, Href = ln 2, stay = 0
    (5, 4, "y"),  # H > Href, but stay = 1 < 2
    (6, 2, "y"),  # stay = 2, H = Href
    (7, 3, "0.50 p + 0.50 open"),  # stay = 3, H > Href: soft, Href = ln 3, stay = 0
    (8, 2, "0.70 p + 0.30 close"),  # soft to hard has no window: C = 2, Href = ln 2
    (9, 1, "y"),  # falls: hard stays hard
    (10, 3, "0.50 p + 0.50 open"),  # stay = 2: soft again, Href = ln 3
    (11, 8, "p"),
]


def test_the_table():
    decide = policy.swir(a0=0.5, b0=0.7, window=2, epsilon=0)
    m = moment()
    decisions = follow(decide, [size for _, size, _ in TABLE], m)
    assert [fed(d) for d in decisions] == [text for _, _, text in TABLE]
    assert m.state["swir"].switches == 2
    assert all(0 <= d.token < size and not d.forced for d, (_, size, _) in zip(decisions, TABLE, strict=True))


def test_weights_of_the_first_step_and_of_the_switches():
    d = follow(policy.swir(a0=0.25, window=0), [4, 2, 4], moment())
    assert d[0].mixture == Mixture([0, 1, 2, 3, NEWLINE], [0.225] * 4 + [0.1])
    assert d[1].mixture == Mixture([0, 1, CLOSE], [0.35, 0.35, 0.3])
    assert d[2].mixture == Mixture([0, 1, 2, 3, OPEN], [0.0625] * 4 + [0.75])


def test_readouts_are_samples_with_the_settings_of_sampling():
    d = Distribution(np.linspace(0, 3, N))
    for seed in range(20):
        y = policy.swir(temperature=0.7, top_k=6)(d, moment(seed)).token
        assert y == policy.sample(temperature=0.7, top_k=6, top_p=0.95)(d, moment(seed)).token


def test_both_shares_grow_to_1_with_time():
    decide = policy.swir(a0=0.5, b0=0.7, window=0)
    m = moment(max_steps=100)
    follow(decide, [4], m)
    m.step = 50
    assert fed(follow(decide, [2], m)[0]) == "0.85 p + 0.15 close"  # 0.7 + 0.3 * 50/100
    m.step = 60
    assert fed(follow(decide, [4], m)[0]) == "0.80 p + 0.20 open"  # 0.5 + 0.5 * 60/100
    m.step = 100
    assert fed(follow(decide, [2], m)[0]) == "p"
    m.step = 1000  # past the end
    assert fed(follow(decide, [4], m)[0]) == "p"


def test_shares_of_0():
    d = follow(policy.swir(a0=0, b0=0, window=0), [4, 2, 4], moment())
    assert [x.mixture for x in d[1:]] == [Mixture.one_hot(CLOSE), Mixture.one_hot(OPEN)]
    assert [x.token for x in d[1:]] != [CLOSE, OPEN]


def test_the_default_a0_blends_no_opening_tag():
    assert fed(follow(policy.swir(window=0), [4, 2, 4], moment())[2]) == "p"


def test_the_window_counts_positions_of_the_hard_block():
    decide = policy.swir(a0=0.5, window=3)
    texts = [fed(d) for d in follow(decide, [4, 2, 3, 3, 3], moment())]
    assert texts == ["0.90 p + 0.10 newline", "0.70 p + 0.30 close", "y", "y", "0.50 p + 0.50 open"]


@pytest.mark.parametrize("before", [[], [4], [4, 2], [4, 2, 1]])
def test_a_sampled_closing_tag_locks_the_hard_mode(before):
    m = moment()
    decisions = follow(policy.swir(window=0), [*before, "close", 1, 8, 2, 8], m)[len(before) :]
    assert [fed(d) for d in decisions] == ["y"] * 5
    assert decisions[0].token == CLOSE
    assert not decisions[0].end_thinking
    assert m.state["swir"].switches == (2 in before)


def test_without_tags_the_modes_feed_their_own():
    m = moment(newline=None, think_open=None, think_close=None)
    texts = [fed(d) for d in follow(policy.swir(a0=0.5, window=0), [4, 2, 4], m)]
    assert texts == ["p", "y", "p"]


def test_the_last_token_of_a_longer_tag_locks_nothing():
    m = moment(think_close=None, think_open=None, close_tag=(7, CLOSE))
    texts = [fed(d) for d in follow(policy.swir(window=0), [4, "close", 4], m)]
    assert texts == ["0.90 p + 0.10 newline", "y", "p"]  # H = 0 < ln 4 enters hard, and H = ln 4 soft again


def test_a_block_that_the_loop_closed_is_hard_from_there_on():
    decisions = follow(policy.swir(window=0), [8, 4, 8], moment(closed=True))
    assert [fed(d) for d in decisions] == ["y"] * 3


def test_a_longer_tag_is_fed_as_itself_where_it_ends():
    m = moment(think_close=None, close_tag=(7, CLOSE), readouts=[7])
    d = policy.swir(window=0)(CLOSES, m)
    assert (fed(d), d.why, m.state["swir"].locked) == ("y", "closing tag", True)


# ---- the limit on switches -----------------------------------------------------------------------------------------


def test_between_m_and_2m_each_switch_forces_the_closing_tag_and_beyond_it_the_answer():
    decide = policy.swir(a0=0.5, window=0, max_switches=1, answer_tokens=3)
    m = moment(answer_prefix=(4, 5, 6))
    d = follow(decide, [4, 2, 4, 2, 4, 2], m)
    assert [x.forced for x in d] == [(), (CLOSE,), (), (CLOSE,), (), (CLOSE, 4, 5, 6)]  # C = 1, 2, 3
    assert fed(d[5]) == "0.70 p + 0.30 close"
    answer = follow(decide, [8, 1, 8], m)
    assert [fed(x) for x in answer] == ["y"] * 3
    assert [bool(x.stop) for x in answer] == [False, False, True]


def test_fewer_switches_than_m_force_nothing():
    d = follow(policy.swir(window=0, max_switches=2), [4, 2, 4, 2], moment())
    assert [x.forced for x in d] == [(), (), (), (CLOSE,)]


def test_32_tokens_are_left_to_answer():
    m = moment()
    follow(policy.swir(window=0, max_switches=1), [4, 2, 4, 2, 4, 2], m)
    d = follow(policy.swir(window=0, max_switches=1), [3] * 32, m)
    assert [bool(x.stop) for x in d] == [False] * 31 + [True]


def test_a_closing_tag_of_several_tokens_is_forced_whole():
    m = moment(close_tag=(7, 7, CLOSE))
    assert follow(policy.swir(window=0, max_switches=1), [4, 2], m)[1].forced == (7, 7, CLOSE)


def test_a_forced_closing_tag_does_not_lock_and_counts_in_the_window():
    decide = policy.swir(a0=0.5, window=3, max_switches=5)
    m = moment(close_tag=(7, CLOSE))
    m.state.clear()
    decide_m1 = policy.swir(a0=0.5, window=3, max_switches=1)
    texts = [fed(d) for d in follow(decide_m1, [4, 2, 4], m)]
    assert texts[2] == "0.50 p + 0.50 open"  # 2 forced positions and this one
    assert [fed(d) for d in follow(decide, [4, 2, 4], moment())][2] == "y"


def test_no_limit_by_default():
    decisions = follow(policy.swir(window=0), [4, 2] * 50, moment())
    assert not any(d.forced or d.stop for d in decisions)
