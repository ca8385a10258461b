"""Texts and files of any kind into everything that reads what a user wrote: it is read, or refused with a sentence.

Hypothesis makes the inputs. The profile `ci` makes the same few hundred each time; HYPOTHESIS_PROFILE=nightly makes many
more, other ones each time.
"""

from __future__ import annotations

import copy
import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import softllama as sl
from softllama.chat import settings as chat_settings
from softllama.chat import storage
from softllama.errors import MixtureError, PromptError, SoftLlamaError, UsageError
from softllama.evaluate import data, results, summary
from softllama.generation import extract
from softllama.generation.replay import replay
from softllama.policy import text as written
from softllama.prompts import slots
from softllama.show import console
from softllama.trace import page, reader, view
from softllama.trace.record import Trace
from softllama.vectors import mix_text, mixture
from tests.support import traces

SECONDS = 5.0  # of processor time that reading anything here may take
FEW = settings(max_examples=max(20, settings().max_examples // 4))  # where each example takes milliseconds
FUNCTION = [HealthCheck.function_scoped_fixture]  # they are emptied, or the same for each example


def reads(call: Callable[[], Any], *kinds: type[SoftLlamaError]) -> Any:
    """What a call gives, or None where it refuses with an error of these kinds that is a sentence."""
    start = time.process_time()
    try:
        return call()
    except SoftLlamaError as e:
        if not e.message or (kinds and not isinstance(e, kinds)):
            raise
        return None
    finally:
        assert time.process_time() - start < SECONDS


# any text; text of the characters that mean something; and such text from pieces
CHARACTERS = st.characters(codec="utf-8") | st.characters(categories=["Cs", "Cc", "Nd", "Zs"])
TEXT = st.text(CHARACTERS, max_size=60)


def pieces(*words: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words) | st.text(CHARACTERS, max_size=3), max_size=14).map("".join)


# ---- mixtures --------------------------------------------------------------------------------------------------------

MIXES = TEXT | pieces(
    "dog", "cat", ":", ",", "0.5", "1", "-1", "1e308", "1e-400", "nan", "inf", "#", "#3", "@", "=", '"', "\\", " ", "a=",
    "\n", "_", "0", "٣", "#99999999999", ":0.5,",
)  # fmt: skip


@pytest.mark.slow
@given(MIXES, st.booleans(), st.booleans())
def test_a_mixture_is_read_with_weights_that_sum_to_1_or_refused(text: str, signed: bool, normalize: bool) -> None:
    spec = reads(lambda: mix_text.parse(text, signed=signed, normalize=normalize), MixtureError)
    if spec is None:
        return
    assert bool(spec.vector) != bool(spec.parts)
    assert len(spec.parts) == len(spec.weights)
    assert all(map(math.isfinite, spec.weights))
    if spec.parts and not signed:
        assert min(spec.weights) >= 0
        assert abs(math.fsum(spec.weights) - 1) <= 2 * mixture.TOLERANCE


WORDS = st.text(CHARACTERS, min_size=1, max_size=12)
WEIGHTS = st.lists(st.floats(1e-6, 1), min_size=1, max_size=6)


def quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.data(), WEIGHTS, st.just("") | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True))
def test_a_mixture_that_is_written_is_read_back(d: st.DataObject, weights: list[float], name: str) -> None:
    total = math.fsum(weights)
    parts = []
    for _ in weights:
        word, token = d.draw(WORDS), d.draw(st.none() | st.integers(0, 2**31 - 1))
        parts.append(mix_text.Part(word, quoted=True) if token is None else mix_text.Part(id=token))
    shares = tuple(w / total for w in weights)
    spec = mix_text.MixSpec(tuple(parts), shares, name)
    shown = [(quoted(p.word) if p.id is None else str(p)) for p in parts]
    text = f"{name}=" * bool(name) + ",".join(f"{p}:{w!r}" for p, w in zip(shown, shares, strict=True))
    assert mix_text.parse(text) == spec
    assert mix_text.parse(text, signed=True) == spec
    assert mix_text.parse(f"{name}=" * bool(name) + ",".join(shown)).weights == (1 / len(parts),) * len(parts)


@FEW
@given(MIXES, st.booleans(), st.booleans(), st.sampled_from([None, "first", "last", "mean"]))
def test_a_mixture_of_words_becomes_one_of_ids_or_is_refused(
    model: sl.Model, text: str, signed: bool, space: bool, split: str | None
) -> None:
    assume("@" not in text)  # a file's name: any file on this machine
    m = reads(lambda: model.mix(text, signed=signed, space=space, split=split), MixtureError, PromptError)
    if m is not None:
        assert (np.diff(m.ids) > 0).all()
        assert 0 <= m.ids[0] <= m.ids[-1] < model.n_vocab
        assert signed or abs(float(m.weights.sum(dtype=np.float64)) - 1) < 1e-4


@given(
    st.lists(st.integers(-2, 2**33) | st.floats(), max_size=5),
    st.lists(st.floats() | st.integers() | st.none() | st.text(max_size=2), max_size=5),
    st.booleans(),
)
def test_lists_of_ids_and_weights_are_a_mixture_or_refused(ids: list[Any], weights: list[Any], signed: bool) -> None:
    m = reads(lambda: sl.Mixture(ids, weights, signed=signed), MixtureError)
    if m is not None:
        assert np.isfinite(m.weights).all()
        assert signed or abs(float(m.weights.sum(dtype=np.float64)) - 1) < 1e-4


# ---- policies --------------------------------------------------------------------------------------------------------

POLICIES = TEXT | pieces(
    *written.names(), ":", "(", ")", ",", "=", "n", "tau", "temperature", "answer", "where", "thinking", "0.5", "1", "-1",
    "nan", "inf", "1e400", "true", "top_p", "k", "steps", "_", " ",
)  # fmt: skip


@given(POLICIES)
@example("greedy:" + "(" * 50_000)
@example("gumbel:answer=" + "gumbel(answer=" * 2000 + ")" * 2000)
def test_a_policy_is_read_and_can_be_written_again_or_is_refused(text: str) -> None:
    p = reads(lambda: written.parse(text), UsageError)
    if p is not None:
        assert repr(written.parse(repr(p))) == repr(p)


@given(st.data())
def test_a_policy_with_any_settings_is_read_back_from_its_written_form(d: st.DataObject) -> None:
    name = d.draw(st.sampled_from(written.names()))
    m = written.REGISTRY[name]
    values = {}
    for s in d.draw(st.lists(st.sampled_from(sorted(m.settings)), unique=True)) if m.settings else ():
        kind, r = m.settings[s].kind, m.settings[s].range
        if kind is bool:
            values[s] = d.draw(st.booleans())
        elif kind in (int, float):
            low, high = (r.low, min(r.high, 1e9)) if r else (0, 1e9)
            values[s] = d.draw(st.integers(math.ceil(low), int(high)) if kind is int else st.floats(low, high))
    made = reads(lambda: m.factory(**values), UsageError)
    if made is not None:
        again = written.parse(repr(made))
        assert again.arguments == made.arguments
        assert again.parameters == made.parameters
        assert repr(again) == repr(made)


# ---- prompts ---------------------------------------------------------------------------------------------------------

PROMPTS = TEXT | pieces("{", "}", "{}", "{{", "}}", "{a}", "{ b }", "{1}", "The ", "says")


def template(p: slots.Prompt) -> str:
    texts = [t.replace("{", "{{").replace("}", "}}") for t in p.texts]
    return texts[0] + "".join("{" + n + "}" + t for n, t in zip(p.slots, texts[1:], strict=True))


@given(PROMPTS)
@example("{" * 100_000)
@example("{a}" * 20_000)
def test_a_prompt_is_split_at_its_places_or_refused(text: str) -> None:
    p = reads(lambda: slots.parse(text), PromptError)
    if p is not None:
        assert len(p.texts) == len(p.slots) + 1
        assert slots.parse(template(p)) == p


@given(st.lists(TEXT, min_size=1, max_size=5), st.data())
def test_a_prompt_that_is_written_is_read_back(texts: list[str], d: st.DataObject) -> None:
    names = st.just("") | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
    p = slots.PromptTemplate(tuple(texts), tuple(d.draw(names) for _ in texts[1:]))
    assert slots.parse(template(p)) == p


@given(PROMPTS, st.lists(st.sampled_from(["", "", "a", "b", "c"]), max_size=4))
def test_mixtures_are_given_to_places_or_refused(text: str, names: list[str]) -> None:
    p = reads(lambda: slots.parse(text), PromptError)
    which = reads(lambda: slots.assign(p, names), PromptError) if p is not None else None
    if which is not None:
        assert len(which) == len(p.slots)
        assert set(which) == set(range(len(names)))
        assert all(names[j] == place for j, place in zip(which, p.slots, strict=True))


@FEW
@given(
    PROMPTS,
    MIXES,
    st.fixed_dictionaries(
        {},
        optional={
            "sweep": st.none() | st.integers(-3, 6) | st.integers(10_002, 2**70),
            "continue_tokens": st.integers(-3, 3) | st.integers(100_001, 2**70),
            "n_top": st.integers(-3, 6) | st.integers(1001, 2**70),
            "n_ctx": st.none() | st.integers(-3, 64),
            "chat": st.booleans(),
            "system": st.none() | TEXT,
            "split": st.sampled_from([None, "first", "mean", "both"]),
        },
    ),
)
def test_a_probe_gives_probabilities_or_is_refused(
    model: sl.Model, text: str, mix: str, options: dict[str, Any]
) -> None:
    assume("@" not in mix)
    r = reads(lambda: model.probe(text, mix, **options))
    if r is not None:
        for dist in (r.next, *r.baselines.values()):
            assert abs(float(dist.probs.sum(dtype=np.float64)) - 1) < 1e-4
        assert r.table()
        assert r.csv()


# ---- what reads answers ----------------------------------------------------------------------------------------------

ANSWERS = TEXT | pieces(
    "\\boxed{", "}", "{", "####", "1", ",000", "-", "$", "%", ".", "1e9", "e", "answer is ", "(B)", "A", "\n", " ",
    "\\text{", "\\fbox ", "**", "option", "−",
)  # fmt: skip


@pytest.mark.slow
@given(ANSWERS, st.integers(1, 2000))
@example("1,111", 20_000)
@example("\\boxed{", 20_000)
@example("answer ", 20_000)
@example("answer is : ", 20_000)
@example("$ -", 20_000)
@example("9", 100_000)
def test_every_rule_finds_a_text_or_nothing(text: str, times: int) -> None:
    for name, rule in extract.RULES.items():
        for t in (text, text * times if len(text) * times < 200_000 else text):
            found = reads(lambda rule=rule, t=t: rule(t))
            assert found is None or (isinstance(found, str) and found), name
            if found is not None and name == "number":
                assert extract.number(found) == found


@given(
    TEXT | pieces("(", ")", "[", "]", "a", "|", "?", "\\", "(?P<x>", "{2}", "^", "$", ".", "(?i", "\\1", "\\d"), ANSWERS
)
def test_a_rule_that_is_written_is_an_expression_or_refused(pattern: str, text: str) -> None:
    rule = reads(lambda: extract.rule(pattern), UsageError)
    if rule is not None:
        found = rule(text)
        assert found is None or (isinstance(found, str) and found)


# ---- JSON that is nearly right ---------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | st.text(CHARACTERS, max_size=5)
    | st.sampled_from([2**63, -(2**63), 2**31, 10**400, 1e308, "soft", "greedy", "<b>&", "\ud800", "no/such"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where values are in nested lists and dictionaries."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(p for k, v in inside for p in places(v, (*at, k)))]


def damaged(d: st.DataObject, value: Any) -> Any:
    """The value with one to three places changed, lost, or doubled."""
    value = copy.deepcopy(value)
    for _ in range(d.draw(st.integers(1, 3))):
        at = d.draw(st.sampled_from(places(value)))
        if not at:
            if d.draw(st.integers(0, 9)) == 0:
                return d.draw(JUNK)
            continue
        inside = value
        for k in at[:-1]:
            inside = inside[k]
        how = d.draw(st.integers(0, 5))
        if how == 0:
            del inside[at[-1]]
        elif how == 1 and isinstance(inside, list):
            inside.insert(at[-1], copy.deepcopy(inside[at[-1]]))
        elif how == 2 and isinstance(inside, dict):
            inside[d.draw(st.text(max_size=4))] = d.draw(JUNK)
        else:
            inside[at[-1]] = d.draw(JUNK)
    return value


def bytes_damaged(d: st.DataObject, raw: bytes) -> bytes:
    """Bytes changed, lost, or put in."""
    at, n = d.draw(st.integers(0, len(raw))), d.draw(st.sampled_from([0, 1, 1, 4, 1000]))
    return raw[:at] + d.draw(st.binary(max_size=6)) + raw[at + n :]


def lines(records: list[Any]) -> bytes:
    return b"".join(json.dumps(r).encode() + b"\n" for r in records)


def trace_records() -> list[Any]:
    return [json.loads(line) for line in traces.trace().jsonl()]


def shown_everywhere(t: Trace) -> None:
    """A trace that was read can be shown, written, and read again, with the same content."""
    assert "<script" in page.page(t)
    assert console.to_text(view.trace(t, 80, None), 80)
    again = reader.parse([line.encode("utf-8", "backslashreplace") for line in t.jsonl()], Path("again"))
    assert again.to_dict() == t.to_dict()


@FEW
@given(st.data())
def test_a_damaged_trace_is_read_as_far_as_it_goes_or_refused(tmp_path_factory: Any, d: st.DataObject) -> None:
    raw = lines([damaged(d, r) if d.draw(st.integers(0, 2)) == 0 else r for r in trace_records()])
    if d.draw(st.integers(0, 3)) == 0:
        raw = bytes_damaged(d, raw)
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl"
    path.write_bytes(raw)
    t = reads(lambda: reader.load(path), SoftLlamaError)
    if t is not None:
        shown_everywhere(t)


@FEW
@given(st.data())
def test_a_damaged_npz_trace_is_read_or_refused(tmp_path_factory: Any, d: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    if d.draw(st.booleans()):
        traces.trace().save(path)
        path.write_bytes(bytes_damaged(d, path.read_bytes()))
    else:
        parts = traces.trace().arrays()
        name = d.draw(st.sampled_from(sorted(parts)))
        if parts[name].ndim == 0:
            parts[name] = np.array(json.dumps(damaged(d, json.loads(str(parts[name])))))
        else:
            kind = d.draw(st.sampled_from(["<i8", "<f4", "<f8", "<u1", "<U3", "<c16", "?"]))
            parts[name] = np.array(d.draw(st.lists(st.integers(0, 9), max_size=6))).astype(kind)
        with path.open("wb") as f:
            np.savez_compressed(f, **parts)
    t = reads(lambda: reader.load(path), SoftLlamaError)
    if t is not None:
        shown_everywhere(t)


@FEW
@given(st.data())
def test_a_damaged_trace_is_fed_again_or_refused(model: sl.Model, d: st.DataObject) -> None:
    whole = [{**r, "manifest": {}} if "manifest" in r else r for r in trace_records()]
    raw = lines([damaged(d, r) if d.draw(st.integers(0, 2)) == 0 else r for r in whole])
    t = reads(lambda: reader.parse(raw.split(b"\n")[:-1], Path("x")), SoftLlamaError)
    if t is not None:
        differences = reads(lambda: replay(model, t, any_model=True))
        assert differences is None or len(differences) == len(t.steps)


@FEW
@given(st.data())
def test_a_damaged_conversation_is_taken_up_whole_or_not_at_all(
    model: sl.Model, tmp_path_factory: Any, d: st.DataObject
) -> None:
    from softllama.chat.conversation import Conversation

    c = Conversation(model, system="Be kind.", max_tokens=4)
    before = c.to_dict()
    whole = {
        **before, "mixes": {"pet": {"text": "dog:0.5,cat:0.5", "signed": True}}, "manifests": [{"model": {"name": "x"}}],
        "messages": [
            {"role": "user", "content": "What is {pet}?", "mixes": {"pet": {"text": "dog,cat"}}},
            {"role": "assistant", "content": "A pet.", "thinking": "so", "made": {"seed": 3, "n_answer": 2, "manifest": 0},
             "trace": trace_records()},
        ],
    }  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "conversation.json"
    path.write_text(json.dumps(damaged(d, whole)))
    if reads(lambda: c.restore(storage.read(path)) or True) is None:
        assert {**c.to_dict(), "saved": 0} == {**before, "saved": 0}
        return
    kept = c.to_dict(traces=True)
    storage.write(path, kept)
    c.restore(storage.read(path))
    assert {**c.to_dict(traces=True), "saved": 0} == {**kept, "saved": 0}


PROBLEMS = [
    {"question": "What is 2 + 3?", "answer": "so #### 5"},
    {"question": "Which?", "choices": ["Paris", "Rome"], "answer": "A"},
    {"question": "Which?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
    {"question": "Who?", "answer": ["the cat", "a cat"]},
]


@pytest.mark.slow
@given(st.data(), st.sampled_from(PROBLEMS))
def test_a_damaged_file_of_problems_is_read_or_refused(tmp_path_factory: Any, d: st.DataObject, whole: Any) -> None:
    raw = lines([damaged(d, whole), whole])
    path = tmp_path_factory.getbasetemp() / "problems.jsonl"
    path.write_bytes(bytes_damaged(d, raw) if d.draw(st.booleans()) else raw)
    found = reads(lambda: data.load(path))
    if found is not None:
        for p in found.problems:
            assert p.answers
            assert p.to_prompt(found.prompt)
            data.is_right(p.answers[0], p.answers)


HEADER = {
    "kind": "eval", "format": 2, "ways": [["greedy", {}], ["full", {}]], "model": {"name": "m"}, "data": {"name": "d"},
    "settings": {}, "info": {"problems": 2, "manifest": {}},
}  # fmt: skip
RESULT = {
    "kind": "result", "problem": 0, "way": "greedy", "answer": "5", "right": True, "failure": "", "n_thinking": 1, "n_answer": 2,
    "tokens": 3, "evaluated": 4, "stop": "max tokens", "seed": 7, "text": "5", "seconds": 0.5,
}  # fmt: skip


@FEW
@given(st.data())
def test_damaged_results_are_read_and_summed_up_or_refused(tmp_path_factory: Any, d: st.DataObject) -> None:
    whole = [HEADER, RESULT, {**RESULT, "way": "full", "right": False, "failure": "wrong"}, {**RESULT, "problem": 1}]
    raw = lines([damaged(d, r) if d.draw(st.integers(0, 2)) == 0 else r for r in whole])
    path = tmp_path_factory.getbasetemp() / "results.jsonl"
    path.write_bytes(bytes_damaged(d, raw) if d.draw(st.integers(0, 2)) == 0 else raw)
    read = reads(lambda: results.read(path))
    if read is not None:
        report = reads(lambda: summary.summarize(*read))
        assert report is None or report.to_dict()


@FEW
@given(st.data())
def test_damaged_results_are_continued_or_left_as_they_are(tmp_path_factory: Any, d: st.DataObject) -> None:
    header = {k: v for k, v in HEADER.items() if k not in ("kind", "format")}
    whole = [HEADER, RESULT, {**RESULT, "problem": 1}]
    raw = lines([damaged(d, r) if d.draw(st.integers(0, 2)) == 0 else r for r in whole])
    path = tmp_path_factory.getbasetemp() / "continued.jsonl"
    path.write_bytes(bytes_damaged(d, raw) if d.draw(st.booleans()) else raw)
    before = path.read_bytes()

    def go_on() -> bool:
        with results.ResultsFile(path, header) as f:
            f.add(results.Result(**{k: v for k, v in {**RESULT, "problem": 5}.items() if k != "kind"}))
            f.sort()
        return True

    if reads(go_on) is None:
        assert path.read_bytes() == before
    else:
        assert (5, "greedy") in [r.key for r in results.read(path)[1]]


# ---- settings --------------------------------------------------------------------------------------------------------

CONFIGS = TEXT | pieces(
    "[softllama]\n", "[run]\n", "[probe]\n", "[", "]", "{", "}", "model = ", "max-tokens = ", "policy=", "seed=", "\n", "5", "x",
    "'", "'greedy'\n", "sweep = 3\n", "n_top", "=", "#", ";", " ", "chat = true\n", "chat = yes\n",
    "top = 7\n", "lora = ['a']\n", "lora = a\n b\n",
    "1979-05-27", "1e999", "nan", "0x" + "f" * 99, "9" * 5000, "[" * 5000, "a." * 2000, "%(a)s",
)  # fmt: skip


@settings(FEW, suppress_health_check=FUNCTION)
@given(st.sampled_from(["toml", "toml", "ini"]), CONFIGS)
def test_a_settings_file_is_read_or_refused(
    cli: Any, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch, form: str, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz.{form}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    monkeypatch.setenv("SOFTLLAMA_CONFIG", str(path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for command in (("policies", "greedy"), ("probe", "--mix", "dog:x"), ("run", "--policy", "no-such", "x")):
        code, _, err = cli(*command)
        assert code in (0, 1, 2)  # 1: the model that it names is not there
        assert code == 0 or re.search(r"^Error: .", err, re.MULTILINE) or "Usage" in err


OPTIONS = TEXT | pieces("0", "1", "-", "e", ".", "inf", "nan", "9" * 30, " ", "٣", "_", "0x", "+", "21")


@settings(FEW, suppress_health_check=FUNCTION)
@given(st.sampled_from(["--sweep", "--top", "--continue", "--n-ctx", "--threads", "--split"]), OPTIONS)
def test_an_option_of_probe_is_taken_or_refused(cli: Any, write: Any, option: str, value: str) -> None:
    assume(not re.fullmatch(r"\s*\+?[\d_]{4,5}\s*", value))  # right, and slow
    code, _, err = cli("probe", "-m", write("llama"), "--mix", "dog,cat", option, value)
    assert code in (0, 1, 2)
    assert code == 0 or "Error: " in err


# ---- what was found, once each ---------------------------------------------------------------------------------------


def test_policies_inside_each_other_without_end_are_refused() -> None:
    for text in ("gumbel:answer=" * 3000 + "greedy", "gumbel(answer=" * 3000 + "greedy" + ")" * 3000):
        with pytest.raises(UsageError, match="more than 20 policies inside each other"):
            written.parse(text)
    assert written.parse("gumbel:answer=" * 5 + "greedy").answer is not None


@pytest.mark.parametrize("pattern", ["(" * 5000, "a{99999999999999999999}", "(?:" * 3000 + ")" * 3000])
def test_expressions_that_python_gives_up_are_refused(pattern: str) -> None:
    assert reads(lambda: extract.rule(pattern), UsageError) is None


def test_an_expression_of_which_python_warns_is_taken_without_a_word() -> None:
    assert extract.rule("[[]x")("[x") == "[x"


def test_labels_of_choices_are_a_list(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"question": "?", "choices": {"text": ["x", "y"], "label": None}, "answerKey": "x"}))
    with pytest.raises(SoftLlamaError, match="line 1: the labels of its choices are no list"):
        data.load(path)


@pytest.mark.parametrize("tags", [[], 3, {}])
def test_thinking_tags_are_text(tags: Any) -> None:
    with pytest.raises(UsageError, match="think_tags must be text"):
        chat_settings.options({"think_tags": tags})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "[" * 100_000])
def test_numbers_that_are_none_are_refused_wherever_json_is_read(tmp_path: Path, number: str) -> None:
    path = tmp_path / "x.jsonl"
    header, *rest = traces.trace().jsonl()
    for text, read in (
        ("\n".join([header.replace('"toy"', number), *rest]), reader.load),
        (f'{{"kind": "conversation", "seed": {number}}}', storage.read),
        (f'{{"question": "x", "answer": {number}}}\n', data.load),
        (json.dumps(HEADER).replace('"m"', number) + "\n", results.read),
    ):
        path.write_text(text)
        with pytest.raises(SoftLlamaError):
            read(path)


@pytest.mark.parametrize(
    ("record", "key", "value"),
    [
        (0, "arms", None), (0, "arms", [["greedy", {}], ["greedy", {}]]), (0, "arms", []), (0, "model", {}), (0, "data", 3),
        (0, "settings", ...), (0, "info", []), (0, "info", {"problems": "2"}), (0, "info", {"manifest": 1}),
        (1, "problem", "0"), (1, "problem", -1), (1, "seconds", "1"), (1, "right", 1), (1, "tokens", 1.5), (1, "text", None),
    ],
)  # fmt: skip
def test_results_of_another_shape_are_refused(tmp_path: Path, record: int, key: str, value: Any) -> None:
    whole = copy.deepcopy([HEADER, RESULT])
    whole[record][key] = value
    if value is ...:
        del whole[record][key]
    path = tmp_path / "results.jsonl"
    path.write_bytes(lines(whole))
    with pytest.raises(SoftLlamaError, match=f"line {record + 1}: this is no file of results"):
        results.read(path)
