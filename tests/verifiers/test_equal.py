"""Every kind of answer that should be equal, and look-alikes that must not be."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.equal import decide, equal

ROOT = Path(__file__).resolve().parents[2]

EQUAL = """
1/2 | 0.5
\\frac12 | .5
-\\frac{1}{2} | \\frac{-1}{2}
1,234,567 | 1234567
1 234 567 | 1{,}234{,}567
\\$1,000 | 1000 dollars
50\\% | 1/2
50% | 50 percent
2\\frac{3}{4} | 2 3/4
3½ | 3.5
2√3 | \\sqrt{12}
\\frac{\\sqrt{2}}{2} | 1/\\sqrt2
π/4 | \\frac{\\pi}{4}
2^{1/2} | \\sqrt2
e^{\\ln 3} | 3
6.02\\times 10^{23} | 6.02e23
101_2 | 101_{2}
3+4i | 4i+3
(x+1)(x-1) | x^2-1
\\frac{x^2-1}{x-1} | x+1
x=5 | 5
2x-y+1=0 | y=2x+1
x^2/4+y^2/3=1 | 3x^2+4y^2=12
3<x | (3,\\infty)
-1<x\\le 2 | x \\in (-1,2]
|x|<2 | (-2,2)
x<1 or x>3 | (-\\infty,1)\\cup(3,\\infty)
x>1 and x<3 | (1,3)
x\\ne 2 | (-\\infty,2)\\cup(2,\\infty)
\\{1,2\\} | 2 and 1
(1, 2) | (1.0,\\frac42)
\\begin{pmatrix}1\\\\2\\end{pmatrix} | (1,2)
\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix} | -2
x=\\pm 3 | x=3 or x=-3
2\\pm\\sqrt3 | \\{2-\\sqrt3, 2+\\sqrt3\\}
\\sin^2 x | 1-\\cos^2 x
\\sin^{-1} x | \\arcsin(x)
\\log_2 8 | 3
\\ln 4 | 2\\ln 2
90^\\circ | 90 degrees
180^\\circ | \\pi
5\\text{ cm}^2 | 5 square centimeters
1 m | 100 cm
10 km/h | 10 kilometers per hour
2:30 pm | 14:30
1:2 | 2:4
(B) | \\text{(B)}
B. Paris | B
\\text{The Paris} | paris
∅ | \\{\\}
\\mathbb{R} | (-\\infty,\\infty)
10! | 3628800
\\binom{5}{2} | 10
0.\\overline{3} | 1/3
0.333333333 | 1/3
5 million | 5000000
three | 3
a=1, b=2 | b=2, a=1
f(x)=x^2 | x^2
n \\equiv 3 \\pmod{7} | 3 \\pmod 7
e^{i\\pi} | -1
2^{1000} | 4^{500}
\\int_{a}^{b} x dx | \\int^{b}_{a} x \\, dx
\\sum_{k=1}^{4} k | 10
11/6 \\approx 1.83 | 1\\frac56
The area is $9$. | 9
]0,1[ | (0,1)
[0,1[ | 0 \\le x < 1
٣ | 3
1.234.567 | 1234567
3 x 10^8 | 300000000
2:30 p.m. | 14:30
[[1,0],[0,1]] | \\begin{bmatrix}1&0\\\\0&1\\end{bmatrix}
\\text{no solution} | \\emptyset
10 USD | \\$10
\\text{2600 g} | 2600
"""

DIFFERENT = """
3\\sqrt{13} | 3\\sqrt{2}
108\\sqrt3 | 108^\\circ
1/2^{99} | 1/2^{98}
12\\sqrt{35} | 71
42 | 4200
1,-2 | 1,2
42 \\text{ or } 43 | 42
0.333 | 1/3
3.14159 | \\pi
(1,2) | (2,1)
(1,2] | [1,2)
[1,2] | (1,2)
5 cm | 5 m
9 a.m. | 9 p.m.
x>3 | x\\ge 3
x=5 | y=5
2x+z=1 | 1
7=11a+c | 11a+c
\\{1,2\\} | \\{1,2,3\\}
75, 75 | 75
\\sqrt{x^2} | x
1 1/2 | 11/2
101_2 | 101_3
3+4i | 3-4i
50% | 5
1000000007 | 1000000009
\\frac{1}{2004!} | \\frac{1}{2006!}
2^{200}+\\sqrt2 | 2^{200}+\\sqrt3
10^{10^{10}} | 10^{10^{10}}+1
e^{\\pi\\sqrt{163}} | 262537412640768744
4abcd | 4
5m | 5
(-2)^2 | -2^2
1/2/3 | 1/(2/3)
1,2,\\ldots | 1,2
x\\in\\{1,2\\} | x\\notin\\{1,2\\}
\\begin{pmatrix}1&2\\end{pmatrix} | \\begin{pmatrix}1\\\\2\\end{pmatrix}
2:30 | 2:31
\\infty | -\\infty
\\mathbb{R} | \\mathbb{Q}
\\bar{x} | x
f'(x) | f(x)
\\sin x | \\cos x
\\text{even} | \\text{odd}
A | B
two lines | 2 miles
x^2/4+y^2/3=1 | x^2/16+y^2/12=1
"""


def pairs(table: str) -> list[tuple[str, str]]:
    rows = [row.rpartition(" | ") for row in table.strip("\n").splitlines()]
    return [(a, b) for a, _, b in rows]


def listed(name: str) -> list[tuple[str, str]]:
    """More pairs, a line each, of every category of answer."""
    return pairs((Path(__file__).parent / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("a", "b"), [*pairs(EQUAL), *listed("equal.txt")])
def test_equal(a: str, b: str) -> None:
    assert equal(a, b) is True
    assert equal(b, a) is True


@pytest.mark.parametrize(("a", "b"), [*pairs(DIFFERENT), *listed("different.txt")])
def test_different(a: str, b: str) -> None:
    assert not equal(a, b)
    assert not equal(b, a)


@pytest.mark.parametrize("other", ["", " ", "$$", "\\boxed{}", "\x00", "\\unknown", "1/0", "))((", "9" * 5000])
def test_could_not_tell_is_never_equal(other: str) -> None:
    assert not equal("5", other)
    assert decide("", other).verdict is None


@pytest.mark.parametrize(
    ("a", "b", "rung"),
    [
        ("7", "7.0", "string"),
        ("$x$", "x", "canonical form"),
        ("(x+1)^2", "x^2+2x+1", "exact"),
        ("{1,2}", "2,1", "structure"),
        ("\\sin(2x)", "2\\sin x\\cos x", "numeric"),
        ("9^{9^{9^9}}", "7", "limit"),
    ],
)
def test_rung(a: str, b: str, rung: str) -> None:
    assert decide(a, b).rung == rung


tokens = st.sampled_from([
    *"0123456789xyie+-*/^(){}[],=<>|!%:$&_ ²½", "\\frac", "\\sqrt", "\\pi", "\\pm", "\\infty", "\\cup", "\\in",
    "\\text{cm}", "\\circ", "\\sin", "\\le", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\", "and",
])  # fmt: skip
answers = st.lists(tokens, min_size=1, max_size=14).map("".join)


@settings(max_examples=400, deadline=None)
@given(answers, answers)
def test_symmetric_reflexive_and_total(a: str, b: str) -> None:
    assert decide(a, b).verdict == decide(b, a).verdict
    assert not a.strip() or decide(a, a).verdict is True
    assert decide(a, b) == decide(a, b)


def test_verdicts_do_not_depend_on_hash_order() -> None:
    cases = pairs(EQUAL) + pairs(DIFFERENT)
    code = f"from verifiers import decide; print([decide(a, b) for a, b in {cases!r}])"

    def output(seed: str) -> bytes:
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout

    assert output("0") == output("1") != b""
