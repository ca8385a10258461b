"""From a model's name to a file: a path, bundled:NAME, user/repo[:QUANT], ollama:NAME[:TAG], lmstudio:PUBLISHER/MODEL,
package:NAME, or a part of a name in the list.

Knows the grammar of names; that of addresses is in addresses.py. Does not know where files lie (caches.py, packages.py), how
they are fetched (download.py), or what they hold.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from softllama.base import system
from softllama.errors import ModelError, UsageError
from softllama.hub import addresses, bundled, caches, packages, quants
from softllama.hub.local_model import LocalModel, Say, firsts
from softllama.show.progress import Tick

LIST = "softllama models lists what is on this machine"
NEAR = 0.6  # how much a name is like one that there is, from which on it is a guess


def resolve(
    name: str | os.PathLike[str] | None,
    *,
    offline: bool | str = False,
    progress: Tick | None = None,
    say: Say | None = None,
) -> str | os.PathLike[str]:
    """Return the file that a name stands for.

    Only user/repo[:QUANT] that is not on this machine is fetched from the network, and neither with `offline` nor with
    HF_HUB_OFFLINE. hf:user/repo, user/repo/FILE.gguf and the hub's addresses are other ways to write it (addresses.py).
    What exists as a path is that file; a folder of a user's name hides none of the user's repositories.

    Args:
        name: None for the default bundled model. A path object is taken as it is, and not looked at beyond its being a
            folder.
        offline: Do not go to the network; text says why, for the error message.
        progress: Called with (file, bytes so far, bytes in all) while a model is fetched.
        say: Called with a line about what was chosen.

    Raises:
        ModelError: Nothing on this machine has that name, or it cannot be fetched; the hint says what there is.
        UsageError: It is written like a repository and is none.
    """
    if name is None or (isinstance(name, str) and name.startswith("bundled:")):
        return bundled.resolve(name)
    if not isinstance(name, str):
        return _only_model(Path(name)) if isinstance(name, os.PathLike) else name
    if not name.strip():
        raise ModelError("the model's name is empty", "-m FILE.gguf, or leave -m out for the bundled model")
    if (path := _existing(name)) is not None:
        return _only_model(path)
    scheme, _, rest = name.partition(":")
    if scheme == "ollama":
        return _ollama(rest)
    if scheme == "lmstudio":
        return _lm_studio(rest)
    if scheme == "package":
        return _package(rest)
    if scheme == "hf" or (not _like_a_path(name) and addresses.parse(name)):
        repo, quant = split_repo(name)
        return _repository_or_path(name, repo, quant, offline=offline, progress=progress, say=say or (lambda _: None))
    if "/" in name or name.startswith("~") or "\0" in name or (system.WINDOWS and "\\" in name):
        return name  # a path with nothing there: whoever opens it says so
    return _part(name)


def split_repo(name: str) -> tuple[str, str | None]:
    """Split a name or an address into ("user/repo", quantization, file or None). Raises UsageError for another form."""
    if (parsed := addresses.parse(name)) is None:
        raise UsageError(f"{name!r} does not name a repository", addresses.FORM)
    return parsed


def _repository_or_path(
    name: str, repo: str, quant: str | None, *, offline: bool | str, progress: Tick | None, say: Say
) -> Path:
    """As `repository`; the hint of a failure also says that it is no path, where it looks like one."""
    try:
        return repository(repo, quant, offline=offline, progress=progress, say=say)
    except ModelError as e:
        if name == repo and (folder := Path(name).parent).is_dir():
            hint = f"{e.hint}; in the folder {folder} here is no {Path(name).name}, either"
            raise ModelError(e.message, hint) from None
        raise


def offline_because(offline: bool | str) -> str:
    """Return why the network must not be used, or ""."""
    if offline:
        return offline if isinstance(offline, str) else "--offline was given"
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"{variable} is set"
    return ""


def repository(repo: str, quant: str | None, *, offline: bool | str, progress: Tick | None, say: Say) -> Path:
    """Return a repository's file, from a cache or else from the hub. Raises ModelError as `resolve` does."""
    models = in_cache(repo)
    if (model := choose_cached(models, quant)) is not None:
        if quant is None and len(models) > 1:
            say(f"{model.name}, of the {len(models)} that are here; name another as {repo}:QUANT")
        return model.path
    if why := offline_because(offline):
        name = repo if quant is None else f"{repo}:{quant}"
        others = f"{_some(models)} is on this machine" if models else LIST
        raise ModelError(f"{name} is not on this machine, and {why}", others)
    from softllama.hub import download

    return download.pull(repo, quant, progress=progress, say=say)


def in_cache(repo: str) -> list[LocalModel]:
    """Return the complete models of a repository in the caches, without projectors and draft heads."""
    folder = f"models--{repo.replace('/', '--')}"
    models = []
    for cache in dict.fromkeys((caches.hugging_face_folder(), caches.llama_cpp_folder())):
        models += caches.cached_repo(cache / folder, repo)
    return [f for f in models if not f.problem and not quants.is_side_file(f.path.name) and _complete(f.path)]


def choose_cached(models: Sequence[LocalModel], quant: str | None) -> LocalModel | None:
    """Choose one of a repository's models: by its quantization or name, else Q4_K_M, the nearest to it, or the only one."""
    if quant is not None:
        fits = [f for f in models if f.path.as_posix().lower().endswith(f"/{quant.lower()}")] or [
            f for f in models if quants.matches(f.path.name, Path(quant).name) or f.name.endswith(f":{quant}")
        ]
        return next(iter(fits), None)
    by_quant = {quants.of(f.path.as_posix()): f for f in reversed(models)}
    nearest = quants.nearest(by_quant)
    return by_quant[nearest] if nearest else (models[0] if len(models) == 1 else None)


def _complete(path: Path) -> bool:
    m = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", path.name)
    return m is None or all(path.with_name(f"{m[1]}-{i:05d}-of-{m[2]}.gguf").exists() for i in range(1, int(m[2]) + 1))


def _ollama(rest: str) -> Path:
    name, _, tag = rest.partition(":")
    models = [f for f in caches.ollama() if f.name.startswith("ollama:")]
    model = next((f for f in models if f.name == f"ollama:{name}:{tag or 'latest'}"), None)
    if model is None and not tag:
        tags = [f for f in models if f.name.rpartition(":")[0] == f"ollama:{name}"]
        if len(tags) > 1:
            raise ModelError(
                f"Ollama has {len(tags)} models {name!r} here, none of them latest", f"name one: {_some(tags)}"
            )
        model = tags[0] if tags else None
    return _usable(model, f"there is no Ollama model {rest!r} on this machine", models, f"ollama pull {rest or 'NAME'}")


def _lm_studio(rest: str) -> Path:
    models = list(caches.lm_studio())
    fits = [f for f in models if f.name.removeprefix("lmstudio:") == rest]
    fits = fits or [
        f for f in models if f.name.startswith(f"lmstudio:{rest}:") and not quants.is_side_file(f.path.name)
    ]
    if len(fits) > 1:
        raise ModelError(f"LM Studio has {len(fits)} files of {rest!r}", f"name one: {_some(fits)}")
    message = f"there is no LM Studio model {rest!r} on this machine"
    return _usable(fits[0] if fits else None, message, models, "lmstudio:publisher/model")


def _package(rest: str) -> Path:
    models = list(packages.models())
    fits = [f for f in models if f.name.lower() == f"package:{rest}".lower()]
    fits = fits or [f for f in models if f.name.lower().startswith(f"package:{rest}:".lower())]
    if len(fits) > 1:
        raise ModelError(f"the package {rest!r} holds {len(fits)} models", f"name one: {_some(fits)}")
    message = f"no installed package {rest!r} holds a model"
    return _usable(fits[0] if fits else None, message, models, LIST)


def _usable(model: LocalModel | None, message: str, models: Sequence[LocalModel], otherwise: str) -> Path:
    if model is None:
        raise ModelError(message, f"there: {_some(models)}" if models else otherwise)
    if model.problem:
        raise ModelError(f"{model.name} cannot be used: {model.problem}")
    return model.path


def _part(text: str) -> Path | str:
    """The one model of the list whose name holds the text."""

    def holds(f: LocalModel) -> bool:
        return text.lower() in f.name.lower() or (f.source != "ollama" and text.lower() in f.path.name.lower())

    models = caches.all_models()
    names = (text.lower(), f"bundled:{text.lower()}")  # `words`, as it calls itself, and not words-mixed
    if (same := next((f for f in models if f.name.lower() in names), None)) is not None:
        return _usable(same, "", models, "")
    fits = [f for f in models if holds(f) and not quants.is_side_file(f.path.name)]
    usable = [f for f in fits if not f.problem]
    if len({f.path.resolve() for f in usable}) > 1:
        raise ModelError(
            f"{text!r} fits {len(usable)} models: {_some(usable)}", "a longer part of the name tells them apart"
        )
    if fits:
        return _usable((usable or fits)[0], "", models, "")
    if text.lower().endswith(".gguf"):
        return text
    near = _near(text, [f for f in models if not f.problem and not quants.is_side_file(f.path.name)])
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    raise ModelError(
        f"there is no file and no model {text!r}",
        f"{guess}{LIST}; softllama models pull user/repo fetches one from the hub",
    )


def _near(text: str, models: Sequence[LocalModel], n: int = 3) -> list[str]:
    """The names of models that are closest to a text, by the whole name or by the beginning that is as long."""
    wanted = text.lower()
    scores: dict[str, float] = {}
    for f in models:
        for name in (f.name.lower(), f.path.stem.lower()):
            for part in (name, name.rpartition(":")[2], name[: len(wanted)], name.rpartition("/")[2][: len(wanted)]):
                ratio = difflib.SequenceMatcher(None, wanted, part).ratio()
                scores[f.name] = max(ratio, scores.get(f.name, 0.0))
    return sorted([k for k, x in scores.items() if x >= NEAR], key=lambda k: -scores[k])[:n]


def _some(models: Sequence[LocalModel], n: int = 6) -> str:
    names = [f.name for f in models]
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


# ---- paths -----------------------------------------------------------------------------------------------------------


def _existing(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _like_a_path(name: str) -> bool:
    """Does it rather mean a file that is not there: folder/FILE.gguf, or FILE.gguf in a folder that is here?"""
    if ":" in name or not name.lower().endswith(".gguf"):
        return False
    return name.count("/") < 2 or Path(name).parent.is_dir()


def _only_model(path: Path) -> Path:
    """The file, or the one model that a folder holds; a folder without or with several is handed on as it is."""
    try:
        if not path.expanduser().is_dir():
            return path
        files = {p.name: p for p in path.expanduser().iterdir() if p.suffix.lower() == ".gguf"}
    except (OSError, ValueError, RuntimeError):
        return path
    models = [p for name, p in firsts(files) if not quants.is_side_file(name)]
    return models[0] if len(models) == 1 else path
