"""From a check to findings that a child process sends. Knows how an error becomes a finding. Knows no check."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

from softllama.base.child import Send
from softllama.diagnostics.doctor import PROBLEM, Finding
from softllama.errors import NotFiniteError, SoftLlamaError

Check = Callable[[], Iterable[Finding] | None]


class Reporter:
    """Sends findings as records that are ready for JSON.

    Attributes:
        part: Which part the findings belong to.
    """

    def __init__(self, send: Send, part: str) -> None:
        self._send, self.part = send, part

    def doing(self, name: str, text: str = "") -> None:
        """Say what comes next: the finding's name, and what a reader sees (the name, if "")."""
        self._send({"doing": text or name, "name": name})

    def add(self, name: str, state: str, text: str, advice: str = "", **facts: Any) -> None:
        """Send one finding."""
        self.send(Finding(part=self.part, name=name, state=state, text=text, advice=advice, facts=facts))

    def send(self, f: Finding) -> None:
        """Send a finding that was made elsewhere."""
        self._send({"finding": dataclasses.asdict(dataclasses.replace(f, facts=_jsonable(f.facts)))})

    def check(self, name: str, check: Check, doing: str = "") -> bool:
        """Run a check and send its findings. An error is a finding as well.

        Args:
            name: Of the finding that an error becomes.
            check: Gives findings.
            doing: What a reader sees meanwhile; the name, if "".

        Returns:
            False if the check failed.
        """
        self.doing(name, doing)
        try:
            for f in check() or ():
                self.send(f)
        except NotFiniteError as e:  # whose hint is to ask the doctor
            self.add(name, PROBLEM, e.message, "fetch the file again; on a GPU, try --n-gpu-layers 0")
        except SoftLlamaError as e:
            self.add(name, PROBLEM, e.message, e.hint)
        except MemoryError:
            self.add(name, PROBLEM, "memory ran out", "close other programs, or use a smaller model or --n-ctx")
        except Exception as e:
            self.add(name, PROBLEM, f"this check failed: {type(e).__name__}: {e}", "please report it")
        else:
            return True
        return False


def _jsonable(x: Any) -> Any:
    """The same without NaN and infinity, which JSON does not have."""
    if isinstance(x, dict):
        return {k: _jsonable(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_jsonable(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
