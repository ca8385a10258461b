"""The minimum non-negative sum task: problems, their chains of thought, the vocabulary and the splits.

A problem is m numbers in an order; the answer is the smallest sum >= 0 that some choice of m signs gives
(arXiv 2505.23648, section 3). " 3 5 2 7 1 =" has the answer 0, by 3 + 5 - 2 - 7 + 1.

The text, with m = 5:

    <|endoftext|> 3 5 2 7 1 =<think> s1 s2 s3 s4 s5</think> answer<|im_end|>

There are exactly m thinking steps, and s_t is about the partial sum of the first t numbers:
- discrete: the partial sums of one optimal choice of signs, drawn evenly where several are optimal; s_m is the answer;
- soft: the uniform distribution over all the *distinct* partial sums that t signs can reach. It holds no hint about the
  answer that the problem itself does not hold: the answer is the smallest non-negative member of the last set.

Splits go by multiset, so no order of a held-out problem is ever trained on: of the multisets with each answer, in a
fixed random order, 20 % go to the test set, 10 % to the development set (choice of settings and seeds), 70 % to
training.

Two shortcuts are closed. The parity of the plain sum is the parity of every signed sum, so "0 if even, 1 if odd"
solves 79 % of all the problems of 5 numbers from 1..9; thinning those alone leaves "2 if even, 1 if odd" with 68 %.
So the answers themselves are thinned, in all three splits alike: an answer that more than 3 % of the problems have is
kept with the probability that brings it down to that. `baselines` measures what these rules still solve, on any set.

Knows numbers, tokens and random number generators. Does not know about networks, files or llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "dev", "test"]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST = 0.03  # an answer's share of all problems is thinned to this, before renormalisation
SPLIT_SEED = 20_250_523  # the splits and the held-out samples hang on this one number
TEST_SHARE, DEV_SHARE = 0.20, 0.10


@dataclass(frozen=True)
class Setting:
    """One size of the task: m numbers from low..high, each drawn evenly and independently before thinning."""

    name: str
    m: int
    low: int
    high: int

    @property
    def largest(self) -> int:
        return self.m * self.high

    @property
    def n_sums(self) -> int:
        """Partial sums lie in -largest..largest."""
        return 2 * self.largest + 1

    @cached_property
    def problems(self) -> Ints:
        """Every problem, in lexicographic order. (P, m) int64, P = (high - low + 1) ** m."""
        return np.array(list(product(range(self.low, self.high + 1), repeat=self.m)), dtype=np.int64)

    @cached_property
    def signs(self) -> Ints:
        """Every choice of signs. (2^m, m) int64 of +1 and -1."""
        return np.array(list(product((1, -1), repeat=self.m)), dtype=np.int64)

    @cached_property
    def answers(self) -> Ints:
        """The answer of every problem. (P,) int64."""
        return solve(self, self.problems)

    @cached_property
    def split_of(self) -> Ints:
        """0 train, 1 dev, 2 test for every problem; the same for all orders of a multiset. (P,) int64."""
        base = self.high - self.low + 1
        multisets = np.array(list(combinations_with_replacement(range(base), self.m)), dtype=np.int64)  # (M, m)
        place = base ** np.arange(self.m - 1, -1, -1)  # (m,) index of a problem from its digits
        rng = np.random.default_rng(SPLIT_SEED)
        answers = solve(self, multisets + self.low)  # (M,)
        label = np.zeros(len(multisets), dtype=np.int64)
        for answer in np.unique(answers):
            order = rng.permutation(np.flatnonzero(answers == answer))
            n_test, n_dev = round(TEST_SHARE * len(order)), round(DEV_SHARE * len(order))
            label[order[:n_test]] = 2
            label[order[n_test : n_test + n_dev]] = 1
        by_sorted = np.full(base**self.m, -1, dtype=np.int64)
        by_sorted[multisets @ place] = label
        return np.asarray(by_sorted[np.sort(self.problems - self.low, axis=1) @ place])

    def weights(self, split: Split) -> NDArray[np.float64]:
        """Probability of each problem when one is drawn from the split, after thinning. (P,), sums to 1."""
        inside = self.split_of == ("train", "dev", "test").index(split)
        share = np.bincount(self.answers) / len(self.answers)  # (largest answer + 1,)
        keep = np.minimum(1.0, MOST / np.maximum(share, 1e-12))  # the same
        w = np.where(inside, keep[self.answers], 0.0)  # (P,)
        return np.asarray(w / w.sum())

    def held_out(self, split: Literal["dev", "test"], n: int) -> Ints:
        """n different problems of a held-out split, the same ones at every call. (n, m) int64."""
        rng = np.random.default_rng([SPLIT_SEED, self.m, self.low, self.high, ("dev", "test").index(split)])
        return self.problems[rng.choice(len(self.problems), size=n, replace=False, p=self.weights(split))]


SETTINGS = {s.name: s for s in (Setting("1-9", 5, 1, 9), Setting("10-20", 5, 10, 20))}
MAIN, LOSING = SETTINGS["1-9"], SETTINGS["10-20"]  # the one that ships; one in which soft thinking learns slower


def solve(setting: Setting, problems: Ints) -> Ints:
    """Smallest non-negative signed sums (n,) of problems (n, m)."""
    sums = problems @ setting.signs.T  # (n, 2^m)
    return np.asarray(np.where(sums >= 0, sums, setting.largest + 1).min(1))


def chains(setting: Setting, problems: Ints, rng: np.random.Generator) -> Ints:
    """Partial sums of an optimal choice of signs, drawn evenly among the optimal ones. (n, m) -> (n, m) int64."""
    sums = problems @ setting.signs.T  # (n, 2^m)
    best = np.where(sums >= 0, sums, setting.largest + 1).min(1, keepdims=True)
    pick = np.where(sums == best, rng.random(sums.shape), -1.0).argmax(1)  # (n,)
    return np.cumsum(problems * setting.signs[pick], axis=1)


def reachable(setting: Setting, problems: Ints) -> Bools:
    """Which sums t signs can reach, t = 1..m. (n, m) -> (n, m, n_sums) bool, at s + largest for the sum s."""
    n = len(problems)
    out = np.zeros((n, setting.m, setting.n_sums), dtype=np.bool_)
    rows = np.arange(n)[:, None]  # (n, 1)
    for t in range(setting.m):
        signs = np.array(list(product((1, -1), repeat=t + 1)), dtype=np.int64)  # (2^(t+1), t+1)
        out[rows, t, problems[:, : t + 1] @ signs.T + setting.largest] = True
    return out


def baselines(problems: Ints, answers: Ints) -> dict[str, float]:
    """Accuracy of the rules that do not solve the problem, measured on the set itself (so a little flattered)."""
    parity = problems.sum(1) % 2  # (n,)
    per_parity = sum(np.bincount(answers[parity == p]).max(initial=0) for p in (0, 1))
    return {
        "parity (0 if even, 1 if odd)": float((answers == parity).mean()),
        "most frequent answer": float(np.bincount(answers).max() / len(answers)),
        "most frequent answer for the parity": float(per_parity / len(answers)),
    }


# ---------------------------------------------------------------------------------------------------- vocabulary

BOS, END, THINK, END_THINK, PAUSE, EQUALS = "<|endoftext|>", "<|im_end|>", "<think>", "</think>", "<pause>", " ="
SPECIAL = (BOS, END, THINK, END_THINK, PAUSE, EQUALS)  # ids 0..5

# Only the last question counts: a conversation is a row of problems. Commas, tabs and a closing "=" are forgiven.
CHAT_TEMPLATE = (
    "{%- set ask = namespace(text='') -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{%- set ask.text = message['content'] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- for word in ask.text.replace('=', ' ').replace(',', ' ').split() -%}{{ ' ' + word }}{%- endfor -%}"
    "{{ ' =' }}"
    "{%- if add_generation_prompt -%}{{ '<think>' }}{%- endif -%}"
)


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins of the bytes 0..255, in which byte-level vocabularies are written. 256 strings."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


@dataclass(frozen=True)
class Tokens:
    """The ids of a setting's vocabulary: 6 special tokens, one for each partial sum, 256 bytes.

    A number is the token " 3", space included, whether it is a given number or a partial sum. The bytes are there so
    that any text can be tokenized; of them only the digits are ever trained on, as the first number of a text that
    does not begin with a space.
    """

    setting: Setting

    @property
    def n_vocab(self) -> int:
        return self.first_byte + 256

    @property
    def first_byte(self) -> int:
        return len(SPECIAL) + self.setting.n_sums

    @property
    def sums(self) -> slice:
        """The ids of the partial sums -largest..largest."""
        return slice(len(SPECIAL), self.first_byte)

    def number(self, value: Ints) -> Ints:
        """Ids of numbers or partial sums, any shape."""
        return value + (len(SPECIAL) + self.setting.largest)

    def value(self, token: int) -> int | None:
        """The number that a token stands for, or None."""
        inside = self.sums.start <= token < self.sums.stop
        return token - len(SPECIAL) - self.setting.largest if inside else None

    def texts(self) -> list[str]:
        sums = range(-self.setting.largest, self.setting.largest + 1)
        return [*SPECIAL, *(f" {s}" for s in sums), *byte_symbols()]

    def prompts(self, problems: Ints, *, bare_first: Bools | None = None) -> Ints:
        """`<|endoftext|> v1 ... vm =<think>` as ids. (n, m) -> (n, m + 3); `bare_first` (n,) marks "3" for " 3"."""
        n, m = problems.shape
        out = np.empty((n, m + 3), dtype=np.int64)
        out[:, 0] = SPECIAL.index(BOS)
        out[:, 1 : m + 1] = self.number(problems)
        out[:, m + 1 :] = SPECIAL.index(EQUALS), SPECIAL.index(THINK)
        if bare_first is not None and self.setting.high <= 9:
            digit = problems[:, 0] + self.first_byte + ord("0")  # (n,)
            out[:, 1] = np.where(bare_first, digit, out[:, 1])
        return out


def prompt_text(problem: Ints) -> str:
    """The prompt as text, without the begin-of-text token: " 3 5 2 7 1 =<think>"."""
    return "".join(f" {v}" for v in problem) + EQUALS + THINK
