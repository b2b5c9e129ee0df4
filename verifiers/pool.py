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
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from verifiers.solution import Problem, Solution, Verdict
from verifiers.verify import verify

START_SECONDS = 30.0  # for a worker to import verifiers on a loaded machine
MAX_STILLBORN = 8
BATCH_ITEMS, BATCH_BYTES = 16, 32_768  # sent ahead to one worker; less than a pipe holds, so that neither side blocks

Pair = tuple[str, str, str]  # question, gold answer, text


def verify_many(solutions: Sequence[Solution], *, workers: int = 0, timeout: float = 0.5) -> list[Verdict]:
    """The verdict of each solution, in order; solutions with the same question, gold and text are decided once.

    ``workers=0`` works in this process, where the ladder's own limits on length, depth, digits and cost bound every
    item.  With workers, an item that takes more than ``timeout`` seconds of wall time, or takes its worker down, gets
    the reason "timeout"; its worker is replaced and every other item is unaffected.
    """
    pairs = [(s.problem.question, s.problem.answer, s.text) for s in solutions]
    distinct = list(dict.fromkeys(pairs))
    if workers <= 0:
        decided = [verify(Problem("", question, answer), text) for question, answer, text in distinct]
    else:
        decided = _pool(workers).run(distinct, timeout)
    verdicts = dict(zip(distinct, decided, strict=True))
    return [verdicts[pair] for pair in pairs]


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

    def send(self, items: list[int], lines: list[bytes], timeout: float) -> None:
        if not self.pending:
            self.deadline = time.monotonic() + timeout
        self.pending.extend(items)
        self.sink.write(b"".join(lines))

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

    def run(self, pairs: Sequence[Pair], timeout: float) -> list[Verdict]:
        """Verdicts in order.  On any exception, Ctrl-C included, busy workers are replaced before it goes on."""
        with self.lock:
            try:
                return self._run(pairs, timeout)
            except BaseException:
                self.workers = [self._replaced(w) if w.pending else w for w in self.workers]
                raise

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.workers = []

    def _replaced(self, worker: _Worker) -> _Worker:
        worker.stop()
        return _Worker()

    def _run(self, pairs: Sequence[Pair], timeout: float) -> list[Verdict]:
        self.stillborn = 0
        lines = [json.dumps(pair).encode() + b"\n" for pair in pairs]
        waiting = deque(range(len(pairs)))
        verdicts: dict[int, Verdict] = {}
        while len(verdicts) < len(pairs):
            for index, worker in enumerate(self.workers):
                if not self._feed(worker, waiting, lines, timeout):
                    self.workers[index] = self._failed(worker, waiting, verdicts)
            for worker in self._readable(timeout):
                if not self._collect(worker, verdicts, timeout):
                    self.workers[self.workers.index(worker)] = self._failed(worker, waiting, verdicts)
            now = time.monotonic()
            for index, worker in enumerate(self.workers):
                if (worker.pending or not worker.ready) and now > worker.deadline:
                    if not worker.ready:
                        raise RuntimeError(f"a verifier worker did not start within {START_SECONDS:.0f} s")
                    self.workers[index] = self._failed(worker, waiting, verdicts)
        return [verdicts[i] for i in range(len(pairs))]

    def _feed(self, worker: _Worker, waiting: deque[int], lines: list[bytes], timeout: float) -> bool:
        """Send an idle worker its next items; False where it is gone."""
        if worker.pending or not worker.ready or not waiting:
            return True
        share = max(1, min(BATCH_ITEMS, len(waiting) // (2 * len(self.workers))))
        items, size = [waiting.popleft()], 0
        size = len(lines[items[0]])
        while waiting and len(items) < share and size + len(lines[waiting[0]]) < BATCH_BYTES:
            size += len(lines[waiting[0]])
            items.append(waiting.popleft())
        try:
            worker.send(items, [lines[i] for i in items], timeout)
        except OSError:
            return False
        return True

    def _readable(self, timeout: float) -> list[_Worker]:
        """Workers with something to read, waiting no longer than to the next deadline."""
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                selector.register(worker.source, selectors.EVENT_READ, worker)
            busy = [w.deadline for w in self.workers if w.pending or not w.ready]
            pause = max(0.0, min(busy) - time.monotonic()) + 0.001 if busy else timeout
            return [key.data for key, _ in selector.select(pause)]

    def _collect(self, worker: _Worker, verdicts: dict[int, Verdict], timeout: float) -> bool:
        lines = worker.receive()
        if lines is None:
            return False
        for line in lines:
            if not worker.ready:
                worker.ready = True
                continue
            correct, predicted, reason = json.loads(line)
            verdicts[worker.pending.popleft()] = Verdict(correct, predicted, reason)
        worker.deadline = time.monotonic() + timeout
        return True

    def _failed(self, worker: _Worker, waiting: deque[int], verdicts: dict[int, Verdict]) -> _Worker:
        """A new worker for one that overran or died: its first unanswered item is the culprit, the others wait."""
        if not worker.ready:
            self.stillborn += 1
            if self.stillborn > MAX_STILLBORN:
                worker.stop()
                raise RuntimeError("verifier workers die while they start; run `python -m verifiers.worker` to see why")
        if worker.pending:
            verdicts[worker.pending.popleft()] = Verdict(False, None, "timeout")
            waiting.extendleft(reversed(worker.pending))
        return self._replaced(worker)


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
