"""Whatever is sent, the server answers: no 5xx but 503, no crash, no hang; and every answer is as it is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softllama as sl
from tests.serve.conftest import running

pytestmark = pytest.mark.slow
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def fuzzed(words: sl.Model) -> Iterator[Any]:
    with running(sl.serve.app(words, streams=2, n_ctx=96, queue=4)) as url, httpx.Client(base_url=url, timeout=60) as c:
        yield c
        body = {"messages": [{"role": "user", "content": "dog"}], "max_tokens": 2}
        assert c.post("/v1/chat/completions", json=body).status_code == 200  # it lives


SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "0", "dog,cat", "@x"]),
)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3), max_leaves=6
)
BLOCK = st.fixed_dictionaries(
    {},
    optional={
        "policy": st.sampled_from(
            ["greedy", "full", "hidden", "gumbel:tau=0", "swir", "x", "sample:temperature=0,answer=1"]
        ),
        "answer_policy": VALUES,
        "think": st.sampled_from([True, False, "auto", "on", "off", "prompt", "x", 1]),
        "think_budget": st.integers(-1, 5),
        "think_tags": st.sampled_from([None, "", "<a>,</a>", "a", ",,"]),
        "mixtures": st.dictionaries(st.sampled_from(["", "a", "b"]), VALUES, max_size=2),
        "signed": VALUES,
        "trace": st.sampled_from(["steps", "record", None, "x"]),
        "prefix": st.fixed_dictionaries(
            {"items": st.lists(st.fixed_dictionaries({"id": st.integers(-1, 930)}), max_size=4)}
        ),
        "on_loop": VALUES,
        "date": VALUES,
        "where": st.sampled_from(["thinking", "everywhere", "x"]),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["words", "words@full", "words@", "@", "x", None, 1]),
    "max_tokens": st.sampled_from([0, 1, 3, -1, None, "2", 1e9]),
    "temperature": st.sampled_from([0, 0.5, 2, -1, None, "hot"]),
    "top_p": st.sampled_from([0, 0.5, 1, 2, None]),
    "top_k": st.sampled_from([-1, 0, 5, 2**40]),
    "stop": st.one_of(st.text(max_size=4), st.lists(st.text(max_size=4), max_size=3), VALUES),
    "seed": st.one_of(st.integers(), VALUES),
    "n": st.sampled_from([1, 2, 0, 7, 200]),
    "stream": st.booleans() | VALUES,
    "stream_options": VALUES,
    "logprobs": st.sampled_from([True, False, None, 0, 2, 99, "x"]),
    "top_logprobs": st.sampled_from([0, 3, 21, None]),
    "softllama": BLOCK | VALUES,
}
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["The {} says", "{a}", "{", "<think>", "<|im_end|>", "\x00", "dog " * 100]
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool", "x", ""]), "content": TEXTS | VALUES}
)
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "/v1/chat/completions": st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=3)}, optional=FIELDS),
    "/v1/completions": st.fixed_dictionaries(
        {"prompt": TEXTS | st.lists(TEXTS, max_size=3) | st.lists(st.integers(-1, 930), max_size=5) | VALUES},
        optional={**FIELDS, "echo": st.booleans(), "suffix": VALUES},
    ),
    "/v1/softllama/probe": st.fixed_dictionaries(
        {
            "prompt": TEXTS,
            "mixtures": st.sampled_from(["dog,cat", {"a": "dog:0.5,cat:0.5"}, {"": {"dog": 1}}]) | VALUES,
        },
        optional={
            "chat": st.booleans(),
            "top": st.integers(-1, 300),
            "signed": VALUES,
            "watch": VALUES,
            "system": VALUES,
        },
    ),
    "/v1/softllama/sweep": st.fixed_dictionaries(
        {"prompt": TEXTS, "mixtures": st.sampled_from(["dog,cat", {"a": "dog,cat"}]) | VALUES},
        optional={"points": st.integers(-1, 9)},
    ),
    "/v1/softllama/score": st.fixed_dictionaries(
        {
            "prompt": TEXTS | st.lists(st.integers(-1, 930), max_size=4),
            "continuation": TEXTS | st.lists(TEXTS, max_size=3),
        },
        optional={"top": st.integers(-1, 21), "mixtures": VALUES},
    ),
    "/v1/softllama/lens": st.fixed_dictionaries({"prompt": TEXTS, "mixtures": VALUES | st.just("dog,cat")}),
    "/tokenize": st.fixed_dictionaries(
        {}, optional={"content": TEXTS | VALUES, "add_special": VALUES, "with_pieces": VALUES}
    ),
    "/detokenize": st.fixed_dictionaries({"tokens": st.lists(st.integers(-5, 2**33), max_size=4) | VALUES}),
}


def answered(r: httpx.Response) -> None:
    """An answer, or an error in OpenAI's form."""
    assert r.status_code in (200, 400, 403, 404, 405, 413, 422, 429, 503), (r.status_code, r.text)
    if r.status_code == 503:
        assert r.json()["error"]["code"] != "internal_error", r.text
    if r.status_code != 200:
        assert set(r.json()["error"]) == {"message", "type", "param", "code"}
    elif r.headers["content-type"].startswith("text/event-stream"):
        assert r.text.endswith("data: [DONE]\n\n") or "event: error" in r.text
        assert "internal_error" not in r.text
    elif r.headers["content-type"] == "application/json":
        json.loads(r.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("route", BODIES)
def test_any_object(fuzzed: Any, route: str) -> None:
    @settings(max_examples=120)
    @given(BODIES[route])
    def ask(body: Any) -> None:
        answered(fuzzed.post(route, content=json.dumps(body).encode("utf-8", "surrogatepass"), headers=JSON))

    ask()


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/softllama/probe"])
def test_any_bytes(fuzzed: Any, route: str) -> None:
    @settings(max_examples=80)
    @given(st.binary(max_size=200))
    def ask(data: bytes) -> None:
        answered(fuzzed.post(route, content=data, headers=JSON))

    ask()


def test_any_path_and_header(fuzzed: Any) -> None:
    @settings(max_examples=80)
    @given(
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]),
        st.sampled_from(["/", "/v1/models/", "/v1/", "/docs", "/metrics", "/v1/softllama/policies"]),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10),
    )
    def ask(method: str, path: str, more: str) -> None:
        r = fuzzed.request(method, path + more.replace("#", "").replace("?", "%3F"), headers={"X-More": more})
        assert r.status_code < 500, (r.status_code, r.text)

    ask()
