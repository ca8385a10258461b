"""Look into wheels of softllama: is all there that should be, and nothing else? Prints what is in them; exit code 1 if not.

python scripts/dev/wheel_contents.py dist/*.whl
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

ALLOWED = (  # what a wheel may hold, and nothing twice: code, types, data of the package, and its record
    r"softllama/(\w+/)*\w+\.py",
    r"softllama/_shim(\.abi3)?\.(so|pyd)",
    r"softllama/(_shim\.pyi|py\.typed)",
    r"softllama/models/([\w-]+\.gguf|README\.md)",
    r"softllama/study/data/\w+\.jsonl",
    r"softllama/(\w+/)+\w+\.(html|css|js)",
    r"softllama-[\w.]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|licenses/LICENSE)",
    r"softllama-[\w.]+\.data/data/share/[\w./-]+",
)
NEEDED = (
    r"softllama/_shim(\.abi3)?\.(so|pyd)",
    r"softllama/py\.typed",
    r"softllama/models/words\.gguf",
    r"softllama/serve/web/page\.html",
    r"softllama-[\w.]+\.dist-info/licenses/LICENSE",
)
MOST = 8_000_000  # bytes of a wheel


def problems(names: list[str]) -> list[str]:
    """Return a line for each file that should not be in a wheel, and for each that is not there."""
    lines = [f"should not be there: {n}" for n in names if not any(re.fullmatch(a, n) for a in ALLOWED)]
    lines += [f"is there twice: {n}" for n in sorted({n for n in names if names.count(n) > 1})]
    return lines + [f"is not there: {n}" for n in NEEDED if not any(re.fullmatch(n, x) for x in names)]


def main(paths: list[str]) -> int:
    """Print what is in each wheel and what is wrong with it. Returns the exit code."""
    wrong = False
    for path in paths:
        with zipfile.ZipFile(path) as wheel:
            files = [i for i in wheel.infolist() if not i.is_dir()]
        lines = problems([i.filename for i in files])
        size = Path(path).stat().st_size
        if "-abi3-" not in path:
            lines.append("is no abi3 wheel")
        if size > MOST:
            lines.append(f"has {size:,} bytes, more than {MOST:,}")
        for info in files:
            print(f"{info.file_size:>9}  {info.filename}")
        print(f"{Path(path).name}: {len(files)} files, {size:,} bytes", *lines, sep="\n  ")
        wrong = wrong or bool(lines)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
