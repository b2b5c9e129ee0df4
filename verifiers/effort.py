"""How much work a verdict may cost, whatever the text: counted first, and timed as a last resort.

Work is counted in units of about a microsecond of one core, from the sizes of the numbers and trees at hand, so a text
gets the same verdict on every machine, in every thread and worker, however busy.  The clock stops only what the count
lets through on a machine too busy for it, so that the answer still comes within half a second of wall time.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from verifiers.nodes import Unreadable

UNITS = 40_000  # a verdict on real answers takes some 10 to 10,000, n!/(k!(n−k)!) beside a binomial 17,000
SECONDS = 0.45  # of wall time; an operation that has begun is finished


class Exhausted(Unreadable):
    """The work would go beyond the limit."""


class OutOfTime(Exhausted):
    """The clock ran out first."""


class _Meter(threading.local):
    running = False
    left: float = math.inf
    end: float = math.inf


_meter = _Meter()


class metered:  # a class, since a generator would cost more than many a verdict
    """The work and time of everything inside; within another one it changes nothing, so the outermost counts."""

    def __enter__(self) -> None:
        self.outermost = not _meter.running
        if self.outermost:
            _meter.running, _meter.left, _meter.end = True, UNITS, time.monotonic() + SECONDS

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.outermost:
            _meter.running, _meter.left, _meter.end = False, math.inf, math.inf


def spend(units: int) -> None:
    """Count work about to be done; raises ``Exhausted`` where it would be too much, ``OutOfTime`` where it is too late.
    Outside ``metered`` nothing is limited."""
    _meter.left -= units
    if _meter.left < 0:
        raise Exhausted("more work than one comparison may take")
    if time.monotonic() > _meter.end:
        raise OutOfTime("the machine is too busy to finish in time")


@contextmanager
def clock_stopped() -> Iterator[None]:
    """For what happens once in a process, such as an import, and is not the text's doing."""
    start = time.monotonic()
    yield
    _meter.end += time.monotonic() - start


def seconds_left() -> float:
    """Until the clock runs out, for waiting on a lock; at most a day."""
    return min(max(0.0, _meter.end - time.monotonic()), 86_400.0)
