"""Whether two expressions have the same value: canonical form, exact arithmetic, then numeric probing.

Exact: numbers as ``Fraction``; expressions rational in their symbols, in i and in π at random points of the field of
p = 2²⁵⁵ − 19 elements (Schwartz 1980, Zippel 1979: a nonzero polynomial of degree d vanishes there with probability at
most d/p).  p ≡ 1 mod 4 gives i a place in the field, and π may stand for itself because it is transcendental.

Numeric: 160 bits, then 900, at points fixed by the symbols' names.  Equal means within 2⁻³⁸⁰ while every intermediate
value lies between 2⁻³⁰⁰ and 2³⁰⁰ in size; outside that range equality is never claimed.
"""

import hashlib
from fractions import Fraction
from functools import lru_cache
from math import ceil, comb, factorial, floor, gcd, lcm
from typing import Literal

from verifiers.effort import spend
from verifiers.nodes import ONE, ZERO, Node, key, rewrite, symbols, walk
from verifiers.words import vocabulary

Way = Literal["canonical form", "exact", "numeric", "limit"]

MAX_BITS = 60_000  # of an exact number: 2006! has 19,000
MAX_FACTORIAL = 5_000
GCD_BITS = 300_000  # a gcd of a and b bits takes about a·b/300,000 microseconds
MAX_WRITTEN = 1_000  # nodes that a finite sum or product may have when it is written out

P = 2**255 - 19
I_MOD_P = pow(2, (P - 1) // 4, P)


class NoValue(Exception):
    """Not of the kind that this rung computes with, undefined (1/0), or over a limit."""


# --- exact numbers


def exact(node: Node) -> Fraction | None:
    """The rational value of a number; None where it has none or is over a limit."""
    try:
        return _exact(node)
    except (NoValue, ZeroDivisionError):
        return None


def _exact(node: Node) -> Fraction:
    op = node.op
    if op == "num":
        assert isinstance(node.value, Fraction)
        return node.value
    if op not in ("add", "mul", "neg", "div", "pow", "func", "percent"):
        raise NoValue
    values = [_exact(a) for a in node.args]
    if op == "add":
        return _bounded(sum(values[1:], values[0]))
    if op == "mul":
        product = values[0]
        for value in values[1:]:
            product = _bounded(product * value)
        return product
    if op == "neg":
        return -values[0]
    if op == "div":
        return _bounded(values[0] / values[1])
    if op == "percent":
        return values[0] / 100
    return _exact_power(*values) if op == "pow" else _exact_function(str(node.value), values)


def _bounded(value: Fraction) -> Fraction:
    over, under = value.numerator.bit_length(), value.denominator.bit_length()
    if over > MAX_BITS or under > MAX_BITS:
        raise NoValue
    spend(1 + (over + under) // 50 + over * under // GCD_BITS)
    return value


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction:
    if base in (0, 1):
        if base == 0 and exponent <= 0:
            raise NoValue
        return base
    if exponent.denominator != 1:
        return _exact_root(_exact_power(base, Fraction(exponent.numerator)), exponent.denominator)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent) * size > MAX_BITS:
        raise NoValue
    return _bounded(base ** int(exponent))


def _exact_root(value: Fraction, degree: int) -> Fraction:
    """The real root, where it is rational."""
    if not 2 <= degree <= 64 or (value < 0 and degree % 2 == 0):
        raise NoValue
    top, bottom = _integer_root(abs(value.numerator), degree), _integer_root(value.denominator, degree)
    return Fraction(top if value >= 0 else -top, bottom)


def _integer_root(n: int, degree: int) -> int:
    if n < 2:
        return n
    if n.bit_length() > 4_000:
        raise NoValue
    spend(100 + degree * degree)
    root = 1 << -(-n.bit_length() // degree)  # Newton's method from above
    while (below := ((degree - 1) * root + n // root ** (degree - 1)) // degree) < root:
        root = below
    if root**degree != n:
        raise NoValue
    return root


def _exact_function(name: str, values: list[Fraction]) -> Fraction:
    first = values[0]
    sizes = [v.numerator.bit_length() + v.denominator.bit_length() for v in values]
    spend(1 + sum(sizes) // 50 + sum(sizes) * max(sizes) // GCD_BITS)
    if name in _PRODUCTS and 0 <= first <= MAX_FACTORIAL:
        spend(int(first) // 4)
    whole = all(v.denominator == 1 for v in values)
    integers = [int(v) for v in values] if whole else []
    if name == "root" and values[1].denominator == 1:
        return _exact_root(first, int(values[1]))
    if name == "abs":
        return abs(first)
    if name in ("floor", "ceil"):
        return Fraction(floor(first) if name == "floor" else ceil(first))
    if name in ("min", "max"):
        return min(values) if name == "min" else max(values)
    if name == "mod" and values[1] != 0:
        return first - values[1] * (first // values[1])
    if whole and name in ("gcd", "lcm"):
        return Fraction(gcd(*integers) if name == "gcd" else lcm(*integers))
    if whole and name == "factorial" and 0 <= first <= MAX_FACTORIAL:
        return Fraction(factorial(integers[0]))
    if whole and name == "factorial2" and 0 <= first <= MAX_FACTORIAL:
        product = 1
        for factor in range(integers[0], 1, -2):
            product *= factor
        return Fraction(product)
    if whole and name == "choose" and 0 <= first <= MAX_FACTORIAL and values[1] >= 0:
        return Fraction(comb(*integers))
    raise NoValue


_PRODUCTS = ("factorial", "factorial2", "choose")


# --- exact identities, at random points of a finite field


def modular(node: Node, point: int) -> int:
    """The value in the field of P elements with each symbol at its own random place; raises ``NoValue``."""
    op, args = node.op, node.args
    spend(1)
    if op == "num":
        assert isinstance(node.value, Fraction)
        spend(node.value.numerator.bit_length() // 1_000)
        return node.value.numerator * _inverse(node.value.denominator % P) % P
    if op == "sym":
        return _place(str(node.value), point)
    if op == "const" and node.value in ("i", "pi"):
        return I_MOD_P if node.value == "i" else _place("the constant pi", point)
    if op == "add":
        return sum(modular(a, point) for a in args) % P
    if op == "mul":
        product = 1
        for a in args:
            product = product * modular(a, point) % P
        return product
    if op == "neg":
        return -modular(args[0], point) % P
    if op == "div":
        return modular(args[0], point) * _inverse(modular(args[1], point)) % P
    if op == "pow":
        return _modular_power(modular(args[0], point), exact(args[1]))
    value = exact(node)
    if value is None:
        raise NoValue
    return value.numerator * _inverse(value.denominator % P) % P


def _modular_power(base: int, exponent: Fraction | None) -> int:
    if exponent is None or exponent.denominator != 1:
        raise NoValue
    spend(min(exponent.numerator.bit_length(), 256))
    return pow(base if exponent >= 0 else _inverse(base), abs(int(exponent)) % (P - 1), P) if exponent else 1


def _inverse(value: int) -> int:
    if value == 0:
        raise NoValue
    spend(30 if value != 1 else 0)
    return 1 if value == 1 else pow(value, -1, P)


@lru_cache(maxsize=4096)
def _place(name: str, point: int) -> int:
    digest = hashlib.blake2b(f"{point}:{name}".encode("utf-8", "replace"), digest_size=40).digest()
    return int.from_bytes(digest, "big") % P


# --- before comparing


def prepared(node: Node) -> Node:
    """The tree with finite sums and products written out and what has no value here (integrals, limits, unknown
    functions) replaced by a symbol that stands for it, the same for the same thing."""
    return rewrite(node, _prepare)


def _prepare(node: Node) -> Node | None:
    if node.op == "big":
        return _big(node)
    if node.op == "func" and node.value not in _COMPUTABLE:
        return _stand_in(node, [prepared(a) for a in node.args])
    if node.op == "func" and node.value in ("gcd", "lcm", "min", "max"):
        args = [prepared(a) for a in node.args]
        values = [exact(a) for a in args]
        if None not in values:
            whole = exact(node._replace(args=tuple(args)))
            return Node("num", (), whole) if whole is not None else None
        return _stand_in(node, sorted(args, key=_fingerprint))
    if node.op in ("degree", "percent"):
        scale = Node("const", (), "pi") if node.op == "degree" else ONE
        divisor = Fraction(180 if node.op == "degree" else 100)
        return Node("div", (Node("mul", (prepared(node.args[0]), scale)), Node("num", (), divisor)))
    return None


def _fingerprint(node: Node) -> str:
    try:
        return f"={modular(node, 0):x}"
    except NoValue:
        return key(node)


def _stand_in(node: Node, args: list[Node]) -> Node:
    return Node("sym", (), f"{node.op} {node.value}({';'.join(_fingerprint(a) for a in args)})")


def _big(node: Node) -> Node:
    body, variable, lower, upper = node.args
    name = str(variable.value)

    def substituted(value: Node) -> Node:
        return prepared(rewrite(body, lambda n: value if n.op in ("sym", "const") and n.value == name else None))

    low, high = exact(lower), exact(upper)
    if node.value in ("sum", "prod") and low is not None and high is not None and (low, high) != (0, 0):
        written = (high - low) * sum(1 for _ in walk(body))
        nested = any(n.op == "big" for n in walk(body))
        if low.denominator == high.denominator == 1 and 0 <= written < MAX_WRITTEN and not nested:
            spend(8 * int(written))
            terms = tuple(substituted(Node("num", (), Fraction(k))) for k in range(int(low), int(high) + 1))
            return Node("add" if node.value == "sum" else "mul", (*terms, ZERO if node.value == "sum" else ONE))
    bound = substituted(Node("sym", (), "the bound variable"))
    return _stand_in(node, [bound, prepared(lower), prepared(upper)])


_COMPUTABLE = frozenset(
    vocabulary(
        "root exp ln log lg abs norm sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc "
        "sinh cosh tanh coth sech csch arcsinh arccosh arctanh gcd lcm min max floor ceil sgn mod "
        "factorial factorial2 choose Re Im"
    )
)


# --- the comparison


def same_value(a: Node, b: Node) -> tuple[bool | None, Way]:
    """Whether two expressions are equal for all values of their symbols, and what decided it."""
    spend(10 * sum(1 for tree in (a, b) for _ in walk(tree)))
    if a == b or key(a) == key(b):
        return True, "canonical form"
    if _infinite(a) or _infinite(b):
        return _infinite(a) == _infinite(b) and _sign(a) == _sign(b), "canonical form"
    left, right = exact(a), exact(b)
    if left is not None and right is not None:
        return left == right, "exact"
    before = symbols(a) | symbols(b)
    a, b = prepared(a), prepared(b)
    names = symbols(a) | symbols(b)
    verdict, way = _probed(a, b, sorted(names))
    if verdict is False and names - before:
        return None, "limit"  # an integral or an unknown function may still have the other's value
    return verdict, way


def _probed(a: Node, b: Node, names: list[str]) -> tuple[bool | None, Way]:
    try:
        return all(modular(a, point) == modular(b, point) for point in (0, 1)), "exact"
    except NoValue:
        pass
    from verifiers.numeric import compare

    verdict = compare(a, b, names)
    return verdict, "numeric" if verdict is not None else "limit"


def _infinite(node: Node) -> bool:
    inner = node.args[0] if node.op in ("neg", "pm") and node.args else node
    return inner.op == "const" and inner.value == "inf"


def _sign(node: Node) -> str:
    return "-" if node.op == "neg" else "+"
