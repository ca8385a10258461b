"""Our own routes: each is the library's function, as JSON."""

from __future__ import annotations

import base64
import io
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import policy
from softllama.engine.score import score

MIX = {"animal": "dog:0.5,cat:0.5"}


def post(client: Any, route: str, status: int = 200, **body: Any) -> dict[str, Any]:
    r = client.post(f"/v1/softllama/{route}", json=body)
    assert r.status_code == status, r.text
    data: dict[str, Any] = r.json()
    return data


def test_policies_have_what_controls_need(client: Any) -> None:
    got = client.get("/v1/softllama/policies").json()
    assert [p["name"] for p in got["policies"]] == policy.names()
    want = {"name": "words", "n_vocab": 923, "thinks": True, "chat_template": True}
    assert got["model"] == {**got["model"], **want}
    assert got["default_policy"] == "soft_thinking"
    for p in got["policies"]:
        assert p["summary"].endswith(".")
        made = policy.parse(p["name"])
        assert (p["acts"], p["soft"]) == (made.where, made.soft)
        for x in p["parameters"]:
            assert x["type"] in ("float", "int", "bool", "str")
            assert x["help"], (p["name"], x["name"])
            if isinstance(x["default"], int | float) and x["minimum"] is not None:
                assert x["minimum"] <= x["default"] <= (math.inf if x["maximum"] is None else x["maximum"])
    by_name = {p["name"]: p for p in got["policies"]}
    assert by_name["soft_thinking"]["source"] == "arXiv:2505.15778"
    assert {x["name"]: x["default"] for x in by_name["gumbel"]["parameters"]}["tau"] == policy.gumbel().parameters[
        "tau"
    ]


def test_a_probe_is_that_of_the_library(client: Any, words: sl.Model) -> None:
    got = post(client, "probe", prompt="The {animal} says", mixtures=MIX, top=5)
    want = words.probe("The {animal} says", mix=MIX, n_top=5)
    assert [t["id"] for t in got["next"]["top"]] == [t.id for t in want.next.top(5)]
    assert got["next"]["entropy"] == pytest.approx(want.next.entropy())
    assert [(c["word"], c["weight"], c["slot"]) for c in got["components"]] == [
        ("dog", 0.5, "animal"),
        ("cat", 0.5, "animal"),
    ]
    ids = [t["id"] for t in got["tokens"]]
    assert len(ids) == len(set(ids))
    for row, d in [
        (got["next"], want.next),
        (got["average"], want.average),
        *zip(got["components"], want.baselines.values(), strict=True),
    ]:
        assert row["p"] == pytest.approx([d[i].p for i in ids])
        assert row["js"] == pytest.approx(d.js(want.next))
        assert {t["id"] for t in row["top"]} <= set(ids)
    mean = [sum(c["weight"] * c["p"][i] for c in got["components"]) for i in range(len(ids))]
    assert got["average"]["p"] == pytest.approx(mean, abs=1e-5)
    assert got["floor"]["js"] >= 0
    signed = post(client, "probe", prompt="The {} says", mixtures="dog:1.5,cat:-0.5", signed=True)
    assert signed["average"] is None


def test_a_sweep_is_that_of_the_library(client: Any, words: sl.Model) -> None:
    got = post(client, "sweep", prompt="The {animal} says", mixtures={"animal": "dog,cat"}, points=5)
    want = words.probe("The {animal} says", mix={"animal": "dog,cat"}, sweep=5).sweep
    assert want is not None
    assert got["alphas"] == [0, 0.25, 0.5, 0.75, 1]
    assert [t["id"] for t in got["tokens"]] == [c.id for c in want.curves]
    assert got["p"] == [pytest.approx(c.p.tolist()) for c in want.curves]
    for p, average in zip(got["p"], got["average"], strict=True):
        assert average == pytest.approx([(1 - a) * p[0] + a * p[-1] for a in got["alphas"]], abs=1e-5)
    assert got["js"][0] == pytest.approx(0, abs=1e-9)
    assert got["js"][-1] == pytest.approx(0, abs=1e-9)
    assert got["js"][2] > 0
    assert got["midpoint"] == pytest.approx(want.midpoint)


def test_a_score_is_the_sum_of_log_probabilities(client: Any, words: sl.Model) -> None:
    got = post(client, "score", prompt="The dog says", continuation=[" woof", " meow", " the house"], top=2)
    prompt = words.tokenize("The dog says", bos=True)
    for text, one in zip((" woof", " meow", " the house"), got["scores"], strict=True):
        ids = words.tokenizer.tokenize(text, lead=False)
        total, known = 0.0, list(prompt)
        for i in ids:
            with words.session() as s:
                total += s.feed(known).logp(i)
            known.append(i)
        assert one["logprob"] == pytest.approx(total, abs=0.05)
        assert [t["id"] for t in one["tokens"]] == ids
        assert [len(t["top"]) for t in one["tokens"]] == [2] * len(ids)
    assert got["best"] == 0
    assert got["scores"][0]["is_greedy"]
    by_ids = post(client, "score", prompt=prompt, continuation=words.tokenizer.tokenize(" woof", lead=False))
    assert by_ids["scores"][0]["logprob"] == pytest.approx(got["scores"][0]["logprob"], abs=0.01)
    mixed = post(client, "score", prompt="The {a} says", continuation=" woof", mixtures={"a": "dog:0.5,cat:0.5"})
    assert mixed["scores"][0]["logprob"] < got["scores"][0]["logprob"]


def test_a_long_continuation_is_scored_in_pieces(words: sl.Model) -> None:
    """More tokens than logits fit into one batch."""
    ids = words.tokenize("The dog says woof. The cat says meow. " * 20, bos=True)
    assert len(ids) > 150
    got = score(words, ids[:1], ids[1:])
    with words.session() as s:
        for before, i in pairwise((0, 1, 63, 64, 65, 66, 128, 129, len(ids) - 1)):
            d = s.feed(ids[before:i])
            assert got[i - 1].logp == pytest.approx(d.logp(ids[i]), abs=0.1)
            assert got[i - 1].id == ids[i]


def test_the_lens_ends_in_the_models_own_output(client: Any, words: sl.Model) -> None:
    got = post(client, "lens", prompt="The {animal} says", mixtures=MIX, top=3)
    assert [x["layer"] for x in got["layers"]] == [0, 1, 2, 3]
    assert [r["name"] for r in got["layers"][0]["rows"]] == ["mixture", "dog", "cat"]
    want = words.probe("The {animal} says", mix=MIX)
    last = got["layers"][-1]["rows"]
    assert last[0]["top"][0]["id"] == want.next.argmax
    assert last[1]["top"][0]["id"] == want.baselines["dog"].argmax
    assert last[0]["entropy"] == pytest.approx(want.next.entropy(), abs=0.05)


def test_vectors_come_as_json_or_npy(client: Any, words: sl.Model) -> None:
    mixture = words.mix("dog:0.5,cat:0.5")
    dense = np.zeros(words.n_vocab, dtype=np.float32)
    dense[mixture.ids] = mixture.weights
    file = io.BytesIO()
    np.save(file, dense, allow_pickle=False)
    want = post(client, "probe", prompt="The {animal} says", mixtures=MIX)["next"]
    for value in (
        {"ids": mixture.ids.tolist(), "weights": mixture.weights.tolist()},
        {"vector": dense.tolist()},
        {"npy": base64.b64encode(file.getvalue()).decode()},
        {"dog": 0.5, "cat": 0.5},
    ):
        got = post(client, "probe", prompt="The {animal} says", mixtures={"animal": value})
        assert got["next"] == want


def as_npy(array: Any, pickle: bool = False) -> str:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickle)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "value",
    [
        "@vector.npy",
        "@/etc/passwd",
        {"npy": as_npy(np.array([{"a": 1}], dtype=object), pickle=True)},
        {"npy": as_npy(np.ones((2, 923)))},
        {"npy": as_npy(np.ones(7))},
        {"npy": as_npy(np.full(923, np.nan))},
        {"npy": as_npy(np.array(["x"] * 923))},
        {"npy": "no base64!"},
        {"npy": base64.b64encode(b"\x93NUMPY\x01\x00").decode()},
        {"vector": [0.5, 0.5]},
        {"ids": [1, 2], "weights": [0.5]},
        {"ids": [923], "weights": [1.0]},
        {"ids": [1]},
        "dog:0.5,cat:0.6",
        "",
    ],
)
def test_what_is_no_mixture_is_refused(client: Any, value: Any) -> None:
    error = post(client, "probe", 400, prompt="The {animal} says", mixtures={"animal": value})["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_what_is_wrong_is_said(client: Any) -> None:
    assert post(client, "probe", 400, prompt="x", mixtures=MIX)["error"]["message"]
    assert post(client, "sweep", 400, prompt="The {animal} says", mixtures={"animal": "dog"})["error"]["message"]
    assert post(client, "sweep", 400, prompt="The {a} says", mixtures=MIX, points=1)["error"]["param"] == "points"
    assert post(client, "score", 400, prompt="a", continuation=[])["error"]["param"] == "continuation"
    assert post(client, "score", 400, prompt="a", continuation="")["error"]["param"] == "continuation"
    assert post(client, "score", 400, prompt="a", continuation="b " * 999)["error"]["code"] == "context_length_exceeded"
    assert post(client, "lens", 400, prompt="dog " * 600 + "{animal}", mixtures=MIX)["error"]["message"]
