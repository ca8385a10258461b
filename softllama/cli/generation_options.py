"""How to generate, as options of a command: policy, thinking, limits, seed. Every name, type and help text is here once.

Knows click and the names of the library's arguments. Does not know what they do; imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

from softllama.cli.options import as_one_object, complete_policy, no_such_option, option, read_system
from softllama.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class GenerationChoices:
    """What was typed about the generation; None or () where nothing was.

    template: the file of a chat template. system: text or @FILE. The others are the library's arguments of these names.
    """

    policy: str | None = None
    answer: str | None = None
    where: str | None = None
    system: str | None = None
    template: str | None = None
    think: str | None = None
    think_budget: int | None = None
    think_tags: str | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    parse_special: bool | None = None
    date: str | None = None
    on_loop: str | None = None
    keep: str | None = None

    def check(self) -> None:
        """Raise UsageError for a policy that does not exist, before a large model is loaded. Runs the files that it names."""
        from softllama import policy
        from softllama.generation import search_text

        for text in (self.policy, self.answer):
            if text is not None and (kind := search_text.kind_of(text)):
                raise UsageError(f"{kind} is a search over several passes", "softllama run and softllama eval have it")
            if text is not None:
                policy.load_files(text)
                policy.parse(text)

    def system_text(self) -> str | None:
        """The system message, from its file if there is one."""
        return read_system(self.system)

    def template_text(self) -> str | None:
        """The chat template's source. Raises PromptError if the file cannot be read."""
        from softllama.base import files

        if self.template is None:
            return None
        return files.read_text(self.template, "chat template", "--template names a file with a chat template")

    def keywords(self, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Arguments of the library: what was typed or has a default, except `system` and `template`, which are files.

        Args:
            without: names that are left out.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"system", "template", *without}}
        return {name: value for name, value in values.items() if value not in (None, ())}


def generation_options(
    *,
    max_tokens: int | None = None,
    seed: int | None = None,
    think: str | None = None,
    in_plain_text: bool = False,
    without: Collection[str] = (),
) -> Callable[[F], F]:
    """A decorator that adds these options. The command gets a GenerationChoices as its parameter `generation`.

    Args:
        max_tokens: the default; None for what the context has room for.
        seed: the default; None for one that is drawn.
        think: the default; None for "auto", which is then not among the keywords.
        in_plain_text: is --think prompt allowed?
        without: names of options that the command does not have.
    """
    options = {
        **_policy_options(),
        "system": click.option("--system", metavar="TEXT|@FILE", help="The system message of a chat."),
        "template": click.option(
            "--template", metavar="FILE", help="A chat template (Jinja) in place of the model's own."
        ),
        **_thinking_options(think, in_plain_text),
        **_limit_options(max_tokens, seed),
        "date": click.option(
            "--date",
            metavar="DATE",
            help="What a chat template takes for today, such as 2026-01-31. Default: today, and recorded.",
        ),
        "parse_special": parse_special_option,
        "keep": click.option(
            "--keep",
            type=click.Choice(["heavy", "all"]),
            help="What the record holds of a mixture that is the model's whole distribution: its 100 heaviest tokens, or all. "
            "Default: heavy.",
        ),
    }
    names = [name for name in options if name not in without]
    return as_one_object(GenerationChoices, "generation", [*(options[name] for name in names), *_REFUSED], names)


parse_special_option = click.option(
    "--parse-special",
    is_flag=True,
    default=None,
    help='Take the text of a control token in a message, such as "<|im_end|>", for that token.',
)

_REFUSED = [
    no_such_option(*spellings, hint=f'it is a parameter of a policy: --policy "sample:{example}"')
    for spellings, example in [
        (("--temp", "--temperature"), "temperature=0.7"),
        (("--top-k",), "top_k=40"),
        (("--top-p",), "top_p=0.9"),
        (("--min-p",), "min_p=0.05"),
    ]
]


def _policy_options() -> dict[str, Any]:
    return {
        "policy": click.option(
            "--policy",
            metavar="POLICY",
            shell_complete=complete_policy,
            help='How to decode, such as "soft_thinking:n=10,tau=0.01". `softllama policies` lists them. '
            "A policy of your own: mine.py:NAME.",
        ),
        "answer": click.option(
            "--answer-policy",
            "answer",
            metavar="POLICY",
            shell_complete=complete_policy,
            help="How to decode the answer after the thinking. Default: as the policy has it.",
        ),
        "where": click.option("--where", type=click.Choice(["thinking", "everywhere"]), help="Where the policy acts."),
    }


def _thinking_options(default: str | None, in_plain_text: bool) -> dict[str, Any]:
    modes = ["auto", "on", "off", *(["prompt"] if in_plain_text else [])]
    text = "Think before answering" + "; prompt: ask for it in plain text" * in_plain_text + "."
    return {
        "think": click.option(
            "--think",
            type=click.Choice(modes),
            default=default,
            show_default=default is not None,
            help=text + " Default: auto." * (default is None),
        ),
        "think_budget": click.option(
            "--think-budget", type=int, metavar="N", help="Close the thinking block after N steps."
        ),
        "think_tags": click.option(
            "--think-tags",
            metavar="OPEN,CLOSE",
            help='The tags of a thinking block, such as "<think>,</think>". Default: the model\'s own.',
        ),
    }


def _limit_options(max_tokens: int | None, seed: int | None) -> dict[str, Any]:
    return {
        "max_tokens": option(
            "--max-tokens",
            other_names=["-n", "--predict", "--n-predict"],
            type=int,
            metavar="N",
            default=max_tokens,
            show_default=max_tokens is not None,
            help="Tokens of an answer and its thinking, at most."
            + " Default: what the context has room for." * (max_tokens is None),
        ),
        "seed": option(
            "--seed",
            other_names=["-s"],
            type=int,
            metavar="N",
            default=seed,
            show_default=seed is not None,
            help="Seed of every random choice." + " Default: drawn, and reported." * (seed is None),
        ),
        "stop": click.option(
            "--stop", multiple=True, metavar="TEXT", help="End the answer at this text. May be repeated."
        ),
        "on_loop": click.option(
            "--on-loop",
            type=click.Choice(["warn", "stop", "hard"]),
            help="What to do where the text loops or becomes garbage: say so, end it, or feed single tokens from there on. "
            "Default: warn.",
        ),
    }
