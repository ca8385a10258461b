"""A model's own chat template (Jinja, from the GGUF), rendered in llama-cpp-python's sandbox. Knows no model."""

from __future__ import annotations

import copy
from typing import Any

import jinja2
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from softllama.errors import ModelError, PromptError


class ChatTemplate:
    """source: Jinja text. bos, eos: what the template's bos_token and eos_token stand for.

    Raises ModelError for a template that does not parse.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        self.source = source
        try:
            self._format = Jinja2ChatFormatter(source, eos_token=eos, bos_token=bos)
        except jinja2.TemplateError as e:
            raise ModelError(f"the chat template does not parse: {e}", "use a raw prompt, without --chat") from None
        self._history = copy.copy(self._format)
        self._history.add_generation_prompt = False

    def render(self, messages: list[dict[str, str]], *, generation: bool = True, **variables: Any) -> str:
        """The prompt for messages [{"role": ..., "content": ...}], up to where the assistant speaks.

        generation: False leaves out the beginning of the answer, where the template can. `variables` are handed to the
        template, such as enable_thinking. Raises PromptError where it refuses.
        """
        try:
            chosen = self._format if generation else self._history
            return str(chosen(messages=messages, **variables).prompt)
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as e:
            raise PromptError(f"the model's chat template refuses these messages: {e}") from None
