"""Prompts with places for mixtures: "The {} says", "The {a} sees the {b} and". Knows no tokens.

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
class Prompt:
    """texts: n + 1 pieces of text around n places. places: their names, "" for `{}`."""

    texts: tuple[str, ...]
    places: tuple[str, ...]

    def filled(self, words: Sequence[str]) -> str:
        """The prompt as text, with a word in each place."""
        return self.texts[0] + "".join(w + t for w, t in zip(words, self.texts[1:], strict=True))


def parse(text: str) -> Prompt:
    """Split a prompt at its places. Raises PromptError for braces that do not match and names that are none."""
    texts, places, current, end = [], [], "", 0
    for m in _TOKEN.finditer(text):
        current += text[end : m.start()]
        end = m.end()
        if m[0] in ("{{", "}}"):
            current += m[0][0]
        elif m[1] is None:
            raise PromptError(
                f"a lone {m[0]!r} at character {m.start() + 1} of the prompt", f"mark a place with {{}}, {_FORM}"
            )
        else:
            name = m[1].strip()
            if name and not _NAME.fullmatch(name):
                raise PromptError(f"{m[0]!r} in the prompt is not a place", f"write {{}} or {{name}}, {_FORM}")
            texts.append(current)
            places.append(name)
            current = ""
    return Prompt((*texts, current + text[end:]), tuple(places))


def assign(prompt: Prompt, names: Sequence[str]) -> list[int]:
    """Which mixture goes to which place: for each place, the index of its mixture in `names`.

    A mixture without a name fills every `{}`, or, when there are several of them, one `{}` each in order.
    Raises PromptError where places and mixtures do not fit.
    """
    if not prompt.places:
        raise PromptError("the prompt has no place for the mixture", f"mark it with {{}}, {_FORM}")
    named = [n for n in names if n]
    for name in named:
        if named.count(name) > 1:
            raise PromptError(f"two mixtures are called {name!r}", "give each its own name")
        if name not in prompt.places:
            raise PromptError(f"the prompt has no place {{{name}}} for the mixture {name!r}", _places(prompt))
    unnamed = [i for i, n in enumerate(names) if not n]
    holes = prompt.places.count("")
    if unnamed and not holes:
        raise PromptError(
            "the prompt has no {} for the mixture without a name", f"name it: --mix {prompt.places[0]}=..."
        )
    if len(unnamed) > 1 and len(unnamed) != holes:
        raise PromptError(f"{len(unnamed)} mixtures without a name and {holes} {{}} in the prompt", "give them names")
    result, next_hole = [], 0
    for place in prompt.places:
        if place:
            if place not in names:
                raise PromptError(
                    f"there is no mixture for the place {{{place}}}", f"add --mix {place}=dog:0.5,cat:0.5"
                )
            result.append(list(names).index(place))
        else:
            if not unnamed:
                raise PromptError("there is no mixture for the place {}", "add --mix dog:0.5,cat:0.5")
            result.append(unnamed[next_hole if len(unnamed) > 1 else 0])
            next_hole += 1
    return result


def _places(prompt: Prompt) -> str:
    return "its places are " + ", ".join(f"{{{p}}}" for p in dict.fromkeys(prompt.places))
