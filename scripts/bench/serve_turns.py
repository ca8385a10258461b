"""How often a choice turns when a request runs among others: llama.cpp rounds by the shape of a batch.

    python scripts/bench/serve_turns.py -m model.gguf --requests 32 --streams 16

Each request is generated alone, then all of them are handed to one scheduler, which has so many streams; both with and without
batches of one shape. Prints for each policy how many requests got other tokens, and how many steps it took until then.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

import softllama as sl
from softllama.generation import prepare
from softllama.generation.feed import shared
from softllama.generation.options import GenerationOptions
from softllama.serve.jobs import Event, Job, Stepped
from softllama.serve.scheduler import Scheduler
from softllama.serve.settings import Settings

TOPICS = ("a river", "the number seven", "old trains", "bread", "the moon", "a small town", "winter", "music")
ASKS = (
    "Write a short story about {}.",
    "Explain {} to a child.",
    "List five facts about {}.",
    "Write a poem about {}.",
)


def run(
    scheduler: Scheduler, model: sl.Model, texts: Sequence[str], policy: str, max_tokens: int, alone: bool
) -> list[list[int]]:
    """The tokens of each request."""
    out: list[list[int]] = [[] for _ in texts]
    over = [threading.Event() for _ in texts]

    def start(i: int) -> None:
        options = {"chat": True, "policy": policy, "max_tokens": max_tokens, "seed": i}
        g = prepare.prepare(model, texts[i], GenerationOptions.of(options))
        g.keep = False

        def tell(events: Sequence[Event]) -> None:
            out[i] += [e.step.token for e in events if isinstance(e, Stepped)]
            if job.done:
                over[i].set()

        job = Job(g, tell)
        scheduler.submit([job])

    for i in range(len(texts)):
        start(i)
        if alone:
            over[i].wait()
        else:
            time.sleep(0.01)  # they join while others run
    for o in over:
        o.wait()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--fixed-only", action="store_true")
    parser.add_argument("--policies", default="greedy soft_thinking:where=everywhere,tau=0")
    a = parser.parse_args()
    texts = [ASKS[i % 4].format(TOPICS[i // 4 % 8]) for i in range(a.requests)]
    with sl.load(a.model, n_threads=a.threads) as model:
        for fixed in (True,) if a.fixed_only else (False, True):
            for policy in a.policies.split():
                scheduler = Scheduler(
                    model, Settings(streams=a.streams, queue=len(texts), fixed_batch=fixed, n_ctx=512)
                )
                alone = run(scheduler, model, texts, policy, a.max_tokens, True)
                among = run(scheduler, model, texts, policy, a.max_tokens, False)
                scheduler.stop()
                turned = [shared(p, q) for p, q in zip(alone, among, strict=True) if p != q]
                when = f", the first other token at step {statistics.median(turned):.0f} (median)" if turned else ""
                steps = sum(map(len, alone))
                print(
                    f"{'batches of one shape' if fixed else 'batches of any shape'}, {policy}: {len(turned)} of {len(texts)} "
                    f"requests differ, of {steps} steps in all{when}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
