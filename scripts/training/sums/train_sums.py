"""Train the bundled models `sums` and `sums-soft` and their controls, and write each as a Q8_0 GGUF file.

Knows how each variant is shown the task, the optimizer, and how a seed is chosen on the development set. Does not
know the task itself (`sums_task`), the network or the file format (`tiny_llama`), nor the test set: that belongs to
`eval_sums`.

One architecture and one number of steps for all. With m numbers a text is `bos v1..vm = <think> s1..sm </think>
answer <|im_end|>`; the variants differ in what stands in the m thinking places as input, and in what is asked of
their outputs:

    variant        input                      target
    discrete       partial sums of a chain    the same, one-hot          -> sums.gguf
    soft           uniform over reachable     the same distribution      -> sums-soft.gguf
    soft-targets   <pause>                    uniform over reachable     control: soft targets without soft input
    pause          <pause>                    none                       control: as many positions, no thoughts
    direct         (no thinking places)       none                       control: no thinking

`</think>`, the answer and the end are always asked for.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import Manager
from pathlib import Path
from time import perf_counter
from typing import Literal, Protocol, get_args

import gguf
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository: `scripts` and `tests` are packages there

from scripts.dev.tiny_llama import Config, TinyLlama, Vocab, write_gguf
from scripts.training.sums.sums_task import (
    BOS,
    CHAT_TEMPLATE,
    END,
    END_THINK,
    LOSING,
    MAIN,
    PAUSE,
    SETTINGS,
    SPECIAL,
    Ints,
    Setting,
    Tokens,
    chains,
    reachable,
    solve,
)

Variant = Literal["discrete", "soft", "soft-targets", "pause", "direct"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
SEEDS = (1, 2, 3)
STEPS, BATCH = 1500, 128  # half the batch and twice the steps did better at equal work than 256
PEAK = (0.02, 3e-3)  # highest learning rates, of the blocks' matrices and of the rest
WARM_UP, DECAY = 100, 0.5  # steps of linear warm-up; share of the steps in linear decay
BARE = 0.1  # share of the texts whose first number is the bare digit, as in text that does not begin with a space


def config(tokens: Tokens) -> Config:
    return Config(n_vocab=tokens.n_vocab, d_model=64, n_layers=2, n_heads=4, d_ff=192, n_ctx=64)


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rates: linear warm-up, constant, linear decay to a hundredth."""
    left = (steps - step) / (DECAY * steps)
    return min((step + 1) / WARM_UP, 1.0, max(left, 0.01))


class Batches:
    """Batches of one variant: `draw(n)` gives ids and, for the thinking places, the reachable sets."""

    def __init__(self, setting: Setting, variant: Variant, seed: int) -> None:
        self.setting, self.variant, self.tokens = setting, variant, Tokens(setting)
        self.rng = np.random.default_rng([seed, VARIANTS.index(variant)])
        self.cdf = np.cumsum(setting.weights("train"))  # (P,)

    def draw(self, n: int) -> tuple[Ints, Ints, Tensor | None]:
        """ids (n, T), the thinking places in them (m or none), and the uniform distributions (n, m, n_sums)."""
        s, tok = self.setting, self.tokens
        picked = np.searchsorted(self.cdf, self.rng.random(n) * self.cdf[-1], side="right")
        problems = s.problems[picked]  # (n, m)
        head = tok.prompts(problems, bare_first=self.rng.random(n) < BARE)  # (n, m + 3)
        if self.variant == "discrete":
            thoughts = tok.number(chains(s, problems, self.rng))  # (n, m)
        elif self.variant == "direct":
            thoughts = np.empty((n, 0), dtype=np.int64)
        else:
            thoughts = np.full((n, s.m), SPECIAL.index(PAUSE))
        tail = np.empty((n, 3), dtype=np.int64)
        tail[:, 0], tail[:, 1] = SPECIAL.index(END_THINK), tok.number(s.answers[picked])
        tail[:, 2] = SPECIAL.index(END)
        uniform = None
        if self.variant in ("soft", "soft-targets"):
            reach = torch.from_numpy(reachable(s, problems)).float()  # (n, m, n_sums)
            uniform = reach / reach.sum(-1, keepdim=True)
        think = np.arange(head.shape[1], head.shape[1] + thoughts.shape[1])
        return np.concatenate([head, thoughts, tail], 1), think, uniform


def loss_of(model: TinyLlama, batches: Batches, n: int) -> Tensor:
    """Mean cross-entropy over what is asked for, less the entropy that soft targets have anyway; scalar."""
    ids_np, think, uniform = batches.draw(n)
    ids = torch.from_numpy(ids_np)  # (n, T)
    sums = batches.tokens.sums
    x = model.embed(ids[:, :-1])  # (n, T - 1, d)
    if batches.variant == "soft":
        assert uniform is not None
        x = torch.cat([x[:, : think[0]], uniform @ model.embed.weight[sums], x[:, think[-1] + 1 :]], 1)
    k = len(think)
    logits = model(embeds=x, last=k + 3)  # (n, k + 3, V) for k thoughts, </think>, answer, end: the output before each
    norm = logits.logsumexp(-1)  # (n, k + 3)
    ce = norm - logits.gather(-1, ids[:, -(k + 3) :, None])[..., 0]  # (n, k + 3)
    if uniform is not None:
        entropy = -(uniform * uniform.clamp_min(1e-9).log()).sum(-1)  # (n, m)
        soft = norm[:, :k] - (uniform * logits[:, :k, sums]).sum(-1) - entropy  # (n, m) KL(uniform || p)
        ce = torch.cat([soft, ce[:, k:]], 1)
    elif batches.variant == "pause":
        ce = ce[:, k:]
    mean: Tensor = ce.mean()
    return mean


# ------------------------------------------------------------------------------------------------------ development


@torch.no_grad()
def decode(model: TinyLlama, variant: Variant, setting: Setting, problems: Ints) -> Ints:
    """Answer ids (n,) of problems (n, m): greedy, or with soft feedback for the soft variant.

    The development set's quick look, in PyTorch and with the number of thinking steps given. `eval_sums` is the
    measure.
    """
    table = model.embed.weight  # (V, d)
    x = table[torch.from_numpy(Tokens(setting).prompts(problems))]  # (n, m + 3, d)
    n = len(problems)
    for _ in range(0 if variant == "direct" else setting.m):
        if variant in ("pause", "soft-targets"):
            step = table[SPECIAL.index(PAUSE)].expand(n, -1)  # (n, d)
        elif variant == "soft":
            step = model(embeds=x)[:, -1].softmax(-1) @ table
        else:
            step = table[model(embeds=x)[:, -1].argmax(-1)]
        x = torch.cat([x, step[:, None]], 1)
    x = torch.cat([x, table[SPECIAL.index(END_THINK)].expand(n, 1, -1)], 1)
    return np.asarray(model(embeds=x)[:, -1].argmax(-1).numpy())


def dev_accuracy(model: TinyLlama, variant: Variant, setting: Setting, n: int = 1000) -> float:
    problems = setting.held_out("dev", n)
    right = decode(model, variant, setting, problems) == Tokens(setting).number(solve(setting, problems))
    return float(right.mean())


# --------------------------------------------------------------------------------------------------------- training


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made nearly orthogonal before the step (Jordan et al., 2024: "Muon").

    For the matrices inside the blocks; the table and the norms stay with AdamW. Why: after 500 steps of soft training the
    development accuracy was .956, with AdamW alone .791. Matrices of one shape go through the iteration as one stack.
    """

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            stacks: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                stacks.setdefault((p.shape[0], p.shape[1]), []).append(p)
            for (rows, columns), stack in stacks.items():
                gradient = torch.stack([p.grad for p in stack if p.grad is not None])  # (k, rows, columns)
                state = self.state[stack[0]]
                m = state.setdefault("momentum", torch.zeros_like(gradient))
                m.lerp_(gradient, 1 - group["momentum"])
                update = orthogonal(gradient.lerp(m, group["momentum"])) * max(1.0, rows / columns) ** 0.5
                for p, u in zip(stack, update, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-group["lr"])


def orthogonal(x: Tensor) -> Tensor:
    """The nearest matrices with singular values near 1, five Newton-Schulz steps. (k, rows, columns) -> the same."""
    tall = x.shape[-2] > x.shape[-1]
    y = x.mT if tall else x
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = y @ y.mT  # (k, r, r), r the smaller side
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    result: Tensor = y.mT if tall else y
    return result


@dataclass(frozen=True)
class Run:
    """One model to train."""

    setting: str
    variant: Variant
    seed: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.setting}-{self.variant}-{self.seed}"


@dataclass(frozen=True)
class Result:
    run: Run
    losses: list[float]  # (steps,) nats, soft targets counted above their own entropy
    dev: float  # accuracy on the development set
    seconds: float


class Ticker(Protocol):
    def put(self, item: int) -> None: ...


def train(run: Run, out: Path, ticker: Ticker) -> Result:
    """Train one model on one thread, write `out/<name>` .gguf, .pt and .json. The same numbers at every call.

    A run that `out` already holds with the same settings is read back and only written again.
    """
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    setting, start = SETTINGS[run.setting], perf_counter()
    tokens, batches = Tokens(setting), Batches(setting, run.variant, run.seed)
    model = TinyLlama(config(tokens))
    done = out / f"{run.name}.json"
    if done.exists() and (old := json.loads(done.read_text()))["run"] == asdict(run):
        model.load_state_dict(torch.load(out / f"{run.name}.pt"))
        export(model, run, out)
        ticker.put(run.steps)
        return Result(run, old["losses"], old["dev"], old["seconds"])
    inner = [p for p in model.blocks.parameters() if p.ndim == 2]
    outer = [model.embed.weight, *(p for p in model.parameters() if p.ndim == 1)]
    optimizers = (Muon(inner, lr=0.0), torch.optim.AdamW(outer, betas=(0.9, 0.98), weight_decay=0.1))
    losses: list[float] = []
    for step in range(run.steps):
        for optimizer, peak in zip(optimizers, PEAK, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, run.steps)
        loss = loss_of(model, batches, BATCH)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            ticker.put(10)
    model.eval()
    torch.save(model.state_dict(), out / f"{run.name}.pt")
    export(model, run, out)
    result = Result(run, losses, dev_accuracy(model, run.variant, setting), perf_counter() - start)
    done.write_text(json.dumps(asdict(result)))
    return result


def export(model: TinyLlama, run: Run, out: Path) -> None:
    """Write `out/<name>.gguf`, Q8_0."""
    setting = SETTINGS[run.setting]
    write_gguf(
        model,
        gguf_vocab(Tokens(setting)),
        out / f"{run.name}.gguf",
        name=f"{model_name(run.variant)} ({run.setting}, seed {run.seed})",
        description=DESCRIPTION.format(m=setting.m, low=setting.low, high=setting.high, variant=run.variant),
        quantization=gguf.GGMLQuantizationType.Q8_0,
        metadata={"softllama.policy": "full" if run.variant == "soft" else "greedy"},  # how it is meant to be decoded
    )


DESCRIPTION = (
    "Minimum non-negative sum of {m} numbers from {low} to {high} over all choices of signs; trained as: {variant}. "
    "Ask with {m} numbers. Solves nothing else."
)


def model_name(variant: Variant) -> str:
    return {"discrete": "sums", "soft": "sums-soft"}.get(variant, f"sums-{variant}")


def gguf_vocab(tokens: Tokens) -> Vocab:
    """Byte-level BPE without merges. All but the bytes are matched in the text before the tokenizer's own rules."""
    control, user, normal = gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.NORMAL
    types = [control if t in (BOS, END) else user for t in tokens.texts()[: tokens.first_byte]] + [normal] * 256
    return Vocab(
        tokens=tokens.texts(),
        types=types,
        merges=[],
        bos=SPECIAL.index(BOS),
        eos=SPECIAL.index(END),
        chat_template=CHAT_TEMPLATE,
    )


# ------------------------------------------------------------------------------------------------------------ files


def plot(results: Sequence[Result], path: Path) -> None:
    """Loss of every run over its steps, averaged over 25, one panel for each setting."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({r.run.setting for r in results})
    figure, axes = pyplot.subplots(1, len(names), figsize=(6 * len(names), 4), squeeze=False, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        for r in results:
            if r.run.setting == name:
                whole = np.array(r.losses[: len(r.losses) // 25 * 25]).reshape(-1, 25).mean(1)  # (steps // 25,)
                label = r.run.variant if r.run.seed == SEEDS[0] else None
                axis.plot(
                    25 * np.arange(1, len(whole) + 1), whole, f"C{VARIANTS.index(r.run.variant)}", lw=1, label=label
                )
        axis.set(
            title=f"5 numbers from {name}",
            xlabel="step",
            ylabel="loss, nats (soft targets: above their entropy)",
            yscale="log",
        )
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def install(results: Sequence[Result], out: Path, root: Path) -> None:
    """Copy the files into the repository: the best development seed of a main variant ships, the rest is evidence."""
    shipped, evidence = root / "softllama" / "models", root / "scripts" / "training" / "sums" / "models"
    shipped.mkdir(parents=True, exist_ok=True)
    evidence.mkdir(parents=True, exist_ok=True)
    index = []
    for r in results:
        to = evidence / f"{r.run.name}.gguf"
        rivals = [q for q in results if (q.run.setting, q.run.variant) == (r.run.setting, r.run.variant)]
        if (
            r.run.setting == MAIN.name
            and r.run.variant in ("discrete", "soft")
            and r is max(rivals, key=lambda q: q.dev)
        ):
            to = shipped / f"{model_name(r.run.variant)}.gguf"
        shutil.copyfile(out / f"{r.run.name}.gguf", to)
        index.append({**record(r), "file": to.relative_to(root).as_posix()})
    (evidence / "runs.json").write_text(json.dumps(index, indent=1) + "\n")


def record(r: Result) -> dict[str, str | int | float]:
    run = r.run
    return {
        "setting": run.setting,
        "variant": run.variant,
        "seed": run.seed,
        "steps": run.steps,
        "dev": round(r.dev, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/sums"), help="output folder (default: %(default)s)")
    parser.add_argument("--pair", action="store_true", help="only the two that ship, three seeds; no controls")
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="copy the files into this repository")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    both: tuple[Variant, ...] = ("discrete", "soft")
    runs = [Run(MAIN.name, v, seed, args.steps) for seed in SEEDS for v in both]
    if not args.pair:
        runs += [Run(LOSING.name, v, seed, args.steps) for seed in SEEDS for v in both]
        runs += [Run(MAIN.name, v, seed, args.steps) for seed in SEEDS for v in VARIANTS if v not in both]

    results: list[Result] = []
    with Manager() as manager, ProcessPoolExecutor(args.jobs) as pool, tqdm(total=args.steps * len(runs)) as bar:
        ticker: queue.Queue[int] = manager.Queue()
        waiting: list[Future[Result]] = [pool.submit(train, run, args.out, ticker) for run in runs]
        for future in waiting:
            while not future.done() or not ticker.empty():
                try:
                    bar.update(ticker.get(timeout=0.5))
                except queue.Empty:
                    continue
            r = future.result()
            tqdm.write(f"{r.run.name:22} loss {np.mean(r.losses[-50:]):.4f}  dev {r.dev:.3f}  {r.seconds:.0f} s")
            results.append(r)
    plot(results, args.out / "loss.png")
    if args.install:
        install(results, args.out, Path(__file__).resolve().parents[3])


if __name__ == "__main__":
    main()
