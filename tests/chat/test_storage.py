"""Saved conversations as values: what is written is what is read. Damaged ones are in test_conversation.py."""

from __future__ import annotations

import json

import pytest

from softllama import SoftLlamaError
from softllama.chat import settings, storage
from softllama.chat.messages import ASSISTANT, USER, Message, Mix
from softllama.chat.storage import Saved

MANIFEST = {"model": {"name": "x"}}
SAVED = Saved(
    system="Be kind.",
    template="{{ messages }}",
    seed=2**62,
    answers=1,
    settings=settings.options({"policy": "gumbel:tau=0.3", "stop": ("a",)}),
    mixes={"pet": Mix("dog:1,cat:-1", signed=True)},
    messages=(
        Message(USER, "What is {pet}?", {"pet": Mix("dog,cat")}),
        Message(ASSISTANT, "A pet.", thinking="so", details={"seed": 3, "n_answer": 2, "manifest": MANIFEST}),
    ),
)


def test_what_is_written_is_what_is_read() -> None:
    again = storage.parse(json.loads(json.dumps(storage.dump(SAVED))))
    assert storage.dump(again) | {"saved": ""} == storage.dump(SAVED) | {"saved": ""}
    assert again.messages == SAVED.messages
    assert again.mixes == SAVED.mixes
    assert storage.parse(storage.dump(Saved())).messages == ()


def test_a_manifest_is_written_once() -> None:
    two = (*SAVED.messages, *SAVED.messages)
    data = storage.dump(Saved(mixes=SAVED.mixes, messages=two))
    assert data["manifests"] == [MANIFEST]
    assert [m["made"]["manifest"] for m in data["messages"] if m["role"] == ASSISTANT] == [0, 0]
    assert storage.parse(data).messages == two


@pytest.mark.parametrize("data", [None, [], "x", {}, {"kind": "trace"}, {**storage.dump(SAVED), "format": 99}])
def test_what_is_not_a_conversation(data: object) -> None:
    with pytest.raises(SoftLlamaError, match="this is not a conversation"):
        storage.parse(data)
