"""Load on a running server: many clients at once for some time, some of which go away or send nonsense.

    softllama serve -m model.gguf --streams 16 &
    python scripts/bench/serve_load.py --url http://127.0.0.1:8080 --seconds 180

Every answer is checked: a request of a known seed must get the answer that it got alone, each invalid one its own error, and
none may be lost. At the end no sequence may be taken, and with --pid the memory of the server must not have grown (Linux).
Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

QUESTIONS = ["What does the dog say?", "What does the cat eat?", "Where does the fox live?", "Who chases the mouse?"]
POLICIES = ["greedy", "sample", "soft_thinking", "gumbel", "full", "moi"]
WRONG: list[tuple[dict[str, Any], int]] = [
    ({"temperature": -1}, 400),
    ({"model": "nothing"}, 404),
    ({"softllama": {"policy": "nothing"}}, 400),
    ({"messages": []}, 400),
    ({"messages": [{"role": "user", "content": "dog " * 50_000}]}, 400),
]


@dataclass
class Results:
    """What the clients saw. different: answers that were others than alone."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[float] = field(default_factory=list)
    tokens: int = 0
    different: int = 0
    problems: list[str] = field(default_factory=list)


def body(rng: random.Random, kinds: int) -> dict[str, Any]:
    """A request, one of so many: a short or a long prompt, a policy and a seed."""
    i = rng.randrange(kinds)
    before = " ".join(QUESTIONS) * ((i * 7) % 5)
    return {
        "messages": [{"role": "user", "content": f"{before} {QUESTIONS[i % 4]}".strip()}],
        "max_tokens": 8 + (i * 13) % 57,
        "seed": i,
        "softllama": {"policy": POLICIES[i % len(POLICIES)]},
    }


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A request that is not streamed; again after Retry-After where the queue is full."""
    while True:
        r = await client.post("/v1/chat/completions", json=request)
        if r.status_code != 429:
            return r.status_code, r.json()
        await asyncio.sleep(float(r.headers["Retry-After"]) / 10)


def text_of(answer: dict[str, Any]) -> tuple[str, str]:
    """Reasoning and content of an answer."""
    message = answer["choices"][0]["message"]
    return message.get("reasoning", ""), message["content"]


async def streamed(
    client: httpx.AsyncClient, request: dict[str, Any], leave: bool, r: Results
) -> tuple[str, str] | None:
    """A streamed request; leave: go away after some events. The text, or None where it was left or refused."""
    began, reasoning, content, ended, n = time.perf_counter(), "", "", False, 0
    async with client.stream("POST", "/v1/chat/completions", json={**request, "stream": True}) as response:
        if response.status_code == 429:
            r.counts["429"] += 1
            return None
        if response.status_code != 200:
            r.problems.append(f"status {response.status_code}")
            return None
        async for line in response.aiter_lines():
            if line == "event: error":
                r.problems.append("an error in mid-stream")
            if not line.startswith("data: {"):
                ended = ended or line == "data: [DONE]"
                continue
            delta = json.loads(line[6:])["choices"][0]["delta"]
            reasoning += delta.get("reasoning", "")
            content += delta.get("content", "")
            n += 1
            if n == 2:
                r.first.append(time.perf_counter() - began)
            if leave and n > 4:
                r.counts["left"] += 1
                return None
    if not ended:
        r.problems.append("a stream without its end")
    r.tokens += n
    return reasoning, content


async def one(client: httpx.AsyncClient, rng: random.Random, known: dict[int, tuple[str, str]], r: Results) -> None:
    """One request of a client."""
    kind = rng.random()
    request = body(rng, len(known))
    if kind < 0.1:
        more, status = rng.choice(WRONG)
        got, answer = await ask(client, {**request, **more})
        r.counts["invalid"] += 1
        if got != status or set(answer["error"]) != {"message", "type", "param", "code"}:
            r.problems.append(f"{got} in place of {status}")
        return
    if kind < 0.6:
        text = await streamed(client, request, kind < 0.2, r)
        if text is None:
            return
    else:
        status, answer = await ask(client, request)
        if status != 200:
            r.problems.append(f"status {status}: {answer}")
            return
        text = text_of(answer)
        r.tokens += answer["usage"]["completion_tokens"]
    r.counts["answered"] += 1
    if text != known[request["seed"]]:
        r.different += 1


async def load(url: str, seconds: float, clients: int, kinds: int) -> Results:
    """So many clients for so long."""
    r = Results()
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=clients + 4)) as client:
        alone = [body(random.Random(i), kinds) for i in range(40 * kinds)]
        requests = {b["seed"]: b for b in alone}
        known = {}
        for seed in range(kinds):
            status, answer = await ask(client, requests[seed])
            assert status == 200, answer
            known[seed] = text_of(answer)
        end = time.perf_counter() + seconds

        async def work(number: int) -> None:
            rng = random.Random(number)
            while time.perf_counter() < end:
                r.counts["asked"] += 1
                try:
                    await one(client, rng, known, r)
                except httpx.HTTPError as e:
                    r.problems.append(f"{type(e).__name__}: {e}")

        await asyncio.gather(*map(work, range(clients)))
        for _ in range(100):
            metrics = (await client.get("/metrics")).text
            if "softllama_running 0.0" in metrics and "softllama_waiting 0.0" in metrics:
                break
            await asyncio.sleep(0.05)
        else:
            r.problems.append("a sequence is still taken")
    return r


def memory(pid: int | None) -> float:
    """MB that a process has in memory; 0 where that is not known."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0.0
    return pages * 4096 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--kinds", type=int, default=24, help="different requests")
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    a = parser.parse_args()
    asyncio.run(load(a.url, min(10.0, a.seconds / 4), a.clients, a.kinds))  # buffers take their size
    before = memory(a.pid)
    r = asyncio.run(load(a.url, a.seconds, a.clients, a.kinds))
    first = sorted(r.first)
    print(
        json.dumps(
            {
                **r.counts,
                "different": r.different,
                "tokens/s": round(r.tokens / a.seconds, 1),
                "first token, ms, median": round(1e3 * first[len(first) // 2]) if first else None,
                "memory, MB, before and after": [round(before, 1), round(memory(a.pid), 1)],
                "problems": Counter(r.problems),
            }
        )
    )
    sys.exit(bool(r.problems))


if __name__ == "__main__":
    main()
