"""Model text is hostile: whatever it is, a verdict soon, and never a match that was not earned."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.choices import extract_choice
from verifiers.equal import decide
from verifiers.solution import Problem
from verifiers.steps import check_step
from verifiers.verify import verify

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 0.5  # the promise; each takes a tenth of it on an idle machine

HOSTILE = [
    "9**9**9", "10^{10^{10^{10}}}", "(10^9)!", "(((3!)!)!)!", "\\binom{10^9}{5}", "{" * 10_000 + "}" * 10_000,
    "(" * 10_000,
    "9" * 1_000_000, "1." + "3" * 3_000, "\\frac{" * 5_000, "\\sqrt{" * 900 + "2" + "}" * 900, "\\boxed{" * 10_000,
    "\\boxed " * 50_000, "\\boxed{x" * 5_000, "\\int_0^{10^9} e^{x^2} dx", "\\sum_{k=1}^{10^9} k",
    "\\sum_{k=1}^{99}" * 10 + "k",
    "\\sin(10^{10^6})", "((((2^9)^9)^9)^9)^9^9", "x^{10^{300}}", "\\sqrt[10^9]{2}", "\0", "\u202e12", "٣٤", "а",
    "\ud800",
    "\\text{" * 1_000 + "}" * 1_000, "$" * 100_000, "**" * 50_000, "the answer is " * 20_000, "A:\n" * 30_000,
    "#### " * 10_000,
    "</think>" * 20_000, "1," * 1_999 + "1", "-" * 3_999 + "1", "x" * 3_999, " " * 1_000_000, "1/0", "0^0", "\\log 0",
    "1\\pm" * 300 + "2", "(1\\pm" * 38 + "1" + ")" * 38, "1/" * 600 + "2",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}" * 40,
    "\\arctan\\ln x+" * 150 + "1", "x!+" * 200 + "1", "x<" * 300 + "1", "1e999999999", "e^{e^{e^{e^{e}}}}", "i^{i^{i}}",
    "5:.0", "\\arctan{}80", "40.333.333", "\\frac{21,000}{1005}", "5^'", "a\\gcd(, 2)", "(-\\inf4,\\infty0]",
    "__import__('os').system('touch owned')", "\\input{/etc/passwd}", "\\gcd(10^{4000},10^{3999})",
    "a" * 30 + "!" * 3_000, "0." + "3" * 3_000 + "...", "two hundred and " * 250,
    "\\{x \\mid " * 30 + "x>1" + "\\}" * 30, "5 ft 3 in " * 300, "1^\\circ 2' 3'' " * 200, "F" * 3_000 + "_{16}",
    "The solutions are " + "1, " * 5_000 + "2.", "is (1," * 5_000, "A or B, " * 5_000, "1 and " * 1_200 + "2",
    "\\prod_{k=1}^{999} k^{k^k}", "\\binom{5000}{2500}^{9}", "\\lcm(" + ",".join(map(str, range(1000, 1300))) + ")",
    "\\begin{pmatrix}" + "9^{99}&" * 99 + "1\\end{pmatrix}^4", "\\int\\int\\int e^{x^{x^{x}}} dx dy dz",
    "\\lim_{n\\to\\infty}(1+1/n)^n", "(a+b)^{9999999}", "\\sqrt[99]{" * 30 + "2" + "}" * 30, "x^2" + "+x^2" * 190,
    "\\frac{1}{1+" * 38 + "1" + "}" * 38, "x<1/3^{30000}", "x>\\binom{5000}{2500}^9", "\\sqrt" * 700 + "2",
    "\\frac" * 700 + "12", "\\log" * 700 + "2", "\\bar" * 700 + "x", "9" * 1_950 + "/" + "7" * 1_950, "A:\n" * 2_600,
    "+".join(["4999!!"] * 200), "*".join(["1e900"] * 400),
    "\\infty\\text{1.2.3}",
]  # fmt: skip

GOLDS = ["5", "\\sqrt{2}", "x^2+1", "(1,2)", "\\{1,2\\}", "B", "[0,1)", "hello", "1 \\pm \\sqrt{2}"]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:24]))
def test_a_verdict_soon_and_no_reward(text: str) -> None:
    modules = set(sys.modules)
    for gold in GOLDS:
        for wrapped in (text, f"So \\boxed{{{text}}}"):
            start = time.process_time()
            assert not verify(Problem("p", "", gold), wrapped).correct
            assert time.process_time() - start < SECONDS
    start = time.process_time()
    decide(text, text + "+1")
    check_step(text)
    extract_choice(text)
    assert time.process_time() - start < SECONDS
    assert {name.partition(".")[0] for name in set(sys.modules) - modules} <= {
        "mpmath",
        "verifiers",
        "gmpy2",
        "cmath",
    } | set(sys.stdlib_module_names)


PEAK = """
import json, sys
from verifiers import Problem, check_step, decide, verify
texts, golds = json.load(sys.stdin)
for text in texts:
    for gold in golds:
        verify(Problem("", "", gold), text)
    decide(text, text + "+1")
    check_step(text)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_all_of_them_fit_into_256_megabytes() -> None:
    """The most that a process of its own ever held, interpreter and inputs included, in kilobytes.

    Not getrusage's ru_maxrss: that counts what the test run held when it forked.
    """
    code = [sys.executable, "-c", PEAK]
    done = subprocess.run(
        code, input=json.dumps([HOSTILE, GOLDS]), capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )
    assert int(done.stdout) < 256 * 1024


pieces = st.sampled_from([
    *"0123456789abxyzABC+-*/^(){}[]<>=,.;:!?%$&_|~'\"\\ \n\t\x00²√π∞½−×÷≤≥∪∈°", "\\frac", "\\boxed{",
    "\\sqrt[", "\\left(",
    "\\text{", "\\begin{matrix}", "\\end{matrix}", "\\\\", "\\sum_{k=1}^{9}", "\\int", "\\log_", "\\sin^",
    "the answer is ",
    "</think>", "####", "1,000", "\\cup", "\\pm", "9^9", "\\overline{", "\\binom", "\\pmod", "\\ne", "cm", "and",
])  # fmt: skip


@settings(max_examples=1500, deadline=2_000)
@given(st.lists(pieces, max_size=40).map("".join), st.sampled_from(GOLDS))
def test_fuzz(text: str, gold: str) -> None:
    verify(Problem("p", "(A) 1 (B) 2", gold), text)
    decide(text, gold)
    check_step(text, text)
