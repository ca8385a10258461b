"""The entry points of pyproject.toml name what there is."""

from __future__ import annotations

import importlib
import tomllib

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # the tools leave files and streams open
POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]


@pytest.mark.parametrize("group", POINTS)
def test_entry_points_lead_somewhere(group: str) -> None:
    pytest.importorskip(group.partition(".")[0], reason="needs its extra")
    for value in POINTS[group].values():
        module, _, name = value.partition(":")
        loaded = importlib.import_module(module)
        assert not name or hasattr(loaded, name)


def test_both_tools_are_there() -> None:
    assert set(POINTS) == {"lm_eval.models", "inspect_ai"}
