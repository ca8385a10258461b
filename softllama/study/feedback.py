"""What does feeding back the whole vector say that a token does not?

Along real generations: the next distribution after the whole vector, after its top token, its second token, a sampled
token, and the exact average over tokens; how much of the weights the states still hold; and how long a rollout that feeds
only vectors stays readable.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softllama.engine import branches, manifest
from softllama.engine.lens import Lens
from softllama.errors import UsageError
from softllama.report.data import Cell, Figure, Series, Table
from softllama.report.report import Report
from softllama.report.sentences import share, value
from softllama.show.progress import Tick
from softllama.study import inputs, rollout
from softllama.vectors import measures, statistics
from softllama.vectors.average import average
from softllama.vectors.distribution import Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.statistics import Estimate

if TYPE_CHECKING:
    from softllama.api import Model

MASS, MOST = 0.999, 64  # of the tokens that the exact average runs over
GUESSES = ("knowing the tokens' order and the usual weights", "only the top token", "knowing nothing")
PARTS = 6  # tokens whose weights are looked for in the states
UNDECIDED = 0.9  # a step is undecided where the top token has less than this
OTHERS = ("top token", "second token", "sampled token", "average over tokens")
METHOD = (
    "Generations are sampled at temperature 1. At each step the model's whole output vector p is fed at the next position, and "
    "beside it single tokens; what follows is compared by Jensen-Shannon divergence (JS, 0 to 0.6931 nats).",
    f"Average over tokens: Σ p(i) · (what follows token i), by branching over the heaviest tokens, up to {MOST} or a mass of "
    f"{MASS}; the mass covered is in the table. It is what one gets by sampling a token and forgetting which.",
    f"Undecided steps: the top token has less than {UNDECIDED}. At the others the vector is nearly a token, and all inputs agree.",
    f"Recovery: of the {PARTS} heaviest tokens, mixed by p, the weights on the simplex whose average of the tokens' own states "
    "comes nearest to the mixture's state, in each layer; the error is the total variation to the true weights. Beside it what "
    "can be guessed without the state: the usual weights of other prompts' steps, given the tokens' order; all on the top "
    "token; all the same. The reading is linear: what it does not find may still be there in another form.",
    *rollout.METHOD,
    "Intervals: 95 %, bootstrap over prompts (the steps of a prompt together), 2,000 draws; of shares, Wilson, as if steps were "
    "independent.",
)


@dataclass(frozen=True, eq=False)
class Step:
    """One position. p: what the model said. after: the next distribution after the whole vector; others: after the rest,
    by OTHERS. covered: the mass that the average holds. weights: (k,) of the heaviest tokens; fits: (layers, k) or None.
    """

    p: Distribution
    after: Distribution
    others: tuple[Distribution, ...]
    covered: float
    weights: NDArray[np.float64]
    fits: NDArray[np.float64] | None
    prompt: str = ""

    @property
    def undecided(self) -> bool:
        return float(self.p.probs.max()) < UNDECIDED


def after_each(
    model: Model,
    prefix: Sequence[int],
    p: Distribution,
    tails: Sequence[Sequence[int | Mixture]],
    *,
    most: int = MOST,
    mass: float = MASS,
) -> tuple[list[Distribution], Distribution, list[int], NDArray[np.float64]]:
    """What follows each tail; and Σ p(i) q(i) over the heaviest tokens i, renormalised, where q(i) is what follows the prefix
    and i; those tokens, and their p."""
    heavy, weights = _heaviest(p, most, mass)
    every = [*tails, *([i] for i in heavy)]
    after = [b.next for b in branches.run(model, prefix, every, n_ctx=model.n_ctx_given)]
    return after[: len(tails)], average(after[len(tails) :], weights), heavy, weights


def _heaviest(p: Distribution, most: int, mass: float) -> tuple[list[int], NDArray[np.float64]]:
    order = np.argsort(-p.probs, kind="stable")[:most]
    weights = p.probs[order].astype(np.float64)
    n = min(len(order), int(np.searchsorted(np.cumsum(weights), mass)) + 1)
    keep = weights[:n] > 0
    return [int(i) for i in order[:n][keep]], weights[:n][keep]


def walk(model: Model, prompt: str, steps: int, rng: np.random.Generator, reader: Lens | None = None) -> list[Step]:
    """Generate after a prompt by sampling, and measure at each position. reader: for the states of the layers."""
    ids = model.tokenize(prompt, bos=True)
    with model.session(len(ids) + 1) as s:
        p = s.feed(ids)
    out = []
    for _ in range(steps):
        top = [t.id for t in p.top(2)]
        drawn = p.sample(rng)
        tails: list[list[int | Mixture]] = [[p.to_mixture()], [top[0]], [top[1]], [drawn]]
        after, mean, heavy, weights = after_each(model, ids, p, tails)
        parts, part_weights = heavy[:PARTS], weights[:PARTS] / weights[:PARTS].sum()
        fits = None
        if reader is not None and len(parts) > 1 and float(p.probs.max()) < UNDECIDED:
            fits = recover(reader, ids, parts, part_weights)
        out.append(Step(p, after[0], (*after[1:], mean), float(weights.sum()), part_weights, fits, prompt))
        if model.is_eog(drawn):
            break
        ids = [*ids, drawn]
        p = after[3]
    return out


def recover(
    reader: Lens, prefix: Sequence[int], parts: Sequence[int], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weights that each layer's state at the last place gives back, (layers, k)."""
    mix, _ = reader.states([*prefix, Mixture(list(parts), weights)])
    alone = np.stack([reader.states([*prefix, i])[0][:, 0] for i in parts], axis=1)  # (layers, k, n_embd)
    return np.stack([measures.simplex_fit(mix[layer, 0], alone[layer]) for layer in range(len(mix))])


def run(
    model: Model,
    prompts: Sequence[str] | None = None,
    *,
    seed: int = 0,
    steps: int = 16,
    tokens: int = 48,
    with_layers: bool = True,
    tick: Tick | None = None,
) -> Report:
    """The study. prompts: the built-in ones if None. steps: of each generation; tokens: of each rollout."""
    began = time.perf_counter()
    if not 1 <= steps <= 1000 or not 8 <= tokens <= 10_000:
        raise UsageError("a feedback study takes 1 to 1000 steps, and rollouts of 8 to 10,000 tokens")
    texts = inputs.beginnings(model) if prompts is None else tuple(prompts)
    found: list[Step] = []
    longest = max(len(model.tokenize(t, bos=True)) for t in texts) + steps + 1
    reader = Lens(model, longest) if with_layers else None
    try:
        for i, text in enumerate(texts):
            found += walk(model, text, steps, np.random.default_rng([seed, 2, i]), reader)
            if tick is not None:
                tick("feedback", i + 1, len(texts))
    finally:
        if reader is not None:
            reader.close()
    rolled = rollout.study(model, texts, tokens, seed, tick)
    unsure = [s for s in found if s.undecided]
    tables = [_next_table(found, unsure, seed), _entropies(unsure or found, seed)]
    figures = [_next_figure(unsure or found, seed)]
    answer = _answer(unsure or found, len(found), seed)
    fits = [s for s in found if s.fits is not None]
    if fits:
        tables.append(_recovery(fits, seed))
        figures.append(_recovery_figure(fits, seed))
        answer.append(_recovery_sentence(fits, seed))
    answer.append(rollout.sentence(rolled, seed))
    tables.append(rollout.table(rolled, seed))
    figures += rollout.figures(rolled, tokens)
    arguments = {"prompts": list(texts), "steps": steps, "tokens": tokens, "layers": with_layers}
    return Report(
        "feedback", f"Feeding the whole vector back: {model.name}",
        "What does the whole probability vector, fed back in place of a sampled token, tell the model?",
        tuple(answer), tuple(tables), tuple(figures), METHOD,
        ("the top, second and sampled token, fed as any decoder feeds them", "the exact average over tokens", *rollout.CONTROLS),
        manifest=manifest.build(model, arguments, seed=seed), seconds=time.perf_counter() - began,
    )  # fmt: skip


def _mean(steps: Sequence[Step], values: Sequence[float], seed: int) -> Estimate:
    """A mean over steps; those of one prompt hang together."""
    return statistics.mean(values, seed, groups=[s.prompt for s in steps])


def _js(steps: Sequence[Step], other: int, seed: int) -> Estimate:
    return _mean(steps, [s.after.js(s.others[other]) for s in steps], seed)


def _next_table(found: Sequence[Step], unsure: Sequence[Step], seed: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, steps in (("undecided steps", unsure), ("all steps", found)):
        covered = float(np.mean([s.covered for s in steps])) if steps else None
        rows.append((name, len(steps), *(_js(steps, k, seed) for k in range(len(OTHERS))), covered))
    head = ("", "n", *(f"JS to {o}" for o in OTHERS), "mass covered")
    return Table("next", "What follows the whole vector, against what follows ...", head, tuple(rows), "Means, nats.")


def _entropies(steps: Sequence[Step], seed: int) -> Table:
    rows: list[tuple[Cell, ...]] = [("whole vector", _mean(steps, [s.after.entropy() for s in steps], seed))]
    rows += [(o, _mean(steps, [s.others[k].entropy() for s in steps], seed)) for k, o in enumerate(OTHERS)]
    return Table(
        "entropy", "Entropy of what follows, at undecided steps", ("after", "entropy, nats"), tuple(rows),
        "A model that kept all possibilities open would come near the average's.",
    )  # fmt: skip


def _next_figure(steps: Sequence[Step], seed: int) -> Figure:
    es = [_js(steps, k, seed) for k in range(len(OTHERS))]
    bars = Series("JS", OTHERS, tuple(e.value for e in es), tuple(e.low for e in es), tuple(e.high for e in es))
    return Figure(
        "next", "How far what follows the whole vector is from what follows a token", "bars", "", "JS, nats", (bars,),
        note="Undecided steps. 0 would mean that the vector says just what the token says; ln 2 = 0.693 is the most.",
    )  # fmt: skip


def _answer(steps: Sequence[Step], n_all: int, seed: int) -> list[str]:
    gap = _mean(steps, [s.after.js(s.others[3]) - s.after.js(s.others[0]) for s in steps], seed)
    nearest = [int(np.argmin([s.after.js(s.others[k]) for k in (0, 1, 3)])) for s in steps]
    top = statistics.wilson(nearest.count(0), len(nearest))
    if not gap.clear:
        text = "no difference seen between its distance to what follows the top token and to the average over tokens"
    elif gap.value > 0:
        text = "it is nearer to what follows the top token than to the average over tokens"
    else:
        text = "it is nearer to the average over tokens than to what follows the top token"
    second = _mean(steps, [s.after.js(s.others[1]) - s.after.js(s.others[0]) for s in steps], seed)
    drawn = _js(steps, 2, seed)
    return [
        f"After the whole vector, {text} (JS to the average minus JS to the top token: {value(gap)} nats; nearest to the top "
        f"token in {share(top)} of {len(steps)} undecided steps, of {n_all}).",
        f"JS of what follows the vector to what follows the top token is {value(_js(steps, 0, seed))}, to what follows a "
        f"sampled token {value(drawn)}; the second token is farther than the top one by {value(second)}.",
    ]


def _errors(fits: Sequence[Step], layer: int) -> list[float]:
    return [measures.total_variation(s.fits[layer], s.weights) for s in fits if s.fits is not None]


def _guesses(fits: Sequence[Step]) -> dict[str, list[float]]:
    """Errors of what can be said without the state: GUESSES[0] is the strictest."""
    usual = []
    for s in fits:  # of the other prompts' steps with as many tokens; weights are in falling order
        others = [t.weights for t in fits if t.prompt != s.prompt and len(t.weights) == len(s.weights)]
        guess = np.mean(others, axis=0) if others else np.full(len(s.weights), 1 / len(s.weights))
        usual.append(measures.total_variation(s.weights, guess))
    none = [measures.total_variation(s.weights, np.full(len(s.weights), 1 / len(s.weights))) for s in fits]
    return dict(zip(GUESSES, (usual, [1 - float(s.weights.max()) for s in fits], none), strict=True))


def _recovery(fits: Sequence[Step], seed: int) -> Table:
    assert fits[0].fits is not None
    rows: list[tuple[Cell, ...]] = [
        (f"layer {layer}", _mean(fits, _errors(fits, layer), seed)) for layer in range(len(fits[0].fits))
    ]
    rows += [(name, _mean(fits, errors, seed)) for name, errors in _guesses(fits).items()]
    return Table(
        "recovery", "How much of the weights the states still hold", ("read from", "error (total variation)"), tuple(rows),
        f"{len(fits)} undecided steps. 0: all of it.",
    )  # fmt: skip


def _recovery_figure(fits: Sequence[Step], seed: int) -> Figure:
    assert fits[0].fits is not None
    n = len(fits[0].fits)
    es = [_mean(fits, _errors(fits, layer), seed) for layer in range(n)]
    guesses = {name: float(np.mean(errors)) for name, errors in _guesses(fits).items()}
    x = tuple(range(n))
    read = Series(
        "read from the state", x, tuple(e.value for e in es), tuple(e.low for e in es), tuple(e.high for e in es)
    )
    return Figure(
        "recovery", "Error of the weights that are read from each layer's state", "lines", "layer", "total variation",
        (read, *(Series(name, x, (error,) * n) for name, error in guesses.items())),
        (0.0, max(0.6, *guesses.values(), *(e.high for e in es if np.isfinite(e.high)))),
        note="A state that had become its top token would give the error of the top token.",
    )  # fmt: skip


def _recovery_sentence(fits: Sequence[Step], seed: int) -> str:
    assert fits[0].fits is not None
    last = len(fits[0].fits) - 1
    usual = _guesses(fits)[GUESSES[0]]
    gains = [
        _mean(fits, (np.array(usual) - np.array(_errors(fits, layer))).tolist(), seed) for layer in range(last + 1)
    ]

    def verdict(gain: Estimate) -> str:
        if not gain.clear:
            return f"no difference seen (gain {value(gain)})"
        return f"{'better' if gain.value > 0 else 'worse'} (gain {value(gain)})"

    return (
        f"From the first layer's state the weights are recovered with an error of {value(_mean(fits, _errors(fits, 0), seed))}, "
        f"from the last one's {value(_mean(fits, _errors(fits, last), seed))}; {GUESSES[0]} gives "
        f"{value(_mean(fits, usual, seed))}. The first layer's is {verdict(gains[0])}, the last one's {verdict(gains[last])}."
    )
