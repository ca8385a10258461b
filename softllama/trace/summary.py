"""A trace in a few lines for people: the head of the terminal's table, of the page and of a notebook's table."""

from __future__ import annotations

from softllama.show.printable import printable
from softllama.trace.data import TraceData


def summary(t: TraceData) -> list[tuple[str, str]]:
    """(name, value) of a trace: model, policy, seed, how it ended, counts and means. Each is printable and one line."""
    model = t.manifest.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    modes = [s.mode for s in t.steps]
    counts = [f"{modes.count(m):,} {m}" for m in dict.fromkeys(modes)]
    where = f"{t.n_thinking:,} thinking + {t.n_answer:,} answer" if t.n_thinking else ""
    facts = [
        ("model", str(name or "unknown")),
        ("policy", t.policy),
        ("seed", str(t.seed)),
        ("stopped", t.stop_text or "not yet"),
        ("steps", "; ".join(filter(None, [f"{len(t.steps):,}", where, ", ".join(counts)]))),
        ("mean entropy", f"{t.mean_entropy:.3f} nats"),
        ("effective tokens", f"{t.effective_tokens:.2f} in a mixture"),
    ]
    facts += [("warning", str(d["message"])) for d in t.degenerations]
    if t.evaluated:
        speed = f", {t.tokens_per_second:,.0f} tokens/s" if t.tokens_per_second else ""
        facts.append(("evaluated", f"{t.evaluated:,} positions{speed}"))
    return [(name, printable(value, keep="")) for name, value in facts]
