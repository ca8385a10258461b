"""Damaged GGUF files through load and probe: nothing may crash, hang, or take more memory than the file justifies.

    python scripts/dev/fuzz_gguf.py --n 20000 --seed 1             all of them; a line for each finding, then the totals
    python scripts/dev/fuzz_gguf.py --seed 1 --only 1234 --keep .  one of them again; its file is kept
    python scripts/dev/fuzz_gguf.py --n 20000 --bare               what llama.cpp does with what softllama's checks let through

A case is made from the seed and its number alone. Every case runs in a process of its own, forked from one that has
llama.cpp in memory. It is loaded without the trial in a child process that a user's file goes through, as that takes ten
times as long; what then ends otherwise than with a sentence is loaded again with it, and so is every so many'th case.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ["SOFTLLAMA_CACHE"] = "/dev/null/none"  # nothing is remembered from case to case
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.support.forked import Fuzzer, Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bare", action="store_true", help="without the trial in a child process")
    parser.add_argument(
        "--sample", type=int, default=50, help="every so many'th case goes through the trial, whatever it does"
    )
    parser.add_argument("--only", type=int, help="run this case alone, and say what was done to the file")
    parser.add_argument("--keep", type=Path, help="folder for the files of what was found")
    parser.add_argument("--json", type=Path, help="file for a line of JSON for each finding, and the totals")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        fuzzer = Fuzzer(a.seed, Path(folder))
        numbers = range(a.first, a.first + a.n) if a.only is None else [a.only]
        found, total = go(fuzzer, numbers, a)
        for o in found if a.keep else ():
            keep(fuzzer, o.number, a.keep)
        print(json.dumps(total))
        if a.json:
            a.json.write_text("".join(json.dumps(x) + "\n" for x in [*map(vars, found), total]))
        return 1 if found else 0


def go(fuzzer: Fuzzer, numbers: Sequence[int], a: argparse.Namespace) -> tuple[list[Outcome], dict[str, Any]]:
    """Run the cases. Returns the findings, and the totals."""
    start = time.monotonic()
    found: list[Outcome] = []
    kinds: collections.Counter[str] = collections.Counter()
    models: set[str] = set()
    slowest = largest = 0.0
    for i, number in enumerate(numbers):
        o = fuzzer.run(number)
        bare = o
        if not a.bare and (o.finding or number % a.sample == 0):
            o = fuzzer.run(number, tried=True)
            kinds["tried"] += 1
            kinds["caught by the trial"] += bare.finding and not o.finding
        kinds[o.kind] += 1
        models.add(o.name)
        slowest, largest = max(slowest, bare.seconds), max(largest, o.megabytes)
        if bare.finding or a.only is not None:
            print(line(bare), flush=True)
            if o is not bare:
                print(f"    tried: {o.kind}: {o.what}", flush=True)
        if o.finding:
            found.append(o)
        if i % 1000 == 999:
            print(
                f"{i + 1:,} of {a.n:,} in {time.monotonic() - start:.0f} s: {dict(kinds)}", file=sys.stderr, flush=True
            )
    total = {"cases": len(numbers), "seed": a.seed, "models": len(models), **kinds, "findings": len(found)}
    return found, {
        **total, "seconds": round(time.monotonic() - start), "slowest": round(slowest, 1), "largest_mb": round(largest)
    }  # fmt: skip


def line(o: Outcome) -> str:
    return f"{o.number} {o.kind} ({o.name}; {o.seconds:.1f} s, {o.megabytes:.0f} MB): {o.what}\n    {o.note[:400]}"


def keep(fuzzer: Fuzzer, number: int, folder: Path) -> None:
    _, data, _ = fuzzer.case(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{fuzzer.seed}-{number}.gguf").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
