"""The operands of an expression: numbers, brackets, functions, fractions, roots, sums and matrices.

Each function takes the parser, reads its operand from the tokens at hand and returns the tree.
"""

from fractions import Fraction
from typing import TYPE_CHECKING

from verifiers.nodes import ZERO, Node, Unreadable, key, number
from verifiers.words import INVERSES, vocabulary

if TYPE_CHECKING:
    from verifiers.parse import Parser

MAX_DEPTH = 40  # of brackets
MAX_DIGITS = 4_000
MAX_TENS = 1_000  # in 2.5e1000

CLOSERS = {
    "(": (")", "]"),
    "[": ("]", ")", "["),
    "]": ("[", "]", ")"),
    "\\{": ("\\}",),
    "{": ("}",),
    "⟨": ("⟩",),
    "⌊": ("⌋",),
    "⌈": ("⌉",),
}
RELATIONS = frozenset("=<>≤≥≠≈≡∈∉→∼⇔")
_MATRICES = frozenset(
    vocabulary("matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix psmallmatrix bsmallmatrix array")
)
ADD, MULTIPLY, SIGN, POWER = 10, 20, 25, 30  # binding powers


def operand(parser: "Parser") -> Node:
    kind, value = parser.peek()
    parser.at += 1
    if kind == "num":
        return mixed(parser, numeral(value))
    if kind == "numeral":
        return parser.subscript(number(int(value[:MAX_DIGITS], 36)))
    if kind == "sym":
        return Node("const", (), value) if value in ("e", "i") and not parser.is_op("_") else Node("sym", (), value)
    if kind == "const":
        return Node("const", (), value)
    if kind == "func":
        return function(parser, value)
    if kind == "big":
        return big(parser, value)
    if kind == "accent":
        inner = argument(parser)
        return Node("sym", (), f"{value} {inner.value if inner.op in ('sym', 'const') else key(inner)}")
    if kind == "begin":
        return environment(parser, value)
    if kind == "op" and value in CLOSERS:
        return bracket(parser, value)
    if kind == "op" and value in ("|", "‖"):
        return bars_around(parser, value)
    raise Unreadable(f"{value or 'the end'!r} where a value was expected")


def mixed(parser: "Parser", whole: Node) -> Node:
    """ "2\\frac{1}{2}" and "2 1/2" as two and a half: a whole number and a proper fraction of whole numbers."""
    start = parser.at
    braced = parser.tokens[start : start + 2] == [("op", "{"), ("func", "frac")]
    parser.at += braced
    kind, value = parser.peek()
    if not (isinstance(whole.value, Fraction) and whole.value.denominator == 1):
        parser.at = start
        return whole
    if kind == "func" and value == "frac":
        parser.at += 1
        top, bottom = argument(parser, single=True), argument(parser, single=True)
    elif kind == "num" and parser.tokens[parser.at + 1] == ("op", "/") and parser.tokens[parser.at + 2][0] == "num":
        top, bottom = numeral(value), numeral(parser.tokens[parser.at + 2][1])
        parser.at += 3
    else:
        return whole
    over, under = top.value, bottom.value
    if top.op == bottom.op == "num" and isinstance(over, Fraction) and isinstance(under, Fraction):
        proper = over.denominator == under.denominator == 1 and 0 < over < under
        if proper and (not braced or parser.take("}")):
            return number(whole.value + over / under)
    parser.at = start
    return whole


def argument(parser: "Parser", single: bool = False) -> Node:
    """What a command applies to: a braced group, or the next operand (one digit of it where ``single``)."""
    if parser.take("{"):
        if parser.take("}"):
            raise Unreadable("an empty argument")
        inner = parser.expression(0)
        parser.expect("}")
        return inner
    kind, value = parser.peek()
    if kind == "num" and single and len(value) > 1 and value.isdigit():
        parser.tokens[parser.at] = ("num", value[1:])
        return number(int(value[0]))
    parser.at += 1
    if kind == "num":
        return numeral(value)
    parser.at -= 1
    parser.deeper()  # "\\sqrt\\sqrt2" nests without brackets
    inner = operand(parser)
    parser.depth -= 1
    return inner


def bracket(parser: "Parser", opening: str) -> Node:
    parser.deeper()
    bars, parser.bars = parser.bars, 0
    if opening == "\\{":
        parser.at += builder(parser)
    inner = parser.list_until((*CLOSERS[opening], "choose", "over"))
    if parser.is_op("choose", "over"):
        name = parser.peek()[1]
        parser.at += 1
        lower = parser.expression(0)
        inner = Node("func", (inner, lower), "choose") if name == "choose" else Node("div", (inner, lower))
    closing = parser.expect(*CLOSERS[opening])
    parser.depth -= 1
    parser.bars = bars
    items = inner.args if inner.op == "list" else (inner,)
    if opening == "⌊" or opening == "⌈":
        return Node("func", (inner,), "floor" if opening == "⌊" else "ceil")
    if opening in ("{", "\\{"):
        return inner if inner.op != "list" else Node("group", items, "{}")
    if opening == "⟨":
        return Node("group", items, "()")
    if len(items) == 1 and inner.op != "list":
        return inner
    # "]0, 1[" is the French way to write the open interval.
    return Node("group", items, ("(" if opening == "]" else opening) + (")" if closing == "[" else closing))


def builder(parser: "Parser") -> int:
    """The tokens of "x |", "x :" or "x ∈ ℝ |" at the start of a set that is given by a condition, else 0."""
    tokens = parser.tokens[parser.at : parser.at + 4]
    if len(tokens) < 4 or tokens[0][0] != "sym":
        return 0
    if tokens[1:3] == [("op", "∈"), ("sym", "set R")] and tokens[3] in (("op", "|"), ("op", ":")):
        return 4
    return 2 if tokens[1] in (("op", "|"), ("op", ":")) else 0


def bars_around(parser: "Parser", bar: str) -> Node:
    parser.bars += 1
    inner = parser.expression(0)
    parser.bars -= 1
    parser.expect(bar)
    return Node("func", (inner,), "abs" if bar == "|" else "norm")


def function(parser: "Parser", name: str) -> Node:
    if name == "frac" or name == "binom":
        top = argument(parser, single=True)
        whole = parser.peek()
        bottom = argument(parser, single=True)
        if whole[0] == parser.peek()[0] == "num" and parser.tokens[parser.at - 1] != whole:
            raise Unreadable(f"\\{name} with the digits {whole[1]}, which may mean more than one thing")
        return Node("div", (top, bottom)) if name == "frac" else Node("func", (top, bottom), "choose")
    if name in ("sqrt", "cbrt"):
        degree = number(2 if name == "sqrt" else 3)
        if parser.take("["):
            degree = parser.expression(0)
            parser.expect("]")
        if parser.is_op("("):
            return Node("func", (operand(parser), degree), "root")
        return Node("func", (argument(parser), degree), "root")
    return applied(parser, name)


def applied(parser: "Parser", name: str) -> Node:
    """A named function with its base, power and argument: ``\\log_2 8``, ``\\sin^2 x``, ``\\sin^{-1} x``."""
    base: Node | None = None
    exponent: Node | None = None
    for _ in range(2):
        if name == "log" and parser.is_op("_"):
            parser.at += 1
            base = argument(parser)
        elif parser.is_op("^") and exponent is None:
            parser.at += 1
            exponent = parser.expression(SIGN) if parser.is_op("-") else argument(parser)
    if exponent is not None and exponent == Node("neg", (number(1),)) and name in INVERSES:
        name, exponent = INVERSES[name], None
    opens = parser.is_op("(", "{", "[")
    if opens:
        opening = parser.peek()[1]
        parser.at += 1
        inner = bracket(parser, opening)
        args = inner.args if inner.op in ("group", "list") else (inner,)
        if not args:
            raise Unreadable(f"{name} of nothing")
    else:
        args = (bare_argument(parser),)
    if name == "cis":
        parts = Node("func", args, "cos"), Node("mul", (Node("const", (), "i"), Node("func", args, "sin")))
        return Node("add", parts)
    applied = Node("func", (*args, base) if base is not None else args, name)
    return applied if exponent is None else Node("pow", (applied, exponent))


def bare_argument(parser: "Parser") -> Node:
    """The argument of ``\\sin 2x``: factors up to the next sign or function."""
    parser.deeper()
    left = parser.prefix()
    while parser.starts_operand() and parser.peek()[0] not in ("func", "big") and not parser.is_op("("):
        left = product(left, parser.postfix(operand(parser)))
    parser.depth -= 1
    return left


def big(parser: "Parser", name: str) -> Node:
    """``\\int``, ``\\sum``, ``\\prod`` and ``\\lim`` with their limits in either order."""
    lower: Node = ZERO
    upper: Node = ZERO
    variable = "x"
    for _ in range(2):
        if parser.take("_"):
            lower, found = bound(parser)
            variable = found or variable
        elif parser.take("^"):
            upper, _unused = bound(parser)
    body = parser.expression(0 if name == "int" else MULTIPLY)
    if parser.peek()[0] == "differential":
        variable = parser.peek()[1]
        parser.at += 1
    return Node("big", (body, Node("sym", (), variable), lower, upper), name)


def bound(parser: "Parser") -> tuple[Node, str]:
    """A limit and, for "k = 1" or "x → 0", the bound variable."""
    if not parser.take("{"):
        return operand(parser) if not parser.is_op("-") else parser.prefix(), ""
    if parser.take("}"):
        return ZERO, ""
    first = parser.expression(0)
    variable = ""
    if parser.take("=", "→", "⇒", "∈") and first.op in ("sym", "const"):  # i may be an index
        first, variable = parser.expression(0), str(first.value)
    parser.expect("}")
    return first, variable


def environment(parser: "Parser", name: str) -> Node:
    if name not in _MATRICES:
        raise Unreadable(f"the environment {name}")
    rows: list[list[Node]] = [[]]
    while parser.peek() != ("end", name):
        if parser.take("\\\\"):
            rows.append([])
        elif not parser.take("&"):
            rows[-1].append(parser.statement())
        if parser.at_end():
            raise Unreadable(f"\\begin{{{name}}} without its end")
    parser.at += 1
    rows = [row for row in rows if row]
    width = len(rows[0]) if rows else 0
    if not width or any(len(row) != width for row in rows) or len(rows) * width > 100:
        raise Unreadable("a matrix with ragged rows or more than 100 entries")
    matrix = Node("matrix", tuple(entry for row in rows for entry in row), (len(rows), width))
    if name == "vmatrix":
        return Node("func", (matrix,), "det")
    return matrix


def product(left: Node, right: Node) -> Node:
    return Node("mul", (*left.args, right) if left.op == "mul" else (left, right))


def numeral(digits: str) -> Node:
    """A number's exact value; "0.1(6)" repeats its parenthesis for ever."""
    if len(digits) > MAX_DIGITS:
        raise Unreadable(f"a number of more than {MAX_DIGITS} digits")
    if "(" in digits:
        start, _, period = digits.rstrip(")").partition("(")
        places = len(start.partition(".")[2])
        repeating = Fraction(int(period), 10**places * (10 ** len(period) - 1))
        return number(Fraction(start if start != "." else "0") + repeating if start.strip(".") else repeating)
    mantissa, _, exponent = digits.lower().partition("e")
    if exponent and abs(int(exponent)) > MAX_TENS:
        raise Unreadable("a power of ten beyond the limit")
    whole, _, part = mantissa.partition(".")
    if "." in part:
        raise Unreadable("a number with two decimal points")
    value = Fraction(int((whole + part) or "0"), 10 ** len(part))
    return number(value * Fraction(10) ** int(exponent) if exponent else value)
