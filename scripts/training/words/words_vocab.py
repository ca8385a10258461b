"""The vocabulary of `words`: a byte-level BPE in which every word of the world is one token.

Knows byte-level BPE as GPT-2 has it and the special tokens of the chat. Does not know the world, only texts of it, nor
what a model does with the ids. llama.cpp builds the same tokenizer from the token list and the merges
(`tokenizer.ggml.pre` = "gpt-2"); `eval_words.py` compares the two.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import gguf

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
BOS, IM_START, IM_END, THINK, END_THINK = range(5)
# GPT-2's splitting. [^\W\d_] is \p{L}; \p{N} and \d differ only outside ASCII, of which the world has nothing.
_SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_SPECIAL = re.compile("(" + "|".join(re.escape(s) for s in SPECIAL) + ")")


def byte_letters() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes."""
    keep = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters, extra = [""] * 256, 0
    for b in range(256):
        if b in keep:
            letters[b] = chr(b)
        else:
            letters[b] = chr(256 + extra)
            extra += 1
    return letters


BYTES = byte_letters()


def spell(piece: str) -> tuple[str, ...]:
    return tuple(BYTES[b] for b in piece.encode())


def apply(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


@dataclass(frozen=True)
class Bpe:
    """Token list (special, 256 bytes, merged) and merges in order of rank."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)
    _ranks: dict[tuple[str, str], int] = field(init=False, repr=False, compare=False)
    _cache: dict[str, list[int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {t: i for i, t in enumerate(self.tokens)})
        object.__setattr__(self, "_ranks", {m: i for i, m in enumerate(self.merges)})
        object.__setattr__(self, "_cache", {})

    def piece(self, piece: str) -> list[int]:
        """Ids of one pre-token, such as " dog"."""
        ids = self._cache.get(piece)
        if ids is None:
            symbols = spell(piece)
            while len(symbols) > 1:
                best = min(itertools.pairwise(symbols), key=lambda p: self._ranks.get(p, 1 << 30))
                if best not in self._ranks:
                    break
                symbols = apply(symbols, best)
            ids = [self._ids[s] for s in symbols]
            self._cache[piece] = ids
        return ids

    def encode(self, text: str) -> list[int]:
        """Ids without BOS; special tokens in the text become themselves."""
        return [i for part in split(text) for i in self.part(part)]

    def part(self, part: str) -> list[int]:
        return [self._ids[part]] if part in SPECIAL else self.piece(part)

    def decode(self, ids: Iterable[int]) -> str:
        letter = {c: b for b, c in enumerate(BYTES)}
        out = b"".join(
            self.tokens[i].encode() if i < len(SPECIAL) else bytes(letter[c] for c in self.tokens[i]) for i in ids
        )
        return out.decode(errors="replace")

    @property
    def types(self) -> list[int]:
        """gguf token types: chat tokens CONTROL, thinking tags USER_DEFINED so that they are printed."""
        special = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.USER_DEFINED] * 2
        return [int(t) for t in special] + [int(gguf.TokenType.NORMAL)] * (len(self.tokens) - len(SPECIAL))


def split(text: str) -> list[str]:
    """Special tokens and GPT-2 pre-tokens, in order."""
    return [p for part in _SPECIAL.split(text) if part for p in ([part] if part in SPECIAL else _SPLIT.findall(part))]


def train(texts: Iterable[str]) -> Bpe:
    """Merge the most frequent pair (ties: the smaller pair) until every pre-token of the texts is one token."""
    pieces = {p for t in texts for p in split(t)} - set(SPECIAL)
    words = {p: spell(p) for p in sorted(pieces) if not p.isspace() or len(p) == 1}
    merges: list[tuple[str, str]] = []
    while True:
        counts: Counter[tuple[str, str]] = Counter()
        for symbols in words.values():
            counts.update(itertools.pairwise(symbols))
        if not counts:
            break
        best = min(counts, key=lambda p: (-counts[p], p))
        merges.append(best)
        words = {p: apply(s, best) if len(s) > 1 else s for p, s in words.items()}
    tokens = dict.fromkeys((*SPECIAL, *BYTES, *(a + b for a, b in merges)))
    return Bpe(tuple(tokens), tuple(merges))
