"""An overlay that writes nothing: what a calibration and the doctor must notice."""

from __future__ import annotations

import pytest

from softllama.llama.overlay import Overlay


def disarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on llama.cpp's own rows, of the carriers, stay where they are, and nothing is said of it."""
    monkeypatch.setattr(Overlay, "arm", lambda self, n: None)
    monkeypatch.setattr(Overlay, "unwritten", lambda self: "")
