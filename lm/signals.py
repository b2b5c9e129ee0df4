"""Ctrl-C as a request: the first asks a loop to stop when it can, the second does not ask."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The signals (SIGINT, SIGTERM) that have asked the run to stop: one asks, the second does not ask."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping after this step (again: stop at once, without saving)\n")

    # Python hears signals in its main thread only; a signal that is ignored (nohup, a shell's &) stays so.
    hears = threading.current_thread() is threading.main_thread()
    numbers = [
        n for n in (signal.SIGINT, signal.SIGTERM) if hears and signal.getsignal(n) not in (signal.SIG_IGN, None)
    ]
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
