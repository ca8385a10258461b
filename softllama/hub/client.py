"""The Hugging Face hub by huggingface_hub, which nothing else imports: lists, transfers, the cache's layout, errors.

Knows one repository's files. Does not know which of them are wanted, and compares no checksums: download.py does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from softllama.errors import ModelError
from softllama.hub import caches
from softllama.show.progress import Tick

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        name: Its path in the repository.
        n_bytes: Its size.
        sha256: Its checksum; "" where the hub does not publish one, as for small text files.
        etag: Its name among the cache's blobs.
    """

    name: str
    n_bytes: int
    sha256: str
    etag: str

    def blob(self, folder: Path) -> Path:
        """Return where its content lies. Raises ModelError for names that would leave the repository's folder."""
        name = Path(self.name)
        if not re.fullmatch(r"[0-9a-f]{40,64}", self.etag) or ".." in name.parts or name.is_absolute():
            raise ModelError(f"the hub gave no usable name for {self.name!r}")
        return folder / "blobs" / self.etag

    def partial(self, folder: Path) -> Path:
        """Return where the part lies that is transferred so far."""
        return self.blob(folder).with_name(f"{self.etag}.incomplete")


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


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextlib.contextmanager
def without_output() -> Iterator[None]:
    """Keep the library's bars quiet, as there are others, and its warnings, which show signed addresses."""
    utils = _library().utils
    disabled, level = utils.are_progress_bars_disabled(), utils.logging.get_verbosity()
    utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        utils.logging.set_verbosity(level)
        if not disabled:
            utils.enable_progress_bars()


def list_files(repo: str) -> tuple[str, list[RemoteFile]]:
    """List a repository.

    Returns:
        The newest commit, and its files with their sizes and checksums.
    """
    info = _library().HfApi(endpoint=_endpoint()).model_info(repo, files_metadata=True)
    files = []
    for s in info.siblings or []:
        sha256 = (s.lfs.sha256 if s.lfs else "") or ""
        files.append(RemoteFile(s.rfilename, int(s.size or 0), sha256, sha256 or s.blob_id or ""))
    return str(info.sha), files


def transfer(repo: str, commit: str, f: RemoteFile, file: BinaryIO, progress: Tick | None) -> None:
    """Append what a file lacks, up to f.n_bytes. A broken connection is tried again as long as new bytes come."""
    hub = _library()
    target = _ReportedFile(file, f, progress) if progress is not None else file
    while (start := file.tell()) < f.n_bytes:
        try:
            hub.file_download.http_get(
                hub.hf_hub_url(repo, f.name, revision=commit, endpoint=_endpoint()),
                target,
                resume_size=start,
                headers=hub.utils.build_hf_headers(),
                expected_size=f.n_bytes,
            )
        except hub.utils.HfHubHTTPError:
            raise
        except _transport_errors() as e:
            if file.tell() == start or getattr(e, "errno", None) in _DISK_FULL:
                raise


class _ReportedFile:
    """A file whose length is reported whenever something is written to it. (Not every version takes a class for bars.)"""

    def __init__(self, file: BinaryIO, f: RemoteFile, progress: Tick) -> None:
        self._file, self._f, self._progress = file, f, progress
        self._report()

    def write(self, data: bytes) -> int:
        n = self._file.write(data)
        self._report()
        return n

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _report(self) -> None:
        self._progress(self._f.name, self._file.tell(), self._f.n_bytes)


def add_to_snapshot(repo: str, f: RemoteFile, folder: Path, snapshot: Path) -> None:
    """Let the library make snapshots/COMMIT/NAME and refs/main, from the blob that is there.

    NAME is a link to the blob, or the file itself on a file system without links.
    """
    hub = _library()
    pointer, blob = snapshot / f.name, f.blob(folder)
    if not pointer.exists() and not hub.file_download.are_symlinks_supported(folder):
        pointer.parent.mkdir(parents=True, exist_ok=True)
        blob.replace(pointer)  # the library would copy it
    hub.hf_hub_download(repo, f.name, cache_dir=folder.parent, endpoint=_endpoint())
    if not pointer.is_file():
        raise _changed(repo)


@contextlib.contextmanager
def lock(folder: Path, f: RemoteFile) -> Iterator[None]:
    """Hold the library's own lock of a file in its cache. Raises ModelError if another process has it."""
    path = folder.parent / ".locks" / folder.name / f"{f.etag}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_library().utils.WeakFileLock(path, timeout=0.1))
        except TimeoutError:
            raise ModelError(f"{f.name} is being fetched by another process", "wait for it") from None
        yield


# ---- error messages --------------------------------------------------------------------------------------------------


def _transport_errors() -> tuple[type[BaseException], ...]:
    """What a broken connection raises: OSError, or the base class of httpx's errors, which are none."""
    return (OSError, *(c for c in _library().utils.HfHubHTTPError.__mro__ if c.__name__ == "HTTPError"))


@contextlib.contextmanager
def errors(repo: str) -> Iterator[None]:
    """Turn the library's errors into error messages. Tokens and addresses are in none of them."""
    e = _library().utils
    try:
        yield
    except e.LocalEntryNotFoundError as error:  # the hub did not answer, and the cache does not help
        cause = error.__cause__ or error
        raise (_refused(repo, cause) if _status(cause) else _no_connection(cause)) from None
    except e.HfHubHTTPError as error:
        raise _refused(repo, error) from None
    except OSError as error:
        raise _of_file_or_connection(error) from None
    except _transport_errors() as error:
        raise _no_connection(error) from None
    except ValueError as error:  # a name that the library does not accept, a file too large for plain HTTP
        raise ModelError(f"cannot fetch {repo}: {str(error).strip().splitlines()[0]}") from None


def _refused(repo: str, error: BaseException) -> ModelError:
    """The hub answered, but not with what was asked for."""
    hub = _library()
    status, e = _status(error), hub.utils
    if isinstance(error, e.GatedRepoError):
        return ModelError(
            f"{repo} is gated: its authors ask for consent, or your token has no access to it",
            "accept on its page, then: hf auth login (or set HF_TOKEN)",
        )
    if isinstance(error, e.RepositoryNotFoundError) and not (status == 401 and hub.get_token()):
        return ModelError(
            f"there is no repository {repo} on the hub, or it is private",
            "check the name; for a private one: hf auth login",
        )
    if isinstance(error, e.EntryNotFoundError):
        return _changed(repo)
    if status == 401:
        return ModelError(f"the hub does not accept your token (401) for {repo}", "hf auth login, or set HF_TOKEN anew")
    return ModelError(f"the hub answered {status} for {repo}", "try again later")


def _changed(repo: str) -> ModelError:
    return ModelError(f"{repo} has changed while it was read", "try again")


def _of_file_or_connection(error: OSError) -> ModelError:
    if error.errno in _DISK_FULL:
        return ModelError(
            f"the disk is full: {caches.hugging_face_folder()}", "make room and pull again; it goes on where it stopped"
        )
    if error.filename is not None:
        return ModelError(f"cannot write {error.filename}: {error.strerror}", "HF_HOME names another place")
    return _no_connection(error)


def _no_connection(error: BaseException) -> ModelError:
    return ModelError(
        f"no connection to the hub ({type(error).__name__})", "check the network; a pull goes on where it stopped"
    )


def _status(error: Any) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)
