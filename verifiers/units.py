"""Units of measurement after a number: what "cm^2", "square feet" and "miles per hour" measure, and how much."""

import re
from fractions import Fraction

from verifiers.words import UNITS

_PIECE = re.compile(r"[A-Za-z°]+|\d+|/|\^|\*")
_POWERS = {"square": 2, "squared": 2, "sq": 2, "cubic": 3, "cubed": 3, "cu": 3}
_SPEEDS = {"mph": "mi / h", "kph": "km / h", "kmh": "km / h"}

Measure = tuple[tuple[tuple[str, int], ...], Fraction]  # dimensions with exponents, and the size in base units


def measure(words: str) -> Measure | None:
    """What a unit measures and its size, or None for words that are no unit we know ("eggs", "square units").

    >>> measure("cm^2") == measure("square centimeters")
    True
    """
    for speed, meaning in _SPEEDS.items():
        words = re.sub(rf"\b{speed}\b", meaning, words)
    pieces = _PIECE.findall(words)
    dimensions: dict[str, int] = {}
    size = Fraction(1)
    sign, pending = 1, 1
    for index, piece in enumerate(pieces):
        following = pieces[index + 1 : index + 3]
        if piece in ("/", "per", "a", "an"):
            sign = -1
        elif piece in _POWERS:
            pending = _POWERS[piece] if pending == 1 and piece in ("square", "sq", "cubic", "cu") else pending
        elif piece not in ("^", "*") and not piece.isdigit():
            found = UNITS.get(piece) or UNITS.get(piece.lower())
            if found is None:
                return None
            power = pending
            if len(following) == 2 and following[0] == "^" and following[1] in ("2", "3"):
                power = int(following[1])
            elif following and following[0] in ("squared", "cubed"):
                power = _POWERS[following[0]]
            dimensions[found[0]] = dimensions.get(found[0], 0) + sign * power
            size *= found[1] ** (sign * power)
            pending = 1
    return (tuple(sorted(dimensions.items())), size) if dimensions else None
