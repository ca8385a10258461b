"""Hidden-state feedback: what the model has computed goes in again, in place of a token or a mixture.

Knows distributions. Does not know hidden states: the loop computes what `Decision.hidden` and `Decision.align` ask for.
"""

from __future__ import annotations

import math

from softllama.policy.base import Decision, Moment, Rule, Where
from softllama.policy.discrete import greedy
from softllama.policy.registry import policy
from softllama.vectors.alignment import Align
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture


@policy(answer=greedy, needs_hidden=True)
def hidden(
    steps: int = 6,
    align: Align = "none",
    exit_entropy: float = math.inf,
    exit_newline: bool = False,
    where: Where = "thinking",
    answer: Rule | None = None,
) -> Rule:
    """Hidden-state feedback: the first `steps` positions are fed the last hidden state, as it is or aligned.

    e = rho u/|u|, rho the mean row norm of E, h the last hidden state after the final norm. align="none": u = h.
    align="ridge": u = h W_a, W_a = (W_o^T W_o + lambda I)^-1 W_o^T E with lambda = 1e-5, W_o the output table: what maps
    output rows to input rows with the least squares. The loop computes both where `Decision.hidden` is set. The readout is
    argmax z. It ends for good after `steps` of them, at a readout that is the closing tag, at the first step with H >
    exit_entropy (nats, whole vocabulary, temperature 1), and with exit_newline at a readout that is a newline or a blank
    line. From then on `answer` decodes the rest of the thinking and the answer; it is greedy, unless given.

    Coconut (arXiv 2412.06769) feeds h as it is, without a scale, to models that are trained for it: 2 latent steps for each
    of 3 stages on GSM8k, then a tag that closes them; here the model closes its block itself. The scale and W_a are those of
    LatentMAS (arXiv 2511.20639), where W_a is an option that is off. LaTER (arXiv 2605.07315) goes on in words after its
    latent steps: 50 of them at most and exit_entropy 5 in its code, with a blank line between steps. Without training,
    align="none" is expected to fail on untied models.

    Args:
        steps: how many positions are fed a hidden state, at most.
        align: "none" feeds the state itself, "ridge" maps it to the input table first.
        exit_entropy: nats above which the hidden steps end; inf for never.
        exit_newline: whether a newline as the readout ends them.
        where: "thinking": only inside the thinking block; "everywhere": at every position.
        answer: decodes outside the thinking block, and after the hidden steps.

    Raises:
        UsageError: a setting is out of range.
    """
    rest = answer or greedy()

    def rule(distribution: Distribution, moment: Moment) -> Decision:
        done = moment.state.get("hidden", 0)
        y = distribution.argmax
        if (
            done >= steps
            or moment.closes(y)
            or distribution.entropy() > exit_entropy
            or (exit_newline and y in (moment.newline, moment.blank_line))
        ):
            moment.state["hidden"] = steps
            return rest(distribution, moment)
        moment.state["hidden"] = done + 1
        why = f"hidden state {done + 1} of {steps}"
        return Decision(Mixture.one_hot(y), y, "soft", why, hidden=True, align=align)

    return rule
