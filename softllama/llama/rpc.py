"""Other machines' devices, through llama.cpp's RPC back end. The protocol has neither encryption nor authentication.

llama.cpp ends the process when a worker does not answer, so every address is tried before llama.cpp gets it; a worker that
goes away later still ends the process. Knows addresses and ggml's registry. Does not know models.
"""

from __future__ import annotations

import ctypes
import re
import socket
from collections.abc import Sequence
from functools import cache

from softllama.errors import ModelError, UsageError
from softllama.llama import devices
from softllama.llama.bindings import api, declare, init

BUILD = 'CMAKE_ARGS="-DGGML_RPC=on" pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python'
TIMEOUT = 5.0  # seconds for a worker to take the connection
LIMIT = 16  # GGML_RPC_MAX_SERVERS
_POINTER = ctypes.c_void_p


def parse(text: str) -> list[str]:
    """The addresses in text such as "host:port,host:port".

    Raises:
        UsageError: the text is something else, or names more than 16.
    """
    addresses = [a.strip() for a in text.split(",") if a.strip()]
    for a in addresses:
        m = re.fullmatch(r"([\w.-]+):(\d{1,5})", a, re.ASCII)
        if m is None or not 1 <= int(m[2]) <= 65535:
            raise UsageError(
                f"{a!r} is not the address of a worker", "--rpc host:port[,host:port], such as 10.0.0.2:50052"
            )
    if not 1 <= len(addresses) <= LIMIT:
        raise UsageError(f"--rpc names {len(addresses)} workers", f"1 to {LIMIT}, as in --rpc 10.0.0.2:50052")
    return addresses


def supported() -> bool:
    """Was this llama.cpp built with the RPC back end?"""
    return bool(api.llama_supports_rpc())


def add_workers(addresses: Sequence[str]) -> None:
    """Let llama.cpp use these workers' devices from now on. A worker that is known already is not added again.

    Args:
        addresses: "host:port" each; nothing is done for none.

    Raises:
        UsageError: an address is not one.
        ModelError: the back end is missing, or a worker cannot be reached.
    """
    if not addresses:
        return
    addresses = parse(",".join(addresses))
    init()
    if not supported():
        raise ModelError("this llama-cpp-python was built without the RPC back end", f"build it with: {BUILD}")
    for address in addresses:
        _try(address)
    for address in addresses:
        _add(address)
    devices.gpus.cache_clear()


def _try(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except OSError as e:
        raise ModelError(
            f"no worker answers at {address}: {e.strerror or e}",
            f"start one there, from a llama.cpp of the same version: rpc-server -H {host} -p {port}",
        ) from None


@cache
def _add(address: str) -> None:
    by_name = declare("ggml_backend_reg_by_name", _POINTER, ctypes.c_char_p)
    proc_address = declare("ggml_backend_reg_get_proc_address", _POINTER, _POINTER, ctypes.c_char_p)
    register = declare("ggml_backend_register", None, _POINTER)
    add_server = proc_address(by_name(b"RPC"), b"ggml_backend_rpc_add_server")
    if not add_server:
        raise ModelError("this llama.cpp's RPC back end cannot add workers", "upgrade llama-cpp-python")
    added = ctypes.CFUNCTYPE(_POINTER, ctypes.c_char_p)(add_server)(address.encode())
    if not added:
        raise ModelError(f"the worker at {address} offers no device")
    register(added)
