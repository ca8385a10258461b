"""Where softllama keeps files of its own: the folders for its cache, for conversations and for settings.

Knows names of folders, not what lies in them. Makes none: whoever writes does. Models of other programs: hub/caches.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import platformdirs

_NAME = "softllama"


def cache() -> Path:
    """Return the folder for what can be measured again: SOFTLLAMA_CACHE, or the system's place for caches."""
    new = platformdirs.user_cache_path(_NAME, appauthor=False)
    return _folder("SOFTLLAMA_CACHE", new, _older("XDG_CACHE_HOME", ".cache", "Library/Caches"))


def state() -> Path:
    """Return the folder for conversations: SOFTLLAMA_STATE, or the system's place for what a program remembers."""
    new = platformdirs.user_state_path(_NAME, appauthor=False)
    return _folder("SOFTLLAMA_STATE", new, _older("XDG_STATE_HOME", ".local/state", "Library/Application Support"))


def config() -> Path:
    """Return the folder for settings: the system's place for them. (SOFTLLAMA_CONFIG names a file: cli/config.py.)"""
    new = platformdirs.user_config_path(_NAME, appauthor=False, roaming=True)
    return _folder("", new, _older("XDG_CONFIG_HOME", ".config", "Library/Application Support"))


def _folder(variable: str, new: Path, old: Path) -> Path:
    """The variable's folder, or the new one; the old one as long as it is there and the new one is not."""
    if text := os.environ.get(variable):
        return Path(text).expanduser()
    return old if old.is_dir() and not new.exists() else new


def _older(variable: str, linux: str, mac: str) -> Path:
    """The place of versions before 0.2, which differs from platformdirs' in some settings of macOS and on Windows."""
    if sys.platform == "darwin":
        return Path.home() / mac / _NAME
    return Path(os.environ.get(variable) or Path.home() / linux) / _NAME
