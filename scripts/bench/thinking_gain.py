"""Does an adapter make thinking in mixtures gain? Small generation tasks in several ways, without the adapter and with it.

    python scripts/bench/thinking_gain.py gain -m model.gguf --lora mix.lora.gguf --problems 100

The folder gets the tasks (thinking_tasks.py beside this file), TASK.plain.results.jsonl and TASK.adapter.results.jsonl, and the
report gain.html, gain.json and gain.csv. A run that was killed goes on where it was. `--report` only makes the report of what is
there; without `--lora` only the ways without adapter are run.

Every problem is asked as plain text, with two examples before it, whose steps are written out. The policy acts in the whole text
that the model writes, steps and answer, so that soft thinking feeds mixtures at every step; what is read are its readouts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import thinking_tasks

import softllama as sl
from softllama import evaluate
from softllama.evaluate import summary
from softllama.evaluate.results import Result
from softllama.evaluate.shots import Shots
from softllama.report.data import Cell, Table
from softllama.report.report import Report, save_all

TASKS = ("sums", "rooms", "oldest")
DRAWN = "temperature=0.6,top_k=30,top_p=0.95"
PLAIN = {
    "greedy": "greedy",
    "soft": "soft_thinking",
    "sampling": f"sample:{DRAWN}",
    "vote": "vote:samples=3",
}
ADAPTED = {"greedy": "greedy", "soft": "soft_thinking", "sampling": f"sample:{DRAWN}"}
ADAPTER = " + adapter"
COMPARED = (  # first minus second
    (f"soft{ADAPTER}", "soft"),
    (f"soft{ADAPTER}", "greedy"),
    (f"soft{ADAPTER}", "sampling"),
    (f"soft{ADAPTER}", "vote"),
    (f"soft{ADAPTER}", f"greedy{ADAPTER}"),
    (f"greedy{ADAPTER}", "greedy"),
    ("soft", "greedy"),
)
RULE = r"answer is (?:the |a )?([\w ]+)"
TASK_STEP = 1_000_000  # between the numbers of two tasks' problems


def options(folder: Path, task: str, streams: int) -> evaluate.EvaluateOptions:
    examples = evaluate.load(folder / f"{task}.shots.jsonl")
    return evaluate.EvaluateOptions(
        extract=RULE, chat=False, max_tokens=40, stop=("\n",), streams=streams, shots=Shots.of(examples, 2, "raw")
    )


def run(folder: Path, name: str, model: sl.Model, ways: dict[str, str], problems: int, streams: int) -> None:
    """Ask the problems of all tasks, and write TASK.NAME.results.jsonl."""
    chosen = evaluate.parse_all([f"{k}={v}" for k, v in ways.items()])
    for task in TASKS:
        data = evaluate.load(folder / f"{task}.jsonl", problems)

        def tick(_: str, done: int, total: int, task: str = task) -> None:
            print(f"\r{task}, {name}: {done} of {total}", end="", file=sys.stderr)

        path = folder / f"{task}.{name}.results.jsonl"
        evaluate.evaluate(model, data, chosen, options(folder, task, streams), path, tick)
        print(file=sys.stderr)


def collect(folder: Path) -> tuple[dict[str, dict[str, dict[int, Result]]], dict[str, object]]:
    """Results by task, way and problem, of the files that are there; and the manifest of one of them."""
    found: dict[str, dict[str, dict[int, Result]]] = {}
    manifest: dict[str, object] = {}
    for task in TASKS:
        for path in sorted(folder.glob(f"{task}.*.results.jsonl")):
            adapted = ".adapter" in path.name
            header, results = evaluate.read(path)
            manifest = header["info"]["manifest"] if adapted or not manifest else manifest
            for r in results:
                name = r.way + ADAPTER * adapted
                if r.way in PLAIN:
                    found.setdefault(task, {}).setdefault(name, {})[r.problem] = r
    return found, manifest


def report(folder: Path) -> Report:
    """The report of what is there: all tasks together, and each."""
    found, manifest = collect(folder)
    names = [*PLAIN, *(n + ADAPTER for n in ADAPTED)]
    for ways in found.values():  # the problems that were asked in every way
        common = set.intersection(*(set(r) for r in ways.values()))
        for n in ways:
            ways[n] = {i: r for i, r in ways[n].items() if i in common}
    by = {
        n: {k * TASK_STEP + i: r for k, ways in enumerate(found.values()) for i, r in ways.get(n, {}).items()}
        for n in names
    }
    by = {n: rs for n, rs in by.items() if rs}
    compared = summary.compare(by, [p for p in COMPARED if p[0] in by and p[1] in by])
    scores = {n: summary.accuracy(rs) for n, rs in by.items()}
    rows: list[tuple[Cell, ...]] = [
        (n, *(summary.accuracy(ways[n]) if n in ways else None for ways in found.values())) for n in by
    ]
    tasks = Table("tasks", "Share right, task by task", ("policy", *found), tuple(rows))
    return Report(
        name="gain",
        title="Does thinking in mixtures gain with an adapter?",
        question="Do mixtures help a small model with chains of sums, two-step look-ups and orders, once an adapter reads them?",
        answer=tuple(summary.sentences(compared, scores)),
        tables=(summary.way_table(by), tasks, summary.pair_table(compared), summary.failure_table(by)),
        figures=(summary.figure("all tasks", scores),),
        method=(
            __doc__.split("\n\n")[-1].strip().replace("\n", " "),
            f"Sampling: {DRAWN}. vote: the answer that most of 3 samples give. soft: soft_thinking with its defaults. "
            "Seeds are those of softllama eval. Intervals: Wilson for shares, bootstrap and McNemar's exact test for pairs, with "
            "Holm's correction.",
        ),
        command=f"python scripts/bench/thinking_gain.py {folder.name} -m MODEL --lora FILE",
        manifest=dict(manifest),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-m", "--model")
    parser.add_argument("--lora")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--n-threads", type=int)
    parser.add_argument("--report", action="store_true", help="Only make the report.")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    if not a.report:
        for task in TASKS:
            if not (a.folder / f"{task}.jsonl").exists():
                thinking_tasks.write(a.folder, task, 150, 0)
        with sl.load(a.model, n_threads=a.n_threads) as model:
            run(a.folder, "plain", model, PLAIN, a.problems, a.streams)
        if a.lora:
            with sl.load(a.model, lora=a.lora, n_threads=a.n_threads) as model:
                run(a.folder, "adapter", model, ADAPTED, a.problems, a.streams)
    r = report(a.folder)
    save_all([r], a.folder)
    print(r.table(120))


if __name__ == "__main__":
    main()
