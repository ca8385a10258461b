"""Long texts that were read into tokens, so that one which begins like them is read only from where they part: a chat's prompt is
the last one, and a turn more.

llama.cpp cuts a text at its special tokens, such as "<|im_end|>", and reads each piece by itself. So what comes before a special
token that both texts share is the same tokens in both. Knows bytes and ids. Calls no tokenizer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import AnyStr, NamedTuple

SHORTEST = 1 << 14  # bytes of a text that is kept: shorter ones take a millisecond
KEPT = 4  # texts


class Begun(NamedTuple):
    """The beginning of a text that is known.

    ids: its tokens. n: its bytes. places, indexes: where special tokens begin, in bytes and among the ids; both increase.
    """

    ids: list[int]
    n: int
    places: list[int]
    indexes: list[int]


class Beginnings:
    """The last few texts.

    Args:
        is_special: is an id a special token?
        longest: bytes of the longest special token. One that begins before the texts part may end behind, and be in one of
            them only: so the token at which a text is cut lies so much before.
    """

    def __init__(self, is_special: Callable[[int], bool], longest: int) -> None:
        self._is_special, self._longest = is_special, longest
        self._texts: deque[tuple[bytes, Begun]] = deque(maxlen=KEPT)

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: bytes) -> Begun:
        """The longest known beginning of a text. What is left begins with a special token, if the beginning is not empty."""
        best = Begun([], 0, [], [])
        for known, t in tuple(self._texts):
            k = bisect_right(t.places, common(known, text) - 2 * self._longest) - 1
            if k >= 0 and t.places[k] > best.n:
                best = Begun(t.ids[: t.indexes[k]], t.places[k], t.places[:k], t.indexes[:k])
        return best

    def keep(self, text: bytes, begun: Begun, ids: Sequence[int], pieces: Sequence[bytes]) -> None:
        """A text: its known beginning, and the other tokens. pieces: their bytes; nothing is kept if they are not the text's."""
        if b"".join(pieces) != text[begun.n :]:
            return
        special = {i for i in set(ids) if self._is_special(i)}
        places, indexes, at = list(begun.places), list(begun.indexes), begun.n
        for k, (i, piece) in enumerate(zip(ids, pieces, strict=True), len(begun.ids)):
            if i in special:
                places.append(at)
                indexes.append(k)
            at += len(piece)
        self._texts.append((text, Begun([*begun.ids, *ids], len(text), places, indexes)))


def common(a: AnyStr, b: AnyStr) -> int:
    """The length of the beginning that both share."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
