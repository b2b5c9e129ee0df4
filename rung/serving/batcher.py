"""Many callers, one model: what waits is scored together, as much at a time as fits a budget of tokens."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prm.scorer import Scorer
from prm.scores import StepScores
from rung.web.guard import Refusal
from verifiers.solution import Solution

_LONGEST_WAIT = 60  # seconds a refused client is told to wait at most


@dataclass(frozen=True)
class Scored:
    """The scores of a request's solutions, in its order, and how many tokens they had."""

    scores: list[StepScores]
    tokens: int


@dataclass(frozen=True, eq=False)
class Job:
    """A request's solutions, and where its answer goes."""

    solutions: Sequence[Solution]
    answer: asyncio.Future[Scored]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True)
class Batch:
    """What was scored in one go, for the metrics."""

    requests: int
    solutions: int
    tokens: int
    seconds: float


class Batcher:
    """A bounded queue of jobs and the one thread that scores them, first come, first served.

    The thread takes jobs until their tokens, as the scorer measures them, reach ``budget`` (one job at least). At most
    ``capacity`` jobs wait. ``observe`` hears of every batch, from the thread.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        budget: int,
        capacity: int,
        observe: Callable[[Batch], None],
    ) -> None:
        self._scorer, self._observe = scorer, observe
        self._budget, self._capacity = budget, capacity
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._unanswered = 0
        self._ending = False
        self._rate = 1.0  # jobs a second, lately
        self._thread = threading.Thread(target=self._work, name="scorer")

    def start(self) -> None:
        """Start the scoring thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the scoring thread after the batch it is at: a process must not end in the middle of a forward pass."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        """How many jobs wait or are being scored."""
        return self._unanswered

    def submit(self, solutions: Sequence[Solution]) -> "asyncio.Future[Scored]":
        """Queue a request's solutions, from the event loop's thread. Cancel the future to withdraw them.

        The future raises Refusal 413 for a solution that the model cannot read. Raises Refusal 429 for a full queue.
        """
        with self._changed:
            if len(self._waiting) >= self._capacity:
                wait = math.ceil(min(max(len(self._waiting) / self._rate, 1), _LONGEST_WAIT))
                raise Refusal(429, f"{len(self._waiting)} requests are waiting already; try again in {wait} s", wait)
            loop = asyncio.get_running_loop()
            job = Job(solutions, loop.create_future(), loop)
            self._waiting.append(job)
            self._unanswered += 1
            self._changed.notify()
        job.answer.add_done_callback(self._count_answer)
        return job.answer

    def _count_answer(self, _: "asyncio.Future[Scored]") -> None:
        with self._changed:
            self._unanswered -= 1

    # --- the scoring thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        held: tuple[Job, int] | None = None  # it was taken, but did not fit the last batch
        while not self._ending:
            jobs, tokens = ([held[0]], [held[1]]) if held else ([], [])
            held = None
            while sum(tokens) < self._budget and (job := self._take(wait=not jobs)) is not None:
                count = self._measure(job)
                if count is None:
                    continue
                if jobs and sum(tokens) + count > self._budget:
                    held = (job, count)
                    break
                jobs.append(job)
                tokens.append(count)
            if jobs:
                self._score(jobs, tokens)

    def _take(self, *, wait: bool) -> Job | None:
        """The next job whose client still waits; None where there is none and ``wait`` is false, or at the end."""
        with self._changed:
            while not self._ending:
                while self._waiting:
                    job = self._waiting.popleft()
                    if not job.answer.cancelled():
                        return job
                if not wait:
                    return None
                self._changed.wait()
        return None

    def _measure(self, job: Job) -> int | None:
        """The job's tokens; None where one of its solutions cannot be scored, which it is told."""
        try:
            sizes = self._scorer.measure(job.solutions)
        except Exception as error:
            self._tell([(job, error)])
            return None
        complaint = next((size for size in sizes if isinstance(size, str)), None)
        if complaint is not None:
            self._tell([(job, Refusal(413, complaint))])
            return None
        return sum(size for size in sizes if isinstance(size, int))

    def _score(self, jobs: list[Job], tokens: list[int]) -> None:
        started = time.perf_counter()
        try:
            scores = iter(self._scorer.score([solution for job in jobs for solution in job.solutions]))
        except Exception as error:
            if len(jobs) == 1:
                self._tell([(jobs[0], error)])
                return
            for job, count in zip(jobs, tokens, strict=True):  # one client's input must not cost the others theirs
                self._score([job], [count])
            return
        seconds = time.perf_counter() - started
        self._rate += 0.2 * (len(jobs) / max(seconds, 1e-6) - self._rate)
        self._observe(Batch(len(jobs), sum(len(job.solutions) for job in jobs), sum(tokens), seconds))
        self._tell(
            [
                (job, Scored([next(scores) for _ in job.solutions], count))
                for job, count in zip(jobs, tokens, strict=True)
            ]
        )

    def _tell(self, answers: list[tuple[Job, Scored | Exception]]) -> None:
        """Wake the clients: one call into the event loop for all of a batch."""
        with suppress(RuntimeError):  # the loop is closed: all of these clients went away, and the server with them
            answers[0][0].loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[tuple[Job, Scored | Exception]]) -> None:
    for job, answer in answers:
        if job.answer.cancelled():
            continue
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
