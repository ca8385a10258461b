"""A model without words: weights, vocabulary, embedding table, calibration and contexts.

Knows token ids, mixtures and vectors. Does not know prompts, policies, sessions or generations: they lie above it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from softllama import hub
from softllama.base import arguments
from softllama.engine.calibration import calibrate
from softllama.engine.control import Controls
from softllama.engine.facts import Facts
from softllama.engine.first_load import FirstLoad, Trial
from softllama.engine.items import Item as Item
from softllama.engine.items import check_vector, put_vectors, stand_in, vectors_of
from softllama.engine.layers import LayerWatch
from softllama.engine.load_arguments import Lora, adapters_of, check_load
from softllama.engine.rows import Calibration, mixed_rows, per_layer_scale, widths
from softllama.engine.table import EmbeddingTable, LowRank
from softllama.errors import ModelError, UsageError
from softllama.llama.batch import Rows
from softllama.llama.context import Context
from softllama.llama.devices import default_threads
from softllama.llama.rpc import add_workers
from softllama.llama.runtime import Runtime, RuntimeKeywords
from softllama.llama.template import ChatTemplate
from softllama.llama.tokenizer import Tokenizer
from softllama.llama.weights import Weights
from softllama.vectors import passes
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NoiseFloor
from softllama.vectors.vector import Vector

N_CTX_DEFAULT = 4096  # positions a session has room for, unless the model's own context is smaller or n_ctx says more
SMALL = 16 << 20  # bytes of weights below which a second thread costs more than it brings


class Engine(Facts):
    """A loaded model; `load` makes one. A context manager; close() ends its sessions, too.

    Threads may use it at the same time; a process that was forked from one that had used a model may not.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        n_ctx: int | None = None,
        n_gpu_layers: int | None = None,
        n_threads: int | None = None,
        lora: Lora | None = None,
        any_base: bool = False,
        rpc: Sequence[str] = (),
        trial: bool | None = None,
        on_trial: Callable[[], None] | None = None,
        vocabulary: bool = True,
        **runtime: Unpack[RuntimeKeywords],
    ) -> None:
        check_load(n_ctx, n_gpu_layers, n_threads, rpc)
        how, given = Runtime(**runtime), {"n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "n_threads": n_threads}
        file, adapters = hub.resolve(path), adapters_of(lora)
        self.arguments: dict[str, Any] = given | {"lora": tuple(adapters), "any_base": any_base} | how.chosen()
        if rpc:
            add_workers(rpc)
        self.noise_floor: NoiseFloor | None = None  # once `engine.noise` has measured it
        self.controls = Controls()  # vectors that are added to states, see Model.with_control
        try:
            kind: dict[str, Any] = {"n_gpu_layers": n_gpu_layers, "lora": adapters, "any_base": any_base}
            first = FirstLoad(n_threads=n_threads, rpc=rpc, try_it=trial, on_trial=on_trial, **kind)
            w = Weights(file, **kind, runtime=how, beside=first.beside, vocabulary=vocabulary)
            self._weights = w
            self.trial: Trial | None = first.result  # of this load
            self.tokenizer = Tokenizer(w)
            lora_rows = [LowRank(a.a, a.b, a.factor) for a in w.lora if a.a is not None and a.b is not None]
            self.table = EmbeddingTable(w.table, lora_rows, w.substitutes)
            self._per_layer = None if w.per_layer is None else (EmbeddingTable(w.per_layer), per_layer_scale(w))
            w.check_files(same=True)  # header, llama.cpp and table have each opened them by name
            self.n_threads = n_threads or (1 if w.n_bytes < SMALL else default_threads())
            self.calibration: Calibration = calibrate(
                w,
                self.table,
                self._per_layer[0] if self._per_layer else None,
                self.n_threads,
                self.trial.calibration if self.trial else None,
            )
        except OSError as e:  # a file that was there a moment ago
            raise ModelError(f"cannot read {e.filename or file}: {e.strerror or e}", "check the path") from None
        self.n_ctx_limit = n_ctx or self._weights.n_ctx_train or N_CTX_DEFAULT
        self.n_ctx = min(self.n_ctx_limit, n_ctx or N_CTX_DEFAULT)

    # ---- text and mixtures

    def tokenize(self, text: str, *, bos: bool = False, special: bool = True) -> list[int]:
        """Token ids of a text. bos: put the vocabulary's BOS before, if it wants one. special: read "<|im_end|>" as a token.

        Raises PromptError for text that the vocabulary cannot encode.
        """
        ids = self.tokenizer.tokenize(arguments.text("text", text), special=special)
        if bos and self.tokenizer.add_bos and self.tokenizer.bos is not None and ids[:1] != [self.tokenizer.bos]:
            ids.insert(0, self.tokenizer.bos)
        return ids

    def detokenize(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of token ids; bytes that are not UTF-8 become U+FFFD."""
        if not isinstance(ids, Sequence | np.ndarray) or isinstance(ids, str | bytes):
            raise UsageError(f"detokenize takes a list of token ids, not {ids!r}", "model.spell(id) for one")
        return self.tokenizer.detokenize([arguments.integer("a token id", i) for i in ids])

    def is_eog(self, token: int) -> bool:
        """Does this token end a generation?"""
        return self.tokenizer.is_eog(arguments.integer("a token id", token))

    def embed(self, mixture: Mixture) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: float32 (n_embd,), before the architecture's multiplier."""
        arguments.instance("what embed takes", mixture, Mixture, 'model.mix("dog:0.5,cat:0.5")')
        return self.table.embed(mixture)

    def spell(self, token: int) -> str:
        """A token's text; U+FFFD for bytes that are only part of a character."""
        if type(token) is not int:  # numpy's, or none at all
            token = arguments.integer("a token id", token)
        return self.tokenizer.piece(token).decode("utf-8", "replace")

    def distribution(self, logits: NDArray[np.float32]) -> Distribution:
        """A distribution that knows this model's texts. logits: (n_vocab,)."""
        return Distribution(logits, self.spell)

    def distributions(self, logits: Iterable[Any], lender: Context | None = None) -> list[Distribution]:
        """The distributions of rows of logits, without a copy; one that is lent copies them if it outlives the lender's next batch.

        Args:
            logits: n rows (n_vocab,) float32, which `Context.decode` has just made; or what `evaluate` of `lender` gives.

        Raises NotFiniteError where a row has no finite maximum; `.index` is its number.
        """
        rows, make = [*logits], Distribution._owning if lender is None else Distribution._lent
        known = passes.summaries(rows, self.n_threads)
        results = [make(row, self.spell, self.n_threads, k) for row, k in zip(rows, known, strict=True)]
        if lender is not None:
            for d in results:
                lender.lend(d)
        return results

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The model's own chat template. Raises ModelError where it has none."""
        if not self.template_source:
            raise ModelError(f"{self.name} has no chat template", "use a raw prompt, without --chat")
        bos, eos = ("" if i is None else self.spell(i) for i in (self.tokenizer.bos, self.tokenizer.eos))
        return ChatTemplate(self.template_source, bos=bos, eos=eos)

    # ---- evaluation

    def new_context(
        self,
        n_ctx: int,
        n_seq: int = 1,
        *,
        causal: bool = True,
        n_threads: int | None = None,
        n_batch: int | None = None,
        n_outputs: int | None = None,
        embeddings: bool = False,
        watch: LayerWatch | None = None,
        branches: bool = False,
        apart: bool = False,
        all_outputs: bool | None = None,
        precise: bool = False,
    ) -> Context:
        """A context of one's own, for work with many sequences; a session is simpler. Other arguments are those of Context.

        Args:
            causal: False for whole sequences only, as diffusion models read them, too: each call of decode forgets the last.
            n_threads: None for this model's.
            all_outputs: None for the result of the calibration.

        Raises:
            ModelError: a diffusion model does not go on from left to right.
            ContextError: there is no memory for it.
        """
        if causal:
            self.require_causal()
        watch = self.controls.watch(watch, self.n_embd)
        nodes = widths(self.calibration.nodes, self.table, self._per_layer[0] if self._per_layer else None)
        return Context(
            self._weights,
            n_ctx,
            n_seq,
            n_threads=self.n_threads if n_threads is None else n_threads,
            pace=self.pace if n_threads is None else None,
            n_batch=n_batch,
            n_outputs=n_outputs,
            embeddings=embeddings,
            watch=None if watch is None else watch.callback,
            nodes=nodes,
            all_outputs=self.calibration.all_outputs if all_outputs is None else all_outputs,
            branches=branches,
            precise=precise,
            control=self.controls.served,
            apart=apart,
        )

    def rows(self, items: Sequence[Item]) -> Rows:
        """What to feed for ids, mixtures and vectors (n_embd,): one row each, scaled as this architecture wants them.

        An id goes as its one-hot mixture, so that it may stand beside mixtures in one batch.

        Raises:
            MixtureError: a token id is outside the vocabulary, or the model cannot be fed a vector.
        """
        mixtures = [i if type(i) is Mixture else stand_in(i) for i in items]
        width, n_threads = self._weights.n_embd_inp, self.n_threads
        rows = mixed_rows(mixtures, self.table, self.calibration, self._per_layer, width, n_threads)
        if any(type(i) is Vector for i in items):
            self.check_vectors(items)
            put_vectors(items, rows.embeddings, self.calibration.multiplier)
        return rows

    def check_vector(self, v: Vector) -> None:
        """Raise MixtureError for a vector that this model cannot be fed: its length, its scale, or a need for ids."""
        check_vector(self, v)

    def check_vectors(self, items: Sequence[Item]) -> None:
        """`check_vector` of each vector among the items of a prompt."""
        for v in vectors_of(items):
            check_vector(self, v)

    def feed(
        self, context: Context, seq: int, items: Sequence[Item], start: int, *, want: bool = True
    ) -> NDArray[np.float32]:
        """Feed ids, mixtures and vectors to one sequence, in batches that the context takes.

        As soon as one item is no id, the ids go as one-hot rows beside it: to llama.cpp it is one batch of the same shape,
        so a one-hot mixture gives the token's logits to the bit on the CPU.

        Args:
            start: the position of the first item in the sequence.
            want: whether logits are needed.

        Returns:
            Logits (1, n_vocab) after the last item; (0, n_vocab) without `want`.

        Raises:
            ContextError: there is no room, or llama.cpp fails.
        """
        n, tokens = context.n_batch, all(isinstance(i, int) for i in items)
        for first in range(0, len(items), n):
            part = items[first : first + n]
            wanted = np.zeros(len(part), dtype=np.bool_)
            wanted[-1] = want and first + n >= len(items)
            positions = range(start + first, start + first + len(part))
            if tokens:
                logits = context.decode([seq] * len(part), positions, wanted, tokens=part)  # type: ignore[arg-type]
            else:
                logits = context.decode([seq] * len(part), positions, wanted, rows=self.rows(part))
        return logits

    def close(self) -> None:
        """Free the memory, that of sessions and other contexts as well. Safe to call twice."""
        self._weights.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        sizes = f"{self.n_vocab} tokens, n_embd {self.n_embd}, table {self.table.quantization}"
        times = f"multiplier {self.calibration.multiplier:g}"
        return f"{type(self).__name__}({self.name}, {self.arch}, {sizes}, {times})"


def checked(model: object) -> Engine:
    """The model, if it is one. Raises UsageError for anything else."""
    if not isinstance(model, Engine):
        raise UsageError(f"model must be a Model, not {arguments.shown(model)}", "model = softllama.load(...)")
    return model
