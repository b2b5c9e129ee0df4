"""Scalars against SymPy, which plays no part in the code under test."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.clean import clean
from verifiers.nodes import Node
from verifiers.parse import parse
from verifiers.scalar import exact, same_value


def tree(text: str) -> Node:
    return parse(clean(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\sqrt[3]{-27}", -3),
        ("8^{2/3}", 4),
        ("\\lfloor -3.5 \\rfloor", -4),
        ("17 \\bmod 5", 2),
        ("-7 \\bmod 3", 2),
        ("\\gcd(12, 18)", 6),
        ("7!!", 105),
        ("12\\%", Fraction(3, 25)),
        ("\\sqrt{2}", None),
        ("9^{9^9}", None),
        ("6000!", None),
        ("1/0", None),
    ],
)
def test_exact(text: str, value: Fraction | int | None) -> None:
    assert exact(tree(text)) == value


coefficients = st.lists(st.integers(-9, 9), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(coefficients, coefficients, st.integers(-1, 1))
def test_polynomial_products_against_sympy(a: list[int], b: list[int], offset: int) -> None:
    import sympy

    x = sympy.Symbol("x")
    first, second = (sum(c * x**k for k, c in enumerate(cs)) for cs in (a, b))
    expanded = sympy.expand(first * second) + offset
    written = "({})({})".format(*("+".join(f"({c})x^{k}" for k, c in enumerate(cs)) for cs in (a, b)))
    verdict, way = same_value(tree(written), tree(str(expanded).replace("**", "^")))
    assert verdict is (offset == 0)
    assert way in ("exact", "canonical form")


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60))
def test_nested_radicals_against_algebra(a: int, b: int) -> None:
    """(sqrt a + sqrt b)^2 = a + b + 2 sqrt(ab)."""
    left = f"\\sqrt{{{a + b}+2\\sqrt{{{a * b}}}}}"
    right = f"\\sqrt{{{a}}}+\\sqrt{{{b}}}"
    assert same_value(tree(left), tree(right))[0] is True
    assert same_value(tree(left), tree(right + "+10^{-30}"))[0] is False


@pytest.mark.parametrize("text", ["\\pi/2004!", "2^{2000}\\sqrt{2}"])
def test_far_out_of_range_is_told_apart_or_left_open(text: str) -> None:
    assert same_value(tree(text), tree(text + "+\\sqrt{3}/5000!"))[0] is not True


def test_an_unknown_function_is_not_called_different() -> None:
    assert same_value(tree("\\arg(1+i)"), tree("\\pi/4"))[0] is None
