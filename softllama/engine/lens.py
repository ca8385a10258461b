"""What every layer would say: hidden states of all layers, read through the model's own norm and head.

The logit lens (nostalgebraist 2020) for any architecture without knowing it. The states of the layers are kept while a sequence
is evaluated; then as many dummy tokens as there are states are decoded in a second sequence, and the last layer's output is
overwritten with the states, so that the model itself applies its final norm, head, scales and softcap. The last layer's readout
is then the model's own output.

Knows layers and contexts. A model whose layers llama.cpp does not name is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from softllama.base import arguments
from softllama.engine.engine import Engine, Item
from softllama.engine.items import one_each
from softllama.engine.layers import F32, Edit, LayerWatch
from softllama.errors import ContextError, UsageError
from softllama.vectors.interventions import Patch

MOST = 64  # positions whose logits one batch gives, and states that one batch reads
ENDINGS = 8  # sequences after one beginning, in `states_after`
WITHOUT = "leave out --layers"


class Lens:
    """A context that keeps the states of layers. A context manager.

    Args:
        n_ctx: positions of a sequence.

    Raises:
        ContextError: llama.cpp does not name the model's layers, or there is no memory for the context.
    """

    def __init__(self, model: Engine, n_ctx: int) -> None:
        self._model = model
        self._watch = LayerWatch(model.n_embd)
        self._last = -1
        self._verified = False
        simple = not (model.recurrent or model._weights.alone or model.calibration.nodes)
        self._endings = ENDINGS if simple else 0  # else llama.cpp may split a batch, or put its rows in another order
        n_seq = 2 + self._endings
        self._context = model.new_context(n_ctx + MOST, n_seq, n_outputs=MOST, n_batch=512, watch=self._watch)

    @property
    def n_layer(self) -> int:
        """How many layers the model has, as llama.cpp names them."""
        if self._last < 0:
            self._find_layers()
        return self._last + 1

    def _find_layers(self) -> None:
        """Ask for the names alone, with one dummy token."""
        self._watch.keep = ()
        self._context.decode([1], [0], [True], rows=self._model.rows([0]))
        self._context.cut(1, 0)
        named, arch = self._watch.named, self._model.arch
        if not named:
            raise ContextError(f"llama.cpp does not name the layers of {arch}", WITHOUT)
        if sorted(named) != list(range(max(named) + 1)):
            raise ContextError(f"llama.cpp names only some layers of {arch}", WITHOUT)
        self._last = max(named)

    def layers(self, chosen: Sequence[int] | None) -> list[int]:
        """The numbers of layers, those from the end (-1) as they count from the start; None for all.

        Raises:
            UsageError: there is no such layer.
        """
        n = self.n_layer
        return list(range(n)) if chosen is None else [_index("layer", i, n) for i in chosen]

    def states(
        self,
        items: Sequence[Item],
        at: Sequence[int] = (-1,),
        *,
        layers: Sequence[int] | None = None,
        patches: Sequence[Patch] = (),
    ) -> tuple[F32, F32]:
        """Evaluate a sequence.

        Args:
            items: ids, mixtures and vectors.
            at: the positions that are looked at; -1 is the last.
            layers: those whose states are kept; None for all.
            patches: states that take the place of others.

        Returns:
            The layers' states at the positions (layers, len(at), n_embd), and the model's own logits there (len(at), n_vocab).

        Raises:
            ContextError: there is no room, or the layers cannot be read.
            UsageError: there is no such layer or position.
        """
        items = one_each(items)
        n, chosen = len(items), self.layers(layers)
        places = [_index("position", i, n) for i in at]
        order = sorted(set(places))
        watch = self._watch
        own = self._edits(patches, n)
        before = watch.edits
        watch.clear()
        watch.edits = {i: [*before.get(i, ()), *own.get(i, ())] for i in {*before, *own}}
        watch.keep = {*chosen, self._last}
        try:
            found, logits = self._along(items, order, chosen)
        finally:
            watch.edits, watch.keep = before, ()
        index = [order.index(p) for p in places]
        return found[:, index], logits[index]

    def _along(self, items: Sequence[Item], order: Sequence[int], chosen: Sequence[int]) -> tuple[F32, F32]:
        """States (len(chosen), len(order), n_embd) and logits (len(order), n_vocab), in batches that the context takes."""
        out = np.empty((len(chosen), len(order), self._model.n_embd), dtype=np.float32)
        own = np.empty((len(order), self._model.n_vocab), dtype=np.float32)
        self._context.cut(0, 0)
        done = 0
        for start, stop in _parts(len(items), order, self._context.n_batch):
            here = [p for p in order if start <= p < stop]
            every = range(start, stop)
            logits = self._evaluate([0] * len(every), every, here, items[start:stop])
            k = slice(done, done + len(here))
            own[k] = logits
            for j, layer in enumerate(chosen):
                out[j, k] = self._at(layer, every, here)
            if here and not self._verified:
                self._verify(self._at(self._last, every, here), logits)
            done += len(here)
        return out, own

    def _evaluate(
        self, seqs: Sequence[int], positions: Sequence[int], wanted: Sequence[int], items: Sequence[Item]
    ) -> F32:
        """Evaluate a batch; the states are in `seen` then. Logits (k, n_vocab) at the wanted ones of its positions."""
        self._watch.at = (positions, wanted)
        want = np.isin(positions, wanted)
        logits = self._context.decode(seqs, positions, want, rows=self._model.rows(items))
        self._check()
        return logits

    def states_after(self, prefix: Sequence[Item], endings: Sequence[Item]) -> F32:
        """The layers' states at each of some items that follow the same prefix: (n_layer, len(endings), n_embd).

        The same as `states` of each, up to rounding. The prefix is evaluated once, and the items side by side.
        """
        if not 0 < len(endings) <= self._endings or not prefix:
            return np.concatenate([self.states([*prefix, e])[0] for e in endings], axis=1)
        if not self._verified:
            self.states([*prefix, endings[0]])
        n, seqs = len(prefix), [2 + i for i in range(len(endings))]
        self._watch.clear()
        self._context.cut(0, 0)
        self._evaluate([0] * n, range(n), [n - 1], prefix)
        for seq in seqs:
            self._context.cut(seq, 0)
            self._context.copy(0, seq)
        self._watch.keep = range(self.n_layer)
        try:
            self._evaluate(seqs, [n] * len(seqs), [n], endings)
        finally:
            self._watch.keep = ()
            for seq in seqs:
                self._context.cut(seq, 0)
        return np.stack([self._watch.seen[layer] for layer in range(self.n_layer)])

    def _at(self, layer: int, every: Sequence[int], here: Sequence[int]) -> F32:
        """The states of a layer at the positions `here` of a batch."""
        rows = self._watch.seen[layer]
        # of the last layer, llama.cpp computes only the rows whose logits are wanted
        return rows[[p - every[0] for p in here]] if len(rows) == len(every) else rows[: len(here)]

    def _edits(self, patches: Sequence[Patch], n: int) -> dict[int, list[Edit]]:
        edits: dict[int, list[Edit]] = {}
        for p in patches:
            p = arguments.instance("a patch", p, Patch, "sl.Patch(layer=8, position=3, state=states[8, 3])")
            if p.state.shape != (self._model.n_embd,):
                raise UsageError(f"a state of the shape {p.state.shape} does not fit", f"({self._model.n_embd},)")
            layer, position = _index("layer", p.layer, self.n_layer), _index("position", p.position, n)
            edits.setdefault(layer, []).append(_put(position, p.state))
        return edits

    def _verify(self, last: F32, own: F32) -> None:
        """Does the last layer's readout give the model's own logits? Not where its head looks at several layers."""
        kept, self._watch.keep = self._watch.keep, ()
        read = self.read(last)
        self._watch.keep = kept
        # some architectures rule tokens out by -inf or -FLT_MAX, and chameleon in a batch's first row only
        finite = (np.abs(own) < 1e30) & (np.abs(read) < 1e30)
        if not finite.any():  # nothing to compare: the states themselves say why
            return
        if not np.abs(read - own)[finite].max() <= 1e-2 * np.abs(own[finite]).max():
            raise ContextError(
                f"the layers of {self._model.arch} cannot be read: the last one is not all that its output is made of",
                WITHOUT,
            )
        self._verified = True

    def read(self, states: NDArray[np.float32]) -> F32:
        """Logits (k, n_vocab) of states (k, n_embd), by the model's own norm and head."""
        out, last = [], self.n_layer - 1
        for start in range(0, len(states), MOST):
            part = np.ascontiguousarray(states[start : start + MOST], dtype=np.float32)
            k = len(part)
            self._watch.error = ""
            self._watch.instead = (last, part)
            try:
                rows = self._model.rows([0] * k)
                out.append(self._context.decode([1] * k, range(k), [True] * k, rows=rows))
            finally:
                self._watch.instead = None
                self._context.cut(1, 0)
            self._check()
        return np.concatenate(out)

    def _check(self) -> None:
        if error := self._watch.error:
            raise ContextError(f"the layers of {self._model.arch} cannot be read: {error}", WITHOUT)

    def close(self) -> None:
        """Free the memory."""
        self._context.close()

    def __enter__(self) -> Lens:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _index(what: str, i: int, n: int) -> int:
    """A number from the start, of one that may count from the end. Raises UsageError where there is none."""
    if not -n <= arguments.integer(f"a {what}", i) < n:
        raise UsageError(f"there is no {what} {i}", f"there are {n}: 0 to {n - 1}, and -1 for the last")
    return int(i) % n


def _put(position: int, state: F32) -> Edit:
    def edit(rows: F32, positions: Sequence[int]) -> None:
        if position in positions:
            rows[list(positions).index(position)] = state

    return edit


def _parts(n: int, order: Sequence[int], n_batch: int) -> Iterator[tuple[int, int]]:
    """Batches (start, stop) of a sequence: at most n_batch positions, and at most MOST that are looked at."""
    start = 0
    while start < n:
        after = [p for p in order if p >= start]
        stop = min(n, start + n_batch, after[MOST] if len(after) > MOST else n)
        yield start, stop
        start = stop
