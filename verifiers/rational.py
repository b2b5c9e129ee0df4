"""Exact arithmetic on plain text, such as "(3 + 4) * 2 - 12/4": the cheapest rung of the ladder.

The grammar, loosest first: ``+ -``; ``* / × · ÷`` and implicit multiplication ("3x", "2(x + 1)"), all of one rank and
from left to right, so "1/2x" is (1/2)x; unary sign; ``^`` or ``**`` with an integer exponent, right to left, so
"-3^2" is -9.  Values are pairs of integers until the very end because a ``Fraction`` costs ten times as much.
"""

import re
from collections.abc import Mapping
from fractions import Fraction

MAX_LENGTH = 1_000  # characters of text
MAX_DEPTH = 50  # nested parentheses, signs and powers
MAX_EXPONENT = 1_000
MAX_BITS = 4_096  # in any numerator or denominator: about 1,233 digits

_TOKEN = re.compile(
    r"\s*(?:(\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)|([A-Za-z])|(\*\*|[-+*/^()×·÷−]))"
)
_SIGNS = {"−": "-", "×": "*", "·": "*", "÷": "/", "**": "^"}

_Pair = tuple[int, int]  # numerator, denominator > 0, not reduced


class _Refuse(Exception):
    """The text is not plain arithmetic, has no value, or is over a limit."""


def evaluate(text: str, variables: Mapping[str, Fraction | int] = {}) -> Fraction | None:
    """The exact value of ``text``, or None where it is not plain arithmetic, divides by zero or is over a limit.

    ``variables`` maps single ASCII letters to values; a letter that is not in it makes the text unreadable.  Numbers
    may have thousands commas ("1,250").  Two numbers side by side ("2 3") are refused, as is a number after a letter.
    Never raises, whatever the text.

    >>> evaluate("(3 + 4) * 2 - 12/4")
    Fraction(11, 1)
    >>> evaluate("2(x + 1)", {"x": Fraction(1, 2)})
    Fraction(3, 1)
    """
    if len(text) > MAX_LENGTH:
        return None
    try:
        parser = _Parser(_tokens(text), variables)
        numerator, denominator = parser.sum(0)
        if parser.at < len(parser.tokens) - 1:
            return None
        return Fraction(numerator, denominator)
    except _Refuse:
        return None


def _tokens(text: str) -> list[str]:
    """Numbers, letters and signs in order, then "" as the end mark."""
    tokens: list[str] = []
    append, match, at, end = tokens.append, _TOKEN.match, 0, len(text.rstrip())
    while at < end:
        found = match(text, at)
        if found is None:
            raise _Refuse
        token = found[found.lastindex or 0]
        append(_SIGNS.get(token, token))
        at = found.end()
    append("")
    return tokens


def _number(token: str) -> _Pair:
    if "," in token:
        token = token.replace(",", "")
    whole, dot, part = token.partition(".")
    if not token.isascii() or len(token) > MAX_BITS // 4:
        raise _Refuse
    return int((whole + part) or "0"), (10 ** len(part) if dot else 1)


def _bounded(numerator: int, denominator: int) -> _Pair:
    if numerator.bit_length() > MAX_BITS or denominator.bit_length() > MAX_BITS:
        reduced = Fraction(numerator, denominator)
        if reduced.numerator.bit_length() > MAX_BITS or reduced.denominator.bit_length() > MAX_BITS:
            raise _Refuse
        return reduced.numerator, reduced.denominator
    return numerator, denominator


class _Parser:
    """Recursive descent; ``at`` is the index of the next token."""

    __slots__ = ("at", "tokens", "variables")

    def __init__(self, tokens: list[str], variables: Mapping[str, Fraction | int]) -> None:
        self.tokens, self.variables, self.at = tokens, variables, 0

    def sum(self, depth: int) -> _Pair:
        numerator, denominator = self.product(depth)
        while (sign := self.tokens[self.at]) == "+" or sign == "-":
            self.at += 1
            n, d = self.product(depth)
            if sign == "-":
                n = -n
            if d == denominator:
                numerator, denominator = _bounded(numerator + n, d)
            else:
                numerator, denominator = _bounded(numerator * d + n * denominator, denominator * d)
        return numerator, denominator

    def product(self, depth: int) -> _Pair:
        numerator, denominator = self.factor(depth)
        while True:
            sign = self.tokens[self.at]
            if sign == "*" or sign == "/":
                self.at += 1
            elif not (sign == "(" or sign.isalpha()):
                return numerator, denominator
            n, d = self.factor(depth)
            if sign == "/":
                if n == 0:
                    raise _Refuse
                n, d = (d, n) if n > 0 else (-d, -n)
            numerator, denominator = _bounded(numerator * n, denominator * d)

    def factor(self, depth: int) -> _Pair:
        if depth > MAX_DEPTH:
            raise _Refuse
        sign = self.tokens[self.at]
        if sign == "-" or sign == "+":
            self.at += 1
            n, d = self.factor(depth + 1)
            return (-n, d) if sign == "-" else (n, d)
        n, d = self.atom(depth)
        if self.tokens[self.at] != "^":
            return n, d
        self.at += 1
        return _power(n, d, self.factor(depth + 1))

    def atom(self, depth: int) -> _Pair:
        token = self.tokens[self.at]
        self.at += 1
        if token == "(":
            value = self.sum(depth + 1)
            if self.tokens[self.at] != ")":
                raise _Refuse
            self.at += 1
            return value
        if token.isalpha():
            named = self.variables.get(token)
            if named is None:
                raise _Refuse
            return _bounded(named.numerator, named.denominator)
        if token == "" or token in "+-*/^)":
            raise _Refuse
        return _number(token)


def _power(n: int, d: int, exponent: _Pair) -> _Pair:
    over, under = exponent
    if over % under:
        raise _Refuse
    k = over // under
    if abs(k) > MAX_EXPONENT or abs(k) * max(n.bit_length(), d.bit_length()) > 4 * MAX_BITS or (n == 0 and k <= 0):
        raise _Refuse
    if k < 0:
        n, d, k = (d, n, -k) if n > 0 else (-d, -n, -k)
    return _bounded(n**k, d**k)
