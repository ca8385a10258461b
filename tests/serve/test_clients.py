"""Real clients against a real server: the openai package, the llm command, lm-evaluation-harness."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import softllama as sl

pytestmark = pytest.mark.slow
USER: Any = [{"role": "user", "content": "What does the dog say?"}]
SOFT = {"softllama": {"policy": "soft_thinking:n=5", "answer_policy": "greedy"}}


@pytest.fixture(scope="module")
def want(words: sl.Model) -> sl.Trace:
    options: Any = {"policy": "soft_thinking:n=5", "answer": "greedy", "seed": 1, "max_tokens": 40}
    return words.generate("What does the dog say?", chat=True, **options)


def test_openai(url: str, want: sl.Trace) -> None:
    openai = pytest.importorskip("openai", reason="needs the package openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        assert [m.id for m in client.models.list()][:1] == ["words"]
        assert client.models.retrieve("words@gumbel").owned_by == "softllama"
        common: Any = {"model": "words", "messages": USER, "seed": 1, "max_completion_tokens": 40, "extra_body": SOFT}
        got = client.chat.completions.create(**common, logprobs=True, top_logprobs=2)
        choice = got.choices[0]
        assert choice.message.content == want.answer.lstrip()
        assert choice.message.reasoning_content == choice.message.reasoning == want.thinking
        assert choice.finish_reason == "stop"
        assert len(choice.logprobs.content) == want.n_answer
        assert len(choice.logprobs.content[0].top_logprobs) == 2
        assert got.usage.completion_tokens == len(want.steps)
        assert got.usage.completion_tokens_details.reasoning_tokens == sum(s.thinking for s in want.steps)
        assert got.usage.prompt_tokens_details.cached_tokens >= 0
        assert got.system_fingerprint
        assert choice.softllama["soft_steps"] == want.n_soft
        stream = client.chat.completions.create(**common, stream=True, stream_options={"include_usage": True})
        chunks = list(stream)
        assert chunks[0].choices[0].delta.role == "assistant"
        deltas = [c.choices[0].delta for c in chunks if c.choices]
        assert "".join(d.content or "" for d in deltas) == want.answer.lstrip()
        assert "".join(getattr(d, "reasoning_content", "") for d in deltas) == want.thinking
        assert chunks[-1].choices == []
        assert chunks[-1].usage.total_tokens == got.usage.total_tokens
        text = client.completions.create(model="words", prompt="The dog says", max_tokens=4, temperature=0)
        assert text.choices[0].text
        with pytest.raises(openai.NotFoundError) as e:
            client.chat.completions.create(model="other", messages=USER)
        assert (e.value.code, e.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError) as b:
            client.chat.completions.create(model="words", messages=USER, temperature=-1)
        assert b.value.param == "temperature"


def test_openai_in_a_loop(url: str, want: sl.Trace) -> None:
    openai = pytest.importorskip("openai", reason="needs the package openai")

    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            common: Any = {"model": "words", "messages": USER, "seed": 1, "max_tokens": 40, "extra_body": SOFT}
            many = await asyncio.gather(*(client.chat.completions.create(**common) for _ in range(8)))
            assert {m.choices[0].message.content for m in many} == {want.answer.lstrip()}
            stream = await client.chat.completions.create(**common, stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            assert text == want.answer.lstrip()
            gone = await client.chat.completions.create(**{**common, "max_tokens": None}, stream=True)
            async for _ in gone:
                break
            await gone.close()

    asyncio.run(ask())


def test_llm(url: str, want: sl.Trace, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("llm")
    if not command.is_file():
        pytest.skip("needs the command llm")
    config = f"- model_id: soft\n  model_name: words@soft_thinking:n=5\n  api_base: {url}/v1\n  api_key_name: none\n"
    (tmp_path / "extra-openai-models.yaml").write_text(config)
    env = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    for more in ([], ["--no-stream"]):
        options = ["-o", "seed", "1", "-o", "temperature", "0", "-o", "max_tokens", "40"]
        line = [str(command), "-m", "soft", *options, "--no-log", *more, "What does the dog say?"]
        done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == want.answer.strip()


TASK = """\
task: animals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""
ANIMALS = {"dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "lion": "roar", "owl": "hoot"}


def test_lm_evaluation_harness(url: str, words: sl.Model, tmp_path: Path) -> None:
    """Its accuracy on a small task of its own format equals that of scores computed here."""
    python = os.environ.get("LM_EVAL_PYTHON") or sys.executable
    if shutil.which(python) is None or subprocess.run([python, "-c", "import lm_eval"], capture_output=True).returncode:
        pytest.skip("needs lm-eval[api] (or LM_EVAL_PYTHON, a Python that has it)")
    from softllama.engine.score import score

    sounds = [f" {s}" for s in ANIMALS.values()]
    docs = [{"question": f"The {animal} says", "choices": sounds, "answer": i} for i, animal in enumerate(ANIMALS)] + [
        {"question": f"The {animal} eats", "choices": sounds, "answer": 0} for animal in ANIMALS
    ]
    data = tmp_path / "animals.jsonl"
    data.write_text("".join(json.dumps(d) + "\n" for d in docs))
    (tmp_path / "animals.yaml").write_text(TASK.format(data=data))
    right = 0
    for d in docs:
        prompt = words.tokenize(str(d["question"]))  # the harness puts no BOS before
        scores = [sum(s.logp for s in score(words, prompt, words.tokenizer.tokenize(c, lead=False))) for c in sounds]
        right += int(scores.index(max(scores)) == d["answer"])
    arguments = f"model=words,base_url={url}/v1/completions,num_concurrent=4,max_retries=1"
    line = [python, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments, "--tasks", "animals"]
    line += ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "out")]
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "OPENAI_API_KEY": "none",
    }
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = (tmp_path / "out").rglob("results*.json")
    assert json.loads(result.read_text())["results"]["animals"]["acc,none"] == pytest.approx(right / len(docs))
    assert 0 < right < len(docs)
