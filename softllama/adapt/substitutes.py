"""Words of a class in each other's place in ordinary texts: "the dog ran" with every other animal. Frames that nobody has to write.

Knows the classes of words and a tokenizer. Needs no network: how a text goes on, it says itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from softllama.adapt import frames
from softllama.adapt.pool import AFTER, Encode, Template, split, word_ids

BEFORE = 22  # tokens of the text before the word
LIKE = 16  # words of a class beside the one in the text, at most


def word_templates(
    encode: Encode, texts: Sequence[Sequence[int]], places: int, rng: np.random.Generator
) -> Iterator[Template]:
    """A template for each place at which a text has a word for training of a class.

    Args:
        places: in a text, at most.
    """
    classes = []
    for name in frames.WORDS:
        ids = word_ids(encode, name)
        words = split(list(ids), f"words of {name}", 0.25)[0]
        if len(words) > 1:
            classes.append({ids[w] for w in words})
    for text in texts:
        found = [(i, c) for i in range(3, len(text) - AFTER) for c in classes if text[i] in c]
        for k in rng.permutation(len(found))[:places]:
            i, like = found[k]
            others = rng.permutation(sorted(like - {text[i]}))[:LIKE]
            yield Template(
                prefix=tuple(text[max(0, i - BEFORE) : i]),
                alternatives=np.array([text[i], *others], np.int64)[:, None],
                sources=np.zeros(1, np.int64),
                after=np.array([text[i + 1 : i + 1 + 2 * AFTER]], np.int64),
                kind="word",
            )
