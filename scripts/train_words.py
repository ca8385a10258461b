"""Train `words`, then `words-mixed` from it, and write both as GGUF.

    python scripts/train_words.py --out build/words                       # both models, F32 checkpoints, loss curves
    python scripts/train_words.py --out build/words --stage words-mixed   # the second only, from the first's checkpoint

Knows how texts become rows of tokens, what a mixture in the input means, and the two training runs. Does not know the
facts (`words_world.py`), the splitting into tokens (`words_vocab.py`) or the network (`tiny_llama.py`). Evaluation is
another script's (`eval_words.py`), and reads only the GGUF files.

Rows hold several documents, each of which sees itself alone, so a document always begins at its BOS as it does in use.

What `words-mixed` learns ("collapse"): a mixture of animals in a text says that the text is about one of them, with these
probabilities. For a plan with open subjects, worlds j = 1..J with prior weights w_j (products over the mixed subjects) are
written out, all with the same random choices. One world k is drawn with probability w_k and its text is read; at a mixed
mention the input is the expectation of the mention's embedding, sum_j w_j E[mention_j]. The target at position t is not
the next token of world k but the exact predictive distribution

    p(x | text so far) = sum over worlds j that agree with the text so far of w_j 1[x = x_j(t+1)] / sum of their w_j

so before the first telling fact it is the mixture of the worlds' facts, and after it what follows from that fact. The
expectation over k of a sampled target is the same; the exact one has no sampling noise. Positions before a mixed
mention carry no loss, as nothing could predict the weights.

Steps, seeds and batch shape are fixed; results are equal bit for bit only with the same number of threads, the same
PyTorch and a like CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import words_vocab as vocab
import words_world as world
from numpy.typing import NDArray
from tiny_llama import Config, TinyLlama, Vocab, write_gguf
from torch import Tensor
from tqdm import tqdm

ROW = 256  # positions in a row
ROWS = 24  # rows in a batch
SHAPE = {"d_model": 192, "n_layers": 4, "n_heads": 6, "d_ff": 512, "n_ctx": 512}


@dataclass(frozen=True)
class Run:
    """One training run. `mixed` is the share of documents that hold a mixture."""

    name: str
    steps: int
    lr: float
    warmup: int
    decay: float  # the share of the steps, at the end, over which the rate falls to 0
    mixed: float
    seed: int
    description: str


RUNS = {
    "words": Run(
        "words", 1400, 3e-3, 60, 0.6, 0.0, 20261123,
        "A small English of animals, trained on tokens. Made for softllama.",
    ),
    "words-mixed": Run(
        "words-mixed", 1400, 2e-3, 60, 0.7, 0.65, 20261124,
        "`words`, further trained on mixtures of tokens that stand for one world. Made for softllama.",
    ),
}


@dataclass
class Document:
    """Token ids of one world's text, and what differs from plain text."""

    ids: list[int]  # BOS first
    loss: list[bool]  # loss[t]: whether predicting ids[t] counts
    inputs: dict[int, dict[int, float]] = field(default_factory=dict)  # position -> token: weight, sums to 1
    targets: dict[int, dict[int, float]] = field(default_factory=dict)  # predicted position -> token: probability


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------

_FIRST, _LAST = world.MENTION, world.MENTION + 15


@dataclass(frozen=True)
class Encoded:
    ids: list[int]
    loss: list[bool]
    mentions: dict[int, tuple[int, int]]  # position -> (slot, how many mentions of the slot came before)


def encode(bpe: vocab.Bpe, text: str) -> Encoded:
    """Ids of a marked text, from BOS to what ends it."""
    for slot in range(3):  # a mention's mark stands before its space, so that " dog" stays one piece
        text = text.replace(" " + chr(_FIRST + slot), chr(_FIRST + slot) + " ")
    ids, loss, mentions = [vocab.BOS], [False], {}
    seen: dict[int, int] = {}
    speak, start = True, 0
    for i in range(len(text) + 1):
        if i < len(text) and not _FIRST <= ord(text[i]) <= ord(world.SPEAK):
            continue
        for part in vocab.split(text[start:i]):
            piece = bpe.part(part)
            ids += piece
            loss += [speak] * len(piece)
        start = i + 1
        if i == len(text):
            break
        if text[i] == world.MUTE:
            speak = False
        elif text[i] == world.SPEAK:
            speak = True
        else:
            slot = ord(text[i]) - _FIRST
            mentions[len(ids)] = (slot, seen.get(slot, 0))
            seen[slot] = seen.get(slot, 0) + 1
    if ids[-1] != vocab.IM_END:
        ids.append(vocab.BOS)  # <|endoftext|> ends a raw text
        loss.append(True)
    return Encoded(ids, loss, mentions)


def pure_document(bpe: vocab.Bpe, rng: random.Random) -> Document:
    e = encode(bpe, world.draw_text(rng))
    return Document(e.ids, e.loss)


def draw_weights(rng: random.Random, k: int) -> list[float]:
    """k positive weights that sum to 1, over the whole simplex and often near its edges and its middle."""
    x = rng.random()
    if x < 0.1:
        return [1 / k] * k
    concentration = 1.0 if x < 0.65 else 0.4
    g = [rng.gammavariate(concentration, 1.0) + 1e-6 for _ in range(k)]
    return [v / sum(g) for v in g]


def pick(rng: random.Random, names: list[str], k: int, forbidden: str) -> list[str]:
    """Up to k names of which no two are a held-out pair. `forbidden` is the kind of pair: "mix" or a property."""
    rng.shuffle(names)
    out: list[str] = []
    for n in names:
        if forbidden == "mix":
            clash = any(world.never_mixed_pair(n, o) for o in out)
        else:
            clash = any(world.pair_held_out(f"mix {forbidden}", n, o) for o in out)
        if not clash:
            out.append(n)
        if len(out) == k:
            break
    return out


def candidates(rng: random.Random, plan: world.Plan, w: world.World, slot: int, k: int) -> dict[str, float] | None:
    """Animals for one open subject and their weights; None if there are not two things to mix."""
    fits = [a for a in world.ANIMALS if plan.allowed((*w[:slot], a, *w[slot + 1 :]))]
    if plan.key is None:
        names = pick(rng, [a.name for a in fits if a.name not in world.NEVER_MIXED], k, "mix")
        return dict(zip(names, draw_weights(rng, len(names)))) if len(names) > 1 else None
    relation = plan.key
    barred = {world.value(world.BY_NAME[n], relation) for n in world.NEVER_MIXED} if relation == "sound" else set()
    words = pick(rng, sorted({world.value(a, relation) for a in fits} - barred), k, relation)
    if len(words) < 2:
        return None
    out: dict[str, float] = {}
    for word, weight in zip(words, draw_weights(rng, len(words))):
        having = [a.name for a in fits if world.value(a, relation) == word]
        out |= {n: weight / len(having) for n in having}
    return out


def mixed_document(bpe: vocab.Bpe, rng: random.Random) -> Document:
    """A document about several worlds at once (see the module's docstring)."""
    while True:
        plan = world.draw_plan(rng)
        w = world.draw_world(rng, plan)
        if w is None or plan.slots == 0:
            continue
        slots = [0] if plan.slots == 1 else rng.choice(([0], [1], [0, 1]))
        k = rng.choices((2, 3, 4, 6, 8), (6, 2, 1, 0.5, 0.5))[0] if len(slots) == 1 else rng.choice((2, 2, 3))
        options: list[dict[str, float]] = []
        for s in range(plan.slots):
            chosen = candidates(rng, plan, w, s, k) if s in slots else {w[s].name: 1.0}
            options.append(chosen or {})
        worlds: list[tuple[world.World, float]] = []
        for names in itertools.product(*options):
            weight = float(np.prod([options[s][n] for s, n in enumerate(names)]))
            worlds.append((tuple(world.BY_NAME[n] for n in names), weight))
        if len(worlds) < 2 or not all(plan.allowed(x) for x, _ in worlds):
            continue
        return superpose(bpe, rng, plan, worlds, set(slots))


def superpose(
    bpe: vocab.Bpe, rng: random.Random, plan: world.Plan, worlds: list[tuple[world.World, float]], slots: set[int]
) -> Document:
    """The text of one world, drawn by weight, with mixtures where its subjects are named and exact targets."""
    weights = [p for _, p in worlds]
    texts = [encode(bpe, plan.render(x)) for x, _ in worlds]
    again = {(s, n): n == 0 or rng.random() < 0.5 for s in slots for n in range(12)}  # which mentions are mixed
    k = rng.choices(range(len(worlds)), weights)[0]
    doc = Document(list(texts[k].ids), list(texts[k].loss))

    mention: dict[tuple[int, int], dict[int, float]] = {}  # (slot, ordinal) -> token: weight
    for t, p in zip(texts, weights):
        for position, which in t.mentions.items():
            if again.get(which, False):
                m = mention.setdefault(which, {})
                m[t.ids[position]] = m.get(t.ids[position], 0.0) + p
    alive = list(range(len(worlds)))
    for position in range(1, len(doc.ids)):
        which = texts[k].mentions.get(position)
        if which is not None and again.get(which, False):
            m = mention[which]
            total = sum(m.values())
            doc.inputs[position] = {i: p / total for i, p in m.items()}
            doc.loss[position] = False
            continue
        total = sum(weights[j] for j in alive)
        target: dict[int, float] = {}
        for j in alive:
            i = texts[j].ids[position]
            target[i] = target.get(i, 0.0) + weights[j] / total
        if len(target) > 1:
            doc.targets[position] = target
            alive = [j for j in alive if texts[j].ids[position] == doc.ids[position]]
    return doc


# ---------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    ids: Tensor  # (R, T) int64
    segment: Tensor  # (R, T) int64: which document of the row a position belongs to
    target: Tensor  # (n, K) int64: tokens of the predictive distribution at each position that counts
    probs: Tensor  # (n, K) float32, rows sum to 1
    at: Tensor  # (n,) int64: flat index of those positions
    mix_at: Tensor  # (m,) int64: flat index of mixed inputs
    mix_ids: Tensor  # (m, J) int64
    mix_weights: Tensor  # (m, J) float32, rows sum to 1


def ragged(rows: list[dict[int, float]]) -> tuple[Tensor, Tensor]:
    width = max((len(r) for r in rows), default=1)
    ids = np.zeros((len(rows), width), np.int64)
    weights = np.zeros((len(rows), width), np.float32)
    for i, r in enumerate(rows):
        ids[i, : len(r)] = list(r)
        weights[i, : len(r)] = list(r.values())
    return torch.from_numpy(ids), torch.from_numpy(weights)


def batches(bpe: vocab.Bpe, run: Run) -> Iterator[Batch]:
    """The run's fixed stream of batches. Documents that do not fit a row are split off to the next; none is cut."""
    rng = random.Random(run.seed)
    spare: Document | None = None
    while True:
        ids: NDArray[np.int64] = np.zeros((ROWS, ROW), np.int64)
        segment: NDArray[np.int64] = np.full((ROWS, ROW), -1, np.int64)
        targets: dict[int, dict[int, float]] = {}
        mixes: dict[int, dict[int, float]] = {}
        for row in range(ROWS):
            used = 0
            for count in itertools.count():
                doc = spare or (mixed_document if rng.random() < run.mixed else pure_document)(bpe, rng)
                n = len(doc.ids) - 1  # the last token is only a target
                spare = None
                if n > ROW:
                    continue
                if used + n > ROW:
                    spare = doc
                    break
                ids[row, used : used + n] = doc.ids[:n]
                segment[row, used : used + n] = count
                base = row * ROW + used
                for position, mix in doc.inputs.items():
                    if position < n:
                        mixes[base + position] = mix
                for position in range(1, n + 1):
                    if doc.loss[position]:
                        targets[base + position - 1] = doc.targets.get(position) or {doc.ids[position]: 1.0}
                used += n
        target, probs = ragged(list(targets.values()))
        mix_ids, mix_weights = ragged(list(mixes.values()))
        yield Batch(
            torch.from_numpy(ids), torch.from_numpy(segment), target, probs,
            torch.tensor(list(targets), dtype=torch.int64), torch.tensor(list(mixes), dtype=torch.int64), mix_ids, mix_weights,
        )


def loss_of(model: TinyLlama, b: Batch) -> Tensor:
    """Mean cross-entropy, in nats, against the predictive distributions."""
    causal = torch.ones(ROW, ROW, dtype=torch.bool, device=b.ids.device).tril()
    mask = (b.segment[:, :, None] == b.segment[:, None, :])[:, None] & causal  # (R, 1, T, T)
    embeds = model.embed(b.ids)  # (R, T, d)
    if len(b.mix_at):
        mixed = (model.embed(b.mix_ids) * b.mix_weights[..., None]).sum(1)  # (m, d)
        embeds = embeds.flatten(0, 1).index_copy(0, b.mix_at, mixed).view_as(embeds)
    logits = model(embeds=embeds, mask=mask).flatten(0, 1)[b.at]  # (n, V)
    chosen = logits.log_softmax(-1).gather(1, b.target)  # (n, K)
    return -(chosen * b.probs).sum(1).mean()


def rate(run: Run, step: int) -> float:
    """Linear warm-up, constant, linear decay to 0."""
    left = (run.steps - step) / (run.decay * run.steps)
    return run.lr * min((step + 1) / run.warmup, 1.0, left)


def train(model: TinyLlama, bpe: vocab.Bpe, run: Run, device: str) -> list[float]:
    """Train in place; the loss of every step, in nats a token that counts."""
    decayed = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("embed")]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or n.startswith("embed")]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=run.lr, betas=(0.9, 0.98))
    losses: list[float] = []
    stream = batches(bpe, run)
    bar = tqdm(range(run.steps), desc=run.name, unit="step", mininterval=1.0)
    for step in bar:
        b = Batch(*(t.to(device) for t in vars(next(stream)).values()))
        for g in optimizer.param_groups:
            g["lr"] = rate(run, step)
        loss = loss_of(model, b)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 0:
            bar.set_postfix(loss=f"{np.mean(losses[-20:]):.3f}")
    return losses


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def gguf_vocab(bpe: vocab.Bpe) -> Vocab:
    return Vocab(
        tokens=bpe.tokens, types=bpe.types, merges=[f"{a} {b}" for a, b in bpe.merges], bos=vocab.BOS, eos=vocab.IM_END,
        pad=vocab.BOS, chat_template=world.CHAT_TEMPLATE,
    )


def plot(losses: list[float], path: Path, title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width = 20
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    figure, axis = plt.subplots(figsize=(7, 4))
    axis.plot(losses, lw=0.5, alpha=0.4, label="step")
    axis.plot(np.arange(len(smooth)) + width - 1, smooth, label=f"mean of {width}")
    axis.set(xlabel="step", ylabel="loss, nats a token", title=title, yscale="log")
    axis.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def save(model: TinyLlama, bpe: vocab.Bpe, run: Run, losses: list[float], out: Path, seconds: float) -> None:
    torch.save({"config": asdict(model.c), "state": model.state_dict()}, out / f"{run.name}.pt")
    for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0):
        name = f"{run.name}.gguf" if kind == gguf.GGMLQuantizationType.Q8_0 else f"{run.name}-f32.gguf"
        write_gguf(model, gguf_vocab(bpe), out / name, name=run.name, description=run.description, quantization=kind)
    record = {
        "run": asdict(run), "config": asdict(model.c), "parameters": sum(p.numel() for p in model.parameters()),
        "rows": [ROWS, ROW], "threads": torch.get_num_threads(), "torch": torch.__version__, "seconds": round(seconds),
        "last_100": float(np.mean(losses[-100:])), "losses": losses,
    }
    (out / f"{run.name}.json").write_text(json.dumps(record, indent=1))
    plot(losses, out / f"{run.name}.png", run.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, GGUF files and loss curves")
    parser.add_argument("--stage", choices=("both", *RUNS), default="both")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of what makes a run reproducible")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--steps", type=int, help="fewer steps, for a trial")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    bpe = vocab.train(world.vocabulary_text())
    for run in RUNS.values() if args.stage == "both" else [RUNS[args.stage]]:
        if args.steps:
            run = Run(**{**asdict(run), "steps": args.steps})
        torch.manual_seed(run.seed)
        model = TinyLlama(Config(n_vocab=len(bpe.tokens), **SHAPE))
        if run.name == "words-mixed":
            model.load_state_dict(torch.load(args.out / "words.pt", weights_only=True)["state"])
        model.to(args.device)
        started = time.monotonic()
        losses = train(model, bpe, run, args.device)
        save(model.to("cpu"), bpe, run, losses, args.out, time.monotonic() - started)
        print(f"{run.name}: loss {np.mean(losses[-100:]):.4f} over the last 100 steps, {args.out / run.name}.gguf")


if __name__ == "__main__":
    main()
