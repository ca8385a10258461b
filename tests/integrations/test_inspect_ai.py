"""inspect_ai: a task of two questions gives what `generate` gives."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="needs the extra inspect")

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import includes

import softllama as sl
import softllama.integrations.inspect_ai  # as its entry point does
from softllama.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # the tool leaves files and streams open
QUESTION = "Who is bigger, the dog or the cat?"


@pytest.mark.slow
def test_a_task_gives_what_generate_gives(tmp_path: Path) -> None:
    task = Task(
        dataset=[Sample(QUESTION, target="dog"), Sample("Which is bigger, the cow or the dog?", target="cow")],
        scorer=includes(),
    )
    config = GenerateConfig(max_tokens=80, seed=1)
    model = get_model("softllama/bundled:words", config=config, policy="full")
    (log,) = eval(task, model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success"
    with sl.load("bundled:words") as own:
        for sample in log.samples or ():
            trace = own.generate([{"role": "user", "content": str(sample.input)}], policy="full", max_tokens=80, seed=1)
            assert sample.output.completion == trace.answer
            assert sample.output.usage is not None
            assert sample.output.usage.output_tokens == len(trace.steps)
    assert log.results is not None
    gc.collect()  # here, where what it leaves open is no error


def test_tools_are_refused() -> None:
    api: Any = get_model("softllama/bundled:words").api
    with pytest.raises(UsageError, match="no tools"):
        asyncio.run(api.generate([ChatMessageUser(content="x")], [object()], "auto", GenerateConfig()))
