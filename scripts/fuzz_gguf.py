"""Damaged GGUF files through load and probe: nothing may crash, hang, or take more memory than the file justifies.

    python scripts/fuzz_gguf.py --n 20000 --seed 1             all of them; a line for each finding, then the totals
    python scripts/fuzz_gguf.py --seed 1 --only 1234 --keep .  one of them again; its file is kept

A case is made from the seed and its number alone. Every case runs in a process of its own, forked from one that has
llama.cpp in memory.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["SOFTLLAMA_CACHE"] = "/dev/null/none"  # nothing is remembered from case to case
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.forked import Fuzzer, Outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone, and say what was done to the file")
    parser.add_argument("--keep", type=Path, help="folder for the files of what was found")
    parser.add_argument("--json", type=Path, help="file for one line of JSON a finding, and the totals")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        fuzzer = Fuzzer(a.seed, Path(folder))
        if a.only is not None:
            return show(fuzzer, a.only, a.keep)
        numbers = range(a.first, a.first + a.n)
        start, found, kinds, models = time.monotonic(), [], collections.Counter(), collections.Counter()
        slowest = largest = None
        out = a.json.open("w") if a.json else None
        for i, number in enumerate(numbers):
            o = fuzzer.run(number)
            kinds[o.kind] += 1
            models[o.name] += 1
            slowest = o if slowest is None or o.seconds > slowest.seconds else slowest
            largest = o if largest is None or o.megabytes > largest.megabytes else largest
            if o.finding:
                found.append(o)
                print(line(o), flush=True)
                if out:
                    print(json.dumps(vars(o)), file=out, flush=True)
                if a.keep:
                    keep(fuzzer, number, a.keep)
            if i % 1000 == 999:
                print(
                    f"{i + 1:,} of {a.n:,} in {time.monotonic() - start:.0f} s: {dict(kinds)}",
                    file=sys.stderr,
                    flush=True,
                )
        total = {
            "cases": a.n, "seed": a.seed, "first": a.first, "models": len(models), **kinds,
            "seconds": round(time.monotonic() - start), "slowest": round(slowest.seconds, 1),
            "largest_mb": round(largest.megabytes),
        }  # fmt: skip
        print(json.dumps(total))
        if out:
            print(json.dumps(total), file=out)
        return 1 if found else 0


def line(o: Outcome) -> str:
    return f"{o.number} {o.kind} ({o.name}; {o.seconds:.1f} s, {o.megabytes:.0f} MB): {o.what}\n    {o.note[:400]}"


def show(fuzzer: Fuzzer, number: int, folder: Path | None) -> int:
    o = fuzzer.run(number)
    print(line(o))
    if folder:
        keep(fuzzer, number, folder)
    return int(o.finding)


def keep(fuzzer: Fuzzer, number: int, folder: Path) -> None:
    _, data, _ = fuzzer.case(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{fuzzer.seed}-{number}.gguf").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
