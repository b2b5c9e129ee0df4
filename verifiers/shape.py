"""What a parsed answer is: its items, its name and value, its unit, and the constant between two equations."""

import re
from fractions import Fraction

from verifiers.nodes import HALF, ZERO, Node, key, number, rewrite, symbols, walk
from verifiers.quantities import summed
from verifiers.scalar import exact, same_value
from verifiers.units import measure
from verifiers.words import OPPOSITES, UNITS

Item = tuple[str | None, Node]  # a solution and, for "x = 2", its name

ORDER = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "≠": "≠"}


def plain_words(text: str) -> str:
    """Words compared without case, punctuation, articles or spacing."""
    words = re.findall(r"[^\W_]+", text.casefold().replace("can't", "cannot").replace("n't", " not").replace("'", ""))
    kept = [word for word in words if word not in ("the", "a", "an")]
    return " ".join(kept or words)


def beside_a_time(node: Node, other: Node) -> Node:
    """ "3 pm" beside "3:00 pm" is a time, and "11:21" beside anything but a time is a ratio."""
    half = str(node.value).lower().replace(".", "") if node.op == "unit" and other.op == "clock" else ""
    hour = exact(node.args[0]) if half in ("am", "pm") else None
    if hour is not None and hour in range(1, 13):
        return Node("clock", (node.args[0], ZERO), (int(hour) % 12 * 60 + 720 * (half == "pm"), half))
    bare = node.op == "clock" and isinstance(node.value, tuple) and not node.value[1]
    return Node("ratio", node.args) if bare and node.args[1] != ZERO else node


def core(node: Node) -> Node:
    """The node without what does not change its meaning: "exact ≈ rounded"; the empty set under its one name."""
    while True:
        if node.op in ("group", "list") and not node.args:
            return Node("sym", (), "∅")
        if node.op == "list" and node.args[0].op == "unit" and (sum_of_units := summed(node.args)) is not None:
            return sum_of_units
        if node.op == "mul" and [a.op for a in node.args] == ["sym", "group"] and node.args[1].value == "()":
            return node.args[1]  # "P(3, 4)": a point and its name
        if node.op == "neg" and node.args[0].op == "base" and isinstance(node.args[0].value, tuple):
            digits, base = node.args[0].value
            return Node("base", (), (f"-{digits}", base))
        if node.op == "chain" and isinstance(node.value, tuple) and "≈" in node.value:
            place = node.value.index("≈")
            if place == 0 and (node.args[0].op == "sym" or name(node.args[0]) is not None):
                return node._replace(value=tuple("=" if s == "≈" else s for s in node.value))
            node = node.args[0] if place == 0 else Node("chain", node.args[: place + 1], node.value[:place])
        elif node.op == "group" and node.value == "[]" and all(a.op == "group" and a.value == "[]" for a in node.args):
            return rows_matrix(node)
        else:
            return matrix_value(node)


def rows_matrix(node: Node) -> Node:
    """ "[[1, 0], [0, 1]]" as a matrix; the node itself where the rows differ in length."""
    widths = {len(row.args) for row in node.args}
    if len(widths) != 1:
        return node
    return Node("matrix", tuple(entry for row in node.args for entry in row.args), (len(node.args), widths.pop()))


def matrix_value(node: Node) -> Node:
    if any(n.op == "matrix" for n in node.args) and node.op in ("add", "mul", "neg", "func", "div", "pow"):
        from verifiers.matrices import folded

        return folded(node)
    return node


def set_like(node: Node) -> bool:
    """Whether the node can only be read as a set of reals, or may be once the other side is one."""
    if node.op == "setop" or (node.op == "sym" and node.value == "set R"):
        return True
    if node.op == "group" and len(node.args) == 2 and node.value != "{}":
        return str(node.value) in ("(]", "[)") or any(has_infinity(a) for a in node.args)
    if node.op == "chain" and isinstance(node.value, tuple):
        return any(s in ("∈", "∉", *ORDER) for s in node.value)
    return node.op == "list" and bool(node.args) and all(set_like(a) for a in node.args)


def has_infinity(node: Node) -> bool:
    return any(n.op == "const" and n.value == "inf" for n in (node, *node.args))


def opposed(one: str, other: str) -> bool:
    """Whether the words after two numbers turn them round: "20 dollars profit" and "20 dollars loss"."""
    words, others = (set(plain_words(text).split()) for text in (one, other))
    return any(len(pair & words) == len(pair & others) == 1 and pair & words != pair & others for pair in OPPOSITES)


def is_sequence(node: Node) -> bool:
    return node.op == "group" and node.value != "{}"


def is_collection(node: Node) -> bool:
    if node.op == "list" or (node.op == "group" and node.value == "{}") or any(n.op == "pm" for n in walk(node)):
        return True
    return (
        node.op == "chain" and all_equal(node) and node.args[-1].op in ("list", "group") and node.args[-1].value == "{}"
    )


def all_equal(node: Node) -> bool:
    return node.op == "chain" and isinstance(node.value, tuple) and set(node.value) == {"="}


def composite(node: Node) -> bool:
    return node.op in ("group", "list", "matrix", "text", "setop", "ratio", "clock", "base", "unit", "percent") or any(
        n.op in ("matrix", "group") for n in node.args
    )


def name(node: Node) -> str | None:
    """The name of a quantity, such as x, f(x), |AB|, x_1, A:B or NO/BO; None for an expression with numbers or sums."""
    if node.op == "group":
        return key(node) if all(name(a) is not None for a in node.args) else None
    if node.op == "text":
        return plain_words(str(node.value))
    if node.op == "mul" and len(node.args) == 2 and node.args[0].op == "sym" and node.args[1].op == "num":
        return key(node) if str(node.args[0].value) in _CALLED else None  # "f(5)"; "x5" names nothing
    node = rewrite(node, _inverse)
    if {n.op for n in walk(node)} - {"sym", "mul", "div", "ratio", "func", "const", "group"} or not symbols(node):
        return None
    return key(node)


_CALLED = frozenset("fghpqFGHPQ")


def _inverse(node: Node) -> Node | None:
    """The inverse function in ``f^{-1}(x)`` as a symbol of its own."""
    if node.op == "pow" and node.args[0].op == "sym" and node.args[1] == Node("neg", (number(1),)):
        return Node("sym", (), f"{node.args[0].value}^-1")
    return None


def stated(statement: Node) -> Node | None:
    """The value that "x = 5", "5 = x" or "x = 10/2 = 5" gives its name; None where it names nothing."""
    if not all_equal(statement):
        return None
    sides = statement.args
    if name(sides[0]) is not None and (len(sides) > 2 or sides[-1] != sides[0]):
        return sides[-1]
    if len(sides) == 2 and name(sides[1]) is not None:
        return sides[0]
    return None


def items(node: Node) -> list[Item]:
    """The solutions that a node lists, ± written out and names split off."""
    if node.op == "list" or (node.op == "group" and node.value == "{}"):
        return [item for a in node.args for item in items(a)]
    if node.op == "chain" and all_equal(node) and len(node.args) == 2:
        value, called = stated(node), name(node.args[0]) or name(node.args[1])
        if value is not None:
            return [(called, inner) for _, inner in items(value)]
    if node.op == "chain" and node.value == ("∈",) and node.args[1].op == "group" and node.args[1].value == "{}":
        return [(name(node.args[0]), inner) for _, inner in items(node.args[1])]
    if any(n.op == "pm" for n in walk(node)):
        return [(None, rewrite(node, lambda n, s=s: signed(n, s))) for s in (1, -1)]  # type: ignore[misc]
    return [(None, node)]


def signed(node: Node, sign: int) -> Node | None:
    if node.op != "pm":
        return None
    left, right = (rewrite(a, lambda n: signed(n, sign)) for a in node.args)
    plus = (sign > 0) == (node.value == "±")
    return Node("add", (left, right if plus else Node("neg", (right,))))


def unconditioned(a: Node, b: Node) -> tuple[Node, Node]:
    """ "2k + 1, k ∈ ℤ" beside "2k + 1" without the condition on k; beside "2n + 1, n ∈ ℤ" with its letter."""
    (value_a, counter_a), (value_b, counter_b) = counting(a), counting(b)
    if not a.op == b.op == "list":
        return value_a, value_b
    if counter_a is None or counter_b is None or counter_a in walk(value_b) or counter_b in walk(value_a):
        return a, b
    return a, rewrite(b, lambda node: counter_a if node == counter_b else None)


def counting(node: Node) -> tuple[Node, Node | None]:
    """ "2k + 1, k ∈ ℤ" as what stands before the condition, and k; other nodes as they are, and None."""
    condition = node.args[-1] if node.op == "list" else node
    if node.op == "list" and condition.op == "chain" and condition.value == ("∈",) and condition.args[1] in _COUNTING:
        kept = node.args[:-1]
        return (kept[0] if len(kept) == 1 else node._replace(args=kept)), condition.args[0]
    return node, None


_COUNTING = tuple(Node("sym", (), f"set {letter}") for letter in "ZN")


def coordinates(node: Node) -> Node:
    """ "(x, y) = (1, 2)" as the list x = 1, y = 2; the node itself elsewhere."""
    if all_equal(node) and len(node.args) == 2 and all(a.op == "group" and a.value == "()" for a in node.args):
        left, right = node.args
        if len(left.args) == len(right.args) and name(left) is not None:
            pairs = zip(left.args, right.args, strict=True)
            return Node("list", tuple(Node("chain", pair, ("=",)) for pair in pairs))
    return node


def names(items: list[Item]) -> list[str]:
    """The names, if every item has one; a name in front of a list ("a = 4, -8, -10") names nothing by itself."""
    names = [name for name, _ in items]
    return [name for name in names if name is not None] if None not in names else []


def counted(left: list[Item], right: list[Item]) -> tuple[list[Item], list[Item]]:
    """ "5 boys, 3 girls" beside "3 boys, 5 girls": what is counted names the values, if both sides count the same."""
    sides: list[list[Item]] = []
    for side in (left, right):
        if not all(name is None and value.op == "unit" and measure(str(value.value)) is None for name, value in side):
            return left, right
        sides.append([(plain_words(str(value.value)), value) for _, value in side])
    counting, others = (sorted(names(side)) for side in sides)
    return (sides[0], sides[1]) if counting == others else (left, right)


def different_names(left: list[Item], right: list[Item]) -> bool:
    """Whether both sides name something, and nothing alike."""
    named = [{name for name, _ in listed if name is not None} for listed in (left, right)]
    return bool(named[0] and named[1]) and not named[0] & named[1]


def item_key(item: Item) -> str:
    return f"{item[0]}:{key(item[1])}"


def entries(node: Node) -> tuple[tuple[Node, ...] | None, object]:
    if node.op == "matrix":
        return node.args, node.value
    return (node.args, "tuple") if is_sequence(node) and node.value in ("()", "[]") else (None, None)


def measured(node: Node) -> tuple[Node, str]:
    """A scalar's value, and "%", "°" or its unit."""
    if node.op == "neg":
        value, kind = measured(node.args[0])
        return (Node("neg", (value,)), kind) if kind else (node, "")
    if node.op == "percent":
        return node.args[0], "%"
    if node.op == "degree":
        return node.args[0], "°"
    if node.op == "unit" and node.args[0].op == "percent":
        return node.args[0].args[0], f"% {node.value}"  # "5% of the total"
    return (node.args[0], str(node.value)) if node.op == "unit" else (node, "")


def proportion(a: Node, b: Node) -> float | None:
    """The constant c with a = c b for all values of the symbols; None where there is none or it is 0."""
    if symbols(a) != symbols(b) or not symbols(a):
        return None
    moved = [rewrite(x, lambda n: HALF if n.op == "sym" else None) for x in (a, b)]
    for replacement in (HALF, number(Fraction(7, 3))):
        moved = [rewrite(x, lambda n, r=replacement: spread(n, r)) for x in (a, b)]  # type: ignore[misc]
        if same_value(moved[1], number(0))[0] is False:
            break
    else:
        return None
    crossed = same_value(Node("mul", (a, moved[1])), Node("mul", (b, moved[0])))[0]
    if not crossed:
        return None
    from verifiers.numeric import real

    scale = real(Node("div", (moved[0], moved[1])))
    return scale if scale else None


def spread(node: Node, seed: Node) -> Node | None:
    """A different number for every symbol."""
    if node.op != "sym":
        return None
    assert isinstance(seed.value, Fraction)
    return number(seed.value + Fraction(sum(map(ord, str(node.value))) % 97, 7))


def lettered(value: Node, kind: str) -> tuple[Node, str]:
    """A number times letters that are units, "1 m" or "9.8 m/s^2", as the number and its unit."""
    letters = sorted(symbols(value))
    if kind or not letters or not all(letter in UNITS for letter in letters):
        return value, kind
    if value.op == "mul" and len(value.args) == 2 and value.args[1].op == "sym" and not symbols(value.args[0]):
        return value.args[0], letters[0]
    ones = exact(rewrite(value, lambda n: number(1) if n.op == "sym" else None))
    powers = []
    for letter in letters:
        doubled = rewrite(value, lambda n, x=letter: number(1 + (n.value == x)) if n.op == "sym" else None)  # type: ignore[misc]
        grown = exact(Node("div", (doubled, number(ones or 1))))
        power = next((k for k in range(-3, 4) if grown == Fraction(2) ** k), 0)
        powers.append(f"{letter} ^ {power}" if power > 0 else f"/ {letter} ^ {-power}")
    return (number(ones), " ".join(sorted(powers, reverse=True))) if ones else (value, kind)


def residue(statement: Node) -> Node:
    """The right side of "n ≡ 3" where the left is a name; the statement itself otherwise."""
    if statement.op == "chain" and statement.value == ("≡",) and name(statement.args[0]) is not None:
        return statement.args[1]
    return statement


def same_mark(a: Node, b: Node) -> bool:
    """Whether two numerals have the same digits and base, or two times of day agree with "am" and "pm" where given."""
    (first_a, second_a), (first_b, second_b) = _pair(a), _pair(b)
    if a.op == "base":
        return second_a == second_b and str(first_a).lstrip("0").upper() == str(first_b).lstrip("0").upper()
    assert isinstance(first_a, int)
    assert isinstance(first_b, int)
    unmarked = [first for first, half in ((first_a, second_a), (first_b, second_b)) if not half]
    by_the_clock = bool(unmarked) and all(60 <= minutes < 13 * 60 for minutes in unmarked)  # "22:30" is no 10:30 am
    return first_a == first_b or (by_the_clock and (first_a - first_b) % 720 == 0)


def _pair(node: Node) -> tuple[object, object]:
    assert isinstance(node.value, tuple)
    return node.value[0], node.value[1]
