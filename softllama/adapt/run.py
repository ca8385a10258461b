"""Make an adapter: texts, cases, training, and the file. The order of the work, what it needs, and what is said while it runs.

Knows a loaded model (for its tokenizer, its chat template and its header) and all modules of this package.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from softllama.adapt import forecast, lora_file, network
from softllama.adapt.cases import Group
from softllama.adapt.heldout import HeldOut
from softllama.adapt.network import Network, Shape
from softllama.adapt.pool import Pool
from softllama.adapt.settings import Settings
from softllama.adapt.texts import Tick, make_pool
from softllama.adapt.trainer import Progress, Trainer
from softllama.adapt.training import targets
from softllama.api import Model
from softllama.base.files import replacing
from softllama.errors import ModelError, SoftLlamaError, UsageError
from softllama.llama import header
from softllama.llama.adapter_facts import AdapterFacts, norms_digest
from softllama.vectors.distribution import Distribution

MEASURES = 10  # times that held-out cases are measured in a run
ALIKE = 0.05  # nats (JS): quantized products and bfloat16 differ by less
VERSION = 1  # of checkpoints

MEASURED = {  # what is told at the end: fields of HeldOut
    "kl": "KL(average || mixture), end of held-out frames",
    "kl_all": "the same at every position from the mixture on",
    "kl_text": "the same in held-out texts",
    "alpha_error": "error of the weight that the output implies",
    "pure": "KL on ordinary text, nats",
}

Note = Callable[[str], None]  # a line for the user


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run gave.

    Attributes:
        path: of the adapter.
        steps: of training. seconds: of training.
        before, after: held-out measures.
    """

    path: Path
    steps: int
    seconds: float
    before: HeldOut
    after: HeldOut

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: the adapter's metadata keep it."""
        return {
            "seconds": round(self.seconds),
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
        }


def checkpoint_of(out: Path) -> Path:
    """Where the checkpoint of an adapter lies: beside it."""
    return out.with_name(f"{out.name}.checkpoint")


def adapt(
    model: Model,
    out: Path,
    settings: Settings,
    *,
    text: str | None = None,
    resume: bool = False,
    note: Note = lambda line: None,
    tick: Tick = lambda what, done, total: None,
) -> Result:
    """Train an adapter that reads mixtures, and write it as a GGUF.

    Args:
        model: the base. Its file is read again by transformers.
        out: the adapter's file. It is written anew at every measurement, and a checkpoint beside it.
        settings: of a new run. A run that goes on keeps its own.
        text: ordinary text to take cases from, in place of what the model writes.
        resume: go on from the checkpoint beside `out`.
        note: called with lines for the user.
        tick: called as the work goes on.

    Raises:
        UsageError: torch, transformers or peft is not installed; there is no checkpoint to go on from, or there is one and
            `resume` is False; an option does not fit the model.
        ModelError: transformers or llama.cpp cannot do this model, or an adapter of it.
        KeyboardInterrupt: after a checkpoint was written.
    """
    checkpoint = checkpoint_of(out)
    state = _begun(checkpoint, out, model, resume=resume)
    if state is not None:
        settings = replace(Settings(**state["settings"]), device=settings.device)
    note(forecast.text(model, settings))
    net = _load(model, settings, tick)
    pool = make_pool(model, net, settings, text, tick) if state is None else Pool.of(state["pool"])
    trainer = Trainer(net, pool, settings)
    if state is not None:
        trainer.restore(state)
        note(f"going on after {trainer.progress.step:,} steps")
    facts = base_facts(model)

    def show(trainer: Trainer) -> None:
        mixed, pure = trainer.progress.recent()
        tick(f"training: KL {mixed:.3f} mixed, {pure:.4f} pure", round(1000 * trainer.done), 1000)

    def keep(trainer: Trainer) -> None:
        save(checkpoint, trainer, facts)
        result = _result(out, trainer.progress)
        export(net, result, facts, settings, model.arch)
        note(line(trainer.progress))

    try:
        trainer.run(MEASURES, show, keep)
    except KeyboardInterrupt:
        save(checkpoint, trainer, facts)
        note(f"stopped after {trainer.progress.step:,} steps; the same command with --resume goes on")
        raise
    checkpoint.unlink(missing_ok=True)
    return _result(out, trainer.progress)


def _load(model: Model, settings: Settings, tick: Tick) -> Network:
    """The model in PyTorch, with an adapter that changes nothing yet."""
    tick("loading into PyTorch", 0, 1)
    shape = Shape(rank=settings.rank, alpha=settings.alpha, layers=settings.layers)
    net = network.load(Path(model.path), shape, settings.device, seed=settings.seed)
    check(model, net)
    tick("loading into PyTorch", 1, 1)
    return net


def check(model: Model, net: Network) -> None:
    """Check that PyTorch computes what llama.cpp does, and that branches that share a beginning read nothing of each other.

    Raises:
        ModelError: they do not, as in models with recurrent layers.
    """
    rng = np.random.default_rng(0)
    ids = rng.integers(model.n_vocab // 10, model.n_vocab // 2, 12)
    with model.session() as session:
        expected = session.feed(ids.tolist())
    worlds = np.concatenate([ids[None, 4:], rng.integers(0, model.n_vocab // 2, (2, 8))])
    group = Group(prefix=tuple(ids[:4].tolist()), worlds=worlds[::-1].copy(), priors=np.eye(3))
    alone = Group(prefix=group.prefix, worlds=ids[None, 4:], priors=np.ones((1, 1)))
    packed, single = (targets(net, [g])[0].p[-1, -1].double().cpu().numpy() for g in (group, alone))
    for found, what in ((single, "PyTorch"), (packed, "PyTorch with several branches")):
        js = expected.js(Distribution.from_probs(found))
        if not js < ALIKE:
            raise ModelError(
                f"{what} computes {model.name} otherwise than llama.cpp: JS {js:.3f} on the same tokens",
                network.OTHER_BASE,
            )


def export(net: Network, result: Result, facts: AdapterFacts, settings: Settings, arch: str) -> None:
    """Write the adapter as it is now."""
    facts = replace(facts, steps=result.steps, settings=settings.to_dict(), result=result.to_dict())
    lora_file.write(result.path, net.matrices, net.adapter(), alpha=settings.alpha, arch=arch, facts=facts)


def base_facts(model: Model) -> AdapterFacts:
    """What an adapter says of its base; steps and results are not known yet."""
    h = header.read(model.path)
    file_type = h.get("general.file_type")
    return AdapterFacts(
        base_name=model.title or model.name,
        base_sha256=model.sha256 or "",
        base_norms_sha256=norms_digest(h),
        base_file_type=file_type if isinstance(file_type, int) else None,
        steps=0,
    )


def line(progress: Progress) -> str:
    """What was measured last, as a line: "step 120: held-out KL 0.210 (0.315 without adapter), ..."."""
    step, _, now = progress.measured[-1]
    first, found = progress.measured[0][2].as_dict(), now.as_dict()
    words = {
        "kl": "KL of mixtures",
        "kl_text": "in texts",
        "alpha_error": "error of the weight",
        "pure": "KL of pure text",
    }
    parts = [f"{what} {found[k]:.3f} ({first[k]:.3f} without adapter)" for k, what in words.items() if k in found]
    return f"step {step:,}, held-out: " + ", ".join(parts)


def _result(out: Path, progress: Progress) -> Result:
    before, after = progress.measured[0][2], progress.measured[-1][2]
    return Result(path=out, steps=progress.step, seconds=progress.seconds, before=before, after=after)


def save(checkpoint: Path, trainer: Trainer, facts: AdapterFacts) -> None:
    """Write a checkpoint."""
    import torch

    with replacing(checkpoint) as f:
        torch.save({**trainer.state(), "version": VERSION, "base": facts.base_sha256}, f)


def _begun(checkpoint: Path, out: Path, model: Model, *, resume: bool) -> dict[str, Any] | None:
    """The checkpoint of an earlier run to go on from; None to begin. One that is there is not written over."""
    if resume:
        return _state(checkpoint, model)
    if checkpoint.exists():
        raise UsageError(
            f"{checkpoint.name} is there: an earlier run for {out.name} was not finished",
            "add --resume to go on with it, or delete it",
        )
    return None


def _state(checkpoint: Path, model: Model) -> dict[str, Any]:
    """The contents of a checkpoint."""
    network.require()
    import torch

    if not checkpoint.is_file():
        raise UsageError(f"there is no {checkpoint} to go on from", "leave out --resume to begin")
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        base = state["base"]
        if state["version"] != VERSION:
            raise ValueError(f"version {state['version']}")
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as e:
        raise SoftLlamaError(
            f"{checkpoint.name} is no checkpoint of this version: {e}", "delete it, and begin anew"
        ) from e
    if base != model.sha256:
        raise UsageError(f"{checkpoint.name} is of another model than {model.name}", "name the model it was begun with")
    return state
