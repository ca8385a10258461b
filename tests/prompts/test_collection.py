"""Every chat template of llama.cpp's collection, by name, against template_table.py.

SOFTLLAMA_TEMPLATES names the folder that `scripts/dev/templates.py` filled. Without it these tests are skipped.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

import softllama as sl
from scripts.dev import templates as script
from softllama.generation import loop
from softllama.generation.options import GenerationOptions
from softllama.generation.run import record
from softllama.generation.state import Generation
from softllama.llama import thinking_tags
from softllama.llama.template import ChatTemplate
from softllama.policy import Decision, Moment
from softllama.prompts import build, thinking
from tests.prompts.template_table import DROPPED, KEPT, LEFT_OUT, OWN, TABLE, Thinks
from tests.prompts.test_families import ASKS, asked, tags_of

FOLDER = os.environ.get("SOFTLLAMA_TEMPLATES", "")
THERE = {p.stem for p in Path(FOLDER).glob("*.jinja")} if FOLDER else set()
WHY = "needs llama.cpp's templates: scripts/dev/templates.py FOLDER, and SOFTLLAMA_TEMPLATES=FOLDER"
plain = build.SlottedMessage.plain


def source_of(name: str) -> str:
    """The text of a template; skips the test where it is not there."""
    if name not in THERE:
        pytest.skip(f"{name} is not in this version of the collection" if THERE else WHY)
    return (Path(FOLDER) / f"{name}.jinja").read_text(encoding="utf-8")


def thinks(name: str) -> Thinks:
    """The row of a template that thinks."""
    row = TABLE[name]
    assert isinstance(row, Thinks)
    return row


THINKING = sorted(name for name, row in TABLE.items() if isinstance(row, Thinks))
OTHERS = sorted(TABLE.keys() - set(THINKING))


@pytest.mark.parametrize("name", THINKING)
def test_the_generation_prompt_leaves_the_thinking_state_as_asked(name: str) -> None:
    source, row = source_of(name), thinks(name)
    family = thinking_tags.in_template(source)
    assert family is not None
    assert family.models.startswith(row.family)
    for text in ASKS:
        if row.family == "gpt-oss":  # it refuses messages with its own tags; in a vocabulary that has them they are cut
            text = text.replace("<|channel", "<|chan")
        for think in ("auto", "on"):
            prompt, inside = asked(source, text, think)
            assert inside, (think, text)
            assert prompt.endswith(row.on), (think, text)
        prompt, inside = asked(source, text, "off")
        assert not inside, text
        assert prompt.endswith(row.off), text
    template, tags = ChatTemplate(source), tags_of(source)
    on, off = (build.history_text(template, [plain("user", "Hello")], t, tags) for t in ("on", "off"))
    ends = [
        build._rendered(template, [plain("user", "Hello")], build._variables(template, t, tags)) for t in ("on", "off")
    ]
    assert (row.how == OWN) == (on != off or ends[0] != ends[1])


@pytest.mark.parametrize("name", THINKING)
def test_earlier_thinking_is_the_templates_to_keep(name: str) -> None:
    source, row = source_of(name), thinks(name)
    asks = "reasoning_content" in source
    answer = build.SlottedMessage("assistant", plain("", "Bye").text, {"reasoning_content": "HIDDEN"} if asks else {})
    messages = [plain("user", "Hello"), answer, plain("user", "And now?")]
    chat = build.chat_text(ChatTemplate(source), messages, "auto", tags_of(source), "the model")
    prompt = chat.text.texts[0]
    assert chat.thinking
    assert prompt.endswith(row.on)
    assert "Bye" in prompt
    assert row.history == ((KEPT if "HIDDEN" in prompt else DROPPED) if asks else LEFT_OUT)


@pytest.mark.parametrize("name", OTHERS)
def test_without_a_known_block_none_is_opened_and_the_user_can_be_told(name: str) -> None:
    source, why = source_of(name), TABLE[name]
    assert thinking_tags.in_template(source) is None
    for text in ASKS:
        prompt, inside = asked(source, text, "auto", in_vocabulary=True)
        assert not inside, text
        assert text in prompt
        assert asked(source, text, "off", in_vocabulary=True) == (prompt, False)
        with pytest.raises(sl.UsageError, match="no thinking block"):
            asked(source, text, "on")
        assert asked(source, text, "prompt")[1]
    if thinking_tags.unknown(source):
        assert str(why).startswith("unknown")
    again = [plain("user", "Hello"), plain("assistant", "Bye"), plain("user", "And now?")]
    assert "Bye" in build.chat_text(ChatTemplate(source), again, "auto", None, "the model").text.texts[0]


@pytest.mark.parametrize("name", THINKING)
def test_thinking_and_answer_come_apart_and_the_next_message_is_accepted(name: str, model: sl.Model) -> None:
    source = source_of(name)
    family = thinking_tags.in_template(source)
    assert family is not None
    tags = thinking.make(model.tokenizer, family.open, family.close, family=family)
    for around in [("", ""), *family.answer]:
        thought, said = "the dog", "the cat"
        text = f"{thought}\n{family.end or family.close}", f"{around[0]}{said}{around[1]}"
        trace = written(model, tags, [*text], inside=True)
        assert (trace.thinking.strip(), trace.answer) == (thought, said)
        assert written(model, tags, [text[1]], inside=False).answer == said
        messages = [plain("user", "a"), plain("assistant", trace.answer), plain("user", "b")]
        assert build.chat_text(ChatTemplate(source), messages, "auto", tags_of(source), "m").thinking


def written(model: sl.Model, tags: thinking.Tags, texts: list[str], *, inside: bool) -> sl.Trace:
    """The record of a model that writes these texts and ends, after a prompt that has opened a thinking block or not."""
    tokens = [i for t in texts for i in model.tokenizer.tokenize(t, lead=False, special=False)]

    def rule(d: sl.Distribution, moment: Moment) -> Decision:
        token = tokens.pop(0) if tokens else model.tokenizer.eos
        assert token is not None
        return Decision(sl.Mixture.one_hot(token), token, "hard")

    options = GenerationOptions(max_tokens=400)
    g = Generation(model, rule, (1,), options, 0, tags, inside, False)  # type: ignore[arg-type]
    for _ in loop.run(model, [g]):
        pass
    return record(model, g)


def test_every_template_of_the_collection_has_a_row() -> None:
    if not THERE:
        pytest.skip(WHY)
    if new := sorted(THERE - TABLE.keys()):
        pytest.skip(f"new in this version of the collection: {', '.join(new)}")
    assert len(THERE) > 40


def test_the_script_takes_the_templates_out_of_a_source_distribution(tmp_path: Path) -> None:
    archive = tmp_path / "package-1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (
            f"package-1/{script.INSIDE}/A b.jinja",
            f"package-1/{script.INSIDE}/README.md",
            "package-1/x.jinja",
        ):
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
    folder = tmp_path / "templates"
    assert script.main([str(folder), str(archive)]) == 0
    assert [p.name for p in folder.iterdir()] == ["A b.jinja"]
    assert script.main([str(folder), str(tmp_path / "none.tar.gz")]) == 1
    assert script.main([]) == 2
