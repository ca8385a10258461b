"""What the options of several commands are made of: shared options, options that become one object, completion, files.

Knows click. Does not know a model, and imports nothing heavy.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from softllama.errors import UsageError

_SLOT = re.compile(r"(?<![^\s\"'])(?<![)=>\]:;] )\{([A-Za-z_]\w*)?\}")  # "the {animal} eats", and not "int main() {}"
F = TypeVar("F", bound=Callable[..., Any])
PROMPT_FILE_HINT = "--prompt-file names a text file, or - for stdin"


class Option(click.Option):
    """An option that is also read in other spellings.

    Args:
        old_names: spellings of earlier versions, which variables and settings may have, too. Help does not show them.
        other_names: spellings of other tools, such as llama.cpp's -ngl. They are only read when they are typed.
    """

    def __init__(
        self, *args: Any, old_names: Sequence[str] = (), other_names: Sequence[str] = (), **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.old_names, self.other_names = tuple(old_names), tuple(other_names)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Read the other spellings, too."""
        super().add_to_parser(parser, ctx)
        if names := [*self.old_names, *self.other_names]:
            parser.add_option(obj=self, opts=names, dest=self.name, action="store", nargs=self.nargs)


class SharedOption(Option):
    """An option of several commands: SOFTLLAMA_MODEL and [softllama] in the configuration set it for all of them."""

    shared = True


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """click.option for an Option."""
    return click.option(*names, cls=Option, **settings)


def no_such_option(*names: str, hint: str) -> Callable[[F], F]:
    """A decorator for options of other tools that have no counterpart: an error message with what to type."""

    def refuse(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise UsageError(f"there is no option {parameter.opts[0]}", hint)

    return click.option(*names, hidden=True, expose_value=False, is_eager=True, callback=refuse)


def shared_option(*names: str, **settings: Any) -> Callable[[F], F]:
    """click.option for a SharedOption."""
    return click.option(*names, cls=SharedOption, **settings)


def as_one_object(
    kind: Callable[..., Any], parameter: str, options: Sequence[Callable[[Any], Any]], names: Collection[str]
) -> Callable[[F], F]:
    """A decorator that adds options to a command, and hands their values to it as one object.

    Args:
        kind: makes the object of the values, by keyword.
        parameter: the parameter of the command that gets the object.
        options: click's decorators, as help lists them.
        names: names of the values.
    """

    def add(f: F) -> F:
        @functools.wraps(f)
        def command(*args: Any, **values: Any) -> Any:
            own = {name: values.pop(name) for name in names if name in values}
            return f(*args, **values, **{parameter: kind(**own)})

        wrapped: Any = command
        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[no-any-return]

    return add


# ---- completion --------------------------------------------------------------------------------------------------------


def complete_model(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of models, from folders and file names alone, and files."""
    from softllama.hub import caches

    names = [f for f in caches.all_models() if incomplete.lower() in f.name.lower() and not f.problem]
    items = [CompletionItem(f.name, help=f.source) for f in names]
    return items or [CompletionItem(incomplete, type="file")]


def complete_policy(ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of policies."""
    from softllama import policy

    return [CompletionItem(n) for n in policy.names() if n.startswith(incomplete)]


# ---- files -------------------------------------------------------------------------------------------------------------


def read_text(path: str, hint: str = PROMPT_FILE_HINT) -> str:
    """The text of a file, or of stdin for "-", as softllama.base.files.read_text reads it."""
    from softllama.base import files

    if path == "-":
        return files.decode(sys.stdin.buffer.read(), "the standard input")
    return files.read_text(path, hint=hint)


def read_system(text: str | None) -> str | None:
    """The system message that --system names: the text itself, or the text of a file, written @FILE."""
    from softllama.base import files

    return None if text is None else files.text_or_file(text, "system message")


# ---- mixtures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MixtureChoices:
    """The mixtures of a prompt as typed, and how they are read."""

    mix: tuple[str, ...]
    normalize: bool
    signed: bool
    split: str | None

    def check_fed(self) -> None:
        """Raise MixtureError, before a model is loaded, for a way to read mixtures that only a probe knows."""
        if self.split is not None:
            from softllama.prompts import words

            if self.split == words.ALTERNATIVES:
                raise words.not_averaged()

    def notes(self) -> list[str]:
        """What is not as it may have been meant: words that are in a mixture twice."""
        from softllama.vectors import mix_text

        specs = [mix_text.parse(m, signed=self.signed, normalize=self.normalize) for m in self.mix]
        words = [word for spec in specs for word in mix_text.repeated(spec)]
        return [f"{word!r} is in the mixture more than once: its weights are added" for word in words]

    def slots_left(self, prompt: str) -> list[str]:
        """A note for braces that look like a slot in a prompt without a mixture."""
        found = None if self.mix else _SLOT.search(prompt)
        if found is None:
            return []
        name = f"{found[1]}=" if found[1] else ""
        return [f"{found[0]} in the prompt is text, as there is no mixture for it: --mix {name}dog:0.5,cat:0.5"]

    def keywords(self) -> dict[str, Any]:
        """Arguments of Model.probe and Model.generate."""
        return {"mix": list(self.mix), "normalize": self.normalize, "signed": self.signed, "split": self.split}


mixture_options = as_one_object(
    MixtureChoices,
    "mixtures",
    [
        click.option(
            "--mix",
            multiple=True,
            metavar="MIX",
            help="A mixture for {} or {name} in the prompt, such as dog:0.5,cat:0.5. May be repeated.",
        ),
        click.option("--normalize", is_flag=True, help="Divide the weights by their sum."),
        click.option("--signed", is_flag=True, help="Allow any real weights, as in king:1,man:-1,woman:1."),
        click.option(
            "--split",
            type=click.Choice(["first", "last", "mean", "alternatives"]),
            help="What a word of several tokens stands for: one of them, or all in equal shares. alternatives, in probe: no "
            "mixture is fed; each word stands in the prompt whole, and the outputs are averaged.",
        ),
    ],
    [f.name for f in fields(MixtureChoices)],
)
