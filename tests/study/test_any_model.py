"""The studies on models that did not come with the package: -m, sizes, a quick look, names, words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import softllama as sl
from softllama.hub import bundled
from softllama.study import inputs, mixing, sizes, thinking
from tests.conftest import Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model file that is nobody's bundled one."""
    return Path(shutil.copy(bundled.FOLDER / "words.gguf", tmp_path / "My-Model-Q8_0.gguf"))


def test_all_studies_run_on_a_model_of_ones_own(file: Path, cli: Cli) -> None:
    code, out, err = cli("study", "all", "-m", file, "--quick", "--limit", "1", "--json")
    assert code == 0, err
    reports = json.loads(out)
    assert [r["name"] for r in reports] == ["mixing", "feedback", "thinking"]
    assert all(r["title"].endswith(": My-Model-Q8_0") for r in reports)
    assert all("This is a quick look" in r["results"]["answer"][-1] for r in reports)
    assert "without --quick it takes about" in err
    controls = reports[2]["controls"]  # those that were run
    assert [c.partition(":")[0] for c in controls] == [
        c for c in ("sampling", "random mixture") if c in thinking.QUICK_WAYS
    ]


def test_brief_prints_the_sentences_only(file: Path, cli: Cli) -> None:
    given = ("study", "mixing", "-m", file, "--quick", "--no-layers")
    _, full, _ = cli(*given)
    _, brief, _ = cli(*given, "--brief")
    assert "From one to the other" in full
    assert "From one to the other" not in brief
    assert len(brief.splitlines()) < 25
    answer = brief[brief.index("At half and half, ") : brief.index("repeat:")]
    assert full.index("Some of them") < full.index("At half and half, ")  # sentences come last
    assert answer in full
    assert cli(*given, "--brief", "--json")[0] == 2


def test_thinking_on_a_bundled_model_names_the_way(cli: Cli) -> None:
    code, _, err = cli("study", "thinking", "-m", "bundled:words")
    assert code == 2
    assert "without -m" in err
    assert cli("study", "thinking", "--pair", "sums", "-m", "bundled:words")[0] == 2


def test_a_model_is_called_as_its_file_is(file: Path, tmp_path: Path) -> None:
    with sl.load(file) as model:
        assert inputs.model_label(model) == "My-Model-Q8_0"
    with sl.load("bundled:words") as model:
        assert inputs.model_label(model) == "words"
    without = Path(shutil.copy(file, tmp_path / "mine.gguf"))
    with sl.load(without) as model:
        name = inputs.model_label(model)
        assert name.startswith("mine (")  # and the quantization, from the header
        assert name != "mine ()"


def test_a_quick_look_is_smaller_and_its_full_time_is_the_sum_of_its_parts() -> None:
    for full in (sizes.FULL, sizes.SMALL_WORLD):
        for name in ("pairs", "controls", "layer_cases", "prompts", "steps", "tokens", "problems"):
            quick, much = getattr(sizes.QUICK, name), getattr(full, name)
            assert quick is not None
            assert much is None or quick < much, name
    full = sizes.FULL
    feedback = full.prompts * full.steps / (sizes.QUICK.prompts * sizes.QUICK.steps)  # type: ignore[operator]
    assert sizes.full_seconds({"feedback": 2.0}, full) == pytest.approx(2 * feedback)
    assert sizes.full_seconds({"sums, trained on tokens": 2.0, "answers": 0.0}, full) == pytest.approx(2.0 * 300 / 20)


def test_items_are_taken_from_everywhere() -> None:
    assert sizes.spread(range(10), 3) == [0, 3, 6]
    assert sizes.spread(range(3), 5) == sizes.spread(range(3), None) == [0, 1, 2]


def test_general_words_are_pairs_of_different_words() -> None:
    for frame, words in inputs.GENERAL.items():
        assert len(set(words)) == len(words) >= 10
        assert frame.count("{}") == 1
        for pair in inputs.GENERAL_SAME[frame]:
            assert len(set(pair.split())) == 2
    assert inputs.GENERAL["The capital of {} is"][:2] == (
        "France",
        "Germany",
    )  # the first two are always among the pairs


def test_the_general_problems_have_whole_numbers() -> None:
    data = thinking.problems()
    assert len(data.problems) == 40
    assert len({p.question for p in data.problems}) == 40
    for p in data.problems:
        assert str(int(p.answers[0])) == p.answers[0]
    assert {name for pair in thinking.COMPARED for name in pair} <= set(thinking.WAYS)
    assert set(thinking.QUICK_WAYS) <= set(thinking.WAYS)


def test_a_study_tells_its_progress(file: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    with sl.load(file) as model:
        mixing.run(model, quick=True, tick=lambda *x: seen.append(x))
    for what in ("mixing", "layers"):
        counts = [done for w, done, _ in seen if w == what]
        assert counts == sorted(set(counts))
        assert next(total for w, _, total in seen if w == what) == counts[-1]
