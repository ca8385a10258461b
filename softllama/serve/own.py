"""Our own routes: probe, sweep, score and the logit lens, as JSON that a page can draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request

from softllama.engine import score
from softllama.engine.lens import Lens
from softllama.generation import prepare
from softllama.generation.options import GenerationOptions
from softllama.probe.data import ProbeData
from softllama.probe.inputs import Filling, combinations, distinct
from softllama.prompts import words
from softllama.prompts.encoded import items_with
from softllama.serve import mixtures, policies
from softllama.serve.errors import ApiError
from softllama.serve.requests import LensRequest, ProbeRequest, ScoreRequest, SweepRequest
from softllama.serve.state import State
from softllama.serve.streaming import unless_gone
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution, Token
from softllama.vectors.sweep import Sweep

MOST_CONTINUATIONS = 1024
LENS_POSITIONS = 512


def _mix(state: State, body: ProbeRequest | ScoreRequest) -> Any:
    return mixtures.argument(body.mixtures, signed=body.signed, n_vocab=state.model.n_vocab, param="mixtures")


def _probed(state: State, body: ProbeRequest, sweep: int | None = None) -> ProbeData:
    return state.model.probe(
        body.prompt,
        _mix(state, body),
        sweep=sweep,
        chat=body.chat,
        system=body.system,
        normalize=body.normalize,
        signed=body.signed,
        split=body.split,
        n_top=body.top,
        n_ctx=state.scheduler.n_ctx,
        watch=body.watch,
    )


def probe(state: State, body: ProbeRequest) -> dict[str, Any]:
    """The next token after a mixture, after each word alone, and on average."""
    r = _probed(state, body)
    rows = [r.next, *r.baselines.values(), *([r.average] if r.average is not None else [])]
    ids = dict.fromkeys(t.id for d in rows for t in d.top(body.top))
    union = sorted(ids, key=lambda i: -r.next[i].p)
    slots = "+".join(body.mixtures) if isinstance(body.mixtures, dict) else ""
    return {
        "prompt": r.prompt,
        "tokens": [{"id": i, "token": r.next[i].text} for i in union],
        "next": row(r.next, r, union),
        "components": [
            {"slot": slots, "word": label, "weight": r.weights[label], **row(d, r, union)}
            for label, d in r.baselines.items()
        ],
        "average": None if r.average is None else row(r.average, r, union),
        "emergent": [{"id": e.id, "token": e.text, "p": e.p, "alone": e.alone} for e in r.emergent],
        "heaviest": r.heaviest,
        "third_token": r.is_third_token,
        "mass_outside_nuclei": r.mass_outside_nuclei,
        "weight_covered": r.weight_covered,
        "floor": {"js": r.noise.js, "log_odds": r.noise.log_odds, "logit": r.noise.logit},
        "frames": r.frames,
    }


def row(d: Distribution, r: ProbeData, union: Sequence[int]) -> dict[str, Any]:
    """One distribution of a probe; js: of it to the mixture's, p: of the tokens that all rows have in common."""
    return {
        "entropy": d.entropy(),
        "js": d.js(r.next),
        "top": tokens(d.top(r.n_top)),
        "p": [d[i].p for i in union],
    }


def tokens(top: Sequence[Token]) -> list[dict[str, Any]]:
    """Tokens with their probabilities."""
    return [{"id": t.id, "token": t.text, "p": float(t.p)} for t in top]


def sweep(state: State, body: SweepRequest) -> dict[str, Any]:
    """From the first word to the others in small steps, beside the average of the two ends."""
    r = _probed(state, body, body.points)
    s = r.sweep
    assert s is not None
    averages = _averages(s)
    curves = s.curves
    first = curves[0] if curves else None
    return {
        "prompt": r.prompt,
        "start": s.start,
        "end": s.end,
        "alphas": s.alphas.tolist(),
        "tokens": [{"id": c.id, "token": c.text, "midpoint": c.midpoint, "sharpness": c.sharpness} for c in curves],
        "p": [c.p.tolist() for c in curves],
        "average": [[float(d[c.id].p) for d in averages] for c in curves],
        "js": [d.js(a) for d, a in zip(s.distributions, averages, strict=True)],
        "js_start": s.js_start.tolist(),
        "js_end": s.js_end.tolist(),
        "entropy": s.entropy.tolist(),
        "floor": s.noise.js,
        "midpoint": s.midpoint,
        "sharpness": first.sharpness if first is not None else None,
        "emergent": s.emergent,
    }


def _averages(s: Sweep) -> list[Distribution]:
    """At each point, the ends' outputs averaged: what one gets by drawing the word first."""
    ends = [s.distributions[0], s.distributions[-1]]
    return [average(ends, [1 - a, a]) for a in s.alphas.tolist()]


# ---- score and lens


def scores(state: State, body: ScoreRequest) -> dict[str, Any]:
    """ln p of continuations."""
    model = state.model
    prompt, continuations = _score_inputs(state, body)
    longest = len(prompt) + max(len(c) for c in continuations)
    if longest > state.scheduler.n_ctx:
        raise ApiError(
            400,
            f"prompt and continuation have {longest} tokens, and there is room for {state.scheduler.n_ctx}",
            param="continuation",
            code="context_length_exceeded",
        )
    scored = score.score_pairs(model, [(prompt, c) for c in continuations], n_top=body.top)
    results = [
        {
            "logprob": sum(s.logp for s in one) if all(math.isfinite(s.logp) for s in one) else -9999.0,
            "is_greedy": all(s.greedy for s in one),
            "tokens": [
                {
                    "id": s.id,
                    "token": model.spell(s.id),
                    "logprob": s.logp if math.isfinite(s.logp) else -9999.0,
                    "top": [{"id": i, "token": model.spell(i), "logprob": p} for i, p in s.top],
                }
                for s in one
            ],
        }
        for one in scored
    ]
    best = max(range(len(results)), key=lambda i: results[i]["logprob"])
    return {"n_prompt": len(prompt), "scores": results, "best": best}


def _score_inputs(state: State, body: ScoreRequest) -> tuple[Sequence[Any], list[list[int]]]:
    model = state.model
    given = body.prompt if isinstance(body.prompt, str) else list(body.prompt)
    options = GenerationOptions(
        chat=False,
        policy="greedy",
        mix=_mix(state, body),
        signed=body.signed,
        normalize=body.normalize,
        split=body.split,
        seed=0,
    )
    prompt = prepare.prepare(model, given, options).prompt
    texts: Sequence[Any] = (
        [body.continuation]
        if isinstance(body.continuation, str) or (body.continuation and isinstance(body.continuation[0], int))
        else body.continuation
    )
    if not 1 <= len(texts) <= MOST_CONTINUATIONS:
        raise ApiError(400, f"1 to {MOST_CONTINUATIONS} continuations are allowed", param="continuation")
    out = [model.tokenizer.tokenize(t, lead=False) if isinstance(t, str) else list(t) for t in texts]
    if not all(out):
        raise ApiError(400, "a continuation is empty", param="continuation")
    if (high := max(max(ids) for ids in out)) >= model.n_vocab:
        raise ApiError(400, f"token id {high} is outside the vocabulary of {model.n_vocab}", param="continuation")
    return prompt, out


def lens(state: State, body: LensRequest) -> dict[str, Any]:
    """What each layer would say after the prompt: for the mixture, and for each word alone."""
    model = state.model
    inputs = words.read_mixes(_mix(state, body), split=body.split, signed=body.signed, normalize=body.normalize)
    prompt = body.prompt if body.prompt is not None else "The {} says"
    filling = Filling.of(model, prompt, inputs, chat=body.chat, system=body.system)
    combos, _ = combinations(filling.mixtures)
    labels = distinct(["+".join(c.label for c in filling.chosen(combo)) for combo in combos])
    rows = {
        "mixture": items_with(filling.encoded, filling.mixed()),
        **{k: items_with(filling.encoded, filling.alone(c)) for k, c in zip(labels, combos, strict=True)},
    }
    n = len(filling.encoded.items)
    if n > LENS_POSITIONS:
        raise ApiError(400, f"the lens takes at most {LENS_POSITIONS} tokens, not {n}", param="prompt")
    with Lens(model, n) as reader:
        read = {}
        for name, items in rows.items():
            states, _ = reader.states(items)
            read[name] = [Distribution(z, model.spell) for z in reader.read(states[:, 0])]
        layers = [
            {
                "layer": i,
                "rows": [
                    {"name": name, "entropy": d[i].entropy(), "top": tokens(d[i].top(body.top))}
                    for name, d in read.items()
                ],
            }
            for i in range(reader.n_layer)
        ]
    return {"prompt": prompt, "layers": layers}


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/softllama", tags=["softllama"])

    async def answer(request: Request, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of some work, which is not begun for a client that has gone: a slider asks anew as it moves."""
        return await unless_gone(request, state.call(work), lambda: None)

    @routes.get("/policies")
    def get_policies() -> dict[str, Any]:
        """The decoding policies, their parameters, ranges and defaults."""
        return policies.listed(state)

    @routes.post("/probe")
    async def post_probe(body: ProbeRequest, request: Request) -> dict[str, Any]:
        """What the model makes of a prompt that holds mixtures."""
        return await answer(request, lambda: probe(state, body))

    @routes.post("/sweep")
    async def post_sweep(body: SweepRequest, request: Request) -> dict[str, Any]:
        """The curve from one word of a mixture to the others."""
        return await answer(request, lambda: sweep(state, body))

    @routes.post("/score")
    async def post_score(body: ScoreRequest, request: Request) -> dict[str, Any]:
        """How likely continuations are."""
        return await answer(request, lambda: scores(state, body))

    @routes.post("/lens")
    async def post_lens(body: LensRequest, request: Request) -> dict[str, Any]:
        """What each layer of the model would say."""
        return await answer(request, lambda: lens(state, body))

    return routes
