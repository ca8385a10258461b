"""The model in PyTorch, with an adapter that can be switched on and off. The home of torch, transformers and peft.

Knows how a GGUF becomes a transformers model, and how branches with one beginning are read in one pass. Knows no losses.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from softllama.adapt import lora_file
from softllama.adapt.lora_file import Matrix
from softllama.adapt.packing import Packed
from softllama.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

P = TypeVar("P")
R = TypeVar("R")
OTHER_BASE = "use a base of another architecture, such as llama, qwen2 or qwen3"
_LAYER = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What the adapter looks like. layers: how many, from the first on; None: all."""

    rank: int = 8
    alpha: float = 16.0
    layers: int | None = None


@dataclass(frozen=True)
class Reading:
    """What a model makes of the branches of one text.

    Attributes:
        log_p: ln P of the next token, float32, (branches, length, n_vocab).
        states: the residual stream after each layer that was asked for, float32, (layers, branches, length, n_embd).
    """

    log_p: torch.Tensor
    states: torch.Tensor


class Network:
    """A model with a LoRA adapter.

    Attributes:
        model: peft's model around transformers'.
        device: torch's.
        n_layer: of the model.
        matrices: those that the adapter is on.
        workers: threads, each of which computes on its own.
    """

    def __init__(self, model: Any, device: str, half: bool, matrices: Sequence[Matrix] = (), workers: int = 1) -> None:
        self.model, self.device, self.half, self.matrices = model, device, half, matrices
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.base = model.get_base_model()
        self.n_layer: int = self.base.config.get_text_config().num_hidden_layers

    def parameters(self) -> list[torch.Tensor]:
        """What is trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def adapter(self) -> dict[str, tuple[Any, Any]]:
        """By module of the base, A (rank, n_in) and B (n_out, rank), float32."""
        found = {}
        for name, module in self.base.named_modules():
            if hasattr(module, "lora_A"):
                a, b = (x["default"].weight.detach().float().cpu().numpy() for x in (module.lora_A, module.lora_B))
                found[name] = (a, b)
        return found

    def side_by_side(self, work: Callable[[Network, P], R], parts: Sequence[P]) -> list[R]:
        """Do some pieces of work, each by one thread of its own.

        Threads that share the products of one pass wait for each other thousands of times a second. Where other programs run,
        too, that makes two threads slower than one.
        """
        if self._pool is None or len(parts) < 2:
            return [work(self, part) for part in parts]
        return list(self._pool.map(partial(work, self), parts))

    def teacher(self) -> Any:
        """A context in which the adapter is off."""
        return self.model.disable_adapter()

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """What the model reads for token ids, (..., n_embd)."""
        found: torch.Tensor = self.base.get_input_embeddings()(ids)
        return found

    def write(self, starts: Sequence[Sequence[int]], n: int) -> list[list[int]]:
        """Texts that go on n tokens, sampled within a nucleus of 0.95 from the model without adapter: starts and what follows."""
        import torch

        longest = max(map(len, starts))
        ids = torch.tensor([[0] * (longest - len(s)) + [*s] for s in starts], device=self.device)
        mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in starts], device=self.device)
        with torch.no_grad(), self.teacher(), self.precision(), _threads(self.workers):
            found = self.base.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                top_p=0.95,
                top_k=0,
                temperature=1.0,
                max_new_tokens=n,
                min_new_tokens=n,
                pad_token_id=0,
                renormalize_logits=True,
            )
        return [[*s, *row[longest:]] for s, row in zip(starts, found.tolist(), strict=True)]

    def precision(self) -> Any:
        """A context in which products are computed in bfloat16, where `half` says so."""
        import torch

        return torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.half)

    def read(self, rows: torch.Tensor, packed: Packed, layers: int = 0) -> list[Reading]:
        """What the model says and how it is inside after each position of each branch.

        Args:
            rows: (batch, length, n_embd), what each position reads.
            layers: of how many layers, from the first on, the states are returned.
        """
        import torch

        mask = torch.zeros(packed.mask.shape, dtype=rows.dtype, device=rows.device)
        mask.masked_fill_(~packed.mask, torch.finfo(rows.dtype).min)
        keep = torch.arange(packed.start, packed.mask.shape[1], device=rows.device)
        with self.precision():
            out = self.base(
                inputs_embeds=rows,
                attention_mask=mask[:, None],
                position_ids=packed.positions,
                use_cache=False,
                logits_to_keep=keep,
                output_hidden_states=layers > 0,
            )
        found = []
        for b, at in enumerate(packed.where):
            index = torch.from_numpy(at.ravel()).to(rows.device)
            z = out.logits[b, index - packed.start].float().unflatten(0, at.shape)
            states = [h[b, index].float() for h in out.hidden_states[1 : layers + 1]] if layers else []
            inside = torch.stack(states).unflatten(1, at.shape) if states else z.new_zeros(0, *at.shape, 1)
            found.append(Reading(torch.log_softmax(z, dim=-1), inside))
        return found


@contextlib.contextmanager
def _threads(n: int) -> Iterator[None]:
    """With n threads for each product, where no other pass goes on beside it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(n, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require() -> None:
    """Raise UsageError where a library of the extra is missing."""
    for name in ("torch", "transformers", "peft", "gguf"):
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed", "pip install 'softllama[adapt]'")


def choose_device(name: str) -> str:
    """The device to compute on. "auto": a GPU if there is one.

    Raises:
        UsageError: it is not there.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(d for d, is_there in there.items() if is_there)
    if not there[name]:
        raise UsageError(f"PyTorch {torch.__version__} finds no {name} device", "--device cpu")
    return name


def load(
    path: Path, shape: Shape, device: str = "cpu", *, half: bool = True, seed: int = 0, n_threads: int | None = None
) -> Network:
    """Load a GGUF into PyTorch, dequantized, and put a fresh adapter on it.

    Raises:
        ModelError: transformers cannot load this architecture's GGUF.
        UsageError: an extra is not installed, or the model has fewer layers.
    """
    require()
    import peft
    import torch

    model = _read(path)
    n_layer = model.config.get_text_config().num_hidden_layers
    if shape.layers is not None and not 1 <= shape.layers <= n_layer:
        raise UsageError(f"layers = {shape.layers}, but {path.name} has {n_layer}", f"use 1 to {n_layer}")
    found = lora_file.matrices(path, _linears(model, n_layer if shape.layers is None else shape.layers), n_layer)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=shape.rank, lora_alpha=shape.alpha, target_modules=[m.module for m in found], bias="none"
    )
    if half:
        _halve(model)
    workers = (n_threads or os.cpu_count() or 1) if device == "cpu" else 1
    torch.set_num_threads(1 if workers > 1 else torch.get_num_threads())
    try:
        with _quiet():
            adapted = peft.get_peft_model(model, config).to(device).train()
    except ValueError as e:
        raise ModelError(f"peft cannot put an adapter on {path.name}: {e}", OTHER_BASE) from e
    return Network(adapted, device, half, found, workers)


def _read(path: Path) -> Any:
    """A GGUF as a transformers model, dequantized to float32."""
    import torch
    import transformers

    try:
        with _quiet():
            return transformers.AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
            )
    except (
        ValueError,
        KeyError,
        NotImplementedError,
        OSError,
        RuntimeError,
        TypeError,
        AttributeError,
        ImportError,
    ) as e:
        reason = next(iter(str(e).splitlines()), type(e).__name__)[:300]
        raise ModelError(
            f"transformers {transformers.__version__} cannot load {path.name}: {reason}",
            OTHER_BASE,
        ) from e


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and the deprecation warnings that libraries write."""
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _linears(model: Any, layers: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The matrices of the first layers: names of modules and values."""
    import torch

    for name, module in model.named_modules():
        number = _LAYER.search(name)
        if number and int(number[1]) < layers and isinstance(module, torch.nn.Linear):
            yield name, module.weight.detach().float().numpy()


def _halve(model: Any) -> None:
    """Keep the matrices in bfloat16, so that no pass has to convert them. The table of the rows stays as it is."""
    import torch

    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)  # tied to the table until here
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.bfloat16()
