"""A model without words: weights, vocabulary, embedding table, calibration and contexts.

Knows token ids, mixtures and vectors. Does not know prompts, policies, sessions or generations: they lie above it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softllama import hub
from softllama.base import arguments, cache
from softllama.engine import first_load as trials
from softllama.engine.calibration import Calibration, calibrate, fill, per_layer_scale, widths
from softllama.engine.first_load import Trial
from softllama.engine.table import EmbeddingTable, LowRank
from softllama.errors import MixtureError, ModelError, NotFiniteError, UsageError
from softllama.llama.context import Context
from softllama.llama.library import physical_cores
from softllama.llama.rpc import add_workers
from softllama.llama.template import ChatTemplate
from softllama.llama.tokenizer import Tokenizer
from softllama.llama.weights import Weights
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture

N_CTX_DEFAULT = 4096  # positions a session has room for, unless the model's own context is smaller or n_ctx says more
NAME = 100  # characters of a model's name: a damaged file's may have thousands
SMALL = 16 << 20  # bytes of weights below which a second thread costs more than it brings


class Engine:
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
        lora: str | tuple[str, float] | Sequence[str | tuple[str, float]] | None = None,
        rpc: Sequence[str] = (),
        trial: bool | None = None,
    ) -> None:
        arguments.whole_or_none("n_ctx", n_ctx)
        arguments.whole_or_none("n_threads", n_threads)
        arguments.whole_or_none("n_gpu_layers", n_gpu_layers)
        if isinstance(rpc, str) or not isinstance(rpc, Sequence) or any(not isinstance(w, str) for w in rpc):
            raise UsageError(f"rpc must be a list of workers, not {rpc!r}", 'rpc=["10.0.0.2:50052"]')
        if n_ctx is not None and not 1 <= n_ctx <= 2**30:
            raise UsageError(f"n_ctx must be between 1 and 2^30, not {n_ctx}")
        if n_threads is not None and not 1 <= n_threads <= 1024:
            raise UsageError(f"n_threads must be between 1 and 1024, not {n_threads}")
        self.arguments: dict[str, Any] = {"n_ctx": n_ctx, "n_gpu_layers": n_gpu_layers, "n_threads": n_threads}
        file = hub.resolve(path)
        if rpc:
            add_workers(rpc)
        self._sha256: str | None = None
        adapters = _adapters(lora)
        self.trial: Trial | None = None  # of this load

        def before(weights: Weights) -> None:
            settings: dict[str, Any] = {
                "n_gpu_layers": n_gpu_layers,
                "n_threads": n_threads,
                "lora": adapters,
                "rpc": rpc,
            }
            self.trial = trials.of(weights, **settings, asked=trial)

        try:
            self._weights = w = Weights(file, n_gpu_layers=n_gpu_layers, lora=adapters, before=before)
            self.tokenizer = Tokenizer(w)
            lora_rows = [LowRank(a.a, a.b, a.factor) for a in w.lora if a.a is not None and a.b is not None]
            self.table = EmbeddingTable(w.table, lora_rows, w.substitutes)
            self._per_layer = None if w.per_layer is None else (EmbeddingTable(w.per_layer), per_layer_scale(w))
            w.check_files(same=True)  # header, llama.cpp and table have each opened them by name
            self.n_threads = n_threads or (1 if w.n_bytes < SMALL else physical_cores())
            self.calibration: Calibration = calibrate(
                w,
                self.table,
                self._per_layer[0] if self._per_layer else None,
                self.n_threads,
                self.trial.calibration if self.trial else None,
            )
        except OSError as e:  # a file that was there a moment ago
            raise ModelError(f"cannot read {e.filename or file}: {e.strerror or e}", "check the path") from None
        self.n_ctx_given = n_ctx
        self.n_ctx_limit = n_ctx or self._weights.n_ctx_train or N_CTX_DEFAULT
        self.n_ctx = min(self.n_ctx_limit, n_ctx or N_CTX_DEFAULT)

    # ---- facts

    @property
    def path(self) -> str:
        """The file (the first of a split)."""
        return str(self._weights.header.path)

    @property
    def arch(self) -> str:
        """The architecture, as the file names it."""
        return self._weights.header.arch

    @property
    def name(self) -> str:
        """The name in the file, as far as it is one for a line of text, or the file's."""
        name = str(self._weights.header.get("general.name") or "")
        return "".join(c for c in name if c.isprintable())[:NAME] or self._weights.header.path.stem

    @property
    def n_vocab(self) -> int:
        """Size of the vocabulary."""
        return self._weights.n_vocab

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return self._weights.n_bytes

    @property
    def n_embd(self) -> int:
        """Length of an embedding."""
        return self._weights.n_embd

    @property
    def device(self) -> str:
        """What the model runs on."""
        return self._weights.device

    @property
    def device_reason(self) -> str:
        """Why it runs there."""
        return self._weights.device_reason

    @property
    def recurrent(self) -> bool:
        """Does the model keep a state that cannot go back (recurrent and hybrid architectures)?"""
        return self._weights.recurrent

    @property
    def diffusion(self) -> bool:
        """Does the model fill in masked positions, seeing what is before and behind them? Then it can only be probed."""
        return self._weights.diffusion

    @property
    def no_hidden(self) -> str | None:
        """Why this model's hidden states cannot be fed back, or None if they can."""
        return self._weights.no_hidden

    @property
    def metadata(self) -> dict[str, Any]:
        """The file's metadata, arrays left out."""
        return dict(self._weights.header.metadata)

    @property
    def lora(self) -> list[tuple[str, float]]:
        """Active adapters: path and scale."""
        return [(str(a.path), a.scale) for a in self._weights.lora]

    @property
    def files(self) -> list[str]:
        """All files of the model."""
        return [str(f) for f in self._weights.header.files]

    @property
    def file_bytes(self) -> int:
        """Size of all files together, when they were loaded."""
        return sum(stamp[2] for stamp in self._weights.header.stamps)

    @property
    def sha256(self) -> str | None:
        """Of the files one after the other; remembered per file, as a large model takes seconds. None where it was not
        taken in time: the files are gone from the disk, or are others by now.
        """
        header = self._weights.header
        if self._sha256 is None and header.changed(same=True) is None:
            with contextlib.suppress(OSError):
                self._sha256 = cache.file_hash(header.files)
        return self._sha256

    # ---- text and mixtures

    def tokenize(self, text: str, *, bos: bool = False, special: bool = True) -> list[int]:
        """Token ids of a text. bos: put the vocabulary's BOS before, if it wants one. special: read "<|im_end|>" as a token.

        Raises PromptError for text that the vocabulary cannot encode.
        """
        ids = self.tokenizer.tokenize(arguments.check_text(text, "text"), special=special)
        if bos and self.tokenizer.add_bos and self.tokenizer.bos is not None and ids[:1] != [self.tokenizer.bos]:
            ids.insert(0, self.tokenizer.bos)
        return ids

    def detokenize(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of token ids; bytes that are not UTF-8 become U+FFFD."""
        if not isinstance(ids, Sequence | np.ndarray) or isinstance(ids, str | bytes):
            raise UsageError(f"detokenize takes a list of token ids, not {ids!r}", "model.spell(id) for one")
        return self.tokenizer.detokenize([arguments.whole("a token id", i) for i in ids])

    def is_eog(self, token: int) -> bool:
        """Does this token end a generation?"""
        return self.tokenizer.is_eog(arguments.whole("a token id", token))

    def embed(self, mixture: Mixture) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: float32 (n_embd,), before the architecture's multiplier."""
        if not isinstance(mixture, Mixture):
            raise MixtureError(f"embed takes a Mixture, not {type(mixture).__name__}", 'model.mix("dog:0.5,cat:0.5")')
        return self.table.embed(mixture)

    def spell(self, token: int) -> str:
        """A token's text; U+FFFD for bytes that are only part of a character."""
        if type(token) is not int:  # numpy's, or none at all
            token = arguments.whole("a token id", token)
        return self.tokenizer.piece(token).decode("utf-8", "replace")

    def distribution(self, logits: NDArray[np.float32]) -> Distribution:
        """A distribution that knows this model's texts. logits: (n_vocab,)."""
        return Distribution(logits, self.spell)

    def after(self, logits: NDArray[np.float32]) -> Distribution:
        """`distribution` of a row that `Context.decode` has just made, without another copy of it."""
        return Distribution.owning(logits, self.spell, self.n_threads)

    def after_each(self, logits: NDArray[np.float32]) -> list[Distribution]:
        """`after` of each row (n, n_vocab)."""
        found = []
        for i, row in enumerate(logits):
            try:
                found.append(self.after(row))
            except NotFiniteError as e:
                e.index = i
                raise
        return found

    @property
    def template_source(self) -> str:
        """The model's own chat template as Jinja text; "" where it has none."""
        return str(self._weights.header.get("tokenizer.chat_template") or "")

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The model's own chat template. Raises ModelError where it has none."""
        if not self.template_source:
            raise ModelError(f"{self.name} has no chat template", "use a raw prompt, without --chat")
        ids = {"bos": self.tokenizer.bos, "eos": self.tokenizer.eos}
        return ChatTemplate(self.template_source, **{k: "" if i is None else self.spell(i) for k, i in ids.items()})

    # ---- evaluation

    def context(self, n_ctx: int, n_seq: int = 1, **options: Any) -> Context:
        """A context of one's own, for work with many sequences; `session` is simpler. options: as Context's."""
        self.check_order()
        return self.context_without_order(n_ctx, n_seq, **options)

    def context_without_order(self, n_ctx: int, n_seq: int = 1, **options: Any) -> Context:
        """The same for whole sequences only, as diffusion models read them, too: each call of decode forgets the last."""
        per_layer = self._per_layer[0] if self._per_layer else None
        nodes = widths(self.calibration.nodes, self.table, per_layer)
        options.setdefault("all_outputs", self.calibration.all_outputs)
        options.setdefault("n_threads", self.n_threads)
        return Context(self._weights, n_ctx, n_seq, nodes=nodes, **options)

    def check_order(self) -> None:
        """Raise ModelError for a diffusion model, which does not go on from left to right."""
        if self.diffusion:
            raise ModelError(
                f"{self.name} ({self.arch}) is a diffusion model, which fills masked positions in no order: it can only be "
                "probed",
                'softllama probe -m FILE --mix "dog:0.5,cat:0.5"',
            )

    def fill_rows(self, context: Context, mixtures: Sequence[Mixture]) -> None:
        """Write the mixtures' rows, scaled as this architecture wants them, into the context's next batch."""
        fill(context, mixtures, self.table, self.calibration.multiplier, self._per_layer, self.n_threads)

    def close(self) -> None:
        """Free the memory, that of sessions and other contexts as well. Safe to call twice."""
        self._weights.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name}, {self.arch}, {self.n_vocab} tokens, n_embd {self.n_embd}, "
            f"table {self.table.quantization}, multiplier {self.calibration.multiplier:g})"
        )


def _adapters(lora: str | tuple[str, float] | Sequence[str | tuple[str, float]] | None) -> list[tuple[str, float]]:
    if lora is None:
        return []
    if not isinstance(lora, str | os.PathLike | Sequence):
        raise UsageError(f"an adapter is a path, or a path and its scale, not {lora!r}", 'lora=("adapter.gguf", 0.5)')
    if isinstance(lora, str | os.PathLike):
        return [(os.fspath(lora), 1.0)]
    if isinstance(lora, tuple) and len(lora) == 2 and isinstance(lora[1], int | float):
        return [(os.fspath(lora[0]), float(lora[1]))]
    return [pair for item in lora for pair in _adapters(item)]


def checked(model: object) -> Engine:
    """The model, if it is one. Raises UsageError for anything else."""
    if not isinstance(model, Engine):
        raise UsageError(f"model must be a Model, not {arguments.shown(model)}", "model = softllama.load(...)")
    return model
