"""Architectures that take token ids only: rows are written over llama.cpp's embedding nodes. The same equations as in
test_identity.py, with carriers that are wrong on purpose, and what only concerns the overlay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

import softllama as sl
from softllama.engine import branches, calibration
from softllama.engine.lens import Lens
from softllama.engine.rows import Calibration
from softllama.generation import feed, loop
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import prepare
from softllama.llama.batch import Rows
from softllama.llama.context import Context
from softllama.vectors.mixture import Mixture
from tests.engine.test_identity import MIX, SEQUENCE, assert_one_hot_is_token, logits, one_hot
from tests.support import tiny, tiny_special

HOW = {  # name -> nodes, multiplier, what the heaviest token decides
    "gemma3n": ("embd, inp_per_layer_selected", 1.0, "any"),
    "gemma4-e2b": ("embd, inp_per_layer_selected", 1.0, "any"),
    "cogvlm": ("embd", 1.0, "any"),
    "glm4": ("embd", 1.0, "any"),
    "glm4moe": ("embd", 1.0, "any"),
    "graniteswitch": ("inp_embd", 12.0, "which adapter is active"),
    "deepseek4": ("embd", 1.0, "the experts of the hash layers"),
    "qwen4exp": ("model.input_embed", 1.0, "the n-grams that are looked up"),
}
ANY = tuple(name for name, (_, _, carrier) in HOW.items() if carrier == "any")
Special = Callable[..., Path]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Special:
    """path("glm4", tied=False, ...) -> the file, written once for the same arguments."""
    folder, known = tmp_path_factory.mktemp("special"), {}

    def make(name: str, **options: Any) -> Path:
        key = repr((name, sorted(options.items())))
        if key not in known:
            known[key] = tiny_special.write(folder / f"{name}-{len(known)}.gguf", name, **options)
        return known[key]

    return make


@pytest.fixture(scope="module")
def special(path: Special) -> Callable[..., sl.Model]:
    known: dict[Path, sl.Model] = {}

    def make(name: str, **options: Any) -> sl.Model:
        p = path(name, **options)
        if p not in known:
            known[p] = sl.load(p, n_threads=1)
        return known[p]

    return make


def table(file: str | Path, name: str) -> NDArray[np.float32]:
    """A tensor of a file, read by the gguf package."""
    return next(np.array(t.data) for t in gguf.GGUFReader(file).tensors if t.name == name)


# ---- calibration


@pytest.mark.parametrize("name", HOW)
def test_calibration_finds_the_nodes_by_itself(special: Callable[..., sl.Model], name: str) -> None:
    nodes, multiplier, carrier = HOW[name]
    c = special(name).calibration
    assert c.how == f"overlay on {nodes}"
    assert (c.multiplier, c.carrier, c.difference, c.exact) == (multiplier, carrier, 0, True)
    assert c.text == (c.how if carrier == "any" else f"{c.how}; by the heaviest token: {carrier}")


@pytest.mark.parametrize("name", ["gemma4", "deepseek4-plain"])
def test_relatives_that_embedding_batches_serve_are_left_to_them(special: Callable[..., sl.Model], name: str) -> None:
    c = special(name).calibration
    assert (c.how, c.nodes, c.text, c.difference) == ("embedding batch", (), "embedding batch", 0)
    assert_one_hot_is_token(special(name))


def test_how_is_remembered_and_in_the_manifest(path: Special) -> None:
    with sl.load(path("gemma3n"), n_threads=1) as first, sl.load(path("gemma3n"), n_threads=1) as again:
        assert again.calibration.remembered
        assert again.calibration.nodes == first.calibration.nodes == ("embd", "inp_per_layer_selected")
        made = again.generate([4, 5], policy="full", max_tokens=2).manifest["calibration"]
        assert (made["how"], made["carrier"]) == ("overlay on embd, inp_per_layer_selected", "any")


def test_an_architecture_whose_nodes_have_other_names_is_refused(
    path: Special, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration, "NODES", ("no_such_node", "attn_norm-0"))
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path))
    with pytest.raises(sl.ModelError, match=r"does not equal feeding the token .*by overlay on attn_norm-0") as e:
        sl.load(path("glm4"))
    assert "llama.cpp ends the process on embedding input" in e.value.hint


def test_a_node_of_which_nothing_comes_is_not_taken(
    path: Special, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the right carriers, writing over what nobody reads would agree with the tokens."""
    monkeypatch.setattr(calibration, "NODES", ("result_norm",))
    monkeypatch.setenv("SOFTLLAMA_CACHE", str(tmp_path))
    with pytest.raises(sl.ModelError, match="cannot take mixtures"):
        sl.load(path("qwen4exp"))


def test_a_node_of_another_shape_is_an_error(special: Callable[..., sl.Model]) -> None:
    model = special("glm4")
    for node, words in ((("embd", 48), "another shape"), (("nothing", 64), 'no node "nothing"')):
        rows = Rows(np.zeros((2, node[1]), np.float32), (), np.zeros(2, np.int32))
        context = Context(model._weights, 64, n_threads=1, nodes=[node])
        with pytest.raises(sl.ContextError, match=words):
            context.decode([0, 0], [0, 1], [False, True], rows=rows)
        context.cut(0, 0)
        assert np.isfinite(context.decode([0, 0], [0, 1], [False, True], tokens=[3, 4])).all()  # tokens pass as ever
        context.close()


# ---- equations


@pytest.mark.parametrize("name", HOW)
def test_one_hot_is_token(special: Callable[..., sl.Model], name: str) -> None:
    assert_one_hot_is_token(special(name))


@pytest.mark.parametrize("name", ["gemma3n", "glm4", "qwen4exp"])
def test_one_hot_is_token_in_a_quantized_table(special: Callable[..., sl.Model], name: str) -> None:
    assert_one_hot_is_token(special(name, table_type="Q4_0"))


@pytest.mark.parametrize("name", HOW)
def test_a_mixture_is_a_token_whose_rows_are_mixed_in_the_file(special: Callable[..., sl.Model], name: str) -> None:
    """numpy's expectation, end to end: a second file has the mixed rows in the place of the heaviest token's."""
    model = special(name, tied=False)
    mixture = Mixture([40, 111], [0.625, 0.375])
    replaced: dict[str, NDArray[np.float32]] = {}
    for tensor in ("token_embd.weight", *(["per_layer_token_embd.weight"] if len(model.calibration.nodes) > 1 else [])):
        rows = table(model.path, tensor)
        rows[40] = (0.625 * rows[40].astype(np.float64) + 0.375 * rows[111].astype(np.float64)).astype(np.float32)
        replaced[tensor] = rows
    file = Path(model.path).with_name(f"{name}-replaced.gguf")
    tiny_special.write(file, name, tied=False, replace=replaced)
    with sl.load(file, n_threads=1) as other:
        for ids in ([40, 7, 9], [7, 40, 9], [7, 9, 40], [40, 9, 40]):
            want = logits(other, ids)
            got = logits(model, [mixture if i == 40 else i for i in ids])
            assert np.array_equal(got, want), ids
            assert np.abs(got - logits(model, ids)).max() > 1e-3, "the mixture made no difference"


@pytest.mark.parametrize("name", ANY)
def test_carriers_change_nothing(special: Callable[..., sl.Model], name: str) -> None:
    model = special(name)
    context = model.new_context(64)
    seen = []
    for carriers in ([40, 40, 9], [0, 1, 2], [200, 3, 111]):
        context.cut(0, 0)
        rows = model.rows([7, MIX, 9])._replace(carriers=np.array(carriers, dtype=np.int32))
        seen.append(context.decode([0] * 3, range(3), [False, False, True], rows=rows))
    context.close()
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])


def test_per_layer_rows_are_numpys(special: Callable[..., sl.Model]) -> None:
    model = special("gemma4-e2b")
    e = table(model.path, "per_layer_token_embd.weight").astype(np.float64)
    rows = model.rows([MIX, 7, Mixture([3, 4, 5], [0.2, 0.5, 0.3])])
    want = np.sqrt(16) * np.stack([0.5 * e[40] + 0.5 * e[111], e[7], 0.2 * e[3] + 0.5 * e[4] + 0.3 * e[5]])
    np.testing.assert_allclose(rows.beside[0], want, rtol=2e-6, atol=1e-6)
    assert rows.carriers is not None
    assert rows.carriers.tolist() == [40, 7, 4]


@pytest.mark.parametrize("ids", [[50, 7, 9], [7, 51, 9, 4], [7, 50, 51, 4]])
def test_tokens_that_switch_adapters_do_so_as_rows(special: Callable[..., sl.Model], ids: list[int]) -> None:
    """Their embedding is that of another token."""
    model = special("graniteswitch")
    truth = logits(model, ids)
    for at in ([0], [1], [2], range(len(ids))):
        assert np.array_equal(logits(model, one_hot(ids, at)), truth)
    plain = [
        i if i < 50 else dict(zip(tiny_special.ADAPTER_TOKENS, tiny_special.SUBSTITUTES, strict=True))[i] for i in ids
    ]
    assert np.abs(logits(model, plain) - truth).max() > 1e-3, "the adapter does nothing"


def test_the_heaviest_token_switches_the_adapter(special: Callable[..., sl.Model]) -> None:
    """At half and half of token 50 (whose row is that of token 7) and token 7, only the adapter differs."""
    model = special("graniteswitch")
    light, heavy = Mixture([7, 50], [0.75, 0.25]), Mixture([7, 50], [0.25, 0.75])
    assert np.array_equal(logits(model, [light, 9]), logits(model, [Mixture.one_hot(7), 9]))
    assert np.array_equal(logits(model, [heavy, 9]), logits(model, [Mixture.one_hot(50), 9]))


# ---- batches


@pytest.mark.parametrize("name", HOW)
def test_several_sequences_in_a_batch(special: Callable[..., sl.Model], name: str) -> None:
    """In llama.cpp's order to the bit; in another order, and of different lengths, up to rounding."""
    model = special(name)
    context = model.new_context(64, 4)
    fed: dict[str, list[tuple[int, int, int]]] = {  # sequence, position, token
        "in order": [(s, p, 10 + 3 * s + p) for s in range(3) for p in range(2)],
        "interleaved": [(s, p, 10 + 3 * s + p) for p in range(2) for s in (2, 0, 3)],
        "of different lengths": [(0, 0, 10), (1, 0, 13), (0, 1, 11), (0, 2, 12), (3, 0, 19), (1, 1, 14)],
    }
    for how, rows in fed.items():
        seqs, positions, ids = zip(*rows, strict=True)
        want = [i % 2 == 0 or i == len(rows) - 1 for i in range(len(rows))]
        want = [w and sum(want[:i]) < 4 for i, w in enumerate(want)]
        truth = context.decode(seqs, positions, want, tokens=ids)
        for s in range(4):
            context.cut(s, 0)
        got = context.decode(seqs, positions, want, rows=model.rows(ids))
        for s in range(4):
            context.cut(s, 0)
        assert got.shape == truth.shape
        assert np.abs(got - truth).max() <= (0 if how == "in order" else 5e-3 * np.abs(truth).max()), how
    context.close()


def test_hidden_states_stay_with_their_rows(special: Callable[..., sl.Model]) -> None:
    model = special("glm4")
    context = model.new_context(64, 3, embeddings=True)
    ids = {0: 10, 1: 20, 2: 30}
    seen = {}
    for seqs in ((0, 1, 2), (2, 0, 1)):
        context.decode(seqs, [0] * 3, [True] * 3, rows=model.rows([ids[s] for s in seqs]))
        seen[seqs] = {s: context.hidden(i) for i, s in enumerate(seqs)}
        assert np.array_equal(context.hidden(-1), context.hidden(2))
        for s in seqs:
            context.cut(s, 0)
    for s in ids:
        assert np.abs(seen[0, 1, 2][s] - seen[2, 0, 1][s]).max() <= 1e-4
    context.decode([0, 0, 1], [0, 1, 0], [False, True, True], rows=model.rows([1, 2, 3]))
    with pytest.raises(sl.ContextError, match="different numbers"):
        context.hidden(0)
    context.close()


@pytest.mark.parametrize("name", HOW)
def test_forks_and_truncation(special: Callable[..., sl.Model], name: str) -> None:
    model = special(name)
    straight, other = logits(model, [7, MIX, 9], [4, 5]), logits(model, [7, MIX, 9], [MIX, 6])
    with model.session(n_ctx=64) as s:
        s.feed([7, MIX, 9])
        with s.fork() as t:
            assert np.array_equal(t.feed([4, 5]).logits, straight)
            assert np.array_equal(s.feed([MIX, 6]).logits, other)
        s.truncate(3)
        assert np.array_equal(s.feed([4, 5]).logits, straight)


@pytest.mark.parametrize("name", HOW)
def test_branches_are_their_tails_alone(special: Callable[..., sl.Model], name: str) -> None:
    model = special(name)
    tails: list[Sequence[int | Mixture]] = [[i, 5] for i in (3, 40, 77)] + [[MIX, 5]]
    for tail, b in zip(tails, branches.run(model, [1, 40, 9], tails), strict=True):
        alone = logits(model, [1, 40, 9], tail)
        assert np.abs(b.next.logits - alone).max() <= 5e-3 * np.abs(alone).max()


def test_a_long_prompt_goes_through_in_pieces(special: Callable[..., sl.Model]) -> None:
    model = special("gemma3n", n_ctx=1024)
    ids = [int(i) for i in np.random.default_rng(4).integers(3, model.n_vocab, 700)]
    with model.session(n_ctx=710) as s, model.session(n_ctx=710) as t:
        assert np.array_equal(s.feed(ids).logits, t.feed(one_hot(ids, [0, 600])).logits)


# ---- what is built on it


@pytest.mark.parametrize("name", HOW)
def test_greedy_rows_are_greedy_tokens(special: Callable[..., sl.Model], name: str) -> None:
    model = special(name)
    trace = model.generate([40, 7, 9], policy="greedy", max_tokens=6)
    with model.session(n_ctx=64) as s:
        d, ids = s.feed([40, 7, 9]), []
        for _ in range(len(trace.steps)):
            ids.append(d.argmax)
            d = s.feed([ids[-1]])
    assert [step.token for step in trace.steps] == ids


@pytest.mark.parametrize(
    ("name", "policy"),
    [(n, p) for n in ("gemma4-e2b", "qwen4exp") for p in ("soft_thinking:n=5", "full", "gumbel", "moi", "sample")]
    + [("gemma4-e2b", "hidden:where=everywhere"), ("cogvlm", "hidden:where=everywhere")],
)
def test_policies_run(special: Callable[..., sl.Model], name: str, policy: str) -> None:
    """A soft step's distribution is what a session says that is fed the same mixtures."""
    model = special(name)
    trace = model.generate([40, 7, MIX], policy=policy, max_tokens=5, seed=3, keep="all")
    assert 1 <= len(trace.steps) <= 5
    if policy.startswith("hidden"):
        assert any(step.hidden for step in trace.steps)
        return
    with model.session(n_ctx=64) as s:
        d = s.feed([40, 7, MIX])
        for step in trace.steps:
            assert step.entropy == pytest.approx(d.entropy(), abs=1e-5)
            d = s.feed([step.mixture])


@pytest.mark.parametrize("name", ["gemma3", "gemma4-e2b", "graniteswitch"])
def test_rows_of_hidden_states_and_noise(name: str, tmp_path: Path) -> None:
    """A hidden state goes in with the length of a row, noise with the size of its entries, both times the multiplier; what
    is looked up beside the embedding is the readout's.
    """
    spec = tiny_special.SPECIAL | tiny.ARCHS
    with sl.load(tiny.write_model(tmp_path / "m.gguf", spec[name].name or name, spec=spec[name]), n_threads=1) as model:
        e = table(model.path, "token_embd.weight").astype(np.float64)
        for i, other in model._weights.substitutes.items():
            e[i] = e[other]
        times = model.calibration.multiplier
        assert times != 1 or name == "gemma4-e2b"
        h = np.random.default_rng(1).standard_normal(model.n_embd).astype(np.float32)
        of_token = SimpleNamespace(mixture=Mixture.one_hot(7), hidden=False, noise=0.0)
        g: Any = SimpleNamespace(seed=1, model=model)
        steps: list[tuple[Any, Any]] = [
            (of_token, None),
            (SimpleNamespace(mixture=Mixture.one_hot(7), hidden=True, noise=0.0, align="none"), h),
            (SimpleNamespace(mixture=Mixture.one_hot(7), hidden=False, noise=0.5, index=2), None),
        ]
        z = feed.embedding_noise(g, steps[2][0])
        rows = model.rows([feed.item_of(g, step, hidden) for step, hidden in steps])
        row, state, noisy = rows.embeddings[:, : model.n_embd].astype(np.float64)
        norm = np.linalg.norm(e, axis=1).mean()
        np.testing.assert_allclose(row, times * e[7], rtol=1e-5)
        np.testing.assert_allclose(state, times * norm * h / np.linalg.norm(h), rtol=1e-4)
        np.testing.assert_allclose(noisy, times * (e[7] + 0.5 * np.sqrt(np.square(e).mean()) * z), rtol=1e-4, atol=1e-5)
        assert rows.carriers is None or rows.carriers.tolist() == [7, 7, 7]
        assert all(np.array_equal(b[0], b[1]) for b in rows.beside)


@pytest.mark.parametrize("name", ["deepseek4", "qwen4exp"])
def test_hidden_states_of_another_width_are_refused(special: Callable[..., sl.Model], name: str) -> None:
    """llama.cpp would end the process."""
    model = special(name)
    with pytest.raises(sl.UsageError, match=f"hidden states are {4 * model.n_embd} numbers"):
        model.generate([40, 7], policy="hidden:where=everywhere", max_tokens=3)


@pytest.mark.parametrize("name", ["gemma3n", "deepseek4", "qwen4exp"])
def test_streams_and_searches_run(special: Callable[..., sl.Model], name: str) -> None:
    from softllama.generation import search

    model = special(name)
    options = GenerationOptions(policy="full", max_tokens=4, seed=1)
    made = [prepare(model, [40, 7, i], options) for i in (9, 10, 11, 12)]
    for _ in loop.run(model, made, at_once=2):
        pass
    for g, i in zip(made, (9, 10, 11, 12), strict=True):
        alone = model.generate([40, 7, i], policy="full", max_tokens=4, seed=1)
        assert [s.entropy for s in g.steps] == pytest.approx([s.entropy for s in alone.steps], rel=1e-2)
    assert len(search.beam(model, [40, 7, 9], beams=3, max_tokens=5).hypotheses) == 3


def test_logits_that_llama_cpp_hands_out_in_the_wrong_place(special: Callable[..., sl.Model]) -> None:
    """Of cogvlm it gives those of a batch's first position for those of the last, unless it is asked for all."""
    model = special("cogvlm")
    assert model.calibration.all_outputs
    whole, steps = logits(model, [40, 7, 111]), logits(model, [40], [7], [111])
    assert np.abs(whole - steps).max() <= 1e-3 * np.abs(whole).max()
    assert not special("glm4").calibration.all_outputs


def test_layers_are_read_beside_the_overlay(special: Callable[..., sl.Model]) -> None:
    """Both callbacks at once: the last layer's states are the model's own output, after a mixture."""
    model = special("glm4")
    with Lens(model, 16) as r:
        states, own = r.states([7, MIX, 9], at=(1, 2))
        assert states.shape == (2, 2, model.n_embd)
        assert np.abs(r.read(states[-1]) - own).max() <= 1e-4
        assert np.abs(own[1] - logits(model, [7, MIX, 9])).max() <= 1e-4


def test_probe_and_its_note(path: Special, cli: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = cli("probe", "-m", path("graniteswitch"), "--mix", "#40:0.5,#41:0.5", "--prompt", "a {} b")
    assert code == 0, err
    assert "mixtures: by overlay on inp_embd; by the heaviest token: which adapter is active" in err
    assert "#40" in out or out


def test_calibration_keeps_its_fields_through_json() -> None:
    c = Calibration(1.0, "1", 0.0, 3, True, how="overlay on a, b", carrier="any")
    assert Calibration(**dataclasses.asdict(c)).nodes == ("a", "b")


# ---- adapters that change the embedding table


def adapted(file: Path, lora: Any) -> sl.Model:
    return sl.load(file, n_threads=1, lora=lora)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "Q8_0"])
@pytest.mark.parametrize("arch", ["llama", "gemma3", "qwen3vl", "glm4", "gemma3n"])
def test_an_adapter_of_the_embedding_is_mixed_in(arch: str, dtype: str, tmp_path: Path) -> None:
    """Both scales that matter: the adapter's alpha / rank, and the one that it is given."""
    spec = tiny_special.SPECIAL | tiny.ARCHS
    file = tiny.write_model(tmp_path / "m.gguf", arch, tied=False, spec=spec[arch])
    adapter = tiny.write_adapter(
        tmp_path / "a.gguf", arch=arch, tensor="token_embd.weight", shape=(64, 325), rank=32, alpha=2.0, dtype=dtype
    )
    with sl.load(file, n_threads=1) as model:
        plain, row = logits(model, SEQUENCE), model.embed(MIX)
    with adapted(file, (str(adapter), 0.5)) as model:
        truth = logits(model, SEQUENCE)
        scale = np.abs(truth).max()
        assert np.abs(truth - plain).max() > 1e-2 * scale, "the adapter does nothing"
        for at in ([0], [3], [5], range(6)):
            assert np.abs(logits(model, one_hot(SEQUENCE, at)) - truth).max() <= 1e-3 * scale
        tensors = {t.name[-1]: t for t in gguf.GGUFReader(adapter).tensors}
        a, b = (
            gguf.quants.dequantize(np.asarray(tensors[x].data), tensors[x].tensor_type).astype(np.float64) for x in "ab"
        )
        delta = 0.5 * 2.0 / 32 * (b @ (0.5 * a[40] + 0.5 * a[111]))
        np.testing.assert_allclose(model.embed(MIX), row + delta, atol=1e-5)
        assert model.calibration.difference <= 1e-3 * scale


def test_two_adapters_add_up(tmp_path: Path) -> None:
    file = tiny.write_model(tmp_path / "m.gguf", tied=False)
    paths = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for p in paths:
        tiny.write_adapter(p, tensor="token_embd.weight", shape=(64, 325))
    with sl.load(file, n_threads=1) as model:
        e = model.embed(MIX)
    with adapted(file, [str(paths[0])]) as model:
        one = model.embed(MIX) - e
    with adapted(file, [str(paths[0]), (str(paths[1]), -0.5)]) as model:
        np.testing.assert_allclose(model.embed(MIX), e + 0.5 * one, atol=1e-5)
        assert np.abs(logits(model, one_hot(SEQUENCE, range(6))) - logits(model, SEQUENCE)).max() <= 1e-4


@pytest.mark.parametrize(
    ("tensor", "tied", "words"),
    [
        ("token_embd.weight", True, "which is the model's output matrix, too: llama.cpp would end the process"),
        ("per_layer_token_embd.weight", False, "llama.cpp would ignore"),
    ],
)
def test_adapters_that_cannot_be_mixed_are_refused(tmp_path: Path, tensor: str, tied: bool, words: str) -> None:
    file = tiny.write_model(tmp_path / "m.gguf", tied=tied)
    adapter = tiny.write_adapter(tmp_path / "a.gguf", tensor=tensor, shape=(64, 325))
    with pytest.raises(sl.ModelError, match=words) as e:
        adapted(file, str(adapter))
    assert "merge it" in e.value.hint


@pytest.mark.parametrize(("arch", "dtype"), [("graniteswitch", "F32"), ("llama", "Q4_0")])
def test_adapters_that_llama_cpp_reads_otherwise_are_refused(arch: str, dtype: str, tmp_path: Path) -> None:
    """It leaves them out where tokens have substitutes, and rounds them coarsely where they are quantized so."""
    spec = tiny_special.SPECIAL | tiny.ARCHS
    file = tiny.write_model(tmp_path / "m.gguf", arch, tied=False, spec=spec[arch])
    adapter = tiny.write_adapter(
        tmp_path / "a.gguf", arch=arch, tensor="token_embd.weight", shape=(64, 325), rank=32, dtype=dtype
    )
    with pytest.raises(sl.ModelError, match="cannot take mixtures") as e:
        adapted(file, str(adapter))
    assert "merge it" in e.value.hint
    with adapted(file, (str(adapter), 0.0)) as off, sl.load(file, n_threads=1) as model:
        assert np.array_equal(logits(off, [7, MIX, 9]), logits(model, [7, MIX, 9]))


# ---- diffusion models

MASKED = {"tokenizer.ggml.mask_token_id": 300}


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("name", ["dream", "llada", "rnd1"])
def test_diffusion_models_are_probed_at_a_masked_position(
    special: Callable[..., sl.Model], name: str, shift: bool
) -> None:
    model = special(name, extra={**MASKED, "diffusion.shift_logits": shift})
    assert model.diffusion
    tails: list[list[int | Mixture]] = [[Mixture.one_hot(40), 9], [40, 9], [MIX, 9], [111, 9]]
    got = [b.next.logits for b in branches.run(model, [3, 4], tails)]
    context = model.new_context(8, causal=False, n_batch=8, n_outputs=8)
    for ids, z in (([3, 4, 40, 9, 300], got[0]), ([3, 4, 111, 9, 300], got[3])):
        want = context.decode([0] * 5, range(5), [True] * 5, tokens=ids)[3 if shift else 4]
        assert np.abs(z - want).max() <= 1e-4 * np.abs(want).max()
    context.close()
    assert np.array_equal(got[0], got[1])
    assert np.abs(got[2] - got[1]).max() > 1e-3
    assert np.abs(got[2] - got[3]).max() > 1e-3


def test_diffusion_models_see_what_is_behind(special: Callable[..., sl.Model]) -> None:
    model = special("llada", extra={**MASKED, "diffusion.shift_logits": True})
    context = model.new_context(8, causal=False, n_batch=8, n_outputs=8)
    a, b = (context.decode([0] * 3, range(3), [True] * 3, tokens=[3, 4, last])[0] for last in (5, 6))
    context.close()
    assert np.abs(a - b).max() > 1e-3


def test_many_sequences_of_a_diffusion_model(special: Callable[..., sl.Model]) -> None:
    model = special("dream", extra=MASKED)
    tails: list[list[int | Mixture]] = [[Mixture([40, 111], [1 - a, a]), 5] for a in np.linspace(0, 1, 70)]
    results = branches.run(model, [7, 8], tails)
    alone = branches.run(model, [7, 8], tails[-1:])
    assert len(results) == 70
    scale = np.abs(alone[0].next.logits).max()
    assert np.abs(results[-1].next.logits - alone[0].next.logits).max() <= 5e-3 * scale


def test_what_diffusion_models_refuse(
    special: Callable[..., sl.Model], cli: Callable[..., tuple[int, str, str]]
) -> None:
    model = special("dream", extra=MASKED)
    words = "is a diffusion model, which fills masked positions in no order, not from left to right"
    for attempt in (
        lambda: model.generate([4, 5]), lambda: model.session(), lambda: sl.Conversation(model),
        lambda: Lens(model, 8), lambda: list(model.stream("a")),
    ):  # fmt: skip
        with pytest.raises(sl.ModelError, match=words) as e:
            attempt()
        assert "softllama probe" in e.value.hint
    for command in (["run", "--raw", "a", "--policy", "greedy"], ["chat"]):
        code, _, err = cli(command[0], "-m", model.path, *command[1:], stdin="hello\n")
        assert code == 1
        assert words in err
    with pytest.raises(sl.UsageError, match="continues nothing"):
        model.probe("a {}", "#40:0.5,#41:0.5", continue_tokens=3)
    code, out, err = cli("probe", "-m", model.path, "--mix", "#40:0.5,#41:0.5", "--prompt", "a {} b", "--sweep", "3")
    assert code == 0, err
    assert "it predicts masked positions" in err
    assert out
    with pytest.raises(sl.PromptError, match="names no mask token"):
        special("dream").probe("a {}", "#40:0.5,#41:0.5")
