"""Sets of reals against membership tested point by point."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.clean import clean
from verifiers.parse import parse
from verifiers.sets import real_set, same_set


def test_normal_form_merges_and_drops() -> None:
    found = real_set(parse(clean("[0,1]\\cup(1,2)\\cup\\{5\\}")))
    assert found is not None
    assert [place for place, _ in found.boundaries] == [0, 2, 5]
    assert found.members == (False, True, True, False, False, True, False)


@pytest.mark.parametrize("text", ["[a,b]", "x^2 < 4", "x < y", "5", "(3,1)", "x = 3"])
def test_what_is_no_set_of_reals_here(text: str) -> None:
    assert real_set(parse(clean(text))) is None


interval = st.tuples(st.integers(0, 8), st.integers(1, 5), st.sampled_from("(["), st.sampled_from(")]"))


def text_of(parts: list[tuple[int, int, str, str]]) -> str:
    return "\\cup".join(f"{opening}{low},{low + size}{closing}" for low, size, opening, closing in parts)


def members(parts: list[tuple[int, int, str, str]]) -> list[bool]:
    """Whether each quarter from 0 to 14 belongs to the union."""

    def inside(x: Fraction) -> bool:
        return any(
            (low < x or (low == x and o == "[")) and (x < low + n or (x == low + n and c == "]"))
            for low, n, o, c in parts
        )

    return [inside(Fraction(k, 4)) for k in range(-4, 60)]


@given(st.lists(interval, min_size=2, max_size=4), st.lists(interval, min_size=2, max_size=4))
def test_equal_exactly_when_members_are(a: list[tuple[int, int, str, str]], b: list[tuple[int, int, str, str]]) -> None:
    left, right = real_set(parse(clean(text_of(a)))), real_set(parse(clean(text_of(b))))
    assert left is not None
    assert right is not None
    assert same_set(left, right) is (members(a) == members(b))
