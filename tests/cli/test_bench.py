"""`softllama bench` as typed: what it measures and how it looks. No number is asserted: speed is checked by looking."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Cli = Callable[..., tuple[int, str, str]]
SHORT = ("bench", "--steps", "2", "--repeat", "1", "--policy", "soft_thinking:n=3", "--policy", "full", "-q")


def test_everything_is_measured_as_json(cli: Cli) -> None:
    code, out, err = cli(*SHORT, "--streams", "1,3", "--sweep", "5", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found["policies"]) == ["llama.cpp greedy", "soft_thinking:n=3", "full", "llama-cpp-python Llama"]
    assert all(r["seconds"]["min"] <= r["seconds"]["median"] <= r["seconds"]["max"] for r in found["policies"].values())
    assert (
        found["policies"]["full"]["tokens"]["median"] > 3 >= found["policies"]["soft_thinking:n=3"]["tokens"]["median"]
    )
    assert list(found["streams"]) == ["1", "3"]
    one, three = (found["streams"][k] for k in ("1", "3"))
    assert min(one["outside"]["min"], three["outside"]["min"]) > 0
    assert "more" not in one
    assert three["more"]["min"] <= three["more"]["max"]
    assert found["sweep"]["positions"] == 8  # whole batches
    parts = found["parts"]["full"]
    ours = ("batch", "logits", "policy", "mixing", "record")
    assert set(parts) == {"llama.cpp", *ours, "outside", "step"}
    assert all(x["min"] <= x["q1"] <= x["median"] <= x["q3"] <= x["max"] for x in parts.values())
    assert parts["step"]["max"] >= parts["outside"]["min"] > 0
    assert sum(parts[p]["min"] for p in ours) > 0
    assert found["memory"]["most"] >= found["memory"]["after loading"] > 1e6
    assert found["manifest"]["model"]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_tables_fit_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = cli(*SHORT, "--streams", "1", "--sweep", "3")
    assert code == 0
    assert all(len(line) <= width for line in out.splitlines())
    for word in ("x llama.cpp", "mixing", "Streams", "A sweep of 8 positions", "memory"):
        assert word in out or (width < 80 and word == "x llama.cpp")


@pytest.mark.parametrize(
    "bad", [("--policy", "nosuch"), ("--streams", "1,x"), ("--streams", "65"), ("--policy", "full:epsilon=2")]
)
def test_what_is_wrong_is_told_before_anything_is_measured(cli: Cli, bad: tuple[str, str]) -> None:
    code, out, err = cli("bench", *bad)
    assert (code, out) == (2, "")
    assert "measuring" not in err
    assert err.startswith("Error: ")
