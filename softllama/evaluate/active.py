"""Does every way of answering act at all? Knows how a prompt is prepared. Evaluates nothing."""

from __future__ import annotations

from collections.abc import Sequence

from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.evaluate.data import Dataset
from softllama.evaluate.options import EvaluateOptions
from softllama.evaluate.ways import Way
from softllama.generation.options import GenerationOptions
from softllama.generation.prepare import never_acts, no_block, prepare


def require_active(model: Engine, data: Dataset, ways: Sequence[Way], options: EvaluateOptions) -> None:
    """Raise UsageError for a way whose policy would never decide a step: it would be compared with itself."""
    for w in ways:
        if not w.policy or not data.problems:
            continue
        text = options.asked(data.problems[0])
        g = prepare(model, text, GenerationOptions.of({**options.generation_keywords(), "policy": w.policy, "seed": 0}))
        if never_acts(g):
            raise UsageError(
                f"{no_block(model, g.policy, options.think)}: {w.name} would be its answer policy and nothing else",
                f'--think prompt asks it to think in plain text; "{_everywhere(w.policy)}" mixes the whole answer; '
                "--allow-inactive goes on as it is",
            )


def _everywhere(text: str) -> str:
    return f"{text}{',' if ':' in text else ':'}where=everywhere"
