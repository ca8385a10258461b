"""Text that comes in pieces, broken between words. Knows widths; does not know where the text goes."""

from __future__ import annotations

from typing import TextIO

from softllama.show.width import columns


class WordWrap:
    """Breaks text between words at the width of a terminal. On a stream that is not a terminal, text stays as it is.

    Args:
        width: columns of the terminal; lines are at most width - 1 wide.
        stream: where the text will be written.
    """

    def __init__(self, width: int, stream: TextIO) -> None:
        self._width = width - 1 if stream.isatty() else 0
        self._column = 0
        self._spaces = self._word = ""

    def push(self, text: str) -> str:
        """Take more text; returns what can be written now: all but the last word, which may go on."""
        if not self._width:
            return text
        out = ""
        for c in text:
            if c.isspace():
                out += self.end()
                self._spaces += c
                if c == "\n":
                    out, self._spaces, self._column = out + self._spaces, "", 0
            else:
                self._word += c
                if columns(self._word) >= self._width:
                    out += self.end()
        return out

    def end(self) -> str:
        """The last word, on a new line if it needs one."""
        if not self._word:
            return ""
        word, spaces, n = self._word, self._spaces, columns(self._word)
        self._word = self._spaces = ""
        if self._column and self._column + len(spaces) + n > self._width:
            self._column = n
            return "\n" + word
        self._column += len(spaces) + n
        return spaces + word
