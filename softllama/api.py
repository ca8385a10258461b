"""The front door: `load` gives a Model. Adds words, prompts, generations and sessions to an Engine.

Knows no formula: each method hands its arguments to the package that does the work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softllama.base import arguments
from softllama.engine import embeddings, steering
from softllama.engine.embeddings import Near
from softllama.engine.engine import Engine
from softllama.engine.load_arguments import Lora
from softllama.engine.session import Session
from softllama.errors import MixtureError
from softllama.llama.runtime import RuntimeKeywords
from softllama.probe import run as probes
from softllama.probe.lens import run as lenses
from softllama.probe.lens.inputs import HowRead, Prompt
from softllama.probe.lens.run import LensResult
from softllama.probe.run import ProbeResult
from softllama.prompts import words
from softllama.prompts.words import MixArgument, Split
from softllama.show.progress import Tick
from softllama.vectors import mix_text
from softllama.vectors.interventions import ControlVector, Patch
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

if TYPE_CHECKING:
    from softllama.generation.options import GenerationKeywords
    from softllama.generation.prepare import PromptInput
    from softllama.generation.scoring import Score, ScoreKeywords, Text
    from softllama.trace.record import Trace
    from softllama.trace.step import Step


def load(
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
    **runtime: Unpack[RuntimeKeywords],
) -> Model:
    """Load a GGUF model: a path, or a name as for -m ("user/repo:Q4_K_M", "ollama:name"). None: the bundled one.

    The network is used only for a repository that is not on this machine, and not with HF_HUB_OFFLINE.

    Args:
        n_ctx: positions a session has room for; None for the model's own context, at most 4096.
        n_gpu_layers: None for all where llama.cpp was built with a GPU back end, else none.
        n_threads: None for the physical cores, or one for a model under 16 MB, which more would slow down.
        lora: the path of an adapter, (path, scale), or several.
        any_base: take an adapter that says it was trained on another fine-tune of the model, too.
        rpc: workers ("host:port") whose devices are used as well; llama.cpp knows them until the process ends.
        trial: a file that this build of llama.cpp has not had before is tried in a child process, as llama.cpp ends the
            process on some that are damaged. False leaves that out (SOFTLLAMA_TRIAL=off, too), True does it again.
        on_trial: is called before that.
        runtime: llama.cpp's own options, see Runtime: cache_type_k, cache_type_v, flash_attn, n_batch, n_ubatch, mmap, mlock,
            numa, repack.

    Raises:
        ModelError: the file cannot be loaded, or the model cannot take mixtures; the message has the reason.
    """
    return Model(
        path,
        n_ctx=n_ctx,
        n_gpu_layers=n_gpu_layers,
        n_threads=n_threads,
        lora=lora,
        any_base=any_base,
        rpc=rpc,
        trial=trial,
        on_trial=on_trial,
        **runtime,
    )


class Model(Engine):
    """A loaded model; `load` makes one. A context manager; close() ends its sessions, too.

    Threads may use it at the same time; a process that was forked from one that had used a model may not.
    """

    def mix(
        self,
        text: str | Mapping[str, float],
        *,
        space: bool = True,
        split: Split | None = None,
        signed: bool = False,
        normalize: bool = False,
    ) -> Mixture:
        """The mixture that a text such as "dog:0.5,cat:0.5" stands for, or {"dog": 0.5, "cat": 0.5}. It shows its words.

        Args:
            text: as softllama.vectors.mix_text has the form, or words with their weights.
            space: a bare word is the token that follows a space, as in the middle of a sentence.
            split: what a word of several tokens stands for: "first", "last" or "mean"; None refuses it, and "alternatives" is
                for `probe` only.
            signed: whether weights may be any real numbers.
            normalize: whether weights are divided by their sum.

        Raises:
            MixtureError: the text is not understood, or a word is no single token; the hint has a remedy.
        """
        if isinstance(text, Mapping):
            spec = mix_text.from_weights(text, signed=signed, normalize=normalize)
        else:
            spec = mix_text.parse(arguments.text("mixture", text), signed=signed, normalize=normalize)
        resolved = words.resolve(
            spec, self.tokenizer, space=space, lead=not space, split=split, signed=signed, normalize=normalize
        )
        if isinstance(resolved.mixture, Vector):
            self.check_vector(resolved.mixture)
            raise MixtureError(
                f"{spec.vector!r} holds {self.n_embd} numbers in place of an embedding, and no mixture of tokens",
                f"sl.Vector.load({spec.vector!r})",
            )
        return resolved.mixture.with_words(self.spell)

    def embed(self, mixture: str | Mapping[str, float] | Mixture | int) -> NDArray[np.float32]:
        """Σ wᵢ E[i]: what stands in for a row of the embedding table, before the architecture's multiplier.

        Sums and differences of embeddings are vectors to be fed: `Vector(array, scale="table")`, whose `with_norm` gives
        them the size of a usual row.

        Args:
            mixture: a Mixture; text or words with weights, as for `mix` ("king": the token " king"); or a token id.

        Returns:
            (n_embd,) float32.

        Raises:
            MixtureError: the text is not understood, or an id is outside the vocabulary.
        """
        if isinstance(mixture, str | Mapping):
            mixture = self.mix(mixture)
        elif type(mixture) is int:
            mixture = Mixture.one_hot(mixture)
        return super().embed(mixture)  # type: ignore[arg-type]  # which refuses everything else

    def nearest(
        self, vector: Vector | Mixture | ArrayLike | str, n: int = 10, by: Literal["cosine", "dot"] = "cosine"
    ) -> list[Near]:
        """The tokens whose rows of the embedding table are nearest to a vector. The whole table is read.

        Args:
            vector: of one position: a Vector, an array (n_embd,) in the table's scale, or what `embed` takes.
            n: how many tokens.
            by: "cosine", or "dot" for the dot product, in the table's scale.

        Returns:
            (id, text, score), the nearest first.

        Raises:
            MixtureError: the vector does not fit the model, or has several positions.
            UsageError: another argument is not allowed.
        """
        each = self.nearest_each(vector, n, by)
        if len(each) != 1:
            raise MixtureError(f"the vector has {len(each)} positions", "model.nearest_each gives a list for each")
        return each[0]

    def nearest_each(
        self, vector: Vector | Mixture | ArrayLike | str, n: int = 10, by: Literal["cosine", "dot"] = "cosine"
    ) -> list[list[Near]]:
        """`nearest` of each position of a vector (k, n_embd), such as a soft prompt, in one reading of the table."""
        v = vector if isinstance(vector, Vector) else Vector(self._array(vector), scale="table")
        return embeddings.nearest(self, v, n, by)

    def _array(self, vector: Mixture | ArrayLike | str) -> ArrayLike:
        return self.embed(vector) if isinstance(vector, str | Mapping | Mixture) else vector

    def with_control(self, *vectors: ControlVector) -> Model:
        """The same model with vectors added to its states after layers, in everything that it does: steering.

        The weights are shared, and this model stays as it is. Vectors that it has already are replaced.

        Raises:
            UsageError: there is no such layer, or a vector has another length.
            ContextError: llama.cpp neither adds to a layer of this architecture nor names it.
        """
        return steering.with_control(self, vectors)

    def session(self, n_ctx: int | None = None) -> Session:
        """A new, empty sequence with room for n_ctx positions (None: as the model was loaded)."""
        return Session.start(self, n_ctx)

    def probe(
        self,
        prompt: str | None = None,
        mix: MixArgument = (),
        *,
        sweep: int | None = None,
        continue_tokens: int = 0,
        chat: bool = False,
        system: str | None = None,
        normalize: bool = False,
        signed: bool = False,
        split: Split | None = None,
        n_top: int = 5,
        n_ctx: int | None = None,
        repeats: int = 1,
        watch: str | None = None,
        parse_special: bool = False,
    ) -> ProbeResult:
        """Ask what the model makes of a prompt that holds mixtures. Arguments and errors are those of softllama.probe.run.probe."""
        return probes.probe(
            self,
            prompt,
            mix,
            sweep=sweep,
            continue_tokens=continue_tokens,
            chat=chat,
            system=system,
            normalize=normalize,
            signed=signed,
            split=split,
            n_top=n_top,
            n_ctx=n_ctx,
            repeats=repeats,
            watch=watch,
            parse_special=parse_special,
        )

    def states(
        self,
        prompt: Prompt,
        mix: MixArgument = (),
        *,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        patches: Sequence[Patch] = (),
        **how: Unpack[HowRead],
    ) -> NDArray[np.float32]:
        """The hidden states of a prompt after layers, (layers, positions, n_embd): see softllama.probe.lens.run.states."""
        return lenses.states(self, prompt, mix, layers=layers, positions=positions, patches=patches, **how)

    def lens(
        self,
        prompt: Prompt | None = None,
        mix: MixArgument = (),
        *,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        n_top: int = 5,
        patches: Sequence[Patch] = (),
        tick: Tick | None = None,
        **how: Unpack[HowRead],
    ) -> LensResult:
        """What every layer would say at each position (the logit lens): see softllama.probe.lens.run.lens."""
        return lenses.lens(
            self, prompt, mix, layers=layers, positions=positions, n_top=n_top, patches=patches, tick=tick, **how
        )

    def stream(self, prompt: PromptInput, **options: Unpack[GenerationKeywords]) -> Iterator[Step]:
        """Generate step by step: see softllama.generation.run.stream; the options are those of GenerationOptions."""
        from softllama.generation import run as generation  # the loop and the policies, which a probe does not need

        return generation.stream(self, prompt, **options)

    def generate(self, prompt: PromptInput, **options: Unpack[GenerationKeywords]) -> Trace:
        """Generate, and collect the steps: see softllama.generation.run.generate."""
        from softllama.generation import run as generation  # the loop and the policies, which a probe does not need

        return generation.generate(self, prompt, **options)

    def score(self, prompt: PromptInput, continuation: Text, **options: Unpack[ScoreKeywords]) -> Score:
        """ln p of a continuation after a prompt, token by token: see softllama.generation.scoring.score_pairs."""
        from softllama.generation import scoring

        return scoring.score(self, prompt, continuation, **options)

    def score_pairs(self, pairs: Iterable[tuple[PromptInput, Text]], **options: Unpack[ScoreKeywords]) -> list[Score]:
        """`score` of many (prompt, continuation) in batches; what they have in common is evaluated once."""
        from softllama.generation import scoring

        return scoring.score_pairs(self, pairs, **options)

    def score_text(self, text: str, *, n_ctx: int | None = None, stride: int | None = None) -> Score:
        """ln p of all tokens of a text, in windows where it is longer than the context. `.perplexity` is its perplexity."""
        from softllama.generation import scoring

        return scoring.score_text(self, text, n_ctx=n_ctx, stride=stride)

    def __enter__(self) -> Model:
        return self
