"""One line of text for a step, for an answer's numbers, for a message. Knows records; does not know where lines go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from softllama.chat.messages import Message
from softllama.show.printable import visible
from softllama.trace.step import SOFT, Step, StopReason


def step_line(step: Step, spell: Callable[[int], str], n: int = 5) -> str:
    """What was fed at a step: its number, its mode, the entropy H in nats, and the heaviest tokens with their weights.

    Args:
        step: a step of a generation.
        spell: the text of a token id.
        n: tokens of a mixture to show at most.
    """
    if step.mode == SOFT:
        top = [f"{visible(spell(i))} {w:.3f}" for i, w in step.mixture.top(n)]
        tokens = "  ".join(top) + f"  + {len(step.mixture) - len(top)} more" * (len(step.mixture) > len(top))
    else:
        tokens = visible(spell(step.token)) + f"  ({step.why})" * bool(step.forced and step.why)
    return f"{step.index:5} {step.mode:6} H {step.entropy:5.2f}  {tokens}"


def answer_numbers(record: Mapping[str, Any]) -> str:
    """An answer in numbers.

    Args:
        record: how the answer was made, as `Message.details`; a saved one may lack entries. The tokens in a mixture are
            left out where no step was soft, and the stop reason where the answer came to its end.
    """
    n_thinking, n_answer, n_soft = (record.get(k, 0) for k in ("n_thinking", "n_answer", "n_soft"))
    speed = record.get("tokens_per_second", 0)
    steps = n_thinking + n_answer
    share = f", {n_soft / steps:.0%} soft" if n_soft and steps else ", none soft" if steps else ""
    parts = [
        f"{n_thinking} thinking + {n_answer} answer tokens{share}",
        f"mean entropy {record.get('mean_entropy', 0):.2f} nats",
        *([f"{record.get('effective_tokens', 1):.1f} tokens in a mixture"] if n_soft else []),
        *([f"{speed:.3g} tokens/s" if speed < 10 else f"{speed:.0f} tokens/s"] if speed else []),
    ]
    reason = record.get("stop_reason", StopReason.END_OF_GENERATION)
    return ", ".join(parts) + (f"; {reason}" if reason != StopReason.END_OF_GENERATION else "")


def warnings(degenerations: Iterable[Mapping[str, Any]], on_loop: str) -> list[str]:
    """What is wrong with an answer, and what to do about it.

    Args:
        degenerations: of its trace.
        on_loop: what has been done.
    """
    done = {"stop": "it was ended", "hard": "single tokens were fed from there on"}
    otherwise = "--on-loop stop ends such a text, --on-loop hard goes on with single tokens"
    return [f"warning: {d['message']}; {done.get(on_loop, otherwise)}" for d in degenerations]


def beginning(message: Message, n: int = 40) -> str:
    """The beginning of a message in one line of at most n characters."""
    text = " ".join(message.content.split())
    return text if len(text) <= n else text[: n - 1] + "…"
