"""softllama chat"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from softllama.cli.generation_options import GenerationChoices, generation_options
from softllama.cli.help import Command
from softllama.cli.model_options import ModelOptions, model_options_with
from softllama.errors import SoftLlamaError, UsageError

if TYPE_CHECKING:
    from softllama.chat.conversation import Conversation
    from softllama.chat.storage import Saved
    from softllama.terminal.screen import Screen
    from softllama.terminal.state import ChatState


@click.command(cls=Command)
@generation_options(in_plain_text=True, without=["where", "keep"])
@click.option(
    "--thinking",
    "view",
    type=click.Choice(["show", "hide", "mixtures"]),
    default="show",
    show_default=True,
    help="How thinking is shown.",
)
@click.option(
    "--mix", "mixes", multiple=True, metavar="NAME=MIX", help="A mixture for {NAME} in messages. May be repeated."
)
@click.option("--load", "file", metavar="FILE", help="Go on with a saved conversation.")
@click.option(
    "--continue/--new", "go_on", default=None, help="Go on with the last conversation, or do not. Default: ask."
)
@click.option("--private", is_flag=True, help="Keep nothing: no autosave, no history of lines.")
@model_options_with("the bundled model", argument=True)
def command(
    generation: GenerationChoices,
    view: str,
    mixes: tuple[str, ...],
    file: str | None,
    go_on: bool | None,
    private: bool,
    options: ModelOptions,
) -> None:
    """Talk with a model that thinks in mixtures of tokens and answers in words.

    \b
    softllama chat
    softllama chat -m model.gguf --policy "gumbel:tau=0.3" --think-budget 300
    softllama chat -m model.gguf --system @rules.txt --thinking mixtures
    echo "Who is bigger, the dog or the cat?" | softllama chat -q

    /help lists the commands. Thinking is shown dim, as its readouts. In a pipe, each line is a message; only the answers
    go to stdout. The seed is that of the first answer; each later answer takes the next number. The conversation is kept
    while it goes on. If it is cut off, the next chat offers to continue it.
    """
    if file is not None and go_on:
        raise UsageError("--load and --continue exclude each other")
    if private and go_on:
        raise UsageError("--private and --continue exclude each other")
    generation.check()
    system, template = generation.system_text(), generation.template_text()
    model = options.load()

    from softllama.chat.conversation import Conversation
    from softllama.terminal import commands
    from softllama.terminal.repl import Repl
    from softllama.terminal.screen import Screen
    from softllama.terminal.state import ChatState

    screen = Screen(quiet=options.quiet)
    settings = generation.keywords(without=["seed"])
    c = Conversation(model, system=system or "", seed=generation.seed, template=template, **settings)
    path, is_earlier = None, True
    if file is not None:
        _restore(c, _read(Path(file)), template)
    else:
        path = None if private or go_on is False else _earlier(c, screen, go_on, template)
        is_earlier = path is not None
    if is_earlier:  # what was typed counts more than what was saved
        c.system = c.system if system is None else system
        c.set(**settings)
        if generation.seed is not None:
            c.reseed(generation.seed)
    chat = ChatState(c, screen, view=view)
    if not private:
        _open_autosave(chat, path)
    for mix in mixes:
        commands.define(chat, mix)
    _introduce(chat, is_earlier)
    commands.give_room_to_act(chat)
    sys.exit(Repl(chat).run())


def _open_autosave(chat: ChatState, path: Path | None) -> None:
    from softllama.chat.storage import Autosave

    try:
        chat.autosave = Autosave(path)
    except OSError as e:
        chat.report_once(f"this conversation is not being kept: {e.strerror or e}: {e.filename}")


def _introduce(chat: ChatState, is_earlier: bool) -> None:
    """What the chat chose by itself, how to use it, and where an earlier conversation was left."""
    from softllama.generation import advice
    from softllama.terminal.repl import WELCOME

    c, screen = chat.conversation, chat.screen
    why = "" if c.settings.policy else f", {c.default_policy()[1]}"
    screen.note(f"policy: {c.policy!r}{why}; seed {c.seed + c.answers}")
    if line := advice.small_model(c.model, c.policy, "/compare sample shows both"):
        screen.note(line)
    if line := c.thinks_anyway():
        screen.note(line)
    if c.n_ctx < c.model.n_ctx_limit:
        screen.note(f"context: {c.n_ctx:,} of {c.model.n_ctx_limit:,} positions; --n-ctx N makes room for more")
    if screen.terminal and not screen.quiet:
        screen.note(WELCOME)
    if is_earlier:
        chat.save()
        if screen.terminal:
            chat.show_last()


def _earlier(c: Conversation, screen: Screen, go_on: bool | None, template: str | None) -> Path | None:
    """Restore the last conversation if it is to go on.

    Args:
        c: the conversation that becomes it.
        screen: where to ask.
        go_on: True: without asking. None: ask, if it was cut off and somebody is there to answer.
        template: the chat template that was typed.

    Returns:
        Its file; None for a new conversation.
    """
    from softllama.chat import storage
    from softllama.terminal.format import beginning

    latest = storage.latest()
    if latest is None:
        if go_on:
            raise UsageError("there is no earlier conversation to continue", "softllama chat starts one")
        return None
    path, data = latest
    if go_on:
        _restore(c, storage.parse(data), template)
        return path
    if not data.get("open") or not screen.terminal:
        return None
    new = c.snapshot()
    try:
        _restore(c, storage.parse(data), template)
    except SoftLlamaError:  # it needs another model
        return None
    names = [m.details.get("manifest", {}).get("model", {}).get("name") for m in c.messages if m.role == "assistant"]
    other = f", with {names[-1]}" if names and names[-1] not in (None, c.model.name) else ""
    screen.print(f'The last conversation was cut off{other}, at "{beginning(c.messages[-1])}".')
    if _confirm("Continue it? [Y/n] "):
        return path
    c.restore(new)
    storage.write(path, {**data, "open": False}, private=True)
    return None


def _confirm(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("", "y", "yes")
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return False


def _read(path: Path) -> Saved:
    from softllama.chat import storage

    return storage.parse(storage.read(path))


def _restore(c: Conversation, saved: Saved, template: str | None) -> None:
    """Go on with what was saved; a chat template that was typed takes the place of the saved one."""
    c.restore(saved if template is None else replace(saved, template=template))
