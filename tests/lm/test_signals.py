"""lm.signals: a loop is asked to stop once, and interrupted the second time. What a run does with it: test_run.py."""

import os
import signal
import threading

import pytest

from lm.signals import stop_signals


def test_the_first_asks_and_the_second_interrupts() -> None:
    with stop_signals() as asked:
        assert asked == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_signals():
        assert signal.getsignal(signal.SIGINT) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_outside_the_main_thread_nothing_is_heard() -> None:
    heard: list[list[int]] = []

    def elsewhere() -> None:
        with stop_signals() as asked:
            heard.append(asked)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert heard == [[]]
