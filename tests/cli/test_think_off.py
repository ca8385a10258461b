"""--think off where nothing is known by which it could be done; --keep and --parse-special as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.support import tiny

SIGN = "{#reasoning_content#}" + tiny.CHAT_TEMPLATE  # it seems to think, and nobody knows how
SWITCH = tiny.CHAT_TEMPLATE + "{% if enable_thinking is false %}No.{% endif %}"
KNOWN = "{#<think></think>#}" + SIGN
LINE = "--think off may not keep"


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "p.jsonl"
    path.write_text('{"question": "dog", "answer": "cat"}\n')
    return path


@pytest.mark.parametrize(
    ("template", "think", "said"),
    [
        (SIGN, "off", True),
        (SIGN, "auto", False),
        (SWITCH, "off", False),
        (KNOWN, "off", False),
        (tiny.CHAT_TEMPLATE, "off", False),
    ],
)
def test_run_chat_and_eval_say_so(
    cli: Cli, write: Callable[..., Path], problems: Path, tmp_path: Path, template: str, think: str, said: bool
) -> None:
    path = write("llama", chat_template=template)
    _, _, err = cli("run", "-m", path, "dog", "--think", think, "--max-tokens", 2, "--policy", "greedy")
    assert err.count(LINE) == said
    _, _, err = cli("chat", "-m", path, "--think", think, "--max-tokens", 2, "--private", stdin="dog\n")
    assert err.count(LINE) == said
    out = tmp_path / "r.jsonl"
    _, _, err = cli("eval", problems, "-m", path, "--think", think, "--max-tokens", 2, "--policy", "greedy", "-o", out)
    assert err.count(LINE) == said


def test_it_is_not_said_of_raw_prompts_named_tags_or_when_quiet(cli: Cli, write: Callable[..., Path]) -> None:
    path = write("llama", chat_template=SIGN)
    for more in (("--raw",), ("--think-tags", "(a),(b)"), ("-q",)):
        _, _, err = cli("run", "-m", path, "dog", "--think", "off", "--max-tokens", 2, "--policy", "greedy", *more)
        assert LINE not in err


def test_it_is_said_when_a_chat_switches_thinking_off(cli: Cli, write: Callable[..., Path]) -> None:
    path = write("llama", chat_template=SIGN)
    _, _, err = cli("chat", "-m", path, "--max-tokens", 2, "--private", stdin="/think off\n")
    assert err.count(LINE) == 1


def test_doctor_and_models_show_say_what_is_unknown(cli: Cli, write: Callable[..., Path]) -> None:
    for template, doctor, show in [
        (SIGN, "--think off may not keep it from thinking", "unknown: the chat template has 'reasoning_content'"),
        (KNOWN, "switched off by an empty block", "as DeepSeek-R1"),
        (KNOWN + SWITCH, "switched off by its chat template", "as DeepSeek-R1"),
    ]:
        path = write("llama", chat_template=template)
        _, out, _ = cli("doctor", path)
        assert doctor in " ".join(out.split())
        _, out, _ = cli("models", "show", path)
        assert show in " ".join(out.split())


@pytest.mark.parametrize("keep", ["heavy", "all"])
@pytest.mark.parametrize("how", ["--json", "--jsonl", "--trace"])
def test_keep_says_what_a_record_holds(
    cli: Cli, write: Callable[..., Path], tmp_path: Path, keep: str, how: str
) -> None:
    path, file = write("llama"), tmp_path / "t.jsonl"
    target = (how, file) if how == "--trace" else (how,)
    code, out, _ = cli(
        "run", "-m", path, "--raw", "dog", "--policy", "full", "--max-tokens", 3, "--seed", 1, "--keep", keep, *target
    )
    assert code == 0
    if how == "--json":
        steps = json.loads(out)["steps"]
    else:
        lines = (file.read_text() if how == "--trace" else out).splitlines()
        steps = [x for x in map(json.loads, lines) if x.get("kind") == "step"]
    sizes = {len(s["mixture"]) for s in steps}
    assert len(steps) == 3
    assert sizes == {100} if keep == "heavy" else min(sizes) > 100


def test_parse_special_in_eval_and_probe(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("llama", chat_template=tiny.CHAT_TEMPLATE)
    mix = ("--mix", "dog:0.5,cat:0.5", "--json")
    prompt = "<|im_end|> The{} says"
    tokens = {}
    for flag in ((), ("--parse-special",)):
        code, out, _ = cli("probe", "-m", path, prompt, *mix, "--chat", *flag)
        assert code == 0
        tokens[flag] = json.loads(out)["tokens"]
    plain, special = tokens.values()
    assert special.count("<|im_end|>") == plain.count("<|im_end|>") + 1
    code, _, err = cli("probe", "-m", path, prompt, *mix, "--parse-special")
    assert (code, "--parse-special needs --chat" in err) == (2, True)

    data, results = tmp_path / "p.jsonl", tmp_path / "r.jsonl"
    data.write_text(json.dumps({"question": "<|im_end|>", "answer": "cat"}) + "\n")
    run = ("eval", data, "-m", path, "--max-tokens", 2, "--policy", "greedy", "-o", results)
    assert cli(*run)[0] == 0
    assert "parse_special" not in json.loads(results.read_text().splitlines()[0])["settings"]
    code, _, err = cli(*run, "--parse-special")
    assert code != 0
    assert "parse_special" in err
    results.unlink()
    assert cli(*run, "--parse-special")[0] == 0
    lines = [json.loads(x) for x in results.read_text().splitlines()]
    assert lines[0]["settings"]["parse_special"] is True
