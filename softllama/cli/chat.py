"""softllama chat"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from softllama.cli.options import load_model, model_options
from softllama.errors import UsageError

if TYPE_CHECKING:
    from softllama.chat.conversation import Conversation
    from softllama.terminal.screen import Screen


@click.command()
@click.option("--policy", metavar="POLICY", help='Such as "soft_thinking:n=10,tau=0.01"; see `softllama policies`.')
@click.option("--answer-policy", "answer", metavar="POLICY", help="How answers are decoded, if not as the policy says.")
@click.option("--system", metavar="TEXT|@FILE", help="The system message.")
@click.option("--template", metavar="FILE", help="A chat template (Jinja) in place of the model's.")
@click.option("--think", type=click.Choice(["auto", "on", "off"]), help="Think before answering. Default: auto.")
@click.option("--think-budget", type=int, metavar="N", help="Close the thinking block after N steps.")
@click.option("--think-tags", metavar="OPEN,CLOSE", help='The tags of a thinking block, such as "<think>,</think>".')
@click.option(
    "--thinking", "view", type=click.Choice(["show", "hide", "mixtures"]), default="show", show_default=True,
    help="How thinking is shown.",
)  # fmt: skip
@click.option(
    "--mix", "mixes", multiple=True, metavar="NAME=MIX", help="A mixture for {NAME} in messages. May be repeated."
)
@click.option(
    "--max-tokens", type=int, metavar="N", help="Of an answer with its thinking. Default: what there is room for."
)
@click.option(
    "--seed", type=int, metavar="N", help="Of the first answer; each takes the next. Default: drawn, and reported."
)
@click.option("--stop", multiple=True, metavar="TEXT", help="End an answer at this text; may be repeated.")
@click.option("--load", "file", metavar="FILE", help="Go on with a saved conversation.")
@click.option(
    "--continue/--new", "go_on", default=None, help="Go on with the last conversation, or do not. Default: ask."
)
@click.option("--private", is_flag=True, help="Keep nothing: no autosave, no history of lines.")
@model_options
def command(
    policy: str | None,
    answer: str | None,
    system: str | None,
    template: str | None,
    view: str,
    mixes: tuple[str, ...],
    seed: int | None,
    file: str | None,
    go_on: bool | None,
    private: bool,
    model: str | None,
    n_ctx: int | None,
    n_gpu_layers: int | None,
    n_threads: int | None,
    lora: tuple[str, ...],
    quiet: bool,
    **settings: Any,
) -> None:
    """Talk with a model that thinks in mixtures of tokens and answers in words.

    \b
    softllama chat
    softllama chat -m model.gguf --policy "gumbel:tau=0.3" --think-budget 300
    softllama chat -m model.gguf --system @rules.txt --thinking mixtures
    echo "Who is bigger, the dog or the cat?" | softllama chat -q

    /help lists the commands. Thinking is shown dim, as its readouts. In a pipe, each line is a message; only the answers
    go to stdout. The conversation is kept, and offered again, if it is cut off.
    """
    from softllama import policy as policies
    from softllama.chat.storage import read_text
    from softllama.terminal.commands import system_text

    if file is not None and go_on:
        raise UsageError("--load and --continue exclude each other")
    if private and go_on:
        raise UsageError("--private and --continue exclude each other")
    for written in (policy, answer):
        if written is not None:
            policies.parse(written)  # a typo is told before a large model is loaded
    given = {k: v for k, v in {**settings, "policy": policy, "answer": answer}.items() if v not in (None, ())}
    said = system_text(system) if system else system
    source = None if template is None else read_text(template, "chat template")
    loaded = load_model(model, n_ctx, n_gpu_layers, n_threads, lora, quiet)

    from softllama.chat.conversation import Conversation
    from softllama.terminal.screen import Screen

    screen = Screen(quiet=quiet)
    c = Conversation(loaded, system=said or "", seed=seed, template=source, **given)
    sys.exit(_talk(c, screen, given, said, seed, mixes, source, view, file, go_on, private))


def _talk(
    c: Conversation, screen: Screen, given: dict[str, Any], system: str | None, seed: int | None, mixes: tuple[str, ...],
    source: str | None, view: str, file: str | None, go_on: bool | None, private: bool,
) -> int:  # fmt: skip
    from softllama.chat import storage
    from softllama.chat.storage import Autosave
    from softllama.terminal import commands
    from softllama.terminal.repl import WELCOME, Repl

    path = None if private or file is not None or go_on is False else _earlier(c, screen, go_on, source)
    came_back = path is not None
    if file is not None:
        c.restore(_with_template(storage.read(file), source))
        came_back = True
    if came_back:  # what the command line says counts more than what was saved
        c.system = c.system if system is None else system
        c.set(**given)
        if seed is not None:
            c.reseed(seed)
    repl = Repl(c, screen, view=view)
    if not private:
        try:
            repl.autosave = Autosave(path)
        except OSError as e:
            repl.tell(f"this conversation is not being kept: {e.strerror or e}: {e.filename}")
    for mix in mixes:
        commands.define(repl, mix)
    why = "" if c.settings.policy else f": {c.default_policy()[1]}"
    screen.note(f"policy: {c.policy!r}{why}; seed {c.seed + c.answers}")
    if c.n_ctx < c.model.n_ctx_limit:
        screen.note(f"context: {c.n_ctx:,} of {c.model.n_ctx_limit:,} positions; --n-ctx N makes room for more")
    if screen.terminal and not screen.quiet:
        screen.note(WELCOME)
    if came_back:
        repl.save()
        if screen.terminal:
            repl.show_last()
    return repl.run()


def _earlier(c: Conversation, screen: Screen, go_on: bool | None, template: str | None) -> Any:
    """The file of an earlier conversation that goes on here, once it is restored; None for a new one."""
    from softllama.chat import storage
    from softllama.errors import SoftLlamaError
    from softllama.terminal.repl import began

    found = storage.latest()
    if go_on:
        if found is None:
            raise UsageError("there is no earlier conversation to continue", "softllama chat starts one")
        c.restore(_with_template(found[1], template))
        return found[0]
    if found is None or not found[1].get("open") or not screen.terminal:
        return None
    path, data = found
    before = vars(c).copy()
    try:
        c.restore(_with_template(data, template))
    except SoftLlamaError:  # it needs another model
        return None
    names = [m.made.get("manifest", {}).get("model", {}).get("name") for m in c.messages if m.role == "assistant"]
    other = f", with {names[-1]}" if names and names[-1] not in (None, c.model.name) else ""
    question = f'The last conversation was cut off{other}, at "{began(c.messages[-1])}". Continue it? [Y/n] '
    try:
        yes = input(question).strip().lower() in ("", "y", "yes")
    except (EOFError, KeyboardInterrupt):
        yes = False
        click.echo()
    if yes:
        return path
    vars(c).update(before)
    storage.write(path, {**data, "open": False}, private=True)
    return None


def _with_template(data: Any, source: str | None) -> Any:
    """A saved conversation with the template of the command line, if there is one there."""
    return data if source is None or not isinstance(data, dict) else {**data, "template": source}
