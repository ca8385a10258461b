"""What people would use instead, on the same machine and the same file: speed, memory, first token, size on disk.

    pip install ".[bench]"
    python scripts/bench/bench_tools.py -m SmolLM2-135M-Instruct-Q4_1.gguf --llama-server PATH
    python scripts/bench/bench_tools.py -m qwen3-0.6b.gguf --shape qwen3-0.6b --tools softllama,llama-cpp-python,transformers

Every tool runs in a process of its own, which loads the model once and then answers when it is asked. Each round asks every tool in
turn, the next round begins one further. Greedy and soft where the tool can do both; soft thinking mixes the 10 likeliest tokens
at every step. The first token is counted from the request, with a prompt that is already in memory's place but not in the
tool's cache; loading is counted apart. transformers loads the same file, dequantized (`gguf_file=`), in float32 and bfloat16; with
`--shape` it builds random weights of the shape instead. Reads /proc, so Linux only.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository: `scripts` is a package there

PROMPT = "Number {n}. Once upon a time, in a small village at the foot of a mountain, there lived"
N_TOP, TEMPERATURE = 10, 0.6
PACKAGES = {"softllama": "softllama", "llama-cpp-python": "llama-cpp-python", "transformers": "torch transformers gguf"}

Answer = tuple[float, float, int]  # seconds to the first token, seconds in all, tokens
Ways = dict[str, Callable[[str, int], Answer]]


def timed(tokens: Any, limit: int) -> Answer:
    """Take at most so many tokens from an iterator."""
    start, first, count = time.perf_counter(), 0.0, 0
    for _ in tokens:
        count += 1
        first = first or time.perf_counter() - start
        if count == limit:
            break
    return first, time.perf_counter() - start, count


def softllama_ways(a: argparse.Namespace) -> Ways:
    import softllama as sl

    model = sl.load(a.model, n_threads=a.threads, n_ctx=a.n_ctx)

    def way(policy: str) -> Callable[[str, int], Answer]:
        return lambda text, n: timed(model.stream(text, chat=False, policy=policy, max_tokens=n, think="off"), n)

    soft = f"soft_thinking:n={N_TOP},temperature={TEMPERATURE},tau=0,where=everywhere"
    return {"greedy": way("greedy"), "soft": way(soft)}


def llama_ways(a: argparse.Namespace) -> Ways:
    from llama_cpp import Llama

    llama = Llama(a.model, n_threads=a.threads, n_threads_batch=a.threads, n_ctx=a.n_ctx, verbose=False)

    def greedy(text: str, n: int) -> Answer:
        return timed(llama.create_completion(text, max_tokens=n, temperature=0, stream=True), n)

    return {"greedy": greedy}


def server_ways(a: argparse.Namespace) -> Ways:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [a.llama_server, "-m", a.model, "--port", str(port), "-t", str(a.threads), "-c", str(a.n_ctx), "-np", "1"]
    server = subprocess.Popen([*command, "--no-webui"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                break
        except OSError:
            time.sleep(0.05)

    def lines(text: str, n: int) -> Any:
        body = {"prompt": text, "n_predict": n, "temperature": 0, "stream": True, "cache_prompt": False}
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), head)
        with urllib.request.urlopen(request) as reply:
            yield from (line for line in reply if line.startswith(b"data: ") and b'"stop":false' in line)

    a.other = server.pid
    return {"greedy": lambda text, n: timed(lines(text, n), n)}


def transformers_ways(a: argparse.Namespace, dtype: str) -> Ways:
    import torch
    import transformers

    torch.set_num_threads(a.threads)
    if a.shape:
        from scripts.bench.bench_transformers import build

        model, encode = build(a.shape, dtype), lambda text: torch.arange(1, 21).unsqueeze(0)
    else:
        folder, name = Path(a.model).resolve().parent, Path(a.model).name
        of_file = {"gguf_file": name, "local_files_only": True}
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **of_file)
        load = transformers.AutoModelForCausalLM.from_pretrained
        model = load(folder, dtype=getattr(torch, dtype), **of_file).eval()

        def encode(text: str) -> Any:
            return tokenizer(text, return_tensors="pt").input_ids

    table = model.get_input_embeddings().weight

    def steps(text: str, n: int, soft: bool) -> Any:
        with torch.inference_mode():
            out = model(input_ids=encode(text), use_cache=True)
            for _ in range(n):
                z = out.logits[:, -1]
                if soft:
                    w, ids = torch.softmax(z.float() / TEMPERATURE, dim=-1).topk(N_TOP, dim=-1)
                    w = (w / w.sum(dim=-1, keepdim=True)).to(table.dtype)
                    fed = {"inputs_embeds": (w.unsqueeze(-1) * table[ids]).sum(dim=1, keepdim=True)}
                else:
                    fed = {"input_ids": z.argmax(dim=-1, keepdim=True)}
                yield None
                out = model(**fed, past_key_values=out.past_key_values, use_cache=True)

    return {
        "greedy": lambda text, n: timed(steps(text, n, False), n),
        "soft": lambda text, n: timed(steps(text, n, True), n),
    }


TOOLS: dict[str, Callable[[argparse.Namespace], Ways]] = {
    "softllama": softllama_ways,
    "llama-cpp-python": llama_ways,
    "llama-server": server_ways,
    "transformers-float32": lambda a: transformers_ways(a, "float32"),
    "transformers-bfloat16": lambda a: transformers_ways(a, "bfloat16"),
}


def peak(pid: int) -> int:
    """The most memory that a process had, bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


def worker(a: argparse.Namespace) -> None:
    """The child: load, say how long it took, then answer a line of JSON for each line that comes."""
    start = time.perf_counter()
    ways = TOOLS[a.worker](a)
    next(iter(ways.values()))(PROMPT.format(n=0), 4)  # warm
    print(json.dumps({"ways": list(ways), "load": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        way, number, n = json.loads(line)
        answer = ways[way](PROMPT.format(n=number), n)
        print(json.dumps({"answer": answer, "memory": peak(getattr(a, "other", os.getpid()))}), flush=True)
    if hasattr(a, "other"):
        os.kill(a.other, signal.SIGTERM)


class Tool:
    """A child that runs one tool."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--worker", name]
        self.name, self.memory = name, 0
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = self.read()
        self.load, self.ways = hello["load"], hello["ways"]

    def read(self) -> Any:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"{self.name} ended with code {self.process.wait()}")

    def ask(self, way: str, number: int, n: int) -> Answer:
        assert self.process.stdin
        self.process.stdin.write(json.dumps([way, number, n]) + "\n")
        self.process.stdin.flush()
        reply = self.read()
        self.memory = max(self.memory, reply["memory"])
        first, seconds, count = reply["answer"]
        return first, seconds, count

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def installed(names: str) -> int:
    """Bytes of packages and of all that they need, as they are installed here. Extras are not followed."""
    todo, seen, total = names.split(), set(), 0
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for f in found.files or ():
            path = Path(str(f.locate()))
            total += path.stat().st_size if path.is_file() else 0
        for need in found.requires or ():
            if "extra ==" not in need:
                todo.append(re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0])
    return total


def size_of(tool: str, llama_server: str | None) -> int:
    """Bytes that a tool takes on the disk, without Python and the model."""
    if tool == "llama-server":
        folder = Path(str(llama_server)).resolve().parent
        files = [*folder.glob("lib*.so*"), Path(str(llama_server))]
        return sum(f.stat().st_size for f in files if not f.is_symlink())
    return installed(PACKAGES[tool.removesuffix("-float32").removesuffix("-bfloat16")])


def measure(a: argparse.Namespace, tools: list[Tool]) -> dict[tuple[str, str], list[Answer]]:
    """Every tool's ways in turn, for so many rounds."""
    pairs = [(tool, way) for tool in tools for way in tool.ways]
    results: dict[tuple[str, str], list[Answer]] = {(t.name, w): [] for t, w in pairs}
    number = 1
    for round_ in range(a.rounds):
        turn = round_ % len(pairs)
        for tool, way in pairs[turn:] + pairs[:turn]:
            results[tool.name, way].append(tool.ask(way, number, a.max_tokens))
            number += 1
        print(f"round {round_ + 1} of {a.rounds}", file=sys.stderr)
    return results


def report(
    a: argparse.Namespace, tools: list[Tool], results: dict[tuple[str, str], list[Answer]]
) -> list[dict[str, Any]]:
    """A row a way. A step is what follows the first token; ratios are medians of the rounds' own."""

    def steps(key: tuple[str, str]) -> list[float]:
        return [(seconds - first) / max(count - 1, 1) for first, seconds, count in results[key]]

    base = steps((tools[0].name, tools[0].ways[0]))
    rows = []
    for tool in tools:
        for way in tool.ways:
            own = steps((tool.name, way))
            rows.append({
                "tool": tool.name, "way": way,
                "tokens_per_second": [round(1 / t, 1) for t in (statistics.median(own), max(own), min(own))],
                "step_ratio": round(statistics.median(t / b for t, b in zip(own, base, strict=True)), 2),
                "first_token_ms": round(1e3 * statistics.median(r[0] for r in results[tool.name, way])),
                "load_s": round(tool.load, 1), "memory_mb": round(tool.memory / 1e6),
                "installed_mb": round(size_of(tool.name, a.llama_server) / 1e6),
            })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--llama-server", help="the program; without it that row is left out")
    parser.add_argument("--shape", help="a name of scripts/bench/shape_model.py, for transformers with random weights")
    parser.add_argument("--tools", help="some of: " + ", ".join(TOOLS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--n-ctx", type=int, default=1024)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.worker:
        worker(a)
        return
    names = a.tools.split(",") if a.tools else [t for t in TOOLS if t != "llama-server" or a.llama_server]
    names = [
        full for name in names for full in TOOLS if full == name or full.startswith((name + "-float", name + "-bfloat"))
    ]
    tools = [Tool(name, sys.argv[1:]) for name in names]
    rows = report(a, tools, measure(a, tools))
    for tool in tools:
        tool.end()
    if a.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        "| tool | way | tokens/s | a step, of the first row's | first token, ms | load, s | memory, MB | installed, MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        middle, low, high = r["tokens_per_second"]
        print(
            f"| {r['tool']} | {r['way']} | {middle} ({low} to {high}) | {r['step_ratio']:.2f} | {r['first_token_ms']} "
            f"| {r['load_s']} | {r['memory_mb']} | {r['installed_mb']} |"
        )


if __name__ == "__main__":
    main()
