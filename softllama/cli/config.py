"""Where options come from when they are not typed: variables named SOFTLLAMA_..., then the settings file.

The file is config.toml in the system's folder for settings (base/folders.py), or what SOFTLLAMA_CONFIG names:

    [softllama]                     # for every command that has the option
    model = "user/repo:Q4_K_M"
    [run]
    max-tokens = 200
    stop = ["\\n\\n", "User:"]
    [models.pull]                   # softllama models pull
    quiet = true

Knows click's options and the file. Does not know what an option means. config.ini, the file of
versions before 0.2, is read for one more release.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from softllama.base import folders
from softllama.base.text import unknown
from softllama.errors import UsageError

PREFIX = "SOFTLLAMA"
SHARED = "softllama"  # the table, and the variables' prefix, for options that several commands share
_HINT = 'it is TOML: [run] on a line, and below it seed = 1, policy = "full", json = true, stop = ["x"]'


def path() -> Path:
    """Return the settings file: SOFTLLAMA_CONFIG, or config.toml, or config.ini where only that is there."""
    if name := os.environ.get("SOFTLLAMA_CONFIG"):
        return Path(name).expanduser()
    file = folders.config() / "config.toml"
    older = file.with_suffix(".ini")
    return older if older.exists() and not file.exists() else file


def options(command: click.Command) -> list[click.Option]:
    """Return a command's options, without --help and --version."""
    return [p for p in command.params if isinstance(p, click.Option) and not p.is_eager]


def long_names(option: click.Parameter) -> list[str]:
    """Return an option's spellings without dashes: ["n-gpu-layers", "gpu-layers"]. What switches a flag off is none."""
    spellings = [*option.opts, *getattr(option, "old_names", ())]
    return [o.lstrip("-") for o in spellings if o.startswith("--")] or [option.opts[0].lstrip("-")]


def variables(command: str, option: click.Parameter) -> list[str]:
    """Return an option's variables, the more particular first: SOFTLLAMA_RUN_MODEL, then, if it is shared, SOFTLLAMA_MODEL."""
    names = [n.upper().replace("-", "_") for n in long_names(option)]
    own = [f"{PREFIX}_{command.upper().replace(' ', '_')}_{n}" for n in names]
    return own + [f"{PREFIX}_{n}" for n in names if getattr(option, "shared", False)]


def name_variables(command: click.Command, name: str) -> None:
    """Give each option of a command, and of the commands below it, its variables."""
    for option in options(command):
        option.envvar = variables(name, option)
    for sub, below in _commands(command).items():
        name_variables(below, f"{name} {sub}")


def value_source(ctx: click.Context, name: str) -> str:
    """Return where an option's value came from, if it was not typed: "SOFTLLAMA_MODEL" or the file's path; else ""."""
    source = ctx.get_parameter_source(name)
    if source is click.core.ParameterSource.DEFAULT_MAP:
        return str(path())
    if source is not click.core.ParameterSource.ENVIRONMENT:
        return ""
    option = next(p for p in ctx.command.params if p.name == name)
    names = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    return next((v for v in names if os.environ.get(v)), "the environment")


def defaults(command: click.Command, name: str) -> dict[str, Any]:
    """Return click's default_map for a command, from the settings file.

    Args:
        command: The command, or a group with commands below it.
        name: As it is typed, without "softllama".

    Raises:
        UsageError: The file is damaged, names an unknown command or option, or has a value of the wrong type.
    """
    settings = _read()
    for key, table in settings.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path()}: {key!r} stands above the first table", _HINT)
    ctx = click.get_current_context(silent=True)
    root = ctx.find_root().command if ctx is not None else None
    if ctx is not None and isinstance(root, click.Group):
        names = [SHARED, *root.list_commands(ctx)]
        for key in settings:
            if key not in names:
                raise unknown(f"{path()}: there is no command for the table [{key}]", key, names)
    return _defaults(command, name, settings.get(name, {}), settings.get(SHARED, {}))


def _defaults(command: click.Command, name: str, own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """own: the command's table, with those of the commands below it. shared: that of all commands."""
    commands = _commands(command)
    known = {n: o for o in options(command) for n in long_names(o)}
    values: dict[str, Any] = {}
    for key, value in shared.items():
        option = known.get(key.replace("_", "-"))
        if option is not None and option.name and getattr(option, "shared", False):
            values[option.name] = _checked(value, option, f"{path()}: [{SHARED}] {key}")
    for key, value in own.items():
        if key in commands and isinstance(value, dict):
            continue
        option = known.get(key.replace("_", "-"))
        if option is None or not option.name:
            table = f"[{name.replace(' ', '.')}]"
            message = f"{path()}: {table} names the option {key!r}, which `softllama {name}` does not have"
            raise unknown(message, key, sorted({*known, *commands}))
        values[option.name] = _checked(value, option, f"{path()}: [{name.replace(' ', '.')}] {key}")
    for sub, below in commands.items():
        table = own.get(sub, {})
        if values_below := _defaults(below, f"{name} {sub}", table if isinstance(table, dict) else {}, shared):
            values[sub] = values_below
    return values


def _commands(command: click.Command) -> Mapping[str, click.Command]:
    return command.commands if isinstance(command, click.Group) else {}


def _checked(value: Any, option: click.Option, where: str) -> Any:
    """A value as click takes it. Raises UsageError for one of the wrong type. Text from config.ini is click's to read."""
    if isinstance(value, _Text):
        return str(value).split("\n") if option.multiple else str(value)
    if option.multiple:
        if not isinstance(value, list):
            raise UsageError(f"{where} must be an array", f'such as ["{value}"]' if isinstance(value, str) else _HINT)
        return [_one(v, option, f"{where}, item {i}") for i, v in enumerate(value, 1)]
    return _one(value, option, where)


def _one(value: Any, option: click.Option, where: str) -> Any:
    kinds: tuple[type, ...]
    if option.is_flag:
        kinds, text = (bool,), "true or false"
    elif isinstance(option.type, click.types.IntParamType):
        kinds, text = (int,), "a whole number"
    elif isinstance(option.type, click.types.FloatParamType):
        kinds, text = (int, float), "a number"
    else:
        kinds, text = (str, int, float), "text in quotes"
    fits = isinstance(value, kinds) and isinstance(value, bool) == option.is_flag
    if not fits or (isinstance(value, int) and abs(value) >= 2**63):
        raise UsageError(f"{where} must be {text}", _HINT)
    return str(value) if str in kinds else value


# ---- the file --------------------------------------------------------------------------------------------------------


def _read() -> dict[str, Any]:
    """The file's tables; none where there is no file."""
    file = path()
    try:
        text = file.read_text("utf-8-sig")
        if file.suffix == ".ini":
            return _from_ini(text, file)
        import tomllib  # only where there is a file

        return tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as e:
        raise UsageError(f"cannot read {file}: {e.strerror}", "SOFTLLAMA_CONFIG names another file") from None
    except UnicodeDecodeError as e:
        raise UsageError(f"the settings file {file} is not UTF-8 text: byte {e.start}", _HINT) from None
    except ValueError as e:
        raise UsageError(f"the settings file {file} is damaged: {' '.join(str(e).split())}", _HINT) from None
    except RecursionError:
        raise UsageError(f"the settings file {file} is damaged: it is nested too deeply", _HINT) from None


class _Text(str):
    """A value of config.ini, in which everything is text."""


def _from_ini(text: str, file: Path) -> dict[str, Any]:
    """The sections of a config.ini as tables, [models pull] below [models]; and a line on how to convert it."""
    import configparser  # only where there is a file

    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",), default_section="")
    try:
        parser.read_string(text, str(file))
    except configparser.Error as e:
        raise ValueError(str(e)) from None
    tables: dict[str, Any] = {}
    for section in parser.sections():
        table = tables
        for word in section.split():
            table = table.setdefault(word, {})
        for key, value in parser.items(section):
            table[key] = _Text("\n".join(line.strip() for line in value.split("\n") if line.strip()))
    click.secho(
        f"{file}: settings now belong in {file.with_suffix('.toml').name}, with text in quotes, true or false, lists as "
        '["a", "b"], and [models.pull] for [models pull]; this file is read in this release for the last time',
        err=True,
        dim=True,
    )
    return tables
