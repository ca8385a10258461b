"""The small routes: health, models, tokens, and the numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from softllama.serve.errors import ApiError
from softllama.serve.requests import DetokenizeRequest, TokenizeRequest
from softllama.serve.state import State


class Numbers(Collector):
    """What the scheduler has done, as Prometheus reads it."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """The metrics of now."""
        s = self._state.scheduler
        counts = s.counts()
        for name, text, value in (
            ("softllama_prompt_tokens", "Positions of prompts that were evaluated", counts["prompted"]),
            ("softllama_cached_tokens", "Positions of prompts that were there already", counts["reused"]),
            ("softllama_generated_tokens", "Steps that were decided", counts["stepped"]),
            ("softllama_generations", "Generations that have ended", s.finished),
        ):
            yield CounterMetricFamily(name, text, value=value)
        yield GaugeMetricFamily("softllama_running", "Generations that have a sequence", value=s.running)
        yield GaugeMetricFamily("softllama_waiting", "Generations that wait for one", value=s.waiting)
        yield GaugeMetricFamily("softllama_streams", "Sequences that there are", value=self._state.settings.streams)


def model_object(state: State, name: str) -> dict[str, Any]:
    """A model as OpenAI lists it."""
    return {"id": name, "object": "model", "created": state.created, "owned_by": "softllama"}


def special_tokens(state: State) -> dict[str, Any]:
    """The special tokens and the chat template, by vLLM's names."""
    model = state.model
    bos, eos = (None if i is None else model.spell(i) for i in (model.tokenizer.bos, model.tokenizer.eos))
    return {
        "tokenizer_class": model.tokenizer.kind,
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": eos,
        "add_bos_token": model.tokenizer.add_bos,
        "chat_template": model.template_source or None,
        "model_max_length": state.scheduler.n_ctx,
    }


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["OpenAI"])
    registry = CollectorRegistry()
    registry.register(_Later(Numbers(state)))

    @routes.get("/health")
    def health() -> dict[str, str]:
        """Whether requests can be answered; status 503 before."""
        assert state.scheduler
        return {"status": "ok"}

    @routes.get("/models")
    def models() -> dict[str, Any]:
        """The model, and one name more for each policy."""
        return {"object": "list", "data": [model_object(state, name) for name in state.names]}

    @routes.get("/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        """One of them."""
        state.policy_of(name)
        return model_object(state, name)

    @routes.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """The token ids of a text."""
        text = body.content if body.content is not None else body.prompt
        if text is None:
            raise ApiError(400, "there is no text", param="content")
        model, bos = state.model, body.add_special or body.add_special_tokens
        ids = await run_in_threadpool(model.tokenize, text, bos=bos, special=body.parse_special)
        pieces = [{"id": i, "piece": model.spell(i)} for i in ids] if body.with_pieces else ids
        return {"tokens": pieces, "count": len(ids), "max_model_len": state.scheduler.n_ctx}

    @routes.get("/tokenizer_info")
    def tokenizer_info() -> dict[str, Any]:
        """The special tokens and the chat template, as evaluation harnesses ask for them."""
        return special_tokens(state)

    @routes.post("/detokenize")
    def detokenize(body: DetokenizeRequest) -> dict[str, Any]:
        """The text of token ids."""
        text = state.model.detokenize(body.tokens)
        return {"content": text, "prompt": text}

    @routes.get("/metrics")
    def metrics() -> Response:
        """Counters and gauges in Prometheus' text form."""
        assert state.scheduler
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


class _Later(Collector):
    """The registry asks for a collector's names when it is registered, and there is no scheduler yet."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def describe(self) -> list[Metric]:
        """Nothing yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The collector's metrics."""
        yield from self._collector.collect()
