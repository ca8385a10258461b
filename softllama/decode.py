"""The loop: step -> stream -> collect. One generator makes steps; everything else consumes them.

`Generation` is one sequence's state machine: a distribution comes in, what to feed next and a Step come out. It knows no
context, so that many of them can share one batch. `run` drives any number of them through one context. Thinking blocks
open, close and run out here; which vector a step feeds is the policy's business.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Collection, Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from softllama import blame, checks
from softllama.distribution import FEW, Distribution
from softllama.errors import ContextError, NotFiniteError, UsageError
from softllama.llama.context import Context
from softllama.mixture import Mixture
from softllama.policy import Decision, Moment, Policy, as_policy
from softllama.text import TextStream
from softllama.thinking import Tags, encoded

if TYPE_CHECKING:
    from softllama.model import Model

Vector: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float32]]"
TOP = FEW  # of each step's distribution, for the record and for replaying
SOFT, HARD, FORCED = "soft", "hard", "forced"
EOG, CLOSED, BUDGET, STOP_STRING = "end of generation", "closing tag", "thinking budget", "stop string"


@dataclass(frozen=True, eq=False)
class Step:
    """One generated position.

    index: from 0. position: its place in the sequence. mode: "soft", "hard", or "forced" (a tag that the loop or the
    policy put there). thinking: does it belong to the thinking block, tags included? token: the readout; text: what
    became readable with it ("" while a character or a stop string is incomplete). mixture: what was fed (with `noise`
    or `hidden`, what was fed is that much different). entropy: of the distribution before any filter, at temperature 1,
    in nats. top: its likeliest (id, p). why: the policy's reason. left_out: mass that an epsilon left out. seconds:
    since the generation began. logp: ln p of the readout, at temperature 1 and before any filter; of a forced one too.
    """

    index: int
    position: int
    mode: str
    thinking: bool
    token: int
    text: str
    mixture: Mixture
    entropy: float
    top: tuple[tuple[int, float], ...]
    why: str = ""
    left_out: float = 0.0
    noise: float = 0.0
    hidden: bool = False
    seconds: float = 0.0
    logp: float = 0.0

    @classmethod
    def of(cls, **fields: object) -> Step:
        """A step of all its fields: a frozen dataclass sets them one by one, which is a tenth of a small model's step."""
        step = cls.__new__(cls)
        step.__dict__.update(fields)
        return step

    @property
    def forced(self) -> bool:
        """Was the token put there, rather than chosen from the distribution?"""
        return self.mode == FORCED


@dataclass(frozen=True)
class Limits:
    """When a generation ends. stop: texts of the answer at which it ends. think_budget: None for no limit."""

    max_tokens: int = 256
    think_budget: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.whole("max_tokens", self.max_tokens)
        checks.whole_or_none("think_budget", self.think_budget)
        if self.max_tokens < 0:
            raise UsageError(f"max_tokens must be 0 or more, not {self.max_tokens}")
        if self.think_budget is not None and self.think_budget < 0:
            raise UsageError(f"the thinking budget must be 0 or more, not {self.think_budget}")
        if any(not isinstance(s, str) or not s for s in self.stop):
            raise UsageError("a stop string must be some text")


@dataclass
class Generation:
    """One sequence that is being generated. `advance` takes the distribution after everything fed so far.

    thinking: does the prompt end inside a thinking block? everywhere: a raw prompt, whose whole output the policy acts on.
    eog: does an end-of-generation token end it (not so for a replay, which ends where the record does)?
    keep: are all steps kept, for a record? A mixture may hold the whole vocabulary. Without, `steps` has the last one only.
    stop_reason is "" while it runs.
    """

    model: Model
    policy: Policy
    prompt: tuple[int | Mixture, ...]
    limits: Limits
    seed: int
    tags: Tags | None = None
    thinking: bool = False
    everywhere: bool = True
    label: object = None
    eog: bool = True
    keep: bool = True
    steps: list[Step] = field(default_factory=list)
    stop_reason: str = ""
    evaluated: int = 0  # positions that the model evaluated for it
    prompt_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.policy = as_policy(self.policy)
        if not self.prompt:
            raise UsageError("an empty prompt gives the model nothing to go on", "write a prompt")
        tags, m = self.tags, self.model
        close = tags.close_ids if tags else ()
        newline = encoded(m, "\n")
        self.moment = Moment(
            np.random.default_rng(self.seed),
            thinking=self.thinking or self.everywhere,
            max_steps=self.limits.max_tokens,
            think_open=tags.open_ids[-1] if tags and len(tags.open_ids) == 1 else None,
            think_close=close[-1] if close else None,
            newline=newline[-1] if newline else None,
            close_tag=close if len(close) > 1 else (),
            answer_prefix=encoded(m, "The final answer is") if tags else (),
            hard_only=frozenset(),
        )
        self.n_steps = self.n_thinking = 0
        self.began_thinking = self.thinking
        self.started = time.perf_counter()
        self._forced: deque[int] = deque()
        self._closing = False
        self._block = TextStream([tags.close] if tags else [])
        self._answer = TextStream(self.limits.stop)
        if self.limits.max_tokens == 0:
            self.stop_reason = "max tokens"

    @property
    def done(self) -> bool:
        return bool(self.stop_reason)

    @property
    def position(self) -> int:
        """Positions fed so far, the prompt included."""
        return len(self.prompt) + self.n_steps

    def advance(self, d: Distribution) -> Step | None:
        """Decide one position. None, with `stop_reason` set, where the sequence ends without another."""
        if not self._forced and self.bound:
            self._close()
            why = BUDGET
        else:
            why = ""
        if self._forced:
            token = self._forced.popleft()
            return self._record(d, Decision(Mixture.one_hot(token), token, FORCED, why or CLOSED))
        decision = self.policy(d, self.moment)
        if self.eog and self.model.is_eog(decision.token):
            if not (self.thinking and self.tags):
                self.stop_reason = EOG
                return None
            self._close()
            token = self._forced.popleft()
            return self._record(d, Decision(Mixture.one_hot(token), token, FORCED, f"{EOG} while thinking"))
        if decision.end_thinking:
            if self.thinking and self.tags:
                self._close()
                token = self._forced.popleft()
                return self._record(d, Decision(Mixture.one_hot(token), token, FORCED, decision.why))
            self.stop_reason = decision.why or "end of thinking"
            return None
        self._forced.extend(decision.forced)
        return self._record(d, decision)

    def finish(self, reason: str) -> None:
        """End from outside: an interrupt, or a full context."""
        self.stop_reason = self.stop_reason or reason

    @property
    def bound(self) -> bool:
        """Is the next position the loop's choice, whatever the distribution says: a tag, or the end of the budget?"""
        return bool(self._forced) or (self.thinking and self._over_budget())

    def fork(self) -> Generation:
        """A second generation that goes on from here, with everything that changes copied."""
        g = copy.copy(self)
        g.steps = list(self.steps)
        g.moment = replace(self.moment, readouts=list(self.moment.readouts), state=dict(self.moment.state))
        g._forced = deque(self._forced)
        g._block, g._answer = self._block.fork(), self._answer.fork()
        return g

    def flush(self) -> str:
        """Text that was held back for a stop string or an incomplete character."""
        return (self._block if self.thinking else self._answer).flush()

    def embedding_noise(self, step: Step) -> Vector:
        """The noise of a step, in units of sigma: (n_embd,) float32. From the seed and the index, so replays find it."""
        rng = np.random.default_rng((self.seed, 0x50F7, step.index))
        noise: Vector = rng.standard_normal(self.model.n_embd).astype(np.float32)
        return noise

    def _over_budget(self) -> bool:
        budget = self.limits.think_budget
        return self.tags is not None and budget is not None and self.n_thinking >= budget

    def _close(self) -> None:
        assert self.tags is not None
        self._forced.clear()
        self._forced.extend(self.tags.close_ids)
        self._closing = True

    def _record(self, d: Distribution, decision: Decision) -> Step:
        inside = self.thinking
        token, mode = decision.token, decision.mode
        piece = self.model.tokenizer.piece(token)
        stream = self._block if inside else self._answer
        text = stream.push(piece)
        step = Step.of(
            index=self.n_steps, position=self.position, mode=mode, thinking=inside, token=token, text=text,
            mixture=decision.mixture, entropy=d.entropy(), top=d.top_probs(TOP), why=decision.why,
            left_out=decision.left_out, noise=decision.noise, hidden=decision.hidden,
            seconds=time.perf_counter() - self.started, logp=d.logp(token),
        )  # fmt: skip
        if not self.keep:
            self.steps.clear()
        self.steps.append(step)
        self.n_steps += 1
        self.moment.advance(token)
        if inside:
            # a readout that completes the closing tag ends the block, however it was split into tokens
            if (self._block.stopped or self._closing) and not self._forced:
                self.thinking = self._closing = False
                self.moment.thinking = self.everywhere
            elif mode != FORCED:
                self.n_thinking += 1
        elif self._opens(token):
            self.thinking = self.began_thinking = True
            self.moment.thinking = True
        elif self._answer.stopped:
            self.stop_reason = f"{STOP_STRING} {self._answer.stopped!r}"
        if decision.stop:
            self.stop_reason = decision.stop
        elif not self.done and self.n_steps >= self.limits.max_tokens:
            self.stop_reason = "max tokens"
        return step

    def _opens(self, token: int) -> bool:
        """Did the model itself open a thinking block, before it said anything else?"""
        if self.tags is None or self.began_thinking or self.everywhere or not self.tags.open_ids:
            return False
        n = len(self.tags.open_ids)
        if token != self.tags.open_ids[-1]:
            return False
        said = self.moment.readouts
        before = self.model.detokenize(said[:-n])
        return tuple(said[-n:]) == self.tags.open_ids and not before.strip()


# ---- driving contexts --------------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """What work took. tokens: positions generated, those of dropped beams too. evaluated: positions that the model
    evaluated, prompts included. calls: of llama.cpp's decode, each for one batch. seconds: from start to end.
    """

    tokens: int = 0
    evaluated: int = 0
    calls: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, int | float]:
        """Ready for JSON."""
        return asdict(self)


def run(
    model: Model,
    generations: Sequence[Generation],
    *,
    at_once: int = 1,
    n_ctx: int | None = None,
    cost: Cost | None = None,
) -> Generator[tuple[Generation, Step], None, None]:
    """Drive generations through one context, `at_once` side by side; a finished one makes room for the next.

    Yields each step as it is decided, in the order of the batch. n_ctx: positions each sequence may use; where it runs
    out, the generation ends with the reason "context full" and keeps its text. With at_once = 1 a generation depends on
    nothing but itself; side by side, logits may differ in their last bits, as those of any batch do.

    Generations in a row that have the same prompt share it: it is evaluated for the first, whose `evaluated` counts it,
    and its memory is copied to the others. cost: what all of it took is added here at the end.
    """
    began = time.perf_counter()
    waiting = deque(g for g in generations if not g.done)
    if not waiting:
        return
    at_once = max(1, min(at_once, len(waiting)))
    cells = positions(model, waiting, n_ctx)
    hidden = any(g.policy.name == "hidden" for g in waiting)
    alike = [len(a.prompt) if a.prompt == b.prompt else 0 for a, b in pairwise(waiting)]
    longest = max(alike, default=0)  # of the prompts that are copied; cells that all sequences share are needed once
    room = at_once * (cells - (longest if all(alike) else 0)) + longest
    context = model.context(room, at_once + (longest > 0), embeddings=hidden)
    prompts = _Prompts(model, context, at_once, hidden)
    active: dict[int, Generation] = {}
    pending: dict[int, Distribution] = {}
    fed: dict[int, Step] = {}
    vectors: dict[int, Vector | None] = {}
    try:
        while waiting or active:
            while waiting and len(active) < at_once:
                seq = next(i for i in range(at_once) if i not in active)
                g = waiting.popleft()
                g.started = time.perf_counter()
                pending[seq], vectors[seq] = prompts.enter(g, seq, bool(waiting) and waiting[0].prompt == g.prompt)
                g.prompt_seconds = time.perf_counter() - g.started
                active[seq] = g
            fed.clear()
            for seq, g in list(active.items()):
                step = g.advance(pending.pop(seq))
                if step is not None:
                    fed[seq] = step
                    if not g.done and g.position >= cells:
                        g.finish("context full")
                    yield g, step
                if g.done:
                    context.cut(seq, 0)
                    del active[seq]
                    fed.pop(seq, None)
            if fed:
                seqs = list(fed)
                fill(model, context, [(active[s], fed[s], vectors.get(s)) for s in seqs])
                logits = context.decode(seqs, [fed[s].position for s in seqs], [True] * len(seqs))
                try:
                    nexts = model.after_each(logits)
                except NotFiniteError as e:
                    raise no_numbers(model, active[seqs[e.index or 0]], e) from None
                for i, (s, after) in enumerate(zip(seqs, nexts, strict=True)):
                    active[s].evaluated += 1
                    pending[s] = after
                    if hidden:
                        vectors[s] = context.hidden(i)
    finally:
        for g in active.values():
            g.finish("interrupted")
        if cost is not None:
            cost.tokens += sum(g.n_steps for g in generations)
            cost.evaluated += context.evaluated
            cost.calls += context.calls
            cost.seconds += time.perf_counter() - began
        context.close()


def positions(model: Model, generations: Collection[Generation], n_ctx: int | None) -> int:
    """How many positions each of them may use. Raises ContextError where a prompt is longer than that."""
    longest = max(len(g.prompt) for g in generations)
    need = max(len(g.prompt) + g.limits.max_tokens for g in generations)
    cells = min(need, n_ctx or model.n_ctx_limit, max(model.n_ctx, longest + 1) if n_ctx is None else n_ctx)
    if longest > cells:
        raise ContextError(
            f"the prompt has {longest:,} tokens, and the context has room for {cells:,}",
            "shorten it, or give the context more room with --n-ctx (n_ctx=...)",
        )
    return cells


class _Prompts:
    """Puts prompts into sequences. One that the next generation has too stays in the sequence `home`, to be copied."""

    def __init__(self, model: Model, context: Context, home: int, hidden: bool) -> None:
        self._model, self._context, self._home, self._hidden = model, context, home, hidden
        self._kept: tuple[int | Mixture, ...] = ()
        self._after: tuple[Distribution, Vector | None] | None = None

    def enter(self, g: Generation, seq: int, again: bool) -> tuple[Distribution, Vector | None]:
        """The distribution, and the hidden state if asked for, after g's prompt in `seq`. again: does the next have it?"""
        if self._after is None or self._kept != g.prompt:
            if self._after is not None:
                self._context.cut(self._home, 0)
            logits = prompt_logits(self._model, self._context, self._home if again else seq, g.prompt)
            try:
                d = self._model.distribution(logits)
            except NotFiniteError as e:
                raise no_numbers(self._model, g, e) from None
            after = d, self._context.hidden(-1) if self._hidden else None
            g.evaluated += len(g.prompt)
            self._kept, self._after = g.prompt, after if again else None
            if not again:
                return after
        assert self._after is not None
        self._context.copy(self._home, seq)
        return self._after


def no_numbers(model: Model, g: Generation, e: NotFiniteError) -> NotFiniteError:
    """The error for a generation whose last step led to logits that are no numbers."""
    left = [None] * (g.n_steps - len(g.steps))  # steps that were not kept
    fed = [None if s.noise or s.hidden else s.mixture for s in g.steps]
    what = f"step {g.steps[-1].index} of the generation" if g.steps else "the prompt"
    name = "" if g.label is None else f" of {g.label}" if isinstance(g.label, str) else f" of sample {g.label}"
    where = f"after {what}{name} (seed {g.seed}, position {g.position - 1})"
    return blame.explained(model, e, where, [*g.prompt, *left, *fed])


def prompt_logits(model: Model, context: Context, seq: int, prompt: Sequence[int | Mixture], at: int = 0) -> Vector:
    """Logits (n_vocab,) after the prompt, whose first position is `at`. Ids go as rows beside mixtures, as in a session."""
    n = context.n_batch
    soft = any(isinstance(i, Mixture) for i in prompt)
    for start in range(0, len(prompt), n):
        part = prompt[start : start + n]
        want = np.zeros(len(part), dtype=np.bool_)
        want[-1] = start + n >= len(prompt)
        ids = None if soft else [i for i in part if not isinstance(i, Mixture)]
        if soft:
            model.fill_rows(context, [i if isinstance(i, Mixture) else Mixture.one_hot(i) for i in part])
        logits = context.decode([seq] * len(part), range(at + start, at + start + len(part)), want, ids)
    row: Vector = logits[0]
    return row


def fill(
    model: Model,
    context: Context,
    fed: Sequence[tuple[Generation, Step, Vector | None]],
) -> None:
    """Write what the steps feed into the batch: hard steps as one-hot rows, so that the graph is reused."""
    model.fill_rows(context, [s.mixture for _, s, _ in fed])
    scale = np.float32(model.calibration.multiplier)
    for row, (g, s, h) in enumerate(fed):
        if not (s.hidden or s.noise):
            continue
        target = context.rows[row, : model.n_embd]
        if s.hidden and h is not None:
            if not 0 < np.linalg.norm(h) < np.inf:
                raise no_numbers(
                    model, g, NotFiniteError("the last hidden state is no direction: its norm is 0 or no number")
                )
            target[:] = scale * np.float32(model.table.mean_norm) * h / np.linalg.norm(h)
        if s.noise:
            target += scale * np.float32(s.noise * model.table.rms) * g.embedding_noise(s)
