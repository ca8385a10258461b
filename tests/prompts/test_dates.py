"""A chat template that asks for today's date gets one that is fixed, can be set, and is in the record."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import softllama as sl
from softllama.chat.conversation import Conversation
from softllama.llama.template import ChatTemplate
from tests.conftest import Cli
from tests.support import tiny

DATED = "Today is {{ strftime_now('%d %b %Y') }}.\n" + tiny.CHAT_TEMPLATE
MESSAGE = [{"role": "user", "content": "dog"}]


def test_a_template_keeps_its_day() -> None:
    t = ChatTemplate(DATED)
    assert t.asks_for_date
    assert t.day == datetime.date.today()
    assert t.on(datetime.date(2025, 1, 31)).render(MESSAGE).startswith("Today is 31 Jan 2025.\n")
    assert not ChatTemplate(tiny.CHAT_TEMPLATE).asks_for_date


def test_run_sets_and_records_it(cli: Cli, write: Callable[..., Path]) -> None:
    path = write("llama", chat_template=DATED)
    given = ("run", "-m", path, "dog", "--max-tokens", 1, "--seed", 1, "-q", "--json")
    record = json.loads(cli(*given, "--date", "2025-01-31")[1])
    assert "Today is 31 Jan 2025." in record["prompt_text"]
    assert record["manifest"]["arguments"]["date"] == "2025-01-31"
    today = json.loads(cli(*given)[1])["manifest"]["arguments"]["date"]
    assert datetime.date.fromisoformat(today)
    code, _, err = cli(*given, "--date", "31.1.2025")
    assert code == 2
    assert "is no date" in err


def test_a_conversation_keeps_its_first(load: Callable[..., sl.Model]) -> None:
    m = load("llama", chat_template=DATED)
    c = Conversation(m, max_tokens=1, date="2025-01-31")
    assert "31 Jan 2025" in c.reply("dog").prompt_text
    other = Conversation(m)
    assert other.settings.date == m.chat_template.day.isoformat()
    other.restore(c.to_dict())
    assert "31 Jan 2025" in other.reply("cat").prompt_text


def test_results_keep_the_date_of_the_first(cli: Cli, write: Callable[..., Path], tmp_path: Path) -> None:
    path, data, out = write("llama", chat_template=DATED), tmp_path / "p.jsonl", tmp_path / "r.jsonl"
    data.write_text('{"question": "dog", "answer": "cat"}\n{"question": "cat", "answer": "dog"}\n')
    given = ("eval", data, "-m", path, "--policy", "greedy", "--max-tokens", 2, "-o", out, "-q")
    assert cli(*given, "--date", "2025-01-31")[0] == 0
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:2]))
    assert cli(*given)[0] == 0
    header = json.loads(out.read_text().splitlines()[0])
    assert header["settings"]["date"] == "2025-01-31"
    assert len(out.read_text().splitlines()) == 3
    code, _, err = cli(*given, "--date", "2025-02-01")
    assert code == 1
    assert "date was '2025-01-31'" in err


@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE])
def test_no_date_is_recorded_where_none_is_asked_for(load: Callable[..., sl.Model], template: str) -> None:
    t = load("llama", chat_template=template).generate("dog", chat=True, max_tokens=1)
    assert "date" not in t.manifest["arguments"]
