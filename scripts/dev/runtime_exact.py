"""What llama.cpp's options do to the numbers: is a one-hot mixture its token, and how far is a text's logits from the default's?

    python scripts/dev/runtime_exact.py -m model.gguf [--positions 160] [--threads 1]

A line for each option: the largest difference of a logit between tokens and one-hot rows, over all positions, in batches of
16; the largest difference to the same tokens with llama.cpp's defaults, in standard deviations of the logits; and at how many
positions the likeliest token is another one.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

import numpy as np

import softllama as sl
from softllama.errors import SoftLlamaError
from softllama.llama.runtime import CACHE_TYPES
from softllama.vectors.mixture import Mixture

BATCH = 16
WAYS: list[dict[str, Any]] = [
    {},
    *({"cache_type_k": t, "cache_type_v": t} for t in CACHE_TYPES if t != "f16"),
    {"cache_type_k": "q8_0", "flash_attn": "off"},
    {"flash_attn": "on"},
    {"flash_attn": "off"},
    {"n_ubatch": 4},
    {"mmap": False},
    {"repack": False},
]


def logits(model: sl.Model, items: list[Any]) -> Any:
    """(n, n_vocab): those after each position."""
    out = []
    with closing(model.new_context(len(items) + BATCH, n_outputs=BATCH)) as context:
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            fed = {"tokens": part} if isinstance(part[0], int) else {"rows": model.rows(part)}
            positions = range(start, start + len(part))
            out.append(np.array(context.decode([0] * len(part), positions, [True] * len(part), **fed)))
    return np.concatenate(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model")
    parser.add_argument("--positions", type=int, default=160)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    default = None
    for how in WAYS:
        name = ", ".join(f"{k}={v}" for k, v in how.items()) or "default"
        try:
            with sl.load(a.model, n_threads=a.threads, **how) as model:
                words = model.tokenize(
                    "The old man went down to the sea and thought of all the fish he had not caught. "
                )
                ids = (words * (a.positions // len(words) + 1))[: a.positions]
                tokens, rows = logits(model, list(ids)), logits(model, [Mixture.one_hot(i) for i in ids])
        except SoftLlamaError as e:
            print(f"{name}: {e.message}")
            continue
        default = tokens if default is None else default
        off = float(np.abs(tokens - default).max() / default.std())
        other = int((tokens.argmax(1) != default.argmax(1)).sum())
        print(
            f"{name}: one-hot {np.abs(tokens - rows).max():.2g}; to the default {off:.2g} deviations, another likeliest token "
            f"at {other} of {len(ids)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
