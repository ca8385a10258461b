"""softllama run and policies, as typed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softllama import trace
from tests.conftest import Cli
from tests.support import tiny
from tests.support.terminal import Terminal
from tests.support.tiny import CHAT_TEMPLATE


@pytest.fixture
def file(write: Callable[..., Path]) -> Path:
    return write("llama")


@pytest.fixture
def chat(write: Callable[..., Path]) -> Path:
    return write("llama", chat_template=CHAT_TEMPLATE)


def test_the_answer_is_on_stdout_and_all_else_on_stderr(cli: Cli, file: Path) -> None:
    code, out, err = cli("run", "-m", file, "The dog", "--max-tokens", 5, "--seed", 7)
    assert code == 0
    assert out.endswith("\n")
    for said in ("device: ", "policy: greedy", "seed 7", "5 answer tokens"):
        assert said in err
    assert said not in out


def test_quiet_says_nothing_on_stderr(cli: Cli, file: Path) -> None:
    code, out, err = cli("run", "-q", "-m", file, "The dog", "--max-tokens", 5)
    assert (code, err) == (0, "")
    assert out


def test_stdin_files_and_arguments_are_the_same_prompt(cli: Cli, file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("The dog\n")
    rest = ("-q", "-m", file, "--max-tokens", 5)
    given = [
        cli("run", *rest, "The dog"),
        cli("run", *rest, "--prompt", "The dog"),
        cli("run", *rest, stdin="The dog\n"),
        cli("run", *rest, "-", stdin="The dog\n"),
        cli("run", *rest, "--prompt-file", "-", stdin="The dog\n"),
        cli("run", *rest, "--prompt-file", tmp_path / "p.txt"),
    ]
    assert len({out for _, out, _ in given}) == 1


def test_json_jsonl_and_the_trace_file_tell_the_same(cli: Cli, file: Path, tmp_path: Path) -> None:
    rest = ("run", "-q", "-m", file, "The dog", "--max-tokens", 6, "--policy", "gumbel", "--seed", 3)
    whole = json.loads(cli(*rest, "--json", "--trace", tmp_path / "t.npz")[1])
    lines = [json.loads(x) for x in cli(*rest, "--jsonl")[1].splitlines()]
    assert [x["kind"] for x in lines] == ["trace", *["step"] * 6, "end"]
    assert [x["token"] for x in lines[1:-1]] == [x["token"] for x in whole["steps"]]
    assert [s.token for s in trace.load(tmp_path / "t.npz").steps] == [x["token"] for x in whole["steps"]]
    assert whole["manifest"]["model"]["architecture"] == "llama"
    assert len(whole["manifest"]["model"]["sha256"]) == 64


def test_the_jsonl_form_is_a_trace_file(cli: Cli, file: Path, tmp_path: Path) -> None:
    out = cli("run", "-q", "-m", file, "The dog", "--max-tokens", 4, "--jsonl", "--policy", "full")[1]
    (tmp_path / "t.jsonl").write_text(out)
    assert len(trace.load(tmp_path / "t.jsonl").steps) == len(out.splitlines()) - 2 > 0


def test_mixtures_are_shown_on_stderr(cli: Cli, file: Path) -> None:
    _, out, err = cli("run", "-m", file, "The dog", "--max-tokens", 3, "--policy", "top_mean:n=2", "--show-mixtures")
    assert err.count(" soft ") >= 1
    assert "0.500" in err
    assert "0.500" not in out


def test_a_run_starts_from_a_mixture(cli: Cli, file: Path) -> None:
    arguments = ("run", "-q", "-m", file, "The{} says", "--mix", "dog:0.5,cat:0.5", "--max-tokens", 2, "--json")
    prompt = json.loads(cli(*arguments)[1])["prompt"]
    assert [w for i in prompt if isinstance(i, list) for _, w in i] == [0.5, 0.5]


def test_thinking_goes_to_stderr(cli: Cli, chat: Path) -> None:
    arguments = ("run", "-m", chat, "dog", "--think-tags", "(think),(done)", "--think-budget", 4, "--max-tokens", 30)
    code, out, err = cli(*arguments, "--seed", 1, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["n_thinking"] == 4
    assert record["n_soft"] >= 3
    assert "soft_thinking" in err
    _, out, err = cli(*arguments, "--seed", 1)
    assert out.strip() == record["answer"].strip()
    assert record["thinking"].strip() in err


def test_the_template_is_used_by_default_and_can_be_left_out_or_replaced(cli: Cli, chat: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{{ messages[0]['content'] }}says")
    rest = ("run", "-q", "-m", chat, "dog", "--max-tokens", 1, "--json")
    assert "<|im_start|>user\ndog" in json.loads(cli(*rest)[1])["prompt_text"]
    assert json.loads(cli(*rest, "--raw")[1])["prompt_text"] == "<|bos|>dog"
    assert json.loads(cli(*rest, "--template", tmp_path / "t.jinja")[1])["prompt_text"] == "<|bos|>dogsays"


BAD = [
    (["run"], 2, "no prompt was given"),
    (["run", "a", "--prompt", "b"], 2, "given twice"),
    (["run", "a", "--json", "--jsonl"], 2, "exclude"),
    (["run", "a", "--policy", "soft_thinkin"], 2, "soft_thinking"),
    (["run", "a", "--policy", "soft_thinking:tua=1"], 2, "tau"),
    (["run", "a", "--policy", "soft_thinking:n=0"], 2, "n = 0"),
    (["run", "a", "--max-tokens", "-1"], 2, "max_tokens"),
    (["run", "a", "--max-tokens", "x"], 2, "not a valid integer"),
    (["run", "a", "--think-budget", "-3"], 2, "budget"),
    (["run", "a", "--think-tags", "<t>"], 2, "pair of tags"),
    (["run", "a", "--think", "on"], 2, "no thinking block"),
    (["run", "a", "--think", "maybe"], 2, "maybe"),
    (["run", "a", "--seed", "-1"], 2, "seed"),
    (["run", "a", "--stop", ""], 2, "stop"),
    (["run", "a", "--chat"], 1, "no chat template"),
    (["run", "a", "--system", "b"], 2, "--chat"),
    (["run", "a", "--trace", "x.txt"], 2, ".npz or .jsonl"),
    (["run", "a", "--trace", "nowhere/x.npz"], 2, "no folder"),
    (["run", "a", "--template", "nowhere.jinja"], 2, "--template names a file"),
    (["run", "a", "--raw", "--template", "nowhere.jinja"], 2, "--raw leaves the prompt as it is"),
    (["run", "--prompt-file", "~nobody-of-this-name/x.txt"], 2, "cannot read"),
    (["run", "a", "--prompt-file", "nowhere.txt"], 2, "given twice|cannot read"),
    (["run", "--prompt-file", "nowhere.txt"], 2, "cannot read"),
    (["run", "a {} b", "--mix", "dog:0.5"], 2, "sum to 0.5"),
    (["run", "a b", "--mix", "dog"], 2, "no slot"),
    (["run", "{} {x}", "--mix", "dog"], 2, "no mixture for"),
    (["run", "a" * 400], 1, "context has room"),
    (["run", "a", "--n-ctx", "0"], 2, "n_ctx"),
    (["run", "a", "--beams", "0"], 2, "1 to 256"),
    (["run", "a", "--beams", "2", "--samples", "2"], 2, "exclude"),
    (["run", "a", "--beams", "2", "--policy", "full"], 2, "--policy"),
    (["run", "a", "--samples", "2", "--extract", "boxd"], 2, "boxed"),
    (["run", "a", "--extract", "boxed"], 2, "--samples"),
    (["run", "a", "--best-of", "2", "--jsonl"], 2, "--jsonl"),
    (["run", "a", "--threads", "0"], 2, "threads"),
    (["run", "a", "--gpu-layers", "-2"], 2, "n_gpu_layers"),
    (["policies", "greddy"], 2, "greedy"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), BAD, ids=[" ".join(b[0])[:40] for b in BAD])
def test_bad_input(cli: Cli, file: Path, arguments: list[str], code: int, said: str) -> None:
    named = ["-m", str(file)] if arguments[0] == "run" else []
    got, out, err = cli(*arguments, *named)
    assert got == code, err
    assert any(s in err for s in said.split("|")), err
    assert out == ""


def test_policies_are_listed(cli: Cli) -> None:
    code, out, _ = cli("policies")
    assert code == 0
    for name in ("greedy", "soft_thinking", "gumbel", "swir"):
        assert name in out
    assert "tau" not in out
    assert "tau " in cli("policies", "gumbel")[1]


@pytest.mark.parametrize("search", ["--samples", "--best-of"])
def test_searches_report_the_seed_that_was_drawn(cli: Cli, file: Path, search: str) -> None:
    rest = ("run", "-m", file, "The dog", "--max-tokens", 6, search, 3)
    _, out, err = cli(*rest)
    seed = re.search(r"seed (\d+)", err)
    assert seed, err
    again = cli(*rest, "--seed", seed[1])
    assert again[1] == out
    assert f"seed {seed[1]}" in again[2]


def test_searches_print_their_answer_and_their_cost(cli: Cli, file: Path, tmp_path: Path) -> None:
    rest = ("run", "-m", file, "The dog", "--max-tokens", 6)
    greedy = cli(*rest, "-q", "--policy", "greedy")[1]
    assert cli(*rest, "-q", "--beams", 1)[1].split() == greedy.split()
    code, out, err = cli(*rest, "--beams", 3, "--trace", tmp_path / "t.jsonl")
    assert code == 0
    assert out.strip() == trace.load(tmp_path / "t.jsonl").text.strip()
    assert "cost: " in err
    votes = json.loads(cli(*rest, "--samples", 4, "--extract", "text", "--seed", 1, "--json")[1])
    assert sum(votes["votes"].values()) <= 4
    assert len(votes["answers"]) == 4
    best = json.loads(cli(*rest, "--best-of", 4, "--seed", 1, "--json")[1])
    assert best["text"].strip() == cli(*rest, "-q", "--best-of", 4, "--seed", 1)[1].strip()


def test_an_interrupt_ends_with_130_and_the_text_is_kept(write: Callable[..., Path], tmp_path: Path) -> None:
    file = write("llama", n_ctx=100_000)
    kept = tmp_path / "t.jsonl"
    command = [sys.executable, "-m", "softllama", "run", "-m", str(file), "dog", "--policy", "top_mean:n=2"]
    with subprocess.Popen(
        [*command, "--max-tokens", "90000", "--n-ctx", "95000", "--trace", str(kept)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as p:
        assert p.stdout is not None
        seen = os.read(p.stdout.fileno(), 1)  # it has begun to answer
        p.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, err = p.communicate(timeout=60)
    assert p.returncode == 130, err
    assert b"Traceback" not in err
    assert time.monotonic() - start < 30
    assert trace.load(kept).stop_reason == "interrupted"
    assert len(trace.load(kept).steps) > 0
    assert seen + out


def test_a_closed_pipe_is_no_error(file: Path) -> None:
    command = f"{sys.executable} -m softllama run -m {file} dog --policy top_mean:n=2 --max-tokens 200 | head -c 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@pytest.fixture
def controls(write: Callable[..., Path], tmp_path: Path) -> Path:
    """A model whose every token is ESC or BEL."""
    vocabulary = tiny.VOCABS["bpe"]().tokens
    rows = np.zeros((len(vocabulary), 64), np.float32)
    rows[vocabulary.index("\u011b")], rows[vocabulary.index("\u0107")] = (
        -1,
        1,
    )  # ESC and BEL in the letters of byte-level BPE
    return tiny.write_model(
        tmp_path / "controls.gguf", tied=False, replace={"output.weight": rows}, chat_template=tiny.CHAT_TEMPLATE
    )


THINKING = ("--think-tags", "(think),(done)", "--think-budget", 4)


def test_control_characters_reach_a_pipe_but_no_terminal(cli: Cli, controls: Path) -> None:
    arguments = ("run", "-m", controls, "dog", "--max-tokens", 20, "--policy", "greedy", *THINKING)
    code, out, err = cli(*arguments)
    assert code == 0
    assert {"\x1b", "\x07"} & set(out)  # one of them or both, as the weights have it
    assert "\\x" in err  # the thinking, for people to read, wherever stderr goes
    assert not {"\x1b", "\x07"} & set(err)
    for more in ((), ("--best-of", 2), ("--show-mixtures",)):
        t = Terminal(*arguments, *more)
        try:
            assert t.end() == 0
            assert "\\x" in t.plain
            assert not {"\x1b", "\x07"} & set(t.plain)
        finally:
            t.close()


def test_old_spellings_are_read_but_not_shown(cli: Cli, file: Path) -> None:
    rest = ("run", "-q", "-m", file, "The dog", "--raw", "--max-tokens", 3)
    assert cli(*rest, "--threads", 1, "--gpu-layers", 0) == cli(*rest, "--n-threads", 1, "--n-gpu-layers", 0)
    with pytest.MonkeyPatch.context() as m:
        m.setenv("SOFTLLAMA_THREADS", "0")
        assert "n_threads" in cli(*rest)[2]
    shown = cli("run", "--help")[1]
    assert "--n-threads" in shown
    assert "--n-gpu-layers" in shown
    assert " --threads" not in shown
    assert " --gpu-layers" not in shown


def test_a_system_message_can_be_in_a_file(cli: Cli, chat: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("be a dog\n")
    rest = ("run", "-q", "-m", chat, "dog", "--max-tokens", 1, "--json", "--system")
    text = json.loads(cli(*rest, "be a dog")[1])["prompt_text"]
    assert "be a dog" in text
    assert json.loads(cli(*rest, f"@{tmp_path / 'rules.txt'}")[1])["prompt_text"] == text
    assert "cannot read the system message" in cli(*rest, "@nowhere.txt")[2]
