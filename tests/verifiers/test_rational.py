"""Exact arithmetic against hand-worked values and against Fraction's own operators."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.rational import evaluate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(3 + 4) * 2 - 12/4", 11),
        ("1,250 * 2", 2500),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("-3^2", -9),
        ("2^3^2", 512),
        ("2**-2", Fraction(1, 4)),
        ("(-2)^-3", Fraction(-1, 8)),
        ("2(3 + 1)(2)", 16),
        ("1/2(4)", 2),
        ("6 ÷ 2 × 3 − 1", 8),
        (".5 + 5.", Fraction(11, 2)),
        ("--4", 4),
    ],
)
def test_value(text: str, value: Fraction | int) -> None:
    assert evaluate(text) == value


def test_variables() -> None:
    assert evaluate("3x(x - 1)", {"x": Fraction(5, 2)}) == Fraction(45, 4)
    assert evaluate("xy/2", {"x": 3, "y": 4}) == 6


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/0",
        "0^0",
        "0^-1",
        "2 3",
        "x",
        "3x2",
        "((",
        "1 +",
        "3.5.2",
        "1,2",
        "9^9^9",
        "2^0.5",
        "٣",
        "1;2",
        "(" * 500,
        "9" * 2000,
        "1e5",
    ],
)
def test_refuses(text: str) -> None:
    assert evaluate(text, {"x": Fraction(1)} if text == "3x2" else {}) is None


numbers = st.integers(-50, 50).map(lambda n: (f"({n})", Fraction(n)))


def joined(children: st.SearchStrategy[tuple[str, Fraction]]) -> st.SearchStrategy[tuple[str, Fraction]]:
    def combine(parts: tuple[tuple[str, Fraction], str, tuple[str, Fraction]]) -> tuple[str, Fraction]:
        (a, x), sign, (b, y) = parts
        value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y if y else Fraction(0)}[sign]
        return (f"({a} {sign} {b})", value) if sign != "/" or y else (f"({a} + {b})", x + y)

    return st.tuples(children, st.sampled_from("+-*/"), children).map(combine)


@settings(deadline=None)
@given(st.recursive(numbers, joined, max_leaves=12))
def test_agrees_with_fractions(case: tuple[str, Fraction]) -> None:
    text, value = case
    assert evaluate(text) == value


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.+-*/^()x, ٣÷\x00\n", max_size=60))
def test_never_raises(text: str) -> None:
    assert evaluate(text, {"x": Fraction(2)}) is None or isinstance(evaluate(text, {"x": Fraction(2)}), Fraction)
