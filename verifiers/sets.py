"""Sets of real numbers: intervals, points, inequalities, unions, intersections and differences, compared as sets.

A set is kept as its boundary points in order and whether each point and each gap between them belongs to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from verifiers.nodes import MINUS_ONE, ZERO, Node, difference, number, rewrite, symbols
from verifiers.scalar import exact, same_value

MAX_BOUNDARIES = 60
_INFINITE = float("inf")
_FLIPPED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠"}


class NotReal(Exception):
    """Not a set of reals that this module can work out."""


@dataclass(frozen=True)
class RealSet:
    """``n`` boundaries in increasing order and ``2n + 1`` memberships: gap, point, gap, ..., point, gap."""

    boundaries: tuple[tuple[float, Node], ...]
    members: tuple[bool, ...]


_Inside = Callable[[float], bool]
_Part = tuple[list[tuple[float, Node]], _Inside]  # its boundaries, and its membership test


def real_set(node: Node) -> RealSet | None:
    """The set of reals that an interval, a union or an inequality in one variable describes; None for anything else."""
    try:
        boundaries, inside = _part(node)
        return _normal(boundaries, inside)
    except NotReal:
        return None


def same_set(a: RealSet, b: RealSet) -> bool | None:
    """Whether the two sets are equal; None where two boundaries cannot be compared."""
    if a.members != b.members:
        return False
    verdicts = [same_value(x, y)[0] for (_, x), (_, y) in zip(a.boundaries, b.boundaries, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _normal(boundaries: list[tuple[float, Node]], inside: _Inside) -> RealSet:
    """The memberships between the distinct boundaries, those that change nothing left out."""
    distinct: list[tuple[float, Node]] = []
    for place, node in sorted(boundaries, key=lambda pair: pair[0]):
        if not distinct or place - distinct[-1][0] > 1e-11 * max(1.0, abs(place)):
            distinct.append((place, node))
    if len(distinct) > MAX_BOUNDARIES:
        raise NotReal
    places = [place for place, _ in distinct]
    probes = _probes(places)
    members = [inside(probe) for probe in probes]
    kept: list[tuple[float, Node]] = []
    memberships = [members[0]]
    for index, boundary in enumerate(distinct):
        point, gap = members[2 * index + 1], members[2 * index + 2]
        if not (memberships[-1] == point == gap):
            kept.append(boundary)
            memberships += [point, gap]
    return RealSet(tuple(kept), tuple(memberships))


def _probes(places: list[float]) -> list[float]:
    if not places:
        return [0.0]
    probes = [places[0] - 1.0]
    for index, place in enumerate(places):
        following = places[index + 1] if index + 1 < len(places) else place + 2.0
        probes += [place, (place + following) / 2]
    return probes


def _near(x: float, y: float) -> bool:
    return abs(x - y) <= 1e-11 * max(1.0, abs(x), abs(y))


def _place(node: Node) -> float:
    """A boundary's position; raises ``NotReal`` for a symbolic or complex one."""
    inner = node.args[0] if node.op == "neg" else node
    if inner == Node("const", (), "inf"):
        return -_INFINITE if node.op == "neg" else _INFINITE
    if symbols(node):
        raise NotReal
    value = exact(node)
    if value is not None and abs(value) < 10**15:
        return float(value)
    from verifiers.numeric import real

    place = real(node)
    if place is None or abs(place) >= 1e15:
        raise NotReal
    return place


def _interval(low: Node, low_closed: bool, high: Node, high_closed: bool) -> _Part:
    left, right = _place(low), _place(high)
    if left > right and not _near(left, right):
        raise NotReal

    def inside(x: float) -> bool:
        above = left == -_INFINITE or (low_closed if _near(x, left) else x > left)
        return above and (right == _INFINITE or (high_closed if _near(x, right) else x < right))

    return [(p, n) for p, n in ((left, low), (right, high)) if abs(p) != _INFINITE], inside


def _part(node: Node) -> _Part:
    op, value, args = node.op, node.value, node.args
    if op == "group" and value == "{}":
        places = [(_place(a), a) for a in args if a.op not in ("group", "list", "chain", "text")]
        if len(places) != len(args) or any(abs(p) == _INFINITE for p, _ in places):
            raise NotReal
        return places, lambda x: any(_near(x, place) for place, _ in places)
    if op == "group" and len(args) == 2:
        return _interval(args[0], str(value)[0] == "[", args[1], str(value)[-1] == "]")
    if op == "sym" and value in ("set R", "∅"):
        return [], lambda x: value == "set R"
    if op == "setop":
        return _combined(str(value), _operand(args[0]), _operand(args[1]))
    if op == "chain":
        return _relation(node)
    if op == "list" and args:
        return _listed([_part(a) for a in args], all(a.op == "chain" for a in args))
    raise NotReal


def _operand(node: Node) -> _Part:
    """A side of a union; a lone value there is a set of one, whose braces the parser dropped."""
    lone = node.op not in ("group", "setop", "chain", "list", "text") and not symbols(node)
    return _part(Node("group", (node,), "{}") if lone else node)


def _combined(name: str, left: _Part, right: _Part) -> _Part:
    a, b = left[1], right[1]
    test: dict[str, _Inside] = {
        "cup": lambda x: a(x) or b(x),
        "cap": lambda x: a(x) and b(x),
        "minus": lambda x: a(x) and not b(x),
    }
    return left[0] + right[0], test[name]


def _listed(parts: list[_Part], inequalities: bool) -> _Part:
    """Several statements: all at once where that is possible ("x > 2, x < 5"), else any of them ("x < 2, x > 5")."""
    both = either = parts[0]
    for part in parts[1:]:
        both, either = _combined("cap", both, part), _combined("cup", either, part)
    return both if inequalities and any(_normal(*both).members) else either


def _relation(node: Node) -> _Part:
    """``x in S``, or a chain of inequalities that are linear in one variable or in its absolute value."""
    signs = [str(s) for s in (node.value if isinstance(node.value, tuple) else ())]
    if signs in (["∈"], ["∉"]):
        inner = _part(node.args[1])
        if node.args[0].op not in ("sym", "const"):
            raise NotReal
        return inner if signs == ["∈"] else _combined("minus", ([], lambda x: True), inner)
    if not set(signs) <= set(_FLIPPED) or set(signs) == {"="}:
        raise NotReal
    names = symbols(node)
    if len(names) != 1:
        raise NotReal
    (name,) = names
    absolute = Node("func", (Node("sym", (), name),), "abs")
    sides = [rewrite(side, lambda n: Node("sym", (), "|x|") if n == absolute else None) for side in node.args]
    inner_names = set().union(*(symbols(side) for side in sides))
    if len(inner_names) != 1:
        raise NotReal
    (unknown,) = inner_names
    part: _Part = ([], lambda x: True)
    for left, right, sign in zip(sides, sides[1:], signs, strict=False):
        part = _combined("cap", part, _half_line(difference(left, right), unknown, sign))
    return part if unknown != "|x|" else _mirrored(part)


def _half_line(expression: Node, unknown: str, sign: str) -> _Part:
    """Where ``expression sign 0`` holds, for an expression linear in the unknown."""

    def at(value: int) -> Node:
        there = rewrite(expression, lambda n: number(value) if n.op == "sym" and n.value == unknown else None)
        rational = exact(there)
        return there if rational is None else number(rational)

    values = [at(k) for k in (0, 1, 2)]
    slope = difference(values[1], values[0])
    if not _vanishes(difference(difference(values[2], values[1]), slope)) or _vanishes(slope):
        raise NotReal
    root = Node("div", (Node("neg", (values[0],)), slope))
    rational = exact(root)
    root = root if rational is None else number(rational)
    place = _place(root)
    if _place(slope) < 0:
        sign = _FLIPPED[sign]

    def inside(x: float) -> bool:
        if _near(x, place):
            return sign in ("≤", "≥", "=")
        return {"<": x < place, "≤": x < place, ">": x > place, "≥": x > place, "≠": True, "=": False}[sign]

    return [(place, root)], inside


def _vanishes(node: Node) -> bool:
    return same_value(node, ZERO)[0] is True


def _mirrored(part: _Part) -> _Part:
    """The reals whose absolute value is in the part."""
    boundaries, inside = part

    def both_signs() -> Iterator[tuple[float, Node]]:
        yield 0.0, number(Fraction(0))
        for place, node in boundaries:
            if place >= 0:
                yield place, node
                yield -place, Node("mul", (MINUS_ONE, node))

    return list(both_signs()), lambda x: inside(abs(x))
