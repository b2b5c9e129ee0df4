"""Batches: order, duplicates, and workers that are stopped or killed in the middle."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from verifiers import pool
from verifiers.solution import Problem, Solution, Verdict
from verifiers.verify import verify


def solution(answer: str, text: str) -> Solution:
    return Solution(Problem("p", "How many?", answer), text, ())


BATCH = [solution(str(k % 7), f"So it is \\boxed{{{k % 5}}}") for k in range(60)]
EXPECTED = [verify(s.problem, s.text) for s in BATCH]


@pytest.fixture(scope="module", autouse=True)
def _stop_workers() -> Iterator[None]:
    yield
    pool.close_pools()


@pytest.mark.parametrize("workers", [0, 2])
def test_same_verdicts_in_order(workers: int) -> None:
    assert pool.verify_many(BATCH, workers=workers, timeout=10) == EXPECTED
    assert pool.verify_many([], workers=workers) == []


def test_identical_pairs_are_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(problem: Problem, text: str) -> Verdict:
        seen.append(text)
        return verify(problem, text)

    monkeypatch.setattr(pool, "verify", counted)
    assert pool.verify_many([BATCH[0]] * 50) == [EXPECTED[0]] * 50
    assert len(seen) == 1


def both_up() -> None:
    """On a busy machine one worker may decide everything while the other is still starting."""
    pool.verify_many(BATCH[:4], workers=2, timeout=10)
    while not all(worker.ready for worker in pool._pool(2).workers):
        pool.verify_many(BATCH, workers=2, timeout=10)


def test_a_worker_that_hangs_costs_one_item() -> None:
    both_up()
    held = pool._pool(2).workers[0]
    os.kill(held.process.pid, signal.SIGSTOP)
    verdicts = pool.verify_many(BATCH, workers=2, timeout=2)
    late = [k for k, verdict in enumerate(verdicts) if verdict.reason == "timeout"]
    assert len({(BATCH[k].problem.answer, BATCH[k].text) for k in late}) == 1
    assert all(v == e for k, (v, e) in enumerate(zip(verdicts, EXPECTED, strict=True)) if k not in late)
    assert held.process.poll() is not None


def test_a_worker_that_died_is_replaced() -> None:
    both_up()
    os.kill(pool._pool(2).workers[1].process.pid, signal.SIGKILL)
    pool._pool(2).workers[1].process.wait()
    verdicts = pool.verify_many(BATCH, workers=2, timeout=10)
    assert sum(v != e for v, e in zip(verdicts, EXPECTED, strict=True)) <= 2  # one distinct pair, at most twice in 60
    assert pool.verify_many(BATCH, workers=2, timeout=10) == EXPECTED


def test_from_a_thread() -> None:
    results: list[list[Verdict]] = []
    thread = threading.Thread(target=lambda: results.append(pool.verify_many(BATCH, workers=2, timeout=10)))
    thread.start()
    thread.join()
    assert results == [EXPECTED]


def test_a_megabyte_goes_through() -> None:
    long = solution("5", "x " * 500_000 + "\\boxed{5}")
    assert pool.verify_many([long, *BATCH[:3]], workers=2, timeout=10)[0].reason == "match"


def test_interrupted_or_finished_nothing_stays_behind() -> None:
    """A process that ends, by Ctrl-C too, takes its workers with it."""
    code = (
        "import sys; from verifiers import pool; from verifiers.solution import Problem, Solution\n"
        "pool.verify_many([Solution(Problem('', '', '5'), '5', ())], workers=2, timeout=30)\n"
        "print(*(w.process.pid for w in pool._pool(2).workers), flush=True)\n"
        "if sys.argv[1] == 'wait': sys.stdin.read()\n"
    )
    for mode in ("end", "wait"):
        with subprocess.Popen(
            [sys.executable, "-c", code, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            workers = [int(pid) for pid in child.stdout.readline().split()]
            if mode == "wait":
                child.send_signal(signal.SIGINT)
            assert child.wait(20) == (0 if mode == "end" else -signal.SIGINT)
        assert len(workers) == 2
        for pid in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
