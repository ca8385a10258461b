"""The record of a generation as data: steps, prompt, how it ended, and the numbers that follow. Knows no model and no loop.

As JSON lines it is a header (`kind: "trace"`), a line for each step (`kind: "step"`), and a footer (`kind: "end"`). A
step's line has the texts of the tokens that no line before it had, so that a reader needs no vocabulary. As .npz, which is
smaller, it is the same header and footer as JSON text, and the arrays of columns.py. A step whose mixture is the model's whole
distribution has its heaviest entries only; its `rest` says what is missing, its `whole` how it is computed again. record.py
writes the files, reader.py reads them; view.py, page.py and
notebook.py show them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from softllama.trace import columns, items
from softllama.trace.layers import StepLayers
from softllama.trace.step import FORCED, SOFT, Step, StopReason
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector

FORMAT = 2  # 1 had every mixture whole, and the .npz form other arrays
Item = int | Mixture | Vector


@dataclass(frozen=True, eq=False)
class TraceData:
    """The record of a generation that has ended.

    steps: one for each generated position. prompt: ids and mixtures that were fed before them. prompt_text: the same as
    text for people. policy: as text. stop_reason: a StopReason, or a policy's own text; stop_string: the one that
    ended it. stop: all of them. thinking_tags: the
    opening and the closing tag, ("", "") where there are none. evaluated: positions that the model evaluated, those of the
    prompt included unless its memory was copied. timings: seconds, "prompt" and "total". manifest: versions, model and
    settings. tail: text at the end of thinking and answer that belongs to no step, as it might have begun a stop string.
    texts: of every token in the steps, by id. degenerations: where its text loops, repeats itself or surprises the model: each
    has a sign, a message, the step where it was found, and the one where it began. layers: what every layer would have said
    after each nth step, if that was asked for.
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
    degenerations: tuple[dict[str, Any], ...] = ()
    layers: tuple[StepLayers, ...] = ()

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
        """The answer; the thinking if that never ended."""
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
        """Mean of exp(H(w)) over the soft steps, where H(w) is the entropy of a mixture's weights. 1 if there are none."""
        n = [s.effective_tokens for s in self.steps if s.mode == SOFT]
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
        """The first line of the JSON-lines form: everything but the steps and the end."""
        return {
            "kind": "trace",
            "format": FORMAT,
            "policy": self.policy,
            "seed": self.seed,
            "prompt_text": self.prompt_text,
            "prompt": [items.to_json(i) for i in self.prompt],
            "stop": list(self.stop),
            "thinking_tags": list(self.thinking_tags),
            "manifest": self.manifest,
        }

    def footer(self) -> dict[str, Any]:
        """The last line of the JSON-lines form: how the generation ended."""
        return {
            "kind": "end",
            "stop_reason": self.stop_reason,
            "stop_string": self.stop_string,
            "thinking": self.thinking,
            "answer": self.answer,
            "n_thinking": self.n_thinking,
            "n_answer": self.n_answer,
            "n_soft": self.n_soft,
            "evaluated": self.evaluated,
            "mean_entropy": self.mean_entropy,
            "effective_tokens": self.effective_tokens,
            "timings": self.timings,
            "tail": list(self.tail),
            "degenerations": list(self.degenerations),
            **(self._layers_footer() if self.layers else {}),
        }

    def _layers_footer(self) -> dict[str, Any]:
        ids = dict.fromkeys(i for s in self.layers for i in s.ids)
        return {"layers": [s.to_dict() for s in self.layers], "texts": {str(i): self.spell(i) for i in ids}}

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**self.header(), **self.footer(), "kind": "trace", "steps": list(map(stepper(self.spell), self.steps))}

    def jsonl(self) -> Iterator[str]:
        """The lines of the JSON-lines form."""
        for record in (self.header(), *map(stepper(self.spell), self.steps), self.footer()):
            yield json.dumps(record, ensure_ascii=False, allow_nan=False)

    def step_columns(self) -> dict[str, list[Any]]:
        """A value for each step, by the name of the column: the readout, what was fed, and the model's distribution.

        weight: of the heaviest token that was fed. effective_tokens: exp of the entropy of the weights. entropy: of the
        distribution, in nats. logp: of the readout.
        """
        s = self.steps
        return {
            "index": [x.index for x in s],
            "position": [x.position for x in s],
            "mode": [str(x.mode) for x in s],
            "thinking": [x.thinking for x in s],
            "token_id": [x.token for x in s],
            "token": [self.spell(x.token) for x in s],
            "text": [x.text for x in s],
            "n_tokens": [x.n_tokens for x in s],
            "weight": [float(x.mixture.weights.max()) for x in s],
            "effective_tokens": [x.effective_tokens for x in s],
            "entropy": [x.entropy for x in s],
            "logp": [x.logp for x in s],
            "noise": [x.noise for x in s],
            "hidden": [x.hidden for x in s],
            "left_out": [x.left_out for x in s],
            "seconds": [x.seconds for x in s],
            "why": [x.why for x in s],
        }

    def token_columns(self) -> dict[str, list[Any]]:
        """A value for each token that was fed, as far as the record holds them, by the name of the column."""
        s = self.steps
        return {
            "step": [x.index for x in s for _ in range(len(x.mixture))],
            "token_id": [i for x in s for i in x.mixture.ids.tolist()],
            "token": [self.spell(i) for x in s for i in x.mixture.ids.tolist()],
            "weight": [w for x in s for w in x.mixture.weights.tolist()],
        }

    def arrays(self) -> dict[str, Any]:
        """The arrays of the .npz form, by name: columns.py has what they hold."""
        texts = {i: self.spell(i) for i in dict.fromkeys(i for s in self.steps for i in ids_of(s))}
        return {
            "header": np.array(json.dumps(self.header())),
            "footer": np.array(json.dumps(self.footer())),
            **columns.pack(self.steps),
            "texts": np.array(json.dumps(texts)),
        }


def step_dict(s: Step) -> dict[str, Any]:
    """A step as one line of the JSON-lines form."""
    return {
        "kind": "step",
        "index": s.index,
        "position": s.position,
        "mode": s.mode,
        "thinking": s.thinking,
        "token": s.token,
        "text": s.text,
        "mixture": items.pairs(s.mixture),
        "entropy": s.entropy,
        "top": [list(t) for t in s.top],
        "why": s.why,
        "left_out": s.left_out,
        "noise": s.noise,
        "hidden": s.hidden,
        **({"align": s.align} if s.align != "none" else {}),
        "seconds": s.seconds,
        "logp": s.logp if math.isfinite(s.logp) else None,
        "whole": None if s.whole is None else asdict(s.whole),
        "rest": None if s.rest is None else asdict(s.rest),
    }


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
