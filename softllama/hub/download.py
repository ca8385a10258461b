"""Fetch a repository's GGUF files into Hugging Face's cache. The only module that uses huggingface_hub or the network.

The library lists the repository, finds the token and moves the bytes; its own download starts a file anew after an
interruption (since 1.0) and does not compare checksums. So files are written here, to blobs/SHA256.incomplete, which the
next pull goes on with; the SHA-256 is computed on the way and compared with the hub's before a file gets its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from softllama.base.files import replacing
from softllama.errors import ModelError
from softllama.hub import caches, quants

if TYPE_CHECKING:
    from softllama.hub.resolver import Say
    from softllama.show.progress import Tick

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Remote:
    """A file of a repository. sha256: "" where the hub does not publish it; etag: its name in the cache's blobs."""

    name: str
    size: int
    sha256: str
    etag: str


def pull(repo: str, quant: str | None, *, progress: Tick | None = None, say: Say = lambda _: None) -> Path:
    """Fetch a repository's model and return its (first) file. Files that are already there are not fetched again.

    Raises ModelError: no such repository, no access, no such quantization, no connection, no room, a wrong checksum.
    """
    folder = caches.hugging_face_folder() / f"models--{repo.replace('/', '--')}"
    with _quiet(), _errors(repo):
        commit, files = _files(repo)
        chosen = choose(repo, files, quant, say)
        snapshot = folder / "snapshots" / commit
        missing = [f for f in chosen if not (_blob(folder, f).is_file() or (snapshot / f.name).is_file())]
        _check_room(folder, missing)
        if missing:
            total = sum(f.size for f in missing)
            many = f", {len(missing)} files" if len(missing) > 1 else ""
            say(f"fetching {chosen[0].name} from {repo}: {size(total)}{many}, into {folder}")
        for f in missing:
            _fetch(repo, commit, f, folder, progress)
        for f in chosen:
            _link(snapshot / f.name, _blob(folder, f))
        ref = folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        with replacing(ref) as file:
            file.write(commit.encode())
    return snapshot / chosen[0].name


def choose(repo: str, files: Sequence[Remote], quant: str | None, say: Say = lambda _: None) -> list[Remote]:
    """The files of the quantization that was asked for, or of Q4_K_M, or of the nearest to it; all files of a split."""
    by_name = {f.name: f for f in files if f.name.lower().endswith(".gguf")}
    if not by_name:
        raise ModelError(f"{repo} holds no GGUF file", "look for a repository whose name ends in -GGUF")
    firsts = [n for n, _ in caches.firsts({n: Path(n) for n in by_name}) if not quants.is_side_file(n)]
    if quant is not None:
        fits = [n for n in firsts if quants.matches(n, quant)]
    else:
        named = {q: n for n in reversed(firsts) if (q := quants.of(n))}
        nearest = quants.nearest(named)
        fits = [named[nearest]] if nearest else firsts
        if nearest and nearest != quants.DEFAULT:
            say(f"{repo} has no {quants.DEFAULT}; {nearest} is the nearest of {', '.join(sorted(named))}")
    there = ", ".join(sorted({quants.of(n) or n for n in firsts})) or "none"
    if not fits:
        raise ModelError(f"{repo} has no {quant or 'model'}", f"there: {there}")
    if len(fits) > 1:
        raise ModelError(f"{repo} has {len(fits)} files that fit: {', '.join(fits[:6])}", f"name one: {repo}:{fits[0]}")
    m = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", fits[0])
    if m is None:
        return [by_name[fits[0]]]
    shards = [f"{m[1]}-{i:05d}-of-{m[2]}.gguf" for i in range(1, int(m[2]) + 1)]
    if gone := [n for n in shards if n not in by_name]:
        raise ModelError(f"{repo} lacks {gone[0]}, one of the {len(shards)} files of that model")
    return [by_name[n] for n in shards]


def size(n: int) -> str:
    """Bytes in GB or MB."""
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


# ---- the hub ---------------------------------------------------------------------------------------------------------


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.file_download
        import huggingface_hub.utils
    except ImportError:
        raise ModelError(
            "fetching a model needs huggingface_hub, which is not installed", 'pip install "softllama[hub]"'
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars, as there are others, and its warnings, which show signed addresses."""
    utils = _library().utils
    silent, level = utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        utils.logging.set_verbosity(level)
        if not silent:
            utils.enable_progress_bars()


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _files(repo: str) -> tuple[str, list[Remote]]:
    """The newest commit and its files."""
    info = _library().HfApi(endpoint=_endpoint()).model_info(repo, files_metadata=True)
    files = []
    for s in info.siblings or []:
        sha256 = (s.lfs.sha256 if s.lfs else "") or ""
        files.append(Remote(s.rfilename, int(s.size or 0), sha256, sha256 or s.blob_id or ""))
    return str(info.sha), files


def _transport_errors() -> tuple[type[BaseException], ...]:
    """What a broken connection raises: requests' errors are OSErrors, those of the later httpx are not."""
    hub = _library()
    return (OSError, *(c for c in hub.utils.HfHubHTTPError.__mro__ if c.__name__ == "HTTPError"))


@contextlib.contextmanager
def _errors(repo: str) -> Iterator[None]:
    """Turn the library's errors into sentences. Tokens and addresses are in none of them."""
    hub = _library()
    e = hub.utils
    try:
        yield
    except ModelError:
        raise
    except e.GatedRepoError:
        raise ModelError(
            f"{repo} is gated: its authors ask for consent, or your token has no access to it",
            "accept on its page, then: hf auth login (or set HF_TOKEN)",
        ) from None
    except e.RepositoryNotFoundError as error:
        if _status(error) == 401 and hub.get_token():
            raise _bad_token(repo) from None
        raise ModelError(
            f"there is no repository {repo} on the hub, or it is private",
            "check the name; for a private one: hf auth login",
        ) from None
    except e.EntryNotFoundError:
        raise ModelError(f"{repo} has changed while it was read", "try again") from None
    except e.HfHubHTTPError as error:
        status = _status(error)
        if status == 401:
            raise _bad_token(repo) from None
        raise ModelError(f"the hub answered {status} for {repo}", "try again later") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"the disk is full: {caches.hugging_face_folder()}",
                "make room and pull again; it goes on where it stopped",
            ) from None
        if error.filename is not None:  # of a file, not of a connection
            raise ModelError(
                f"cannot write {error.filename}: {error.strerror}", "HF_HOME names another place"
            ) from None
        raise _no_connection(error) from None
    except _transport_errors() as error:
        raise _no_connection(error) from None
    except ValueError as error:  # a name that the library does not accept, a file too large for plain HTTP
        raise ModelError(f"cannot fetch {repo}: {str(error).strip().splitlines()[0]}") from None


def _status(error: Any) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _bad_token(repo: str) -> ModelError:
    return ModelError(f"the hub does not accept your token (401) for {repo}", "hf auth login, or set HF_TOKEN anew")


def _no_connection(error: BaseException) -> ModelError:
    return ModelError(
        f"no connection to the hub ({type(error).__name__})", "check the network; a pull goes on where it stopped"
    )


# ---- files -----------------------------------------------------------------------------------------------------------


def _blob(folder: Path, f: Remote) -> Path:
    if not re.fullmatch(r"[0-9a-f]{40,64}", f.etag) or ".." in Path(f.name).parts or Path(f.name).is_absolute():
        raise ModelError(f"the hub gave no usable name for {f.name!r}")
    return folder / "blobs" / f.etag


def _check_room(folder: Path, files: Sequence[Remote]) -> None:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    need = sum(f.size - _size(_partial(folder, f)) for f in files)
    free = shutil.disk_usage(there).free
    if need > free:
        raise ModelError(
            f"{size(need)} are needed in {folder}, and {size(free)} are free",
            "make room, take a smaller quantization, or set HF_HOME to another disk",
        )


def _partial(folder: Path, f: Remote) -> Path:
    return _blob(folder, f).with_name(f"{f.etag}.incomplete")


def _fetch(repo: str, commit: str, f: Remote, folder: Path, progress: Tick | None) -> None:
    """Bring blobs/ETAG.incomplete to its full length, check it, and give it its name."""
    partial = _partial(folder, f)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(f"{f.name} is being fetched by another process", "wait for it") from None
        sink = _Sink(file, f, progress)
        _download(repo, commit, f, sink)
        file.flush()
        os.fsync(file.fileno())
    if f.sha256 and (got := sink.hash.hexdigest()) != f.sha256:
        partial.unlink()
        raise ModelError(
            f"the checksum of {f.name} is wrong: its SHA-256 is {got[:16]}…, the hub says {f.sha256[:16]}…",
            "what was fetched is removed; pull again",
        )
    partial.replace(_blob(folder, f))


def _download(repo: str, commit: str, f: Remote, sink: _Sink) -> None:
    """Bytes from where the file ends. A connection that is cut is tried again as long as new bytes come."""
    hub = _library()
    url = hub.hf_hub_url(repo, f.name, revision=commit, endpoint=_endpoint())
    while sink.tell() < f.size:
        start = sink.tell()
        try:
            hub.file_download.http_get(
                url, sink, resume_size=start, headers=hub.utils.build_hf_headers(), expected_size=f.size
            )
        except hub.utils.HfHubHTTPError:
            raise
        except _transport_errors() as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise
            if sink.tell() == start:  # nothing came, although the library tried several times
                raise


class _Sink:
    """The file that is written: counts, hashes, reports. What was there before is read once, for the hash."""

    def __init__(self, file: IO[bytes], f: Remote, progress: Tick | None) -> None:
        self.file, self.remote, self.progress = file, f, progress
        self.hash = hashlib.sha256()
        if file.seek(0, os.SEEK_END) > f.size:
            file.truncate(0)
        file.seek(0)
        while block := file.read(_BLOCK):
            self.hash.update(block)
        self._report()

    def write(self, data: bytes) -> int:
        n = self.file.write(data)
        self.hash.update(data)
        self._report()
        return n

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        return self.file.seek(position, whence)

    def truncate(self) -> int:
        """The server sends the whole file although only its rest was asked for."""
        if self.file.tell() != 0:
            raise OSError("a download was cut at a place that is not its start")
        self.hash = hashlib.sha256()
        return self.file.truncate()

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(self.remote.name, self.tell(), self.remote.size)


def _link(pointer: Path, blob: Path) -> None:
    """snapshots/COMMIT/NAME, a relative link to the blob; where there are no links, the file itself."""
    if pointer.exists():
        return
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        blob.replace(pointer)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
