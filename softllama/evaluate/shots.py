"""Few-shot examples before a question, as turns of a chat or as text. Knows problems and templates. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from softllama.errors import UsageError
from softllama.evaluate.data import Dataset, Problem

FORMS = ("chat", "raw")


@dataclass(frozen=True)
class Shots:
    """Examples that every question follows.

    Attributes:
        examples: The problems, whose solutions are shown.
        name: Of the file.
        sha256: Of the file.
        form: "chat": each is a turn of the user and one of the assistant; "raw": all are text before the question. "" for
            "chat" where there is a chat, else "raw".
    """

    examples: tuple[Problem, ...]
    name: str
    sha256: str
    form: str = ""

    @classmethod
    def of(cls, data: Dataset, n: int, form: str = "") -> Shots:
        """The first n problems of a file as examples.

        Raises:
            UsageError: it has fewer, or the form is none.
        """
        if not 1 <= n <= len(data.problems):
            raise UsageError(
                f"{data.name} has {len(data.problems)} examples, not {n}", "--shots N, with --shots-from FILE"
            )
        if form and form not in FORMS:
            raise UsageError(f"the form of examples is {' or '.join(FORMS)}, not {form!r}")
        return cls(data.problems[:n], data.name, data.sha256, form)

    def to_dict(self) -> dict[str, Any]:
        """What results depend on, ready for JSON."""
        return {"n": len(self.examples), "name": self.name, "sha256": self.sha256, "form": self.form}


def ask(
    p: Problem, template: str, shots: Shots | None, *, chat: bool, system: str | None
) -> str | list[dict[str, str]]:
    """What a model is asked for a problem: text, or messages where examples are turns of a chat."""
    question = p.to_prompt(template)
    if shots is None:
        return question
    turns = [(e.to_prompt(template), e.solution or e.answers[0]) for e in shots.examples]
    if chat and shots.form != "raw":
        messages = [{"role": "system", "content": system}] if system else []
        for user, assistant in turns:
            messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
        return [*messages, {"role": "user", "content": question}]
    return "\n\n".join(
        [*(f"{user}\n{assistant}" for user, assistant in turns), f"{question}\n" if not chat else question]
    )
