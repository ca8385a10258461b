"""One sequence that is being generated: a distribution comes in, what to feed next and a Step come out.

Thinking blocks open, close and run out here. Knows no context, so that many generations can share one batch. Which vector a
step feeds is the policy's business.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from softllama.engine.engine import Engine
from softllama.errors import UsageError
from softllama.generation.beginning import first_moment
from softllama.generation.degeneration import Degeneration, Monitor
from softllama.generation.options import GenerationOptions
from softllama.generation.text_stream import TextStream
from softllama.policy import Decision, Policy, as_policy
from softllama.prompts.thinking import Tags, encoded
from softllama.trace.layers import StepLayers
from softllama.trace.step import FORCED, HARD, HEAVY, MODES, Step, StopReason, heavy
from softllama.vectors.distribution import FEW, Distribution
from softllama.vectors.mixture import Mixture
from softllama.vectors.vector import Vector
from softllama.vectors.whole import WholeVector

TOP = FEW  # of each step's distribution, for the record and for replaying
CLOSED, BUDGET, ROOM = "closing tag", "thinking budget", "room for the answer"  # why a step is forced
BLANK = 64  # tokens of white space that may come before a thinking block which the model opens itself
ON_LOOP = "on_loop: single tokens"  # why a step is hard
PILE = 1 << 20  # entries of whole vectors (8 bytes each) that wait to be thinned
# of the tokens that there is room for, a quarter is kept for the answer, and 512 at most
ROOM_SHARE, ROOM_MOST = 4, 512


@dataclass
class Generation:
    """One sequence that is being generated. `advance` takes the distribution after everything fed so far.

    thinking: does the prompt end inside a thinking block? everywhere: a raw prompt, whose whole output the policy acts on.
    eog: does an end-of-generation token end it (not so for a replay, which ends where the record does)?
    keep: are all steps kept, for a record? Without, `steps` has the last one only. `recorded` gives them with as much of
        their mixtures as `options.keep` says.
    stop_reason is "" while it runs. stop_string ended it, or end_token: an id that is no step, and its ln p.
    """

    model: Engine
    policy: Policy
    prompt: tuple[int | Mixture | Vector, ...]
    options: GenerationOptions
    seed: int
    tags: Tags | None = None
    thinking: bool = False
    everywhere: bool = True
    label: object = None
    eog: bool = True
    keep: bool = True
    steps: list[Step] = field(default_factory=list)
    stop_reason: StopReason | str = ""
    stop_string: str = ""
    end_token: tuple[int, float] | None = None
    evaluated: int = 0  # positions that the model evaluated for it
    prompt_seconds: float = 0.0
    layers: list[StepLayers] = field(default_factory=list)  # after each nth step, if that was asked for
    degenerations: list[Degeneration] = field(default_factory=list)  # one at most of the thinking, and of the answer

    def __post_init__(self) -> None:
        self.policy = as_policy(self.policy)
        if not self.prompt:
            raise UsageError("an empty prompt gives the model nothing to go on", "write a prompt")
        tags = self.tags
        self.moment = first_moment(
            self.model,
            tags,
            self.seed,
            thinking=self.thinking or self.everywhere,
            max_steps=self.options.max_tokens,
        )
        self.n_steps = self.n_thinking = 0
        self.began_thinking = self.thinking
        self.started = time.perf_counter()
        self._most = self.options.max_tokens
        self.capacity: int | None = None  # positions that its sequence may use; the loop that takes it in knows
        self._forced: deque[int] = deque()
        self._closing = 0  # how many of the forced ids close the thinking block
        self._block = TextStream([tags.family.end or tags.close] if tags else [])
        around = tags.family.answer if tags else ()
        self._answer_ends = {close for _, close in around}
        self._answer = TextStream(self.options.stop, around)
        self._monitor: Monitor | None = Monitor()
        self._hard = False  # only single tokens are fed from now on
        self._thinned = self._entries = (
            0  # steps that hold their heaviest entries only; entries of mixtures in the others
        )
        if self.options.max_tokens == 0:
            self.stop_reason = StopReason.MAX_TOKENS

    @property
    def done(self) -> bool:
        return bool(self.stop_reason)

    @property
    def _lean(self) -> bool:
        return self.keep and self.options.keep == "heavy"

    def recorded(self) -> tuple[Step, ...]:
        """All steps as a record holds them, at the end."""
        if self._lean:
            self._thin()
        return tuple(self.steps)

    @property
    def position(self) -> int:
        """Positions fed so far, the prompt included."""
        return len(self.prompt) + self.n_steps

    def advance(self, d: Distribution) -> Step | None:
        """Decide one position. None, with `stop_reason` set, where the sequence ends without another."""
        if not self._forced and self.bound:
            why = BUDGET if self._over_budget() else ROOM
            self._close()
        else:
            why = ""
        if self._forced:
            return self._forced_step(d, why or CLOSED)
        decision = self.policy(d, self.moment)
        if self.eog and self.model.is_eog(decision.token):
            if not (self.thinking and self.tags):
                self.stop_reason = StopReason.END_OF_GENERATION
                self.end_token = (decision.token, d.logp(decision.token))
                return None
            self._close()
            return self._forced_step(d, f"{StopReason.END_OF_GENERATION} while thinking")
        if decision.end_thinking:
            if self.thinking and self.tags:
                self._close()
                return self._forced_step(d, decision.why)
            self.stop_reason = decision.why or StopReason.END_OF_THINKING
            return None
        self._forced.extend(decision.forced)
        if self._hard and decision.mode != HARD:
            t, forced, stop = decision.token, decision.forced, decision.stop
            decision = Decision(Mixture.one_hot(t), t, HARD, ON_LOOP, forced=forced, stop=stop)
        return self._record(d, decision)

    def finish(self, reason: StopReason) -> None:
        """End from outside: an interrupt, or a full context."""
        self.stop_reason = self.stop_reason or reason

    @property
    def bound(self) -> bool:
        """Is the next position the loop's choice, whatever the distribution says: a tag, or the end of the budget?"""
        return bool(self._forced) or (self.thinking and (self._over_budget() or self._needs_room()))

    def fork(self) -> Generation:
        """A second generation that goes on from here, with everything that changes copied."""
        g = copy.copy(self)
        g.steps = list(self.steps)
        g.moment = replace(self.moment, readouts=list(self.moment.readouts), state=dict(self.moment.state))
        g._forced = deque(self._forced)
        g._block, g._answer = self._block.fork(), self._answer.fork()
        g._monitor = self._monitor and self._monitor.fork()
        g.degenerations = list(self.degenerations)
        return g

    def flush(self) -> str:
        """Text that was held back for a stop string or an incomplete character."""
        return (self._block if self.thinking else self._answer).flush()

    def _over_budget(self) -> bool:
        budget = 0 if self.options.think == "off" else self.options.think_budget
        return self.tags is not None and budget is not None and self.n_thinking >= budget

    def _needs_room(self) -> bool:
        """Must the thinking end now, so that a quarter of the room is left for the answer? Not where that is no token."""
        capacity = None if self.capacity is None else self.capacity - len(self.prompt)
        room = min((n for n in (self._most, capacity) if n is not None), default=0)
        if self.tags is None or room < ROOM_SHARE:
            return False
        last = room - min(room // ROOM_SHARE, ROOM_MOST) - len(self.tags.close_ids)
        return 0 < last <= self.n_steps

    def _close(self) -> None:
        """Close the block where it is. In plain text, the answer begins on a line of its own, and outside a code block."""
        assert self.tags is not None
        self._forced.clear()
        if not self.tags.open and self.n_steps:
            text = self.model.detokenize(self.moment.readouts)
            fence = "```\n\n" * (text.count("```") % 2)
            before = ("\n" if fence else "\n\n") * (not text.endswith("\n")) + fence
            self._forced.extend(encoded(self.model.tokenizer, before))
        self._forced.extend(self.tags.close_ids)
        self._closing = len(self._forced)
        self.moment.closed = True

    def _forced_step(self, d: Distribution, why: str) -> Step:
        token = self._forced.popleft()
        return self._record(d, Decision(Mixture.one_hot(token), token, FORCED, why))

    def _whole(self, d: Distribution, decision: Decision) -> WholeVector | None:
        """How the mixture is computed from d, if it is: a policy may have changed the one or the other."""
        whole = decision.whole
        return whole if whole is not None and self._lean and whole.gives(decision.mixture, d) else None

    def _record(self, d: Distribution, decision: Decision) -> Step:
        inside = self.thinking
        token, mode = decision.token, MODES[decision.mode]
        piece = self.model.tokenizer.piece(token)
        stream = self._block if inside else self._answer
        text = stream.push(piece)
        step = Step.of(
            index=self.n_steps, position=self.position, mode=mode, thinking=inside, token=token, text=text,
            mixture=decision.mixture, entropy=d.entropy(), top=d._top_probs(TOP), why=decision.why,
            left_out=decision.left_out, noise=decision.noise, hidden=decision.hidden, align=decision.align,
            seconds=time.perf_counter() - self.started, logp=d.logp(token), whole=self._whole(d, decision), rest=None,
        )  # fmt: skip
        if not self.keep:
            self.steps.clear()
        elif step.whole is not None and len(decision.mixture) > HEAVY:
            self._entries += len(decision.mixture)
            if self._entries > PILE:
                self._thin()
        self.steps.append(step)
        self._passed(token, forced=mode == FORCED)
        if mode != FORCED and self._monitor is not None and (found := self._monitor.push(token, step.logp, piece)):
            self._degenerated(found)
        if decision.stop:
            self.stop_reason, self.stop_string = StopReason.of(decision.stop), ""
        elif not self.done and self._most is not None and self.n_steps >= self._most:
            self.stop_reason = StopReason.MAX_TOKENS
        return step

    def resume(self, readouts: Sequence[int]) -> None:
        """Take these readouts as decided and fed after the prompt, without steps, texts and random numbers of their own."""
        for token in readouts:
            if forced := bool(self._forced):  # the rest of a tag
                self._forced.popleft()
            (self._block if self.thinking else self._answer).push(self.model.tokenizer.piece(token))
            self._passed(token, forced=forced)

    def _passed(self, token: int, *, forced: bool) -> None:
        """One more position, whose text is in its stream: blocks open and close, the answer may end."""
        inside = self.thinking
        self.n_steps += 1
        self.moment.advance(token)
        if inside:
            closing = self._closing > 0
            # a readout that completes the closing tag ends the block, however it was split into tokens
            if self._block.stopped and not self._closing and self.tags is not None and self.tags.bridge_ids:
                self._forced.extendleft(reversed(self.tags.bridge_ids))
                self._closing = len(self.tags.bridge_ids)
            elif self._closing:
                self._closing -= 1
            if self._block.stopped and not forced:
                self.moment.closed = True
            if not self._closing and (self._block.stopped or closing):
                self.thinking = False
                self.moment.thinking = self.everywhere
                self._monitor = Monitor()
            elif not forced:
                self.n_thinking += 1
        elif self._opens(token):
            self.thinking = self.began_thinking = True
            self.moment.thinking = True
        elif self._answer.stopped in self._answer_ends:
            self.stop_reason = StopReason.END_OF_GENERATION
        elif self._answer.stopped:
            self.stop_reason, self.stop_string = StopReason.STOP_STRING, self._answer.stopped

    def _degenerated(self, found: Degeneration) -> None:
        """Keep what was found, and do what `on_loop` says. found: counts steps since the monitor began."""
        self.degenerations.append(found)
        self._monitor = None
        if self.options.on_loop == "hard":
            self._hard = True
        elif self.options.on_loop == "stop" and not self.done:
            if self.thinking and self.tags:
                self._close()
            else:
                self.stop_reason = StopReason(found.sign)

    def _thin(self) -> None:
        """Keep the heaviest entries of what was fed. Many steps at a time: one between two batches takes three times as long."""
        self.steps[self._thinned :] = map(heavy, self.steps[self._thinned :])
        self._thinned, self._entries = len(self.steps), 0

    def _opens(self, token: int) -> bool:
        """Did the model itself open a thinking block, before anything else?"""
        if self.tags is None or self.began_thinking or self.everywhere or not self.tags.open_ids:
            return False
        n, readouts = len(self.tags.open_ids), self.moment.readouts
        if (
            tuple(readouts[-n:]) != self.tags.open_ids or len(readouts) > n + BLANK
        ):  # an answer as long as that has begun
            return False
        return not self.model.detokenize(readouts[:-n]).strip()
