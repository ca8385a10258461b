"""Write the outputs in docs/examples.md: each block of shell runs, and the block of text below it gets what was printed.

    python scripts/dev/examples.py

The blocks run in one empty folder, in order. A block below `<!-- not run: WHY -->` is left as it is. Notes on stderr are left out.
tests/package/test_docs.py runs the same blocks; that their outputs are current is looked at when they change.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "examples.md"
BLOCKS = re.compile(
    r"(?P<mark><!-- not run[^\n]*\n)?```sh\n(?P<commands>(?:(?!```).)*)```\n```text\n(?:(?!```).)*```\n", re.DOTALL
)
LINES = 32  # of an output, at most
WIDTH = "92"


def main() -> None:
    """Run every block and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "softllama"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m softllama "$@"\n')
        program.chmod(0o755)
        here = Path(folder) / "here"
        here.mkdir()
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": WIDTH, "LC_ALL": "C.UTF-8"}

        def filled(m: re.Match[str]) -> str:
            if m["mark"]:
                return m[0]
            command = ["sh", "-e", "-c", m["commands"]]
            done = subprocess.run(
                command, cwd=here, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode:
                sys.exit(f"{m['commands']}ends with {done.returncode}: {done.stderr}")
            shown = (
                done.stdout.replace(str(ROOT), "...")
                .replace(str(here), "...")
                .replace(str(Path.home()), "~")
                .strip("\n")
            )
            lines = [line.rstrip() for line in shown.splitlines()]
            lines = [*lines[:LINES], "..."] if len(lines) > LINES else lines
            return f"```sh\n{m['commands']}```\n```text\n" + "\n".join(lines) + "\n```\n"

        FILE.write_text(BLOCKS.sub(filled, FILE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
