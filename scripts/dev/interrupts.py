"""Sends SIGINT or SIGTERM to commands at random times, and looks at how they end and what they leave.

    python scripts/dev/interrupts.py --times 40        so many for each command; exits with 1 if anything is wrong

A command that was interrupted ends with 130, or by the signal itself while Python starts or stops (-2, which a shell
shows as 130, too). In its first 50 ms Python may print a traceback of its own, which is counted as that as well. SIGTERM
ends `eval` with 143, and others by the signal. No traceback, no abort, and files that are there are whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BAD = ("Traceback", "Exception ignored", "Fatal", "Segmentation", "GGML_ASSERT", "core dumped")


def commands(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Name -> arguments, and what is typed."""
    problems = folder / "problems.jsonl"
    questions = [{"question": f"Who is bigger, the dog or the {a}?", "answer": "dog"} for a in ("cat", "hen", "fox")]
    problems.write_text("".join(json.dumps(q) + "\n" for q in questions * 3))
    long = "Once upon a time there was a dog. " * 20
    eval_ = [
        "eval",
        str(problems),
        "--policy",
        "greedy",
        "--policy",
        "full",
        "-o",
        str(folder / "results.jsonl"),
        "--json",
    ]
    return {
        "run": (
            ["run", "--raw", long, "--policy", "full", "--max-tokens", "80", "--trace", str(folder / "t.jsonl")],
            "",
        ),
        "chat": (["chat"], "Who is bigger, the dog or the cat?\n" * 6),
        "probe": (["probe", "--mix", "dog,cat", "--sweep", "101", "--json"], ""),
        "study": (["study", "mixing", "--pairs", "2", "--controls", "0", "-o", str(folder)], ""),
        "eval": (eval_, ""),
        "eval, SIGTERM": (eval_, ""),
        "bench": (["bench", "--steps", "8", "--repeat", "1", "--json"], ""),
        "models": (["models"], ""),
    }


def once(arguments: list[str], typed: str, after: float, number: int, folder: Path) -> tuple[int, str, float]:
    """Exit code, stderr and seconds of a command that is sent a signal after so many seconds."""
    env = {**os.environ, "SOFTLLAMA_CACHE": str(folder / "cache"), "SOFTLLAMA_STATE": str(folder / "state")}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "softllama", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    ) as p:  # fmt: skip
        assert p.stdin is not None
        p.stdin.write(typed)
        p.stdin.close()
        p.stdin = None
        try:
            p.wait(after)
        except subprocess.TimeoutExpired:
            p.send_signal(number)
        _, err = p.communicate(timeout=60)
    return p.returncode, err, time.perf_counter() - began


def damaged(folder: Path) -> str:
    """What is wrong with the files that are there."""
    for path in folder.rglob("*.json*"):
        try:
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            for line in lines:
                json.loads(line)
        except ValueError as e:
            return f"{path.name}: {e}"
    return ""


def stress(times: int, names: list[str], rng: random.Random) -> list[str]:
    """Interrupt each command so many times; returns what went wrong."""
    wrong = []
    for name in names:
        seen: Counter[int] = Counter()
        with tempfile.TemporaryDirectory() as f:
            folder = Path(f)
            arguments, typed = commands(folder)[name]
            number = signal.SIGTERM if name.endswith("SIGTERM") else signal.SIGINT
            fine = {0, 143, -15} if number == signal.SIGTERM else {0, 130, -2}
            whole = once(arguments, typed, 60, number, folder)[2]
            for _ in range(times):
                (folder / "results.jsonl").unlink(missing_ok=True)
                after = rng.uniform(0.1, 1.1) * whole
                code, err, _ = once(arguments, typed, after, number, folder)
                if "KeyboardInterrupt" in err and "softllama" not in err.replace(str(ROOT), ""):
                    code, err = -2, ""  # Python itself was still starting, and none of ours had run
                seen[code] += 1
                if code not in fine or any(b in err for b in BAD):
                    wrong.append(f"{name}, after {after:.3f} s: exit code {code}\n{err}")
                elif bad := damaged(folder):
                    wrong.append(f"{name}, after {after:.3f} s: {bad}")
        print(f"{name:16} {whole:5.2f} s, {times} times: {dict(seen)}", flush=True)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command; may be repeated")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as f:
        all_names = list(commands(Path(f)))
    found = stress(given.times, given.only or all_names, random.Random(given.seed))
    print("\n".join(found[:20]))
    print(f"{len(found)} wrong")
    sys.exit(bool(found))
