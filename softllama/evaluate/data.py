r"""Problems with known answers, from JSON lines. Knows three shapes of a line, and no model.

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
    """One question. index: its line's number from 0, which with the seed makes its own seed. answers: all that are right."""

    index: int
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()

    def asked(self, template: str) -> str:
        """The prompt. `{question}` and `{choices}` are filled in; other braces stay."""
        lines = "\n".join(f"{letter}. {c}" for letter, c in zip(LETTERS, self.choices, strict=False))
        return template.replace("{choices}", lines).replace("{question}", self.question)


@dataclass(frozen=True)
class Dataset:
    """Problems of one file. kind: "steps" (GSM8K), "choice" or "text". sha256: of the file, whatever part is taken."""

    name: str
    problems: tuple[Problem, ...]
    kind: str
    sha256: str

    @property
    def prompt(self) -> str:
        """How a question is asked by default."""
        return PROMPTS[self.kind]

    @property
    def rule(self) -> str:
        """The rule that reads answers by default."""
        return {"steps": "auto", "choice": "choice", "text": "text"}[self.kind]

    def first(self, limit: int | None) -> Dataset:
        """The first problems only."""
        return self if limit is None else replace(self, problems=self.problems[:limit])


def right(found: str | None, answers: tuple[str, ...]) -> bool:
    """Is an extracted answer one of the right ones: the same text, or the same number?"""
    if found is None:
        return False
    if found in answers:
        return True
    number = _as_number(found)
    return number is not None and any(number == _as_number(a) for a in answers)


def _as_number(text: str) -> str | None:
    """A text that is one number, in the one way in which numbers are written; else None."""
    return extract.boxed("\\boxed{" + text + "}") if extract.number(text) is not None and _plain(text) else None


def _plain(text: str) -> bool:
    return not any(c.isalpha() or c in "{}\\/" for c in text)


def load(path: str | Path, limit: int | None = None) -> Dataset:
    """Read a file of problems. Raises SoftLlamaError with the line for what cannot be read."""
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
        if not line.strip():
            continue
        try:
            record = from_json(line)
        except ValueError as e:
            raise SoftLlamaError(f"{p.name}, line {n}: not JSON ({e})", FORM) from None
        try:
            kind, problem = _problem(len(problems), record)
        except ValueError as e:
            raise SoftLlamaError(f"{p.name}, line {n}: {e}", FORM) from None
        kinds.add(kind)
        problems.append(problem)
    if not problems:
        raise SoftLlamaError(f"{p.name} has no problems", FORM)
    if len(kinds) > 1:
        raise SoftLlamaError(
            f"{p.name} mixes {' and '.join(sorted(kinds))} problems", "give each kind a file of its own"
        )
    return Dataset(p.name, tuple(problems), kinds.pop(), hashlib.sha256(data).hexdigest()).first(limit)


def _problem(index: int, record: Any) -> tuple[str, Problem]:
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
        return "choice", Problem(index, question, (letter,), choices)
    if isinstance(answer, list):
        if not all(isinstance(a, str | int | float) for a in answer):
            raise ValueError("its answers are not all texts")
        return "text", Problem(index, question, tuple(str(a).strip() for a in answer))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError("its answer is neither a text nor a list of them")
    answer = str(answer).strip()
    if "####" in answer:
        last = extract.hash_mark(answer)
        if not last:
            raise ValueError("nothing follows the #### of its answer")
        return "steps", Problem(index, question, (last,))
    return "text", Problem(index, question, (answer,))


def _choice(choices: Any, answer: Any) -> tuple[tuple[str, ...], str]:
    labels: list[str] = []
    if isinstance(choices, dict):
        given, choices = choices.get("label", []), choices.get("text")
        if not isinstance(given, list):
            raise ValueError("the labels of its choices are no list")
        labels = [str(x) for x in given]
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
