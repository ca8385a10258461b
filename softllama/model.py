"""A model that takes tokens and mixtures: the library's front door. Puts weights, vocabulary, table and contexts together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from softllama import cache, checks, vocab
from softllama import mixture as mx
from softllama import trial as trials
from softllama.calibration import Calibration, calibrate, fill, per_layer_scale, widths
from softllama.distribution import Distribution
from softllama.embeddings import LowRank, Table
from softllama.errors import MixtureError, ModelError, NotFiniteError, UsageError
from softllama.llama.binding import physical_cores
from softllama.llama.context import Context
from softllama.llama.template import ChatTemplate
from softllama.llama.tokenizer import Tokenizer
from softllama.llama.weights import Weights
from softllama.mixture import Mixture
from softllama.session import Session
from softllama.trial import Trial

if TYPE_CHECKING:
    from softllama.decode import Step
    from softllama.probe import ProbeResult
    from softllama.trace import Trace

N_CTX_DEFAULT = 4096  # positions a session has room for, unless the model's own context is smaller or n_ctx says more
NAME = 100  # characters of a model's name: a damaged file's may have thousands
SMALL = 16 << 20  # bytes of weights below which a second thread costs more than it brings
FORKS = 16  # sequences in a session's context; forks beyond them get a context of their own
FORKS_RECURRENT = 4  # each one has a whole state set aside


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    n_ctx: int | None = None,
    gpu_layers: int | None = None,
    threads: int | None = None,
    lora: str | tuple[str, float] | Sequence[str | tuple[str, float]] | None = None,
    rpc: Sequence[str] = (),
    trial: bool | None = None,
) -> Model:
    """Load a GGUF model: a path, or a name as for -m ("user/repo:Q4_K_M", "ollama:name"). None: the bundled one.

    The network is used only for a repository that is not on this machine, and not with HF_HUB_OFFLINE.

    n_ctx: positions a session has room for; None for the model's own context, at most 4096. gpu_layers: None for all
    where llama.cpp was built with a GPU back end, else none. threads: None for the physical cores (one for a
    model under 16 MB, which more would slow down). lora: path of an adapter, (path, scale), or several. rpc: workers
    ("host:port") whose devices are used as well; they stay known to llama.cpp until the process ends. trial: a file that
    this build of llama.cpp has not had before is first loaded in a child process, as llama.cpp ends the process on some
    that are damaged; False leaves that out (SOFTLLAMA_TRIAL=off, too), True does it again.

    Raises ModelError, with the reason, for a file that cannot be loaded or a model that cannot take mixtures.
    """
    return Model(path, n_ctx=n_ctx, gpu_layers=gpu_layers, threads=threads, lora=lora, rpc=rpc, trial=trial)


class Model:
    """A loaded model; `load` makes one. A context manager; close() ends its sessions, too.

    Threads may use it at the same time; a process that was forked from one that had used a model may not.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        n_ctx: int | None = None,
        gpu_layers: int | None = None,
        threads: int | None = None,
        lora: str | tuple[str, float] | Sequence[str | tuple[str, float]] | None = None,
        rpc: Sequence[str] = (),
        trial: bool | None = None,
    ) -> None:
        from softllama import hub

        checks.whole_or_none("n_ctx", n_ctx)
        checks.whole_or_none("threads", threads)
        checks.whole_or_none("gpu_layers", gpu_layers)
        if isinstance(rpc, str) or not isinstance(rpc, Sequence) or any(not isinstance(w, str) for w in rpc):
            raise UsageError(f"rpc must be a list of workers, not {rpc!r}", 'rpc=["10.0.0.2:50052"]')
        if n_ctx is not None and not 1 <= n_ctx <= 2**30:
            raise UsageError(f"n_ctx must be between 1 and 2^30, not {n_ctx}")
        if threads is not None and not 1 <= threads <= 1024:
            raise UsageError(f"threads must be between 1 and 1024, not {threads}")
        self.arguments: dict[str, Any] = {"n_ctx": n_ctx, "gpu_layers": gpu_layers, "threads": threads}
        file = hub.resolve(path)
        if rpc:
            from softllama.llama.rpc import add_workers

            add_workers(rpc)
        self._sha256: str | None = None
        adapters = _adapters(lora)
        self.trial: Trial | None = None  # of this load

        def before(weights: Weights) -> None:
            settings: dict[str, Any] = {"gpu_layers": gpu_layers, "threads": threads, "lora": adapters, "rpc": rpc}
            self.trial = trials.of(weights, **settings, asked=trial)

        try:
            self._weights = w = Weights(file, gpu_layers=gpu_layers, lora=adapters, before=before)
            self.tokenizer = Tokenizer(w)
            lora_rows = [LowRank(a.a, a.b, a.factor) for a in w.lora if a.a is not None and a.b is not None]
            self.table = Table(w.table, lora_rows, w.substitutes)
            self._per_layer = None if w.per_layer is None else (Table(w.per_layer), per_layer_scale(w))
            w.check_files(same=True)  # header, llama.cpp and table have each opened them by name
            self.threads = threads or (1 if w.n_bytes < SMALL else physical_cores())
            self.calibration: Calibration = calibrate(
                w,
                self.table,
                self._per_layer[0] if self._per_layer else None,
                self.threads,
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
        ids = self.tokenizer.tokenize(vocab.check_text(text, "text"), special=special)
        if bos and self.tokenizer.add_bos and self.tokenizer.bos is not None and ids[:1] != [self.tokenizer.bos]:
            ids.insert(0, self.tokenizer.bos)
        return ids

    def detokenize(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of token ids; bytes that are not UTF-8 become U+FFFD."""
        if not isinstance(ids, Sequence | np.ndarray) or isinstance(ids, str | bytes):
            raise UsageError(f"detokenize takes a list of token ids, not {ids!r}", "model.spell(id) for one")
        return self.tokenizer.detokenize([checks.whole("a token id", i) for i in ids])

    def is_eog(self, token: int) -> bool:
        """Does this token end a generation?"""
        return self.tokenizer.is_eog(checks.whole("a token id", token))

    def mix(
        self, text: str, *, space: bool = True, split: str | None = None, signed: bool = False, normalize: bool = False
    ) -> Mixture:
        """The mixture that a text such as "dog:0.5,cat:0.5" writes (softllama.mixture has the form).

        space: a bare word is the token that follows a space, as in the middle of a sentence.
        Raises MixtureError with the reason and a remedy.
        """
        spec = mx.parse(vocab.check_text(text, "mixture"), signed=signed, normalize=normalize)
        options = {"space": space, "lead": not space, "split": split, "signed": signed, "normalize": normalize}
        return vocab.resolve(spec, self.tokenizer, **options).mixture  # type: ignore[arg-type]

    def embed(self, mixture: Mixture) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: float32 (n_embd,), before the architecture's multiplier."""
        if not isinstance(mixture, Mixture):
            raise MixtureError(f"embed takes a Mixture, not {type(mixture).__name__}", 'model.mix("dog:0.5,cat:0.5")')
        return self.table.embed(mixture)

    def spell(self, token: int) -> str:
        """A token's text; U+FFFD for bytes that are only part of a character."""
        if type(token) is not int:  # numpy's, or none at all
            token = checks.whole("a token id", token)
        return self.tokenizer.piece(token).decode("utf-8", "replace")

    def distribution(self, logits: NDArray[np.float32]) -> Distribution:
        """A distribution that knows this model's texts. logits: (n_vocab,)."""
        return Distribution(logits, self.spell)

    def after(self, logits: NDArray[np.float32]) -> Distribution:
        """`distribution` of a row that `Context.decode` has just made, without another copy of it."""
        return Distribution.owning(logits, self.spell, self.threads)

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

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The model's own chat template. Raises ModelError where it has none."""
        source = self._weights.header.get("tokenizer.chat_template")
        if not source:
            raise ModelError(f"{self.name} has no chat template", "use a raw prompt, without --chat")
        ids = {"bos": self.tokenizer.bos, "eos": self.tokenizer.eos}
        return ChatTemplate(str(source), **{k: "" if i is None else self.spell(i) for k, i in ids.items()})

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
        options.setdefault("threads", self.threads)
        return Context(self._weights, n_ctx, n_seq, nodes=nodes, **options)

    def check_order(self) -> None:
        """Raise ModelError for a diffusion model, which does not go on from left to right."""
        if self.diffusion:
            raise ModelError(
                f"{self.name} ({self.arch}) is a diffusion model, which fills masked positions in no order: it can only be "
                "probed",
                'softllama probe -m FILE --mix "dog:0.5,cat:0.5"',
            )

    def session(self, n_ctx: int | None = None) -> Session:
        """A new, empty sequence with room for n_ctx positions (None: as the model was loaded)."""
        n_ctx = self.n_ctx if n_ctx is None else checks.whole("n_ctx", n_ctx)
        context = self.context(n_ctx, FORKS_RECURRENT if self.recurrent else FORKS, branches=True)
        seq = context.take()
        assert seq is not None
        return Session(self, context, seq)

    def fill_rows(self, context: Context, mixtures: Sequence[Mixture]) -> None:
        """Write the mixtures' rows, scaled as this architecture wants them, into the context's next batch."""
        fill(context, mixtures, self.table, self.calibration.multiplier, self._per_layer, self.threads)

    def probe(
        self,
        prompt: str = "The {} says",
        mix: str | Mixture | Sequence[str | Mixture] = (),
        **options: Any,
    ) -> ProbeResult:
        """Ask what the model makes of a prompt that holds mixtures: see softllama.probe.probe for the options."""
        from softllama.probe import probe

        return probe(self, prompt, mix, **options)

    def stream(self, prompt: Any, **options: Any) -> Iterator[Step]:
        """Generate step by step: see softllama.generate.stream for the options."""
        from softllama.generate import stream

        return stream(self, prompt, **options)

    def generate(self, prompt: Any, **options: Any) -> Trace:
        """Generate, and collect the steps: see softllama.generate.stream for the options."""
        from softllama.generate import generate

        return generate(self, prompt, **options)

    def close(self) -> None:
        """Free the memory, that of sessions and other contexts as well. Safe to call twice."""
        self._weights.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Model({self.name}, {self.arch}, {self.n_vocab} tokens, n_embd {self.n_embd}, table {self.table.quantization}, "
            f"multiplier {self.calibration.multiplier:g})"
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
