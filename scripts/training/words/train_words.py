"""Train `words`, then `words-mixed` from it, and write both as GGUF.

    python scripts/training/words/train_words.py --out build/words     # both models, F32 checkpoints, loss curves
    python scripts/training/words/train_words.py --out build/words --stage words-mixed   # only the second, from a checkpoint

Knows rows, batches and the two training runs. Does not know the facts (`words_world.py`), the texts
(`words_corpus.py`), what a mixture in the input means (`words_documents.py`) or the network (`tiny_llama.py`).
Evaluation is another script's (`eval_words.py`), and reads only the GGUF files.

Rows hold several documents, each of which sees itself alone, so a document always begins at its BOS as it does in use.

What `words-mixed` learns is in `words_documents.py`.

Steps, seeds and batch shape are fixed; results are equal bit for bit only with the same number of threads, the same
PyTorch and a like CPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository: `scripts` and `tests` are packages there

from scripts.dev.tiny_llama import Config, TinyLlama, Vocab, write_gguf
from scripts.training.words import words_chat as chat
from scripts.training.words import words_corpus as corpus
from scripts.training.words import words_vocab as vocab
from scripts.training.words.words_documents import Document, mixed_document, pure_document

ROW = 256  # positions in a row
UNDECIDED = 4.0  # weight in the loss of a position whose worlds differ: few positions, and what a mixture is to teach
SHAPE = {"d_model": 192, "n_layers": 4, "n_heads": 6, "d_ff": 512, "n_ctx": 512}


@dataclass(frozen=True)
class Run:
    """One training run. `mixed` is the share of documents that hold a mixture."""

    name: str
    steps: int
    rows: int  # rows in a batch
    lr: float
    warmup: int
    decay: float  # the share of the steps, at the end, over which the rate falls to 0
    mixed: float
    seed: int
    description: str


RUNS = {
    "words": Run(
        "words",
        1000,
        24,
        3e-3,
        60,
        0.6,
        0.0,
        20261123,
        "A small English of animals, trained on tokens. Made for softllama.",
    ),
    "words-mixed": Run(
        "words-mixed",
        2000,
        16,
        2e-3,
        60,
        0.7,
        0.65,
        20261124,
        "`words`, further trained on mixtures of tokens that stand for one world. Made for softllama.",
    ),
}


# ---------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    ids: Tensor  # (R, T) int64
    segment: Tensor  # (R, T) int64: which document of the row a position belongs to
    target: Tensor  # (n, K) int64: tokens of the predictive distribution at each position that counts
    probs: Tensor  # (n, K) float32, rows sum to 1
    weight: Tensor  # (n,) float32: 1, or UNDECIDED where the distribution is not one token
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
    """The run's fixed stream of batches.

    A document that does not fit opens the next row; one that is longer than a row is left out.
    """
    rng = random.Random(run.seed)
    spare: Document | None = None
    while True:
        ids: NDArray[np.int64] = np.zeros((run.rows, ROW), np.int64)
        segment: NDArray[np.int64] = np.full((run.rows, ROW), -1, np.int64)
        targets: dict[int, dict[int, float]] = {}
        mixes: dict[int, dict[int, float]] = {}
        for row in range(run.rows):
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
        weight = 1 + (UNDECIDED - 1) * (probs[:, 0] < 1).float()
        mix_ids, mix_weights = ragged(list(mixes.values()))
        yield Batch(
            torch.from_numpy(ids),
            torch.from_numpy(segment),
            target,
            probs,
            weight,
            torch.tensor(list(targets), dtype=torch.int64),
            torch.tensor(list(mixes), dtype=torch.int64),
            mix_ids,
            mix_weights,
        )


def loss_of(model: TinyLlama, b: Batch) -> Tensor:
    """Weighted mean of the cross-entropy, in nats, against the predictive distributions."""
    causal = torch.ones(ROW, ROW, dtype=torch.bool, device=b.ids.device).tril()
    mask = (b.segment[:, :, None] == b.segment[:, None, :])[:, None] & causal  # (R, 1, T, T)
    embeds = model.embed(b.ids)  # (R, T, d)
    if len(b.mix_at):
        mixed = (model.embed(b.mix_ids) * b.mix_weights[..., None]).sum(1)  # (m, d)
        embeds = embeds.flatten(0, 1).index_copy(0, b.mix_at, mixed).view_as(embeds)
    logits = model(embeds=embeds, mask=mask).flatten(0, 1)[b.at]  # (n, V)
    chosen = logits.log_softmax(-1).gather(1, b.target)  # (n, K)
    loss: Tensor = -((chosen * b.probs).sum(1) * b.weight).sum() / b.weight.sum()
    return loss


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
        tokens=bpe.tokens,
        types=bpe.types,
        merges=[f"{a} {b}" for a, b in bpe.merges],
        bos=vocab.BOS,
        eos=vocab.IM_END,
        pad=vocab.BOS,
        chat_template=chat.CHAT_TEMPLATE,
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
    axis.set(xlabel="step", ylabel="loss, nats a token (weighted)", title=title, yscale="log")
    axis.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def save(model: TinyLlama, bpe: vocab.Bpe, run: Run, losses: list[float], out: Path, seconds: float) -> None:
    torch.save({"config": asdict(model.c), "state": model.state_dict()}, out / f"{run.name}.pt")
    for kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0):
        name = f"{run.name}.gguf" if kind == gguf.GGMLQuantizationType.Q8_0 else f"{run.name}-f32.gguf"
        write_gguf(model, gguf_vocab(bpe), out / name, name=run.name, description=run.description, quantization=kind)
    record = {
        "run": asdict(run),
        "config": asdict(model.c),
        "parameters": sum(p.numel() for p in model.parameters()),
        "rows": [run.rows, ROW],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": round(seconds),
        "last_100": float(np.mean(losses[-100:])),
        "losses": losses,
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
    bpe = vocab.train(corpus.vocabulary_text())
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
