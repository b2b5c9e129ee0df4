"""The server's bar: how much of the offline scorer's throughput do 64 clients at once get, and is any request lost?

    python -m benchmarks.serving

Builds a random process reward model, scores the same solutions offline (one call) and through `rung serve` (one request
a solution, each client sending its next when its last is answered), in turns, on one thread each; every answer is
compared with the offline score. Then ``--flood`` requests arrive at once, far more than the queue holds: each must be
answered, rightly or with 429 and when to come back. Prints a Markdown table for RESULTS.md.

The share is told twice: in wall-clock time, which is the bar, and in processor time (offline scoring over all that the
server did), which other work on the machine disturbs less.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lm.checkpoint import save_model
from lm.models import ModelConfig, build_causal_lm
from lm.tokenizer import train_tokenizer
from lm.torch_setup import prepare_torch
from prm.loading import load
from rung.web.listen import allow_many_connections
from verifiers.families import FAMILIES, distinct
from verifiers.solution import Solution
from verifiers.split import split_steps

HEAD = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


@dataclass(frozen=True)
class Served:
    """Seconds in all, the server's processor seconds, (N,) seconds to each right answer or refusal (nan: neither came),
    and how many were refused with 429 and a time to come back."""

    seconds: float
    processor: float
    latencies: np.ndarray
    refused: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solutions", type=int, default=256)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flood", type=int, default=10_000, help="requests that arrive at once")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    arguments = parser.parse_args()
    prepare_torch(0, 1)
    allow_many_connections()
    solutions = some_solutions(arguments.solutions)
    with tempfile.TemporaryDirectory() as folder:
        parameters = save_prm(Path(folder), solutions, arguments.width, arguments.layers)
        prm = load(folder, "float32", arguments.batch_tokens)
        prm.score(solutions[:64])  # warm up
        command = ["serve", folder, "port=0", "threads=1", f"batch_tokens={arguments.batch_tokens}"]
        server = subprocess.Popen([sys.executable, "-m", "rung", *command], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        port = int(server.stdout.readline().split(" at ")[1].split()[0].rpartition(":")[2])
        offline, served = [], []
        for _ in range(arguments.rounds):
            started, processor = time.perf_counter(), time.process_time()
            scores = prm.score(solutions)
            offline.append((time.perf_counter() - started, time.process_time() - processor))
            served.append(asyncio.run(ask(server.pid, port, solutions, scores, arguments.clients)))
        indices = [i % len(solutions) for i in range(arguments.flood)]
        flood = asyncio.run(
            ask(server.pid, port, [solutions[i] for i in indices], [scores[i] for i in indices], arguments.flood)
        )
        server.terminate()
        assert server.wait(60) == 0
    report(arguments, parameters, offline, served, flood)


async def ask(pid: int, port: int, solutions: Sequence[Solution], scores: Sequence[Any], clients: int) -> Served:
    """Send each solution as a request of its own over ``clients`` connections, and check the answers."""
    numbers = iter(range(len(solutions)))
    latencies = np.full(len(solutions), np.nan)
    refused = 0
    gate = asyncio.Semaphore(512)  # connections being opened at a time: the kernel's queue is finite

    async def client() -> None:
        nonlocal refused
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in numbers:
            request = {"question": solutions[i].problem.question, "solutions": [solutions[i].text]}
            body = json.dumps(request).encode()
            started = time.perf_counter()
            writer.write(HEAD.format(len(body)).encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split()[0])
            answer = json.loads(await reader.readexactly(length))
            if head.startswith(b"http/1.1 429") and b"retry-after:" in head:
                refused += 1
            elif not head.startswith(b"http/1.1 200") or not np.allclose(
                answer["solutions"][0]["step_scores"], scores[i].probabilities, atol=1e-5
            ):
                continue
            latencies[i] = time.perf_counter() - started
            if clients >= len(solutions):  # a flood: one request each
                break
        writer.close()
        await writer.wait_closed()

    started, processor = time.perf_counter(), processor_seconds(pid)
    await asyncio.gather(*(client() for _ in range(clients)))
    return Served(time.perf_counter() - started, processor_seconds(pid) - processor, latencies, refused)


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far (Linux: fields 14 and 15 of its stat file)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def some_solutions(count: int) -> list[Solution]:
    """Worked solutions of built-in problems, two problems' worth a text so that they have about ten steps."""
    examples = distinct(tuple(FAMILIES), (3, 4), "train", 0, 2 * count)
    texts = [f"{a.solution}\n{b.solution}" for a, b in zip(examples[::2], examples[1::2], strict=True)]
    return [Solution(e.problem, text, split_steps(text)) for e, text in zip(examples[::2], texts, strict=True)]


def save_prm(folder: Path, solutions: Sequence[Solution], width: int, layers: int) -> int:
    """A random two-class Llama with its tokenizer; how many parameters it has."""
    from transformers import AutoModelForTokenClassification

    tokenizer = train_tokenizer((s.text for s in solutions[:200]), 384)
    sizes = ModelConfig(hidden_size=width, layers=layers, intermediate_size=4 * width, max_positions=2048)
    config = build_causal_lm(sizes, tokenizer).config
    config.num_labels = 2
    model = AutoModelForTokenClassification.from_config(config)
    save_model(folder, model)
    tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def report(
    arguments: argparse.Namespace,
    parameters: int,
    offline: list[tuple[float, float]],
    served: list[Served],
    flood: Served,
) -> None:
    count = arguments.solutions
    shares = [o / s.seconds for (o, _), s in zip(offline, served, strict=True)]
    processor = [o / s.processor for (_, o), s in zip(offline, served, strict=True)]
    print(f"{parameters / 1e6:.1f} M parameters, {count} solutions a round, {arguments.clients} clients, one thread")
    print("| round | offline, per s | served, per s | share | in processor time | p50 s | p99 s | lost or wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for i, s in enumerate(served):
        p50, p99 = np.nanpercentile(s.latencies, [50, 99])
        rates = f"{count / offline[i][0]:.1f} | {count / s.seconds:.1f} | {shares[i]:.2f} | {processor[i]:.2f}"
        print(f"| {i + 1} | {rates} | {p50:.3f} | {p99:.3f} | {lost(s) + s.refused} |")
    print(
        f"median share: {np.median(shares):.2f} of the offline throughput, {np.median(processor):.2f} in processor time"
    )
    p99 = float(np.nanpercentile(flood.latencies, 99))
    count = len(flood.latencies)
    print(
        f"{count:,} requests at once: {count - flood.refused - lost(flood):,} scored, {flood.refused:,} refused with"
        f" 429 and a time to come back, {lost(flood)} lost or wrong; {flood.seconds:.0f} s, p99 {p99:.1f} s"
    )


def lost(served: Served) -> int:
    """Requests without an answer, or with a wrong one."""
    return int(np.isnan(served.latencies).sum())


if __name__ == "__main__":
    main()
