"""Write share/, which the wheel installs where systems look: manual pages, and completions for bash, zsh and fish.

    python scripts/dev/share.py            write it
    python scripts/dev/share.py --check    exit 1 if it is not what would be written (tests/package/test_share.py does this)

A manual page for softllama and one for each of its commands, from click's parameters as docs/commands.md is
(scripts/dev/reference.py). The completions are what `softllama completion SHELL` prints.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from softllama.cli import cli

ROOT = Path(__file__).resolve().parents[2]
SHARE = ROOT / "share"
COMPLETIONS = {
    "bash": "bash-completion/completions/softllama",
    "zsh": "zsh/site-functions/_softllama",
    "fish": "fish/vendor_completions.d/softllama.fish",
}
ABOUT = "feed probability vectors, not tokens, to language models that run in llama.cpp"
INTRO = (
    "A mixture such as dog:0.5,cat:0.5 stands in a prompt where a token would. Commands without --model use a bundled model. "
    "The whole documentation is at https://softllama.github.io/softllama/."
)
CODES = "0, 1 for an error, 2 for something typed wrongly, 3 for an empty answer, 130 for Ctrl-C."
reference: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("reference.py")))


def escaped(text: str) -> str:
    """Text for a manual page: its characters are themselves, and no line is a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", "")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def page(name: str, about: str, synopsis: list[str], body: list[str], others: list[str]) -> str:
    """A manual page in man(7)."""
    title = escaped(name.upper())
    shown = "\n.br\n".join(rf"\fB{escaped(s)}\fR" if " " not in s else bold_command(s) for s in synopsis)
    see = ", ".join(rf"\fB{escaped(o)}\fR(1)" for o in others)
    head = [f'.TH {title} 1 "" softllama "softllama"', ".SH NAME", rf"{escaped(name)} \- {escaped(about)}"]
    return "\n".join([*head, ".SH SYNOPSIS", shown, *body, ".SH SEE ALSO", see]) + "\n"


def bold_command(usage: str) -> str:
    """A usage line with its command in bold."""
    words = usage.split()
    end = next((i for i, w in enumerate(words) if not re.fullmatch("[a-z]+", w)), len(words))
    return rf"\fB{' '.join(words[:end])}\fR {escaped(' '.join(words[end:]))}".rstrip()


def body(command: Any, title: str = ".PP") -> list[str]:
    """Examples, description and options of a command; `title` stands above the options."""
    _, examples, paragraphs = reference["said"](command)
    lines = [".PP", ".nf", ".RS 2", *(escaped(x) for x in examples), ".RE", ".fi"] if examples else []
    lines += [x for p in paragraphs for x in (".PP", escaped(p))]
    groups = reference["grouped_options"](command)
    lines += [title] if groups else []
    for group, options in groups.items():
        lines += [f".SS {group}"] if len(groups) > 1 else []
        for option in options:
            names, takes, text = reference["described"](option)
            shown = ", ".join(rf"\fB{escaped(n)}\fR" for n in names) + (rf" \fI{escaped(takes)}\fR" if takes else "")
            lines += [".TP", shown, escaped(text)]
    return lines


def command_page(short: str, members: list[tuple[str, Any]]) -> str:
    """The page of a command, with a section for each of its subcommands."""
    (name, command), *below = members
    sentence = reference["said"](command)[0]
    about = sentence.rstrip(".")
    about = about if about[:2].isupper() else about[0].lower() + about[1:]
    text = [".SH DESCRIPTION", escaped(sentence), *body(command, ".SH OPTIONS")]
    for name_below, inner in below:
        text += [f".SH {escaped(name_below)}", bold_command(reference["usage"](name_below, inner)), ".PP"]
        text += [escaped(reference["said"](inner)[0]), *body(inner)]
    return page(short, about, [reference["usage"](name, command)], text, ["softllama"])


def main_page(commands: dict[str, list[tuple[str, Any]]]) -> str:
    """The page of softllama itself: its commands, its settings, its exit codes."""
    text = [".SH DESCRIPTION", escaped(INTRO), ".SH COMMANDS"]
    for (name, command), *_ in commands.values():
        text += [".TP", rf"\fB{escaped(name)}\fR", escaped(reference["said"](command)[0])]
    paragraphs = reference["HEAD"].partition("\n\n")[2].split("\n\n")
    settings = [p for p in paragraphs if not p.startswith(("```", "Made from"))]
    text += [".SH SETTINGS", *(x for p in settings for x in (".PP", escaped(" ".join(p.split()))))]
    text += [".SH EXIT STATUS", escaped(CODES)]
    return page("softllama", ABOUT, ["softllama COMMAND [OPTIONS]"], text, list(commands))


def manuals() -> dict[str, str]:
    """File in share/ -> text, of every manual page."""
    commands: dict[str, list[tuple[str, Any]]] = {}
    for name, command in reference["commands"]():
        commands.setdefault("-".join(name.split()[:2]), []).append((name, command))
    made = {short: command_page(short, members) for short, members in commands.items()}
    return {f"man/man1/{name}.1": text for name, text in {**made, "softllama": main_page(commands)}.items()}


def completions() -> dict[str, str]:
    """File in share/ -> text, of the scripts for shells."""
    made = {}
    for shell, file in COMPLETIONS.items():
        done = CliRunner().invoke(cli, ["completion", shell], prog_name="softllama", catch_exceptions=False)
        made[file] = done.stdout.rstrip("\n") + "\n"
    return made


def main() -> None:
    """Write, or check."""
    made = {**manuals(), **completions()}
    there = {p.relative_to(SHARE).as_posix(): p.read_text("utf-8") for p in SHARE.rglob("*") if p.is_file()}
    if "--check" in sys.argv[1:]:
        if there != made:
            sys.exit("share/ is not current: python scripts/dev/share.py")
        return
    for name in there.keys() - made.keys():
        (SHARE / name).unlink()
    for name, text in made.items():
        to = SHARE / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
