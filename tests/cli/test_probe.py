"""softllama probe, as typed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import softllama as sl
from softllama import evaluate
from softllama.base import files
from softllama.show import console
from softllama.study import inputs
from softllama.vectors.distribution import Token
from tests.conftest import Cli
from tests.support.tiny import CHAT_TEMPLATE

MIX = ("--mix", "dog:0.5,cat:0.5", "--prompt", "The{} says")


@pytest.fixture
def file(write: Callable[..., Path]) -> Path:
    return write("llama")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_the_terminal(cli: Cli, file: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, err = cli("probe", "-m", file, *MIX, "--sweep", 5, "--continue", 4)
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out
    for said in (
        "[0.5 dog + 0.5 cat]",
        "mixture",
        "dog 0.5",
        "average",
        "entropy",
        "midpoint",
        "sharpness",
        "continuation",
    ):
        assert said in out
    assert "device: " in err


def test_a_line_breaks_between_tokens_and_never_before_a_number() -> None:
    found = [Token(i, 0.1, text) for i, text in enumerate((" woof", " meow", "a b", " growl"))]
    assert console.to_text(console.tokens(found), 24) == "␣woof .100  ␣meow .100\na b .100  ␣growl .100"
    assert console.to_text(console.tokens(found), 23).count("\n") == 1
    assert console.to_text(console.tokens(found), 21).splitlines() == [
        "␣woof .100",
        "␣meow .100  a b .100",
        "␣growl .100",
    ]
    assert console.to_text(console.tokens([Token(0, 0.0, "x")]), 80) == "x .000"


BOM = b"\xef\xbb\xbf"  # what some editors put before UTF-8; to a model it would be a character


def test_a_byte_order_mark_is_no_part_of_what_a_user_wrote(
    cli: Cli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.txt").write_bytes(BOM + b"The{} says\r\n")
    (tmp_path / "c.ini").write_bytes(BOM + b"[softllama]\nmodel = bundled:sums\n")
    (tmp_path / "q.jsonl").write_bytes(BOM + b'{"question": "1+1=", "answer": "2"}\r\n')
    (tmp_path / "cases.jsonl").write_bytes(BOM + b'{"prompt": "The {} says", "a": "dog", "b": "cat"}')
    (tmp_path / "system.txt").write_bytes(BOM + b"Be brief.")
    assert (
        json.loads(cli("probe", "-m", file, *MIX[:2], "--prompt-file", tmp_path / "p.txt", "--json")[1])["prompt"]
        == MIX[3]
    )
    assert evaluate.load(tmp_path / "q.jsonl").problems[0].question == "1+1="
    with sl.load("bundled:words") as m:
        assert len(inputs.read_cases(m, tmp_path / "cases.jsonl")) == 1
    assert files.read_text(tmp_path / "system.txt", "system message") == "Be brief."
    monkeypatch.setenv("SOFTLLAMA_CONFIG", str(tmp_path / "c.ini"))
    assert "model: " in cli("run", "--raw", "1+1=", "--max-tokens", 1)[2]


def test_json_equals_the_library(cli: Cli, file: Path) -> None:
    code, out, err = cli("probe", "-q", "-m", file, *MIX, "--json", "--sweep", 3, "--continue", 2, "--top", 4)
    got = json.loads(out)
    with sl.load(file) as m:
        r = m.probe("The{} says", "dog:0.5,cat:0.5", sweep=3, continue_tokens=2, n_top=4)
    expected = r.to_dict()
    for d in (got, expected):
        del d["manifest"]["created"]
    assert (code, err) == (0, "")
    assert got == json.loads(json.dumps(expected))
    assert got["stray_mass"] == pytest.approx(r.mass_outside_nuclei)
    assert len(got["next"]["top"]) == 4


def test_csv_has_a_line_for_each_token(cli: Cli, file: Path) -> None:
    out = cli("probe", "-q", "-m", file, *MIX, "--csv", "--sweep", 3, "--top", 2)[1]
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {r["kind"] for r in rows} == {"mixture", "component", "average", "sweep"}
    assert sum(r["kind"] == "component" for r in rows) == 4
    with sl.load(file) as m:
        d = m.probe("The{} says", "dog:0.5,cat:0.5").next
    assert float(rows[0]["p"]) == pytest.approx(d.top(1)[0].p, rel=1e-6)


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
@pytest.mark.parametrize("sweep", [(), ("--sweep", "5")])
def test_plots(cli: Cli, file: Path, tmp_path: Path, suffix: str, begins: bytes, sweep: tuple[str, ...]) -> None:
    target = tmp_path / f"x.{suffix}"
    code, _, err = cli("probe", "-m", file, *MIX, "--plot", target, *sweep)
    assert code == 0
    assert target.read_bytes().startswith(begins)
    assert f"plot: {target}" in err


def test_the_prompt_comes_from_stdin_or_a_file(cli: Cli, file: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("The{} says\n", encoding="utf-8")
    mix = ("probe", "-q", "-m", file, "--mix", "dog,cat")
    expected = cli(*mix, "--prompt", "The{} says")[1]
    assert cli(*mix, "--prompt-file", "-", stdin="The{} says\n")[1] == expected
    assert cli(*mix, "--prompt-file", tmp_path / "p.txt")[1] == expected


def test_without_a_prompt_there_is_one_and_it_is_said(cli: Cli, file: Path) -> None:
    code, out, err = cli("probe", "-m", file, "--mix", "#257,#260")
    assert code == 0
    assert 'prompt: "' in err
    assert "of 5 the one in which the words differ most (JS " in err
    assert "[0.5 " in out.splitlines()[0]
    assert 'prompt: "The {} says"; --prompt' in cli("probe", "-m", file, "--mix", "#257")[2]


def test_a_chat_prompt_goes_through_the_template(cli: Cli, write: Callable[..., Path]) -> None:
    m = write("llama", chat_template=CHAT_TEMPLATE)
    out = cli("probe", "-q", "-m", m, "--mix", "dog,cat", "--prompt", "a{}?", "--chat", "--system", "b", "--json")[1]
    assert "".join(json.loads(out)["tokens"]) == (
        "<|bos|><|im_start|>system\nb<|im_end|>\n<|im_start|>user\na{}?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_vectors_signed_mixtures_and_several_places(cli: Cli, file: Path, tmp_path: Path) -> None:
    v = np.zeros(sl.load(file).n_vocab, dtype=np.float32)
    v[[10, 20]] = 0.25, 0.75
    np.save(tmp_path / "v.npy", v)
    r = json.loads(cli("probe", "-q", "-m", file, "--mix", f"@{tmp_path / 'v.npy'}", "--prompt", "{}", "--json")[1])
    assert [c["weight"] for c in r["mixtures"][0]["components"]] == [0.75, 0.25]
    signed = ("--mix", "dog:1,cat:-1,a:1", "--signed", "--prompt", "The{}", "--json")
    r = json.loads(cli("probe", "-q", "-m", file, *signed)[1])
    assert r["average"] is None
    two = ("--mix", "x=dog,cat", "--mix", "y=ball:0.7,bone:0.3", "--prompt", "The{x} sees{y} and", "--json")
    r = json.loads(cli("probe", "-q", "-m", file, *two)[1])
    assert {k: b["weight"] for k, b in r["baselines"].items()} == pytest.approx(
        {"dog+ball": 0.35, "dog+bone": 0.15, "cat+ball": 0.35, "cat+bone": 0.15}
    )


BAD = [
    ([], 2, "no mixture was given"),
    (["--mix", ""], 2, "is empty"),
    (["--mix", "dog:0.4,cat:0.4"], 2, "sum to 0.8"),
    (["--mix", "dog:0.4,cat:0.4"], 2, "--normalize"),
    (["--mix", "dog:x"], 2, "not a number"),
    (["--mix", "dog:1.5,cat:-0.5"], 2, "--signed"),
    (["--mix", "dog:nan"], 2, "nan"),
    (["--mix", "walrus"], 2, "--split first|last|mean"),
    (["--mix", "#99999"], 2, "outside the vocabulary"),
    (["--mix", '"dog'], 2, "quote is not closed"),
    (["--mix", "@nowhere.npy"], 2, "cannot read the vector"),
    (["--mix", "dog", "--prompt", "no slot"], 2, "no slot for the mixture"),
    (["--mix", "dog", "--prompt", "a { b"], 2, "lone '{'"),
    (["--mix", "x=dog", "--prompt", "{y}"], 2, "{x}"),
    (["--mix", "dog", "--prompt", "{}", "--prompt-file", "-"], 2, "exclude"),
    (["--mix", "dog", "--prompt-file", "nowhere.txt"], 2, "cannot read"),
    (["--mix", "dog", "--json", "--csv"], 2, "exclude"),
    (["--mix", "dog,cat", "--prompt", "The{}", "--sweep", "1"], 2, "2 to"),
    (["--mix", "dog", "--prompt", "The{}", "--sweep", "3"], 2, "at least two components"),
    (["--mix", "dog", "--prompt", "The{}", "--continue", "-1"], 2, "continue"),
    (["--mix", "dog", "--prompt", "The{}", "--top", "0"], 2, "--top"),
    (["--mix", "dog", "--prompt", "The{}", "--chat"], 1, "no chat template"),
    (["--mix", "dog", "--prompt", "The{}", "--system", "x"], 2, "--chat"),
    (["--mix", "dog", "--plot", "x.gif"], 2, ".png, .svg, .pdf"),
    (["--mix", "dog", "--plot", "nowhere/x.png"], 2, "no folder"),
    (["--mix", "dog", "--normalize", "--signed"], 2, "exclude"),
    (["--mix", "dog", "--split", "middle"], 2, "middle"),
    (["--mix", "dog", "--n-ctx", "0"], 2, "n_ctx"),
    (["--mix", "dog", "--n-ctx", "2", "--prompt", "The{} says"], 2, "has room for 2"),
    (["--mix", "dog", "--threads", "0"], 2, "threads"),
    (["--mix", "dog", "--gpu-layers", "-1"], 2, "n_gpu_layers"),
    (["--mix", "dog", "--lora", "nowhere.gguf"], 1, "no file"),
    (["--mix", "dog", "--lora", "nowhere.gguf:x"], 2, "scale"),
    (["--mix", "dog", "--bogus"], 2, "No such option"),
    (["--mix", "dog", "--sweep", "many"], 2, "not a valid integer"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), BAD, ids=[" ".join(b[0])[:40] for b in BAD])
def test_bad_input(cli: Cli, file: Path, arguments: list[str], code: int, said: str) -> None:
    got, out, err = cli("probe", "-m", file, *arguments)
    assert got == code, err
    assert said in err
    assert out == ""


@pytest.mark.parametrize("name", ["nowhere.gguf", "bundled:nothing", "."])
def test_bad_models(cli: Cli, name: str) -> None:
    code, out, err = cli("probe", "-m", name, "--mix", "dog")
    assert (code, out) == (1, "")
    assert "Error: " in err


def test_an_unknown_command_names_the_closest(cli: Cli) -> None:
    code, _, err = cli("porbe")
    assert code == 2
    assert "probe" in err
