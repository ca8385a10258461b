"""Bytes of tokens to text that can be shown: whole characters only, nothing that a stop string may still take back."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """push(bytes) returns the text that is now certain; flush() the rest. `stopped` is the stop string that was met.

    Incomplete characters wait for their other bytes; bytes that are not UTF-8 become U+FFFD. The text before a stop
    string is kept, the string itself and what follows are not.

    Args:
        around: pairs of texts that may stand around all of the text. The first is left out, and the second is then a stop
            string. With "" for the first, it always is.
    """

    def __init__(self, stops: Sequence[str] = (), around: Sequence[tuple[str, str]] = ()) -> None:
        self._bytes = b""  # of an incomplete character
        self._stops = [s for s in (*stops, *(close for open_, close in around if not open_)) if s]
        self._around = [pair for pair in around if pair[0]]  # empty once the text has begun
        self._held = ""
        self.stopped = ""

    def push(self, data: bytes, *, final: bool = False) -> str:
        """Text that is certain after these bytes."""
        if self.stopped:
            return ""
        data = self._bytes + data
        text, n = codecs.utf_8_decode(data, "replace", final)
        self._bytes, text = data[n:], self._held + text
        if self._around and not final and self._may_open(text):
            self._held = text
            return ""
        text = self._opened(text)
        if not self._stops:
            self._held = ""
            return text
        hits = [(at, s) for s in self._stops if (at := text.find(s)) >= 0]
        if hits:
            at, self.stopped = min(hits)
            self._held = ""
            return text[:at]
        keep = 0 if final else max((_overlap(text, s) for s in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _may_open(self, text: str) -> bool:
        """Could the text still become one of the texts that may stand before it?"""
        begun = text.lstrip()
        return any(open_.startswith(begun) and open_ != begun for open_, _ in self._around)

    def _opened(self, text: str) -> str:
        """The text without what stands before it, at its beginning."""
        begun, around, self._around = text.lstrip(), self._around, []
        for open_, close in around:
            if begun.startswith(open_):
                self._stops.append(close)
                return begun[len(open_) :]
        return text

    def fork(self) -> TextStream:
        """A second stream that goes on from here."""
        other = TextStream(self._stops, self._around)
        other._bytes, other._held, other.stopped = self._bytes, self._held, self.stopped
        return other

    def flush(self) -> str:
        """What was held back."""
        return self.push(b"", final=True)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
