"""A short form of scripts/bench/serve_load.py: sixteen clients at once, a tenth of which go away, a tenth invalid."""

from __future__ import annotations

import asyncio

import pytest

import softllama as sl
from scripts.bench import serve_load
from tests.serve.conftest import running


@pytest.mark.slow
def test_under_load_no_answer_is_wrong_and_none_is_lost(words: sl.Model) -> None:
    with running(sl.serve.app(words, streams=8)) as url:
        r = asyncio.run(serve_load.load(url, seconds=8, clients=16, kinds=12))
    assert not r.problems
    assert r.different == 0
    assert r.counts["asked"] == r.counts["answered"] + r.counts["left"] + r.counts["invalid"] + r.counts["429"]
    assert min(r.counts["answered"], r.counts["left"], r.counts["invalid"]) > 0
