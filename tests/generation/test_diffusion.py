"""Diffusion decoding against a dense version of its formulas on tiny random models, and its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softllama as sl
from softllama.generation import masks
from softllama.generation.diffusion import diffusion
from tests.conftest import Cli
from tests.policy.test_weights import entropy, filtered, softmax
from tests.support import tiny_special

MASK = 300
MASKED = {"tokenizer.ggml.mask_token_id": MASK}
PROMPT = [3, 4, 40]


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., sl.Model]:
    folder, known = tmp_path_factory.mktemp("diffusion"), {}

    def make(arch: str = "llada", shift: bool = False, mask: bool = True) -> sl.Model:
        key = (arch, shift, mask)
        if key not in known:
            extra = {**(MASKED if mask else {}), "diffusion.shift_logits": shift}
            file = folder / f"{arch}-{shift}-{mask}.gguf"
            tiny_special.write(file, arch, extra=extra)
            known[key] = sl.load(file, n_threads=1)
        return known[key]

    return make


def test_a_soft_mask_equals_its_formula() -> None:
    rng = np.random.default_rng(0)
    for by in ("confidence", "entropy"):
        for scale in (0.1, 2.0, 9.0):
            z = (rng.normal(size=50) * scale).astype(np.float32)
            p = softmax(z)
            h = entropy(p) / np.log(50)
            a = 0.15 * (1 - h if by == "confidence" else h)
            q = filtered(z, 1.0, 0, 0.9, 0.0)
            expected = a * q
            expected[7] += 1 - a
            m = masks.soft_mask(sl.Distribution(z), 7, 0.15, 0.9, by)  # type: ignore[arg-type]
            got = np.zeros(50)
            got[m.ids] = m.weights
            np.testing.assert_allclose(got, expected, atol=1e-6)
    assert masks.soft_mask(sl.Distribution(z), 7, 0.0) == sl.Mixture.one_hot(7)


def test_the_orders_equal_their_formulas() -> None:
    z = np.random.default_rng(1).normal(size=30).astype(np.float32)
    p, d = softmax(z), sl.Distribution(z)
    assert masks.sureness(d, 4, "confidence") == pytest.approx(np.log(p[4]), abs=1e-6)
    assert masks.sureness(d, 4, "entropy") == pytest.approx(-entropy(p), abs=1e-6)
    best = np.sort(p)[::-1]
    assert masks.sureness(d, 4, "margin") == pytest.approx(best[0] - best[1], abs=1e-6)
    other = sl.Distribution(np.zeros(30))
    kl = float((p * (np.log(p) - np.log(1 / 30))).sum())
    assert masks.mean_kl([d, other], [other, other]) == pytest.approx(kl / 2, abs=1e-6)


def reference(model: sl.Model, n: int, block: int, s: dict[str, Any]) -> tuple[list[int], int]:
    """The method in plain loops with dense rows: the tokens and the number of passes."""
    shift = model.metadata["diffusion.shift_logits"]
    v, items, passes = model.n_vocab, [sl.Mixture.one_hot(i) for i in [*PROMPT, *[MASK] * n]], 0
    context = model.new_context(len(items), causal=False, n_batch=len(items), n_outputs=len(items))

    def read(places: list[int]) -> dict[int, np.ndarray]:
        nonlocal passes
        passes += 1
        rows = model.rows(items)
        logits = context.decode([0] * len(items), range(len(items)), [True] * len(items), rows=rows).copy()
        logits[:, MASK] = -np.inf
        return {i: softmax(logits[len(PROMPT) + i - shift]) for i in places}

    def soften(ps: dict[int, np.ndarray], places: list[int]) -> None:
        for i in places:
            a = s["r"] * (1 - entropy(ps[i]) / np.log(v))
            order = np.argsort(-ps[i], kind="stable")
            top = order[: int(np.searchsorted(np.cumsum(ps[i][order]), s["top_p"])) + 1]
            w = np.zeros(v)
            w[top] = a * ps[i][top] / ps[i][top].sum()
            w[MASK] += 1 - a
            ids = np.flatnonzero(w)
            items[len(PROMPT) + i] = sl.Mixture(ids, w[ids])

    def kl(a: dict[int, np.ndarray], b: dict[int, np.ndarray]) -> float:
        terms = [sum(x * np.log(x / y) for x, y in zip(a[i], b[i], strict=True) if x > 0) for i in a]
        return float(np.mean(terms))

    tokens: dict[int, int] = {}
    for start in range(0, n, block):
        left = list(range(start, min(n, start + block)))
        ps: dict[int, np.ndarray] | None = None
        old: dict[int, np.ndarray] | None = None
        for _ in range(s["refine"]):
            now = read(left)
            if old is not None and kl(now, old) < s["tau_refine"]:
                ps = now
                break
            soften(now, left)
            old = now
        old = None
        while left:
            ps = ps or read(left)
            early = old is not None and kl(ps, {i: old[i] for i in left}) < s["tau_decode"]
            sure = {i: -entropy(p) if s["order"] == "entropy" else float(np.log(p.max())) for i, p in ps.items()}
            chosen = left if early else [max(left, key=lambda i: sure[i])]
            for i in chosen:
                tokens[i] = int(np.argmax(ps[i]))
                items[len(PROMPT) + i] = sl.Mixture.one_hot(tokens[i])
            left = [i for i in left if i not in chosen]
            soften(ps, left)
            old, ps = ps, None
        if any(model.is_eog(t) for t in tokens.values()):
            break
    context.close()
    return [tokens[i] for i in sorted(tokens)], passes


PLAIN = {"r": 0.0, "top_p": 0.9, "refine": 0, "tau_refine": 0.1, "tau_decode": 0.0, "order": "confidence"}
LRD = {"r": 0.15, "top_p": 0.9, "refine": 20, "tau_refine": 1e-3, "tau_decode": 0.05, "order": "entropy"}


@pytest.mark.parametrize(
    "settings", [PLAIN, LRD, {**LRD, "tau_decode": 0.0}, {**LRD, "r": 0.8, "tau_refine": 0.0, "refine": 3}]
)
@pytest.mark.parametrize(("arch", "shift"), [("llada", False), ("dream", True)])
@pytest.mark.parametrize("block", [4, 10])
def test_it_equals_a_dense_version(
    special: Callable[..., sl.Model], arch: str, shift: bool, block: int, settings: dict[str, Any]
) -> None:
    model = special(arch, shift)
    expected, passes = reference(model, 10, block, settings)
    ours = diffusion(model, PROMPT, max_tokens=10, block=block, **settings)
    got = [s.token for s in ours.trace.steps]
    end = next((k for k, t in enumerate(expected) if model.is_eog(t)), len(expected))
    assert got == expected[:end]
    assert ours.cost.calls == passes


@pytest.mark.parametrize("arch", ["llada", "dream", "rnd1"])
def test_soft_masks_without_a_share_are_plain_decoding(special: Callable[..., sl.Model], arch: str) -> None:
    model = special(arch)
    soft = {"r": 0.0, "refine": 20, "tau_decode": 0.0}
    for order in ("confidence", "entropy", "margin"):
        for temperature in (0.0, 0.7):
            common: dict[str, Any] = {
                "max_tokens": 9,
                "block": 3,
                "order": order,
                "temperature": temperature,
                "seed": 4,
            }
            plain, ours = diffusion(model, PROMPT, **common), diffusion(model, PROMPT, **common, **soft)
            assert [s.token for s in ours.trace.steps] == [s.token for s in plain.trace.steps]
            assert [s.why for s in ours.trace.steps] == [s.why for s in plain.trace.steps]


def test_soft_masks_change_what_comes(special: Callable[..., sl.Model]) -> None:
    plain = diffusion(special(), PROMPT, max_tokens=12, order="entropy").trace
    soft = diffusion(special(), PROMPT, max_tokens=12, order="entropy", r=0.9).trace
    assert [s.logp for s in plain.steps] != [s.logp for s in soft.steps]


def test_fewer_rounds_fill_more_at_once(special: Callable[..., sl.Model]) -> None:
    for steps, block, rounds in ((3, 0, 3), (5, 0, 5), (6, 4, 6), (0, 4, 12), (1, 4, 3)):
        ours = diffusion(special(), PROMPT, max_tokens=12, steps=steps, block=block, stop=[])
        if len(ours.trace.steps) == 12:
            assert ours.rounds == rounds
    early = diffusion(special(), PROMPT, max_tokens=12, block=0, r=0.01, tau_decode=1e9)
    assert (early.rounds, early.early) == (2, 11)


def test_seeds_repeat_and_the_mask_is_never_drawn(special: Callable[..., sl.Model]) -> None:
    draws = [diffusion(special(), PROMPT, max_tokens=20, temperature=50.0, seed=s, block=0).trace for s in (1, 1, 2)]
    tokens = [[s.token for s in t.steps] for t in draws]
    assert tokens[0] == tokens[1] != tokens[2]
    assert all(MASK not in t for t in tokens)


def test_the_record(special: Callable[..., sl.Model], tmp_path: Path) -> None:
    ours = diffusion(special(), "a dog", max_tokens=8, r=0.1, refine=2)
    t = ours.trace
    assert (t.policy, t.n_answer) == ("lrd", len(t.steps))
    assert t.answer == "".join(s.text for s in t.steps) + t.tail[1]
    assert all(s.logp <= 0 and s.entropy >= 0 and len(s.top) for s in t.steps)
    t.save(tmp_path / "t.jsonl")
    assert sl.trace.load(tmp_path / "t.jsonl").to_dict() == t.to_dict()
    assert ours.to_dict()["kind"] == "diffusion"
    stopped = diffusion(special(), "a dog", max_tokens=8, stop=t.answer[2:4])
    assert stopped.trace.stop_reason in ("stop string", "end of generation", "max tokens")


def test_mixtures_in_the_prompt(special: Callable[..., sl.Model]) -> None:
    results = [
        diffusion(special(), [3, item], max_tokens=5).trace
        for item in (40, sl.Mixture.one_hot(40), sl.Mixture([40, 99], [0.5, 0.5]))
    ]
    logps = [[s.logp for s in t.steps] for t in results]
    assert logps[0] == logps[1] != logps[2]


def test_what_cannot_be(special: Callable[..., sl.Model], model: sl.Model) -> None:
    with pytest.raises(sl.UsageError, match="is no diffusion model"):
        diffusion(model, "a")
    with pytest.raises(sl.PromptError, match="names no mask token"):
        diffusion(special(mask=False), "a")
    for settings, message in (
        ({"policy": "greedy"}, "has no policy"),
        ({"order": "luck"}, "order = 'luck'"),
        ({"r": 2}, "r"),
    ):
        with pytest.raises(sl.UsageError, match=message):
            diffusion(special(), "a", **settings)


def test_on_the_command_line(special: Callable[..., sl.Model], cli: Cli, tmp_path: Path, model: sl.Model) -> None:
    path = special().path
    run = ("run", "-m", path, "--raw", "a dog", "--max-tokens", "6")
    code, out, err = cli(*run)
    assert code in (0, 3), err
    assert "rounds" in err
    code, out, err = cli(*run, "--policy", "lrd:r=0.2,block=3", "--json")
    assert code in (0, 3), err
    assert json.loads(out)["kind"] == "diffusion"
    code, _, err = cli(*run, "--policy", "lrd:r=3")
    assert (code, "r = 3.0 is not allowed: it must be a number between 0 and 1" in err) == (2, True)
    code, _, err = cli(*run, "--policy", "greedy")
    assert (code, "--policy lrd" in err) == (1, True)
    code, _, err = cli("run", "-m", model.path, "--raw", "a", "--policy", "lrd")
    assert (code, "is no diffusion model" in err) == (2, True)
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "dog?", "answer": "dog"}\n{"question": "cat?", "answer": "cat"}\n')
    ways = ("--policy", "diffusion:steps=3", "--policy", "lrd:refine=2")
    code, out, err = cli("eval", data, "-m", path, "--raw", "--max-tokens", "6", "-o", tmp_path / "r.jsonl", *ways)
    assert code == 0, err
    assert "lrd:refine=2" in out
    code, _, err = cli("eval", data, "-m", path, "--raw", "--max-tokens", "6", "-o", tmp_path / "s.jsonl")
    assert (code, "--policy lrd" in err) == (1, True)
