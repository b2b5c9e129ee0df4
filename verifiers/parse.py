"""A hand-written Pratt parser from tokens to :class:`~verifiers.nodes.Node` trees (Pratt 1973, top-down precedence).

Binding, loosest first: list separators; relations; ∪ ∩ ∖; + − ±; × ÷ mod and implicit multiplication, all of one rank
from left to right; unary sign; powers (right to left); factorial, %, ° and subscripts.  ``\\frac12`` takes single
digits as TeX does, while ``\\sqrt13`` and ``2^10`` take the whole number, as their writers mean them.
"""

from verifiers import operands
from verifiers.commands import Token
from verifiers.lexer import tokenize
from verifiers.nodes import ZERO, Node, Unreadable, height, number
from verifiers.operands import ADD, CLOSERS, MAX_DEPTH, MULTIPLY, POWER, RELATIONS, SIGN, product
from verifiers.quantities import clock, degrees, measured
from verifiers.spoken import spoken
from verifiers.words import FILLERS, ORDINALS

MAX_HEIGHT = 60  # of the tree: chains such as 1/2/3/... nest without brackets

_SETOPS = {"∪": "cup", "∩": "cap", "∖": "minus"}
END: Token = ("end of text", "")


def parse(text: str, commas: bool = True) -> Node:
    """The tree of a cleaned answer; raises ``Unreadable`` where it is not in the grammar or over a limit.

    With ``commas`` "1,234" outside brackets is one number; without, it is a list.
    """
    tokens = tokenize(text, commas)
    tokens = _conclusion(tokens)
    while tokens and tokens[0][0] == "text" and (tokens[0][1].lower() in FILLERS):
        tokens = tokens[1:]
    while tokens and tokens[0] in (("op", ":"), ("op", "≈"), ("op", "=")):
        tokens = tokens[1:]
    if not tokens:
        raise Unreadable("nothing to read")
    if (
        tokens[0] == ("sym", "a")
        and len(tokens) > 1
        and tokens[1][0] == "text"
        and all(k == "text" for k, _ in tokens[1:])
    ):
        tokens = tokens[1:]  # "a hyperbola"
    if tokens[0] in (("text", "negative"), ("text", "minus")) and len(tokens) > 1:
        tokens = [("op", "-"), *tokens[1:]]
    if all(kind == "text" for kind, _ in tokens):
        return Node("text", (), " ".join(word for _, word in tokens))
    parser = Parser(tokens)
    tree = parser.list_until(())
    if parser.at < len(parser.tokens) - 1:
        raise Unreadable(f"{parser.tokens[parser.at][1]!r} where nothing more was expected")
    if height(tree) > MAX_HEIGHT:
        raise Unreadable(f"an expression more than {MAX_HEIGHT} operations high")
    return tree


def _conclusion(tokens: list[Token]) -> list[Token]:
    """What follows the last "⇒" outside brackets."""
    depth, start = 0, 0
    for place, (kind, value) in enumerate(tokens):
        if kind == "op":
            depth += (value in CLOSERS) - (value in ")]}" or value == "\\}")
            if value == "⇒" and depth == 0:
                start = place + 1
    return tokens[start:]


class Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.depth, self.bars = [*tokens, END], 0, 0, 0

    # --- tokens

    def peek(self) -> Token:
        return self.tokens[self.at]

    def is_op(self, *signs: str) -> bool:
        kind, value = self.tokens[self.at]
        return kind == "op" and value in signs

    def take(self, *signs: str) -> bool:
        if self.is_op(*signs):
            self.at += 1
            return True
        return False

    def expect(self, *signs: str) -> str:
        value = self.tokens[self.at][1]
        if not self.take(*signs):
            raise Unreadable(f"{value or 'the end'!r} where {' or '.join(signs)} was expected")
        return value

    def at_end(self) -> bool:
        return self.tokens[self.at] == END

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable(f"more than {MAX_DEPTH} levels deep")

    # --- lists and statements

    def list_until(self, closers: tuple[str, ...]) -> Node:
        """Elements separated by "," ";" "and" "or" until a closing sign (not consumed) or the end."""
        items: list[Node] = []
        empty = tuple(sign for sign in closers if sign != "[")  # "[" closes "]0, 1[" but opens an element
        while True:
            while self.take(",", ";", "&"):
                pass
            if self.is_op(*empty) or self.peek() == END:
                break
            items.append(self.statement())
            if not self.is_op(",", ";", "&"):
                break
        if len(items) == 1:
            return items[0]
        return Node("list", tuple(items))

    def statement(self) -> Node:
        """One element: sides joined by relations, with units, perhaps a modulus."""
        sides, signs = [self.side()], []
        while self.peek()[0] == "op" and self.peek()[1] in (*RELATIONS, "not"):
            negated = self.take("not")
            sign = self.peek()[1]
            self.at += 1
            signs.append({"=": "≠", "∈": "∉"}.get(sign, sign) if negated else sign)
            sides.append(self.side())
        tree = sides[0] if not signs else Node("chain", tuple(sides), tuple(signs))
        if self.is_op("pmod"):
            self.at += 1
            tree = Node("mod", (tree, operands.argument(self)))
        elif self.is_op("(") and self.tokens[self.at + 1] == ("op", "mod"):
            self.at += 2
            tree = Node("mod", (tree, self.expression(0)))
            self.expect(")")
        return tree

    def side(self) -> Node:
        left = measured(self)
        while self.peek()[0] == "op" and self.peek()[1] in _SETOPS:
            name = _SETOPS[self.peek()[1]]
            self.at += 1
            left = Node("setop", (left, measured(self)), name)
        if self.is_op(":"):
            parts = [left]
            while self.take(":"):
                parts.append(measured(self))
            return clock(self, parts) or Node("ratio", tuple(parts))
        return left

    # --- expressions

    def expression(self, binding: int) -> Node:
        self.deeper()
        left = self.prefix()
        while True:
            kind, value = self.peek()
            if kind == "op" and value in ("+", "-") and binding <= ADD:
                left = self.sum(left)
            elif kind == "op" and value in ("±", "∓") and binding <= ADD:
                self.at += 1
                left = Node("pm", (left, self.expression(ADD + 1)), value)
            elif kind == "op" and value in ("*", "/", "mod") and binding <= MULTIPLY:
                self.at += 1
                right = self.expression(MULTIPLY + 1)
                left = product(left, right) if value == "*" else _quotient(left, right, value)
            elif binding <= MULTIPLY and self.starts_operand():
                left = product(left, self.expression(MULTIPLY + 1))
            else:
                self.depth -= 1
                return left

    def sum(self, first: Node) -> Node:
        terms = [first]
        while self.is_op("+", "-"):
            minus = self.peek()[1] == "-"
            self.at += 1
            term = self.expression(ADD + 1)
            terms.append(Node("neg", (term,)) if minus else term)
        return Node("add", tuple(terms))

    def starts_operand(self) -> bool:
        kind, value = self.peek()
        if kind == "op":
            if value == "|":
                return self.bars == 0
            if value == "(" and self.tokens[self.at + 1] == ("op", "mod"):
                return False
            return value in ("(", "{", "⌊", "⌈", "∞")
        if kind == "num":
            previous = self.tokens[self.at - 1]
            return previous[0] != "num" and previous[0] != "sym"
        return kind in ("sym", "const", "func", "big", "accent", "begin")

    def prefix(self) -> Node:
        kind, value = self.peek()
        if kind == "op" and value in ("-", "+", "±", "∓"):
            self.at += 1
            if self.peek() == ("text", "dollar"):
                self.at += 1
            operand = self.expression(SIGN)
            if value == "+":
                return operand
            return Node("neg", (operand,)) if value == "-" else Node("pm", (ZERO, operand), value)
        return self.postfix(operands.operand(self))

    def postfix(self, left: Node) -> Node:
        while True:
            kind, value = self.peek()
            if kind != "op":
                return left
            if value == "^":
                left = self.power(left)
            elif value == "!":
                self.at += 1
                double = self.take("!")
                left = Node("func", (left,), "factorial2" if double else "factorial")
            elif value == "%" or value == "‰":
                self.at += 1
                left = Node("percent", (left,)) if value == "%" else Node("div", (left, number(1000)))
            elif value == "°":
                self.at += 1
                left = degrees(self, left)
            elif value == "'" and left.op == "sym":
                self.at += 1
                left = left._replace(value=f"{left.value}'")
            elif value == "_":
                left = self.subscript(left)
            else:
                return left

    def power(self, base: Node) -> Node:
        self.at += 1
        if self.is_op("°"):
            self.at += 1
            return degrees(self, base)
        if self.is_op("{") and self.tokens[self.at + 1] == ("op", "°") and self.tokens[self.at + 2] == ("op", "}"):
            self.at += 3
            return degrees(self, base)
        braced = self.take("{", "\\{")
        kind, value = self.peek()
        if kind == "text" and value.lower() in ORDINALS:
            self.at += 1
            if braced:
                self.expect("}")
            return base
        if kind == "op" and value == "'":
            if base.op != "sym":
                raise Unreadable("a prime on something that is no symbol")
            while self.take("'"):
                base = base._replace(value=f"{base.value}'")
            if braced:
                self.expect("}")
            return base
        if braced:
            exponent = self.expression(0)
            self.expect("}", "\\}")
        else:
            exponent = self.expression(SIGN) if self.is_op("-", "+") else self.expression(POWER)
        return Node("pow", (base, exponent))

    def subscript(self, left: Node) -> Node:
        self.at += 1
        label = self.label()
        if left.op == "sym":
            return left._replace(value=f"{left.value}_{label}")
        previous = [value for kind, value in self.tokens[: self.at] if kind in ("num", "numeral")]
        label = label.strip("()") if left.op == "num" else label
        said = spoken(label.lower())
        label = str(said[0]) if said is not None and not said[1] else label  # "1011 base two"
        if left.op == "num" and label.isdigit() and 2 <= int(label) <= 36 and previous:
            digits = previous[0] if len(previous) == 1 else previous[-2]
            return left if int(label) == 10 else Node("base", (), (digits, int(label)))
        return Node("func", (left,), "subscript_" + label)

    def label(self) -> str:
        """The text of a subscript: "1" for both ``_1`` and ``_{1}``."""
        if not self.take("{"):
            kind, value = self.peek()
            if kind not in ("num", "sym", "const", "text"):
                raise Unreadable("an empty subscript")
            self.at += 1
            return value
        parts: list[str] = []
        depth = 1
        while True:
            kind, value = self.peek()
            if kind == "end of text":
                raise Unreadable("a subscript without its closing brace")
            depth += (kind == "op" and value == "{") - (kind == "op" and value == "}")
            self.at += 1
            if depth == 0:
                return "".join(parts)
            parts.append(value)


def _quotient(left: Node, right: Node, sign: str) -> Node:
    return Node("div", (left, right)) if sign == "/" else Node("func", (left, right), "mod")
