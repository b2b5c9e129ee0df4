"""Numbers written in words: "three", "twenty-five apples", "one hundred and four", "two thirds"."""

from fractions import Fraction

from verifiers.words import MULTIPLIERS, vocabulary

_ONES = {
    word: value
    for value, word in enumerate(
        vocabulary(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen"
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(vocabulary("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
_THOUSANDS = {word: MULTIPLIERS[word] for word in ("thousand", "million", "billion", "trillion")}
_PARTS = {
    word: value
    for value, words in enumerate(
        ("half halves", "third thirds", "fourth fourths quarter quarters", "fifth fifths", "sixth sixths",
         "seventh sevenths", "eighth eighths", "ninth ninths", "tenth tenths"), start=2,
    )
    for word in words.split()
}  # fmt: skip


def spoken(text: str) -> tuple[Fraction, str] | None:
    """The number that lower-case words start with, and the words after it; None where they start with none.

    >>> spoken("two hundred and five apples")
    (Fraction(205, 1), 'apples')
    """
    words = text.split()
    if words[:1] == ["half"]:
        return Fraction(1, 2), " ".join(words[1:])
    total, at = 0, 0
    while at < len(words):
        start = at + (words[at] == "and" and at > 0)
        group, after = _below_thousand(words, start)
        if after == start:
            break
        scale = _THOUSANDS.get(words[after], 0) if after < len(words) else 0
        total, at = total + group * (scale or 1), after + bool(scale)
        if not scale:
            break
    if at == 0:
        return None
    if at < len(words) and words[at] in _PARTS:
        return Fraction(total, _PARTS[words[at]]), " ".join(words[at + 1 :])
    if at < len(words) and words[at] in _ONES.keys() | _TENS.keys() | MULTIPLIERS.keys() | {"and", "point", "over"}:
        return None  # "two five", "three dozen": more of the number, which is not read here
    return Fraction(total), " ".join(words[at:])


def _below_thousand(words: list[str], at: int) -> tuple[int, int]:
    """The number below 1,000 at a place, and the place after it."""
    value, at = _below_hundred(words, at)
    if at < len(words) and words[at] == "hundred" and 0 < value < 10:
        skip = 2 if words[at + 1 : at + 2] == ["and"] else 1
        rest, after = _below_hundred(words, at + skip)
        return 100 * value + rest, after if after > at + skip else at + 1
    return value, at


def _below_hundred(words: list[str], at: int) -> tuple[int, int]:
    if at >= len(words):
        return 0, at
    if words[at] in _ONES:
        return _ONES[words[at]], at + 1
    if words[at] not in _TENS:
        return 0, at
    one = _ONES.get(words[at + 1], 0) if at + 1 < len(words) else 0
    return _TENS[words[at]] + (one if one < 10 else 0), at + 1 + (0 < one < 10)
