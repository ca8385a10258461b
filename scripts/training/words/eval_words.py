"""Evaluate `words` and `words-mixed` as they are shipped: the GGUF files, through llama.cpp.

    python scripts/training/words/eval_words.py                        # tables on the terminal
    python scripts/training/words/eval_words.py --markdown --json words.json

Knows what each figure in the models' cards means and how it is measured. Does not know how the models were trained; it
reads the held-out side of `words_world.py`. Deterministic: fixed seeds, one sequence, greedy decoding.

Everything is asked through softllama's public interface, except the comparison with PyTorch: that needs llama.cpp with
a 32-bit cache and without flash attention, which is not how anybody runs it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

import softllama as sl

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository: `scripts` and `tests` are packages there

from scripts.training.words import words_chat as chat
from scripts.training.words import words_corpus as corpus
from scripts.training.words import words_vocab as vocab
from scripts.training.words import words_world as world

MODELS = Path(__file__).resolve().parents[3] / "softllama" / "models"
BOS, STOP = "<|endoftext|>", "<|im_end|>"
CLASSES = ("trained", "held out", "never mixed")
Item: TypeAlias = "int | sl.Mixture"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """One table of the report; cells are ready to print."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


# ---------------------------------------------------------------------------------------------------------------------
# Asking
# ---------------------------------------------------------------------------------------------------------------------


class Asker:
    """One model and one sequence that always begins with BOS. Mutable: every question truncates the sequence."""

    def __init__(self, path: Path) -> None:
        self.model = sl.load(str(path))
        self.session = self.model.session()
        self.bos = self.ids(BOS)[0]
        self.stop = {self.ids(STOP)[0], self.bos}
        self.session.feed([self.bos])

    def ids(self, text: str) -> list[int]:
        return list(self.model.tokenize(text))

    def token(self, text: str) -> int:
        ids = self.ids(text)
        if len(ids) != 1:
            raise SystemExit(f"{text!r} is {len(ids)} tokens in {self.model}")
        return ids[0]

    def after(self, items: Sequence[Item]) -> sl.Distribution:
        """What follows BOS and these items."""
        self.session.truncate(1)
        return self.session.feed(list(items))

    def greedy(self, prompt: str, limit: int = 96) -> str:
        """The most probable continuation of a prompt, up to the end of the turn or `limit` tokens."""
        d = self.after(self.ids(prompt))
        out: list[int] = []
        while len(out) < limit:
            best = int(d.logits.argmax())
            if best in self.stop:
                break
            out.append(best)
            d = self.session.feed([best])
        return str(self.model.detokenize(out))


def fill(asker: Asker, frame: str, subject: Item) -> list[Item]:
    """The frame's tokens with the subject in its gap: "The {} says" -> [The, subject, says]."""
    before, after = frame.split(" {}")
    return [*asker.ids(before), subject, *asker.ids(after)]


def mean_interval(values: Sequence[float] | Floats) -> str:
    """ "0.031 ± 0.004": the mean and 1.96 standard errors."""
    v = np.asarray(values, dtype=np.float64)
    return f"{v.mean():.3f} ± {1.96 * v.std(ddof=1) / len(v) ** 0.5:.3f}" if len(v) > 1 else f"{v.mean():.3f}"


def share_interval(hits: int, n: int) -> str:
    """ "3.1 % [1.9, 5.0] of 512": a share and its 95 % Wilson interval."""
    if n == 0:
        return "none"
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5 / (1 + z * z / n)
    return f"{100 * p:.1f} % [{100 * max(0.0, middle - half):.1f}, {100 * min(1.0, middle + half):.1f}] of {n}"


# ---------------------------------------------------------------------------------------------------------------------
# llama.cpp against PyTorch, tokenizer
# ---------------------------------------------------------------------------------------------------------------------


def exactness(path: Path, checkpoint: Path | None, n_documents: int = 20) -> tuple[float, int]:
    """Largest difference of a logit between PyTorch and llama.cpp, both F32, and the number of positions compared.

    The weights are the checkpoint's, or the shipped file's own, dequantized for both sides.
    """
    import gguf
    import torch

    from scripts.dev.tiny_llama import Config, TinyLlama, write_gguf
    from scripts.training.words.train_words import gguf_vocab

    bpe = vocab.train(corpus.vocabulary_text())
    if checkpoint is not None:
        saved = torch.load(checkpoint, weights_only=True)
        model = TinyLlama(Config(**saved["config"]))
        model.load_state_dict(saved["state"])
    else:
        reader = gguf.GGUFReader(path)
        number = {f.name.split(".", 1)[1]: f.contents() for f in reader.fields.values() if f.name.startswith("llama.")}
        model = TinyLlama(
            Config(
                n_vocab=number["vocab_size"],
                d_model=number["embedding_length"],
                n_layers=number["block_count"],
                n_heads=number["attention.head_count"],
                d_ff=number["feed_forward_length"],
                n_ctx=number["context_length"],
                rope_theta=number["rope.freq_base"],
                norm_eps=number["attention.layer_norm_rms_epsilon"],
            )
        )
        renamed = {
            "token_embd": "embed",
            "output_norm": "norm",
            "blk": "blocks",
            "attn_q": "q",
            "attn_k": "k",
            "attn_v": "v",
            "attn_output": "o",
            "ffn_gate": "gate",
            "ffn_up": "up",
            "ffn_down": "down",
        }
        state = {}
        for t in reader.tensors:
            name = ".".join(renamed.get(part, part) for part in t.name.split("."))
            state[name] = torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32))
        model.load_state_dict(state)
    rng = random.Random(7)
    texts = [world.plain(corpus.draw_text(rng)) for _ in range(n_documents)]
    worst, positions = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        f32 = Path(folder) / "f32.gguf"
        write_gguf(model, gguf_vocab(bpe), f32, name="f32", description="for comparison")
        documents = [[vocab.BOS, *bpe.encode(t)] for t in texts]
        for ids, theirs in zip(documents, raw_logits(f32, documents, len(bpe.tokens)), strict=True):
            with torch.no_grad():
                mine = model(torch.tensor([ids]))[0].numpy()  # (T, V)
            worst = max(worst, float(np.abs(mine - theirs).max()))
            positions += len(ids)
    return worst, positions


def raw_logits(path: Path, documents: list[list[int]], n_vocab: int) -> list[NDArray[np.float32]]:
    """llama.cpp's logits (T, n_vocab) of each document, F32 cache, no flash attention, CPU.

    Its log goes where softllama sends it, so a model must have been loaded by softllama before.
    """
    import llama_cpp as ll

    ll.llama_backend_init()
    model_params = ll.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = ll.llama_model_load_from_file(str(path).encode(), model_params)
    params = ll.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.type_k = params.type_v = ll.GGML_TYPE_F32
    params.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = ll.llama_init_from_model(model, params)
    out: list[NDArray[np.float32]] = []
    for ids in documents:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        batch = ll.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
        if ll.llama_decode(context, batch) != 0:
            raise SystemExit("llama.cpp could not decode a document")
        rows = [np.ctypeslib.as_array(ll.llama_get_logits_ith(context, i), shape=(n_vocab,)) for i in range(len(ids))]
        out.append(np.array(rows, dtype=np.float32))
        ll.llama_batch_free(batch)
    ll.llama_free(context)
    ll.llama_model_free(model)
    return out


def test_documents(n: int) -> list[str]:
    """Distinct held-out documents: questions that training never asks with their right answers, and held-out frames."""
    rng, out = random.Random(11), dict[str, None]()
    while len(out) < n:
        if rng.random() < 0.5:
            plan = rng.choice(list(corpus.QUESTION_KINDS.values()))[0](rng, True)
            w = corpus.draw_world(rng, plan)
            if w is not None:
                out[world.plain(plan.render(w))] = None
        else:
            relation, a = rng.choice(world.RELATIONS), rng.choice(world.ANIMALS)
            frame = rng.choice(world.frames(relation, test=True)).format(a.name)
            out[f"{frame} {world.predicate(a, relation, '').strip()}."] = None
    return list(out)


def tokenizer(asker: Asker, n: int = 1000) -> tuple[int, int, int]:
    """Of n held-out documents: how many llama.cpp splits unlike training, how many do not come back, and n."""
    bpe = vocab.train(corpus.vocabulary_text())
    texts = test_documents(n)
    ids = [asker.ids(t) for t in texts]
    unlike = sum(i != bpe.encode(t) for i, t in zip(ids, texts, strict=True))
    return unlike, sum(asker.model.detokenize(i) != t for i, t in zip(ids, texts, strict=True)), n


# ---------------------------------------------------------------------------------------------------------------------
# Pure inputs
# ---------------------------------------------------------------------------------------------------------------------


def next_word(asker: Asker, a: world.Animal, relation: str) -> int:
    """The token that tells this property right after its verb; who is chased comes after "the", or is "nobody"."""
    return asker.token(" " + world.value(a, relation))


def clear_frames(relation: str) -> list[str]:
    """Held-out frames after which only this property can follow: "The dog is" may go on with "bigger than"."""
    return [f for f in world.frames(relation, test=True) if not f.endswith(" is")]


def ends(frame: str, a: world.Animal, relation: str) -> str:
    return frame + " the" if relation == "chase" and a.chases else frame


def held_out_frames(asker: Asker, most: int = 60) -> Grid:
    """p of the right word on frames that training never shows."""
    rows: list[tuple[str, ...]] = []
    for relation in world.RELATIONS:
        frames = clear_frames(relation)
        if relation != "sound" and len(frames) > most:
            frames = random.Random(5).sample(frames, most)
        p: Floats = np.zeros((len(world.ANIMALS), len(frames)))
        for i, a in enumerate(world.ANIMALS):
            right, subject = next_word(asker, a, relation), asker.token(" " + a.name)
            for j, frame in enumerate(frames):
                p[i, j] = asker.after(fill(asker, ends(frame, a, relation), subject)).probs[right]
        worst = int(p.mean(1).argmin())
        rows.append(
            (
                relation,
                f"{p.mean():.4f}",
                f"{p.mean(1).min():.4f} ({world.ANIMALS[worst].name})",
                f"{p.min():.4f}",
                f"{100 * (p > 0.9).mean():.2f} %",
                f"{len(world.ANIMALS)} x {len(frames)}",
            )
        )
    head = ("property", "mean p", "lowest animal", "lowest of all", "p > 0.9", "animals x frames")
    return Grid("right word on held-out frames", head, rows)


def test_questions(kind: str, n: int) -> list[tuple[list[tuple[str, str]], frozenset[str]]]:
    """Up to n distinct held-out conversations of a kind with their right answers."""
    rng = random.Random(f"test {kind}")
    found: dict[str, tuple[list[tuple[str, str]], frozenset[str]]] = {}
    for _ in range(60 * n):
        plan = corpus.QUESTION_KINDS[kind][0](rng, True)
        w = corpus.draw_world(rng, plan)
        if w is None or plan.messages is None or plan.answers is None:
            continue
        messages = plan.messages(w)
        found.setdefault(str(messages), (messages, plan.answers(w)))
        if len(found) == n:
            break
    return list(found.values())


def prompt(messages: Sequence[tuple[str, str]], think: bool) -> str:
    """What the chat template makes of a conversation."""
    text = "".join(chat.open_turn(role, content) for role, content in messages) + "<|im_start|>assistant\n"
    return text if think else text + "<think>\n\n</think>\n\n"


def answer(asker: Asker, messages: Sequence[tuple[str, str]], think: bool = True) -> str:
    return asker.greedy(prompt(messages, think)).split("</think>")[-1].strip()


def late_questions(asker: Asker, n: int, least: int) -> list[tuple[list[tuple[str, str]], frozenset[str]]]:
    """Held-out fact questions behind a long chat about other animals; training's longest document has 256 tokens."""
    rng = random.Random(17)
    out: list[tuple[list[tuple[str, str]], frozenset[str]]] = []
    for last, right in test_questions("fact", n):
        before: list[tuple[str, str]] = []
        while len(asker.ids(prompt(before, True))) < least:
            before += earlier_turns(rng)
        out.append((before + last, right))
    return out


def earlier_turns(rng: random.Random) -> list[tuple[str, str]]:
    """One question of the training side with its answer, as two turns."""
    while True:
        plan = corpus.QUESTION_KINDS["fact"][0](rng, False)
        w = corpus.draw_world(rng, plan)
        if w is not None and plan.messages is not None and plan.answers is not None:
            return [*plan.messages(w), ("assistant", next(iter(plan.answers(w))))]


EXAMPLES = (
    "What does the dog say?",
    "Where does the whale live?",
    "What does the monkey eat?",
    "Who chases the hen?",
    "Which is bigger, the bear or the mouse?",
    "Is the horse smaller than the frog?",
    "Do the lion and the wolf eat the same food?",
    "What does the animal that chases the cat say?",
    "Where does the animal that says moo live?",
    "What is the capital of France?",
)


def examples(askers: dict[str, Asker]) -> Grid:
    """Ten questions as anybody might ask them, training side or not, and what the models answer."""
    rows = [(q, *(answer(a, [("user", q)]) for a in askers.values())) for q in EXAMPLES]
    return Grid("ten questions in chat, greedy", ("question", *askers), [tuple(r) for r in rows])


def questions(asker: Asker, n: int) -> Grid:
    """Exact right answers, greedy, with thinking and with thinking switched off."""
    rows: list[tuple[str, ...]] = []
    totals = [0, 0, 0]
    hard = [0, 0, 0]
    for kind in corpus.QUESTION_KINDS:
        asked = test_questions(kind, n)
        on = sum(answer(asker, m) in right for m, right in asked)
        off = sum(answer(asker, m, False) in right for m, right in asked)
        rows.append((kind, share_interval(on, len(asked)), share_interval(off, len(asked))))
        for total in (totals, hard) if kind in corpus.THINKING else (totals,):
            total[0] += on
            total[1] += off
            total[2] += len(asked)
    rows.append(("all thinking questions", share_interval(hard[0], hard[2]), share_interval(hard[1], hard[2])))
    rows.append(("all of the above", share_interval(totals[0], totals[2]), share_interval(totals[1], totals[2])))
    unknown = [[("user", q)] for q in chat.UNKNOWN_TEST]
    counts = [sum(answer(asker, m, t) == chat.UNSURE for m in unknown) for t in (True, False)]
    rows.append(("outside its world", *(share_interval(c, len(unknown)) for c in counts)))
    for least in (200, 350):
        late = late_questions(asker, n, least)
        counts = [sum(answer(asker, m, t) in right for m, right in late) for t in (True, False)]
        what = f"fact, after {least} to {least + 20} tokens of chat"
        rows.append((what, *(share_interval(c, len(late)) for c in counts)))
    return Grid("held-out questions, greedy", ("kind", "with thinking", "thinking off"), rows)


# ---------------------------------------------------------------------------------------------------------------------
# Mixtures
# ---------------------------------------------------------------------------------------------------------------------

PAIR_FRAMES: dict[str, tuple[str, ...]] = {  # the plain frame, then held-out ones
    r: (
        world.frame("", "The", "is always" if r == "size" else world.PLAIN[r]),
        *random.Random(f"pairs {r}").sample(clear_frames(r), 2),
    )
    for r in ("sound", "food", "home", "colour", "size")
}
GRID = np.linspace(0, 1, 21)


def pairs() -> list[tuple[world.Animal, world.Animal]]:
    return [(a, b) for i, a in enumerate(world.ANIMALS) for b in world.ANIMALS[i + 1 :]]


def mix(asker: Asker, names: Sequence[str], weights: Sequence[float]) -> sl.Mixture:
    return sl.Mixture([asker.token(" " + n) for n in names], list(weights))


def kl(p: Floats, q: Floats) -> float:
    """KL(p || q) in nats of two probability vectors (V,)."""
    keep = p > 0
    return float((p[keep] * (np.log(p[keep]) - np.log(np.maximum(q[keep], 1e-30)))).sum())


def half_and_half(asker: Asker) -> dict[str, dict[str, Any]]:
    """At 0.5/0.5, for each pair with two different facts: is the top token a third one, and KL(average to mixture)."""
    out: dict[str, dict[str, Any]] = {}
    for relation, frames in PAIR_FRAMES.items():
        for frame in frames:
            alone = {
                a.name: asker.after(fill(asker, frame, asker.token(" " + a.name))).probs.astype(np.float64)
                for a in world.ANIMALS
            }
            for a, b in pairs():
                if world.value(a, relation) == world.value(b, relation):
                    continue
                d = asker.after(fill(asker, frame, mix(asker, (a.name, b.name), (0.5, 0.5))))
                own = {next_word(asker, a, relation), next_word(asker, b, relation)}
                cell = out.setdefault(f"{world.pair_class(a.name, b.name)}|{relation}", {"third": [], "kl": []})
                cell["third"].append(int(d.logits.argmax()) not in own)
                cell["kl"].append(kl((alone[a.name] + alone[b.name]) / 2, d.probs.astype(np.float64)))
    return out


def crossing(p: Floats, level: float) -> float:
    """The first weight on GRID at which p rises to a level, interpolated; the end where it never does."""
    above = np.flatnonzero(p >= level)
    if not len(above):
        return 1.0
    i = int(above[0])
    if i == 0:
        return 0.0
    return float(GRID[i - 1] + (GRID[i] - GRID[i - 1]) * (level - p[i - 1]) / (p[i] - p[i - 1]))


def curve(asker: Asker, frame: str, a: world.Animal, b: world.Animal, relation: str) -> Floats:
    """(21, 2): the probabilities of a's and of b's word as a's weight goes over GRID."""
    words = [next_word(asker, a, relation), next_word(asker, b, relation)]
    inputs = [fill(asker, frame, mix(asker, (a.name, b.name), (w, 1 - w))) for w in GRID]
    return np.array([asker.after(i).probs[words] for i in inputs], np.float64)


def calibration(asker: Asker) -> dict[str, dict[str, list[float]]]:
    """Over all pairs and GRID, on the plain frame and one held-out one: |P - weight| and the transition from .1 to .9.

    The error is the mean of |P(a's sound) - w| and |P(b's sound) - (1 - w)|, over the inner weights 0.05 to 0.95. The
    width is that of P(a) / (P(a) + P(b)): 0.8 is a straight line, 0 a step.
    """
    out: dict[str, dict[str, list[float]]] = {}
    for a, b in pairs():
        cell = out.setdefault(world.pair_class(a.name, b.name), {"error": [], "worst": [], "width": []})
        for frame in PAIR_FRAMES["sound"][:2]:
            p = curve(asker, frame, a, b, "sound")  # (21, 2)
            error = (np.abs(p[:, 0] - GRID) + np.abs(p[:, 1] - (1 - GRID)))[1:-1] / 2
            share = p[:, 0] / p.sum(1)
            cell["error"].append(float(error.mean()))
            cell["worst"].append(float(error.max()))
            cell["width"].append(max(0.0, crossing(share, 0.9) - crossing(share, 0.1)))
    return out


def triples(asker: Asker, n: int = 200) -> list[float]:
    """Mean absolute error of three animals' sounds: random triples out of those that are ever mixed, random weights."""
    rng, out = random.Random(13), []
    names = [a.name for a in world.ANIMALS if a.name not in world.NEVER_MIXED]
    for _ in range(n):
        chosen = rng.sample(names, 3)
        g = [rng.gammavariate(1.0, 1.0) for _ in chosen]
        w = [x / sum(g) for x in g]
        d = asker.after(fill(asker, PAIR_FRAMES["sound"][0], mix(asker, chosen, w)))
        p = [d.probs[next_word(asker, world.BY_NAME[c], "sound")] for c in chosen]
        out.append(float(np.abs(np.array(p) - np.array(w)).mean()))
    return out


def settled(asker: Asker) -> dict[str, dict[str, list[float]]]:
    """After "The [a/b] says <a's sound> and eats": the probability of a's food, and of b's, which is now wrong."""
    out: dict[str, dict[str, list[float]]] = {}
    tails = (" says {} and eats", " says {}. It eats")
    for x, y in pairs():
        if x.food == y.food:
            continue
        subject = mix(asker, (x.name, y.name), (0.5, 0.5))
        cell = out.setdefault(world.pair_class(x.name, y.name), {"right": [], "wrong": []})
        for a, b in ((x, y), (y, x)):
            for tail in tails:
                d = asker.after([*asker.ids("The"), subject, *asker.ids(tail.format(a.sound))])
                cell["right"].append(float(d.probs[next_word(asker, a, "food")]))
                cell["wrong"].append(float(d.probs[next_word(asker, b, "food")]))
    return out


def dog_and_cat(asker: Asker) -> list[tuple[str, str]]:
    """The demonstration: "The [a dog + (1 - a) cat] says", and what follows once the sound is said."""
    dog, cat = world.BY_NAME["dog"], world.BY_NAME["cat"]
    p = curve(asker, "The {} says", dog, cat, "sound")[:, 0]
    rows = [(f"P(woof), dog at {w:.1f}", f"{p[round(w * 20)]:.3f}") for w in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    for sound in ("woof", "meow"):
        subject = mix(asker, ("dog", "cat"), (0.5, 0.5))
        d = asker.after([*asker.ids("The"), subject, *asker.ids(f" says {sound} and eats")])
        rows.append((f"P(bones) after {sound}, 0.5/0.5", f"{d.probs[asker.token(' bones')]:.4f}"))
    return rows


def mixtures(askers: dict[str, Asker], record: dict[str, Any]) -> list[Grid]:
    halves = {m: half_and_half(a) for m, a in track(askers.items(), "pairs at 0.5/0.5", console=STDERR)}
    curves = {m: calibration(a) for m, a in track(askers.items(), "calibration", console=STDERR)}
    after = {m: settled(a) for m, a in track(askers.items(), "after settling", console=STDERR)}
    record |= {"half_and_half": halves, "calibration": curves, "settled": after}
    head = ("model", "measure", *(f"{c} pairs" for c in CLASSES))
    others = [r for r in PAIR_FRAMES if r != "sound"]

    def join(model: str, c: str, what: str, relations: Sequence[str]) -> list[float]:
        return [v for r in relations for v in halves[model].get(f"{c}|{r}", {}).get(what, [])]

    def cells(m: str, c: str) -> dict[str, str]:
        return {
            "third token on top, sound": share_of(join(m, c, "third", ["sound"])),
            "third token on top, other properties": share_of(join(m, c, "third", others)),
            "KL(average to mixture), sound": mean_interval(join(m, c, "kl", ["sound"])),
            "KL(average to mixture), other properties": mean_interval(join(m, c, "kl", others)),
            "calibration error over a, mean": mean_interval(curves[m][c]["error"]),
            "calibration error over a, 95 % of pairs below": f"{np.quantile(curves[m][c]['error'], 0.95):.3f}",
            "width of the transition (line: 0.8)": mean_interval(curves[m][c]["width"]),
            "after settling: p of the right food": mean_interval(after[m][c]["right"]),
            "after settling: p of the other's food": mean_interval(after[m][c]["wrong"]),
        }

    rows: list[tuple[str, ...]] = []
    for m in askers:
        columns = [cells(m, c) for c in CLASSES]
        rows += [(m, what, *(column[what] for column in columns)) for what in columns[0]]
    counts = {c: sum(world.pair_class(a.name, b.name) == c for a, b in pairs()) for c in CLASSES}
    title = "mixtures of two animals (" + ", ".join(f"{n} {c}" for c, n in counts.items()) + " pairs)"
    three = {m: triples(a) for m, a in askers.items()}
    demo = {m: dict(dog_and_cat(a)) for m, a in askers.items()}
    record |= {"triples": three, "dog_and_cat": demo}
    small = [("calibration error of 200 triples, sound", *(mean_interval(v) for v in three.values()))]
    small += [(what, *(demo[m][what] for m in askers)) for what in next(iter(demo.values()))]
    return [Grid(title, head, rows), Grid("three animals; dog and cat (a held-out pair)", ("measure", *askers), small)]


def share_of(flags: Sequence[float]) -> str:
    return share_interval(int(sum(flags)), len(flags))


# ---------------------------------------------------------------------------------------------------------------------

STDERR = Console(stderr=True)


def show(grids: Sequence[Grid], markdown: bool) -> None:
    for g in grids:
        if markdown:
            print(f"\n**{g.title}**\n\n| " + " | ".join(g.head) + " |\n|" + "---|" * len(g.head))
            print("\n".join("| " + " | ".join(r) + " |" for r in g.rows))
        else:
            table = Table(*g.head, title=g.title)
            for r in g.rows:
                table.add_row(*r)
            Console(width=None if Console().is_terminal else 200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=Path, default=MODELS / "words.gguf")
    parser.add_argument("--mixed", type=Path, default=MODELS / "words-mixed.gguf")
    parser.add_argument("--checkpoints", type=Path, help="folder of words.pt and words-mixed.pt for the F32 comparison")
    parser.add_argument("--questions", type=int, default=150, help="held-out questions of each kind, at most")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args()

    paths: dict[str, Path] = {"words": args.words, "words-mixed": args.mixed}
    askers = {name: Asker(path) for name, path in paths.items()}
    record: dict[str, Any] = {}
    grids: list[Grid] = []

    rows: list[tuple[str, ...]] = []
    for name, path in paths.items():
        checkpoint = args.checkpoints / f"{name}.pt" if args.checkpoints else None
        try:
            worst, positions = exactness(path, checkpoint)
            where = "checkpoint" if checkpoint else "shipped weights, dequantized"
            figure = f"{worst:.1e} ({positions} positions, {where})"
            rows.append((name, "llama.cpp against PyTorch, F32: largest difference of a logit", figure))
        except ImportError as e:
            worst = float("nan")
            rows.append((name, "llama.cpp against PyTorch", f"not measured: {e}"))
        unlike, broken, n = tokenizer(askers[name])
        rows.append((name, "held-out documents split unlike in training", f"{unlike} of {n}"))
        rows.append((name, "held-out documents that do not come back", f"{broken} of {n}"))
        rows.append((name, "size of the file", f"{path.stat().st_size:,} bytes"))
        record[name] = {"worst_logit": worst, "unlike": unlike, "broken": broken}
    grids.append(Grid("the files", ("model", "measure", "figure"), rows))

    for name, asker in track(askers.items(), "pure inputs", console=STDERR):
        for g in (held_out_frames(asker), questions(asker, args.questions)):
            grids.append(Grid(f"{name}: {g.title}", g.head, g.rows))
            record[name][g.title] = [dict(zip(g.head, r, strict=True)) for r in g.rows]
    grids += [*mixtures(askers, record), examples(askers)]
    show(grids, args.markdown)
    if args.json:
        args.json.write_text(json.dumps(record | {"tables": [vars(g) for g in grids]}, indent=1))


if __name__ == "__main__":
    main()
