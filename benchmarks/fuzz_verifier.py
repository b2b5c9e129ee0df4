"""Fuzz the verifier: whatever the texts, a verdict soon, the same both ways round, and no import of anything new.

    python -m benchmarks.fuzz_verifier --minutes 30 --engine hypothesis
    python -m benchmarks.fuzz_verifier --minutes 30 --engine atheris     # coverage-guided; needs `pip install atheris`

"hypothesis" strings pieces of mathematics and of model texts together; "atheris" changes bytes where that reaches new
code.  Every call must end within 0.5 s of CPU time.  The first failure is printed with its input and ends the run with
status 1; otherwise the last line tells how many inputs were tried and the slowest call.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SECONDS = 0.5
_LATEX = r"""
\frac \frac12 \dfrac{ \boxed{ \boxed \sqrt[ \sqrt{ \left( \right) \left\{ \text{ \mathrm{ \begin{matrix} \end{matrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} \\ \sum_{k=1}^{9} \prod_{k=1}^{5} \int_0^1 \lim_{x\to0} \log_ \sin^ \cos \cup \cap
\setminus \in \mathbb{R} \pm 9^9 9**9**9 10^{10^{10}} (10^9)! \overline{ \binom \pmod \ne \circ \infty \lfloor \gcd(
1,000 0.333... 1e999 101_2 2A_{16} cm m/s^2 ** #### </think> <answer> <<48/2=24>>24 \color{red} 99999999999999999999
"""
PIECES = [
    *"0123456789abcexyzABCDPI+-*/^(){}[]<>=,.;:!?%$&_|~'\"\\ \n\t\x00²√π∞½−×÷≤≥∪∈°٣⌊⌋",
    *_LATEX.split(), "12:30 pm", "5 ft 3 in", " and ", " or ", "two hundred", "x \\mid ", "the answer is ", "Answer: ",
    "A: ", "(B) ", "20% of 50 is 10", "solutions are ", " is not ", "Step 1: ",
]  # fmt: skip


class FailedError(Exception):
    """A promise was broken; the message says by which call and on what."""


class Watch:
    """Calls the verifier on pairs of texts and holds it to its promises."""

    def __init__(self) -> None:
        from verifiers import Problem, check_step, decide, effort, extract_choice, verify

        effort.SECONDS = 3_600.0  # the count of work is on trial; the clock, its last resort, depends on the machine

        self.decide = decide
        self.calls: dict[str, Callable[[str, str], Any]] = {
            "verify": lambda a, b: verify(Problem("", "(A) 1 (B) 2", a), b),
            "check_step": check_step,
            "extract_choice": lambda a, _: extract_choice(a),
        }
        self.inputs, self.slowest, self.culprit, self.warm = 0, 0.0, "", False
        one = "\\begin{pmatrix}1\\end{pmatrix}"
        for a, b in (("\\sin(2x)", "2\\sin x\\cos x"), (f"{one}+{one}", f"2{one}")):
            self.pair(a, b)  # what is imported when first needed
        self.warm = True

    def pair(self, a: str, b: str) -> None:
        self.inputs += 1
        modules = set(sys.modules)
        there, back = self.timed("decide", self.decide, a, b), self.timed("decide", self.decide, b, a)
        if there.verdict != back.verdict:
            raise FailedError(f"decide is {there} one way and {back} the other on {a!a} and {b!a}")
        if a.strip() and self.timed("decide", self.decide, a, a).verdict is not True:
            raise FailedError(f"decide does not call {a!a} equal to itself")
        for name, call in self.calls.items():
            self.timed(name, call, a, b)
        if self.warm and set(sys.modules) != modules:
            raise FailedError(f"{sorted(set(sys.modules) - modules)} imported on {a!a} and {b!a}")

    def timed(self, name: str, call: Callable[[str, str], Any], a: str, b: str) -> Any:
        start = time.thread_time()
        try:
            result = call(a, b)
        except Exception as error:
            raise FailedError(f"{name} raised {error!r} on {a!a} and {b!a}") from error
        seconds = time.thread_time() - start
        if seconds > self.slowest and self.warm:
            self.slowest, self.culprit = seconds, f"{name} of {a!a} and {b!a}"
        if seconds > SECONDS and self.warm:
            raise FailedError(f"{name} took {seconds:.2f} s on {a!a} and {b!a}")
        return result

    def report(self, engine: str) -> str:
        return f"{engine}: {self.inputs:,} pairs, slowest call {1e3 * self.slowest:.0f} ms ({self.culprit[:300]})"


def with_hypothesis(minutes: float) -> None:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st

    watch, end = Watch(), time.monotonic() + 60 * minutes
    text = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=40).map("".join)
    number = 0
    while time.monotonic() < end:
        number += 1

        @seed(number)
        @settings(
            max_examples=2_000,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(text, text, st.booleans())
        def one_round(a: str, b: str, related: bool) -> None:
            if time.monotonic() < end:
                watch.pair(a, a[: len(a) // 2] + b if related else b)

        one_round()
    print(watch.report("hypothesis"), flush=True)


def with_atheris(minutes: float) -> None:
    import atheris

    with atheris.instrument_imports(include=["verifiers"]):
        watch = Watch()

    end, told = time.monotonic() + 60 * minutes, False

    def one_input(data: bytes) -> None:
        nonlocal told
        if time.monotonic() > end and not told:  # libFuzzer ends the process without a word to Python
            told = True
            print(watch.report("atheris"), flush=True)
        provider = atheris.FuzzedDataProvider(data)
        texts = []
        for _ in range(2):
            count = provider.ConsumeIntInRange(0, 24)
            pieces = (PIECES[provider.ConsumeIntInRange(0, len(PIECES) - 1)] for _ in range(count))
            texts.append("".join(pieces) + provider.ConsumeUnicode(provider.ConsumeIntInRange(0, 30)))
        watch.pair(texts[0], texts[1])

    artifacts = f"-artifact_prefix={tempfile.gettempdir()}/"
    atheris.Setup([sys.argv[0], artifacts, "-max_len=400", f"-max_total_time={int(60 * minutes) + 5}"], one_input)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    arguments = parser.parse_args()
    try:
        {"hypothesis": with_hypothesis, "atheris": with_atheris}[arguments.engine](arguments.minutes)
    except FailedError as failure:
        raise SystemExit(f"{arguments.engine}: {failure}") from failure


if __name__ == "__main__":
    main()
