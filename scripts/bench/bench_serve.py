"""Tokens per second and time to the first token of `softllama serve`, beside llama-server of the same llama.cpp.

    python scripts/bench/bench_serve.py -m model.gguf                   # builds llama-server first, which takes a while
    python scripts/bench/bench_serve.py -m model.gguf --llama-server PATH --clients 1,4,8,16 --rounds 5

llama-server is built from the source distribution of the llama-cpp-python that is installed here, so that both servers run the
same llama.cpp. Both have as many slots, as much context and as many threads. Each round asks each server in turn, with
prompts of the same length, which no request before had; greedy, streamed. Three ways: llama-server, softllama with single
tokens, and softllama with soft thinking at every step.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUBJECTS = ("river", "engine", "garden", "harbour", "library", "mountain", "orchestra", "kitchen", "forest", "market")
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_APP=OFF",
)


def build(folder: Path, jobs: int) -> Path:
    """llama-server from the source of the installed llama-cpp-python; built once for a version."""
    version = importlib.metadata.version("llama-cpp-python")
    done = folder / f"llama-server-{version}" / "bin" / "llama-server"
    if done.is_file():
        return done
    with tempfile.TemporaryDirectory() as work:
        get = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
        get += ["--no-binary", "llama-cpp-python", "--dest", work, f"llama-cpp-python=={version}"]
        subprocess.run(get, check=True)
        with tarfile.open(next(Path(work).glob("llama_cpp_python-*.tar.gz"))) as tar:
            tar.extractall(work, filter="data")
        source = next(Path(work).glob("llama_cpp_python-*")) / "vendor" / "llama.cpp"
        if not source.is_dir():
            source = next(p for p in Path(work).glob("llama_cpp_python-*") if p.is_dir()) / "vendor" / "llama.cpp"
        cmake = shutil.which("cmake") or sys.exit("cmake is needed to build llama-server")
        subprocess.run([cmake, "-S", source, "-B", done.parents[1], *FLAGS], check=True)
        make = [cmake, "--build", str(done.parents[1]), "--target", "llama-server", "-j", str(jobs)]
        subprocess.run(["nice", *make], check=True)
    return done


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[Path]:
    """A server, from when it answers /health until the block ends. Yields where Linux counts its processor time."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is not None:
                sys.exit(f"{command[0]} ended with {process.returncode}")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as r:
                if r.status == 200:
                    break
            time.sleep(0.1)
        yield Path(f"/proc/{process.pid}/stat")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_seconds(stat: Path) -> float:
    """Processor time that a process has used; 0 where Linux does not say."""
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """rate: tokens per second. firsts: seconds to the first token of each client. cpu: tokens per second of processor time."""

    rate: float
    firsts: list[float]
    cpu: float


@dataclass
class Answer:
    """first: seconds to the first token. tokens: that were generated."""

    first: float
    tokens: int


async def ask(port: int, body: dict[str, Any]) -> Answer:
    """One streamed request, over a socket: a client library would take a good part of a small model's time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    began = time.perf_counter()
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
    first, tokens = 0.0, 0
    async for line in reader:
        if not first and (b'"content":"' in line or b'"reasoning_content":"' in line) and b'"content":""' not in line:
            first = time.perf_counter() - began
        if b'"completion_tokens":' in line:
            tokens = json.loads(line.removeprefix(b"data: "))["usage"]["completion_tokens"]
    writer.close()
    assert tokens, "the server gave no usage"
    return Answer(first, tokens)


def prompt(number: int) -> str:
    """A prompt that no other begins like."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    return (
        f"{number:06d}: Write a long and detailed story about a {subject}, with at least ten paragraphs and many names."
    )


async def measure(port: int, stat: Path, clients: int, first: int, max_tokens: int, more: dict[str, Any]) -> Measured:
    """So many clients at once."""
    bodies = [
        {
            "messages": [{"role": "user", "content": prompt(first + i)}],
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **more,
        }
        for i in range(clients)
    ]
    began, cpu = time.perf_counter(), cpu_seconds(stat)
    answers = await asyncio.gather(*(ask(port, b) for b in bodies))
    seconds = time.perf_counter() - began
    tokens, used = sum(a.tokens for a in answers), cpu_seconds(stat) - cpu
    return Measured(tokens / seconds, [a.first for a in answers], tokens / used if used else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--llama-server", type=Path, help="a llama-server that is there; else it is built")
    parser.add_argument("--build-folder", type=Path, default=Path("build-llama-server"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--clients", default="1,4,8,16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--n-ctx", type=int, default=1024, help="of each slot")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    server = a.llama_server or build(a.build_folder, a.jobs)
    ports = free_port(), free_port()
    theirs = [str(server), "-m", a.model, "--port", str(ports[0]), "-np", str(a.streams), "-t", str(a.threads)]
    theirs += ["-c", str(a.streams * a.n_ctx), "--no-webui", "-kvu"]
    ours = [sys.executable, "-m", "softllama", "serve", "-m", a.model, "--port", str(ports[1])]
    ours += ["--streams", str(a.streams), "--n-ctx", str(a.n_ctx), "--n-threads", str(a.threads)]
    soft = {"softllama": {"policy": "soft_thinking:where=everywhere,tau=0"}}
    results: dict[int, dict[str, list[Measured]]] = {}
    with running(theirs, ports[0]) as their_stat, running(ours, ports[1]) as our_stat:
        ways: dict[str, tuple[int, Path, dict[str, Any]]] = {
            "llama-server": (ports[0], their_stat, {}),
            "hard": (ports[1], our_stat, {}),
            "soft": (ports[1], our_stat, soft),
        }
        number = 0
        for round_ in range(a.rounds + 1):  # the first warms up
            for clients in map(int, a.clients.split(",")):
                order = list(ways.items())
                for name, (port, stat, more) in order[round_ % 3 :] + order[: round_ % 3]:
                    m = asyncio.run(measure(port, stat, clients, number, a.max_tokens, more))
                    number += clients
                    print(
                        f"round {round_}: {clients} clients, {name}: {m.rate:.1f} tokens/s, {m.cpu:.1f} by cpu",
                        file=sys.stderr,
                    )
                    if round_:
                        results.setdefault(clients, {}).setdefault(name, []).append(m)
    report(results, a.json)


def report(results: dict[int, dict[str, list[Measured]]], as_json: bool) -> None:
    """Medians over the rounds. Ratios to llama-server are medians of the rounds' own."""
    rows = []
    for clients, by_name in results.items():
        row: dict[str, Any] = {"clients": clients}
        for name, measured in by_name.items():
            pairs = list(zip(measured, by_name["llama-server"], strict=True))
            row[name] = {
                "tokens/s": statistics.median(m.rate for m in measured),
                "ratio": statistics.median(m.rate / b.rate for m, b in pairs),
                "cpu ratio": statistics.median(m.cpu / b.cpu for m, b in pairs) if pairs[0][1].cpu else None,
                "first token, ms": 1e3 * statistics.median(f for m in measured for f in m.firsts),
            }
        rows.append(row)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print("clients  way           tokens/s  ratio  by processor time  first token, ms")
    for row in rows:
        for name in ("llama-server", "hard", "soft"):
            r = row[name]
            cpu = "" if r["cpu ratio"] is None else f"{r['cpu ratio']:.2f}"
            print(
                f"{row['clients']:7}  {name:12}  {r['tokens/s']:8.1f}  {r['ratio']:5.2f}  {cpu:>17}  {r['first token, ms']:15.0f}"
            )


if __name__ == "__main__":
    main()
