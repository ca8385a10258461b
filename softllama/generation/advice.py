"""What somebody should know beforehand about a model: what is published of its size, and what its template does not tell.

Does not know how the advice is shown.
"""

from __future__ import annotations

from pathlib import Path

from softllama.engine.engine import Engine
from softllama.errors import SoftLlamaError
from softllama.generation.prepare import chat_template
from softllama.hub import bundled, facts
from softllama.llama import header, thinking_tags
from softllama.llama.template import ChatTemplate
from softllama.policy import Policy
from softllama.prompts import build, thinking

MEASURED = ("soft_thinking",)  # policies of which that is published
SMALL = (
    14e9  # parameters; at 27 billion soft thinking was level with sampling, at 4 and 9 it was worse (docs/answers.md)
)


def small_model(model: Engine, policy: Policy, compare: str) -> str | None:
    """A line for a policy that is known to cost answers on models of this size.

    Args:
        model: The model. The bundled ones were made for mixtures, and have no such line.
        policy: What decides its steps.
        compare: What the user can type to see the difference.

    Returns:
        The line; None where nothing is known against it.
    """
    path = Path(model.path)
    if policy.name not in MEASURED or path.parent == bundled.FOLDER:
        return None
    try:
        n = int(facts.read(header.read(path))["parameters"])
    except SoftLlamaError:
        return None
    if not 0 < n < SMALL:
        return None
    size = f"{n / 1e9:.1f}B" if n >= 0.95e9 else f"{n / 1e6:.0f}M"
    return (
        f"soft thinking: in published tests, models under about 14B (this one: {size}) solve fewer problems with it than by "
        f"sampling; {compare}"
    )


def thinks_anyway(
    model: Engine, chat: bool, template: ChatTemplate | str | None, think: object, tags: str | None = None
) -> str | None:
    """A line for a model that --think off may not keep from thinking.

    Args:
        model: the model.
        chat: is the prompt put into a chat template?
        template: the one that is given; None for the model's own.
        think: of the generation's options.
        tags: those that the user names; None for the model's own.

    Returns:
        The line; None where thinking is switched off, or nothing says that the model thinks.
    """
    if think != "off" or not chat:
        return None
    t = chat_template(model, template)
    variable = thinking_tags.unknown(t.source)
    if not variable or thinking.tags_for(model.tokenizer, t.source, "off", tags) is not None:
        return None  # a block with known tags is closed, whoever opens it
    if build.has_switch(t):
        return None
    return (
        f"thinking: the chat template has {variable!r}, but neither tags nor a switch that softllama knows, so --think off may "
        f"not keep {model.name} from thinking; --think-tags OPEN,CLOSE names its tags"
    )
