"""A trace as a small HTML table for notebooks: its first steps, each with the tokens that were fed. Knows no model.

The darker a token's background, the larger its weight. There is no script, and all text is escaped.
"""

from __future__ import annotations

from softllama.base.tables import Markup, escape, html_table
from softllama.show.printable import number, printable, visible
from softllama.trace.data import TraceData
from softllama.trace.step import Step
from softllama.trace.summary import summary

STEPS, TOKENS = 20, 6  # how many steps are shown, and how many tokens of each mixture


def html(t: TraceData) -> str:
    """The first steps as a table, and the answer below it."""
    facts = dict(summary(t))
    more = f"; the first {STEPS} are shown" if len(t.steps) > STEPS else ""
    caption = f"{facts['policy']} on {facts['model']}; steps: {facts['steps']}{more}; stopped: {facts['stopped']}"
    rows = [
        (s.index, s.mode, "thinking" if s.thinking else "", s.entropy, _tokens(t, s), printable(s.why, keep=""))
        for s in t.steps[:STEPS]
    ]
    table = html_table(("step", "mode", "block", "entropy (nats)", "fed tokens and weights", "reason"), rows, caption)
    return f'{table}<p style="white-space:pre-wrap">{escape(printable(t.answer.strip()))}</p>'


def _tokens(t: TraceData, s: Step) -> Markup:
    """The heaviest tokens of a step, and how many more there are."""
    shown = s.mixture.top(TOKENS)
    spans = [
        f'<span style="background:rgba(31,111,181,{0.6 * min(1.0, max(0.0, w)):.2f});padding:0 4px">'
        f"{escape(visible(t.spell(i)))} {number(w) if 0 <= w <= 1 else f'{w:.3g}'}</span>"
        for i, w in shown
    ]
    more = f" +{s.n_tokens - len(shown):,}" if s.n_tokens > len(shown) else ""
    return Markup(" ".join(spans) + more)
