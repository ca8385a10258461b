"""llama.cpp's shared libraries, loaded once, and where each of their functions is.

Importing this module loads them and changes nothing else. Knows llama_cpp and how each system finds a symbol. Does not call
llama.cpp: bindings.py prepares it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  # before llama_cpp, as in most programs: a trial then meets the libstdc++ that they meet

# isort: split
from softllama.base import install_lines, system
from softllama.errors import SoftLlamaError

try:
    import llama_cpp
    from llama_cpp import llama_cpp as _api
except Exception as e:  # it raises what it likes where its library is missing, or was built for another system
    _missing = isinstance(e, ModuleNotFoundError) and e.name == "llama_cpp"
    raise SoftLlamaError(
        "llama-cpp-python is not installed" if _missing else f"llama-cpp-python cannot be loaded: {e}",
        install_lines.here(again=not _missing),
    ) from None

api: Any = _api  # functions, structs and constants of llama.h
lib: Any = _api._lib  # libllama, through which the dynamic linker finds the symbols of libggml; but see `exporter`

VERSION: str = llama_cpp.__version__


@cache
def _others() -> tuple[Any, ...]:
    """The other libraries that llama.dll has loaded: Windows finds a symbol only in the library that exports it."""
    if not system.WINDOWS:
        return ()
    folder = Path(lib._name).parent
    names = [f"{prefix}{name}.dll" for name in ("ggml", "ggml-base", "ggml-cpu") for prefix in ("", "lib")]
    return tuple(ctypes.CDLL(str(folder / n)) for n in names if (folder / n).is_file())


def exporter(name: str) -> Any:
    """The library that has a function of llama.cpp's or ggml's; libllama where none has."""
    return next((x for x in (lib, *_others()) if hasattr(x, name)), lib)


def declare(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the libraries with its types, as ctypes needs them.

    Raises:
        AttributeError: these libraries have no such function.
    """
    f = getattr(exporter(name), name)
    f.restype, f.argtypes = result, list(arguments)
    return f


def address(name: str) -> int:
    """The address of a function of the libraries, for C that is linked to none of them."""
    return int(ctypes.cast(getattr(exporter(name), name), ctypes.c_void_p).value or 0)
