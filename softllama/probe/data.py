"""The results of a probe as data: the distributions of a mixture, of its components alone, and what they have in common.

Knows vectors only, no model; and not how the results look: view.py, plot.py and page.py read them, run.py makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from softllama.prompts.words import Resolved
from softllama.vectors import measures
from softllama.vectors.distribution import Distribution, Token
from softllama.vectors.mixture import Mixture
from softllama.vectors.noise import NO_NOISE, NoiseFloor
from softllama.vectors.sweep import Sweep
from softllama.vectors.vector import Vector

MIXTURE, AVERAGE = "mixture", "average"  # names of rows
COLUMNS = ("kind", "name", "weight", "alpha", "rank", "token_id", "token", "p", "entropy", "js_to_mixture")


@dataclass(frozen=True, eq=False, kw_only=True)
class ProbeData:
    """What a model predicts after a prompt with mixtures, and after the same prompt with single tokens in their slots.

    prompt: as it was written. mixtures: what fills its slots. next: the distribution after the prompt. baselines: the
    distribution with one component alone in each slot, by its label ("dog", or "dog+ball" where there are several
    mixtures). weights: the share of each baseline in the mixture. average: the baselines' average by those weights,
    which is what one gets by sampling the tokens first; None for signed mixtures. weight_covered: the weight that the
    baselines have together (1 unless there are more than 64). sweep: from the first component to the others, if it was
    asked for. continuations: greedy text after the mixture and after each baseline. n_top: how many tokens are shown.
    tokens: the prompt's tokens as text. noise: the noise floor of these numbers. repeats: of how many copies, each moved by
    1e-5, they are averages. watched: ids that were asked for by name. frames: where no prompt was given, the prompts that
    were tried, with the JS between the components alone. alternatives: no mixture was fed; `next` is the average of the baselines,
    each of a whole word. model: its name. make_manifest: see `manifest`.
    """

    prompt: str
    mixtures: list[Resolved]
    next: Distribution
    baselines: dict[str, Distribution]
    weights: dict[str, float]
    average: Distribution | None
    weight_covered: float
    sweep: Sweep | None
    continuations: dict[str, str]
    n_top: int
    tokens: list[str]
    noise: NoiseFloor = NO_NOISE
    repeats: int = 1
    watched: tuple[int, ...] = ()
    frames: dict[str, float] = field(default_factory=dict)
    alternatives: bool = False
    model: str = ""
    make_manifest: Callable[[], dict[str, Any]] = field(repr=False)

    @property
    def heaviest(self) -> str:
        """The label of the baseline with the largest weight; the first among equals."""
        return max(self.weights, key=lambda k: self.weights[k])

    @cached_property
    def mass_outside_nuclei(self) -> float:
        """The mass that the mixture puts on tokens in the nucleus of no component (`vectors.measures`)."""
        return measures.mass_outside_nuclei(self.next, list(self.baselines.values()))

    @cached_property
    def mass_outside_nuclei_alone(self) -> float:
        """The floor of `mass_outside_nuclei`: the most that a component alone has there."""
        return measures.mass_outside_nuclei_alone(list(self.baselines.values()))

    @cached_property
    def emergent(self) -> list[measures.Emergent]:
        """Tokens whose probability exceeds that in every component alone by 0.01 and by the noise floor; at most `n_top`."""
        return measures.emergent_tokens(self.next, list(self.baselines.values()), self.noise, self.n_top)

    def watched_in(self, d: Distribution) -> list[Token]:
        """The watched tokens of one of the distributions."""
        return [d[i] for i in self.watched]

    @cached_property
    def compared_tokens(self) -> list[int]:
        """The ids that a picture shows: the likeliest of each row, the watched and the emergent ones; 12 at most."""
        rows = self.rows()[:8]
        ids = [t.id for _, _, d in rows for t in d.top(min(self.n_top, 5))]
        ids = list(dict.fromkeys([*ids, *self.watched, *(e.id for e in self.emergent)]))
        return sorted(ids, key=lambda i: -max(d[i].p for _, _, d in rows))[:12]

    @property
    def is_third_token(self) -> bool:
        """Is the mixture's most probable token that of none of its components?"""
        return self.next.argmax not in {d.argmax for d in self.baselines.values()}

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Versions, model and settings (softllama.engine.manifest). Reads the whole model file once, for its hash."""
        return self.make_manifest()

    @property
    def title(self) -> str:
        """The prompt with the mixtures in its slots: "The [0.5 dog + 0.5 cat] says"; with | between whole words."""
        return in_slots(self.prompt, self.mixtures, " | " if self.alternatives else " + ")

    def rows(self) -> list[tuple[str, float | None, Distribution]]:
        """(name, weight, distribution) of the mixture, each baseline, and the average."""
        first = AVERAGE if self.alternatives else MIXTURE
        out: list[tuple[str, float | None, Distribution]] = [(first, None, self.next)]
        out += [(k, self.weights[k], d) for k, d in self.baselines.items()]
        if self.average is not None:
            out.append((AVERAGE, None, self.average))
        return out

    def token_rows(self) -> Iterator[tuple[Any, ...]]:
        """A row of `COLUMNS` for each token of each distribution; a continuation has its text as the token.

        kind is mixture, component, average, sweep or continuation; None stands where a column does not apply.
        """
        for name, weight, d in self.rows():
            kind, js, entropy = name if weight is None else "component", d.js(self.next), d.entropy()
            for rank, t in enumerate(d.top(self.n_top), 1):
                yield kind, name, weight, None, rank, t.id, t.text, t.p, entropy, js
        if self.sweep is not None:
            for a, d in zip(self.sweep.alphas.tolist(), self.sweep.distributions, strict=True):
                js, entropy = d.js(self.next), d.entropy()
                for rank, t in enumerate((d[c.id] for c in self.sweep.curves), 1):
                    yield "sweep", None, None, a, rank, t.id, t.text, t.p, entropy, js
        for name, text in self.continuations.items():
            yield "continuation", name, None, None, None, None, text, None, None, None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; the distributions as their top tokens.

        The keys of JSON keep their first names: covered, stray_mass, third_token.
        """
        out: dict[str, Any] = {
            "prompt": self.prompt,
            "tokens": self.tokens,
            "mixtures": [_mixture_dict(m, whole=self.alternatives) for m in self.mixtures],
            "next": self._distribution_dict(self.next),
            "baselines": {
                k: {"weight": self.weights[k], **self._distribution_dict(d)} for k, d in self.baselines.items()
            },
            "average": None if self.average is None else self._distribution_dict(self.average),
            "heaviest": self.heaviest,
            "covered": self.weight_covered,
            "stray_mass": self.mass_outside_nuclei,
            "stray_mass_alone": self.mass_outside_nuclei_alone,
            "third_token": self.is_third_token,
            "emergent": [e._asdict() for e in self.emergent],
            "noise": asdict(self.noise),
            "repeats": self.repeats,
            "alternatives": self.alternatives,
        }
        if self.frames:
            out["frames"] = self.frames
        if self.continuations:
            out["continuations"] = self.continuations
        if self.sweep is not None:
            out["sweep"] = _sweep_dict(self.sweep)
        out["manifest"] = self.manifest
        return out

    def _distribution_dict(self, d: Distribution) -> dict[str, Any]:
        top = [{"id": t.id, "text": t.text, "p": t.p} for t in d.top(self.n_top)]
        out: dict[str, Any] = {"entropy": d.entropy(), "js_to_mixture": d.js(self.next), "top": top}
        if self.watched:
            out["watched"] = [{"id": t.id, "text": t.text, "p": t.p} for t in self.watched_in(d)]
        return out


def in_slots(prompt: str, mixtures: Sequence[Resolved], sign: str = " + ") -> str:
    """A prompt with mixtures in its slots: "The [0.5 dog + 0.5 cat] says". sign: between the parts of a mixture."""
    text = prompt
    for m in mixtures:
        shown = sign.join(f"{c.weight:.3g} {c.label}" for c in m.components[:4])
        if len(m.components) > 4:
            shown += f"{sign}{len(m.components) - 4} more"
        slot, times = "{" + m.name + "}", -1 if m.name or len(mixtures) == 1 else 1
        text = text.replace(slot, f"[{shown}]", times)
    return text


def _mixture_dict(m: Resolved, *, whole: bool) -> dict[str, Any]:
    """A mixture. whole: were its words fed whole? Then each has all its tokens, too."""
    components = [
        {"label": c.label, "weight": c.weight, **_contents(c.mixture)} | ({"word": list(c.tokens)} if whole else {})
        for c in m.components
    ]
    return {"name": m.name, "components": components, **({"before": list(m.before)} if m.before else {})}


def _contents(m: Mixture | Vector) -> dict[str, Any]:
    """The tokens of a mixture; of a vector its scale and size, as its numbers are in the file that it is from."""
    if isinstance(m, Vector):
        return {"vector": {"positions": len(m), "n_embd": m.n_embd, "scale": m.scale, "norm": float(m.norms.mean())}}
    return {"tokens": [[i, w] for i, w in m.top()]}


def _sweep_dict(s: Sweep) -> dict[str, Any]:
    return {
        "start": s.start,
        "end": s.end,
        "alphas": s.alphas.tolist(),
        "midpoint": s.midpoint,
        "emergent": s.emergent,
        "js_start": s.js_start.tolist(),
        "js_end": s.js_end.tolist(),
        "entropy": s.entropy.tolist(),
        "curves": [
            {
                "id": c.id,
                "text": c.text,
                "p": c.p.tolist(),
                "midpoint": c.midpoint,
                "sharpness": c.sharpness,
                "above": c.above,
                "below": c.below,
            }
            for c in s.curves
        ],
    }
