"""A model's own chat template (Jinja, from the GGUF), rendered in a sandbox as transformers renders it.

Knows Jinja and messages. Knows no model, no tokens and no tags of thinking.
"""

from __future__ import annotations

import contextlib
import json
from datetime import date, datetime, time
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from softllama.errors import ModelError, PromptError
from softllama.llama.time_limit import TimeLimit, time_limit

SECONDS = 10  # for one prompt, which takes milliseconds: templates come from strangers
MOST = 1 << 24  # characters that a product may have
_REFUSALS = (jinja2.TemplateError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError)


class ChatTemplate:
    """A chat template.

    Args:
        source: Jinja text.
        bos: What the template's `bos_token` stands for.
        eos: What its `eos_token` stands for.
        day: What it takes for today, if it asks; None for the day on which it is made. It stays the same.

    Raises:
        ModelError: The template does not parse.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "", day: date | None = None) -> None:
        self.source, self.bos, self.eos, self.day = source, bos, eos, day or date.today()
        names = {"bos_token": bos, "eos_token": eos, "strftime_now": self._strftime_now}
        try:
            self._template = _environment().from_string(source, names)
        except jinja2.TemplateError as e:
            raise ModelError(f"the chat template does not parse: {e}", "use a raw prompt, without --chat") from None

    @property
    def asks_for_date(self) -> bool:
        """Does the template's text depend on the day?"""
        return any(name in self.source for name in ("strftime_now", "datetime"))

    def on(self, day: date) -> ChatTemplate:
        """The same template on another day."""
        return self if day == self.day else ChatTemplate(self.source, bos=self.bos, eos=self.eos, day=day)

    def _strftime_now(self, form: str) -> str:
        return datetime.combine(self.day, time()).strftime(form)

    def render(self, messages: list[dict[str, str]], *, generation: bool = True, **variables: Any) -> str:
        """Render messages as the model's prompt, up to where the assistant speaks.

        Args:
            messages: [{"role": ..., "content": ...}, ...], the oldest first.
            generation: False leaves out the beginning of the answer, where the template can.
            variables: Handed to the template, such as enable_thinking.

        Raises:
            PromptError: The template refuses the messages, or takes longer than SECONDS.
        """
        variables |= {"messages": messages, "add_generation_prompt": generation}
        try:
            with time_limit(SECONDS):
                return self._rendered(variables)
        except TimeLimit:
            raise PromptError(
                f"the model's chat template takes more than {SECONDS} s", "--template FILE names another template"
            ) from None
        except (MemoryError, RecursionError) as e:
            raise PromptError(f"the model's chat template goes beyond all bounds: {type(e).__name__}") from None
        except _REFUSALS as e:
            raise PromptError(f"the model's chat template refuses these messages: {e}") from None

    def _rendered(self, variables: dict[str, Any]) -> str:
        try:
            return self._template.render(variables)
        except (TypeError, jinja2.UndefinedError):  # it may be one for tools, of which there are none
            with contextlib.suppress(*_REFUSALS):
                return self._template.render(self._no_tools() | variables)
            raise

    def _no_tools(self) -> dict[str, Any]:
        """What a template is given that goes through its tools without asking whether there are any."""
        return {"tools": [], "functions": "", "datetime": self._strftime_now("%b %d %Y")}


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja with the settings, filters and functions that transformers gives to chat templates.

    Templates come from strangers, hence the sandbox. The names that stand for nothing here are None, as there.
    """
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlocks, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        **dict.fromkeys(("tools", "tool_choice", "functions", "function_call")),
    }
    return environment


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which no single operation takes for ever: C code is not interrupted by a time limit."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply, or raise to a power, within bounds."""
        if operator == "**" and not (_small(left, 1e6) and _small(right, 64)):
            raise jinja2.exceptions.SecurityError(f"{left!r:.20} ** {right!r:.20} is too large")
        for a, b in ((left, right), (right, left)):
            if isinstance(a, str | list | tuple) and isinstance(b, int) and len(a) * b > MOST:
                raise jinja2.exceptions.SecurityError(f"a product of {len(a)} * {b} characters is too large")
        return super().call_binop(context, operator, left, right)


def _small(x: Any, most: float) -> bool:
    return isinstance(x, int | float) and abs(x) <= most


class _GenerationBlocks(Extension):
    """{% generation %}, with which templates mark the assistant's words for training: its content, unchanged."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it as a plain set)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without escapes for HTML, which jinja2's own filter has."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
