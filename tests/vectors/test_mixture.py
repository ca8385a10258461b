"""Mixtures as values, and as people write them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from softllama.errors import MixtureError
from softllama.vectors.mix_text import MixSpec, Part, from_weights, parse
from softllama.vectors.mixture import TOLERANCE, Mixture, blend

INF, NAN = float("inf"), float("nan")


def pairs(m: Mixture) -> list[tuple[int, float]]:
    return list(zip(m.ids.tolist(), m.weights.tolist(), strict=True))


# ---- values


def test_ids_are_sorted_and_weights_follow() -> None:
    m = Mixture([7, 3, 5], [0.25, 0.5, 0.25])
    assert pairs(m) == [(3, 0.5), (5, 0.25), (7, 0.25)]
    assert (m.ids.dtype, m.weights.dtype) == (np.int32, np.float32)
    assert len(m) == 3
    assert m.argmax == 3
    assert not m.signed


def test_an_id_given_twice_has_its_weights_added() -> None:
    assert pairs(Mixture([4, 1, 4], [0.25, 0.5, 0.25])) == [(1, 0.5), (4, 0.5)]


def test_it_cannot_be_changed() -> None:
    m = Mixture([1, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match="read-only"):
        m.weights[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        m.ids[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.ids = m.ids  # type: ignore[misc]


def test_it_does_not_change_with_the_arrays_it_was_made_from() -> None:
    ids, w = np.array([1, 2], dtype=np.int32), np.array([0.5, 0.5], dtype=np.float32)
    m = Mixture(ids, w)
    ids[0], w[0] = 9, 9
    assert pairs(m) == [(1, 0.5), (2, 0.5)]
    assert ids.flags.writeable


def test_equality_and_hash_go_by_value() -> None:
    a, b, c = Mixture([1, 2], [0.5, 0.5]), Mixture([2, 1], [0.5, 0.5]), Mixture([1, 2], [0.25, 0.75])
    assert a == b
    assert hash(a) == hash(b)
    assert a != c
    assert a != "a"
    assert len({a, b, c}) == 2


def test_one_hot() -> None:
    assert pairs(Mixture.one_hot(17)) == [(17, 1.0)]
    assert Mixture.one_hot(np.int32(17)) == Mixture([17], [1])  # type: ignore[arg-type]
    assert Mixture(17, 1.0) == Mixture.one_hot(17)


def test_the_largest_id() -> None:
    assert Mixture.one_hot(2**31 - 1).ids.tolist() == [2**31 - 1]


def test_a_sum_within_the_tolerance_is_taken() -> None:
    Mixture([0, 1], [0.5, 0.5 + 0.9 * TOLERANCE])
    with pytest.raises(MixtureError, match=r"sum to 1\.0"):
        Mixture([0, 1], [0.5, 0.5 + 2 * TOLERANCE])


def test_float32_vectors_of_a_whole_vocabulary_sum_to_one() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(1 << 18)).astype(np.float32)
    assert len(Mixture.from_dense(p)) == np.count_nonzero(p)


def test_signed_weights_are_taken_as_they_are() -> None:
    m = Mixture([5, 6, 7], [1, -1, 1], signed=True)
    assert m.weights.tolist() == [1, -1, 1]
    assert m.signed
    assert Mixture([5], [0.25], signed=True).weights.tolist() == [0.25]


def test_from_distribution() -> None:
    p = [0.1, 0.4, 0.0, 0.1, 0.4]
    assert [i for i, _ in pairs(Mixture.from_distribution(p))] == [0, 1, 3, 4]
    assert pairs(Mixture.from_distribution(p, n=2)) == [(1, 0.5), (4, 0.5)]
    assert Mixture.from_distribution(p, n=3).ids.tolist() == [0, 1, 4]  # the first among equals
    assert Mixture.from_distribution(p, n=99) == Mixture.from_distribution(p)
    assert Mixture.from_distribution(p, mass=0.4).ids.tolist() == [1]
    assert Mixture.from_distribution(p, mass=0.41).ids.tolist() == [1, 4]
    assert Mixture.from_distribution(p, mass=0.9).ids.tolist() == [0, 1, 4]
    assert Mixture.from_distribution(p, n=1, mass=0.9).ids.tolist() == [1]
    assert pairs(Mixture.from_distribution([2.0, 6.0])) == [(0, 0.25), (1, 0.75)]


def test_from_dense_takes_the_vector_as_it_is() -> None:
    assert pairs(Mixture.from_dense([0, 0.25, 0, 0.75])) == [(1, 0.25), (3, 0.75)]
    assert pairs(Mixture.from_dense([0, 3, -2], signed=True)) == [(1, 3), (2, -2)]


def test_top() -> None:
    m = Mixture([1, 2, 3], [0.25, 0.5, 0.25])
    assert m.top() == [(2, 0.5), (1, 0.25), (3, 0.25)]
    assert m.top(1) == [(2, 0.5)]


def test_repr_shows_the_heaviest() -> None:
    assert repr(Mixture([1, 2], [0.25, 0.75])) == "Mixture(2 tokens; #2: 0.75, #1: 0.25)"
    assert "…" in repr(Mixture(range(10), np.full(10, 0.1)))


def test_blend_is_the_mixture_of_the_sums() -> None:
    a, b = Mixture([1, 2], [0.5, 0.5]), Mixture([2, 3], [0.5, 0.5])
    assert pairs(blend([a, b], [0.5, 0.5])) == [(1, 0.25), (2, 0.5), (3, 0.25)]
    assert blend([a], [1]) == a
    assert blend([a, b], [1, 0]).weights.tolist() == [0.5, 0.5, 0.0]
    assert pairs(blend([a, b], [2, -1], signed=True)) == [(1, 1.0), (2, 0.5), (3, -0.5)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture([], []), "at least one"),
        (lambda: Mixture([1], [0.5, 0.5]), "as many ids as weights"),
        (lambda: Mixture([[1]], [[1.0]]), r"\(1, 1\)"),
        (lambda: Mixture([1.0], [1.0]), "integers, not float64"),
        (lambda: Mixture(["a"], [1.0]), "integers"),
        (lambda: Mixture([True], [1.0]), "integers, not bool"),
        (lambda: Mixture([None], [1.0]), "integers"),
        (lambda: Mixture([[1], [2, 3]], [1.0, 0.0]), "two lists of numbers"),
        (lambda: Mixture([1], ["x"]), "two lists of numbers"),
        (lambda: Mixture([-1], [1.0]), "token id -1 is out of range"),
        (lambda: Mixture([2**31], [1.0]), "token id 2147483648 is out of range"),
        (lambda: Mixture([2**70], [1.0]), "out of range|integers"),
        (lambda: Mixture([1], [0.5]), "sum to 0.5, not 1"),
        (lambda: Mixture([1, 2], [0.7, 0.7]), "sum to 1.4, not 1"),
        (lambda: Mixture([1, 2], [0.0, 0.0]), "sum to 0, not 1"),
        (lambda: Mixture([1, 2], [1.5, -0.5]), "negative: -0.5"),
        (lambda: Mixture([1], [NAN]), "a weight is nan"),
        (lambda: Mixture([1], [INF]), "a weight is inf"),
        (lambda: Mixture([1], [NAN], signed=True), "a weight is nan"),
        (lambda: Mixture([1], [1e7], signed=True), "too large"),
        (lambda: Mixture([1], [1e300]), "sum to 1e"),
        (lambda: Mixture.one_hot(-3), "token id -3"),
        (lambda: Mixture.one_hot("dog"), "integers"),  # type: ignore[arg-type]
        (lambda: Mixture.from_distribution([0.5, 0.5], n=0), "n = 0"),
        (lambda: Mixture.from_distribution([0.5, 0.5], mass=0), "mass"),
        (lambda: Mixture.from_distribution([0.5, 0.5], mass=1.5), "1.5"),
        (lambda: Mixture.from_distribution([0.5, -0.5]), "negative"),
        (lambda: Mixture.from_distribution([0.0, 0.0]), "positive"),
        (lambda: Mixture.from_distribution([NAN, 0.5]), "nan|not a number|finite"),
        (lambda: Mixture.from_distribution([]), "shape"),
        (lambda: Mixture.from_dense([0, 0]), "0 everywhere"),
        (lambda: Mixture.from_dense([[1.0]]), r"\(1, 1\)"),
        (lambda: Mixture.from_dense(["a"]), "numbers"),
        (lambda: Mixture.from_dense([INF]), "inf|finite"),
        (lambda: blend([], []), "0 mixtures"),
        (lambda: blend([Mixture.one_hot(1)], [0.5, 0.5]), "1 mixtures"),
        (lambda: blend([Mixture.one_hot(1)], [0.5]), "sum to 0.5"),
        (lambda: blend([Mixture.one_hot(1)], [NAN]), "a weight is nan"),
    ],
)
def test_what_is_no_mixture(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MixtureError, match=message) as e:
        make()
    assert e.value.exit_code == 2


def test_a_wrong_sum_names_the_remedy() -> None:
    with pytest.raises(MixtureError) as e:
        Mixture([1, 2], [1, 2])
    assert "--normalize" in e.value.hint
    with pytest.raises(MixtureError) as e:
        Mixture([1, 2], [1, -2])
    assert "--signed" in e.value.hint


# ---- the written form


def words(spec: MixSpec) -> list[tuple[str, float]]:
    return [(str(p), round(w, 12)) for p, w in zip(spec.parts, spec.weights, strict=True)]


GOOD: list[tuple[str, list[tuple[str, float]]]] = [
    ("dog:0.5,cat:0.5", [("dog", 0.5), ("cat", 0.5)]),
    ("dog", [("dog", 1.0)]),
    ("dog:1", [("dog", 1.0)]),
    ("dog,cat", [("dog", 0.5), ("cat", 0.5)]),
    ("a,b,c,d", [("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25)]),
    (" dog : 0.5 , cat : 0.5 ", [("dog", 0.5), ("cat", 0.5)]),
    ("dog:.5,cat:5e-1", [("dog", 0.5), ("cat", 0.5)]),
    ("dog:0.5,dog:0.5", [("dog", 0.5), ("dog", 0.5)]),
    ("dog:1,cat:0", [("dog", 1.0), ("cat", 0.0)]),
    ("New York:0.5,x:0.5", [("New York", 0.5), ("x", 0.5)]),
    ('"New York":0.3,x:0.7', [("New York", 0.3), ("x", 0.7)]),
    ('" dog":0.5,"cat ":0.5', [(" dog", 0.5), ("cat ", 0.5)]),
    ('",":0.5,":":0.5', [(",", 0.5), (":", 0.5)]),
    ('"12:30":0.5,"a,b":0.5', [("12:30", 0.5), ("a,b", 0.5)]),
    (r'"say \"hi\"":0.5,"back\\slash":0.5', [('say "hi"', 0.5), (r"back\slash", 0.5)]),
    (r'"\n":0.5,"\t":0.5', [("\n", 0.5), ("\t", 0.5)]),
    ('"#12":1', [("#12", 1.0)]),
    ('"@x"', [("@x", 1.0)]),
    ("#12:0.5,#13:0.5", [("#12", 0.5), ("#13", 0.5)]),
    ("#12", [("#12", 1.0)]),
    ("#0:1", [("#0", 1.0)]),
    ("12:0.5,13:0.5", [("12", 0.5), ("13", 0.5)]),
    ("a:b:0.5,c:0.5", [("a:b", 0.5), ("c", 0.5)]),
    ('it"s:0.5,x:0.5', [('it"s', 0.5), ("x", 0.5)]),
    ("naïve:0.5,犬:0.5", [("naïve", 0.5), ("犬", 0.5)]),
    ("-:1", [("-", 1.0)]),
    ("dog:50%,cat:50%", [("dog", 0.5), ("cat", 0.5)]),
    ("dog: 12.5 %, cat:87.5%", [("dog", 0.125), ("cat", 0.875)]),
    ("dog=0.5,cat=0.5", [("dog", 0.5), ("cat", 0.5)]),
    ("dog = 50%, cat = 50%", [("dog", 0.5), ("cat", 0.5)]),
    ("New York=0.5,LA=.5", [("New York", 0.5), ("LA", 0.5)]),
    ("0.5 dog + 0.5 cat", [("dog", 0.5), ("cat", 0.5)]),
    ("0.5*dog + 0.5*cat", [("dog", 0.5), ("cat", 0.5)]),
    ("50% dog + 50% cat", [("dog", 0.5), ("cat", 0.5)]),
    ("0.25 dog + 0.25 New York + .5 fox", [("dog", 0.25), ("New York", 0.25), ("fox", 0.5)]),
    ('0.5 "a + b" + 0.5 #12', [("a + b", 0.5), ("#12", 0.5)]),
    ("0.5 dog", [("0.5 dog", 1.0)]),
    ("3,7", [("3", 0.5), ("7", 0.5)]),
    ("C++,1+1", [("C++", 0.5), ("1+1", 0.5)]),
]


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_good_forms(text: str, expected: list[tuple[str, float]]) -> None:
    spec = parse(text)
    assert words(spec) == expected
    assert spec.text == text
    assert (spec.name, spec.vector) == ("", "")


def test_quotes_and_ids_are_told_apart() -> None:
    spec = parse('"#12":0.5,#12:0.5')
    assert spec.parts == (Part("#12", quoted=True), Part(id=12))


def test_names() -> None:
    spec = parse("a=dog:0.5,cat:0.5")
    assert spec.name == "a"
    assert words(spec) == [("dog", 0.5), ("cat", 0.5)]
    assert parse("animal_2=x").name == "animal_2"
    assert parse("v=@x.npy") == MixSpec(name="v", vector="x.npy")
    assert parse('"a=b":1').name == ""
    assert words(parse('"a=b":1')) == [("a=b", 1.0)]


def test_vectors() -> None:
    assert parse("@some/path, with comma.npy").vector == "some/path, with comma.npy"
    assert parse("@v.npy").parts == ()


def test_normalize_and_signed() -> None:
    assert words(parse("dog:1,cat:3", normalize=True)) == [("dog", 0.25), ("cat", 0.75)]
    assert words(parse("king:1,man:-1,woman:1", signed=True)) == [("king", 1), ("man", -1), ("woman", 1)]
    assert words(parse("a,b,c", normalize=True)) == [("a", round(1 / 3, 12))] * 1 + [
        ("b", round(1 / 3, 12)),
        ("c", round(1 / 3, 12)),
    ]


def test_a_name_and_an_equals_sign_are_told_apart() -> None:
    """All of several items with a number are weights; one alone, or one without a number, is a slot's name."""
    assert parse("dog=0.5,cat=0.5").name == ""
    assert parse("animal=dog=0.5,cat=0.5").name == "animal"
    assert words(parse("animal=dog=0.5,cat=0.5")) == [("dog", 0.5), ("cat", 0.5)]
    assert words(parse("animal=0.5 dog + 0.5 cat")) == [("dog", 0.5), ("cat", 0.5)]
    assert parse("animal=0.5 dog + 0.5 cat").name == "animal"
    for text in ("digit=3", "digit=3,7", "a=3,b"):
        assert parse(text).name in ("digit", "a")


def test_signed_sums() -> None:
    assert words(parse("1 king - 1 man + 1 woman", signed=True)) == [("king", 1), ("man", -1), ("woman", 1)]


@pytest.mark.parametrize("text", [t for t, _ in GOOD])
def test_round_trip(text: str) -> None:
    """Quoted, with all digits, it says the same again."""
    spec = parse(text)
    quoted = []
    for part, w in zip(spec.parts, spec.weights, strict=True):
        word = str(part) if part.id is not None else '"' + part.word.replace("\\", r"\\").replace('"', r"\"") + '"'
        quoted.append(f"{word}:{w!r}")
    assert words(parse(",".join(quoted))) == words(spec)


BAD: list[tuple[str, str, str]] = [
    ("", "is empty", "word:weight"),
    ("   ", "is empty", "word:weight"),
    ("a=", "is empty", "word:weight"),
    (",", "an empty item", "quote a comma"),
    ("dog:0.5,", "an empty item", "quote a comma"),
    ("dog:0.5,,cat:0.5", "an empty item", "quote a comma"),
    (":0.5,x:0.5", "no word before the colon", "word:weight"),
    ("dog:", "the weight of 'dog' is '', which is not a number", "quote a word"),
    ("dog:x", "the weight of 'dog' is 'x'", "12:30"),
    ("dog:0,5", "which is not a number|'5' has none|has no", ""),
    ("dog:1_0", "'1_0', which is not a number", ""),
    ("dog:nan", "the weight of 'dog' is nan", "plain numbers"),
    ("dog:inf", "the weight of 'dog' is inf", "plain numbers"),
    ("dog:1e999", "the weight of 'dog' is 1e999", "plain numbers"),
    ("dog:0.5,cat", "'dog' has a weight and 'cat' has none", "every word"),
    ("dog:0.5,cat:0.4", "sum to 0.9, not 1", "--normalize"),
    ("dog:0,cat:0", "sum to 0, not 1", "positive"),
    ("dog:-1,cat:2", "negative: -1", "--signed"),
    ('"dog:0.5,cat:0.5', "a quote is not closed", "New York"),
    ('"dog"x:0.5', "'x:0.5' follows a closing quote", "New York"),
    ('"":1', "an empty word", "word:weight"),
    ("#:1", "is not a token id", "#1234"),
    ("#x:1", "is not a token id", "#1234"),
    ("#-1:1", "is not a token id", "#1234"),
    ("#1.5:1", "is not a token id", "#1234"),
    ("#2147483648:1", "out of range", "vocabulary"),
    ("#99999999999999999999:1", "out of range", "vocabulary"),
    ("dog:0.5 cat:0.5", "has two weights", "a comma"),
    ("dog:0.5;cat:0.5", "has two weights", "a comma"),
    ("dog:50%x", "is '50%x', which is not a number", "quote a word"),
    ("@", "needs the name of an .npy file", "@vector.npy"),
]


@pytest.mark.parametrize(("text", "message", "hint"), BAD)
def test_bad_forms(text: str, message: str, hint: str) -> None:
    with pytest.raises(MixtureError, match=message) as e:
        parse(text)
    assert hint in e.value.hint
    assert e.value.hint


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("dog:1", {"signed": True, "normalize": True}, "exclude each other"),
        ("dog:0,cat:0", {"normalize": True}, "sum to 0 cannot be normalized"),
        ("dog:1,cat:-1", {"normalize": True}, "sum to 0 cannot be normalized"),
        ("dog:2,cat:-1", {"normalize": True}, "negative"),
        ("dog:1e300,cat:1e300", {"signed": True}, "too large"),
        ("dog:1e308,cat:1e308,x:1e308", {"normalize": True}, "cannot be normalized"),
    ],
)
def test_bad_options(text: str, options: dict[str, bool], message: str) -> None:
    with pytest.raises(MixtureError, match=message):
        parse(text, **options)


def test_words_and_weights() -> None:
    assert words(from_weights({"dog": 0.5, 'a "b", c:d\\n': 0.5})) == [("dog", 0.5), ('a "b", c:d\\n', 0.5)]
    assert words(from_weights({"dog": 1, "cat": 3}, normalize=True)) == [("dog", 0.25), ("cat", 0.75)]
    wrongs: list[dict[Any, Any]] = [{}, {"": 1.0}, {"a": True}, {1: 1.0}, {"a": 0.5}, {"a": float("nan")}]
    for wrong in wrongs:
        with pytest.raises(MixtureError):
            from_weights(wrong)


def test_a_mixture_with_words_shows_them() -> None:
    m = Mixture([1, 2], [0.25, 0.75])
    shown = m.with_words({1: " dog", 2: " <cat>"}.__getitem__)
    assert shown == m
    assert repr(shown) == "Mixture(2 tokens; ' <cat>': 0.75, ' dog': 0.25)"
    assert "&lt;cat&gt;" in shown._repr_html_()
    assert repr(pickle.loads(pickle.dumps(shown))) == repr(m)
    assert repr(m) == "Mixture(2 tokens; #2: 0.75, #1: 0.25)"
