"""Write docs/commands.md from the commands' own help: every command, argument and option, with its variables.

    python scripts/dev/reference.py            write it
    python scripts/dev/reference.py --check    exit 1 if it is not what would be written (tests/package/test_reference.py does this)

It is made from click's parameters rather than from printed help, whose form changes between versions of click.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from softllama.cli import COMMANDS, cli, config, help

FILE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
HEAD = """# Commands

Made from the commands' help by `python scripts/dev/reference.py`; a test keeps it current.

An option that is not typed is taken from its variable, then from the settings file, then it has its default. The
variable of `--max-tokens` of `softllama run` is `SOFTLLAMA_RUN_MAX_TOKENS`. Options marked (shared) have a second one for
all commands, such as `SOFTLLAMA_MODEL`; the more particular one wins. An option that may be repeated takes several words,
separated by spaces. The settings file is `config.toml` in the folder that the system has for settings
(`~/.config/softllama` on Linux, `~/Library/Application Support/softllama` on macOS), or what `SOFTLLAMA_CONFIG` names:

```toml
[softllama]                  # shared options
model = "user/repo:Q4_K_M"
[run]
max-tokens = 200
json = true
stop = ["User:", "###"]      # an option that may be repeated
[models.pull]                # softllama models pull
quiet = true
```

Keys may have `_` in place of `-`. A `config.ini` of an earlier version is read as long as there is no `config.toml`, for one
more release.

Variables beside the options: `SOFTLLAMA_MODELS` (folders to look for models in), `SOFTLLAMA_CACHE`, `SOFTLLAMA_STATE`
(the folders for what can be measured again, and for conversations), `SOFTLLAMA_CONFIG`,
`SOFTLLAMA_MEMORY` (such as `4GB`: the memory that counts as free),
`SOFTLLAMA_TRIAL` (`off`: do not try a file's first load in a child process; a number: its limit in seconds).
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """All commands, those of groups after the group."""
    with click.Context(cli, info_name="softllama", resilient_parsing=True) as ctx:
        for name in COMMANDS:
            command = cli.get_command(ctx, name)
            assert command is not None
            yield from _below(f"softllama {name}", command)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    for sub, below in getattr(command, "commands", {}).items():
        yield from _below(f"{name} {sub}", below)


def section(name: str, command: click.Command) -> str:
    """One command in Markdown: its sentence, its examples, its text, its options."""
    first, lines, rest = said(command)
    parts = [f"## {name}", first]
    parts += ["```sh\n" + "\n".join(lines) + "\n```"] if lines else []
    parts += rest
    parts.append(f"`{usage(name, command)}`")
    grouped = grouped_options(command)
    for title, options in grouped.items():
        parts += [f"{title}:"] * (len(grouped) > 1) + ["\n".join(_option(o) for o in options)]
    return "\n\n".join(parts)


def said(command: click.Command) -> tuple[str, list[str], list[str]]:
    """What a command's help says: its sentence, the lines of its examples, its other paragraphs."""
    first, *rest = re.split(r"\n{2,}", inspect.cleandoc(command.help or ""))
    examples = [p for p in rest if p.startswith("\b")]
    lines = [_example(line) for x in examples for line in x.strip("\b\n").splitlines()]
    return _line(first), lines, [_line(p) for p in rest if not p.startswith("\b")]


def usage(name: str, command: click.Command) -> str:
    """How a command is typed."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    return " ".join([name, *(_argument(a) for a in arguments), "[OPTIONS]"])


def grouped_options(command: click.Command) -> dict[str, list[click.Option]]:
    """The options that help shows, by the titles of their groups."""
    return help.groups([o for o in config.options(command) if not o.hidden])


def described(o: click.Option) -> tuple[list[str], str, str]:
    """An option: its names, what it takes ("" for a flag), and what it does, with its default."""
    takes = ""
    if isinstance(o.type, click.Choice):
        takes = "|".join(map(str, o.type.choices))
    elif not o.is_flag:
        takes = o.metavar or o.type.name.upper()
    text = _line(o.help or "")
    if o.show_default and not o.is_flag:
        text += f" Default: {o.default}."
    return [*o.opts, *o.secondary_opts], takes, text


def _example(line: str) -> str:
    """An example can be copied into a shell: the remark that stands beside it in the help becomes a comment."""
    return re.sub(r"^((?:echo|softllama) .*?\S)( {2,})(?=[^# ])", r"\1\2# ", line)


def _argument(a: click.Argument) -> str:
    text = a.human_readable_name if a.metavar is None else a.metavar
    return text if a.required else f"[{text}]" + ("..." if a.nargs == -1 else "")


def _option(o: click.Option) -> str:
    names, takes, text = described(o)
    shown = ", ".join(f"`{n}`" for n in names) + (f" `{takes}`" if takes else "")
    text = re.sub(r"<(?=/?\w+>)", r"\\<", text)  # <think> is no HTML
    return f"- {shown}: {text}" + (" (shared)" if getattr(o, "shared", False) else "")


def _line(text: str) -> str:
    return " ".join(text.split())


def text() -> str:
    """The whole file."""
    return HEAD + "\n" + "\n\n".join(section(*c) for c in commands()) + "\n"


def main() -> None:
    """Write, or check."""
    now = text()
    if "--check" in sys.argv[1:]:
        if not FILE.is_file() or FILE.read_text("utf-8") != now:
            sys.exit(f"{FILE.name} is not current: python scripts/dev/reference.py")
        return
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(now, "utf-8")


if __name__ == "__main__":
    main()
