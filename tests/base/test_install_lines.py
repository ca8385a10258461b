"""The line that installs llama-cpp-python, for each system and GPU."""

from __future__ import annotations

import pytest

from softllama.base import install_lines, system
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("platform", "maker", "cuda", "folder"),
    [
        ("linux", "", None, "cpu"),
        ("win32", "", None, "cpu"),
        ("darwin", "", None, "cpu"),
        ("darwin", "Apple", None, "metal"),
        ("linux", "AMD", None, "rocm72"),
        ("win32", "AMD", None, "hip-radeon"),
        ("linux", "NVIDIA", (12, 4), "cu124"),
        ("linux", "NVIDIA", (12, 9), "cu125"),
        ("win32", "NVIDIA", (13, 1), "cu130"),
        ("linux", "NVIDIA", (11, 8), "cu118"),
        ("linux", "NVIDIA", (10, 2), "cpu"),
        ("linux", "NVIDIA", None, "cu124"),
    ],
)
def test_folder(platform: str, maker: str, cuda: tuple[int, int] | None, folder: str) -> None:
    assert install_lines.folder(platform, maker, cuda) == folder


def test_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "gpu_maker", lambda: "")
    end = "--prefer-binary --extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cpu llama-cpp-python"
    assert install_lines.here() == f"pip install {end}"
    assert install_lines.here(again=True) == f"pip install --force-reinstall --no-cache-dir {end}"


def test_the_documents_name_every_folder() -> None:
    text = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    names = {f"cu{a}{b}" for a, b in install_lines.CUDA} | {"cpu", "metal", "rocm72", "hip-radeon", "vulkan"}
    assert [n for n in sorted(names) if f"`{n}`" not in text] == []
    assert install_lines.INDEX in text
