"""Fetch a repository's GGUF files into Hugging Face's cache. The network is reached through client.py.

huggingface_hub finds the token, lists the repository, transfers the bytes, and lays out the cache. By itself it neither
goes on with a file that an earlier run has begun (since 1.0), nor compares a checksum. So its transfer writes to
blobs/ETAG.incomplete, the SHA-256 is compared, the file becomes blobs/ETAG, and hf_hub_download finds it there.

Does not know what a model's name means (resolver.py) or what a file holds (facts.py).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from softllama.base.text import size
from softllama.errors import ModelError
from softllama.hub import caches, client, quants
from softllama.hub.client import RemoteFile
from softllama.hub.local_model import Say, firsts
from softllama.show.progress import Tick


def pull(repo: str, quant: str | None, *, progress: Tick | None = None, say: Say = lambda _: None) -> Path:
    """Fetch a repository's model. Files that are already there are not fetched again.

    Args:
        repo: user/repo.
        quant: A quantization, or a file's name; None for Q4_K_M, or else the nearest to it.
        progress: Called with (file, bytes so far, bytes in all).
        say: Called with a line about what is chosen and fetched.

    Returns:
        The path of the model's file in the cache; of a split model, of its first file.

    Raises:
        ModelError: There is no such repository or quantization, no access, no connection, no space, or the checksum is
            wrong. What was transferred before stays, and the next pull goes on from there.
    """
    folder = caches.hugging_face_folder() / f"models--{repo.replace('/', '--')}"
    with client.without_output(), client.errors(repo):
        commit, files = client.list_files(repo)
        chosen = choose(repo, files, quant, say)
        snapshot = folder / "snapshots" / commit
        missing = [f for f in chosen if not (f.blob(folder).is_file() or (snapshot / f.name).is_file())]
        _check_disk_space(folder, missing)
        if missing:
            total = size(sum(f.n_bytes for f in missing))
            several = f", {len(missing)} files" if len(missing) > 1 else ""
            say(f"fetching {chosen[0].name} from {repo}: {total}{several}, into {folder}")
        for f in missing:
            _fetch(repo, commit, f, folder, progress)
        for f in chosen:
            client.add_to_snapshot(repo, f, folder, snapshot)
    return snapshot / chosen[0].name


def choose(repo: str, files: Sequence[RemoteFile], quant: str | None, say: Say = lambda _: None) -> list[RemoteFile]:
    """Choose the files of a quantization, or of Q4_K_M, or of the nearest to it; all files of a split model.

    Raises:
        ModelError: Nothing fits, several files do, or a split model's file is missing.
    """
    by_name = {f.name: f for f in files if f.name.lower().endswith(".gguf")}
    if not by_name:
        raise ModelError(f"{repo} holds no GGUF file", "look for a repository whose name ends in -GGUF")
    models = [n for n, _ in firsts({n: Path(n) for n in by_name}) if not quants.is_side_file(n)]
    if quant is not None:
        fits = [n for n in models if quants.matches(n, quant)]
    else:
        named = {q: n for n in reversed(models) if (q := quants.of(n))}
        nearest = quants.nearest(named)
        fits = [named[nearest]] if nearest else models
        if nearest and nearest != quants.DEFAULT:
            say(f"{repo} has no {quants.DEFAULT}; {nearest} is the nearest of {', '.join(sorted(named))}")
    there = ", ".join(sorted({quants.of(n) or n for n in models})) or "none"
    if not fits:
        raise ModelError(f"{repo} has no {quant or 'model'}", f"there: {there}")
    if len(fits) > 1:
        raise ModelError(f"{repo} has {len(fits)} files that fit: {', '.join(fits[:6])}", f"name one: {repo}:{fits[0]}")
    m = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", fits[0])
    if m is None:
        return [by_name[fits[0]]]
    shards = [f"{m[1]}-{i:05d}-of-{m[2]}.gguf" for i in range(1, int(m[2]) + 1)]
    if absent := [n for n in shards if n not in by_name]:
        raise ModelError(f"{repo} lacks {absent[0]}, one of the {len(shards)} files of that model")
    return [by_name[n] for n in shards]


def _fetch(repo: str, commit: str, f: RemoteFile, folder: Path, progress: Tick | None) -> None:
    """Bring blobs/ETAG.incomplete to its full length, compare its checksum, and give it its name."""
    blob, partial = f.blob(folder), f.partial(folder)
    blob.parent.mkdir(parents=True, exist_ok=True)
    with client.lock(folder, f):
        if _size(partial) > f.n_bytes:
            partial.unlink()
        with partial.open("ab") as file:
            client.transfer(repo, commit, f, file, progress)
        _check_checksum(partial, f)
        partial.replace(blob)


def _check_disk_space(folder: Path, files: Sequence[RemoteFile]) -> None:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    need = sum(f.n_bytes - _size(f.partial(folder)) for f in files)
    free = shutil.disk_usage(there).free
    if need > free:
        raise ModelError(
            f"{size(need)} are needed in {folder}, and {size(free)} are free",
            "make room, take a smaller quantization, or set HF_HOME to another disk",
        )


def _check_checksum(path: Path, f: RemoteFile) -> None:
    """Raise ModelError, and remove the file, if its SHA-256 is not the hub's."""
    if not f.sha256:
        return
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != f.sha256:
        path.unlink()
        raise ModelError(
            f"the checksum of {f.name} is wrong: its SHA-256 is {sha256[:16]}…, the hub says {f.sha256[:16]}…",
            "what was fetched is removed; pull again",
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
