"""docs/notebook.ipynb runs, and every result in it shows itself: as HTML, as a picture, or as words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def cells() -> list[str]:
    return ["".join(c["source"]) for c in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]


def test_the_notebook_runs_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    shell = interactive.InteractiveShell.instance()
    try:
        kinds: dict[str, Any] = {}
        for source in cells():
            result = shell.run_cell(source, store_history=True)
            result.raise_error()
            if result.result is not None:
                data, _ = shell.display_formatter.format(result.result)
                kinds[source.splitlines()[-1]] = data
                assert "object at 0x" not in data["text/plain"]
        html = {last: re.sub("<[^>]*>", " ", d["text/html"]) for last, d in kinds.items() if "text/html" in d}
        assert len(html) >= 4, list(kinds)
        for last, words in {"mixture": ("dog", "cat"), "r": ("woof",), "trace": ("cow",), "r.next": ("woof",)}.items():
            assert all(w in html[last] for w in words), (last, html[last])
        assert kinds["r.plot()"]["image/png"]
    finally:
        interactive.InteractiveShell.clear_instance()


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
