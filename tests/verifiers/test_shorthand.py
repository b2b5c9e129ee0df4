"""Shorthand, each kind beside a text that looks like it and is none."""

import pytest

from verifiers.shorthand import spelt_out, whole_numbers_named


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5'3\"", "5 feet 3 inches"),
        ("f'(3)", "f'(3)"),
        ("2h 5m", "2hr 5 min"),
        ("2h + 5m", "2h + 5m"),
        ("12 sq. cm", "12 sq cm"),
        ("Rs. 40", "\\rupee 40"),
        ("7 o'clock", "7:00"),
        ("12 noon", "12:00 PM"),
        ("noon tide", "noon tide"),
        ("1\\!,000", "1,000"),
        ("{x | x > 2}", "\\{x | x > 2\\}"),
        ("{x}^{2}", "{x}^{2}"),
        ("\\angle ABC", "B_{AC}"),
        ("m∠CBA", "B_{AC}"),
        ("∠A", "∠A"),
        ("\\angle ABCD", "\\angle ABCD"),
        ("$\\begin{cases}x=1\\\\y=2\\end{cases}$", "x=1, y=2"),
        ("\\left\\{\\begin{array}{l}x&=1\\\\y&=2\\end{array}\\right.", "x=1, y=2"),
        ("\\begin{cases}x&x>0\\\\-x&x<0\\end{cases}", "\\begin{cases}x&x>0\\\\-x&x<0\\end{cases}"),
    ],
)
def test_spelt_out(text: str, meant: str) -> None:
    assert spelt_out(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2k, where k is any integer", "2k, k \\in \\mathbb{Z}"),
        ("2k for all integers k", "2k, k \\in \\mathbb{Z}"),
        ("2k (k \\in \\mathbb{Z})", "2k , k \\in \\mathbb{Z}"),
        ("an integer", "an integer"),
    ],
)
def test_whole_numbers_named(text: str, meant: str) -> None:
    assert whole_numbers_named(text) == meant
