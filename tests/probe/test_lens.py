"""The lens: readouts of every layer, beside the words alone; its table, files, picture and page; patches from files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama import ControlVector, Mixture, MixtureError, Patch, PromptError, UsageError, Vector
from softllama.probe.lens import page, patch_text
from softllama.vectors.interventions import parse_control

Load = Callable[..., sl.Model]


@pytest.fixture(scope="module")
def three(load: Load) -> sl.Model:
    return load("llama", n_layer=3)


@pytest.fixture(scope="module")
def result(three: sl.Model) -> sl.LensResult:
    return three.lens("The {} says", "dog:0.75,cat:0.25", n_top=4)


def test_the_last_layer_is_the_models_output(three: sl.Model, result: sl.LensResult) -> None:
    probe = three.probe("The {} says", "dog:0.75,cat:0.25")
    assert [r.name for r in result.runs] == ["mixture", "dog", "cat"]
    assert [r.weight for r in result.beside] == [0.75, 0.25]
    for run, d in zip(result.runs, [probe.next, probe.baselines["dog"], probe.baselines["cat"]], strict=True):
        top = d.top(4)
        assert [t.id for t in top] == run.ids[-1, -1].tolist()
        assert np.allclose([t.p for t in top], run.probs[-1, -1], atol=1e-3)  # a batch of another shape
        assert run.entropy[-1, -1] == pytest.approx(d.entropy(), abs=1e-3)
        assert np.abs(run.kl[-1]).max() <= 1e-6
        assert run.kl[0].min() > 1e-3


def test_states_through_norm_and_head_are_the_logits(three: sl.Model) -> None:
    from softllama.engine.lens import Lens

    ids = three.tokenize("The dog says", bos=True)
    states = three.states("The dog says")
    assert states.shape == (3, len(ids), three.n_embd)
    with Lens(three, len(ids)) as r:
        _, own = r.states(ids, range(len(ids)))
        assert np.abs(r.read(states[-1]) - own).max() <= 1e-5
    assert np.array_equal(three.states(ids), states)
    some = three.states("The dog says", layers=[-1, 0], positions=[-1])
    assert np.allclose(some, states[[2, 0]][:, [-1]], atol=1e-5)


def test_what_is_beside_is_measured_against_the_first(result: sl.LensResult) -> None:
    first = result.first
    assert first.cosine is None
    assert first.js is None
    assert result.positions[0] == result.n_positions - len(result.positions)
    for run in result.beside:
        assert run.cosine is not None
        assert run.js is not None
        a, b = run.states[1, 0].astype(float), first.states[1, 0].astype(float)
        assert run.cosine[1, 0] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert (run.js >= 0).all()
    assert first.inputs[0] == "[0.75 dog + 0.25 cat]"
    assert [r.inputs[0] for r in result.beside] == [" dog", " cat"]
    assert result.title == "The [0.75 dog + 0.25 cat] says"


def test_a_mixture_of_one_word_stands_alone(three: sl.Model) -> None:
    one = three.lens("The {} says", "dog")
    plain = three.lens("The dog says", positions=range(one.positions[0], one.n_positions))
    assert len(one.runs) == len(plain.runs) == 1
    assert np.array_equal(one.first.ids, plain.first.ids)
    assert np.allclose(one.first.states, plain.first.states, atol=1e-5)


def test_layers_and_positions_are_chosen(three: sl.Model) -> None:
    every = three.lens("The dog says", n_top=2)
    some = three.lens("The dog says", layers=[-1, 0], positions=[1, -1], n_top=2)
    assert (some.layers, some.positions) == ([2, 0], [1, every.n_positions - 1])
    assert np.array_equal(some.first.ids, every.first.ids[[2, 0]][:, [1, -1]])
    assert every.positions == list(range(every.n_positions))
    long = three.lens([5] * 40, layers=[0])
    assert long.positions == list(range(24, 40))


def test_prompts_of_ids_mixtures_and_vectors(three: sl.Model) -> None:
    half = Mixture([40, 41], [0.5, 0.5])
    r = three.lens([5, half, Vector(three.embed(9), scale="table"), 7])
    assert r.positions == [1, 2, 3]
    assert r.first.inputs[1] == "[vector]"
    by_id = three.lens([5, half, 9, 7])
    assert np.array_equal(by_id.first.states, r.first.states)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: m.lens(), PromptError, "no prompt was given"),
        (lambda m: m.lens([]), PromptError, "no positions"),
        (lambda m: m.lens("a", layers=[3]), UsageError, "no layer 3"),
        (lambda m: m.lens("a", positions=[99]), UsageError, "no position 99"),
        (lambda m: m.lens("a", layers=[]), UsageError, "nothing to look at"),
        (lambda m: m.lens("a", n_top=0), UsageError, "n_top must be"),
        (lambda m: m.lens([5], "dog"), UsageError, "has no slots"),
        (lambda m: m.lens("a", system="x"), UsageError, "needs --chat"),
        (lambda m: m.lens("The {}", "dog", split="alternatives"), MixtureError, "only a probe"),
        (lambda m: m.lens("a", patches=[3]), UsageError, "a patch must be"),
        (lambda m: m.states("a", layers=[-4]), UsageError, "no layer -4"),
    ],
)
def test_bad_arguments_are_one_message(
    three: sl.Model, call: Callable[[Any], object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as e:
        call(three)
    assert message in str(e.value)


# ---- files


def test_every_form_holds_the_same(result: sl.LensResult, tmp_path: Path) -> None:
    for suffix in ("json", "csv", "npz", "html"):
        result.save(tmp_path / f"lens.{suffix}")
    data = json.loads((tmp_path / "lens.json").read_text("utf-8"))
    n = len(result.layers) * len(result.positions)
    assert len(data["cells"]) == 3 * n
    cell = next(c for c in data["cells"] if c["run"] == "dog" and c["layer"] == 1)
    assert cell["js"] == result.beside[0].js[1, 0]  # type: ignore[index]
    assert [t["id"] for t in cell["top"]] == result.beside[0].ids[1, 0].tolist()
    assert data["manifest"]["arguments"]["mix"] == ["dog:0.75,cat:0.25"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "lens.csv").read_text("utf-8"))))
    assert len(rows) == 3 * n * 4
    assert rows[0]["run"] == "mixture"
    assert rows[0]["cosine"] == ""
    with np.load(tmp_path / "lens.npz", allow_pickle=False) as z:
        assert z["states"].shape == (3, 3, len(result.positions), result.first.states.shape[-1])
        assert np.array_equal(z["states"][1], result.beside[0].states)
        assert np.array_equal(z["ids"][0], result.first.ids)
        assert json.loads(str(z["header"]))["runs"][2]["name"] == "cat"
    with pytest.raises(UsageError, match="cannot save a lens"):
        result.save(tmp_path / "lens.txt")


def test_the_table_has_every_layer(result: sl.LensResult) -> None:
    text = result.table(120)
    assert "The [0.75 dog + 0.25 cat] says" in text
    assert len(re.findall(r"^ +[0-2] ", text, re.M)) == 6  # in the grid, and at the last position
    assert "dog 0.75" in text
    assert "KL to last" in text
    narrow = result.table(40)
    assert max(map(len, narrow.splitlines())) <= 40
    assert "more to the left" in result_of_many(result).table(60)
    assert "<table>" in result._repr_html_()
    assert repr(result).endswith("beside dog, cat)")


def result_of_many(result: sl.LensResult) -> sl.LensResult:
    """The same with its positions five times."""
    from dataclasses import replace

    def wide(a: Any) -> Any:
        return None if a is None else np.concatenate([a] * 5, axis=1)

    names = ("ids", "probs", "entropy", "kl", "cosine", "js", "states")
    runs = [replace(r, inputs=r.inputs * 5, **{n: wide(getattr(r, n)) for n in names}) for r in result.runs]
    n = 5 * len(result.positions)
    return replace(result, positions=list(range(n)), n_positions=n, runs=runs)


def test_the_picture_is_drawn(result: sl.LensResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result.save(tmp_path / "lens.png")
    assert (tmp_path / "lens.png").read_bytes()[:4] == b"\x89PNG"
    axes = result.plot().axes
    assert [t.get_text() for t in axes[0].texts][:2] == [
        sl_visible(result, 0, j)[:9] + "…" if len(sl_visible(result, 0, j)) > 10 else sl_visible(result, 0, j)
        for j in range(2)
    ]


def sl_visible(result: sl.LensResult, i: int, j: int) -> str:
    from softllama.probe.plot import token_label

    return token_label(result.spell(int(result.first.ids[i, j, 0])))


def test_the_page_holds_texts_as_data_only(three: sl.Model, tmp_path: Path) -> None:
    r = three.lens("</script><b>x", n_top=3)
    text = page.page(r)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    assert "<" not in data[1]
    shown = json.loads(data[1])
    assert shown["layers"] == [0, 1, 2]
    assert shown["runs"][0]["t"][2][0][0] == 0 or shown["texts"]
    assert "<b>x" not in text
    assert "Content-Security-Policy" in text
    (tmp_path / "other.html").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        r.page(tmp_path / "other.html")


# ---- patches


def test_a_patch_is_beside_the_run_without_it(three: sl.Model, tmp_path: Path) -> None:
    dog, cat = (three.lens(f"The {w} says") for w in ("dog", "cat"))
    at = dog.n_positions - 1
    patched = three.lens("The cat says", patches=[Patch(-1, -1, dog.first.states[-1, -1])])
    assert [r.name for r in patched.runs] == ["prompt", "without patches"]
    assert np.array_equal(patched.first.ids[-1, -1], dog.first.ids[-1, -1])
    assert np.array_equal(patched.runs[1].ids, cat.first.ids)
    dog.save(tmp_path / "dog.npz")
    p = patch_text.parse(f"layer=-1,position={at},state=@{tmp_path / 'dog.npz'}")
    assert np.array_equal(p.state, dog.first.states[-1, -1])
    p = patch_text.parse(f"layer=1,position=0,state=@{tmp_path / 'dog.npz'},run=prompt,from=-1")
    assert (p.layer, p.position) == (1, 0)
    assert np.array_equal(p.state, dog.first.states[1, -1])
    np.save(tmp_path / "s.npy", dog.first.states[0, 0])
    assert np.array_equal(
        patch_text.parse(f"layer=0,position=0,state=@{tmp_path / 's.npy'}").state, dog.first.states[0, 0]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no layer="),
        ("layer=1,position=2", "has no state="),
        ("layer=x,position=2,state=@f.npz", "no number"),
        ("layer=1,position=2,state=f.npz", "names no file"),
        ("layer=1,position=2,state=@nowhere.npz", "cannot read"),
        ("layer=1,layer=2,position=2,state=@f.npz", "not understood at"),
        ("layer=1,position=2,state=@{dog},run=bird", "no run 'bird'"),
        ("layer=7,position=2,state=@{dog}", "no states of layer 7"),
        ("layer=1,position=77,state=@{dog}", "no states of position 77"),
        ("layer=1,position=1,state=@{text}", "no file of a lens"),
    ],
)
def test_bad_patches_are_one_message(three: sl.Model, tmp_path: Path, text: str, message: str) -> None:
    three.lens("The dog says").save(tmp_path / "dog.npz")
    (tmp_path / "text.npz").write_text("no zip")
    filled = text.replace("{dog}", str(tmp_path / "dog.npz")).replace("{text}", str(tmp_path / "text.npz"))
    with pytest.raises(UsageError) as e:
        patch_text.parse(filled)
    assert message in str(e.value)


def test_control_vectors_as_text(tmp_path: Path) -> None:
    np.save(tmp_path / "v,1.npy", np.array([1, 2, 3], dtype=np.float32))
    v = parse_control(f"layer=12, scale=4,vector=@{tmp_path / 'v,1.npy'}")
    assert (v.layer, v.scale, v.added.tolist()) == (12, 4.0, [4, 8, 12])
    v = parse_control(f"vector=@{tmp_path / 'v,1.npy'},layer=-1")
    assert (v.layer, v.scale) == (-1, 1.0)
    for text, message in (
        ("layer=1", "has no vector="),
        ("scale=4,vector=@x.npy", "has no layer="),
        ("layer=1,vector=@x.npy,strength=3", "cannot read"),
        ("layer=1,strength=3,vector=@x.npy", "is no number"),
        ("strength=3,layer=1,vector=@x.npy", "not understood"),
    ):
        with pytest.raises(sl.SoftLlamaError) as e:
            parse_control(text)
        assert message in str(e.value)
    with pytest.raises(UsageError, match=r"not \(2, 2\)"):
        ControlVector(1, np.ones((2, 2)))
    with pytest.raises(UsageError, match="scale must be"):
        ControlVector(1, [1.0], scale=float("inf"))
