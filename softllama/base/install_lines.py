"""What to type so that llama-cpp-python is there, or there with the back end that a machine can use.

Its author publishes ready wheels on an index of his own, one folder for each back end. pip takes one of them if there is one
for this system and Python, and the source otherwise, which takes minutes and needs a C++ compiler and CMake. Knows names of
back ends. Does not know llama.cpp, and asks no network.
"""

from __future__ import annotations

import sys

from softllama.base import system

INDEX = "https://abetlen.github.io/llama-cpp-python/whl"
CUDA = (
    (13, 2),
    (13, 0),
    (12, 5),
    (12, 4),
    (12, 3),
    (12, 2),
    (12, 1),
    (11, 8),
)  # that there are wheels for, newest first
WITH = {"NVIDIA": "CUDA", "AMD": "HIP", "Apple": "METAL"}  # maker of a GPU -> what llama.cpp calls the back end


def here(*, again: bool = False) -> str:
    """Return the line for this system and the GPU that it shows.

    Args:
        again: It is installed, and does not work, or lacks a back end.
    """
    return line(folder_here(), again=again)


def folder_here() -> str:
    """Return the index's folder of this system and the GPU that it shows."""
    maker = system.gpu_maker()
    return folder(sys.platform, maker, system.cuda_version() if maker == "NVIDIA" else None)


def folder(platform: str, maker: str, cuda: tuple[int, int] | None = None) -> str:
    """Return the index's folder of a system.

    Args:
        platform: As sys.platform has it.
        maker: Of the GPU: "NVIDIA", "AMD", "Apple", or "" for none.
        cuda: The newest that the driver takes; None where it is not known.
    """
    if maker == "NVIDIA":
        return next((f"cu{a}{b}" for a, b in CUDA if (a, b) <= (cuda or (12, 4))), "cpu")
    if maker == "AMD":
        return "hip-radeon" if platform == "win32" else "rocm72"
    return "metal" if maker == "Apple" else "cpu"


def line(folder: str, *, again: bool = False) -> str:
    """Return the command that installs llama-cpp-python from a folder of the index, or from source where it has no wheel."""
    fresh = "--force-reinstall --no-cache-dir " if again else ""
    return f"pip install {fresh}--prefer-binary --extra-index-url {INDEX}/{folder} llama-cpp-python"
