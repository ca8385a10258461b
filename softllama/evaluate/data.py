r"""Problems with known answers, from rows. Knows the shapes of a row. Knows no model and no way of decoding.

    {"question": "...", "answer": "... #### 18"}                            GSM8K: the number after the last ####
    {"problem": "...", "solution": "... \\boxed{18}"}                       MATH: what is in the last box
    {"question": "...", "answer": "The cat."}                               or a list of answers that are all right
    {"question": "...", "choices": ["Paris", "Rome"], "answer": "A"}        a letter, an index from 0, or a choice's text
    {"question": "...", "options": ["Paris", "Rome"], "answer": "A", "answer_index": 0}                 MMLU-Pro

ARC's {"choices": {"text": [...], "label": [...]}, "answerKey": "B"} and C-Eval's {"question": "...", "A": "...", "B": "...",
"answer": "B"} are read as well. NAMES has the names of the fields; `Dataset.fields` says which ones were found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softllama.errors import SoftLlamaError, UsageError
from softllama.evaluate import sources
from softllama.evaluate.sources import FORM
from softllama.generation import extract

LETTERS = "ABCDEFGHIJ"
NAMES = {  # what a field may be called; the first that a line has is taken
    "question": ("question", "problem", "prompt", "query"),
    "choices": ("choices", "options"),
    "answer": ("answer", "answerKey", "target", "solution", "answer_index", "answer_idx"),
}
PROMPTS = {  # how a question is asked unless --prompt says otherwise
    "steps": "{question}\n\nThink step by step. End with #### and the number.",
    "boxed": "{question}\n\nThink step by step. Put the final answer in \\boxed{}.",
    "choice": "{question}\n\n{choices}\n\nAnswer with the letter.",
    "text": "{question}",
}


@dataclass(frozen=True)
class Problem:
    """One question.

    Attributes:
        index: Its number in the file, from 0. With the evaluation's seed it gives the problem's own seed.
        question: The question's text.
        answers: Every text that is a right answer.
        choices: The texts of a multiple choice, else ().
        solution: What an example shows: the whole answer of the file.
    """

    index: int
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    solution: str = ""

    def to_prompt(self, template: str) -> str:
        """The prompt: the template with `{question}` and `{choices}` filled in. Other braces stay."""
        lines = "\n".join(f"{letter}. {c}" for letter, c in zip(LETTERS, self.choices, strict=False))
        return template.replace("{choices}", lines).replace("{question}", self.question)


@dataclass(frozen=True)
class Dataset:
    """Problems of one file.

    Attributes:
        name: The file's name.
        problems: The problems, in the file's order.
        kind: "steps" (GSM8K), "boxed" (MATH), "choice" or "text".
        sha256: Of the whole file, also where only a part of it is taken.
        fields: (what it is, its name in the file), such as ("choices", "options"), as the first line has them.
        shard: (index, n, problems in all) where these are a part of the problems.
    """

    name: str
    problems: tuple[Problem, ...]
    kind: str
    sha256: str
    fields: tuple[tuple[str, str], ...] = ()
    shard: tuple[int, int, int] | None = None

    @property
    def prompt(self) -> str:
        """The default template of a prompt."""
        return PROMPTS[self.kind]

    @property
    def rule(self) -> str:
        """The default rule by which answers are read: a name of softllama.generation.extract."""
        return {"steps": "auto", "boxed": "auto", "choice": "choice", "text": "text"}[self.kind]

    def first(self, limit: int | None) -> Dataset:
        """The first problems only."""
        return self if limit is None else replace(self, problems=self.problems[:limit])


def is_right(answer: str | None, answers: tuple[str, ...], rule: str = "") -> bool:
    """Is an answer that a rule took one of the right ones, as extract.same compares them? None is never right."""
    return answer is not None and any(answer == a or extract.same(rule, answer, a) for a in answers)


def load(path: str | Path, limit: int | None = None, *, subset: str | None = None, split: str | None = None) -> Dataset:
    """Read problems.

    Args:
        path: A file with a JSON object in each line, a CSV file, or a data set of the hub, "hf:user/name".
        limit: Take the first problems only.
        subset, split: Of a data set of the hub.

    Returns:
        The problems, all of one kind.

    Raises:
        SoftLlamaError: They cannot be read. The message names the line.
        UsageError: The limit is less than 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit takes a number of 1 or more, not {limit}")
    source = sources.read(path, subset, split)
    problems: list[Problem] = []
    kinds = set()
    names: tuple[tuple[str, str], ...] = ()
    for where, record in source.rows:
        kind, problem, found = _read_row(record, len(problems), where)
        kinds.add(kind)
        names = names or found
        problems.append(problem)
    if not problems:
        raise SoftLlamaError(f"{source.name} has no problems", FORM)
    if len(kinds) > 1:
        raise SoftLlamaError(
            f"{source.name} mixes {' and '.join(sorted(kinds))} problems", "give each kind a file of its own"
        )
    whole = Dataset(name=source.name, problems=tuple(problems), kind=kinds.pop(), sha256=source.sha256, fields=names)
    return whole.first(limit)


def _read_row(record: Any, index: int, where: str) -> tuple[str, Problem, tuple[tuple[str, str], ...]]:
    """The kind of a problem, the problem, and the names of its fields."""
    try:
        if not isinstance(record, dict):
            raise ValueError("not an object")
        names = _names(record)
        kind, problem = _problem(index, record, names)
    except ValueError as e:
        raise SoftLlamaError(f"{where}: {e}", FORM) from None
    shown = record.get("solution") or record[names["answer"]]
    solution = str(shown).strip() if isinstance(shown, str | int | float) and kind != "choice" else problem.answers[0]
    return kind, replace(problem, solution=solution), tuple(names.items())


def _names(record: dict[str, Any]) -> dict[str, str]:
    """What the question, the choices and the answer are called in this line; what is not there is left out."""
    names = {}
    for what, possible in NAMES.items():
        for name in (x for n in possible for x in (n, n[0].upper() + n[1:])):
            if record.get(name) not in (None, "", [], {}):
                names[what] = name
                break
    letters = [c for c in LETTERS if isinstance(record.get(c), str | int | float)]
    if "choices" not in names and len(letters) > 1 and letters == list(LETTERS[: len(letters)]):
        names["choices"] = f"{letters[0]}-{letters[-1]}"  # a field for each
    return names


def _problem(index: int, record: dict[str, Any], names: dict[str, str]) -> tuple[str, Problem]:
    """The kind of a problem, and the problem. Raises ValueError with the reason."""
    question = record[names["question"]] if "question" in names else None
    if not isinstance(question, str) or not question.strip():
        raise ValueError("it has no question")
    if "answer" not in names:
        raise ValueError("it has no answer")
    answer = record[names["answer"]]
    if "choices" in names:
        key = names["choices"]
        given = record[key] if key in record else [record[c] for c in LETTERS if c in record]
        choices, letter = _choice(given, answer)
        _check_index(record, letter)
        return "choice", Problem(index=index, question=question, answers=(letter,), choices=choices)
    if isinstance(answer, list):
        if not all(isinstance(a, str | int | float) for a in answer):
            raise ValueError("its answers are not all texts")
        return "text", Problem(index=index, question=question, answers=tuple(str(a).strip() for a in answer))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError("its answer is neither a text nor a list of them")
    kind, text = _text_answer(str(answer).strip(), record)
    return kind, Problem(index=index, question=question, answers=(text,))


def _text_answer(answer: str, record: dict[str, Any]) -> tuple[str, str]:
    """The kind and the right answer of a problem without choices. Raises ValueError with the reason."""
    if "####" in answer:
        last = extract.hash_mark(answer)
        if not last:
            raise ValueError("nothing follows the #### of its answer")
        return "steps", last
    if "\\boxed" in answer or "\\fbox" in answer:
        inside = extract.boxed(answer)
        if not inside:
            raise ValueError("the \\boxed of its answer is empty")
        return "boxed", inside
    return ("boxed" if "\\boxed" in str(record.get("solution")) else "text"), answer


def _check_index(record: dict[str, Any], letter: str) -> None:
    """Raise ValueError where a line has its right choice twice, and differently."""
    for name in ("answer_index", "answer_idx"):
        index = record.get(name)
        if type(index) is int and 0 <= index < len(LETTERS) and LETTERS[index] != letter:
            raise ValueError(f"its answer is {letter}, and its {name} is {index}, which is {LETTERS[index]}")


def _choice(choices: Any, answer: Any) -> tuple[tuple[str, ...], str]:
    """The texts of a multiple choice, and the right one's letter. Raises ValueError with the reason."""
    labels: list[str] = []
    if isinstance(choices, dict) and "text" not in choices:  # {"A": "Paris", "B": "Rome"}
        choices = {"label": list(choices), "text": list(choices.values())}
    if isinstance(choices, dict):
        label_list, choices = choices.get("label", []), choices.get("text")
        if not isinstance(label_list, list):
            raise ValueError("the labels of its choices are no list")
        labels = [str(x) for x in label_list]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"a multiple choice has 2 to {len(LETTERS)} choices")
    texts = tuple(str(c).strip() for c in choices)
    if isinstance(answer, int) and not isinstance(answer, bool):
        if not 0 <= answer < len(texts):
            raise ValueError(f"its answer is choice {answer}, of {len(texts)} counted from 0")
        return texts, LETTERS[answer]
    text = str(answer).strip()
    bare = re.fullmatch(r"\(?([A-Ja-j])[.):]{0,2}", text)  # (B)
    for form in (text, bare[1].upper() if bare else text):
        for names in (labels, list(LETTERS[: len(texts)]), list(texts)):
            if form in names:
                return texts, LETTERS[names.index(form)]
    raise ValueError(f"its answer {text!r} is none of its choices")
