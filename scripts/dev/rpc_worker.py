"""A worker for --rpc: offers this machine's processor, through the llama.cpp inside a llama-cpp-python built with RPC.

    python scripts/dev/rpc_worker.py 127.0.0.1:50052 [threads]

llama.cpp's own rpc-server does the same and offers GPUs too. Runs until it is ended. For trusted networks only.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from llama_cpp import llama_cpp as api

POINTER = ctypes.c_void_p
CPU = 0  # GGML_BACKEND_DEVICE_TYPE_CPU


def declared(name: str, result: Any, *arguments: Any) -> Any:
    """A function of ggml."""
    f = getattr(api._lib, name)
    f.restype, f.argtypes = result, list(arguments)
    return f


def main() -> None:
    """Serve."""
    address, threads = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else (os.cpu_count() or 1)
    if not api.llama_supports_rpc():
        sys.exit("this llama-cpp-python was built without RPC; scripts/dev/rpc_demo builds one with it")
    api.llama_backend_init()
    rpc = declared("ggml_backend_reg_by_name", POINTER, ctypes.c_char_p)(b"RPC")
    found = declared("ggml_backend_reg_get_proc_address", POINTER, POINTER, ctypes.c_char_p)(
        rpc, b"ggml_backend_rpc_start_server"
    )
    device = declared("ggml_backend_dev_by_type", POINTER, ctypes.c_int)(CPU)
    serve = ctypes.CFUNCTYPE(
        None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(POINTER)
    )(found)
    serve(address.encode(), None, threads, 1, (POINTER * 1)(device))


if __name__ == "__main__":
    main()
