"""softllama models, -m, variables, the settings file and --version, as typed."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softllama.cli import COMMANDS, config
from softllama.llama import rpc
from tests.conftest import Cli
from tests.hub.test_hub import HF, MODEL, cached, home, listed, manifest, put  # noqa: F401  (home: an empty one, for all)
from tests.support import hub_server
from tests.support.hub_server import COMMIT, TOKEN, Hub


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file, which the test writes."""
    monkeypatch.setenv("SOFTLLAMA_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


@pytest.fixture
def at_hand(home: Path, write: Callable[..., Path]) -> Path:  # noqa: F811
    """A home with a model of each kind."""
    put(home / "Downloads/sound.gguf", write("llama", chat_template="<think></think>{{ messages }}"))
    put(home / "Downloads/cut.gguf", write("llama").read_bytes()[:-99])
    put(home / "Downloads/refused.gguf", write("bert"))
    manifest(home / ".ollama/models", "registry.ollama.ai/library/o/latest", write("qwen2"))
    cached(home / HF, "user/repo", {"m-Q4_0.gguf": write("llama", table_type="Q4_0")})
    return home


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:  # noqa: F811
    """A hub with one repository."""
    pytest.importorskip("huggingface_hub")
    with hub_server.serve() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos["user/tiny"] = {"tiny-Q4_K_M.gguf": MODEL}
        yield hub


def test_the_list(cli: Cli, at_hand: Path) -> None:
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line and not line.startswith(" ")}
    assert {"bundled:sums", "user/repo:Q4_0", "ollama:o:latest", "sound", "cut", "refused"} <= set(lines)
    assert lines["sound"].split()[-2:] == ["yes", "yes"]
    assert lines["ollama:o:latest"].split()[-2:] == ["yes", "no"]
    assert lines["refused"].split()[-1] == "no"
    assert "damaged: not complete" in out
    assert "it is an encoder" in out


def test_the_list_as_json(cli: Cli, at_hand: Path) -> None:
    found = {m["name"]: m for m in json.loads(cli("models", "--json")[1])}
    assert found["sound"]["takes_mixtures"] is True
    assert found["sound"]["thinking"] == "<think> </think>"
    assert "not complete" in found["cut"]["problem"]
    assert "encoder" in found["refused"]["refusal"]
    assert found["user/repo:Q4_0"]["table"] == "Q4_0"
    assert found["bundled:sums"]["source"] == "bundled"


def test_show(cli: Cli, at_hand: Path) -> None:
    out = cli("models", "show", "sound")[1]
    for said in ("llama", "embedding table", "yes, as far as the header tells", "<think> </think>", "sound.gguf"):
        assert said in out
    record = json.loads(cli("models", "show", "user/repo", "--json")[1])
    assert len(record["sha256"]) == 64
    assert record["name"] == "user/repo:Q4_0"
    code, out, err = cli("models", "show", "cut")
    assert (code, out) == (1, "")
    assert "not complete" in err
    assert cli("models", "show", at_hand / "Downloads/sound.gguf")[0] == 0
    assert "no model 'absent'" in cli("models", "show", "absent")[2]
    assert "no: it is an encoder" in cli("models", "show", "refused")[1]


@pytest.mark.parametrize(
    "name", ["sound", "Downloads/sound.gguf", "ollama:o", "user/repo", "user/repo:Q4_0", "bundled:sums"]
)
def test_every_way_to_name_a_model(cli: Cli, at_hand: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(at_hand)
    code, _, err = cli("probe", "-m", name, "--mix", "#5,#6", "--prompt", "{}")
    assert code == 0, err
    assert ("model: " in err) == (name != "Downloads/sound.gguf")


def test_pull(cli: Cli, server: Hub, home: Path) -> None:  # noqa: F811
    code, out, err = cli("models", "pull", "user/tiny")
    assert code == 0, err
    assert out == f"{home / HF}/models--user--tiny/snapshots/{COMMIT}/tiny-Q4_K_M.gguf\n"
    assert "fetching tiny-Q4_K_M.gguf from user/tiny: 1 MB" in err
    assert "100 % of 1 MB" in err
    code, out, err = cli("models", "pull", "-q", "hf:user/tiny:q4_k_m")
    assert (code, err) == (0, "")
    assert "user/tiny:Q4_K_M" in listed()


def test_pull_offline(cli: Cli, server: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    code, _, err = cli("models", "pull", "user/tiny", "--offline")
    assert (code, server.requests) == (1, [])
    assert "user/tiny is not on this machine, and --offline was given" in err
    cli("models", "pull", "user/tiny")
    server.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = cli("models", "pull", "user/tiny")
    assert (code, server.requests) == (0, [])
    assert "whether it is the newest is unknown, as HF_HUB_OFFLINE is set" in err


def test_a_repository_is_fetched_where_it_is_named_and_not_offline(
    cli: Cli, server: Hub, write: Callable[..., Path]
) -> None:
    server.repos["user/tiny"] = {"tiny-F32.gguf": write("llama").read_bytes()}
    code, _, err = cli("probe", "-m", "user/tiny", "--offline", "--mix", "#5")
    assert (code, server.requests) == (1, [])
    assert "--offline was given" in err
    code, _, err = cli("probe", "-m", "user/tiny", "--mix", "#5", "--prompt", "{}")
    assert code == 0, err
    assert "user/tiny has no Q4_K_M; F32 is the nearest" in err


def test_the_token_is_not_printed(cli: Cli, server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.gated = {"user/tiny"}
    assert "secret" not in "".join(map(str, cli("models", "pull", "user/tiny")))
    monkeypatch.setenv("HF_TOKEN", "hf_secret_wrong")
    code, out, err = cli("models", "pull", "user/tiny")
    assert (code, out) == (1, "")
    assert "does not accept your token (401)" in err
    assert "secret" not in err


def test_a_bar_is_shown_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from softllama.cli import progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.bar(quiet=False) as bar:
        assert bar is not None
        bar("folder/a.gguf", 50, 100)
        bar("folder/a.gguf", 100, 100)
    assert "a.gguf" in capsys.readouterr().err
    with progress.bar(quiet=True) as bar:
        assert bar is None


BAD: list[tuple[list[str], int, str]] = [
    (["models", "pull", "tiny"], 2, "'tiny' does not name a repository"),
    (["models", "pull"], 2, "Missing argument"),
    (["models", "shwo"], 2, "No such command"),
    (["models", "show", ""], 1, "name is empty"),
    (["probe", "--mix", "a", "-m", "absent"], 1, "no file and no model 'absent'"),
    (
        ["probe", "--mix", "a", "-m", "bundled:sums", "--rpc", "somewhere"],
        2,
        "'somewhere' is not the address of a worker",
    ),
    (["probe", "--mix", "a", "-m", "bundled:sums", "--rpc", "a:99999"], 2, "'a:99999' is not the address"),
    (["probe", "--mix", "a", "-m", "bundled:sums", "--rpc", ","], 2, "--rpc names 0 workers"),
    (["probe", "--mix", "a", "-m", "bundled:sums", "--rpc", ",".join(["a:1"] * 17)], 2, "--rpc names 17 workers"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), BAD, ids=[" ".join(b[0])[:50] for b in BAD])
def test_bad_input(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    got, out, err = cli(*arguments)
    assert (got, out) == (code, ""), err
    assert said in err


# ---- several machines (scripts/dev/rpc_demo does it with two workers) -------------------------------------------------------


def test_a_llama_cpp_without_rpc_says_how_to_build_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "supported", lambda: False)
    code, _, err = cli("probe", "-m", "bundled:sums", "--rpc", "127.0.0.1:50052", "--mix", "#5")
    assert code == 1
    assert "built without the RPC back end" in err
    assert 'CMAKE_ARGS="-DGGML_RPC=on" pip install' in err


def test_a_worker_that_does_not_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(rpc, "supported", lambda: True)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    code, _, err = cli("probe", "-m", "bundled:sums", "--rpc", f"127.0.0.1:{port}", "--mix", "#5")
    assert code == 1
    assert f"no worker answers at 127.0.0.1:{port}: " in err
    assert f"rpc-server -H 127.0.0.1 -p {port}" in err


# ---- variables and the settings file ------------------------------------------------------------------------------


def seed_of(err: str) -> str:
    m = re.search(r"seed (\d+)", err)
    return m[1] if m else ""


RUN = ("run", "dog", "--raw", "--max-tokens", "1")


def test_a_default_model(cli: Cli, at_hand: Path, monkeypatch: pytest.MonkeyPatch, settings: Path) -> None:
    settings.write_text('[softllama]\nmodel = "ollama:o"\n')
    assert f"from {settings}" in cli(*RUN)[2]
    monkeypatch.setenv("SOFTLLAMA_MODEL", "sound")
    assert "sound.gguf, from SOFTLLAMA_MODEL" in cli(*RUN)[2]
    monkeypatch.setenv("SOFTLLAMA_RUN_MODEL", "user/repo")
    assert "m-Q4_0.gguf, from SOFTLLAMA_RUN_MODEL" in cli(*RUN)[2]
    assert ", from " not in cli(*RUN, "-m", "sound")[2]
    monkeypatch.setenv("SOFTLLAMA_RUN_MODEL", "absent")
    code, _, err = cli(*RUN)
    assert code == 1
    assert "no model 'absent' (the model is named by SOFTLLAMA_RUN_MODEL)" in err


def test_every_option_has_a_variable(cli: Cli, at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODEL": "sound", "RUN_SEED": "41", "RUN_JSON": "1", "QUIET": "true", "RUN_MIX": "#5"}.items():
        monkeypatch.setenv(f"SOFTLLAMA_{name}", value)
    code, out, err = cli("run", "{}", "--raw", "--max-tokens", "1")
    assert (code, err) == (0, "")
    assert json.loads(out)["seed"] == 41
    monkeypatch.setenv("SOFTLLAMA_MODELS_JSON", "1")
    assert cli("models")[1].startswith("[")
    monkeypatch.setenv("SOFTLLAMA_MODELS_SHOW_JSON", "1")
    assert "sha256" in json.loads(cli("models", "show", "sound")[1])


def test_every_spelling_has_a_variable(cli: Cli, at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("probe", "--mix", "#5,#6", "--prompt", "{}")
    for name in ("N_THREADS", "THREADS", "PROBE_N_THREADS", "PROBE_THREADS"):
        with monkeypatch.context() as m:
            m.setenv(f"SOFTLLAMA_{name}", "0")
            assert "thread" in cli(*arguments)[2], name
            m.setenv(f"SOFTLLAMA_{name}", "many")
            code, _, err = cli(*arguments)
            assert (code, "'many' is not a valid integer" in err) == (2, True), name


def test_no_two_options_share_a_variable_by_accident() -> None:
    import click

    from softllama.cli import cli as group

    def all_options(command: click.Command, name: str) -> list[tuple[str, str]]:
        own = [
            (v, name) for o in config.options(command) for v in config.variables(name, o)[: len(config.long_names(o))]
        ]
        return own + [x for n, c in getattr(command, "commands", {}).items() for x in all_options(c, f"{name} {n}")]

    with click.Context(group, resilient_parsing=True) as ctx:
        found = [x for n in COMMANDS for x in all_options(group.get_command(ctx, n), n)]  # type: ignore[arg-type]
    assert len({v for v, _ in found}) == len(found)
    assert not {"SOFTLLAMA_CACHE", "SOFTLLAMA_CONFIG", "SOFTLLAMA_MODELS", "SOFTLLAMA_SHARED"} & {v for v, _ in found}


def test_the_settings_file(cli: Cli, at_hand: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text(
        '# mine\n[softllama]\nmodel = "sound"   # the small one\n[run]\nseed = 7\nmax_tokens = 1\nstop = ["x", "y"]\n'
    )
    assert seed_of(cli("run", "dog", "--raw")[2]) == "7"
    assert json.loads(cli("run", "dog", "--raw", "--json")[1])["stop"] == ["x", "y"]
    monkeypatch.setenv("SOFTLLAMA_RUN_SEED", "8")
    assert seed_of(cli("run", "dog", "--raw")[2]) == "8"
    assert seed_of(cli("run", "dog", "--raw", "--seed", "9")[2]) == "9"
    assert cli("policies")[0] == 0
    settings.write_text("[models.pull]\nquiet = true\noffline = true\n")
    assert "is not on this machine, and --offline" in cli("models", "pull", "u/x")[2]
    settings.write_text("[models]\njson = true\n[models.show]\njson = true\n[run]\nn-threads = 1\n")
    assert cli("models")[1].startswith("[")
    assert "sha256" in json.loads(cli("models", "show", "sound")[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nsede = 7\n", "[run] names the option 'sede', which `softllama run` does not have"),
        ("[run]\nsede = 7\n", "did you mean 'seed'?"),
        ("[rnu]\nseed = 7\n", "there is no command for the table [rnu]"),
        ("[run.sub]\nseed = 7\n", "[run] names the option 'sub'"),
        ("[run]\nseed = 'many'\n", "config.toml: [run] seed must be a whole number"),
        ("[run]\nseed = 1.5\n", "[run] seed must be a whole number"),
        ("[run]\nseed = true\n", "[run] seed must be a whole number"),
        (f"[run]\nseed = {2**70}\n", "[run] seed must be a whole number"),
        ("[run]\njson = 1\n", "[run] json must be true or false"),
        ("[run]\npolicy = true\n", "[run] policy must be text in quotes"),
        ("[run]\npolicy = 2020-01-01\n", "[run] policy must be text in quotes"),
        ("[run]\nstop = 'x'\n", "[run] stop must be an array"),
        ("[run]\nstop = ['x', true]\n", "[run] stop, item 2 must be text in quotes"),
        ("[softllama]\nquiet = 'yes'\n", "[softllama] quiet must be true or false"),
        ("seed = 7\n", "'seed' stands above the first table"),
        ("[run\n", "is damaged: Expected ']'"),
        ("[run]\n\nseed =\n", "line 3"),
        ("[run]\nseed = 1\nseed = 2\n", "is damaged: Cannot overwrite a value"),
        ("[run]\nstop = " + "[" * 9999, "is damaged"),
    ],
)  # fmt: skip
def test_settings_files_that_are_damaged(cli: Cli, settings: Path, text: str, message: str) -> None:
    settings.write_text(text)
    code, out, err = cli(*RUN)
    assert (code, out) == (2, "")
    assert message in err


def test_settings_that_cannot_be_read(cli: Cli, settings: Path) -> None:
    settings.mkdir()
    assert "cannot read" in cli(*RUN)[2]
    settings.rmdir()
    settings.write_bytes(b"\xff\xfe[run]")
    assert "is not UTF-8 text: byte 0" in cli(*RUN)[2]
    settings.unlink()
    assert cli("policies")[0] == 0


def test_a_config_ini_is_still_read_and_toml_wins(cli: Cli, at_hand: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOFTLLAMA_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(at_hand))
    ini, toml = at_hand / "softllama/config.ini", at_hand / "softllama/config.toml"
    assert config.path() == toml
    put(
        ini,
        b"[softllama]\nmodel = sound   # mine\n[run]\nseed = 7\nmax_tokens = 1\nstop = x\n    y\n[models pull]\nquiet = on\n",
    )
    assert config.path() == ini
    code, out, err = cli("run", "dog", "--raw", "--json")
    assert (code, json.loads(out)["seed"], json.loads(out)["stop"]) == (0, 7, ["x", "y"])
    assert err.count("settings now belong in config.toml") == 1
    assert f"sound.gguf, from {ini}" in err
    put(ini, b"[run]\nsede = 7\n")
    assert "names the option 'sede'" in cli(*RUN)[2]
    put(ini, b"seed = 7\n")
    assert f"the settings file {ini} is damaged" in cli(*RUN)[2]
    put(toml, b"[run]\nseed = 8\n")
    code, _, err = cli(*RUN)
    assert (code, seed_of(err), "config.ini" in err) == (0, "8", False)


# ---- --version ------------------------------------------------------------------------------------------------------------


def test_version(cli: Cli) -> None:
    code, out, _ = cli("--version")
    lines = out.splitlines()
    assert code == 0
    assert re.fullmatch(r"softllama \d+\.\d+\.\d+", lines[0])
    assert re.search(r"llama-cpp-python [\d.]+, llama\.cpp .*, commit [0-9a-f]{7,}", lines[1])


def test_version_without_a_working_llama_cpp(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "softllama.llama", None)
    monkeypatch.delitem(sys.modules, "softllama.llama.bindings", raising=False)
    code, out, _ = cli("--version")
    assert code == 0
    assert "cannot be loaded" in out
