"""softllama chat as typed: whole transcripts through a pipe, and keys, streaming and kill -9 through a pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import softllama as sl
from softllama.chat import storage
from softllama.chat.conversation import Conversation
from softllama.chat.messages import Mix
from softllama.hub import bundled
from softllama.terminal import commands
from softllama.terminal.wrap import WordWrap
from softllama.trace import reader
from tests.chat.test_conversation import TEMPLATE, THINKS
from tests.conftest import Cli
from tests.support.terminal import Terminal

SETTINGS = {"policy": "top_mean:n=3", "think_budget": 4, "max_tokens": 20, "seed": 5}
OPTIONS = [x for k, v in SETTINGS.items() for x in (f"--{k.replace('_', '-')}", v)]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOFTLLAMA_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def file(write: Callable[..., Path]) -> Path:
    return write("llama", chat_template=THINKS, n_ctx=1024)


@pytest.fixture
def chat(cli: Cli, file: Path) -> Callable[..., tuple[int, str, str]]:
    """chat("a line", "/command", options=[...]) -> exit code, stdout, stderr with speeds as N."""

    def run(*lines: str, options: list[Any] = OPTIONS, model: Path | None = None) -> tuple[int, str, str]:
        code, out, err = cli("chat", "-m", model or file, *options, stdin="".join(x + "\n" for x in lines))
        return code, out, re.sub(r"[0-9.]+ (tokens/s|s\b)", r"N \1", err)

    return run


def twin(load: Callable[..., sl.Model], **options: Any) -> Conversation:
    """What the command line is to do, done by the library."""
    return Conversation(load("llama", chat_template=THINKS, n_ctx=1024), **{**SETTINGS, **options})


# ---- pipes -------------------------------------------------------------------------------------------------------------


def test_a_whole_transcript(chat: Callable[..., Any], load: Callable[..., sl.Model], file: Path) -> None:
    c = twin(load)
    a, b = c.reply("the dog says"), c.reply("and the cat?")
    code, out, err = chat("the dog says", "", "and the cat?")
    assert code == 0
    assert out == f"{a.answer.strip()}\n{b.answer.strip()}\n"
    device = f"device: {c.model.device}, 1 thread: {c.model.device_reason}\n"
    lines = [
        "policy: top_mean:n=3; seed 5\n",
        *(
            (f"{t.thinking.strip()}\n" if t.thinking.strip() else "")
            + f"4 thinking + {t.n_answer} answer tokens, {t.n_soft / (4 + t.n_answer):.0%} soft, "
            f"mean entropy {t.mean_entropy:.2f} nats, "
            f"{t.effective_tokens:.1f} tokens in a mixture, N tokens/s"
            + (f"; {t.stop_reason}\n" if t.stop_reason != "end of generation" else "\n")
            for t in (a, b)
        ),
    ]
    assert err == device + "".join(lines)
    assert "\x1b" not in out + err


def test_quiet_is_answers_only(chat: Callable[..., Any]) -> None:
    loud, quiet = chat("the dog"), chat("the dog", options=[*OPTIONS, "-q"])
    assert quiet == (0, loud[1], "")


def test_several_lines_are_one_message(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    c = twin(load)
    answers = [c.reply(x).answer.strip() for x in ("the dog\n\n  /says", "one line", "/slash")]
    code, out, _ = chat('"""the dog', "", '  /says"""', '"""one line"""', "//slash")
    assert (code, out) == (0, "".join(a + "\n" for a in answers))
    code, out, err = chat("the dog", '"""', "never closed", options=[*OPTIONS, "-q"])
    assert code == 1
    assert out == answers_of(load, "the dog")
    assert err == 'Error: the """ of line 2 is not closed\nHint: what follows it was not sent\n'


def answers_of(load: Callable[..., sl.Model], *said: str, **options: Any) -> str:
    c = twin(load, **options)
    return "".join(c.reply(x).answer.strip() + "\n" for x in said)


def test_a_line_that_fails_does_not_end_the_chat(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    code, out, err = chat("/nonsense", "the dog", "x" * 2000, "the cat", options=[*OPTIONS, "-q"])
    assert code == 1
    assert out == answers_of(load, "the dog", "the cat")
    assert err.count("Error: ") == 2
    assert "context has room for 1,024" in err


def test_bytes_that_are_no_text(file: Path) -> None:
    command = [sys.executable, "-m", "softllama", "chat", "-q", "-m", str(file), *map(str, OPTIONS)]
    done = subprocess.run(command, input=b"\xff\xfe\nthe dog\n", capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: line 1 is not UTF-8 text: byte 0\n")
    assert done.stdout.count(b"\n") >= 1


def test_mixtures_in_messages(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    c = twin(load)
    c.define("animal", Mix("dog:0.5,cat:0.5"))
    said = "the {animal} {other} {{animal}}"
    expected = c.reply(said).answer.strip() + "\n"
    code, out, err = chat("/mix animal=dog:0.5,cat:0.5", said, "/mix", "/mix animal=", "/mix")
    assert (code, out) == (0, expected)
    assert err.count("{animal} = 0.5 dog + 0.5 cat\n") == 2
    assert err.endswith("{animal} is forgotten\nthere are no mixtures; /mix animal=dog:0.5,cat:0.5 makes one\n")
    assert chat(said, options=[*OPTIONS, "--mix", "animal=dog:0.5,cat:0.5"])[1] == expected
    assert "0.333 hippopotamus" not in chat("/mix --split mean x=dog,hippopotamus")[2]
    assert "{x} = 0.5 dog + 0.5 hippopotamus" in chat("/mix --split mean x=dog,hippopotamus")[2]
    assert "{x} = 0.75 dog + 0.25 cat" in chat("/mix --normalize x=dog:3,cat:1")[2]
    assert "{x} = 2 dog + -1 cat" in chat("/mix --signed x=dog:2,cat:-1")[2]


def test_regen_undo_and_clear(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    options = {"policy": "gumbel"}
    c = twin(load, **options)
    expected = [c.reply("the dog"), c.reply("the cat"), c.regen()]
    c.undo()
    expected.append(c.reply("the ball"))
    c.clear()
    expected.append(c.reply("woof"))
    typed = [*OPTIONS, "--policy", "gumbel"]
    code, out, err = chat("the dog", "the cat", "/regen", "/undo", "the ball", "/clear", "woof", options=typed)
    assert (code, out) == (0, "".join(t.answer.strip() + "\n" for t in expected))
    assert "taken back: the cat\n" in err
    assert "cleared\n" in err


def test_settings_are_shown_and_changed(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    code, out, err = chat(
        "/set", "/set max_tokens 7", "/set seed 11", "/set stop a\\nb", "/set answer greedy", "/set think_budget none",
        "/policy", "/policy full", "/policy default", "/system", "/system be a dog", "/system", "/think budget 2",
        "/think off", "/think auto", "/system none", "/system", options=[*OPTIONS, "-q"],
    )  # fmt: skip
    assert (code, out) == (0, "")
    assert err == (
        "policy = top_mean:n=3\nanswer = none\nthink = auto\nthink_budget = 4\nmax_tokens = 20\nstop = none\n"
        "think_tags = none\nparse_special = off\ndate = none\non_loop = warn\n"
        "seed = 5 for the next answer\nmax_tokens = 7\nseed = 11 for the next answer\nstop = 'a\\nb'\n"
        "answer = greedy\nthink_budget = none\ntop_mean:n=3\nfull\nsoft_thinking: the default for a prompt with a thinking "
        "block\nthere is no system message\nbe a dog\nthere is no system message\n"
    )
    out = chat("/set seed 9", "/system be a cat", "/set max_tokens 9", "the dog", options=[*OPTIONS, "-q"])[1]
    assert out == answers_of(load, "the dog", seed=9, max_tokens=9, system="be a cat")


def test_thinking_can_be_shown_folded_and_seen_as_mixtures(chat: Callable[..., Any]) -> None:
    code, out, err = chat("the dog", "/think hide", "/regen", "/think mixtures", "/regen", "/think show", "/think on")
    assert code == 0
    steps = re.findall(r"^ *\d+ soft   H +\d+\.\d\d  .+ \d\.\d{3}$", err, re.M)
    assert len(steps) == 4
    assert "(thinking budget)" in err
    assert err.rstrip().endswith("thinking: on, a budget of 4, view: show")
    assert out.count("\n") >= 3


def test_folded_thinking_unfolds(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    options = [*OPTIONS, "--policy", "sample:temperature=2", "--thinking", "hide"]
    thought = twin(load, policy="sample:temperature=2").reply("the dog").thinking.strip()
    assert thought
    err = chat("the dog", "/think show", options=options)[2]
    before, after = err.split("tokens/s", 1)
    assert thought not in before
    assert after.splitlines()[1:] == [*thought.splitlines(), "thinking: auto, a budget of 4, view: show"]


def test_top_shows_the_turning_points(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    c = twin(load)
    c.reply("the dog")
    err = chat("the dog", "/top 3", options=[*OPTIONS, "-q"])[2]
    names = ("first token of the thinking", "first token of the answer", "at its end")
    found = c.distributions()
    shown = [n for n, k in zip(names, ("thinking", "answer", "end"), strict=True) if k in found]
    assert all(name in err for name in shown)
    assert f"at its end, entropy {found['end'].entropy():.3f} nats" in err
    assert len(err.splitlines()) == 2 * len(shown)


def test_compare_is_side_by_side(
    chat: Callable[..., Any], load: Callable[..., sl.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ("the dog", "/compare sample:temperature=2", "and")
    monkeypatch.setenv("COLUMNS", "120")
    code, out, wide = chat(*lines, options=[*OPTIONS, "-q"])
    assert code == 0
    assert out == answers_of(load, "the dog", "and")  # the conversation goes on as if nothing had been
    head = next(line for line in wide.splitlines() if "top_mean" in line)
    assert re.fullmatch(r"top_mean:n=3 +sample:temperature=2\.0", head)
    assert wide.count("answer tokens") == 2
    assert "N s, 4 thinking" in wide
    monkeypatch.setenv("COLUMNS", "60")
    narrow = chat(*lines, options=[*OPTIONS, "-q"])[2].splitlines()
    assert narrow.index("top_mean:n=3") < narrow.index("sample:temperature=2.0")
    assert max(map(len, narrow)) <= 60


def test_save_load_and_trace(
    chat: Callable[..., Any], load: Callable[..., sl.Model], tmp_path: Path, state: Path
) -> None:
    saved = tmp_path / "my chat.json"
    code, out, _ = chat("the dog", f"/save {saved}", f"/trace {tmp_path / 't.jsonl'}", f"/trace {tmp_path / 't.npz'}")
    assert code == 0
    for name in ("t.jsonl", "t.npz"):
        assert reader.load(tmp_path / name).answer.strip() + "\n" == out
    data = json.loads(saved.read_text())
    assert [m["content"] for m in data["messages"]] == ["the dog", out.rstrip("\n")]
    assert data["seed"] == 5
    assert "trace" not in data["messages"][1]
    both = answers_of(load, "the dog", "the cat")
    assert out + chat("the cat", options=["--load", saved])[1] == both
    code, last, err = chat("woof", f'/load "{saved}"', "the cat")
    assert both.endswith(last.partition("\n")[2])
    assert "2 messages; the last of them:\n> the dog\n" in err
    chat("the dog", f"/save {tmp_path / 'whole.json'} traces")
    whole = json.loads((tmp_path / "whole.json").read_text())
    assert whole["messages"][1]["trace"][0]["kind"] == "trace"
    assert "view" not in whole


def test_stats_count(chat: Callable[..., Any], load: Callable[..., sl.Model]) -> None:
    c = twin(load)
    made = [c.reply("the dog"), c.reply("the cat")]
    err = chat("the dog", "the cat", "/stats", options=[*OPTIONS, "-q", "--private"])[2]
    n = sum(t.n_answer for t in made)
    soft = sum(t.n_soft for t in made)
    evaluated = sum(t.evaluated for t in made)
    assert err == (
        f"4 messages, 2 of them answers; 0 oldest turns left out\n8 thinking + {n} answer tokens, {soft} of them soft, in "
        f"N s\n{evaluated} positions evaluated for these answers, {evaluated} in this chat\n"
        f"{len(c.cache.items)} of 1024 positions of the context in use\nnext seed 7\n"
    )


def test_help_tells_every_command(chat: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("60", "140"):
        monkeypatch.setenv("COLUMNS", columns)
        err = chat("/help", *(f"/help {n}" for n in commands.COMMANDS), options=["-q"])[2]
        for name, c in commands.COMMANDS.items():
            if name == "quit":  # another name of /exit
                continue
            assert f"/{name} {c.form}".strip() in err
    assert chat("/exit", "never said", options=OPTIONS)[1] == ""


def test_a_chat_that_overflows_says_so_once(chat: Callable[..., Any], write: Callable[..., Path]) -> None:
    small = write("llama", chat_template=THINKS, n_ctx=256)
    lines = [f"turn {i} the dog" for i in range(50)]
    options = [*OPTIONS, "--max-tokens", 12, "--system", "be a dog"]
    code, out, err = chat(*lines, "/stats", options=options, model=small)
    assert code == 0
    assert out.count("\n") >= 50
    assert err.count("is full") == 1
    assert "the oldest turns are left out until half of it is free; the system message stays" in err
    assert re.search(r"100 messages, 50 of them answers; [1-9][0-9]? oldest turns left out", err)


def test_defaults_are_said_and_why(chat: Callable[..., Any], write: Callable[..., Path]) -> None:
    assert "policy: soft_thinking, the default for a prompt with a thinking block; seed " in chat(options=[])[2]
    plain = write("llama", chat_template=TEMPLATE, n_ctx=8192)
    err = chat(options=["--seed", 3], model=plain)[2]
    assert (
        "policy: sample:temperature=0.6,top_k=30,top_p=0.95, plain sampling, as this model has no thinking block" in err
    )
    assert "context: 4,096 of 8,192 positions; --n-ctx N makes room for more\n" in err


def test_without_a_model_it_talks_to_the_bundled_one(cli: Cli) -> None:
    code, out, err = cli("chat", *OPTIONS, stdin="the dog\n")
    assert code == 0
    assert out
    assert "model: words, which comes with softllama" in err


def test_what_was_said_before_goes_on(chat: Callable[..., Any], load: Callable[..., sl.Model], state: Path) -> None:
    both = answers_of(load, "the dog", "the cat")
    first = chat("the dog")[1]
    assert first + chat("the cat", options=["--continue", "-q"])[1] == both
    assert len(list((state / "chats").glob("*.json"))) == 1
    assert not list((state / "chats").glob("*.lock"))
    assert chat("the dog", options=[*OPTIONS, "--new"])[1] == first
    assert len(list((state / "chats").glob("*.json"))) == 2
    chat("the dog", "/clear", "the cat")
    assert len(list((state / "chats").glob("*.json"))) == 4  # what was cleared is still there
    before = sorted(state.rglob("*"))
    chat("the dog", options=[*OPTIONS, "--private"])
    assert sorted(state.rglob("*")) == before
    err = chat("the dog", options=["--continue", "--seed", 3, "--policy", "greedy"])[2]
    assert "policy: greedy; seed 3\n" in err


def test_a_state_folder_that_cannot_be_written(chat: Callable[..., Any], tmp_path: Path, state: Path) -> None:
    state.write_text("a file, not a folder")
    code, out, err = chat("the dog", "the cat")
    assert code == 0
    assert out.count("\n") >= 2
    assert err.count("this conversation is not being kept") == 1


def test_options_are_settings(
    chat: Callable[..., Any], load: Callable[..., sl.Model], file: Path, tmp_path: Path
) -> None:
    """Every option against the same setting of the library."""
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    (tmp_path / "rules.txt").write_text("be a dog\n")
    for typed, given in (
        (["--answer-policy", "greedy"], {"answer": "greedy"}),
        (["--think", "off"], {"think": "off"}),
        (["--think-tags", "(think),(done)", "--think", "on"], {"think_tags": "(think),(done)", "think": "on"}),
        (["--stop", "a", "--stop", "e"], {"stop": ("a", "e")}),
        (["--system", f"@{tmp_path / 'rules.txt'}"], {"system": "be a dog"}),
        (["--n-ctx", 64], {"n_ctx": 64}),
        (
            ["--template", tmp_path / "t.jinja", "--think-tags", "(t),(d)"],
            {"template": TEMPLATE, "think_tags": "(t),(d)"},
        ),
    ):
        assert chat("the dog", options=[*OPTIONS, *typed])[1] == answers_of(load, "the dog", **given), typed


def test_lines_are_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty:
        def isatty(self) -> bool:
            return True

    def shown(pieces: list[str], width: int = 11) -> str:
        lines = WordWrap(width, Tty())  # type: ignore[arg-type]
        return "".join(map(lines.push, pieces)) + lines.end()

    assert shown(["the dog says wo", "of"]) == "the dog\nsays woof"
    assert shown(["a", "b", "c ", "d\n\n", " e"]) == "abc d\n\n e"
    assert shown(["0123456789", "abc def"]) == "0123456789\nabc def"
    assert shown(["x" * 25]) == "x" * 10 + "\n" + "x" * 10 + "\n" + "x" * 5
    assert shown(["狗狗狗 猫猫猫"]) == "狗狗狗\n猫猫猫"
    assert shown(["one two  three"]).replace("\n", " ").split() == ["one", "two", "three"]
    assert WordWrap(11, io.StringIO()).push("the dog says woof") == "the dog says woof"


BAD_OPTIONS: list[tuple[list[str], int, str]] = [
    (["--policy", "soft_thinkin"], 2, "soft_thinking"),
    (["--policy", "soft_thinking:tua=1"], 2, "tau"),
    (["--answer-policy", "greddy"], 2, "greedy"),
    (["--think", "maybe"], 2, "maybe"),
    (["--think-budget", "-3"], 2, "think_budget must be"),
    (["--think-tags", "<t>"], 2, "pair of tags"),
    (["--max-tokens", "0"], 2, "max_tokens must be"),
    (["--max-tokens", "x"], 2, "not a valid integer"),
    (["--seed", "-1"], 2, "seed"),
    (["--stop", ""], 2, "stop string"),
    (["--mix", "dog:0.5,cat:0.5"], 2, "what the mixture is called"),
    (["--mix", "a=dog:0.5"], 2, "sum to 0.5"),
    (["--template", "nowhere.jinja"], 2, "cannot read the chat template"),
    (["--system", "@nowhere.txt"], 2, "cannot read the system message"),
    (["--load", "nowhere.json"], 1, "No such file"),
    (["--load", "x.json", "--continue"], 2, "exclude"),
    (["--private", "--continue"], 2, "exclude"),
    (["--continue"], 2, "no earlier conversation"),
    (["--thinking", "loud"], 2, "loud"),
    (["--n-ctx", "0"], 2, "n_ctx"),
]


@pytest.mark.parametrize(("options", "code", "said"), BAD_OPTIONS, ids=[" ".join(b[0]) for b in BAD_OPTIONS])
def test_bad_options(cli: Cli, file: Path, options: list[str], code: int, said: str) -> None:
    got, out, err = cli("chat", "-m", file, *options, stdin="the dog\n")
    assert got == code, err
    assert said in err
    assert out == ""


def test_bad_templates(cli: Cli, file: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_text("{% for %}")
    code, _, err = cli("chat", "-m", file, "--template", tmp_path / "bad.jinja", stdin="the dog\n")
    assert (code, "does not parse" in err, "repair the file" in err) == (1, True, True)
    (tmp_path / "strict.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + TEMPLATE
    )
    code, _, err = cli("chat", "-m", file, "--template", tmp_path / "strict.jinja", "--system", "x", stdin="the dog\n")
    assert code == 1
    assert "refuses these messages: no system role" in err
    assert "/system none" in err
    code, out, err = cli("chat", "-m", write("llama"), stdin="the dog\n")
    assert (code, out) == (1, "")
    assert "has no chat template" in err
    assert "--template FILE" in err
    (tmp_path / "latin.jinja").write_bytes(b"\xe4")
    assert "not UTF-8" in cli("chat", "-m", file, "--template", tmp_path / "latin.jinja")[2]


BAD_LINES: list[tuple[str, str]] = [
    ("/hlp", "did you mean /help?"),
    ("/", "no command /"),
    ("/xyzzy", "/help lists them"),
    ("/help nonsense", "no command /nonsense"),
    ("/policy greddy", "did you mean 'greedy'?"),
    ("/policy soft_thinking:tua=1", "did you mean 'tau'?"),
    ("/policy soft_thinking:n=0", "n = 0 is not allowed"),
    ("/set nonsense 1", "no setting 'nonsense'"),
    ("/set max_token 5", "did you mean 'max_tokens'?"),
    ("/set max_tokens", "needs a value"),
    ("/set max_tokens five", "not a whole number"),
    ("/set max_tokens 0", "max_tokens must be"),
    ("/set seed -1", "a seed is"),
    ("/set think sometimes", "use one of auto, on, off"),
    ("/think loudly", "no such way to think"),
    ("/think budget x", "not a whole number"),
    ("/think budget -1", "think_budget must be"),
    ("/mix dog:0.5,cat:0.5", "what the mixture is called"),
    ("/mix a=dog:0.5", "sum to 0.5"),
    ("/mix a=dog:x", "not a number"),
    ("/mix a=hippopotamus", "tokens here"),
    ("/mix a=#99999999", "outside the vocabulary"),
    ("/mix a=@nowhere.npy", "cannot read the vector"),
    ("/mix b=", "no mixture {b}"),
    ("/mix --spilt mean a=dog", "no option --spilt"),
    ("/mix --split middle a=dog", "no way to split"),
    ("/top x", "not a whole number"),
    ("/top 0", "between 1 and 1000"),
    ("/top", "no answer has been made yet"),
    ("/regen", "no message yet"),
    ("/undo", "no message yet"),
    ("/save", "which file?"),
    ("/save nowhere/x.json", "cannot write"),
    ("/load", "which file?"),
    ("/load nowhere.json", "No such file"),
    ("/load .", "directory"),
    ("/trace t.jsonl", "no record"),
    ("/compare", "needs a policy"),
    ("/compare greedy", "no answer to compare"),
    ("/system @nowhere.txt", "cannot read the system message"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES, ids=[b[0] for b in BAD_LINES])
def test_bad_lines(chat: Callable[..., Any], line: str, said: str) -> None:
    code, out, err = chat(line, "the dog", options=[*OPTIONS, "-q"])
    assert code == 1
    assert said in err
    assert err.count("Error: ") == 1
    assert out.count("\n") >= 1  # the message after it was answered


def test_bad_lines_after_an_answer(chat: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "other.json").write_text('{"kind": "trace"}')
    for line, said in (
        ("/compare greddy", "greedy"),
        ("/trace t.txt", ".npz or .jsonl"),
        (f"/load {tmp_path / 'damaged.json'}", "not JSON"),
        (f"/load {tmp_path / 'other.json'}", "not a conversation"),
        ("/system " + "x" * 2000, "context has room"),
    ):
        code, _, err = chat("the dog", line, "/stats", options=[*OPTIONS, "-q"])
        assert code == 1
        assert said in err
        assert "2 messages, 1 of them answers" in err


# ---- terminals ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(*arguments: Any, **options: Any) -> Terminal:
        made.append(Terminal("chat", *arguments, **options))
        return made[-1]

    yield make
    for t in made:
        t.close()


@pytest.fixture
def endless(write: Callable[..., Path]) -> list[Any]:
    """Options of a chat whose answers go on for a long time."""
    file = write("llama", chat_template=TEMPLATE, n_ctx=100_000)
    return ["-m", file, "--n-ctx", 90_000, "--policy", "top_mean:n=2,tau=0,where=everywhere", "--seed", 1, "-q"]


@pytest.mark.parametrize(("columns", "kind"), [(60, "xterm"), (80, "xterm"), (140, "xterm"), (60, "dumb")])
def test_a_terminal(terminal: Callable[..., Terminal], file: Path, columns: int, kind: str) -> None:
    t = terminal("-m", file, *OPTIONS, "--policy", "sample:temperature=2", columns=columns, env={"TERM": kind})
    banner = t.prompt()
    assert "Ctrl-D or /exit leaves." in " ".join(banner.replace("\r\n", " ").split())
    t.send("the dog\r")
    shown = t.expect("tokens/s")
    t.prompt()
    assert ("\x1b[2m" in shown) == (kind != "dumb")  # the thinking, dim
    t.send("/help\r")
    shown = t.expect("Ctrl-D leaves.") if columns > 60 else t.expect("leaves.")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert max(len(line) for line in plain.split("\r\n")) <= columns
    t.prompt()
    t.send("\x04")
    assert t.end() == 0
    assert "Traceback" not in t.seen


def test_no_color_is_respected(terminal: Callable[..., Terminal], file: Path) -> None:
    t = terminal("-m", file, *OPTIONS, env={"NO_COLOR": "1", "TERM": "dumb"})
    t.prompt()
    t.send("the dog\r")
    t.expect("tokens/s")
    t.send("/exit\r")
    assert t.end() == 0
    assert "\x1b[2m" not in t.seen


@pytest.mark.slow
def test_several_lines_history_and_leaving(terminal: Callable[..., Terminal], file: Path, state: Path) -> None:
    t = terminal("-m", file, *OPTIONS, "-q")
    t.prompt()
    t.send('"""the dog\r')
    t.expect("... ")
    t.send('says"""\r')
    t.prompt()
    t.send("\x03")
    t.prompt()
    t.send("half a line\x03")
    t.prompt()
    t.send("/system\r")
    t.expect("no system message")
    t.prompt()
    t.send("/exit\r")
    assert t.end() == 0
    assert json.loads(next((state / "chats").glob("*.json")).read_text())["messages"][0]["content"] == "the dog\nsays"
    t = terminal("-m", file, *OPTIONS, "-q")  # another chat: the arrow key brings the earlier one's lines
    t.prompt()
    t.send("\x1b[A\x1b[A\r")
    t.expect("no system message")
    t.prompt()
    t.send("\x04")
    assert t.end() == 0
    assert (state / "chat_history").stat().st_mode & 0o077 == 0


def test_ctrl_c_at_the_prompt_says_how_to_leave(terminal: Callable[..., Terminal], file: Path) -> None:
    t = terminal("-m", file, *OPTIONS)
    t.prompt()
    t.send("\x03")
    t.expect("Ctrl-D or /exit leaves.")
    t.prompt()
    t.send("\x04")
    assert t.end() == 0


def test_ctrl_c_stops_the_answer_and_keeps_its_text(
    terminal: Callable[..., Terminal], endless: list[Any], state: Path
) -> None:
    t = terminal(*endless)
    t.prompt()
    t.send("the dog\r")
    t.expect("\r\n")
    assert t._read(60)  # it streams: there is text long before the answer's end
    assert t._read(60)
    t.send("\x03")
    t.prompt()
    t.send("/stats\r")
    t.expect("2 messages, 1 of them answers")
    t.send("/exit\r")
    assert t.end() == 0
    answer = json.loads(next((state / "chats").glob("*.json")).read_text())["messages"][1]
    assert answer["made"]["stop_reason"] == "interrupted"
    assert answer["made"]["n_answer"] > 3
    assert answer["content"]


@pytest.mark.slow
def test_kill_9_in_an_answer_loses_at_most_that_answer(
    terminal: Callable[..., Terminal], endless: list[Any], file: Path, state: Path
) -> None:
    t = terminal("-m", file, *OPTIONS)
    t.prompt()
    t.send("the dog\r")
    t.expect("tokens/s")
    t.prompt()
    t.send("/set max_tokens none\r")
    t.send("/policy top_mean:n=2,tau=0,where=everywhere\r")
    t.send("/think off\r")
    t.expect("thinking: off")
    t.prompt()
    t.send("and the cat\r")
    t.expect("and the cat\r\n")
    saved = next((state / "chats").glob("*.json"))
    end = time.monotonic() + 30
    while len(json.loads(saved.read_text())["messages"]) < 3:  # it is kept before the answer begins
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(t.process.pid, signal.SIGKILL)
    t.process.wait()
    data = json.loads(saved.read_text())
    assert [m["role"] for m in data["messages"]][:3] == ["user", "assistant", "user"]
    assert data["open"] is True
    t = terminal("-m", file)
    question = t.expect("[Y/n]")
    assert 'was cut off, at "' in question
    t.send("\r")
    t.expect("> and the cat")
    if len(data["messages"]) == 3:
        t.expect("/regen")
    t.prompt()
    t.send("/undo\r")
    t.expect("taken back: and the cat")
    for line in ("/set max_tokens 5", "/think budget 1", "woof"):
        t.prompt()
        t.send(line + "\r")
    t.expect("tokens/s")
    t.prompt()
    t.send("\x04")
    assert t.end() == 0
    said = json.loads(saved.read_text())
    assert [m["content"] for m in said["messages"] if m["role"] == "user"] == ["the dog", "woof"]
    assert said["open"] is False
    t = terminal("-m", file)  # it was ended in order: nothing is offered
    assert "[Y/n]" not in t.prompt()


def test_an_offer_can_be_declined(terminal: Callable[..., Terminal], file: Path, state: Path, cli: Cli) -> None:
    cli("chat", "-m", file, *OPTIONS, stdin="the dog\n")
    saved = next((state / "chats").glob("*.json"))
    storage.write(saved, {**json.loads(saved.read_text()), "open": True})
    t = terminal("-m", file)
    t.expect("[Y/n]")
    t.send("n\r")
    t.prompt()
    t.send("/stats\r")
    t.expect("0 messages")
    t.prompt()
    t.send("\x04")
    assert t.end() == 0
    assert json.loads(saved.read_text())["open"] is False
    t = terminal("-m", file, "--new")
    assert "[Y/n]" not in t.prompt()


def test_answers_go_to_stdout_alone_even_when_somebody_types(file: Path, load: Callable[..., sl.Model]) -> None:
    """softllama chat > file, at a terminal."""
    master, slave = os.openpty()
    command = [sys.executable, "-m", "softllama", "chat", "-m", str(file), *map(str, OPTIONS)]
    with subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        os.close(slave)
        os.write(master, b"the dog\n/stats\n/exit\n")
        out, err = p.communicate(timeout=60)
    os.close(master)
    assert p.returncode == 0, err
    assert out.decode() == answers_of(load, "the dog")
    assert b"2 messages" in err


# ---- the bundled model -------------------------------------------------------------------------------------------------

CARD = bundled.FOLDER / "README.md"
RIGHT = {  # the ten questions of its card, and what is true in its world
    "What does the dog say?": "The dog says woof.",
    "Where does the whale live?": "The whale lives in the sea.",
    "What does the monkey eat?": "The monkey eats bananas.",
    "Who chases the hen?": "The fox chases the hen.",
    "Which is bigger, the bear or the mouse?": "The bear is bigger.",
    "Is the horse smaller than the frog?": "No, the frog is smaller.",
    "Do the lion and the wolf eat the same food?": "Yes, it is the same.",
    "What does the animal that chases the cat say?": "The dog says woof.",
    "Where does the animal that says moo live?": "The cow lives in the barn.",
    "What is the capital of France?": "I do not know that.",
}
words = pytest.mark.skipif("words" not in bundled.names(), reason="the bundled model `words` is not in this checkout")


@words
def test_ten_questions_of_the_card_are_answered_rightly_with_soft_thinking(cli: Cli) -> None:
    if CARD.is_file():
        card = CARD.read_text()
        assert [q for q in RIGHT if q not in card] == [], "the card's ten questions have changed"
    lines = "".join(f"{q}\n/clear\n" for q in RIGHT)
    code, out, err = cli("chat", "--seed", 1, stdin=lines)
    assert code == 0
    assert out.splitlines() == list(RIGHT.values())
    assert "policy: soft_thinking, the default for a prompt with a thinking block" in err
    assert len(re.findall(r"^[1-9][0-9]* thinking \+ .* tokens in a mixture", err, re.M)) == 10


@words
def test_they_are_also_in_one_long_chat(cli: Cli) -> None:
    """Its training had chats of a few turns only, so the wording of one answer may stray."""
    out = cli("chat", "-q", "--seed", 1, stdin="".join(f"{q}\n" for q in RIGHT))[1]
    assert sum(a == b for a, b in zip(out.splitlines(), RIGHT.values(), strict=True)) >= 9


@words
def test_a_mixture_in_a_message_is_thought_about_as_one(cli: Cli) -> None:
    _, out, err = cli(
        "chat", "-q", "--seed", 1, "--mix", "animal=dog:0.5,cat:0.5",
        stdin="What does the {animal} say?\n/think mixtures\n/top\n",
    )  # fmt: skip
    assert re.fullmatch(r"The (dog|cat) says (woof|meow)\.\n", out)
    assert "first token of the thinking" in err
