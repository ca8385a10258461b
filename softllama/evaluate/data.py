r"""Problems with known answers, from JSON lines. Knows three shapes of a line. Knows no model and no way of decoding.

    {"question": "...", "answer": "... #### 18"}                            GSM8K: the number after the last ####
    {"question": "...", "answer": "The cat."}                               or a list of answers that are all right
    {"question": "...", "choices": ["Paris", "Rome"], "answer": "A"}        a letter, an index from 0, or a choice's text

ARC's {"choices": {"text": [...], "label": [...]}, "answerKey": "B"} is read as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softllama.base.files import from_json
from softllama.errors import SoftLlamaError, UsageError
from softllama.generation import extract

LETTERS = "ABCDEFGHIJ"
FORM = 'each line is {"question": "...", "answer": "..."}, with "choices": [...] for multiple choice'
PROMPTS = {  # how a question is asked unless --prompt says otherwise
    "steps": "{question}\n\nThink step by step. End with #### and the number.",
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
    """

    index: int
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()

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
        kind: "steps" (GSM8K), "choice" or "text".
        sha256: Of the whole file, also where only a part of it is taken.
    """

    name: str
    problems: tuple[Problem, ...]
    kind: str
    sha256: str

    @property
    def prompt(self) -> str:
        """The default template of a prompt."""
        return PROMPTS[self.kind]

    @property
    def rule(self) -> str:
        """The default rule by which answers are read: a name of softllama.generation.extract."""
        return {"steps": "auto", "choice": "choice", "text": "text"}[self.kind]

    def first(self, limit: int | None) -> Dataset:
        """The first problems only."""
        return self if limit is None else replace(self, problems=self.problems[:limit])


def is_right(answer: str | None, answers: tuple[str, ...]) -> bool:
    """Is an extracted answer one of the right ones, as extract.equal compares them? None is never right."""
    return answer is not None and any(answer == a or extract.equal(answer, a) for a in answers)


def load(path: str | Path, limit: int | None = None) -> Dataset:
    """Read a file of problems.

    Args:
        path: A file with a JSON object in each line.
        limit: Take the first problems only.

    Returns:
        The problems, all of one kind.

    Raises:
        SoftLlamaError: The file cannot be read. The message names the line.
        UsageError: The limit is less than 1.
    """
    p = Path(path).expanduser()
    try:
        data = p.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as e:
        raise SoftLlamaError(f"cannot read {str(path)!r}: {e.strerror}", FORM) from None
    except UnicodeDecodeError as e:
        raise SoftLlamaError(f"{str(path)!r} is not UTF-8 text: byte {e.start}", "convert it to UTF-8") from None
    if limit is not None and limit < 1:
        raise UsageError(f"--limit takes a number of 1 or more, not {limit}")
    problems: list[Problem] = []
    kinds = set()
    for n, line in enumerate(text.split("\n"), 1):
        if line.strip():
            kind, problem = _read_line(line, len(problems), f"{p.name}, line {n}")
            kinds.add(kind)
            problems.append(problem)
    if not problems:
        raise SoftLlamaError(f"{p.name} has no problems", FORM)
    if len(kinds) > 1:
        raise SoftLlamaError(
            f"{p.name} mixes {' and '.join(sorted(kinds))} problems", "give each kind a file of its own"
        )
    sha256 = hashlib.sha256(data).hexdigest()
    return Dataset(name=p.name, problems=tuple(problems), kind=kinds.pop(), sha256=sha256).first(limit)


def _read_line(line: str, index: int, where: str) -> tuple[str, Problem]:
    try:
        record = from_json(line)
    except ValueError as e:
        raise SoftLlamaError(f"{where}: not JSON ({e})", FORM) from None
    try:
        return _problem(index, record)
    except ValueError as e:
        raise SoftLlamaError(f"{where}: {e}", FORM) from None


def _problem(index: int, record: Any) -> tuple[str, Problem]:
    """The kind of a problem, and the problem. Raises ValueError with the reason."""
    if not isinstance(record, dict):
        raise ValueError("not an object")
    question = record.get("question")
    answer = record.get("answer", record.get("answerKey"))
    if not isinstance(question, str) or not question.strip():
        raise ValueError("it has no question")
    if answer is None or answer == "" or answer == []:
        raise ValueError("it has no answer")
    if record.get("choices"):
        choices, letter = _choice(record["choices"], answer)
        return "choice", Problem(index=index, question=question, answers=(letter,), choices=choices)
    if isinstance(answer, list):
        if not all(isinstance(a, str | int | float) for a in answer):
            raise ValueError("its answers are not all texts")
        return "text", Problem(index=index, question=question, answers=tuple(str(a).strip() for a in answer))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError("its answer is neither a text nor a list of them")
    answer = str(answer).strip()
    if "####" in answer:
        last = extract.hash_mark(answer)
        if not last:
            raise ValueError("nothing follows the #### of its answer")
        return "steps", Problem(index=index, question=question, answers=(last,))
    return "text", Problem(index=index, question=question, answers=(answer,))


def _choice(choices: Any, answer: Any) -> tuple[tuple[str, ...], str]:
    """The texts of a multiple choice, and the right one's letter. Raises ValueError with the reason."""
    labels: list[str] = []
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
    for names in (labels, list(LETTERS[: len(texts)]), list(texts)):
        if text in names:
            return texts, LETTERS[names.index(text)]
    raise ValueError(f"its answer {text!r} is none of its choices")
