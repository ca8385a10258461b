"""How much of what a mixture gets wrong is lost by which layer? The state after a layer is replaced by the exact average.

    python scripts/bench/bench_states.py model.gguf

For pairs of words in the frames of `softllama adapt`, at weights .1 to .9: the state after one layer is set to the average of the
states that the two words give, each weighted by how likely it is by then, and the rest of the model goes on from there. Printed are
KL(exact average || output) in nats at the end of the frame, mean and median. It needs PyTorch: pip install 'softllama[adapt]'
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import softllama as sl
from softllama.adapt import frames, network, pool
from softllama.adapt.cases import Group
from softllama.adapt.training import Target, divergence, mixed_rows, targets

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
FRAMES = 2  # of each class


def groups(model: sl.Model, seed: int) -> Iterator[Group]:
    """Two words of a class in a frame."""
    rng = np.random.default_rng(seed)
    priors = np.array([[w, 1 - w] for w in WEIGHTS])

    def encode(s: str) -> list[int]:
        return model.tokenize(s) if s else []

    for name, texts in frames.FRAMES.items():
        ids = list(pool.word_ids(encode, name).values())
        for text in rng.choice(texts, FRAMES, replace=False):
            before, _, behind = str(text).partition("{}")
            prefix = (*model.tokenize("", bos=True), *encode(before.rstrip()))
            if len(ids) > 1 and prefix:
                worlds = np.array([[int(i), *encode(behind)] for i in rng.choice(ids, 2, replace=False)], np.int64)
                yield Group(prefix=prefix, worlds=worlds, priors=priors)


def said(net: network.Network, group: Group, target: Target, layer: int | None) -> torch.Tensor:
    """ln P at the end of the frame for each prior, with the state after a layer (counted from 0) put in its place, or none."""
    start = len(group.prefix)
    rows = []
    for c, prior in enumerate(group.priors):
        one = Group(prefix=group.prefix, worlds=group.worlds, priors=prior[None])

        def put(module: Any, args: Any, out: Any, c: int = c) -> Any:
            state = (out[0] if isinstance(out, tuple) else out).clone()
            state[0, start:] = target.states[layer, c]
            return (state, *out[1:]) if isinstance(out, tuple) else state

        layers = net.base.model.layers
        hook = None if layer is None else layers[layer].register_forward_hook(put)
        x = mixed_rows(net, [one], start + group.length)
        rows.append(net.base(inputs_embeds=x, use_cache=False).logits[0, -1].log_softmax(-1))
        if hook is not None:
            hook.remove()
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=3, help="Look at every so many layers.")
    a = parser.parse_args()
    with sl.load(a.model) as model:
        found = list(groups(model, a.seed))
    net = network.load(Path(a.model), network.Shape(rank=1), half=False)  # a new adapter changes nothing
    torch.set_num_threads(net.workers)
    net.model.eval()
    layers = [None, *range(a.every - 1, net.n_layer, a.every)]
    print(f"{len(found)} frames, weights {WEIGHTS}")
    kl: dict[int | None, list[float]] = {layer: [] for layer in layers}
    with torch.no_grad():
        for g in found:
            target = targets(net, [g], net.n_layer - 1)[0]
            for layer in layers:
                if layer is None or layer < net.n_layer - 1:
                    kl[layer] += divergence(target.p[:, -1], said(net, g, target, layer)).tolist()
    for layer, values in kl.items():
        if values:
            what = "as it is" if layer is None else f"after layer {layer + 1}"
            print(f"{what:16} mean {np.mean(values):.3f}  median {np.median(values):.3f}")


if __name__ == "__main__":
    main()
