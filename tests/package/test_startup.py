"""What starting costs: the package and its help load nothing heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = {"numpy", "llama_cpp", "rich", "matplotlib", "jinja2", "cffi", "_cffi_backend", "torch", "gguf"}


def loaded(*arguments: str) -> tuple[set[str], str]:
    """Top-level names of the modules that a Python process loads, by its own record; and what it prints."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    p = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, env=env, check=True
    )
    names = [line.rpartition("|")[2].strip() for line in p.stderr.splitlines() if line.startswith("import time:")]
    return {n.split(".")[0] for n in names}, p.stdout


@pytest.mark.parametrize(
    ("arguments", "prints"),
    [
        (("-c", "import softllama"), ""),
        (("-c", "import softllama; print(softllama.__version__, 'load' in dir(softllama))"), "True"),
        (("-c", "import softllama; softllama.SoftLlamaError"), ""),
        (("-m", "softllama", "--help"), "Usage: softllama"),
        (("-m", "softllama", "probe", "--help"), "--mix"),
        (("-m", "softllama", "models", "--help"), "pull"),
        (("-m", "softllama", "completion", "zsh"), "compdef"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_nothing_heavy_is_loaded(arguments: tuple[str, ...], prints: str) -> None:
    names, output = loaded(*arguments)
    assert "softllama" in names
    assert prints in output
    assert not names & HEAVY


def test_the_record_would_notice() -> None:
    names, _ = loaded("-c", "import softllama; softllama.Mixture")
    assert "numpy" in names
    names, _ = loaded("-c", "import softllama; softllama.load")
    assert "llama_cpp" in names


def test_every_public_name_exists_and_others_do_not() -> None:
    import softllama

    for name in softllama.__all__:
        assert getattr(softllama, name) is not None
    assert set(dir(softllama)) == set(softllama.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        softllama.no_such_name  # noqa: B018


def test_sources_that_are_not_built_say_so(tmp_path: Path) -> None:
    """Python that is started in a checkout finds its folder before what pip has installed."""
    shutil.copytree(ROOT / "softllama", tmp_path / "softllama", ignore=shutil.ignore_patterns("*.so", "*.gguf"))
    # -S and the paths after it: an editable install hooks into imports and would find the module
    paths = [str(tmp_path), *(p for p in sys.path if p.endswith("site-packages"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for code in ("import softllama as sl; sl.load()", "from softllama.cli import main; main(['run', 'hi'])"):
        p = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert p.returncode == 1, p.stderr
        assert (
            "is a folder of sources, whose C module is not built" in p.stderr.splitlines()[-2 if "cli" in code else -1]
        )
        assert "pip install --editable ." in p.stderr


def test_the_library_prints_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Not even llama.cpp, which likes to."""
    from tests.support import tiny

    path = tiny.write_model(tmp_path_factory.mktemp("quiet") / "m.gguf")
    code = f"import softllama as sl\nwith sl.load({str(path)!r}) as m: m.probe('The {{}}', 'dog:0.5,cat:0.5', sweep=3).table()"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")


def test_an_import_changes_nothing_in_the_process() -> None:
    code = (
        "import os\nbefore = dict(os.environ)\n"
        "import softllama.api, softllama.llama.context, softllama.llama.devices\n"
        "from softllama.llama import bindings\nfrom softllama.vectors import native\n"
        "assert dict(os.environ) == before\nassert bindings.init.cache_info().currsize == native.openmp_address() == 0\n"
    )
    p = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")
