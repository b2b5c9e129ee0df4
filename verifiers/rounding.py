"""Whether a long decimal stands for an exact value that it rounds or cuts off: 4.123105625617661 for the root of 17."""

from fractions import Fraction

from verifiers.nodes import Node, difference, symbols, walk
from verifiers.numeric import real
from verifiers.scalar import exact

MIN_PLACES = 6  # decimals below which nothing is taken for a rounded value
MAX_PLACES = 40


def rounded(a: Node, b: Node, digits: int | None) -> bool:
    """Whether one is a decimal of at least ``digits`` significant digits that rounds, or cuts off, the other's value.

    The other must be a value that no decimal of that length writes exactly.  ``digits`` None means never.
    """
    if digits is None or symbols(a) or symbols(b):
        return False
    for decimal, other in ((a, b), (b, a)):
        written = exact(decimal)
        if written is None or {n.op for n in walk(decimal)} - {"num", "neg"}:
            continue
        decimals = places(written)
        if (
            not MIN_PLACES <= decimals <= MAX_PLACES
            or len(str(abs(written.numerator * 10**decimals // written.denominator))) < digits
        ):
            continue
        rational = exact(other)
        if rational is not None and places(rational) <= MAX_PLACES:
            continue
        gap = real(Node("func", (difference(decimal, other),), "abs"))
        return gap is not None and gap <= float(Fraction(1, 10**decimals)) * (1 + 1e-9)
    return False


def places(value: Fraction) -> int:
    """The decimals needed to write the value; 99 where no finite number does."""
    remaining, places = value.denominator, 0
    while remaining % 10 == 0 or remaining % 2 == 0 or remaining % 5 == 0:
        remaining //= 10 if remaining % 10 == 0 else 2 if remaining % 2 == 0 else 5
        places += 1
        if places > 60:
            return 99
    return places if remaining == 1 else 99
