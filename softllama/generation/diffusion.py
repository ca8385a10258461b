"""Decoding of diffusion models (LLaDA, Dream): masked positions are filled in no order, with plain or with soft masks.

The text begins as `max_tokens` masks behind the prompt. It is filled block by block. In each round the model reads all of it,
and gives p_i for each masked position i of the block. The positions that it is surest of become tokens; the others stay masked.

Plain masks (LLaDA, arXiv 2502.09992; Dream, arXiv 2508.15487): what stays masked is fed as the mask token. Soft masks (Latent
Refinement Decoding, arXiv 2510.11052): it is fed as

    e_i = (1 - a_i) E[MASK] + a_i sum_v q_i(v) E[v],    a_i = r (1 - H(p_i)/ln n_vocab),

q_i the top-p tokens of p_i, renormalised. Before the first token of a block the masks alone are refined, until the mean
KL(p now || p before) over its masked positions is below tau_refine, or `refine` rounds have passed. Afterwards, where that mean is
below tau_decode, all that is left becomes tokens at once. r = 0 and tau_decode = 0 is plain decoding.

Where the paper leaves it open: its formula has a_i as above, its appendix D has r H/ln n_vocab; `soft_by` is the one or the other.
The means go over the block's masked positions; the last round of refining also gives the first tokens. Ours: the mask is never
drawn, and no block begins behind one that has ended the text.

Knows what a prompt and a record are. masks.py fills the masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

from softllama.base import arguments
from softllama.engine import manifest
from softllama.engine.branches import NO_MASK
from softllama.engine.engine import Engine
from softllama.errors import NotFiniteError, PromptError, UsageError
from softllama.generation.cost import Cost
from softllama.generation.feed import not_finite, positions
from softllama.generation.masks import Canvas, Filled, Order, Settings, SoftBy
from softllama.generation.options import GenerationKeywords, GenerationOptions
from softllama.generation.prepare import PromptInput, prepare
from softllama.generation.run import Interrupted, describe
from softllama.generation.text_stream import TextStream
from softllama.trace.data import ids_of
from softllama.trace.record import Trace
from softllama.trace.step import HARD, Step, StopReason
from softllama.vectors.mixture import Mixture


@dataclass(frozen=True, eq=False)
class DiffusionResult:
    """The text of a diffusion model.

    Attributes:
        trace: a step for each token, in the order of the text; what is known of a step is from the round that filled it.
        rounds: how often tokens were filled in. refined: rounds that refined soft masks only. early: positions that were filled
            at once, as nothing changed any more.
    """

    trace: Trace
    rounds: int
    refined: int
    early: int
    cost: Cost

    @property
    def notes(self) -> tuple[str, ...]:
        """What else there is to say of it, a line each."""
        return (f"{self.rounds} rounds, {self.refined} that refined masks, {self.early} tokens filled early",)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "kind": "diffusion", "text": self.trace.text, "answer": self.trace.answer, "rounds": self.rounds,
            "refined": self.refined, "early": self.early, "stop_reason": self.trace.stop_reason, "seed": self.trace.seed,
            "cost": self.cost.to_dict(),
        }  # fmt: skip


def diffusion(
    model: Engine,
    prompt: PromptInput,
    *,
    n_ctx: int | None = None,
    steps: int = 0,
    block: int = 32,
    temperature: float = 0.0,
    order: Order = "confidence",
    r: float = 0.0,
    top_p: float = 0.9,
    refine: int = 0,
    tau_refine: float = 0.1,
    tau_decode: float = 0.0,
    soft_by: SoftBy = "confidence",
    **options: Unpack[GenerationKeywords],
) -> DiffusionResult:
    """Fill `max_tokens` masks behind a prompt: see this module's docstring. The defaults have plain masks.

    Args:
        n_ctx: positions of prompt and text together, at most.
        steps: rounds for the whole text; 0 for one token a round, the authors' best.
        block: positions that are filled before those behind them; 0 for all of the text, as Dream has it.
        temperature: of the tokens that are drawn; 0 takes the likeliest.
        order: which positions come first: the highest p of the drawn token (LLaDA), the lowest entropy (Dream, LRD), or the
            largest margin of the two likeliest.
        r: the most that a soft mask holds of the prediction; LRD uses 0.1 to 0.2.
        top_p: of the tokens in a soft mask.
        refine: rounds that refine the masks before the first token of a block, at most; LRD 20.
        tau_refine, tau_decode: mean KL in nats below which the refining ends, and the decoding; LRD 0.1.
        soft_by: "confidence" is the paper's formula, "entropy" its appendix's.
        options: those of `stream`, without policy, answer and where.

    Raises:
        UsageError: the model is no diffusion model, or an argument is not allowed.
        PromptError: its vocabulary names no mask token. And what `stream` raises.
        Interrupted: Ctrl-C; its `result` has what there is.
    """
    _check(model, options)
    settings = Settings(
        steps=steps, block=block, temperature=temperature, order=order, r=r, top_p=top_p, refine=refine,
        tau_refine=tau_refine, tau_decode=tau_decode, soft_by=soft_by,
    )  # fmt: skip
    arguments.integer_or_none("n_ctx", n_ctx)
    g = prepare(model, prompt, GenerationOptions.of({**options, "policy": "greedy"}), causal=False)
    cells = positions(model, [g], n_ctx or model.n_ctx_given)
    canvas = Canvas(model, g, cells - len(g.prompt), settings)
    interrupted = False
    try:
        canvas.fill()
    except KeyboardInterrupt:
        interrupted = True
    except NotFiniteError as e:
        raise not_finite(g, e) from None
    finally:
        canvas.close()
    result = DiffusionResult(_trace(canvas, interrupted), canvas.rounds, canvas.refined, canvas.early, canvas.cost)
    if interrupted:
        raise Interrupted(result.trace, result)
    return result


def _check(model: Engine, options: GenerationKeywords) -> None:
    """Raise an error for a model that has no masks to fill, and for options that fill none."""
    if not model.diffusion:
        raise UsageError(
            f"{model.name} ({model.arch}) is no diffusion model", "it decodes by any policy: softllama policies"
        )
    if model.tokenizer.mask is None:
        raise PromptError(f"the vocabulary of {model.name}, a diffusion model, names no mask token", NO_MASK)
    for name in ("policy", "answer", "where"):
        if options.get(name) is not None:
            raise UsageError(f"a diffusion model has no {name}", "it fills masks in no order; leave the option out")


def _trace(canvas: Canvas, interrupted: bool) -> Trace:
    """The record: the text up to its first mask, its end of generation or its stop string."""
    g, model = canvas.g, canvas.model
    stream, steps = TextStream(list(g.options.stop)), list[Step]()
    reason, stopped = StopReason.INTERRUPTED if interrupted else StopReason.MAX_TOKENS, ""
    for i in range(canvas.length):
        if (f := canvas.filled.get(i)) is None:
            break
        if model.is_eog(f.token):
            reason = StopReason.END_OF_GENERATION
            break
        steps.append(_step(i, len(g.prompt) + i, f, stream.push(model.tokenizer.piece(f.token))))
        if stream.stopped:
            reason, stopped = StopReason.STOP_STRING, stream.stopped
            break
    kind = "lrd" if canvas.settings.r or canvas.settings.refine else "diffusion"
    return Trace(
        steps=tuple(steps),
        prompt=g.prompt,
        prompt_text=describe(model, g.prompt),
        policy=kind,
        seed=g.seed,
        stop_reason=reason,
        stop=g.options.stop,
        evaluated=canvas.cost.evaluated,
        timings={"prompt": 0.0, "total": canvas.cost.seconds},
        manifest=manifest.build(model, {"policy": kind, "max_tokens": g.options.max_tokens}, seed=g.seed),
        tail=("", stream.flush()),
        texts={i: model.spell(i) for i in dict.fromkeys(i for s in steps for i in ids_of(s))},
        stop_string=stopped,
    )


def _step(index: int, position: int, f: Filled, text: str) -> Step:
    return Step(
        index=index,
        position=position,
        mode=HARD,
        thinking=False,
        token=f.token,
        text=text,
        mixture=Mixture.one_hot(f.token),
        entropy=f.entropy,
        top=f.top,
        why=f"round {f.round}",
        seconds=f.seconds,
        logp=f.logp,
    )
