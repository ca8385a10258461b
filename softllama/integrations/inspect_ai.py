"""softllama as a model provider of inspect_ai: `inspect eval task.py --model softllama/smollm2 -M policy=soft_thinking`.

Knows inspect's messages and settings. A policy acts on everything that is generated; inspect asks for no log-likelihoods here.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from inspect_ai.model import ChatCompletionChoice as Choice
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from softllama.api import load
from softllama.errors import UsageError
from softllama.trace.record import Trace
from softllama.trace.step import StopReason

MAX_TOKENS = 2048  # where a task names no limit
STOPS = {StopReason.MAX_TOKENS: "max_tokens", StopReason.CONTEXT_FULL: "model_length"}


@modelapi(name="softllama")  # type: ignore[misc, untyped-decorator, unused-ignore]
class SoftLlamaAPI(ModelAPI):  # type: ignore[misc]
    """A GGUF model for inspect.

    Args:
        model_name: The model, as -m names it.
        policy: How text is generated; None for what the model's file asks for, else soft thinking in a thinking block. A task's
            temperature is used without a policy only.
        think, think_budget: As in `generate`.
        n_ctx, n_gpu_layers, n_threads: As in `load`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008  # as the base class has it
        policy: str | None = None,
        think: str = "auto",
        think_budget: int | None = None,
        n_ctx: int | None = None,
        n_gpu_layers: int | None = None,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.model = load(model_name, n_ctx=n_ctx, n_gpu_layers=n_gpu_layers, n_threads=n_threads)
        self.policy, self.think, self.think_budget = policy, think, think_budget
        self._lock = threading.Lock()  # one generation at a time: each takes all threads

    def max_connections(self) -> int:
        """How many generations go on at once."""
        return 1

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """An answer to the messages, with the thinking before it as reasoning."""
        if tools:
            raise UsageError("softllama calls no tools", "leave them out of the task")
        return await asyncio.to_thread(self._generate, input, config)

    def _generate(self, messages: list[ChatMessage], config: GenerateConfig) -> ModelOutput:
        policy = self.policy
        if policy is None and config.temperature is not None:
            policy = f"sample:temperature={config.temperature:g}" if config.temperature > 0 else "greedy"
        keywords: dict[str, Any] = {"think": self.think, "think_budget": self.think_budget}
        with self._lock:
            trace = self.model.generate(
                [{"role": m.role, "content": m.text} for m in messages],
                policy=policy,
                max_tokens=config.max_tokens or MAX_TOKENS,
                stop=tuple(config.stop_seqs or ()),
                seed=config.seed,
                chat=True,
                **keywords,
            )
        return self._output(trace)

    def _output(self, trace: Trace) -> ModelOutput:
        reasoning = [ContentReasoning(reasoning=trace.thinking)] if trace.thinking else []
        message = ChatMessageAssistant(
            content=[*reasoning, ContentText(text=trace.answer)], model=self.model_name, source="generate"
        )
        stop = STOPS.get(trace.stop_reason, "stop") if isinstance(trace.stop_reason, StopReason) else "stop"
        n_in, n_out = len(trace.prompt), len(trace.steps)
        usage = ModelUsage(
            input_tokens=n_in, output_tokens=n_out, total_tokens=n_in + n_out, reasoning_tokens=trace.n_thinking
        )
        return ModelOutput(model=self.model_name, choices=[Choice(message=message, stop_reason=stop)], usage=usage)
