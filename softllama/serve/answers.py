"""From steps to what a client reads: reasoning and content, log-probabilities, usage, and our own block.

Knows steps and OpenAI's names for them. Knows no HTTP and no context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from softllama.engine.engine import Engine
from softllama.generation.state import Generation
from softllama.serve.jobs import Stepped
from softllama.serve.recording import Recorder
from softllama.trace.step import FORCED, SOFT, Step, StopReason
from softllama.vectors import passes
from softllama.vectors.mixture import Mixture

FED = 12  # entries of a mixture in the record of a step
LENGTH = (StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL)
CLOSING = "closing tag"


class Delta(NamedTuple):
    """New text: of the thinking, and of the answer."""

    reasoning: str = ""
    content: str = ""


class Reader:
    """Reads the steps of one choice, and keeps what its answer needs at the end."""

    def __init__(
        self, g: Generation, *, logprobs: bool = False, trace: bool = False, recorder: Recorder | None = None
    ) -> None:
        self.generation, self._spell = g, g.model.spell
        self._opening = "" if g.thinking or g.everywhere or g.tags is None else g.tags.open
        self._held = ""  # the beginning of an answer that may be the tag with which the model opens a block by itself
        self._fresh = False  # a thinking block has ended, and nothing but white space followed yet
        self._thought = False
        self._logprobs, self._trace = logprobs, trace
        self.content_logprobs: list[dict[str, Any]] = []
        self.thinking_logprobs: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.reasoning = self.content = ""
        self.n_thinking = self.n_soft = self.n_steps = 0
        self.thinking_ended: str | None = None
        self._recorder = recorder
        self._lines = [] if recorder is None else [recorder.header]
        self._tail = ("", "")  # text at the end of thinking and answer that belongs to no step

    def read(self, event: Stepped) -> Delta:
        """The text that a step adds."""
        step = event.step
        self.n_steps += 1
        self.n_soft += step.mode == SOFT
        if self._trace:
            self.steps.append(step_record(step, self._spell))
        if self._recorder is not None:
            self._lines.append(self._recorder.step(step))
        if self._logprobs:
            (self.thinking_logprobs if step.thinking else self.content_logprobs).append(
                logprob(step, event.top, self.generation.model.tokenizer.piece)
            )
        if step.thinking:
            self.n_thinking += 1
            self._note_end(step)
            delta = Delta(reasoning=step.text)
            self._held, self._thought, self._fresh = "", True, True
        else:
            delta = Delta(content=self._answer(step.text))
        return self._kept(delta)

    def end(self) -> Delta:
        """The text that was held back, once the generation has ended."""
        rest = self.flush()
        if self.generation.thinking:
            return self._kept(Delta(reasoning=rest))
        held, self._held, self._opening = self._held, "", ""
        return self._kept(Delta(content=self._answer(held + rest)))

    def flush(self) -> str:
        """The text that was held back, as it is."""
        rest = self.generation.flush()
        self._tail = (rest, "") if self.generation.thinking else ("", rest)
        return rest

    def news(self) -> dict[str, Any]:
        """What a stream says of the steps since the last call, as a part of our own block."""
        steps, self.steps = self.steps, []
        lines, self._lines = self._lines, []
        return {**({"steps": steps} if steps else {}), **({"record": lines} if lines else {})}

    @property
    def finish_reason(self) -> str:
        return "length" if self.generation.stop_reason in LENGTH else "stop"

    def usage(self, n_prompt: int, cached: int) -> dict[str, Any]:
        """OpenAI's usage object."""
        return usage(n_prompt, self.n_steps, self.n_thinking, cached)

    def block(self, note: str = "") -> dict[str, Any]:
        """Our own block: what ran, and how the thinking went."""
        g = self.generation
        ended = (
            CLOSING if self.n_thinking and not g.thinking else None
        )  # a tag of several tokens has no reason of its own
        out: dict[str, Any] = {
            "policy": repr(g.policy),
            "answer_policy": None if g.policy.answer is None else repr(g.policy.answer),
            "seed": g.seed,
            "think": g.options.think,
            "soft_steps": self.n_soft,
            "thinking_steps": self.n_thinking,
            "thinking_ended": self.thinking_ended or ended,
            "stop_reason": str(g.stop_reason),
            "stop_string": g.stop_string or None,
            "warnings": [d.to_dict() for d in g.degenerations],
        }
        if note:
            out["note"] = note
        if self._logprobs:
            out["thinking_logprobs"] = self.thinking_logprobs
        if self._trace:
            out["steps"] = self.steps
        if self._recorder is not None:
            out["record"] = [*self._lines, self._recorder.end(self._tail)]
        return out

    def _answer(self, text: str) -> str:
        """Text of the answer, without the tag with which the model itself opened a block before it."""
        if self._opening and not self._thought:
            text = self._held + text
            begun = text.lstrip()
            if self._opening.startswith(begun):
                self._held = text
                return ""
            self._held, self._opening = "", ""
        if self._fresh:
            text = text.lstrip()
            self._fresh = not text
        return text

    def _note_end(self, step: Step) -> None:
        """Why the block ended: the reason of the first of its closing tokens."""
        if step.mode != FORCED:
            self.thinking_ended = (step.why or CLOSING) if step.token == self.generation.moment.think_close else None
        elif self.thinking_ended is None:
            self.thinking_ended = step.why

    def _kept(self, delta: Delta) -> Delta:
        self.reasoning += delta.reasoning
        self.content += delta.content
        return delta


def usage(n_prompt: int, n_completion: int, n_thinking: int, cached: int) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": n_thinking},
    }


def together(usages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The usage of several choices of one prompt."""
    n = sum(u["completion_tokens"] for u in usages)
    thinking = sum(u["completion_tokens_details"]["reasoning_tokens"] for u in usages)
    first = usages[0]
    return usage(first["prompt_tokens"], n, thinking, first["prompt_tokens_details"]["cached_tokens"])


def logprob(step: Step, top: Sequence[Any], piece: Callable[[int], bytes]) -> dict[str, Any]:
    """An entry of logprobs.content."""
    data = piece(step.token)
    return {
        **_token(data, step.logp),
        "top_logprobs": [_token(piece(t.id), math.log(t.p) if t.p > 0 else -9999.0) for t in top],
    }


def token_logprob(model: Engine, token: int, logp: float) -> dict[str, Any]:
    """The entry of a token that is no step."""
    return {**_token(model.tokenizer.piece(token), logp), "top_logprobs": []}


def _token(data: bytes, logp: float) -> dict[str, Any]:
    return {"token": data.decode("utf-8", "replace"), "logprob": finite(logp), "bytes": list(data)}


def finite(logp: float) -> float:
    """ln p as JSON can hold it: OpenAI writes -9999 for what is next to impossible."""
    return logp if math.isfinite(logp) else -9999.0


def step_record(step: Step, spell: Callable[[int], str]) -> dict[str, Any]:
    """A step as the page and other readers take it."""
    m = step.mixture
    fed = heaviest(m, FED)
    rest = m.weights.sum(dtype=float) - sum(w for _, w in fed)
    return {
        "index": step.index,
        "position": step.position,
        "mode": str(step.mode),
        "thinking": step.thinking,
        "entropy": step.entropy,
        "logp": finite(step.logp),
        "readout": {"id": step.token, "token": spell(step.token)},
        "fed": [{"id": i, "token": spell(i), "w": w} for i, w in fed],
        "rest": {"count": len(m) - len(fed), "w": max(0.0, float(rest)) if len(m) > len(fed) else 0.0},
        "top": [{"id": i, "token": spell(i), "p": float(p)} for i, p in step.top],
        "why": step.why,
    }


def heaviest(m: Mixture, n: int) -> list[tuple[int, float]]:
    """(id, weight) of the n heaviest entries, heaviest first."""
    if len(m) <= n:
        return [(int(i), float(w)) for i, w in m.top()]
    at = passes.top(m.weights, n)
    return [(int(m.ids[i]), float(m.weights[i])) for i in at]
