"""POST /v1/chat/completions: messages to a plan, and choices to OpenAI's objects, streamed or not."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from softllama.serve import answers, decoding
from softllama.serve.answers import Delta, Reader
from softllama.serve.decoding import Plan, Prepared
from softllama.serve.errors import ApiError
from softllama.serve.jobs import Begun, Stepped
from softllama.serve.requests import ChatRequest, Message
from softllama.serve.state import Run, State
from softllama.serve.streaming import DONE, EventStream, event, merged, unless_gone

ROLES = {"developer": "system", "function": "tool"}  # newer and older names


def messages(request: ChatRequest) -> list[dict[str, str]]:
    """The messages as a chat template takes them: text only.

    Raises:
        ApiError: a message has something else.
    """
    return [_message(m, i) for i, m in enumerate(request.messages)]


def _message(m: Message, i: int) -> dict[str, str]:
    if isinstance(m.content, list):
        for part in m.content:
            if part.type not in ("text", "input_text") or part.text is None:
                raise ApiError(400, f"this model reads text, not {part.type[:40]!r}", param=f"messages.{i}.content")
        text = "".join(part.text or "" for part in m.content)
    else:
        text = m.content or ""
    out = {"role": ROLES.get(m.role, m.role), "content": text}
    if reasoning := m.reasoning_content or m.reasoning:
        out["reasoning_content"] = reasoning
    if m.name:
        out["name"] = m.name
    return out


class Chat:
    """The choices of one chat completion."""

    def __init__(self, state: State, request: ChatRequest, plan: Plan, choices: Sequence[Prepared]) -> None:
        self._state, self._request, self._plan = state, request, plan
        self.runs = [Run(c.generation, items=c.items, n_top=request.top_logprobs or 0) for c in choices]
        trace = request.softllama.trace == "steps"
        self.readers = [
            Reader(c.generation, logprobs=request.logprobs, trace=trace, recorder=c.recorder) for c in choices
        ]
        self._head = {
            "id": "chatcmpl-" + secrets.token_hex(12),
            "created": int(time.time()),
            "model": request.model or state.model.name,
            "system_fingerprint": state.fingerprint,
        }

    @classmethod
    async def of(cls, state: State, request: ChatRequest) -> Chat:
        """Prepare the choices of a request. Raises ApiError and SoftLlamaError for what is wrong with it."""
        choices, plan = await run_in_threadpool(cls._prepare, state, request)
        return cls(state, request, plan, choices)

    @staticmethod
    def _prepare(state: State, request: ChatRequest) -> tuple[list[Prepared], Plan]:
        if request.response_format is not None and request.response_format.type != "text":
            raise ApiError(400, "answers are plain text: no other response_format", param="response_format")
        suffix = state.policy_of(request.model)
        plan = decoding.plan(state.model, request, messages(request), state.settings, suffix, chat=True)
        return decoding.prepared(state, plan, request.softllama, request.seed, request.n or 1), plan

    def cancel(self) -> None:
        """Nobody waits for the choices any more."""
        for run in self.runs:
            run.job.cancel()

    # ---- one answer

    async def answer(self) -> dict[str, Any]:
        """All choices to their ends, as one object."""
        await asyncio.gather(*map(_read, self.runs, self.readers))
        choices = [self._choice(i, reader) for i, reader in enumerate(self.readers)]
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": self._usage()}

    def _choice(self, i: int, reader: Reader) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reader.content, "refusal": None}
        if reader.n_thinking:
            message |= {"reasoning_content": reader.reasoning, "reasoning": reader.reasoning}
        logprobs = {"content": reader.content_logprobs, "refusal": None} if self._request.logprobs else None
        return {
            "index": i,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": reader.finish_reason,
            "softllama": reader.block(self._plan.note),
        }

    def _usage(self) -> dict[str, Any]:
        return answers.together(
            [r.usage(len(run.job.items), run.job.cached) for r, run in zip(self.readers, self.runs, strict=True)]
        )

    # ---- a stream

    async def chunks(self) -> AsyncIterator[bytes]:
        """The events of a stream."""
        try:
            async for data in merged([self._stream(i) for i in range(len(self.runs))]):
                yield data
            options = self._request.stream_options
            if options is not None and options.include_usage:
                yield event({**self._chunk_head(), "choices": [], "usage": self._usage()})
            yield DONE
        finally:
            self.cancel()

    async def _stream(self, i: int) -> AsyncIterator[bytes]:
        run, reader = self.runs[i], self.readers[i]
        async for events in run.rounds():
            data = b""
            for e in events:
                if isinstance(e, Begun):
                    data += self._chunk(i, {"role": "assistant", "content": ""}, softllama=reader.news() or None)
                elif isinstance(e, Stepped):
                    data += self._step(i, reader, e)
            if data:
                yield data
        rest = reader.end()
        data = self._chunk(i, _delta(rest)) if any(rest) else b""
        block = reader.block(self._plan.note)
        block.pop("steps", None)  # they have been sent, one by one
        yield data + self._chunk(i, {}, finish=reader.finish_reason, softllama=block)

    def _step(self, i: int, reader: Reader, e: Stepped) -> bytes:
        delta = reader.read(e)
        more: dict[str, Any] = {}
        if self._request.logprobs and not e.step.thinking:
            more["logprobs"] = {"content": reader.content_logprobs[-1:], "refusal": None}
        if news := reader.news():
            more["softllama"] = news
        if not any(delta) and not more:
            return b""
        return self._chunk(i, _delta(delta), **more)

    def _chunk_head(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk"}

    def _chunk(
        self,
        i: int,
        delta: dict[str, str],
        *,
        finish: str | None = None,
        logprobs: Any = None,
        softllama: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": i, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk = {**self._chunk_head(), "choices": [choice]}
        if self._request.stream_options is not None and self._request.stream_options.include_usage:
            chunk["usage"] = None
        if softllama is not None:
            chunk["softllama"] = softllama
        return event(chunk)


def _delta(delta: Delta) -> dict[str, str]:
    """The new text, by the names that clients know. The thinking has two."""
    out: dict[str, str] = {}
    if delta.reasoning:
        out |= {"reasoning_content": delta.reasoning, "reasoning": delta.reasoning}
    if delta.content:
        out["content"] = delta.content
    return out


async def _read(run: Run, reader: Reader) -> None:
    """Read a choice to its end."""
    async for events in run.rounds():
        for e in events:
            if isinstance(e, Stepped):
                reader.read(e)
    reader.end()


def router(state: State) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Messages to an answer, whose thinking may be soft."""
        chat = await Chat.of(state, body)
        state.scheduler.submit([r.job for r in chat.runs])
        if body.stream:
            return EventStream(chat.chunks(), state.settings.keep_alive)
        return JSONResponse(await unless_gone(request, chat.answer(), chat.cancel))

    return routes
