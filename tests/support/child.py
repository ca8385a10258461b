"""Loads model files one after the other and prints, as a line of JSON each, what came of it. Run as a child process, so
that an abort inside llama.cpp shows as a missing line and not as the end of the tests.

python child.py CALL PATH...    CALL: "load", or "probe", which also evaluates something
"""

from __future__ import annotations

import json
import sys
from typing import Any


def attempt(call: str, path: str) -> dict[str, Any]:
    import softllama as sl

    try:
        with sl.load(path, n_threads=1) as model:
            if call == "probe":
                model.probe("{}{}", mix=sl.Mixture([3, 4], [0.5, 0.5]), continue_tokens=2, sweep=3)
            return {"ok": repr(model)}
    except sl.SoftLlamaError as e:
        return {"error": e.message, "hint": e.hint, "type": type(e).__name__}
    except Exception as e:  # a traceback, to a user
        return {"traceback": f"{type(e).__name__}: {e}"}


if __name__ == "__main__":
    for file in sys.argv[2:]:
        print(json.dumps(attempt(sys.argv[1], file)), flush=True)
