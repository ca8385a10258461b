"""One result of an evaluation, as data. Knows nothing of how it came about, or of files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one way did on one problem.

    Attributes:
        problem: The problem's index.
        way: The way's name.
        answer: The answer that was extracted; None if there was none.
        right: Is it a right answer?
        failure: "" if right, else the reason.
        n_thinking: Tokens in the thinking block, of the text that was judged.
        n_answer: Tokens after it.
        tokens: Positions generated, all samples and beams included.
        evaluated: Positions that the model evaluated, the prompt included once.
        stop: The stop reason, or the kind of error.
        seed: The problem's own seed.
        text: The text that was judged, or the error message.
        seconds: From start to end. With several streams these times overlap.
        wall: Seconds since the result before it; of all results, the time that the evaluation took. 0 in old files.
        n_soft: Steps of the text that was judged that fed a mixture; None in older files.
        degenerate: The first sign that the text that was judged loops or is garbage (generation/degeneration.py): "loop",
            "repetition" or "surprise"; "" for none; None in older files.
        n_threads_used: The numbers of threads so far, where a busy machine changed that of the manifest; None elsewhere.
        host: The device and the build that made it; None in older files.
        mixture_tokens: Mean number of tokens in a mixture, over the soft steps; None without any, and in older files.
        entropy: Mean entropy of the distributions, in nats; None in older files.
        thinking_end: How the thinking block ended: "by itself", "budget", "room", "Cold Stop" or another reason of a policy,
            "end of generation", or "not ended"; "" where there was none; None in older files.
    """

    problem: int
    way: str
    answer: str | None
    right: bool
    failure: str
    n_thinking: int
    n_answer: int
    tokens: int
    evaluated: int
    stop: str
    seed: int
    text: str
    seconds: float
    wall: float = 0.0
    n_soft: int | None = None
    degenerate: str | None = None
    host: str | None = None
    mixture_tokens: float | None = None
    entropy: float | None = None
    thinking_end: str | None = None
    n_threads_used: list[int] | None = None

    @property
    def key(self) -> tuple[int, str]:
        """What tells the result from all others of its file: the problem and the way."""
        return self.problem, self.way
