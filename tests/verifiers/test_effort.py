"""Work is counted, the same everywhere; the clock is the last resort."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from verifiers import Problem, decide, effort, numeric, verify
from verifiers.effort import Exhausted, OutOfTime, metered, spend

# Each of these took one to four seconds before work was counted.
COSTLY = [
    "+".join(["4999!!"] * 200),
    "+".join(f"1/3^{{{30000 - k}}}" for k in range(80)),
    "*".join("(3^{9000}/7^{9000})(7^{9000}/3^{9000})" for _ in range(25)),
    "+".join(f"\\binom{{5000}}{{{2500 - k}}}" for k in range(80)),
    "+".join(r"\lfloor 5000!/3^{30000}\rfloor" for _ in range(60)),
    "*".join(["1e900"] * 400),
    "x^{5000!/4999!}" * 40,
    ", ".join(f"\\sum_{{k=1}}^{{99}}\\sqrt{{k+{j}}}" for j in range(24)),
    "+".join(f"\\arctan(\\sqrt{{x+{k}}})" for k in range(60)),
]


@pytest.mark.parametrize("text", COSTLY, ids=lambda text: text[:24])
@pytest.mark.parametrize("pair", ["1\\pm({})|1\\pm({}+0)", "x<{}|x<{}+0", "{}, 1|1, 2, {}"])
def test_costly_texts_end_soon(text: str, pair: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "SECONDS", 60.0)  # the count alone ends them, in at most 0.08 s on an idle machine
    a, b = pair.replace("{}", text).split("|")
    start = time.process_time()
    decide(a, b)
    assert time.process_time() - start < 0.5


def test_the_count_does_not_depend_on_what_was_compared_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "SECONDS", 60.0)  # the count alone, however busy the machine
    pairs = [(text, f"{text}+0") for text in COSTLY] + [("\\sqrt{8}", "2\\sqrt2")]
    with ThreadPoolExecutor(1) as thread:
        first = [decide(a, b).verdict for a, b in pairs]
        again = [decide(b, a).verdict for a, b in pairs]
        elsewhere = list(thread.map(lambda pair: decide(*pair).verdict, pairs))
    assert first == again == elsewhere
    assert first[-1] is True


def test_only_the_outermost_counts() -> None:
    with metered():
        spend(effort.UNITS - 10)
        with metered():
            spend(10)
            with pytest.raises(Exhausted):
                spend(1)
    spend(10 * effort.UNITS)  # outside nothing is limited


def test_the_clock_stops_what_the_count_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "SECONDS", -1.0)
    with metered(), pytest.raises(OutOfTime):
        spend(1)
    assert decide("\\sqrt{8}", "2\\sqrt{2}").rung == "time"
    assert verify(Problem("", "", "\\sqrt{8}"), "\\boxed{2\\sqrt{2}}").reason == "timeout"
    assert verify(Problem("", "", "8"), "\\boxed{8}").correct


def test_a_thread_does_not_wait_for_ever_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "SECONDS", 0.05)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with numeric._one_at_a_time():
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        held.wait(10)
        start = time.monotonic()
        assert decide("\\sin 1", "\\sin 2").rung == "time"
        assert time.monotonic() - start < 5
    finally:
        done.set()
        thread.join()
