"""softllama lens, --add and --patch of the command line, and run --lens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama.generation.replay import replay
from tests.conftest import Cli


@pytest.fixture
def file(write: Callable[..., Path]) -> str:
    return str(write("llama", n_layer=3))


def test_a_table_on_stdout_and_files_beside_it(cli: Cli, file: str, tmp_path: Path) -> None:
    outputs = [x for n in ("a.html", "a.npz", "a.json", "a.csv") for x in ("-o", tmp_path / n)]
    code, out, err = cli("lens", "-m", file, "--mix", "dog,cat", "--prompt", "The {} says", *outputs)
    assert code == 0
    assert "KL to last" in out
    assert err.count("file: ") == 4
    assert all((tmp_path / n).stat().st_size > 100 for n in ("a.html", "a.npz", "a.json", "a.csv"))


def test_json_of_some_layers_and_positions(cli: Cli, file: str) -> None:
    args = ("lens", "-q", "-m", file, "The dog says", "--layers", "0-1,-1", "--positions", "-2,-1", "--top", "2")
    data = json.loads(cli(*args, "--json")[1])
    assert data["layers"] == [0, 1, 2]
    assert len(data["positions"]) == 2
    assert {len(c["top"]) for c in data["cells"]} == {2}
    assert cli(*args, "--csv")[1].startswith("run,layer,position")


def test_a_frame_is_chosen_without_a_prompt(cli: Cli, file: str) -> None:
    code, out, _ = cli("lens", "-q", "-m", file, "--mix", "dog,cat")
    assert code == 0
    assert "[0.5 dog + 0.5 cat]" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no prompt was given"),
        (("a", "--json", "--csv"), "exclude each other"),
        (("a", "--layers", "x"), "no list of numbers"),
        (("a", "--layers", "5-1"), "no list of numbers"),
        (("a", "--layers", "9"), "no layer 9"),
        (("a", "--positions", "99"), "no position 99"),
        (("a", "-o", "lens.txt"), "cannot save a lens"),
        (("a", "-o", "nowhere/lens.npz"), "no folder"),
        (("a", "--prompt", "b"), "given twice"),
        (("a", "--patch", "layer=1"), "has no position="),
        (("a", "--add", "layer=1"), "has no vector="),
        (("a", "--add", "layer=1,vector=@nowhere.npy"), "cannot read the vector"),
        (("a", "--split", "alternatives"), "only a probe"),
    ],
)
def test_bad_usage_is_one_message(cli: Cli, file: str, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = cli("lens", "-q", "-m", file, *arguments)
    assert code == 2
    assert message in err
    assert out == ""


def test_a_control_vector_steers_every_command(cli: Cli, file: str, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(2).standard_normal(64).astype(np.float32))
    add = ("--add", f"layer=1,scale=5,vector=@{tmp_path / 'v.npy'}")
    for args in (
        ("lens", "-q", "-m", file, "The dog says", "--csv"),
        ("probe", "-q", "-m", file, "The {} says", "--mix", "dog", "--csv"),
        ("run", "-q", "-m", file, "--raw", "The dog", "--policy", "greedy", "--max-tokens", "8"),
    ):
        plain, steered = cli(*args), cli(*args, *add)
        assert plain[0] == steered[0] == 0
        assert plain[1] != steered[1]
        nothing = cli(*args, "--add", f"layer=1,scale=0,vector=@{tmp_path / 'v.npy'}")
        assert nothing[1] == plain[1]
    trace = tmp_path / "t.npz"
    run = ("run", "-q", "-m", file, "--raw", "The dog", "--policy", "greedy", "--max-tokens", "8", "--trace", trace)
    assert cli(*run, *add)[0] == 0
    code, _, err = cli("trace", "replay", "-q", "-m", file, trace)
    assert code == 1
    assert "other control vectors" in err
    assert cli("trace", "replay", "-q", "-m", file, trace, *add)[0] == 0


def test_a_patch_from_a_file(cli: Cli, file: str, tmp_path: Path) -> None:
    npz = tmp_path / "dog.npz"
    assert cli("lens", "-q", "-m", file, "The dog says", "-o", npz)[0] == 0
    at = ("-m", file, "The cat says", "--positions", "-1", "--layers", "-1", "--json")
    out = cli("lens", "-q", *at, "--patch", f"layer=-1,position=-1,state=@{npz}")[1]
    patched = json.loads(out)["cells"]
    dog = json.loads(cli("lens", "-q", "-m", file, "The dog says", *at[3:])[1])["cells"]
    cat = json.loads(cli("lens", "-q", *at)[1])["cells"]
    assert [c["run"] for c in patched] == ["prompt", "without patches"]
    for got, want in ((patched[0], dog[0]), (patched[1], cat[0])):
        assert [t["id"] for t in got["top"]] == [t["id"] for t in want["top"]]
        assert [t["p"] for t in got["top"]] == pytest.approx([t["p"] for t in want["top"]], abs=1e-5)


def test_the_layers_along_a_generation(cli: Cli, file: str, tmp_path: Path) -> None:
    run = ("run", "-m", file, "--raw", "The dog", "--policy", "greedy", "--max-tokens", "9")
    code, out, err = cli(*run, "--lens", "every:4", "--trace", tmp_path / "t.jsonl")
    assert code == 0
    assert "what the layers would say next" in err
    assert cli(*run)[1] == out  # the same text as without
    trace = sl.trace.load(tmp_path / "t.jsonl")
    assert [s.step for s in trace.layers] == [0, 4]  # the last step, 8, is decided and not fed
    assert "layer 2" in cli("trace", "show", tmp_path / "t.jsonl")[1]
    for text in ("4", "every:0", "every:x", "each:4"):
        code, _, err = cli(*run, "--lens", text)
        assert code == 2
        assert "--lens every:4" in err
    code, _, err = cli(*run, "--lens", "every:4", "--samples", "2")
    assert code == 2
    assert "not a search" in err


def test_the_record_of_layers_is_that_of_a_lens(load: Callable[..., sl.Model], tmp_path: Path) -> None:
    """After step 2 the layers say what a lens says of prompt and steps; the last layer, what the next step met."""
    model = load("llama", n_layer=3)
    trace = model.generate([5, 9], policy="soft_thinking", max_tokens=6, seed=1, lens=2)
    items = [*trace.prompt, *(s.mixture for s in trace.steps[:3])]
    want = model.lens(items, positions=[-1])
    got = next(s for s in trace.layers if s.step == 2)
    for i, layer in enumerate(got.layers):
        assert [t for t, _ in layer.top] == want.first.ids[i, 0].tolist()
        assert np.allclose([p for _, p in layer.top], want.first.probs[i, 0], atol=1e-3)
        assert layer.kl == pytest.approx(want.first.kl[i, 0], abs=1e-2)
    met = dict(trace.steps[3].top)
    assert all(abs(met[i] - p) <= 1e-3 for i, p in got.layers[-1].top[:3])
    for name in ("t.npz", "t.jsonl"):
        trace.save(tmp_path / name)
        back = sl.trace.load(tmp_path / name)
        assert back.layers == trace.layers
        assert back.spell(got.layers[0].top[0][0]) == model.spell(got.layers[0].top[0][0])
        assert max(replay(model, back)) == 0
    assert model.generate([5, 9], max_tokens=2).layers == ()
    with pytest.raises(sl.UsageError, match="along one generation"):
        sl.search.sample(model, [5, 9], n=2, max_tokens=2, lens=1)
    with pytest.raises(sl.UsageError, match="lens must be"):
        model.generate([5, 9], lens=0)
