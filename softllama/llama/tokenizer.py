"""Text to token ids and back, by llama.cpp's own tokenizer, with what would end the process checked before.

Knows one vocabulary. Does not know prompts or mixtures.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Iterator
from functools import cached_property

from softllama.errors import PromptError
from softllama.llama import beginnings, math_symbols
from softllama.llama.beginnings import Beginnings
from softllama.llama.bindings import api
from softllama.llama.weights import Weights

MESSAGES = 1000  # that are kept with the control tokens in them, as each turn of a chat asks again
_ATTR_UNKNOWN = 1
_ATTR_CONTROL = 8
_ATTR_SPECIAL = 1 | 8 | 16  # unknown, control, user-defined
_TYPE_NONE, _TYPE_SPM, _TYPE_BPE, _TYPE_RWKV, _TYPE_PLAMO2 = 0, 1, 2, 5, 6


class Tokenizer:
    """The vocabulary of a loaded model. bos, eos, eot, mask: ids, or None where the vocabulary has none."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights  # keeps the vocabulary's memory alive
        self._vocab = weights.vocab
        self.n_vocab = weights.n_vocab
        self._type: int = api.llama_vocab_type(self._vocab)
        self.bos = self._id(api.llama_vocab_bos(self._vocab))
        self.eos = self._id(api.llama_vocab_eos(self._vocab))
        self.eot = self._id(api.llama_vocab_eot(self._vocab))
        self.mask = self._id(api.llama_vocab_mask(self._vocab)) if hasattr(api, "llama_vocab_mask") else None
        self.add_bos = bool(api.llama_vocab_get_add_bos(self._vocab)) and self.bos is not None
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._controls: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def _vocabulary(self) -> Iterator[None]:
        """The vocabulary, which goes with the model. Raises ModelError where that is closed."""
        with self._weights.lock:
            self._weights.check()
            yield

    @property
    def kind(self) -> str:
        """How it cuts text: "byte-level BPE", "SentencePiece", ..."""
        names = (
            "none",
            "SentencePiece",
            "byte-level BPE",
            "WordPiece",
            "Unigram",
            "RWKV",
            "PLaMo-2",
        )  # llama_vocab_type
        return names[self._type] if 0 <= self._type < len(names) else f"type {self._type}"

    def _id(self, token: int) -> int | None:
        return token if 0 <= token < self.n_vocab else None

    def is_eog(self, token: int) -> bool:
        """Does this token end a generation (end of text, of turn, ...)?"""
        if (known := self._ends.get(token)) is None:
            with self._vocabulary():
                known = self._ends[token] = bool(api.llama_vocab_is_eog(self._vocab, token))
        return known

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; part of a character for some. Control tokens give their own text."""
        if (known := self._pieces.get(token)) is not None:
            return known
        if not 0 <= token < self.n_vocab:
            raise PromptError(f"token id {token} is outside the vocabulary of {self.n_vocab}")
        if self._type == _TYPE_NONE:
            return f"#{token}".encode()
        with self._weights.lock:
            vocab = self._weights.vocab_for_texts()
            buffer = ctypes.create_string_buffer(256)
            n = api.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
            if n < 0:
                buffer = ctypes.create_string_buffer(-n)
                n = api.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, True)
        self._pieces[token] = buffer.raw[:n]
        return self._pieces[token]

    def tokenize(self, text: str, *, special: bool = True, lead: bool = True) -> list[int]:
        """Ids of a text, without BOS or EOS. `special`: a text such as "<|im_end|>" means that token.

        `lead`: the text is the start of a prompt, where some vocabularies put a space before the first word; without,
        it goes on from other text.

        Raises PromptError for text that the vocabulary cannot encode, with the character.
        """
        if not text:
            return []
        if self._type == _TYPE_NONE:
            raise PromptError("this model has no tokenizer", "write token ids: #12")
        data = self._bytes(text)
        with self._vocabulary():
            self._check_bytes(text, special)
            as_it_is = lead or not self._adds_space
            if as_it_is and special and len(data) >= beginnings.SHORTEST and self._type in (_TYPE_BPE, _TYPE_SPM):
                return self._long(text, data)
            if as_it_is:
                ids = self._call(data, special)
            elif text.startswith(" ") and not text.startswith("  "):
                ids = self._call(data[1:], special) if len(data) > 1 else self._after_sentinel(data, special)
            else:
                ids = self._after_sentinel(data, special)
            self._check_round_trip(text, data, ids)
        return ids

    def _long(self, text: str, data: bytes) -> list[int]:
        """`tokenize` of a long text, read from where it differs from the last ones."""
        read = b" " + data if self._adds_space else data
        begun = self._beginnings.find(read)
        rest = read[begun.n :] if begun.n else data
        ids = self._call(rest, True)
        self._check_round_trip(text, rest, ids)
        self._beginnings.keep(read, begun, ids, [self.piece(i) for i in ids])
        return begun.ids + ids

    @cached_property
    def _beginnings(self) -> Beginnings:
        longest = max((len(t.encode()) for t in self._special_texts), default=1)
        vocab = self._vocab  # not self, which would then refer to itself, and keep the weights in memory
        return Beginnings(lambda i: bool(api.llama_vocab_get_attr(vocab, i) & _ATTR_SPECIAL), longest)

    @cached_property
    def math_ids(self) -> frozenset[int]:
        """Digits, letters and mathematics symbols: see math_symbols. Made once, in some milliseconds."""
        return math_symbols.ids_of(lambda text: self.tokenize(text, special=False, lead=False))

    def control_tokens_in(self, text: str) -> list[str]:
        """Texts in a text that are control tokens where they are looked for (`special`), longest first."""
        with self._weights.lock:
            if (found := self._controls.get(text)) is None:
                if len(self._controls) >= MESSAGES:
                    del self._controls[next(iter(self._controls))]
                found = self._controls[text] = self._control_tokens_in(text)
            return found

    def _control_tokens_in(self, text: str) -> list[str]:
        try:
            plain, special = (self.tokenize(text, special=s, lead=False) for s in (False, True))
        except PromptError:  # it cannot be encoded at all, as whoever encodes it will say
            return []
        with self._vocabulary():
            control = {i for i in special if api.llama_vocab_get_attr(self._vocab, i) & _ATTR_CONTROL}
        texts = {self.piece(i).decode("utf-8", "replace") for i in control - set(plain)}
        return sorted((t for t in texts if t in text), key=lambda t: (-len(t), t))

    def detokenize(self, ids: list[int]) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD."""
        return b"".join(self.piece(i) for i in ids).decode("utf-8", "replace")

    def _call(self, data: bytes, special: bool) -> list[int]:
        if self._endless:
            raise PromptError(
                "this model's vocabulary cannot encode text: single bytes are missing", "write token ids: #12"
            )
        n_max = len(data) + 8
        out = (ctypes.c_int32 * n_max)()
        n = api.llama_tokenize(self._vocab, data, len(data), out, n_max, False, special)
        if n < 0:
            out = (ctypes.c_int32 * -n)()
            n = api.llama_tokenize(self._vocab, data, len(data), out, -n, False, special)
        ids = list(out[: max(n, 0)])
        if ids and not 0 <= min(ids) <= max(ids) < self.n_vocab:  # the vocabulary's own ids may be wrong
            raise PromptError(
                f"this model's vocabulary cannot encode a part of {data[:60].decode('utf-8', 'replace')!r}",
                "use other characters",
            )
        return ids

    @cached_property
    def _endless(self) -> bool:
        """Would llama.cpp not come to an end? Its RWKV tokenizer stands still where a token begins and none is found."""
        if self._type != _TYPE_RWKV:
            return False
        pieces = {self.piece(i) for i in range(self.n_vocab)}
        return any(p[:1] not in pieces for p in pieces if p)

    @cached_property
    def _adds_space(self) -> bool:
        """Does the vocabulary put a space before the first word of a text (SentencePiece's dummy prefix)?"""
        if self._type != _TYPE_SPM:
            return False
        ids = self._call(b"a", False) if self._encodable("a") else []
        return bool(ids) and b"".join(self.piece(i) for i in ids).startswith(b" ")

    def _after_sentinel(self, data: bytes, special: bool) -> list[int]:
        """Ids of a text that goes on from other text: tokenized after a character that does not join it."""
        for sentinel in (b"\n", b"~", b"0", b"a"):
            if not self._encodable(sentinel.decode()):
                continue
            before, both = self._call(sentinel, False), self._call(sentinel + data, special)
            if both[: len(before)] == before:
                return both[len(before) :]
        return self._call(data, special)

    @staticmethod
    def _bytes(text: str) -> bytes:
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as e:
            raise PromptError(
                f"character {e.start} of {text[max(0, e.start - 8) : e.start + 8]!r} is not valid Unicode",
                "use UTF-8 text",
            ) from None

    # SentencePiece vocabularies without byte tokens: llama.cpp ends the process on a character that is not in them.

    @cached_property
    def _byte_tokens(self) -> frozenset[int]:
        """The bytes that have a token of their own, "<0x00>" to "<0xFF>"."""
        if self._type not in (_TYPE_SPM, _TYPE_PLAMO2):
            return frozenset(range(256))
        values: set[int] = set()
        for token in range(self.n_vocab):
            t: bytes = api.llama_vocab_get_text(self._vocab, token) or b""
            if m := re.fullmatch(rb"<0x([0-9A-Fa-f]{2})>", t):
                values.add(int(m[1], 16))
                if len(values) == 256:
                    break
        return frozenset(values)

    @cached_property
    def _texts(self) -> frozenset[bytes]:
        return frozenset(api.llama_vocab_get_text(self._vocab, i) or b"" for i in range(self.n_vocab))

    def _encodable(self, char: str) -> bool:
        if len(self._byte_tokens) == 256:
            return True
        c = "\u2581" if char == " " else char
        if c.encode() in self._texts:
            return True
        return all(
            b in self._byte_tokens or (self._type == _TYPE_SPM and bytes([b]) in self._texts) for b in c.encode()
        )

    @cached_property
    def _special_texts(self) -> list[str]:
        """Texts that are taken for tokens before the rest is encoded, longest first, as llama.cpp looks for them."""
        special = [i for i in range(self.n_vocab) if api.llama_vocab_get_attr(self._vocab, i) & _ATTR_SPECIAL]
        texts = {(api.llama_vocab_get_text(self._vocab, i) or b"").decode("utf-8", "replace") for i in special}
        return sorted(texts - {""}, key=lambda t: (-len(t.encode()), t))

    def _check_bytes(self, text: str, special: bool) -> None:
        if len(self._byte_tokens) == 256:
            return
        parts = [text]
        for known in self._special_texts if special else ():
            parts = [p for part in parts for p in part.split(known)]
        # the space is needed for the prefix that the tokenizer adds by itself
        for c in dict.fromkeys((" " if self._type == _TYPE_SPM else "") + "".join(parts)):
            if not self._encodable(c):
                raise PromptError(
                    f"this model's vocabulary cannot encode {c!r} (U+{ord(c):04X})", "leave the character out"
                )

    def _check_round_trip(self, text: str, data: bytes, ids: list[int]) -> None:
        """Byte-pair vocabularies drop what they cannot encode without a word; others put an unknown token there."""
        if self._type == _TYPE_BPE:
            back = b"".join(self.piece(i) for i in ids)
            if back != data and back.strip() != data.strip():
                for c in dict.fromkeys(text):
                    if c.encode() not in b"".join(self.piece(i) for i in self._call(c.encode(), False)):
                        raise PromptError(
                            f"this model's vocabulary cannot encode {c!r} (U+{ord(c):04X})", "leave the character out"
                        )
            return
        for i in ids:
            if api.llama_vocab_get_attr(self._vocab, i) & _ATTR_UNKNOWN and self.piece(i) not in data:
                raise PromptError(
                    f"this model's vocabulary cannot encode a part of {text[:60]!r}", "use other characters"
                )
