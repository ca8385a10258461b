"""POST /v1/completions: texts or ids to choices. `echo` with `logprobs` is what evaluation harnesses read likelihoods from."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from softllama.engine import score
from softllama.engine.engine import Engine
from softllama.engine.score import Scored
from softllama.generation.prepare import PromptInput
from softllama.serve import answers, decoding, errors
from softllama.serve.answers import Reader, finite
from softllama.serve.decoding import Prepared
from softllama.serve.errors import ApiError
from softllama.serve.jobs import Begun, Stepped
from softllama.serve.requests import CompletionRequest
from softllama.serve.state import Run, State
from softllama.serve.streaming import DONE, EventStream, event, merged, unless_gone
from softllama.vectors.mixture import Mixture

MOST_PROMPTS = 2048


def prompts(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts of a request, one or several.

    Raises:
        ApiError: there are none, or too many.
    """
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if prompt and isinstance(prompt[0], int):
        return [[i for i in prompt if isinstance(i, int)]]
    many: list[str | list[int]] = [p if isinstance(p, str) else list(p) for p in prompt if not isinstance(p, int)]
    if not 1 <= len(many) <= MOST_PROMPTS:
        raise ApiError(400, f"1 to {MOST_PROMPTS} prompts are allowed, not {len(many)}", param="prompt")
    return many


@dataclass
class Choice:
    """One choice: a run, what it echoes, and the tokens that it has made so far.

    left_block: was the end of the thinking block written?
    """

    index: int
    run: Run
    reader: Reader
    ids: tuple[int, ...]
    text: str = ""
    echo: tuple[Scored, ...] = ()
    left_block: bool = False


class Completion:
    """The choices of one text completion."""

    def __init__(self, state: State, request: CompletionRequest, choices: list[Choice]) -> None:
        self._state, self._request, self.choices = state, request, choices
        self._head = {
            "id": "cmpl-" + secrets.token_hex(12),
            "object": "text_completion",
            "created": int(time.time()),
            "model": request.model or state.model.name,
            "system_fingerprint": state.fingerprint,
        }

    @classmethod
    async def of(cls, state: State, request: CompletionRequest) -> Completion:
        """Prepare the choices of a request. Raises ApiError and SoftLlamaError for what is wrong with it."""
        if request.suffix:
            raise ApiError(400, "text cannot be inserted before a suffix", param="suffix")
        made = await run_in_threadpool(cls._prepare, state, request)
        trace, logprobs = request.softllama.trace == "steps", request.logprobs is not None
        choices = []
        for i, (g, items, recorder) in enumerate(made):
            run = Run(g, items=items, n_top=request.logprobs or 0)
            reader = Reader(g, logprobs=logprobs, trace=trace, recorder=recorder)
            choices.append(Choice(i, run, reader, tuple(i for i in g.prompt if isinstance(i, int))))
        return cls(state, request, choices)

    @staticmethod
    def _prepare(state: State, request: CompletionRequest) -> list[Prepared]:
        model = state.model
        suffix = state.policy_of(request.model)
        if request.max_tokens is None:
            request.max_tokens = 16  # OpenAI's default
        out: list[Prepared] = []
        for prompt in prompts(request):
            given: PromptInput = prompt if isinstance(prompt, str) else list(prompt)
            plan = decoding.plan(model, request, given, state.settings, suffix, chat=False)
            for choice in decoding.prepared(state, plan, request.softllama, request.seed, request.n or 1):
                if request.echo and any(isinstance(i, Mixture) for i in choice.items):
                    raise ApiError(400, "a prompt with mixtures has no text to echo", param="echo")
                if len(choice.items) > state.scheduler.n_ctx:
                    raise errors.too_long(len(choice.items), state.scheduler.n_ctx)
                out.append(choice)
        return out

    def submit(self) -> None:
        """Hand the choices to the scheduler. Raises ApiError where the queue is full."""
        self._state.scheduler.submit([c.run.job for c in self.choices])

    def cancel(self) -> None:
        """Nobody waits for the choices any more."""
        for c in self.choices:
            c.run.job.cancel()

    async def echo(self) -> None:
        """Evaluate the prompts that are echoed with log-probabilities."""
        if self._request.echo and self._request.logprobs is not None:
            texts = [c.ids for c in self.choices]
            scored = await self._state.call(lambda: echoes(self._state.model, texts, self._request.logprobs or 0))
            for c, s in zip(self.choices, scored, strict=True):
                c.echo = s

    async def answer(self) -> dict[str, Any]:
        """All choices to their ends, as one object."""
        await self.echo()
        await asyncio.gather(*(self._read(c) for c in self.choices))
        return {**self._head, "choices": [self._choice(c) for c in self.choices], "usage": self._usage()}

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        try:
            await self.echo()
            async for data in merged([self._stream(c) for c in self.choices]):
                yield data
            options = self._request.stream_options
            if options is not None and options.include_usage:
                yield event({**self._head, "choices": [], "usage": self._usage()})
            yield DONE
        finally:
            self.cancel()

    async def _stream(self, c: Choice) -> AsyncIterator[bytes]:
        if self._request.echo:
            yield event(self._chunk(c, self._echoed(c), self._logprobs(c, ())))
        async for events in c.run.rounds():
            for e in events:
                if not isinstance(e, Begun | Stepped):
                    continue
                text, logprobs = "", None
                if isinstance(e, Stepped):
                    text = self._take(c, e)
                    made = c.reader.thinking_logprobs if e.step.thinking else c.reader.content_logprobs
                    logprobs = self._logprobs(c, made[-1:], echo=False)
                news = c.reader.news()
                if text or logprobs or news:
                    yield event({**self._chunk(c, text, logprobs), **({"softllama": news} if news else {})})
        if rest := self._rest(c):
            yield event(self._chunk(c, rest, None))
        end = self._logprobs(c, self._end(c), echo=False) if self._end(c) else None
        yield event(self._chunk(c, "", end, finish=True))

    def _chunk(self, c: Choice, text: str, logprobs: Any, *, finish: bool = False) -> dict[str, Any]:
        reason = c.reader.finish_reason if finish else None
        choice = {"index": c.index, "text": text, "logprobs": logprobs, "finish_reason": reason}
        if finish:
            choice["softllama"] = c.reader.block()
        return {**self._head, "choices": [choice]}

    async def _read(self, c: Choice) -> None:
        async for events in c.run.rounds():
            for e in events:
                if isinstance(e, Stepped):
                    self._take(c, e)
        self._rest(c)

    def _take(self, c: Choice, e: Stepped) -> str:
        """The text that a step adds. A text completion has thinking, closing tag and answer in one piece."""
        g, thought = c.reader.generation, c.reader.n_thinking > 0
        c.reader.read(e)
        text = e.step.text
        if g.tags is not None and thought and not e.step.thinking and not c.left_block:
            c.left_block = True
            text = g.tags.close + text
        c.text += text
        return text

    def _rest(self, c: Choice) -> str:
        rest = c.reader.flush()
        c.text += rest
        return rest

    def _entries(self, c: Choice) -> list[dict[str, Any]]:
        """The log-probabilities of what was generated, in order."""
        return [*c.reader.thinking_logprobs, *c.reader.content_logprobs, *self._end(c)]

    def _end(self, c: Choice) -> list[dict[str, Any]]:
        """That of the token that ended the generation, which harnesses count."""
        end = c.reader.generation.end_token
        return [] if end is None else [answers.token_logprob(self._state.model, *end)]

    def _choice(self, c: Choice) -> dict[str, Any]:
        text = self._echoed(c) + c.text
        return {
            "index": c.index,
            "text": text,
            "logprobs": self._logprobs(c, self._entries(c)),
            "finish_reason": c.reader.finish_reason,
            "softllama": c.reader.block(),
        }

    def _logprobs(self, c: Choice, entries: Sequence[dict[str, Any]], *, echo: bool = True) -> dict[str, Any] | None:
        """OpenAI's older object: lists of tokens, their ln p, the likeliest ones, and where each begins in the text."""
        if self._request.logprobs is None:
            return None
        model = self._state.model
        tokens: list[str] = []
        logps: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        if echo and self._request.echo:
            tokens = [model.spell(i) for i in c.ids]
            logps = [None, *(finite(s.logp) for s in c.echo)]
            tops = [None, *({model.spell(i): p for i, p in s.top} | {model.spell(s.id): s.logp} for s in c.echo)]
        for e in entries:
            tokens.append(e["token"])
            logps.append(e["logprob"])
            tops.append({t["token"]: t["logprob"] for t in e["top_logprobs"]} | {e["token"]: e["logprob"]})
        offsets = [0]
        for i, t in enumerate(tokens):
            offsets.append(offsets[-1] + (0 if i == 0 and echo and self._begins(c) else len(t)))
        return {"tokens": tokens, "token_logprobs": logps, "top_logprobs": tops, "text_offset": offsets[:-1]}

    def _begins(self, c: Choice) -> bool:
        """Is the first token one that the vocabulary puts before a text? It is no part of what is echoed."""
        return self._request.echo and c.ids[0] == self._state.model.tokenizer.bos

    def _echoed(self, c: Choice) -> str:
        """The prompt as text."""
        return self._state.model.detokenize(c.ids[1:] if self._begins(c) else c.ids) if self._request.echo else ""

    def _usage(self) -> dict[str, Any]:
        n_prompt = sum(len(c.ids) for c in self.choices)
        made = sum(c.reader.n_steps for c in self.choices)
        thinking = sum(c.reader.n_thinking for c in self.choices)
        cached = sum(c.run.job.cached for c in self.choices)
        return answers.usage(n_prompt, made, thinking, cached)


def echoes(model: Engine, texts: Sequence[Sequence[int]], n_top: int) -> list[tuple[Scored, ...]]:
    """ln p of each token of each text after those before it; nothing is known of the first."""
    return [tuple(x) for x in score.score_pairs(model, [(t[:1], t[1:]) for t in texts], n_top=n_top)]


def router(state: State) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """A text, or token ids, to what follows."""
        completion = await Completion.of(state, body)
        completion.submit()
        if body.stream:
            return EventStream(completion.chunks(), state.settings.keep_alive)
        return JSONResponse(await unless_gone(request, completion.answer(), completion.cancel))

    return routes
