"""The model in PyTorch: branches that share a beginning equal texts of their own, and the adapter's GGUF equals PyTorch in
llama.cpp."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import softllama as sl
from softllama.adapt import cases, lora_file, network, run, training
from softllama.adapt.cases import Group
from softllama.errors import ModelError, UsageError
from softllama.llama import header
from softllama.llama.adapter_facts import AdapterFacts

IDS = [5, 17, 60, 33, 80, 12, 41]


def shake(net: network.Network, seed: int = 0) -> None:
    """Give the adapter random values: a new one changes nothing."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=g))


def plain(net: network.Network, rows: torch.Tensor) -> torch.Tensor:
    """ln P by transformers alone, without packing, (length, n_vocab)."""
    with torch.no_grad():
        return torch.log_softmax(net.base(inputs_embeds=rows[None], use_cache=False).logits[0].float(), dim=-1)


def group(n: int = 3, length: int = 4, cases: int = 5) -> Group:
    rng = np.random.default_rng(n)
    worlds = np.repeat(rng.integers(5, 90, (1, length)), n, axis=0)
    worlds[:, 0] = rng.choice(np.arange(5, 90), n, replace=False)
    return Group(prefix=(7, 9), worlds=worlds, priors=rng.dirichlet(np.ones(n), cases))


def test_branches_equal_texts_of_their_own(load: Callable[..., Any]) -> None:
    net = load()
    shake(net)
    batch = [group(), group(n=2, length=6, cases=3)]
    with torch.no_grad():
        said = training.student(net, batch)
    for g, found in zip(batch, said, strict=True):
        for c, prior in enumerate(g.priors):
            prefix = net.rows(torch.tensor(g.prefix))
            mixed = torch.einsum("n,nte->te", torch.from_numpy(prior).float(), net.rows(torch.from_numpy(g.worlds)))
            expected = plain(net, torch.cat([prefix, mixed]))[len(g.prefix) :]
            torch.testing.assert_close(found.log_p[c], expected, atol=1e-4, rtol=0)


def test_the_teacher_is_the_model_without_adapter(load: Callable[..., Any]) -> None:
    net, g = load(), group()
    before = training.targets(net, [g], 2)[0]
    shake(net)
    after = training.targets(net, [g], 2)[0]
    for name in ("p", "states", "spread"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), atol=0, rtol=0)


def test_the_states_to_match_are_the_average_of_the_worlds(load: Callable[..., Any]) -> None:
    """Each world read alone, and averaged by how likely it is after each token: no packing, no differences from a middle."""
    net, g = load(), group(length=5)
    found = training.targets(net, [g], 3)[0]
    states, log_p = [], np.zeros(g.worlds.shape)
    for i, world in enumerate(g.worlds):
        with torch.no_grad(), net.teacher():
            rows = net.rows(torch.tensor([*g.prefix, *world]))
            out = net.base(inputs_embeds=rows[None], use_cache=False, output_hidden_states=True)
        states.append(torch.stack([h[0, len(g.prefix) :] for h in out.hidden_states[1:]]))
        said = torch.log_softmax(out.logits[0], dim=-1)[len(g.prefix) :]
        log_p[i, 1:] = [said[t - 1, world[t]].item() for t in range(1, g.length)]
    pi = torch.from_numpy(cases.posteriors(g, log_p)).float()
    each = torch.stack(states, dim=1)  # (layers, n, length, n_embd)
    mean = torch.einsum("ctn,lnte->lcte", pi, each)
    torch.testing.assert_close(found.states, mean, atol=1e-5, rtol=1e-4)
    apart = (each[:, None] - mean[:, :, None]).square().sum(-1)  # (layers, cases, n, length)
    torch.testing.assert_close(found.spread, torch.einsum("ctn,lcnt->l", pi, apart), atol=1e-5, rtol=1e-3)


def test_corners_of_the_simplex_have_no_loss_at_first(load: Callable[..., Any]) -> None:
    net = load()
    corners = Group(prefix=(7, 9), worlds=group().worlds, priors=np.eye(3))
    result = training.step(net, [corners, group()], 1.0, 1.0)
    alone = training.step(net, [group()], 1.0, 1.0)
    assert result.mixed < 0.7 * alone.mixed  # the mixtures' own, over more positions
    assert result.states == pytest.approx(alone.states, rel=1e-3)
    assert alone.states > 1e-4
    assert abs(training.step(net, [corners], 1.0).mixed) < 1e-5


def test_gradients_are_those_of_the_whole_batch(load: Callable[..., Any]) -> None:
    """However many threads share it."""
    batch = [group(), group(n=2), Group(prefix=(5,), worlds=np.array([IDS]), priors=np.ones((1, 1)))]
    gradients = []
    for n_threads in (1, 2, 3):
        net = load(n_threads=n_threads)
        shake(net)
        loss = training.step(net, batch, 2.0, 0.5)
        gradients.append([p.grad for p in net.parameters()])
        torch.set_num_threads(1)
        assert (loss.mixed, loss.pure, loss.states) == pytest.approx(whole(net, batch), rel=1e-4)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-6, rtol=1e-3)


def whole(net: network.Network, batch: list[Group]) -> tuple[float, float, float]:
    """The loss by its definition, in one piece."""
    layers = training.matched_layers(net)
    target = training.targets(net, batch, layers)
    with torch.no_grad():
        said = training.student(net, batch, layers)
    kl = [training.divergence(t.p, q.log_p) for t, q in zip(target, said, strict=True)]
    off = sum((q.states - t.states).square().sum((1, 2, 3)) for t, q in zip(target, said, strict=True))
    inside = off / (target[0].spread + target[1].spread)
    return torch.cat([k.flatten() for k in kl[:2]]).mean().item(), kl[2].mean().item(), inside.mean().item()


@pytest.mark.parametrize("type_name", ["f32", "f16"])
@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_llama_cpp_with_the_adapter_equals_pytorch(
    arch: str, type_name: str, write: Callable[..., Path], load: Callable[..., Any], tmp_path: Path
) -> None:
    path = write(arch, n_layer=3)
    net = load(path=path)
    shake(net, seed=3)
    with sl.load(path) as model:
        facts, arch_name = run.base_facts(model), model.arch
    out = tmp_path / "a.gguf"
    lora_file.write(out, net.matrices, net.adapter(), alpha=8.0, arch=arch_name, facts=facts, type_name=type_name)
    mixture = sl.Mixture([11, 70, 30], [0.5, 0.3, 0.2])
    rows = net.rows(torch.tensor(IDS))
    mixed = sum(w * net.rows(torch.tensor(i)) for i, w in ((11, 0.5), (70, 0.3), (30, 0.2)))
    changed = np.abs(plain(net, rows)[-1].numpy() - teacher(net, rows)).max()
    assert changed > 0.05  # the adapter does something
    tolerance = 1e-4 if type_name == "f32" else 0.02 * changed  # llama.cpp rounds what F16 matrices read
    with sl.load(path, lora=[(str(out), 1.0)]) as model:
        for items, embeddings in (
            (IDS, rows),
            ([*IDS[:3], mixture, *IDS[4:]], torch.cat([rows[:3], mixed[None], rows[4:]])),
        ):
            with closing(model.new_context(32, precise=True)) as context:  # with keys and values in F16 it is 1e-2
                logits = model.feed(context, 0, items, 0)[0].astype(np.float64)
            found = logits - np.logaddexp.reduce(logits)
            expected = plain(net, embeddings)[-1].numpy()
            np.testing.assert_allclose(found, expected, atol=tolerance)


def teacher(net: network.Network, rows: torch.Tensor) -> np.ndarray:
    with net.teacher():
        return plain(net, rows)[-1].numpy()


@pytest.mark.parametrize("layers", [1, 2, None])
def test_layers_from_the_first_on(layers: int | None, load: Callable[..., Any]) -> None:
    net = load(layers=layers)
    assert sorted({int(m.tensor.split(".")[1]) for m in net.matrices}) == list(range(layers or 3))
    assert {m.module for m in net.matrices} == set(net.adapter())
    with pytest.raises(UsageError, match=r"layers = 4, but .* has 3"):
        load(layers=4)


def test_the_order_of_rows_is_found_by_their_values(base: Path, load: Callable[..., Any]) -> None:
    """Queries and keys of a Llama are in another order; other matrices, and those of a Qwen, are not."""
    turned = {m.tensor.split(".")[2] for m in load().matrices if m.order is not None}
    assert turned == {"attn_q", "attn_k"}
    reader = {t.name: t for t in gguf.GGUFReader(base).tensors}
    weights = [
        (m.module, np.asarray(reader[m.tensor].data, np.float32)[np.argsort(m.order)] + 1e-2)
        for m in load().matrices
        if m.order is not None
    ]
    with pytest.raises(ModelError, match="other values or in another order"):
        lora_file.matrices(base, weights, 3)


@pytest.mark.parametrize("arch", ["mamba", "qwen2vl", "granite", "lfm2", "gpt2"])
def test_what_cannot_be_done_is_refused_with_the_reason(
    arch: str, write: Callable[..., Path], load: Callable[..., Any]
) -> None:
    with pytest.raises(ModelError) as e:
        load(path=write(arch))
    assert e.value.hint
    assert arch in str(e.value) or "Unsupported" in str(e.value) or "not supported" in str(e.value), e.value


def test_half_precision_is_close(load: Callable[..., Any]) -> None:
    full, half, g = load(), load(half=True), group()
    a, b = training.targets(full, [g])[0].p, training.targets(half, [g])[0].p
    assert training.divergence(a, b.log()).mean() < 1e-3


def test_texts_go_on_from_starts_of_different_lengths(load: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    texts = load().write([[5, 6], [7], [8, 9, 10]], 4)
    assert [len(t) for t in texts] == [6, 5, 7]
    assert [t[: len(t) - 4] for t in texts] == [[5, 6], [7], [8, 9, 10]]


def test_the_adapter_says_what_it_is(base: Path, load: Callable[..., Any], tmp_path: Path) -> None:
    net = load()
    with sl.load(base) as model:
        facts = run.base_facts(model)
        sha = model.sha256
    out = tmp_path / "a.gguf"
    lora_file.write(out, net.matrices, net.adapter(), alpha=8.0, arch="llama", facts=facts)
    h = header.read(str(out))
    assert (h.kind, h.get("adapter.type"), h.get("adapter.lora.alpha"), h.arch) == ("adapter", "lora", 8.0, "llama")
    read = AdapterFacts.read(h)
    assert read is not None
    assert read.base_sha256 == sha
    assert read.base_norms_sha256 == facts.base_norms_sha256 != ""
