"""High-precision probing: the values of two expressions at the same points, by mpmath, within fixed bounds of size.

mpmath keeps caches of constants that are not safe across threads, so one lock guards every computation; a forked child
gets a fresh lock, since the parent's may have been held when it forked.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from verifiers.effort import OutOfTime, clock_stopped, seconds_left, spend
from verifiers.nodes import Node, walk
from verifiers.scalar import NoValue, exact
from verifiers.words import vocabulary

QUICK_BITS, FULL_BITS = 160, 900
# Sizes of intermediate values, as powers of 2: few enough in the full pass that rounding cannot hide a difference; a
# difference that the quick pass sees is real at any size.
RANGE = {QUICK_BITS: 1 << 20, FULL_BITS: 300}
EQUAL_BITS = 380
ENOUGH = 4  # points at which both have a value
# What an operation costs in units of work: arithmetic, a function or a fractional power, a gamma function.
COSTS = {QUICK_BITS: (5, 50, 150), FULL_BITS: (10, 150, 700)}
_lock, _loading = threading.Lock(), threading.Lock()


def _fresh_locks() -> None:
    global _lock, _loading
    _lock, _loading = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_locks)


@contextmanager
def _one_at_a_time(*trees: Node) -> Iterator[None]:
    """The lock, after what is loaded or computed once in a process: that is nobody's time, not even a waiter's."""
    gamma = any(n.op == "func" and n.value in _GAMMA for tree in trees for n in walk(tree))
    with clock_stopped(), _loading:
        for bits in (QUICK_BITS, FULL_BITS):
            (_gamma_ready if gamma else _context)(bits)
    lock = _lock
    if not lock.acquire(timeout=seconds_left()):
        raise OutOfTime("other threads hold the machine")
    try:
        yield
    finally:
        lock.release()


@lru_cache(maxsize=2)
def _context(bits: int) -> Any:
    from mpmath.ctx_mp import MPContext

    context = MPContext()
    context.prec = bits
    return context


@lru_cache(maxsize=2)
def _gamma_ready(bits: int) -> None:
    """The coefficients of the gamma function for small and large arguments: a tenth of a second."""
    c = _context(bits)
    third = c.mpf(1) / 3
    for call, *args in ((c.gamma, third), (c.gamma, 900 + third), (c.binomial, 13 + third, third)):
        call(*args)
    c.binomial(403 + third, 2)


def compare(a: Node, b: Node, names: list[str]) -> bool | None:
    """Whether ``a`` and ``b`` agree wherever both are defined; None where too few points tell."""
    with _one_at_a_time(a, b):
        agreed = 0
        wanted = ENOUGH if names else 1
        for point in range(len(_WHERE) if names else 1):
            verdict = _agree(a, b, point)
            if verdict is False:
                return False
            agreed += verdict is True
            if agreed == wanted:
                return True
        return None


def _agree(a: Node, b: Node, point: int) -> bool | None:
    try:
        quick = _Machine(QUICK_BITS, point)
        left, right = quick.value(a), quick.value(b)
        if abs(left - right) > quick.tolerance(40, left, right):
            return False
        full = _Machine(FULL_BITS, point)
        return bool(abs(full.value(a) - full.value(b)) <= full.context.ldexp(1, -EQUAL_BITS))
    except (NoValue, ZeroDivisionError, OverflowError, ValueError):
        return None


class _Machine:
    """Evaluates a tree at one point with one precision; ``largest`` is the largest term of any sum."""

    def __init__(self, bits: int, point: int) -> None:
        self.context = _context(bits)
        self.bits, self.point = bits, point
        self.range = RANGE[bits]
        self.operation, self.call, self.gamma = COSTS[bits]
        self.largest = self.context.mpf(0)

    def tolerance(self, bits: int, *values: Any) -> Any:
        return self.context.ldexp(max(self.largest, *(abs(v) for v in values)), -bits)

    def value(self, node: Node) -> Any:
        c, op = self.context, node.op
        spend(self.operation)
        if op == "num":
            return self.ranged(c.mpf(node.value.numerator) / node.value.denominator)  # type: ignore[union-attr]
        if op == "sym":
            top, bottom = _coordinate(str(node.value), self.point)
            return c.mpf(top) / bottom
        if op == "const":
            return {"pi": +c.pi, "e": +c.e, "i": c.mpc(0, 1)}.get(str(node.value)) or self.refuse()
        if op == "add":
            return self.sum([self.value(a) for a in node.args])
        if op == "mul":
            product = c.mpf(1)
            for a in node.args:
                product = self.ranged(product * self.value(a))
            return product
        if op == "neg":
            return -self.value(node.args[0])
        if op == "div":
            return self.ranged(self.value(node.args[0]) / self.value(node.args[1]))
        if op == "pow":
            return self.power(node.args[0], node.args[1])
        if op == "func":
            return self.function(str(node.value), node.args)
        return self.refuse()

    def refuse(self) -> Any:
        raise NoValue

    def ranged(self, value: Any) -> Any:
        """The value, if it is finite and of a size at which rounding cannot be mistaken for a difference."""
        c = self.context
        if not c.isfinite(value):
            raise NoValue
        if value != 0 and not -self.range <= c.mag(value) <= self.range:
            raise NoValue
        if isinstance(value, c.mpc) and value.imag == 0:
            return value.real
        return value

    def sum(self, terms: list[Any]) -> Any:
        """A sum whose terms cancel but for rounding is zero."""
        c = self.context
        total = sum(terms, c.mpf(0))
        size = max(abs(t) for t in terms)
        self.largest = max(self.largest, size)
        if abs(total) <= c.ldexp(size, 50 - self.bits):
            return c.mpf(0)
        return self.ranged(total)

    def power(self, base_node: Node, exponent_node: Node) -> Any:
        c = self.context
        base = c.e if base_node == Node("const", (), "e") else self.value(base_node)
        rational = exact(exponent_node)
        exponent = self.value(exponent_node)
        if base == 0:
            if c.re(exponent) <= 0:
                raise NoValue
            return c.mpf(0)
        if abs(exponent) * (abs(c.mag(base)) + 1) > 4 * self.range:
            raise NoValue
        if rational is not None and rational.denominator == 1:
            spend(self.call if abs(rational) > 16 else 1)
            return self.ranged(base ** int(rational))
        spend(self.call)
        if rational is not None and rational.denominator % 2 and self.real(base) and base < 0:
            sign = -1 if rational.numerator % 2 else 1
            return self.ranged(sign * (-base) ** exponent)  # the real root, as (-8)^(1/3) = -2
        return self.ranged(c.power(base, exponent))

    def real(self, value: Any) -> bool:
        return not isinstance(value, self.context.mpc)

    def function(self, name: str, args: tuple[Node, ...]) -> Any:
        c = self.context
        values = [self.value(a) for a in args]
        x = values[0]
        spend(self.gamma if name in _GAMMA else self.call)
        if name == "root":
            return self.root(x, exact(args[1]), values[1])
        if name == "log":
            base = values[1] if len(values) == 2 else c.mpf(10)
            return self.ranged(c.log(x) / c.log(base)) if x != 0 and base != 0 else self.refuse()
        if name in ("floor", "ceil", "mod", "min", "max", "sgn", "choose", "factorial", "factorial2"):
            if not all(self.real(v) for v in values) or abs(x) > (1000 if name in _GAMMA else 2**20):
                raise NoValue
            return self.ranged(self.discrete(name, values))
        if abs(x) > 2**20 or (name in ("exp", "sinh", "cosh") and abs(x) > 250):
            raise NoValue
        if name in ("ln", "lg"):
            return self.ranged(c.log(x) if name == "ln" else c.log(x) / c.log(10)) if x != 0 else self.refuse()
        own = {"abs": abs, "norm": abs, "Re": c.re, "Im": c.im}.get(name)
        if own is None and name not in _METHODS:
            raise NoValue
        method = own or getattr(c, _METHODS[name])
        return self.ranged(method(x))

    def root(self, x: Any, degree: Any, n: Any) -> Any:
        c = self.context
        if n == 0:
            raise NoValue
        if degree is not None and degree.denominator == 1 and degree % 2 and self.real(x) and x < 0:
            return self.ranged(-((-x) ** (c.mpf(1) / n)))
        return self.ranged(c.sqrt(x) if n == 2 else c.power(x, c.mpf(1) / n)) if x != 0 else c.mpf(0)

    def discrete(self, name: str, values: list[Any]) -> Any:
        c, x = self.context, values[0]
        if name == "mod":
            return x - values[1] * c.floor(x / values[1])
        if name in ("min", "max"):
            return min(values) if name == "min" else max(values)
        if name == "choose":
            return c.binomial(x, values[1])
        return {"floor": c.floor, "ceil": c.ceil, "sgn": c.sign, "factorial": c.factorial, "factorial2": c.fac2}[name](
            x
        )


_GAMMA = ("choose", "factorial", "factorial2")
_METHODS = {name: name for name in vocabulary("exp sin cos tan cot sec csc sinh cosh tanh coth sech csch")} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
}  # fmt: skip


# Where the symbols stand at each point: how large, and with which signs.  Small values keep powers within range; large
# ones tell |x − 10| from 10 − x and the whole part of one thing from that of another.
_WHERE = (
    (1, "+"), (1, "-"), (40, "+"), (2_000, "±"), (40, "-"), (1, "±"), (1, "+"), (40, "±"), (1, "±"), (1, "±")
)  # fmt: skip


@lru_cache(maxsize=4096)
def _coordinate(name: str, point: int) -> tuple[int, int]:
    """Where a symbol stands at a point: a rational of size 0.2 to 3 times the point's scale."""
    digest = int.from_bytes(
        hashlib.blake2b(f"{point}/{name}".encode("utf-8", "replace"), digest_size=8).digest(), "big"
    )
    scale, signs = _WHERE[point]
    size = (2_001 + (digest >> 8) % 28_001) * scale
    return (-size if signs == "-" or (signs == "±" and digest % 2) else size), 10_007


def real(node: Node) -> float | None:
    """A real number's value to double precision; None where it is not one, or out of range."""
    rational = exact(node)
    if rational is not None:
        return float(rational) if abs(rational) < 10**300 else None
    with _one_at_a_time(node):
        try:
            value = _Machine(QUICK_BITS, 0).value(node)
        except (NoValue, ZeroDivisionError, OverflowError, ValueError):
            return None
        return None if isinstance(value, _context(QUICK_BITS).mpc) else float(value)
