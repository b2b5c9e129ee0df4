"""Judging what has been sampled while the rest is still being sampled."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stream(Generic[T, R]):
    """``judge``, in a thread of its own, of all that was put since it last looked, together.

    with Stream(judge) as stream:
        sample(..., stream.put)
        judged = stream.results()
    """

    def __init__(self, judge: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._judge = judge
        self._waiting: deque[Mapping[int, T]] = deque()
        self._found: dict[int, R] = {}
        self._turns: list[Future[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")

    def put(self, some: Mapping[int, T]) -> None:
        """Things to judge, by their places."""
        self._waiting.append(some)
        self._turns.append(self._thread.submit(self._take))

    def _take(self) -> None:
        some: dict[int, T] = {}
        while self._waiting:
            some |= self._waiting.popleft()
        if some:
            self._found |= zip(some, self._judge(list(some.values())), strict=True)

    def results(self) -> list[R]:
        """What was found of places 0, 1, ...; waits for it, and raises what ``judge`` has raised."""
        for turn in self._turns:
            turn.result()
        return [self._found[place] for place in range(len(self._found))]

    def __enter__(self) -> "Stream[T, R]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
