"""What somebody who thinks in mixtures should know beforehand about a model of this size. Knows published figures and headers.

Does not know how the advice is shown.
"""

from __future__ import annotations

from pathlib import Path

from softllama.engine.engine import Engine
from softllama.errors import SoftLlamaError
from softllama.hub import bundled, facts
from softllama.llama import header
from softllama.policy import Policy

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
