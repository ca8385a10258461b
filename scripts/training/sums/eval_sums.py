"""Measure `sums`, `sums-soft` and their controls through llama.cpp, on the files of this repository.

Knows how each model is asked and how answers are counted. Does not know how the models were trained; the test
problems and the trivial rules come from `sums_task`. Everything goes through softllama's public API, but for the
check against PyTorch, which must set llama.cpp's arithmetic and so opens its own context.

Each of the 1,000 test problems is asked four ways:
- greedy: the likeliest token at every step; the answer is the token after `</think>`;
- sampled: every token drawn at temperature 1, the answer too;
- majority: the most frequent answer of 16 such samples (ties: the one that came first);
- soft: while `</think>` is not the likeliest token, the whole output distribution is the next input; then greedy.
  Once more with only its 15 heaviest tokens, renormalised, as Soft Thinking would have it.
A text without `</think>` after m + 2 steps counts as wrong. Controls get their m `<pause>` tokens, or nothing, between
`<think>` and `</think>`, and answer greedily.

Intervals (95 %): bootstrap, 2,000 draws, over seeds *and* multisets, since the seeds share the problems and the
orders of one multiset hang together; never narrower than Wilson's interval for one seed's number of problems.
Differences are paired.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

import softllama as sl

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository: `scripts` and `tests` are packages there

from scripts.training.sums.sums_task import (
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
    baselines,
    chains,
    prompt_text,
    solve,
)

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "softllama" / "models"
RUNS = Path(__file__).with_name("models") / "runs.json"
SAMPLES, DRAWS = 16, 2000
KEEP = 15  # as many tokens as Soft Thinking keeps
TRUNCATED = f"soft, {KEEP} heaviest"
CLOSE = SPECIAL.index(END_THINK)
Bools = NDArray[np.bool_]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One trained model, as `train_sums.py --install` lists it."""

    setting: str
    variant: str
    seed: int
    file: Path


def read_runs(path: Path) -> list[Run]:
    return [Run(r["setting"], r["variant"], r["seed"], ROOT / r["file"]) for r in json.loads(path.read_text())]


# --------------------------------------------------------------------------------------------------------- decoding


def greedy(session: Any, d: Any, steps: int) -> int:
    """Answer id after at most `steps` thinking steps, or -1."""
    for _ in range(steps + 1):
        token = int(d.logits.argmax())
        d = session.feed([token])
        if token == CLOSE:
            return int(d.logits.argmax())
    return -1


def soft(session: Any, d: Any, steps: int, keep: int | None = None) -> int:
    """The same, with the distribution (or its `keep` heaviest tokens) as the next input while `</think>` does not lead."""
    for _ in range(steps + 1):
        if int(d.logits.argmax()) == CLOSE:
            return int(session.feed([CLOSE]).logits.argmax())
        ids = np.argsort(-d.probs, kind="stable")[:keep]  # (keep or V,)
        d = session.feed([sl.Mixture(ids, d.probs[ids] / d.probs[ids].sum())])
    return -1


def sampled(session: Any, d: Any, steps: int, n: int, rng: np.random.Generator) -> list[int]:
    """Answer ids (or -1) of n samples at temperature 1, in the order in which they were drawn. Length n.

    Samples that agree so far share one session: the same as n separate texts, at a third of the steps.
    """
    answers = [-1] * n

    def grow(session: Any, d: Any, members: list[int], left: int, closed: bool) -> None:
        cdf = np.cumsum(d.probs, dtype=np.float64)  # (V,)
        drawn = np.searchsorted(cdf, rng.random(len(members)) * cdf[-1], side="right")  # (members,)
        groups: dict[int, list[int]] = {}
        for member, token in zip(members, drawn.tolist(), strict=True):
            groups.setdefault(token, []).append(member)
        for token, group in groups.items():
            if closed:
                for member in group:
                    answers[member] = token
            elif left > 0 or token == CLOSE:
                with session.fork() as branch:
                    grow(branch, branch.feed([token]), group, left - 1, token == CLOSE)

    grow(session, d, list(range(n)), steps, False)
    return answers


def majority(answers: Sequence[int]) -> int:
    return Counter(a for a in answers if a >= 0).most_common(1)[0][0] if max(answers) >= 0 else -1


def ask(run: Run, problems: Ints) -> dict[str, Bools]:
    """Which problems (n, m) the model solves, (n,) bool for each way of asking."""
    setting = SETTINGS[run.setting]
    tokens, steps = Tokens(setting), setting.m + 2
    right = tokens.number(solve(setting, problems))  # (n,)
    got: dict[str, list[int]] = {}
    model = sl.load(run.file)
    with model.session() as session:
        for i, problem in enumerate(problems):
            session.truncate(0)
            prompt = model.tokenize(prompt_text(problem), bos=True)
            if run.variant in ("discrete", "soft"):
                d = session.feed(prompt)
                with session.fork() as s:
                    got.setdefault("greedy", []).append(greedy(s, d, steps))
                with session.fork() as s:
                    got.setdefault("soft", []).append(soft(s, d, steps))
                with session.fork() as s:
                    got.setdefault(TRUNCATED, []).append(soft(s, d, steps, KEEP))
                answers = sampled(session, d, steps, SAMPLES, np.random.default_rng([run.seed, i]))
                got.setdefault("sampled", []).append(answers[0])
                got.setdefault("majority", []).append(majority(answers))
            else:
                places = 0 if run.variant == "direct" else setting.m
                d = session.feed([*prompt, *[SPECIAL.index(PAUSE)] * places, CLOSE])
                got.setdefault("greedy", []).append(int(d.logits.argmax()))
    return {way: np.array(ids) == right for way, ids in got.items()}


# ------------------------------------------------------------------------------------------------------- statistics


def wilson(p: float, n: int, z: float = 1.96) -> Interval:
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def bootstrap(values: NDArray[np.float64], cluster: Ints) -> Interval:
    """95 % interval of the mean of values (seeds, n), drawing seeds and clusters; `cluster` (n,) numbers the latter."""
    rng = np.random.default_rng(0)
    k = int(cluster.max()) + 1
    size = np.bincount(cluster, minlength=k)  # (k,)
    total = np.stack([np.bincount(cluster, row, minlength=k) for row in values])  # (seeds, k)
    seeds = rng.integers(len(values), size=(DRAWS, len(values)))
    means = np.empty(DRAWS)
    for i in range(DRAWS):
        times = np.bincount(rng.integers(k, size=k), minlength=k)  # (k,) how often each cluster is drawn
        means[i] = (total[seeds[i]] @ times).mean() / (size @ times)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def accuracy_row(setting: Setting, problems: Ints, model: str, way: str, correct: Bools) -> dict[str, Any]:
    """One line of the table from correct (seeds, n)."""
    cluster = np.unique(np.sort(problems, 1), axis=0, return_inverse=True)[1].reshape(-1)  # (n,)
    p = float(correct.mean())
    low, high = bootstrap(correct.astype(np.float64), cluster)
    at_least = wilson(p, correct.shape[1])
    return {
        "setting": setting.name,
        "model": model,
        "decoded": way,
        "accuracy": round(p, 4),
        "low": round(min(low, at_least[0]), 4),
        "high": round(max(high, at_least[1]), 4),
        "seeds": [round(float(c.mean()), 3) for c in correct],
    }


def difference(setting: Setting, problems: Ints, a: Bools, b: Bools, way: str) -> dict[str, Any]:
    """Paired difference a - b of two (seeds, n): sums-soft softly, and sums decoded this way."""
    cluster = np.unique(np.sort(problems, 1), axis=0, return_inverse=True)[1].reshape(-1)  # (n,)
    low, high = bootstrap(a.astype(np.float64) - b, cluster)
    return {
        "setting": setting.name,
        "difference": f"sums-soft softly minus sums by {way}",
        "value": round(float(a.mean() - b.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


NAMES = {"discrete": "sums", "soft": "sums-soft", "soft-targets": "soft targets, pause input", "pause": "pause tokens",
         "direct": "no thinking"}  # fmt: skip


def measure(runs: Sequence[Run], n: int, jobs: int) -> dict[str, Any]:
    """All the rows, differences and trivial rules."""
    problems = {name: setting.held_out("test", n) for name, setting in SETTINGS.items()}  # (n, m) each
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(ask, run, problems[run.setting]) for run in runs]
        for _ in track(as_completed(waiting), "asking", len(waiting), console=Console(stderr=True)):
            pass
    solved = {run: future.result() for run, future in zip(runs, waiting, strict=True)}

    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    rules: dict[str, dict[str, float]] = {}
    for setting in (MAIN, LOSING):
        ours = problems[setting.name]
        rules[setting.name] = {k: round(v, 4) for k, v in baselines(ours, solve(setting, ours)).items()}
        kept: dict[tuple[str, str], Bools] = {}
        for variant, name in NAMES.items():
            own = [solved[r] for r in runs if (r.setting, r.variant) == (setting.name, variant)]
            for way in ("greedy", "sampled", "majority", "soft", TRUNCATED):
                if own and way in own[0]:
                    kept[variant, way] = np.stack([s[way] for s in own])  # (seeds, n)
                    label = f"majority of {SAMPLES}" if way == "majority" else way
                    rows.append(accuracy_row(setting, ours, name, label, kept[variant, way]))
        for way in ("greedy", "majority"):
            if ("soft", "soft") in kept and ("discrete", way) in kept:
                differences.append(difference(setting, ours, kept["soft", "soft"], kept["discrete", way], way))
    return {"problems": n, "rows": rows, "differences": differences, "rules": rules}


def round_trips(runs: Sequence[Run], problems: Ints) -> dict[str, int]:
    """How many whole documents of the shipped models do *not* survive text -> ids -> text, or get other ids than meant."""
    out: dict[str, int] = {}
    tokens = Tokens(MAIN)
    heads = tokens.prompts(problems)  # (n, m + 3)
    thoughts = tokens.number(chains(MAIN, problems, np.random.default_rng(0)))  # (n, m)
    tail = (CLOSE, SPECIAL.index(END))
    for run in runs:
        if run.file.parent == SHIPPED:
            out[NAMES[run.variant]] = 0
            with sl.load(run.file) as model:
                for problem, head, thought in zip(problems, heads, thoughts, strict=True):
                    meant = [*head.tolist(), *thought.tolist(), tail[0], int(thought[-1]), tail[1]]
                    said = " ".join(map(str, (tokens.value(int(t)) for t in thought)))
                    text = f"{prompt_text(problem)} {said}{END_THINK} {tokens.value(int(thought[-1]))}{END}"
                    ids = model.tokenize(text, bos=True)
                    out[NAMES[run.variant]] += ids != meant or model.detokenize(ids[1:]) != text
    return out


def compare(runs: Sequence[Run], n: int = 200) -> dict[str, float]:
    """Largest difference of a logit, llama.cpp against PyTorch in F32, on n texts of each shipped model's own kind."""
    import torch

    from scripts.dev.exact import furthest, read
    from scripts.training.sums.train_sums import gguf_vocab

    out: dict[str, float] = {}
    problems = MAIN.held_out("test", n)  # (n, m)
    for run in runs:
        if run.file.parent == SHIPPED:
            model, tokens = read(run.file), Tokens(MAIN)
            table = model.embed.weight.detach()  # (V, d)
            x = table[torch.from_numpy(tokens.prompts(problems))]  # (n, m + 3, d)
            for t in range(MAIN.m + 2):
                with torch.no_grad():
                    logits = model(embeds=x, last=1)[:, 0]  # (n, V)
                mixed = logits.softmax(-1) @ table
                step = mixed if run.variant == "soft" and t < MAIN.m else table[logits.argmax(-1)]
                x = torch.cat([x, step[:, None]], 1)
            out[NAMES[run.variant]] = furthest(model, gguf_vocab(tokens), x.numpy())
    return out


# ---------------------------------------------------------------------------------------------------------- output


def shown(row: dict[str, Any]) -> list[str]:
    """A row's cells."""
    interval = f"{row['low']:.3f} - {row['high']:.3f}"
    return [row["setting"], row["model"], row["decoded"], f"{row['accuracy']:.3f}", interval,
            " ".join(f"{s:.3f}" for s in row["seeds"])]  # fmt: skip


HEAD = ("numbers", "trained as", "decoded", "accuracy", "95 %", "by seed")


def lines(result: dict[str, Any]) -> list[str]:
    """What stands under the table."""
    out = [
        f"{d['setting']}: {d['difference']}: {d['value']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})"
        for d in result["differences"]
    ]
    for name, rules in result["rules"].items():
        out.append(f"{name}: solved without solving: " + ", ".join(f"{k} {v:.3f}" for k, v in rules.items()))
    for name, wrong in result["round trips"].items():
        out.append(f"{name}: documents that the tokenizer changes: {wrong} of {result['problems']:,}")
    for name, gap in result.get("against PyTorch, F32", {}).items():
        out.append(f"{name}: llama.cpp against PyTorch, F32, largest difference of a logit: {gap:.1e}")
    shipped = [f"{f['model']} is seed {f['seed']} ({f['bytes']:,} bytes)" for f in result["shipped"]]
    return [*out, "shipped, chosen on the development set: " + ", ".join(shipped)]


def markdown(result: dict[str, Any]) -> str:
    table = [" | ".join(cells) for cells in (HEAD, ("---",) * len(HEAD), *map(shown, result["rows"]))]
    return "\n".join([*(f"| {row} |" for row in table), "", *(f"- {line}" for line in lines(result))])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=Path, default=RUNS, help="list of the models (default: the repository's)")
    parser.add_argument("--problems", type=int, default=1000, help="test problems (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    args = parser.parse_args()

    runs = read_runs(args.runs)
    result = measure(runs, args.problems, args.jobs)
    result["shipped"] = [
        {"model": r.file.stem, "seed": r.seed, "bytes": r.file.stat().st_size} for r in runs if r.file.parent == SHIPPED
    ]
    result["round trips"] = round_trips(runs, MAIN.held_out("test", args.problems))
    try:
        result["against PyTorch, F32"] = compare(runs)
    except ImportError as e:
        Console(stderr=True).print(f"not compared with PyTorch: {e} (pip install 'softllama\\[train]')", style="yellow")

    if args.json:
        print(json.dumps(result, indent=1))
    elif args.markdown:
        print(markdown(result))
    else:
        console = Console()
        table = Table(title=f"Minimum non-negative sum, {args.problems:,} held-out problems, Q8_0, through llama.cpp")
        for i, name in enumerate(HEAD):
            table.add_column(name, justify="right" if i in (3, 4) else "left", no_wrap=i in (3, 4))
        for before, row in zip([None, *result["rows"]], result["rows"], strict=False):
            if before and (before["setting"], before["model"]) != (row["setting"], row["model"]):
                table.add_section()
            table.add_row(*shown(row))
        console.print(table)
        for line in lines(result):
            console.print(line, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
