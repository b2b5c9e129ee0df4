"""The tree that the parser builds and everything after it reads."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

Value = Fraction | str | tuple[object, ...] | None


class Unreadable(Exception):
    """The text is not in the grammar or is over a limit; the message says which, for ``decide``'s detail."""


class Node(NamedTuple):
    """One operation.  ``op`` is one of the names below; ``value`` is what the op needs besides its arguments.

    =========  ==================================  =============================================================
    op         value                               args
    =========  ==================================  =============================================================
    num        Fraction
    sym        name ("x", "x_{1}", "bar x")
    const      "pi", "e", "i", "inf"
    add, mul                                       two or more
    neg                                            one
    div, pow                                       two
    func       name ("sin", "root", "choose", ...)  its arguments
    pm         "±" or "∓"                          two: the sum and difference of them
    percent, degree                                one
    base       (digits, base)                      a numeral with a subscript base
    clock      (minutes, "am" | "pm" | "")         the two numbers; minutes count from midnight
    big        "int", "sum", "prod", "lim"         body, bound variable, lower, upper (``num`` 0 where absent)
    matrix     (rows, columns)                     entries, row by row
    group      "()", "[]", "(]", "[)", "{}"        elements
    list                                           elements of a bare list
    chain      ("=", "<", ...), one per gap        two or more sides
    setop      "cup", "cap", "minus"               two
    ratio                                          two or more
    mod        (one modulus node in args)          a statement and its modulus
    unit       words                               one
    text       words
    =========  ==================================  =============================================================
    """

    op: str
    args: tuple["Node", ...] = ()
    value: Value = None


def number(value: int | Fraction) -> Node:
    return Node("num", (), Fraction(value))


ZERO, ONE, MINUS_ONE, HALF = number(0), number(1), number(-1), number(Fraction(1, 2))


def difference(a: Node, b: Node) -> Node:
    return Node("add", (a, Node("neg", (b,))))


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree, the root first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(current.args)


def height(node: Node) -> int:
    """Operations on the longest way from the root to a leaf."""
    level, depth = [node], 0
    while level := [child for parent in level for child in parent.args]:
        depth += 1
    return depth


def symbols(node: Node) -> set[str]:
    return {str(n.value) for n in walk(node) if n.op == "sym"}


def rewrite(node: Node, change: Callable[[Node], Node | None]) -> Node:
    """The tree with every node for which ``change`` returns another replaced by it, from the root down."""
    changed = change(node)
    if changed is not None:
        return changed
    return node if not node.args else node._replace(args=tuple(rewrite(a, change) for a in node.args))


def key(node: Node) -> str:
    """A text that is the same for trees that differ only in the order of sums and products."""
    parts = [key(a) for a in node.args]
    if node.op in ("add", "mul"):
        parts.sort()
    value = node.value
    if isinstance(value, Fraction):  # in hexadecimal, which takes linear time and has no limit of digits
        value = f"{value.numerator:x}/{value.denominator:x}"
    return f"{node.op}{'' if value is None else f':{value}'}({','.join(parts)})"
