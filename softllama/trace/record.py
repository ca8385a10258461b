"""The record of a generation: data that is saved, loaded, shown and fed again. Knows no model and no context.

As JSON lines: a header (`kind: "trace"`), a line for each step (`kind: "step"`), and a footer (`kind: "end"`). A step's
line has the texts of the tokens that no line before it had, so that a reader needs no vocabulary. A file that was cut off
still loads: it has no footer, and says so. As .npz: the same header and footer as JSON text, and arrays.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from softllama.base import arguments
from softllama.base.files import check_place, replacing
from softllama.errors import UsageError
from softllama.trace.step import FORCED, SOFT, Step, StopReason
from softllama.vectors.mixture import Mixture

FORMAT = 1
MARKS = {".jsonl": b'{"kind": "trace"', ".npz": b"header.npy"}  # what files of traces begin with
Item = int | Mixture


@dataclass(frozen=True, eq=False)
class Trace:
    """A finished generation.

    steps: one for each generated position. prompt: ids and mixtures that were fed before. prompt_text: the same for
    people. policy: in written form. stop_reason: a StopReason, or a policy's own text; stop_string: the
    one that ended it. thinking_tags: opening and closing, ("", "") where there are none. evaluated:
    positions that the model evaluated, prompt included unless its memory was copied. timings: seconds, "prompt" and
    "total". tail: text that was held back at the end, of thinking and answer. texts: of every token in the steps, by id.
    """

    steps: tuple[Step, ...]
    prompt: tuple[Item, ...]
    prompt_text: str
    policy: str
    seed: int
    stop_reason: StopReason | str
    stop: tuple[str, ...] = ()
    thinking_tags: tuple[str, str] = ("", "")
    evaluated: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    tail: tuple[str, str] = ("", "")
    texts: dict[int, str] = field(default_factory=dict)
    stop_string: str = ""

    @cached_property
    def thinking(self) -> str:
        """The readouts of the thinking block as text, without its tags."""
        return "".join(s.text for s in self.steps if s.thinking) + self.tail[0]

    @cached_property
    def answer(self) -> str:
        """The text after the thinking block; all of it where there is none. A stop string is not part of it."""
        text = "".join(s.text for s in self.steps if not s.thinking) + self.tail[1]
        opening = self.thinking_tags[0]
        if opening and self.n_thinking and text.lstrip().startswith(opening):  # the model opened the block by itself
            text = text.lstrip()[len(opening) :]
        return text

    @property
    def text(self) -> str:
        """What was said: the answer, or what there is of the thinking if it never ended."""
        return self.answer if self.answer or not self.thinking else self.thinking

    @property
    def stop_text(self) -> str:
        """Why it ended, in words: with the stop string, if one ended it."""
        return f"{self.stop_reason} {self.stop_string!r}" if self.stop_string else str(self.stop_reason)

    @property
    def n_thinking(self) -> int:
        """Steps inside the thinking block, forced tags left out."""
        return sum(s.thinking and not s.forced for s in self.steps)

    @property
    def n_answer(self) -> int:
        """Steps outside the thinking block."""
        return sum(not s.thinking for s in self.steps)

    @property
    def n_soft(self) -> int:
        """Steps that fed a mixture."""
        return sum(s.mode == SOFT for s in self.steps)

    @property
    def mean_entropy(self) -> float:
        """Mean entropy of the steps that were decided, in nats; 0 if there are none."""
        h = [s.entropy for s in self.steps if s.mode != FORCED]
        return float(np.mean(h)) if h else 0.0

    @property
    def effective_tokens(self) -> float:
        """Mean of exp(H(w)) over the soft steps: how many tokens a mixture holds, so to speak. 1 if there are none."""
        n = [effective(s.mixture) for s in self.steps if s.mode == SOFT]
        return float(np.mean(n)) if n else 1.0

    @property
    def tokens_per_second(self) -> float:
        """Generated positions per second, the prompt's time left out."""
        seconds = self.timings.get("total", 0.0) - self.timings.get("prompt", 0.0)
        return len(self.steps) / seconds if seconds > 0 else 0.0

    def spell(self, token: int) -> str:
        """A token's text; "#id" where the record has none."""
        return self.texts.get(token, f"#{token}")

    # ---- as data

    def header(self) -> dict[str, Any]:
        """Everything but the steps and how it ended."""
        return {
            "kind": "trace", "format": FORMAT, "policy": self.policy, "seed": self.seed, "prompt_text": self.prompt_text,
            "prompt": [i if isinstance(i, int) else _mixture(i) for i in self.prompt], "stop": list(self.stop),
            "thinking_tags": list(self.thinking_tags), "manifest": self.manifest,
        }  # fmt: skip

    def footer(self) -> dict[str, Any]:
        """How it ended."""
        return {
            "kind": "end", "stop_reason": self.stop_reason, "stop_string": self.stop_string,
            "thinking": self.thinking, "answer": self.answer,
            "n_thinking": self.n_thinking, "n_answer": self.n_answer, "n_soft": self.n_soft, "evaluated": self.evaluated,
            "mean_entropy": self.mean_entropy, "effective_tokens": self.effective_tokens, "timings": self.timings,
            "tail": list(self.tail),
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**self.header(), **self.footer(), "kind": "trace", "steps": list(map(stepper(self.spell), self.steps))}

    def jsonl(self) -> Iterator[str]:
        """The lines of the JSON-lines form."""
        for record in (self.header(), *map(stepper(self.spell), self.steps), self.footer()):
            yield json.dumps(record, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .jsonl or .npz. The file is replaced as a whole: what was there before is lost only when this is done."""
        p = arguments.path(path)
        if p.suffix not in MARKS:
            raise UsageError(f"cannot save a trace as {p.name!r}", "end the name in .jsonl or .npz")
        with replacing(p) as f:
            if p.suffix == ".npz":
                np.savez_compressed(f, **self._arrays())
            else:  # half a surrogate pair, which a prompt may hold, is no UTF-8; its escape is JSON
                f.writelines(line.encode("utf-8", "backslashreplace") + b"\n" for line in self.jsonl())

    def _arrays(self) -> dict[str, Any]:
        s = self.steps
        sizes = [len(x.mixture) for x in s]
        flat = [np.concatenate([getattr(x.mixture, k) for x in s]) if s else np.empty(0) for k in ("ids", "weights")]
        rest = [{**d, "mixture": None} for d in map(stepper(self.spell), s)]
        return {
            "header": np.array(json.dumps(self.header())),
            "footer": np.array(json.dumps(self.footer())),
            "steps": np.array(json.dumps(rest)),
            "offsets": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),  # (n_steps + 1,) into ids and weights
            "ids": flat[0].astype(np.int32),
            "weights": flat[1].astype(np.float32),
            "tokens": np.array([x.token for x in s], dtype=np.int32),  # (n_steps,) readouts
            "entropy": np.array([x.entropy for x in s], dtype=np.float64),  # (n_steps,) nats
        }

    def __repr__(self) -> str:
        return (
            f"Trace({self.policy}, {self.n_thinking} thinking + {self.n_answer} answer tokens, {self.stop_text}, "
            f"{self.answer[:60]!r})"
        )


def effective(m: Mixture) -> float:
    """exp of the entropy of a mixture's weights: 1 for one token, n for n equal ones. Negative weights count as 0."""
    w = m.weights[m.weights > 0].astype(np.float64)
    w = w / w.sum()
    return math.exp(max(0.0, float(-(w * np.log(w)).sum())))


def step_dict(s: Step) -> dict[str, Any]:
    """A step as one line of the JSON-lines form."""
    return {
        "kind": "step", "index": s.index, "position": s.position, "mode": s.mode, "thinking": s.thinking,
        "token": s.token, "text": s.text, "mixture": _mixture(s.mixture), "entropy": s.entropy,
        "top": [list(t) for t in s.top], "why": s.why, "left_out": s.left_out, "noise": s.noise, "hidden": s.hidden,
        "seconds": s.seconds, "logp": s.logp if math.isfinite(s.logp) else None,
    }  # fmt: skip


def _mixture(m: Mixture) -> list[list[float]]:
    return [[int(i), float(w)] for i, w in zip(m.ids, m.weights, strict=True)]


def stepper(spell: Callable[[int], str]) -> Callable[[Step], dict[str, Any]]:
    """A function from each step in turn to its line of the JSON-lines form, with the texts that are new in it."""
    known: set[int] = set()

    def line(s: Step) -> dict[str, Any]:
        new = [i for i in ids_of(s) if i not in known]
        known.update(new)
        return {**step_dict(s), "texts": {str(i): spell(i) for i in new}}

    return line


def ids_of(s: Step) -> list[int]:
    """Every token id in a step, each once."""
    return list(dict.fromkeys([s.token, *s.mixture.ids.tolist(), *(i for i, _ in s.top)]))


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for a place where a trace cannot be saved, or where something other than a trace is."""
    p = Path(path)
    if p.suffix not in MARKS:
        raise UsageError(f"cannot save a trace as {p.name!r}", "end the name in .jsonl or .npz")
    check_place(p, "a trace", MARKS[p.suffix])


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace that `save` wrote, as far as it goes. Raises SoftLlamaError for what is none, with the line."""
    from softllama.trace.reader import load as read  # it needs Trace

    return read(path)
