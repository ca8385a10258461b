"""llama.cpp by itself: the loops that softllama is measured against. Tokens through the C API, and nothing else.

Knows llama.cpp's batches of tokens. Knows no mixtures and no policies, and loads nothing: it takes a context that exists.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama.base import signals
from softllama.errors import ContextError
from softllama.llama.bindings import api
from softllama.llama.context import Context

Clock = Callable[[], float]


class Loop:
    """Greedy decoding of n_seq sequences side by side in a context of its own, by token ids.

    held: positions that each sequence holds already; the prompt goes on from there.
    """

    def __init__(self, context: Context, prompt: Sequence[int], held: int = 0) -> None:
        self.context, self.n = context, context.n_seq
        at_once = max(1, min(len(prompt), context.n_batch))
        self.batch = api.llama_batch_init(max(at_once, self.n), 0, 1)
        self.position = held + len(prompt)
        self.n_vocab = context.weights.n_vocab
        for seq in range(self.n):
            for start in range(0, len(prompt), at_once):
                part = enumerate(prompt[start : start + at_once], held + start)
                self._decode([(t, i, seq, i == self.position - 1) for i, t in part])
            first = self._argmax((len(prompt) - 1) % at_once)
        self.tokens = [first] * self.n

    def run(self, steps: int, clock: Clock = time.perf_counter) -> float:
        """Run so many steps. Returns the seconds that they took."""
        start, pointer = clock(), self.context.pointer
        for _ in range(steps):
            b = self.batch
            b.n_tokens = self.n
            for i, token in enumerate(self.tokens):
                b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, self.position, 1, 1
                b.seq_id[i][0] = i
            self._evaluate(pointer)
            self.position += 1
            self.tokens = [self._argmax(i) for i in range(self.n)]
        return clock() - start

    def _decode(self, items: Sequence[tuple[int, int, int, bool]]) -> None:
        b = self.batch
        b.n_tokens = len(items)
        for i, (token, position, seq, want) in enumerate(items):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, position, 1, want
            b.seq_id[i][0] = seq
        self._evaluate(self.context.pointer)

    def _evaluate(self, pointer: Any) -> None:
        signals.clear_flag()
        with signals.call:
            failed = api.llama_decode(pointer, self.batch)
        if failed:
            raise ContextError(f"llama.cpp could not evaluate a batch of {self.batch.n_tokens} (code {failed})")

    def _argmax(self, i: int) -> int:
        address = ctypes.addressof(api.llama_get_logits_ith(self.context.pointer, i).contents)
        floats: Any = (ctypes.c_float * self.n_vocab).from_address(address)
        logits: NDArray[Any] = np.frombuffer(floats, dtype=np.float32)
        return int(logits.argmax())

    def close(self) -> None:
        """Free the memory."""
        api.llama_batch_free(self.batch)
        self.context.close()


@contextmanager
def timed(clock: Clock = time.perf_counter) -> Iterator[list[float]]:
    """The seconds of each call of llama_decode, whoever makes it, while this lasts."""
    inner, seconds = api.llama_decode, list[float]()

    def decode(*args: Any) -> Any:
        start = clock()
        code = inner(*args)
        seconds.append(clock() - start)
        return code

    api.llama_decode = decode
    try:
        yield seconds
    finally:
        api.llama_decode = inner


def batches(context: Context, prefix: int, groups: Sequence[int], tail: int, clock: Clock = time.perf_counter) -> float:
    """Seconds that llama.cpp takes for a prefix of tokens, then for batches of groups[i] tails of `tail` tokens each.

    The shape of a sweep's work: each tail in a sequence of its own that shares the prefix; logits after its last token.
    """
    loop = Loop(context, [1])
    context.cut(0, 0)
    start = clock()
    if prefix:
        loop._decode([(1, i, 0, False) for i in range(prefix)])
    api.llama_batch_free(loop.batch)
    loop.batch = api.llama_batch_init(max(groups) * tail, 0, 1)
    for n in groups:
        for seq in range(1, n):
            context.copy(0, seq)
        loop._decode([(2 + seq, prefix + i, seq, i == tail - 1) for seq in range(n) for i in range(tail)])
        loop._argmax(n * tail - 1)
        context.cut(0, prefix)
    seconds = clock() - start
    loop.close()
    return seconds


def high_level(path: str, prompt: Sequence[int], steps: int, n_ctx: int, n_threads: int) -> Callable[[Clock], float]:
    """llama-cpp-python's Llama, greedy; the call gives the seconds for `steps` tokens."""
    import llama_cpp

    from softllama.llama import devices

    defaults = api.llama_model_default_params

    def same_as_ours() -> Any:
        params = defaults()
        if devices.amx() and hasattr(params, "use_extra_bufts"):
            params.use_extra_bufts = False
        return params

    api.llama_model_default_params = same_as_ours  # Llama itself has no option for it
    try:
        with (
            signals.deferred()
        ):  # it calls Python, where an interrupt would be lost, and what is printed is thrown away
            model = llama_cpp.Llama(path, n_ctx=n_ctx, n_threads=n_threads, n_threads_batch=n_threads, verbose=False)
    finally:
        api.llama_model_default_params = defaults

    def run(clock: Clock) -> float:
        tokens = model.generate(list(prompt), top_k=1, temp=0.0, reset=True)
        next(tokens)  # the prompt
        start = clock()
        for _ in range(steps):
            next(tokens)
        return clock() - start

    return run
