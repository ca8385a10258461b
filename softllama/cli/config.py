"""Where options come from when they are not typed: variables named SOFTLLAMA_..., then a configuration file.

The file is INI, as Python 3.10 can read no TOML by itself and JSON has no comments:

    [softllama]            # for every command that has the option
    model = user/repo:Q4_K_M
    [run]
    max-tokens = 200
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from softllama.errors import UsageError

PREFIX = "SOFTLLAMA"
SHARED = "softllama"  # the section, and the variables' prefix, for options that several commands share


def path() -> Path:
    """SOFTLLAMA_CONFIG, or config.ini where the system keeps settings."""
    given = os.environ.get("SOFTLLAMA_CONFIG")
    return Path(given).expanduser() if given else Path(click.get_app_dir("softllama")) / "config.ini"


def long_name(option: click.Parameter) -> str:
    """max-tokens, for --max-tokens."""
    return next((o for o in option.opts if o.startswith("--")), option.opts[0]).lstrip("-")


def variables(command: str, option: click.Parameter) -> list[str]:
    """An option's variables, the more particular first: SOFTLLAMA_RUN_MODEL, then SOFTLLAMA_MODEL if it is shared."""
    name = long_name(option).upper().replace("-", "_")
    own = f"{PREFIX}_{command.upper().replace(' ', '_')}_{name}"
    return [own, f"{PREFIX}_{name}"] if getattr(option, "shared", False) else [own]


def options(command: click.Command) -> list[click.Option]:
    """A command's options, without --help and --version."""
    return [p for p in command.params if isinstance(p, click.Option) and not p.is_eager]


def name_variables(command: click.Command, name: str) -> None:
    """Give each option of a command, and of the commands below it, its variables."""
    for option in options(command):
        option.envvar = variables(name, option)
    for sub, below in getattr(command, "commands", {}).items():
        name_variables(below, f"{name} {sub}")


def defaults(command: click.Command, name: str) -> dict[str, Any]:
    """click's default_map for a command. Raises UsageError for a file that is damaged or names an unknown option."""
    sections = _read()
    if not sections:
        return {}
    return _defaults(command, name, sections)


def _defaults(command: click.Command, name: str, sections: dict[str, dict[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {long_name(o): o for o in options(command)}
    for section in (SHARED, name):
        for key, text in sections.get(section, {}).items():
            option = known.get(key.replace("_", "-"))
            if option is None and section == name:
                raise UsageError(
                    f"{path()}: [{name}] names the option {key!r}, which `softllama {name}` does not have",
                    f"it has: {', '.join(sorted(known))}",
                )
            if option is not None and option.name and (section == name or getattr(option, "shared", False)):
                found[option.name] = text.split("\n") if option.multiple else text
    for sub, below in getattr(command, "commands", {}).items():
        if values := _defaults(below, f"{name} {sub}", sections):
            found[sub] = values
    return found


def _read() -> dict[str, dict[str, str]]:
    file = path()
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",), default_section="")
    try:
        text = file.read_text("utf-8-sig")
        parser.read_string(text, str(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as e:
        raise UsageError(f"cannot read {file}: {e.strerror}", "SOFTLLAMA_CONFIG names another file") from None
    except (configparser.Error, ValueError) as e:
        raise UsageError(
            f"{file} is no configuration file: {' '.join(str(e).split())}", "[run] and then: seed = 1"
        ) from None
    return {s: dict(_clean(parser.items(s))) for s in parser.sections()}


def _clean(items: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for key, value in items:
        yield key, "\n".join(line.strip() for line in value.split("\n") if line.strip())


def said_where(ctx: click.Context, name: str) -> str:
    """Where an option's value came from, if it was not typed: "SOFTLLAMA_MODEL" or the file's path; else ""."""
    source = ctx.get_parameter_source(name)
    if source is click.core.ParameterSource.DEFAULT_MAP:
        return str(path())
    if source is not click.core.ParameterSource.ENVIRONMENT:
        return ""
    option = next(p for p in ctx.command.params if p.name == name)
    known = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    return next((v for v in known if os.environ.get(v)), "the environment")
