"""Numbers in words."""

from fractions import Fraction

import pytest

from verifiers.spoken import spoken


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ("zero", 0, ""),
        ("three apples", 3, "apples"),
        ("twenty five", 25, ""),
        ("two hundred and five apples", 205, "apples"),
        ("one thousand two hundred", 1200, ""),
        ("three million forty", 3_000_040, ""),
        ("two thirds of it", Fraction(2, 3), "of it"),
        ("half", Fraction(1, 2), ""),
    ],
)
def test_spoken(text: str, value: Fraction | int, rest: str) -> None:
    assert spoken(text) == (value, rest)


@pytest.mark.parametrize("text", ["", "apples", "two five", "three dozen", "one point five", "hundred"])
def test_no_number_or_only_part_of_one(text: str) -> None:
    assert spoken(text) is None
