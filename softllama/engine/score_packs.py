"""Requests for scores in packs: sorted, with what they begin with alike evaluated once, in batches that are as full as can be.

The requests are sorted, so that those with the same beginning stand together. A pack of them is a tree: its edges are pieces
that requests have in common, each with a sequence of the context. Edges whose beginning is there wait in a queue, and every
batch takes as many positions from it as go. Where an edge ends, its sequence is copied for what follows.

Knows ids, mixtures and contexts. Does not know how long a context is made, or what scores are for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from softllama.engine.engine import Engine, Item
from softllama.errors import NotFiniteError
from softllama.llama.context import Context
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

SEQUENCES = 32  # of a pack: recurrent models set memory aside for each


class Scored(NamedTuple):
    """An item of a continuation.

    id: the token; of a mixture its heaviest. logp: ln p of it, at temperature 1 and before any filter; of a mixture
    Σ wᵢ ln pᵢ, minus its cross-entropy. greedy: is it the most probable one? top: the likeliest (id, ln p) there, the most
    probable first.
    """

    id: int
    logp: float
    greedy: bool
    top: tuple[tuple[int, float], ...] = ()


# ---- requests and packs


@dataclass
class Request:
    """A pair: what is fed, its codes (equal where the items are), from which position on logits count, and what is scored."""

    index: int
    items: Sequence[Item]
    codes: NDArray[np.int64]  # (len(items),)
    first: int
    targets: Sequence[int | Mixture]
    scored: list[Scored | None]


@dataclass(frozen=True)
class Pack:
    """The requests lo to hi, which are evaluated together. n_cells: positions that they take."""

    lo: int
    hi: int
    n_cells: int


def alike(a: Request, b: Request) -> int:
    """With how many equal items two requests begin."""
    n = min(len(a.codes), len(b.codes))
    differ = np.flatnonzero(a.codes[:n] != b.codes[:n])
    return int(differ[0]) if len(differ) else n


def packs(requests: Sequence[Request], n_cells: int, context: Context | None) -> Iterator[Pack]:
    """The sorted requests, as many together as have room."""
    n_cells, n_seq = (n_cells, SEQUENCES) if context is None else (context.n_ctx, context.n_seq)
    lo, used = 0, len(requests[0].items)
    for i in range(1, len(requests)):
        more = len(requests[i].items) - alike(requests[i - 1], requests[i])
        if i - lo == n_seq or used + more > n_cells:
            yield Pack(lo, i, used)
            lo, used = i, len(requests[i].items)
        else:
            used += more
    yield Pack(lo, len(requests), used)


# ---- evaluation


@dataclass
class _Edge:
    """The positions start to end that the requests lo to hi have in common, in a sequence; `at`: up to where they are fed."""

    lo: int
    hi: int
    at: int
    end: int
    seq: int


class Scorer:
    """Runs packs of sorted requests in one context. A pack goes on from what it has in common with the one before."""

    def __init__(self, model: Engine, context: Context, requests: Sequence[Request], n_top: int) -> None:
        self._model, self._context, self._requests, self._n_top = model, context, requests, n_top
        self._free: list[int] = []
        self._kept = -1  # the request whose items are in sequence 0

    def run(self, pack: Pack) -> None:
        """Score the requests of a pack."""
        context = self._context
        self._free = list(range(context.n_seq - 1, 0, -1))
        first = self._edge(pack.lo, pack.hi, 0, 0)
        first.at = self._keep(pack, first)
        queue = deque([first] if first.at < first.end else self._after(first))
        while queue:
            parts = self._take(queue)
            self._evaluate(parts)
            for edge, _, end in parts:
                if end == edge.end:
                    queue.extend(self._after(edge))
        self._kept = pack.hi - 1

    def _edge(self, lo: int, hi: int, start: int, seq: int) -> _Edge:
        return _Edge(lo, hi, start, alike(self._requests[lo], self._requests[hi - 1]), seq)

    def _keep(self, pack: Pack, edge: _Edge) -> int:
        """How many positions in sequence 0 are those that the pack begins with; the others are forgotten."""
        n = 0
        if self._kept >= 0:
            n = min(alike(self._requests[self._kept], self._requests[pack.lo]), edge.end)
            n = min(n, *(r.first for r in self._requests[pack.lo : pack.hi]))  # whose logits are wanted
        if n and self._context.cut(0, n):
            return n
        self._context.cut(0, 0)
        return 0

    def _take(self, queue: deque[_Edge]) -> list[tuple[_Edge, int, int]]:
        """Pieces (edge, start, end) from the front of the queue that make a batch."""
        room, outputs = self._context.n_batch, self._context.n_outputs
        parts = []
        while queue and room and outputs:
            e = queue[0]
            silent = max(0, self._first(e) - e.at)  # positions before the first whose logits are wanted
            n = min(e.end - e.at, room, silent + outputs)
            parts.append((e, e.at, e.at + n))
            e.at += n
            room, outputs = room - n, outputs - max(0, n - silent)
            if e.at == e.end:
                queue.popleft()
        return parts

    def _first(self, edge: _Edge) -> int:
        return min(r.first for r in self._requests[edge.lo : edge.hi])

    def _evaluate(self, parts: Sequence[tuple[_Edge, int, int]]) -> None:
        """Feed a batch, and score what is wanted after each of its positions."""
        seqs: list[int] = []
        positions: list[int] = []
        items: list[Item] = []
        wanted: list[tuple[_Edge, int]] = []
        want: list[bool] = []
        for e, start, end in parts:
            seqs += [e.seq] * (end - start)
            positions += range(start, end)
            items += self._requests[e.lo].items[start:end]
            first = self._first(e)
            want += [p >= first for p in range(start, end)]
            wanted += [(e, p) for p in range(max(start, first), end)]
        if all(type(i) is int for i in items):
            logits = self._context.decode(seqs, positions, want, tokens=items)  # type: ignore[arg-type]
        else:
            logits = self._context.decode(seqs, positions, want, rows=self._model.rows(items))
        try:
            after = self._model.distributions(logits)
        except NotFiniteError as error:
            e, p = wanted[error.index or 0]
            raise NotFiniteError(
                f"after position {p} of pair {self._requests[e.lo].index + 1}: {error.message}"
            ) from None
        for (e, p), d in zip(wanted, after, strict=True):
            for r in self._requests[e.lo : e.hi]:
                if p >= r.first:
                    r.scored[p - r.first] = scored(d, r.targets[p - r.first], self._n_top)

    def _after(self, edge: _Edge) -> list[_Edge]:
        """The edges that follow one whose positions are in the memory, each with a sequence. One goes on in its own."""
        longer = [i for i in range(edge.lo, edge.hi) if len(self._requests[i].items) > edge.end]
        groups: list[list[int]] = []
        for i in longer:
            code = self._requests[i].codes[edge.end]
            if groups and self._requests[groups[-1][0]].codes[edge.end] == code:
                groups[-1].append(i)
            else:
                groups.append([i])
        if not groups:
            if edge.seq:
                self._context.cut(edge.seq, 0)
                self._free.append(edge.seq)
            return []
        # the last request of a pack ends in sequence 0, for the next pack
        seqs = [self._free.pop() for _ in groups[:-1]]
        for seq in seqs:
            self._context.copy(edge.seq, seq)
        return [self._edge(g[0], g[-1] + 1, edge.end, seq) for g, seq in zip(groups, [*seqs, edge.seq], strict=True)]


def scored(d: Distribution, target: int | Mixture, n_top: int = 0) -> Scored:
    """What a distribution says of an id or a mixture."""
    top = tuple((t.id, d.logp(t.id)) for t in d.top(n_top)) if n_top else ()
    if not isinstance(target, Mixture):
        return Scored(int(target), d.logp(target), d.argmax == target, top)
    heaviest = int(target.ids[target.weights.argmax()])
    logp = sum(w * d.logp(i) for i, w in zip(target.ids.tolist(), target.weights.tolist(), strict=True) if w)
    return Scored(heaviest, float(logp), d.argmax == heaviest, top)
