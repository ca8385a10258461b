"""How help looks, and what is said of a command or option that does not exist. Knows click and the names of parameters.

Options of long commands stand in groups with a title. A parameter is in the same group in every command.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import click

MANY = 12  # options from which on they are grouped
GROUPS = {  # title -> names of parameters
    "Prompt": ("prompt", "prompt_option", "prompt_file", "chat", "system", "template", "date", "parse_special"),
    "Mixtures": ("mix", "normalize", "signed", "split", "sweep", "continue_tokens", "repeats", "watch"),
    "Decoding": ("policy", "policies", "answer", "where", "max_tokens", "seed", "stop", "on_loop"),
    "Thinking": ("think", "think_budget", "think_tags"),
    "Search": ("beams", "samples", "best_of", "extract"),
    "Layers": ("layers", "positions", "patch"),
    "Output": (
        "n_top",
        "show_mixtures",
        "html",
        "as_json",
        "as_jsonl",
        "as_csv",
        "plot",
        "trace_file",
        "lens",
        "keep",
        "out",
        "output",
        "brief",
    ),
    "Model": ("model", "n_ctx", "n_gpu_layers", "n_threads", "lora", "any_base", "add", "rpc"),
    "llama.cpp": (*("cache_type_k", "cache_type_v", "flash_attn", "n_batch", "n_ubatch", "no_mmap", "mlock", "numa"),),
}
OTHERS = "Options"
NEAR = 0.75  # how much an option is like what was typed, from which on it is suggested


def groups(options: Sequence[click.Option]) -> dict[str, list[click.Option]]:
    """Options by the titles of their groups, in the order of `GROUPS`; what is in no group, or alone in one, last.

    Fewer than `MANY` are one group.
    """
    titles = {name: title for title, names in GROUPS.items() for name in names}
    if sum(not o.hidden for o in options) < MANY:
        titles = {}
    of = [titles.get(o.name or "", OTHERS) for o in options]
    of = [title if of.count(title) > 1 else OTHERS for title in of]
    found = {title: [o for o, t in zip(options, of, strict=True) if t == title] for title in (*GROUPS, OTHERS)}
    return {title: members for title, members in found.items() if members}


class Command(click.Command):
    """A command whose help has its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each group."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and not p.hidden]
        for title, members in groups(options).items():
            with formatter.section(title):
                formatter.write_dl([row for o in members if (row := o.get_help_record(ctx)) is not None])


class Group(click.Group):
    """A group that names its commands where one does not exist, the closest first."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first argument. Raises UsageError where there is none."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self.list_commands(ctx):
            raise click.UsageError(self.unknown(ctx, name), ctx)
        return super().resolve_command(ctx, args)

    def unknown(self, ctx: click.Context, name: str) -> str:
        """What is said of a command that does not exist."""
        names = [n for n in self.list_commands(ctx) if (c := self.commands.get(n)) is None or not c.hidden]
        near = difflib.get_close_matches(name, names, 1)
        return no_command(name, near[0] if near else "", names)


def no_command(name: str, meant: str, names: Sequence[str]) -> str:
    """The message for a command that does not exist.

    Args:
        name: as it was typed.
        meant: what to type in its place; "" for unknown.
        names: of the commands that there are.
    """
    near = difflib.get_close_matches(name, names, len(names))
    listed = [*near, *(n for n in names if n not in near)]
    guess = f" Did you mean {meant!r}?" if meant else ""
    return f"No such command {name!r}.{guess} There are: {', '.join(listed)}."


def shortened(e: click.ClickException) -> click.ClickException:
    """The same error; of the options that click suggests for one that does not exist, the closest two."""
    if not isinstance(e, click.NoSuchOption) or not e.possibilities:
        return e
    near = difflib.get_close_matches(e.option_name, e.possibilities, n=2, cutoff=NEAR)
    return click.NoSuchOption(e.option_name, possibilities=near, ctx=e.ctx)
