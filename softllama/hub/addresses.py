"""What people paste for a repository: https://huggingface.co/u/r, hf.co/u/r:Q4_K_M, u/r/file.gguf, and u/r:Q4_K_M itself.

Knows the forms of names and addresses. Looks at no file and opens no connection.
"""

from __future__ import annotations

import os
import re
import urllib.parse

from softllama.errors import UsageError

_REPO = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?::([\w][\w.-]*))?", re.ASCII)
_FILE = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)/((?:[\w][\w. +-]*/)*[\w][\w. +-]*\.gguf)", re.ASCII | re.IGNORECASE)
_HOSTS = ("huggingface.co", "hf.co")
_PAGES = ("blob", "resolve", "raw", "tree")  # of a repository: PAGE/BRANCH/FILE
FORM = "user/repo or user/repo:Q4_K_M"


def parse(name: str) -> tuple[str, str | None] | None:
    """Split what names a repository, or a file in it.

    Args:
        name: user/repo, user/repo:QUANT, user/repo/FILE.gguf, the same after "hf:", "hf://" or the hub's host, or the address
            of a repository's or a file's page.

    Returns:
        ("user/repo", quantization or file or None); None for anything else.

    Raises:
        UsageError: It is an address of the hub that names no repository, or a branch other than main.
    """
    bare = re.sub(r"^hf:(//)?", "", name)
    path = _path_on_the_hub(bare)
    text = bare if path is None else _page_to_file(name, path)
    m = _REPO.fullmatch(text) or _FILE.fullmatch(text)
    if m is not None and (".." in text or "--" in m[1]):
        m = None  # no name of a repository holds them
    if m is None and path is not None:
        raise UsageError(f"{name!r} does not name a repository", FORM)
    return (m[1], m[2]) if m else None


def _path_on_the_hub(name: str) -> str | None:
    """What follows the hub's host in an address, its query and fragment left out; None for what is no address of the hub."""
    text = re.sub(r"^https?://", "", name, flags=re.IGNORECASE)
    host, slash, rest = text.partition("/")
    own = re.sub(r"^https?://", "", os.environ.get("HF_ENDPOINT", ""), flags=re.IGNORECASE).strip("/")
    known = (*_HOSTS, *(f"www.{h}" for h in _HOSTS), *([own.lower()] if own else []))
    if not slash or host.lower() not in known:
        return None
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    return urllib.parse.unquote(path).strip("/").removeprefix("models/")


def _page_to_file(name: str, path: str) -> str:
    """user/repo/blob/main/FILE is user/repo/FILE, and user/repo/tree/main is user/repo."""
    parts = path.split("/")
    if len(parts) < 3 or parts[2] not in _PAGES:
        return path
    if (branch := parts[3] if len(parts) > 3 else "main") != "main":
        raise UsageError(
            f"{name!r} names {branch!r} of the repository, and only its main branch is read",
            f"-m {'/'.join(parts[:2])}",
        )
    rest = parts[4:]
    if rest and not rest[-1].lower().endswith(".gguf"):  # a folder, which often has the name of a quantization
        return "/".join(parts[:2]) + (f":{rest[-1]}" if parts[2] == "tree" else "/" + "/".join(rest))
    return "/".join([*parts[:2], *rest])
