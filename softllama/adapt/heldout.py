"""How far a network is from the posterior average on words and frames that it was not taught, and what it costs pure text.

Knows groups and a network. The same measures on the quantized model through llama.cpp are those of `softllama study adapter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from softllama.adapt.cases import Group
from softllama.adapt.network import Network
from softllama.adapt.pool import Template
from softllama.adapt.training import divergence, students, targets

if TYPE_CHECKING:
    import torch

BATCH = 6  # groups that are read side by side
GRID = (0.1, 0.3, 0.5, 0.7, 0.9)  # the weight of the first of two words


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Means over held-out cases; nats but for alpha_error.

    Attributes:
        kl: KL(posterior average || mixture) at the end of the frame.
        kl_all: over all positions from the mixture on.
        alpha_error: |weight that the output implies - weight it should have|, at the end of the frame, over cases whose two
            outputs differ by at least 0.1 nats (JS). The implied weight is the least-squares one.
        kl_text: KL as kl_all, in places of held-out texts.
        pure: KL(without adapter || with it) on held-out ordinary text.
    """

    kl: float
    kl_all: float
    alpha_error: float
    kl_text: float
    pure: float

    @classmethod
    def of(cls, values: Mapping[str, float]) -> HeldOut:
        """From what `as_dict` returned."""
        return cls(**{f.name: values.get(f.name, float("nan")) for f in fields(cls)})

    def as_dict(self) -> dict[str, float]:
        """What was measured; nothing is NaN."""
        return {k: v for k, v in asdict(self).items() if v == v}


def pairs(template: Template, rng: np.random.Generator, n: int) -> list[Group]:
    """Groups of two alternatives over GRID, without what follows the frame."""
    weights = np.array([[w, 1 - w] for w in GRID])
    out = []
    for _ in range(n):
        if template.kind == "frame":
            worlds = template.alternatives[rng.choice(len(template.alternatives), 2, replace=False)]
        else:
            way = int(rng.integers(len(template.sources)))
            source = int(template.sources[way])
            chosen = [source, int(rng.choice(np.delete(np.arange(len(template.alternatives)), source)))]
            after = np.repeat(template.after[way][None], 2, axis=0)
            worlds = np.concatenate([template.alternatives[chosen], after], axis=1)
        out.append(Group(prefix=template.prefix, worlds=worlds, priors=weights, kind=template.kind))
    return out


def measure(network: Network, templates: Sequence[Template], texts: Sequence[Sequence[int]], seed: int = 0) -> HeldOut:
    """Measure with the adapter as it is now."""
    import torch

    rng = np.random.default_rng(seed)
    frames = [g for t in templates if t.kind == "frame" for g in pairs(t, rng, 2)]
    places = [g for t in templates if t.kind != "frame" for g in pairs(t, rng, 1)]
    network.model.eval()
    kl: list[float] = []
    every: list[float] = []
    errors: list[float] = []
    in_text: list[float] = []
    with torch.no_grad():
        for g, target, log_q in _said(network, [*frames, *places]):
            d = divergence(target, log_q)  # (cases, length)
            if g.kind != "frame":
                in_text += d.flatten().tolist()
                continue
            kl += d[:, -1].tolist()
            every += d.flatten().tolist()
            errors += _alpha_errors(target[:, -1], log_q[:, -1].exp())
        pure = [divergence(t, q).mean().item() for _, t, q in _said(network, [text(x) for x in texts])]
    network.model.train()
    means = [float(np.mean(x)) if x else float("nan") for x in (kl, every, errors, in_text, pure)]
    return HeldOut(kl=means[0], kl_all=means[1], alpha_error=means[2], kl_text=means[3], pure=means[4])


def _said(network: Network, groups: Sequence[Group]) -> Iterator[tuple[Group, torch.Tensor, torch.Tensor]]:
    """Each group with its target and what the student says."""
    for i in range(0, len(groups), BATCH):
        batch = groups[i : i + BATCH]
        yield from zip(batch, [t.p for t in targets(network, batch)], students(network, batch), strict=True)


def text(ids: Sequence[int]) -> Group:
    """Ordinary text as a group of one world."""
    return Group(prefix=tuple(ids[:1]), worlds=np.array([ids[1:]], np.int64), priors=np.ones((1, 1)), kind="pure")


def _alpha_errors(target: object, said: object) -> list[float]:
    """At one position, over GRID; both (5, n_vocab). The target is linear in its posterior weight between two outputs."""
    p, q = target.double().cpu().numpy(), said.double().cpu().numpy()  # type: ignore[attr-defined]
    low, high = p[0], p[-1]  # ends of the grid: points on the line between the two outputs
    line = high - low
    m = (low + high) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        js = sum(np.where(x > 0, x * np.log(x / m), 0).sum() for x in (low, high)) / 2
    if js < 0.05:
        return []
    norm = float(line @ line)
    return [abs(float((b - low) @ line) - float((a - low) @ line)) / norm for a, b in zip(p, q, strict=True)]
