"""Prompts with slots for mixtures: "The {} says", "The {a} sees the {b} and". Knows no tokens.

`{}` takes the mixture without a name, `{name}` the one of that name; `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from softllama.errors import PromptError

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = 'such as "The {} says"; a brace itself is {{ or }}'


@dataclass(frozen=True)
class PromptTemplate:
    """texts: n + 1 pieces of text around n slots. slots: their names, "" for `{}`."""

    texts: tuple[str, ...]
    slots: tuple[str, ...]

    def filled(self, words: Sequence[str]) -> str:
        """The prompt as text, with a word in each slot."""
        return self.texts[0] + "".join(w + t for w, t in zip(words, self.texts[1:], strict=True))


def parse(text: str) -> PromptTemplate:
    """Split a prompt at its slots. Raises PromptError for braces that do not match and names that are none."""
    texts, slots, current, end = [], [], "", 0
    for m in _TOKEN.finditer(text):
        current += text[end : m.start()]
        end = m.end()
        if m[0] in ("{{", "}}"):
            current += m[0][0]
        elif m[1] is None:
            raise PromptError(
                f"a lone {m[0]!r} at character {m.start() + 1} of the prompt", f"mark a slot with {{}}, {_FORM}"
            )
        else:
            name = m[1].strip()
            if name and not _NAME.fullmatch(name):
                raise PromptError(f"{m[0]!r} in the prompt is not a slot", f"write {{}} or {{name}}, {_FORM}")
            texts.append(current)
            slots.append(name)
            current = ""
    return PromptTemplate((*texts, current + text[end:]), tuple(slots))


def assign(prompt: PromptTemplate, names: Sequence[str]) -> list[int]:
    """Which mixture goes to which slot: for each slot, the index of its mixture in `names`.

    A mixture without a name fills every `{}`, or, when there are several of them, one `{}` each in order.
    Raises PromptError where slots and mixtures do not fit.
    """
    if not prompt.slots:
        raise PromptError("the prompt has no slot for the mixture", f"mark it with {{}}, {_FORM}")
    named = [n for n in names if n]
    for name in named:
        if named.count(name) > 1:
            raise PromptError(f"two mixtures are called {name!r}", "give each its own name")
        if name not in prompt.slots:
            raise PromptError(f"the prompt has no slot {{{name}}} for the mixture {name!r}", _slots(prompt))
    unnamed = [i for i, n in enumerate(names) if not n]
    n_unnamed = prompt.slots.count("")
    if unnamed and not n_unnamed:
        raise PromptError(
            "the prompt has no {} for the mixture without a name", f"name it: --mix {prompt.slots[0]}=..."
        )
    if len(unnamed) > 1 and len(unnamed) != n_unnamed:
        raise PromptError(
            f"{len(unnamed)} mixtures without a name and {n_unnamed} {{}} in the prompt", "give them names"
        )
    result, next_unnamed = [], 0
    for slot in prompt.slots:
        if slot:
            if slot not in names:
                raise PromptError(f"there is no mixture for the slot {{{slot}}}", f"add --mix {slot}=dog:0.5,cat:0.5")
            result.append(list(names).index(slot))
        else:
            if not unnamed:
                raise PromptError("there is no mixture for the slot {}", "add --mix dog:0.5,cat:0.5")
            result.append(unnamed[next_unnamed if len(unnamed) > 1 else 0])
            next_unnamed += 1
    return result


def _slots(prompt: PromptTemplate) -> str:
    return "its slots are " + ", ".join(f"{{{p}}}" for p in dict.fromkeys(prompt.slots))
