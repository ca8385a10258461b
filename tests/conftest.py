"""Shared by all tests: a cache folder of their own, tiny models written once, and the shared ones where they are."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", settings.get_profile("ci"), max_examples=20_000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))  # no deadline: machines of CI are busy

os.environ.setdefault("OMP_NUM_THREADS", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a script's background; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    import softllama

Cli = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[1]
KEPT = ("SOFTLLAMA_SHARED", "SOFTLLAMA_SANITIZED")
SHARED = Path(os.environ.get("SOFTLLAMA_SHARED") or ROOT.parent / "shared")


@pytest.fixture(autouse=True, scope="session")
def _sanitized() -> None:
    """Where scripts/test asks for the sanitized C module, it is that one and no other that is tested."""
    if folder := os.environ.get("SOFTLLAMA_SANITIZED"):
        from softllama import _shim

        assert Path(_shim.__file__).is_relative_to(folder), _shim.__file__


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache, conversations and settings are neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as m:
        for name in [n for n in os.environ if n.startswith("SOFTLLAMA_") and n not in KEPT]:
            m.delenv(name)
        for name in (
            "COLUMNS",
            "LINES",
        ):  # readline, which pytest loads, sets them where there is no terminal, as in xdist
            m.delenv(name, raising=False)
        m.setenv("SOFTLLAMA_CACHE", str(folder))
        m.setenv("SOFTLLAMA_TRIAL", "off")  # half a second for each file; engine/test_first_load.py has it on
        m.setenv("SOFTLLAMA_CONFIG", str(folder / "no-config.toml"))
        m.setenv("SOFTLLAMA_STATE", str(tmp_path_factory.mktemp("state")))
        yield folder


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """write("llama", table_type="Q4_0", ...) -> the file, written once for the same arguments."""
    folder, known = tmp_path_factory.mktemp("models"), {}

    def make(arch: str = "llama", **options: Any) -> Path:
        from tests.support import tiny

        key = repr((arch, sorted(options.items())))
        if key not in known:
            known[key] = tiny.write_model(folder / f"{arch}-{len(known)}.gguf", arch, **options)
        return known[key]

    return make


@pytest.fixture(scope="session")
def load(write: Callable[..., Path]) -> Callable[..., softllama.Model]:
    """load("llama", table_type="Q4_0", ...) -> the model, loaded once for the same arguments, with one thread."""
    import softllama as sl

    known: dict[Path, sl.Model] = {}

    def make(arch: str = "llama", **options: Any) -> sl.Model:
        path = write(arch, **options)
        if path not in known:
            known[path] = sl.load(path, n_threads=1)
        return known[path]

    return make


@pytest.fixture(scope="session")
def model(load: Callable[..., softllama.Model]) -> softllama.Model:
    """A llama with byte-level BPE and a chat template."""
    from tests.support import tiny

    return load("llama", chat_template=tiny.CHAT_TEMPLATE)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts whose memory holds 32-bit numbers, without flash attention.

    With llama.cpp's defaults, batches of another shape round differently before a 16-bit memory, which moves ln p by 1e-4
    on trained and 1e-3 on random weights. Without, by 1e-7: what is left is whether the memory is the right one.
    """
    from softllama.llama.bindings import api

    defaults = api.llama_context_default_params

    def params() -> Any:
        p = defaults()
        p.type_k = p.type_v = api.GGML_TYPE_F32
        if hasattr(p, "flash_attn_type"):  # newer versions; older ones have it off
            p.flash_attn_type = api.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return p

    monkeypatch.setattr(api, "llama_context_default_params", params)


def shared_model(name: str) -> Path:
    """A model that this project shares between checkouts; skips the test where it is not there."""
    path = SHARED / "models" / name
    if not path.is_file():
        pytest.skip(f"needs {name} in {SHARED / 'models'} (or SOFTLLAMA_SHARED)")
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """cli("run", ...) -> exit code, stdout, stderr; in this process, through the same door as the command."""
    from softllama.cli import main

    def run(*arguments: Any, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as e:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        code = e.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run
