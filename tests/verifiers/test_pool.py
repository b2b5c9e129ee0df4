"""Batches: order, duplicates, and workers that are stopped or killed in the middle."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from verifiers import pool
from verifiers.policy import Policy
from verifiers.solution import Problem, Solution, Verdict
from verifiers.verify import verify


def solution(answer: str, text: str) -> Solution:
    return Solution(Problem("p", "How many?", answer), text, ())


BATCH = [solution(f"{k % 7}x", f"So it is \\boxed{{{k % 5}x}}") for k in range(60)]  # 35 distinct pairs
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

    def counted(problem: Problem, text: str, **options: Any) -> Verdict:
        seen.append(text)
        return verify(problem, text, **options)

    monkeypatch.setattr(pool, "verify", counted)
    assert pool.verify_many([BATCH[0]] * 50) == [EXPECTED[0]] * 50
    assert len(seen) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_policy_rules_and_progress_reach_the_workers(workers: int) -> None:
    batch = [solution("1, 2", "The answer is $2, 1$. \\boxed{7}"), *BATCH]
    done: list[int] = []
    strict = Policy(ordered_lists=True)
    for policy, rules, reason in ((strict, ("the answer is",), "mismatch"), (Policy(), ("the answer is",), "match")):
        verdicts = pool.verify_many(batch, workers=workers, timeout=10, policy=policy, rules=rules, advance=done.append)
        assert (verdicts[0].predicted, verdicts[0].reason) == ("2, 1", reason)
    assert sum(done) == 2 * len(batch)
    assert max(done) == 2  # a pair that comes twice advances by two at once


def test_plain_numbers_need_no_worker() -> None:
    numbers = [solution("72", "So \\boxed{72}"), solution("72", "#### 1,071"), solution("1,071", "it is 1071.0 apples")]
    before = dict(pool._pools)
    verdicts = pool.verify_many(numbers, workers=7)
    assert [v.reason for v in verdicts] == ["match", "mismatch", "match"]
    assert pool._pools == before


def both_up() -> None:
    """On a busy machine one worker may decide everything while the other is still starting."""
    pool.verify_many(BATCH[:4], workers=2, timeout=10)
    while not all(worker.ready for worker in pool._pool(2).workers):
        pool.verify_many(BATCH, workers=2, timeout=10)


def test_a_worker_that_stops_loses_no_item() -> None:
    both_up()
    held = pool._pool(2).workers[0]
    os.kill(held.process.pid, signal.SIGSTOP)
    assert pool.verify_many(BATCH, workers=2, timeout=2) == EXPECTED
    assert held.process.poll() is not None


FAULTS = """
import importlib, os, time
module = importlib.import_module("verifiers.verify")
right = module.verify
def verify(problem, text, **options):
    if "HANG" in text:
        time.sleep(60)
    if "DIE" in text:
        os._exit(1)
    return right(problem, text, **options)
module.verify = verify
"""


def test_only_the_item_that_hangs_or_kills_is_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real workers with a fault put into them as they start."""
    (tmp_path / "sitecustomize.py").write_text(FAULTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    batch = [*BATCH[:30], solution("x", "HANG \\boxed{x}"), *BATCH[30:], solution("x", "DIE \\boxed{x}")]
    verdicts = pool.verify_many(batch, workers=3, timeout=1.5)
    assert [v.reason for k, v in enumerate(verdicts) if k in (30, 61)] == ["timeout", "timeout"]
    assert verdicts[:30] + verdicts[31:61] == EXPECTED
    pool.close_pools()


def test_a_worker_that_died_is_replaced() -> None:
    both_up()
    os.kill(pool._pool(2).workers[1].process.pid, signal.SIGKILL)
    pool._pool(2).workers[1].process.wait()
    verdicts = pool.verify_many(BATCH, workers=2, timeout=10)
    assert verdicts == EXPECTED


def test_from_a_thread() -> None:
    results: list[list[Verdict]] = []
    thread = threading.Thread(target=lambda: results.append(pool.verify_many(BATCH, workers=2, timeout=10)))
    thread.start()
    thread.join()
    assert results == [EXPECTED]


def in_a_pool() -> list[Verdict]:
    verdicts = pool.verify_many(BATCH[:8], workers=1, timeout=10)
    pool.close_pools()
    return verdicts


def test_from_a_daemonic_process_and_from_asyncio() -> None:
    """A daemon may not start processes by way of multiprocessing; ours are plain subprocesses."""
    with multiprocessing.get_context("fork").Pool(1) as daemons:
        assert daemons.apply(in_a_pool) == EXPECTED[:8]

    async def under_asyncio() -> list[Verdict]:
        return await asyncio.to_thread(in_a_pool)

    assert asyncio.run(under_asyncio()) == EXPECTED[:8]


def test_a_megabyte_goes_through() -> None:
    long = solution("5y", "x " * 500_000 + "\\boxed{5y}")
    assert pool.verify_many([long, *BATCH[:3]], workers=2, timeout=10)[0].reason == "match"


def test_interrupted_or_finished_nothing_stays_behind() -> None:
    """A process that ends, by Ctrl-C too, takes its workers with it."""
    code = (
        "import sys; from verifiers import pool; from verifiers.solution import Problem, Solution\n"
        "pool.verify_many([Solution(Problem('', '', '5x'), '5x', ())], workers=2, timeout=30)\n"
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
