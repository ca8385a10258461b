"""The folders for the cache, for conversations and for settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from softllama.base import folders

KINDS = [
    (folders.cache, "SOFTLLAMA_CACHE", "XDG_CACHE_HOME", ".cache", "user_cache_path"),
    (folders.state, "SOFTLLAMA_STATE", "XDG_STATE_HOME", ".local/state", "user_state_path"),
    (folders.config, "", "XDG_CONFIG_HOME", ".config", "user_config_path"),
]
Kind = tuple[Callable[[], Path], str, str, str, str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for _, own, xdg, *_ in KINDS:
        monkeypatch.delenv(xdg, raising=False)
        if own:
            monkeypatch.delenv(own, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    return tmp_path


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k[0].__name__)
def test_the_variable_then_the_systems_place(
    kind: Kind, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, own, xdg, linux, _ = kind
    assert folder() == home / linux / "softllama"
    monkeypatch.setenv(xdg, str(tmp_path / "x"))
    assert folder() == tmp_path / "x/softllama"
    if own:
        monkeypatch.setenv(own, "~/mine")
        assert folder() == home / "mine"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k[0].__name__)
def test_an_older_folder_is_used_as_long_as_it_is_the_only_one(
    kind: Kind, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _, linux, function = kind
    new = tmp_path / "new/softllama"
    monkeypatch.setattr(platformdirs, function, lambda *_, **__: new)
    assert folder() == new
    (home / linux / "softllama").mkdir(parents=True)
    assert folder() == home / linux / "softllama"
    new.mkdir(parents=True)
    assert folder() == new


def test_none_is_made(home: Path) -> None:
    for folder, *_ in KINDS:
        assert not folder().exists()
    assert list(home.iterdir()) == []


def test_platformdirs_has_one_home() -> None:
    package = Path(folders.__file__).parents[1]
    users = [p for p in package.rglob("*.py") if "import platformdirs" in p.read_text("utf-8")]
    assert users == [package / "base" / "folders.py"]
