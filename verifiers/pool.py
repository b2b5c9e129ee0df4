"""Verdicts for a batch: identical pairs decided once, in this process or in workers that are replaced when one fails.

Workers are plain subprocesses that speak JSON lines, so they start from any thread, under asyncio, after a fork and
from daemonic processes, and nothing is pickled.  They stay up between calls and go away with this process.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from verifiers.extract import DEFAULT_RULES, Rule
from verifiers.policy import DEFAULT_POLICY, Policy
from verifiers.solution import Problem, Solution, Verdict
from verifiers.verify import verify, verify_plain

START_SECONDS = 30.0  # for a worker to import verifiers on a loaded machine
MAX_STILLBORN = 8
BATCH_ITEMS, BATCH_BYTES = 64, 32_768  # sent to a worker at once; less than a pipe holds, so that neither side blocks

Pair = tuple[str, str, str]  # question, gold answer, text
Advance = Callable[[int], object]


def verify_many(
    solutions: Sequence[Solution],
    *,
    workers: int = 0,
    timeout: float = 0.5,
    policy: Policy = DEFAULT_POLICY,
    rules: Sequence[Rule] = DEFAULT_RULES,
    advance: Advance = lambda done: None,
) -> list[Verdict]:
    """The verdict of each solution, in order; solutions with the same question, gold and text are decided once.

    ``workers=0`` works in this process, where the ladder's own limits on length, depth, digits and cost bound every
    item.  With workers, an item that takes more than ``timeout`` seconds of wall time, or takes its worker down, gets
    the reason "timeout"; its worker is replaced and every other item is unaffected.  Plain numbers are compared in this
    process even then, because sending them to a worker would take longer than that.

    ``advance(n)`` is called as n more solutions are done, for a progress bar.
    """
    pairs = [(s.problem.question, s.problem.answer, s.text) for s in solutions]
    times = Counter(pairs)
    decided: dict[Pair, Verdict] = {}
    for pair in times:
        question, answer, text = pair
        if workers <= 0:
            decided[pair] = verify(Problem("", question, answer), text, policy=policy, rules=rules)
        elif (verdict := verify_plain(answer, text, rules)) is not None:
            decided[pair] = verdict
        if pair in decided:
            advance(times[pair])
    rest = [pair for pair in times if pair not in decided]
    if rest:
        verdicts = _pool(workers).run(
            rest, timeout, {"policy": asdict(policy), "rules": list(rules)}, lambda i: advance(times[rest[i]])
        )
        decided |= zip(rest, verdicts, strict=True)
    return [decided[pair] for pair in pairs]


class _Worker:
    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "verifiers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.source, self.sink = self.process.stdout, self.process.stdin
        self.pending: deque[int] = deque()  # items sent and not yet answered, in order
        self.rest = b""
        self.ready = False
        self.deadline = time.monotonic() + START_SECONDS

    def send(self, items: list[int], lines: list[str], settings: str, timeout: float) -> None:
        self.deadline = time.monotonic() + timeout
        self.pending.extend(items)
        self.sink.write(f"[{settings}, [{', '.join(lines)}]]\n".encode())

    def receive(self) -> list[bytes] | None:
        """Whole lines that have arrived; None where the worker is gone."""
        block = os.read(self.source.fileno(), 65_536)
        if not block:
            return None
        *lines, self.rest = (self.rest + block).split(b"\n")
        return lines

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.source.close()
        self.sink.close()


class Pool:
    """A fixed number of workers; ``run`` may be called from any thread, one batch at a time."""

    def __init__(self, workers: int) -> None:
        self.lock = threading.Lock()
        self.workers = [_Worker() for _ in range(workers)]
        self.stillborn = 0  # workers of this run that died before they were ready

    def run(
        self, pairs: Sequence[Pair], timeout: float, settings: Mapping[str, object], advance: Advance
    ) -> list[Verdict]:
        """Verdicts in order; ``advance(i)`` as item i is decided.

        On any exception, Ctrl-C included, busy workers are replaced before it goes on.
        """
        with self.lock:
            try:
                self.stillborn = 0
                return _Run(pairs, timeout, json.dumps(settings), advance).through(self)
            except BaseException:
                self.workers = [self.replaced(w) if w.pending else w for w in self.workers]
                raise

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers = []

    def replaced(self, worker: _Worker) -> _Worker:
        worker.stop()
        return _Worker()


class _Run:
    """One batch on its way through the workers: what waits, what must go alone, and what is decided."""

    def __init__(self, pairs: Sequence[Pair], timeout: float, settings: str, advance: Advance) -> None:
        self.lines = [json.dumps(pair) for pair in pairs]
        self.timeout, self.settings, self.advance = timeout, settings, advance
        self.waiting = deque(range(len(pairs)))
        self.alone: set[int] = set()  # items of a batch that failed: one of them is the culprit
        self.verdicts: dict[int, Verdict] = {}

    def through(self, pool: Pool) -> list[Verdict]:
        while len(self.verdicts) < len(self.lines):
            for index, worker in enumerate(pool.workers):
                if not self.feed(worker, len(pool.workers)):
                    pool.workers[index] = self.failed(pool, worker)
            for worker in self.readable(pool.workers):
                if not self.collect(worker):
                    pool.workers[pool.workers.index(worker)] = self.failed(pool, worker)
            now = time.monotonic()
            for index, worker in enumerate(pool.workers):
                if (worker.pending or not worker.ready) and now > worker.deadline:
                    if not worker.ready:
                        raise RuntimeError(f"a verifier worker did not start within {START_SECONDS:.0f} s")
                    pool.workers[index] = self.failed(pool, worker)
        return [self.verdicts[i] for i in range(len(self.lines))]

    def feed(self, worker: _Worker, workers: int) -> bool:
        """Send an idle worker its next items; False where it is gone."""
        if worker.pending or not worker.ready or not self.waiting:
            return True
        share = max(1, min(BATCH_ITEMS, len(self.waiting) // (2 * workers)))
        items = [self.waiting.popleft()]
        size = len(self.lines[items[0]])
        while (
            self.waiting
            and len(items) < share
            and not self.alone & {items[0], self.waiting[0]}
            and (size := size + len(self.lines[self.waiting[0]])) < BATCH_BYTES
        ):
            items.append(self.waiting.popleft())
        try:
            worker.send(items, [self.lines[i] for i in items], self.settings, self.timeout)
        except OSError:
            return False
        return True

    def readable(self, workers: list[_Worker]) -> list[_Worker]:
        """Workers with something to read, waiting no longer than to the next deadline."""
        with selectors.DefaultSelector() as selector:
            for worker in workers:
                selector.register(worker.source, selectors.EVENT_READ, worker)
            busy = [w.deadline for w in workers if w.pending or not w.ready]
            pause = max(0.0, min(busy) - time.monotonic()) + 0.001 if busy else self.timeout
            return [key.data for key, _ in selector.select(pause)]

    def collect(self, worker: _Worker) -> bool:
        lines = worker.receive()
        if lines is None:
            return False
        for line in lines:
            if not worker.ready:
                worker.ready = True
                continue
            for correct, predicted, reason in json.loads(line):
                self.decide(worker.pending.popleft(), Verdict(correct, predicted, reason))
        worker.deadline = time.monotonic() + self.timeout
        return True

    def decide(self, item: int, verdict: Verdict) -> None:
        self.verdicts[item] = verdict
        self.advance(item)

    def failed(self, pool: Pool, worker: _Worker) -> _Worker:
        """A new worker for one that overran or died.  An item that went alone is the culprit; those that went together
        wait again, each to go alone."""
        if not worker.ready:
            pool.stillborn += 1
            if pool.stillborn > MAX_STILLBORN:
                worker.stop()
                raise RuntimeError("verifier workers die while they start; run `python -m verifiers.worker` to see why")
        if len(worker.pending) == 1:
            self.decide(worker.pending[0], Verdict(False, None, "timeout"))
        else:
            self.alone |= set(worker.pending)
            self.waiting.extendleft(reversed(worker.pending))
        return pool.replaced(worker)


_pools: dict[int, Pool] = {}
_pools_lock = threading.Lock()


def _pool(workers: int) -> Pool:
    with _pools_lock:
        if workers not in _pools:
            _pools[workers] = Pool(workers)
        return _pools[workers]


def close_pools() -> None:
    """Stop all workers; the next call that wants some starts new ones.  Runs at exit by itself."""
    with _pools_lock:
        while _pools:
            _pools.popitem()[1].close()


def _forget_pools() -> None:
    """In a forked child: the pipes are the parent's, so leave its workers alone and start our own when asked."""
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


atexit.register(close_pools)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
