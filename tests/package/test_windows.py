"""Windows, as far as another system can tell: every module can be imported without what only POSIX has, and asks the one
module that knows systems.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "softllama"
POSIX = ("fcntl", "termios", "tty", "pty", "resource", "pwd", "grp", "readline", "syslog", "curses")
SYSTEM = PACKAGE / "base" / "system.py"

# Everything that is not ours is imported first, for what it is here; then the system looks like Windows.
CODE = """
import importlib, importlib.util, os, pathlib, signal, sys
posix = sys.argv[1].split()
names = sys.argv[2:]
import _cffi_backend, click, concurrent.futures, jinja2, llama_cpp, numpy, platformdirs, rich.console, subprocess, tempfile
for name in ("asyncio", "fastapi", "uvicorn", "prometheus_client", "distributed", "matplotlib", "huggingface_hub"):
    if importlib.util.find_spec(name):
        importlib.import_module(name)

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in posix:
            raise ModuleNotFoundError(f"No module named {name!r}, as on Windows", name=name)

for name in posix:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
for name in ("fork", "forkpty", "getuid", "geteuid", "getpgrp", "setsid", "killpg", "uname", "sysconf", "getloadavg", "nice",
             "sched_getaffinity", "register_at_fork", "wait4", "wait3", "mkfifo", "fchmod", "ttyname", "statvfs", "openpty"):
    vars(os).pop(name, None)
for name in ("SIGKILL", "SIGHUP", "SIGBUS", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGTSTP",
             "alarm", "setitimer", "pthread_sigmask", "sigwait", "pause"):
    vars(signal).pop(name, None)
sys.platform = "win32"
for name in names:
    importlib.import_module(name)
from softllama.base import system
assert system.WINDOWS and system.EXPERIMENTAL.startswith("experimental")
print(len(names))
"""
NEEDS = {"softllama.integrations.lm_eval": "lm_eval", "softllama.integrations.inspect_ai": "inspect_ai"}


def modules() -> list[str]:
    """All modules of ours, those left out that a library that is not here alone can import."""
    paths = sorted(p.relative_to(ROOT).with_suffix("") for p in PACKAGE.rglob("*.py"))
    names = [".".join(p.parts).removesuffix(".__init__") for p in paths]
    return [n for n in names if not any(n.startswith(k) for k in NEEDS)]


def run(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, " ".join(POSIX), *names], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="there it needs no pretence")
def test_every_module_is_imported_without_what_only_posix_has() -> None:
    names = modules()
    assert len(names) > 200
    done = run(*names)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == str(len(names))


@pytest.mark.skipif(sys.platform == "win32", reason="there it needs no pretence")
def test_it_would_notice() -> None:
    done = run("fcntl")
    assert done.returncode == 1
    assert "No module named 'fcntl', as on Windows" in done.stderr


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_module_knows_what_only_posix_has(path: os.PathLike[str]) -> None:
    if path == SYSTEM:
        return
    with open(path, encoding="utf-8") as f:  # noqa: PTH123
        text = f.read()
    modules = "|".join(set(POSIX) - {"readline"})  # terminal/repl.py does without where there is none
    assert not re.search(rf"^\s*(?:import|from) (?:{modules})\b", text, re.MULTILINE)
    assert not re.search(r"\bos\.(?:fork|getuid|uname|getloadavg|sysconf|killpg|setsid)\(", text)
    assert not re.search(r"\bsignal\.SIG(?:KILL|HUP|BUS|USR1|USR2|WINCH|ALRM|CHLD|PIPE|TSTP)\b", text)
