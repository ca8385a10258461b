"""Is a generation degenerating? A measure of its readouts that costs a few microseconds a step.

Three signs:
- loop: the same tokens again and again. The last tokens are at least `COPIES` copies of one piece of text, and at least `LEAST`
  tokens (`SYMBOLS` times as many, if the piece has no letter: rules, tables and matrices are of that kind).
- repetition: `SHARE` of the last `WINDOW` 4-grams have been read out at least `COPIES` times, though not in a strict cycle.
- surprise: the mean of -ln p over the last `WINDOW` readouts exceeds `SURPRISE` nats: the model finds what it reads out unlikely.

Text that a model repeats once or twice, as an answer repeats a draft, is no sign. Counting is none, as its numbers differ.
Knows ids, probabilities and the texts of tokens. Does not know what is done about it: state.py acts on `on_loop`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

GRAM = 4  # tokens of an n-gram
COPIES = 4  # of a piece of text, or of an n-gram
LEAST = 24  # tokens of a loop
SYMBOLS = 3  # how many times as long a loop without letters must be
LONGEST = 256  # tokens of the piece that a loop repeats
WINDOW = 48  # readouts over which shares and means are taken
SHARE = 0.9
SURPRISE = 5.0  # nats: a perplexity of 148; sampling at temperature 1 has about 3 on small models
KEPT = 8192  # n-grams, after which old ones are forgotten


class Sign(StrEnum):
    """What is wrong."""

    LOOP = "loop"
    REPETITION = "repetition"
    SURPRISE = "surprise"


@dataclass(frozen=True)
class Degeneration:
    """What was found.

    Attributes:
        sign: what is wrong.
        step: index of the step at which it was found.
        start: index of the step where it began.
        text: the piece that is repeated, "" for surprise.
        value: how many copies, which share of the n-grams, or the mean surprise in nats.
    """

    sign: Sign
    step: int
    start: int
    text: str
    value: float

    @property
    def message(self) -> str:
        """In words, without what to do about it."""
        if self.sign == Sign.LOOP:
            return f"the text loops from step {self.start}: {self.text!r} {self.value:.0f} times and on"
        if self.sign == Sign.REPETITION:
            return f"the text repeats itself from step {self.start}: {100 * self.value:.0f} % of its {GRAM}-grams are old ones"
        return (
            f"the model finds its own text unlikely from step {self.start}: mean surprise {self.value:.1f} nats over "
            f"{WINDOW} tokens"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        fields = {
            "sign": str(self.sign),
            "step": self.step,
            "start": self.start,
            "text": self.text,
            "value": self.value,
        }
        return {**fields, "message": self.message}


class Monitor:
    """Takes the readouts of one sequence in order, and says once what is wrong with them."""

    def __init__(self) -> None:
        self._texts: deque[bytes] = deque(maxlen=LONGEST)
        self._seen: dict[tuple[int, ...], tuple[int, int]] = {}  # n-gram -> where it was last, how often it was there
        self._old: deque[bool] = deque(maxlen=WINDOW)  # were the last n-grams there COPIES times?
        self._surprise: deque[float] = deque(maxlen=WINDOW)
        self._gram: tuple[int, ...] = ()
        self._n = self._n_old = self._lag = self._run = 0
        self._sum = 0.0

    def fork(self) -> Monitor:
        """A second one that goes on from here."""
        other = Monitor()
        for name, value in vars(self).items():
            setattr(other, name, value.copy() if isinstance(value, deque | dict) else value)
        return other

    def push(self, token: int, logp: float, piece: bytes) -> Degeneration | None:
        """Take the next readout.

        Args:
            token: its id.
            logp: ln p of it under the distribution of the step.
            piece: its text.
        """
        at = self._n
        self._n += 1
        self._texts.append(piece)
        surprise = min(-logp, 50.0)  # a forbidden token has an infinite one
        if len(self._surprise) == WINDOW:
            self._sum -= self._surprise[0]
        self._surprise.append(surprise)
        self._sum += surprise
        self._gram = gram = (*self._gram[-GRAM + 1 :], token)
        if self._n < GRAM:
            return None
        last, count = self._seen.get(gram, (-1, 0))
        self._seen[gram] = (at, count + 1)
        lag = at - last if count else 0
        self._run = self._run + 1 if lag and lag == self._lag else int(lag > 0)
        self._lag = lag
        if len(self._old) == WINDOW:
            self._n_old -= self._old[0]
        old = count + 1 >= COPIES
        self._old.append(old)
        self._n_old += old
        if len(self._seen) > KEPT:
            self._seen = {g: x for g, x in self._seen.items() if at - x[0] < KEPT // 2}
        if lag and lag <= LONGEST:
            length = self._run + GRAM - 1 + lag  # the last tokens that are copies of one piece
            if length >= COPIES * lag and length >= LEAST and (found := self._loop(at, lag, length)) is not None:
                return found
        if self._n_old >= SHARE * WINDOW and self._has_letters(WINDOW):
            return Degeneration(Sign.REPETITION, at, at + 1 - WINDOW, self._text(WINDOW), self._n_old / WINDOW)
        if len(self._surprise) == WINDOW and self._sum > SURPRISE * WINDOW:
            return Degeneration(Sign.SURPRISE, at, at + 1 - WINDOW, "", self._sum / WINDOW)
        return None

    def _loop(self, at: int, lag: int, length: int) -> Degeneration | None:
        if length < SYMBOLS * LEAST and not self._has_letters(lag):
            return None
        return Degeneration(Sign.LOOP, at, at + 1 - length, self._text(lag), length // lag)

    def _text(self, n: int) -> str:
        text = b"".join(list(self._texts)[-n:]).decode("utf-8", "replace")
        return text if len(text) <= 60 else text[:59] + "…"

    def _has_letters(self, n: int) -> bool:
        return any(c.isalpha() for c in b"".join(list(self._texts)[-n:]).decode("utf-8", "ignore"))
