"""Searches over several passes, as text: which there are, with their settings, types, ranges and defaults.

    vote:samples=8,policy=sample(temperature=0.7)      self-consistency: the answer that most samples give
    deepconf:samples=16,share=0.9                       votes weighted by the confidence of each sample
    best:samples=8                                     the likeliest of several samples
    power:alpha=4                                      Metropolis-Hastings on whole texts
    superposed:drafts=3,corpus=book.txt                drafts that share one pass a step
    beam:beams=4,length_penalty=1                      beam search over hard tokens
    diffusion:steps=64, lrd:r=0.15                     how diffusion models decode, with plain and with soft masks

Knows the form of the text. Runs nothing, and knows no model: search.py has what they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_origin

from softllama import policy
from softllama.errors import UsageError
from softllama.policy.registry import Range, Setting


@dataclass(frozen=True)
class Kind:
    """A search.

    Attributes:
        doc: what it does, in a line.
        settings: its settings. A default of None means that the text of the search leaves it out.
        policy: does it sample by a policy?
        size: the setting that says how many generations it takes; "" for one.
        example: of its settings, for hints.
        masks: is it for diffusion models, and no other?
    """

    doc: str
    settings: tuple[Setting, ...]
    policy: bool = False
    size: str = ""
    example: str = "steps=64"
    masks: bool = False


@dataclass(frozen=True)
class Search:
    """A search as it was written. settings: names and values, defaults included. policy: as text; "" for the search's own."""

    kind: str
    settings: tuple[tuple[str, Any], ...]
    policy: str = ""


_SAMPLES = Setting("samples", int, 8, Range(1, 10_000))
_MASKS = (
    Setting("steps", int, 0, Range(0)),
    Setting("block", int, 32, Range(0)),
    Setting("temperature", float, 0.0, Range(0, 1e6)),
    Setting("order", Literal["confidence", "entropy", "margin"], "confidence", None),
)
SEARCHES: dict[str, Kind] = {
    "vote": Kind("self-consistency: the answer that most samples give", (_SAMPLES,), True, "samples", "samples=8"),
    "deepconf": Kind(
        "votes weighted by, and filtered on, the confidence of each sample",
        (
            Setting("samples", int, 16, Range(1, 10_000)),
            Setting("measure", Literal["mean", "tail", "lowest", "bottom"], "lowest", None),
            Setting("share", float, 0.9, Range(0, 1, above=True)),
            Setting("window", int, 2048, Range(1)),
            Setting("k", int, 20, Range(2, 1000)),
            Setting("warmup", int, 0, Range(0, 10_000)),
        ),
        True,
        "samples",
        "samples=16,share=0.1,warmup=4",
    ),
    "best": Kind("the likeliest of several samples", (_SAMPLES,), True, "samples", "samples=8"),
    "power": Kind(
        "a text drawn from the model's whole-text distribution, sharpened by Metropolis-Hastings",
        (
            Setting("alpha", float, 4.0, Range(1, 100)),
            Setting("blocks", int, 16, Range(1, 10_000)),
            Setting("moves", int, 10, Range(0, 10_000)),
        ),
        example="alpha=4,moves=10",
    ),
    "superposed": Kind(
        "several drafts from one pass a step, whose input mixes their last tokens",
        (
            Setting("drafts", int, 3, Range(1, 1000)),
            Setting("temperature", float, 0.06, Range(1e-6, 1e6)),
            Setting("alpha", float, 0.54, Range(0, 1)),
            Setting("corpus", str, None, None),
        ),
        example="drafts=3",
    ),
    "diffusion": Kind("how diffusion models decode: the surest masked positions become tokens", _MASKS, masks=True),
    "lrd": Kind(
        "the same with soft masks, which hold a share of the prediction (Latent Refinement Decoding)",
        (
            *_MASKS[:-1],
            Setting("order", _MASKS[-1].kind, "entropy", None),
            Setting("r", float, 0.15, Range(0, 1)),
            Setting("top_p", float, 0.9, Range(0, 1, above=True)),
            Setting("refine", int, 20, Range(0)),
            Setting("tau_refine", float, 0.1, Range(0)),
            Setting("tau_decode", float, 0.1, Range(0)),
            Setting("soft_by", Literal["confidence", "entropy"], "confidence", None),
        ),
        masks=True,
        example="r=0.15",
    ),
    "beam": Kind(
        "beam search over hard tokens",
        (Setting("beams", int, 4, Range(1, 10_000)), Setting("length_penalty", float, None, Range(-10, 10))),
        size="beams",
        example="beams=4",
    ),
}


def kind_of(text: str) -> str:
    """The search that a text names, or "" for another text, such as a policy's."""
    kind = text.strip().partition(":")[0].strip()
    return kind if kind in SEARCHES else ""


def parse(text: str) -> Search:
    """Read a search.

    Args:
        text: such as "vote:samples=8"; `kind_of` is not "".

    Raises:
        UsageError: a setting is unknown or not allowed. The message names what is.
    """
    name, _, body = text.strip().partition(":")
    name = name.strip()
    kind = SEARCHES[name]
    known = {s.name: s for s in kind.settings}
    values: dict[str, Any] = {s.name: s.default for s in kind.settings if s.default is not None}
    inner = ""
    for item in _split(body):
        key, equals, value = (x.strip() for x in item.partition("="))
        if not equals or not (key in known or (key == "policy" and kind.policy)):
            names = [*known, *(["policy"] if kind.policy else [])]
            raise UsageError(
                f"{item.strip()!r} is no setting of {name}", f"{name} has {', '.join(names)}: {name}:{kind.example}"
            )
        if key == "policy":
            inner = repr(policy.parse(value[1:-1] if value.startswith("(") and value.endswith(")") else value))
        else:
            values[key] = _value(known[key], value)
    return Search(name, tuple(values.items()), inner)


def describe(name: str) -> str:
    """What a search does in a line, then each setting with its default and what is allowed."""
    kind = SEARCHES[name]
    wide = max(len(s.name) for s in kind.settings)
    rows = [f"  {s.name:<{wide}} = {'' if s.default is None else s.default}  ({s.allowed})" for s in kind.settings]
    policies = [f"  {'policy':<{wide}} =   (the policy of its samples, in parentheses)"] if kind.policy else []
    return "\n".join([f"{name}: {kind.doc}", *rows, *policies])


def _value(setting: Setting, text: str) -> Any:
    value: Any = text
    if setting.kind is not str and get_origin(setting.kind) is None:
        try:
            value = setting.kind(text)
        except ValueError:
            value = text
    return setting.check(value)


def _split(body: str) -> list[str]:
    """The parts between the commas outside parentheses."""
    items, depth, start = [], 0, 0
    for i, ch in enumerate(body):
        depth += (ch == "(") - (ch == ")")
        if ch == "," and depth == 0:
            items.append(body[start:i])
            start = i + 1
    if depth:
        raise UsageError(f"the parentheses in {body!r} do not match")
    return [x for x in [*items, body[start:]] if x.strip()]
