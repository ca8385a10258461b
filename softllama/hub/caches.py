"""Where other programs keep GGUF models: names and files, from file names and manifests alone.

Knows the published layouts of Hugging Face's cache, Ollama, LM Studio and llama.cpp. Opens no model and never writes.
Does not know what a file holds (facts.py), what a user's word means (resolver.py), or Python's packages (packages.py).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from softllama.hub import bundled, packages, quants
from softllama.hub.local_model import SPLIT, LocalModel, firsts

OLLAMA_SERVICE = Path("/usr/share/ollama/.ollama/models")  # where Ollama's Linux service keeps them
_PARTS = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".downloadInProgress", ".aria2")


def all_models() -> list[LocalModel]:
    """Return all models of this machine, in the order in which they are listed. A folder that cannot be read is empty."""
    models = [LocalModel(f"bundled:{n}", bundled.FOLDER / f"{n}.gguf", "bundled") for n in bundled.names()]
    for source in (packages.models, hugging_face, ollama, lm_studio, llama_cpp, folders):
        models += sorted(source(), key=lambda f: f.name.lower())
    seen: set[str] = set()
    once = []
    for f in models:
        if f.name not in seen:  # a name stands for one file: the first in this order
            seen.add(f.name)
            once.append(f)
    return once


# ---- Hugging Face: models--USER--REPO/{refs,snapshots,blobs} ---------------------------------------------------------


def hugging_face_folder() -> Path:
    """Return the hub's cache, by the same variables that huggingface_hub reads."""
    if value := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(value)
    if value := os.environ.get("HF_HOME"):
        return _expanded(value) / "hub"
    return _cache_home() / "huggingface" / "hub"


def hugging_face(folder: Path | None = None) -> Iterator[LocalModel]:
    """Yield the GGUF files of a Hugging Face cache, as user/repo:QUANT."""
    for repo in _subfolders(folder or hugging_face_folder()):
        user, _, name = repo.name.removeprefix("models--").partition("--")
        if repo.name.startswith("models--") and user and name:
            yield from cached_repo(repo, f"{user}/{name}")


def cached_repo(folder: Path, repo: str) -> list[LocalModel]:
    """Return the models in a repository's folder: the newest commit's files, then those that only other commits have."""
    files: dict[str, Path] = {}
    for snapshot in _snapshots(folder):
        for path in _gguf(snapshot, depth=4):
            files.setdefault(path.relative_to(snapshot).as_posix(), path)
    models = [_named(repo, _label(name), p) for name, p in firsts(files)]
    quants_used = [f.name for f in models]
    for i, f in enumerate(models):  # two files of one quantization: their own names tell them apart
        if quants_used.count(f.name) > 1:
            models[i] = LocalModel(f"{repo}:{f.path.name}", f.path, f.source, f.problem)
    parts = [p for p in _files(folder / "blobs") if p.suffix == ".incomplete"]
    if parts:
        n = sum(p.stat().st_size for p in parts if p.exists())
        problem = f"half downloaded ({n:,} bytes so far); softllama models pull {repo} goes on"
        models.append(LocalModel(f"{repo}:incomplete", parts[0], "hugging face", problem))
    return models


def _label(file: str) -> str:
    """What tells a file of a repository from the others: its quantization, else its name."""
    return ("" if quants.is_side_file(file) else quants.of(file)) or Path(file).stem


def _named(repo: str, quant: str, path: Path) -> LocalModel:
    broken = path.is_symlink() and not path.exists()
    problem = f"its data is gone from the cache; softllama models pull {repo} fetches it" if broken else ""
    return LocalModel(f"{repo}:{quant}", path, "hugging face", problem)


def _snapshots(folder: Path) -> list[Path]:
    """The snapshots of a repository: that of refs/main first, then the newest."""
    try:
        main = (folder / "refs" / "main").read_text().strip()
    except (OSError, ValueError):
        main = ""
    return sorted(_subfolders(folder / "snapshots"), key=lambda p: (p.name != main, -_mtime(p)))


# ---- Ollama: manifests/REGISTRY/NAMESPACE/NAME/TAG are JSON, blobs/sha256-... the files -------------------------------


def ollama_folders() -> list[Path]:
    """Return OLLAMA_MODELS, or the user's folder and that of the service."""
    if value := os.environ.get("OLLAMA_MODELS"):
        return [_expanded(value)]
    return [Path.home() / ".ollama" / "models", OLLAMA_SERVICE]


def ollama() -> Iterator[LocalModel]:
    """Yield Ollama's models, as ollama:NAME:TAG; those of other registries and users keep the longer name."""
    for folder in ollama_folders():
        manifests = folder / "manifests"
        for path in _files(manifests, depth=6):
            where = path.relative_to(manifests).parts
            if len(where) < 3 or path.name.startswith("."):
                continue
            middle = [p for p in where[:-2] if p not in ("registry.ollama.ai", "library")]
            name = f"ollama:{'/'.join([*middle, where[-2]])}:{where[-1]}"
            yield _from_manifest(name, path, folder / "blobs")


def _from_manifest(name: str, manifest: Path, blobs: Path) -> LocalModel:
    try:
        layers = json.loads(manifest.read_text("utf-8"))["layers"]
        digest = next(x["digest"] for x in layers if x["mediaType"] == "application/vnd.ollama.image.model")
        blob = blobs / str(digest).replace(":", "-")
        if blob.parent != blobs:
            raise ValueError(digest)
    except OSError as e:
        return LocalModel(name, manifest, "ollama", f"its manifest cannot be read: {e.strerror}")
    except StopIteration:
        return LocalModel(name, manifest, "ollama", "its manifest names no model file")
    except (ValueError, KeyError, TypeError):
        return LocalModel(name, manifest, "ollama", "its manifest is damaged")
    try:
        there = blob.is_file()
    except OSError:
        there = True  # no permission to look: opening it will say so
    problem = "" if there else "its file is missing or half downloaded; ollama pull fetches it"
    return LocalModel(name, blob, "ollama", problem)


# ---- LM Studio: PUBLISHER/MODEL/FILE.gguf ----------------------------------------------------------------------------


def lm_studio_folders() -> list[Path]:
    """Return where LM Studio keeps models: the home that its pointer file names, ~/.lmstudio, and the older place."""
    home = Path.home()
    homes = [home / ".lmstudio", home / ".cache" / "lm-studio"]
    try:
        lines = (home / ".lmstudio-home-pointer").read_text("utf-8").split("\n")
        homes.insert(0, Path(lines[0].strip()))
    except (OSError, ValueError):
        pass
    chosen = []
    for h in homes:
        try:  # the folder that a user chose for downloads
            chosen.append(Path(json.loads((h / "settings.json").read_text("utf-8"))["downloadsFolder"]))
        except (OSError, ValueError, KeyError, TypeError):
            chosen.append(h / "models")
    return list(dict.fromkeys(p for p in chosen if p.is_absolute()))


def lm_studio() -> Iterator[LocalModel]:
    """Yield LM Studio's models, as lmstudio:publisher/model, with the quantization where a model has several."""
    for folder in lm_studio_folders():
        for publisher in _subfolders(folder):
            for model in _subfolders(publisher):
                files = {p.name: p for p in _gguf(model, depth=1)}
                first_files = firsts(files)
                full_name = f"lmstudio:{publisher.name}/{model.name}"
                names = [n for n, _ in first_files if not quants.is_side_file(n)]
                for name, path in first_files:
                    alone = names == [name]
                    yield LocalModel(full_name if alone else f"{full_name}:{_label(name)}", path, "lm studio")
                yield from _halves(model, full_name + "/", "lm studio")


# ---- llama.cpp and folders -------------------------------------------------------------------------------------------


def llama_cpp_folder() -> Path:
    """Return LLAMA_CACHE, or the place that llama.cpp takes by itself."""
    if value := os.environ.get("LLAMA_CACHE"):
        return _expanded(value)
    if sys.platform == "win32":
        return _expanded(os.environ.get("LOCALAPPDATA") or "~/AppData/Local") / "llama.cpp"
    return (Path.home() / "Library/Caches" if sys.platform == "darwin" else _cache_home()) / "llama.cpp"


def llama_cpp() -> Iterator[LocalModel]:
    """Yield llama.cpp's downloads: flat files named user_repo_file, and in newer versions Hugging Face's layout."""
    folder = llama_cpp_folder()
    yield from _flat(folder, "llama.cpp", depth=1)
    if folder != hugging_face_folder():
        yield from hugging_face(folder)


def own_folders() -> list[Path]:
    """Return SOFTLLAMA_MODELS (several are separated as in PATH), or the folder for downloads."""
    value = os.environ.get("SOFTLLAMA_MODELS")
    if value is None:
        return [Path.home() / "Downloads"]
    return [_expanded(p) for p in value.split(os.pathsep) if p]


def folders() -> Iterator[LocalModel]:
    """Yield GGUF files in folders, two levels deep, by their names."""
    for folder in own_folders():
        yield from _flat(folder, "folder", depth=2)


def _flat(folder: Path, source: str, depth: int) -> Iterator[LocalModel]:
    files = {str(p.relative_to(folder)): p for p in _gguf(folder, depth)}
    for _, path in firsts(files):
        m = SPLIT.fullmatch(path.name)
        yield LocalModel(m[1] if m else path.stem, path, source)
    yield from _halves(folder, "", source)


def _halves(folder: Path, prefix: str, source: str) -> Iterator[LocalModel]:
    for p in _files(folder):
        if p.name.lower().endswith(tuple(f".gguf{x.lower()}" for x in _PARTS)):
            yield LocalModel(f"{prefix}{p.name}", p, source, "half downloaded")


# ---- files -----------------------------------------------------------------------------------------------------------


def _gguf(folder: Path, depth: int) -> Iterator[Path]:
    return (p for p in _files(folder, depth) if p.suffix.lower() == ".gguf")


def _files(folder: Path, depth: int = 1) -> Iterator[Path]:
    for p in _entries(folder):
        if depth > 1 and _is_dir(p):
            yield from _files(p, depth - 1)
        elif not _is_dir(p):
            yield p


def _subfolders(folder: Path) -> Iterable[Path]:
    return (p for p in _entries(folder) if _is_dir(p))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") or p.name.endswith(_PARTS))
    except OSError:
        return []


def _is_dir(p: Path) -> bool:
    try:
        return p.is_dir()
    except OSError:
        return False


def _mtime(p: Path) -> float:
    try:
        return p.stat().st_mtime
    except OSError:
        return 0.0


def _cache_home() -> Path:
    value = os.environ.get("XDG_CACHE_HOME")
    return _expanded(value) if value else Path.home() / ".cache"


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
