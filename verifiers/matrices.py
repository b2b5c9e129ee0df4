"""Sums, products, powers and determinants of matrices, entry by entry, as expression trees."""

from collections.abc import Callable

from verifiers.nodes import Node, Unreadable, number, walk
from verifiers.scalar import exact

MAX_SIDE = 6
MAX_ENTRY = 300  # nodes in one entry of a product


def folded(node: Node) -> Node:
    """The one matrix, or the scalar, that an expression in matrices stands for; the node itself where shapes clash."""
    args = [folded(a) if a.args else a for a in node.args]
    matrices = [a for a in args if a.op == "matrix"]
    if not matrices or node.op == "matrix":
        return node
    if any(max(_shape(m)) > MAX_SIDE for m in matrices):
        raise Unreadable(f"matrix arithmetic beyond {MAX_SIDE} rows")
    if node.op == "neg":
        return _map(args[0], lambda entry: Node("neg", (entry,)))
    if node.op == "add" and len(matrices) == len(args) and len({_shape(m) for m in matrices}) == 1:
        entries = zip(*(m.args for m in matrices), strict=True)
        return matrices[0]._replace(args=tuple(_tidy(Node("add", tuple(terms))) for terms in entries))
    if node.op == "mul":
        return _multiplied(args) or node
    if node.op == "div" and args[0].op == "matrix":
        return _map(args[0], lambda entry: Node("div", (entry, args[1])))
    if node.op == "pow" and args[0].op == "matrix" and (power := exact(args[1])) in (1, 2, 3, 4):
        return _multiplied([args[0]] * int(power or 1)) or node
    if node.op == "func" and node.value in ("det", "abs") and _shape(args[0])[0] == _shape(args[0])[1] <= 4:
        size = _shape(args[0])[0]
        return _determinant([list(args[0].args[row * size : (row + 1) * size]) for row in range(size)])
    return node


def _shape(matrix: Node) -> tuple[int, int]:
    assert isinstance(matrix.value, tuple)
    rows, columns = matrix.value
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    return rows, columns


def _map(matrix: Node, change: Callable[[Node], Node]) -> Node:
    return matrix._replace(args=tuple(_tidy(change(entry)) for entry in matrix.args))


def _tidy(entry: Node) -> Node:
    """A number as its value, so that products of many matrices stay small."""
    value = exact(entry)
    if value is not None:
        return number(value)
    if sum(1 for _ in walk(entry)) > MAX_ENTRY:
        raise Unreadable("matrix arithmetic with long entries")
    return entry


def _multiplied(factors: list[Node]) -> Node | None:
    product = factors[0]
    for factor in factors[1:]:
        if product.op != "matrix" or factor.op != "matrix":
            matrix, scalar = (product, factor) if product.op == "matrix" else (factor, product)
            product = _scaled(matrix, scalar) if matrix.op == "matrix" else _times(product, factor)
            continue
        (rows, inner), (inner_b, columns) = _shape(product), _shape(factor)
        if inner != inner_b:
            return None
        entries = [
            _tidy(
                Node(
                    "add",
                    tuple(_times(product.args[i * inner + k], factor.args[k * columns + j]) for k in range(inner)),
                )
            )
            for i in range(rows)
            for j in range(columns)
        ]
        product = Node("matrix", tuple(entries), (rows, columns))
    return product


def _scaled(matrix: Node, scalar: Node) -> Node:
    return _map(matrix, lambda entry: Node("mul", (scalar, entry)))


def _times(left: Node, right: Node) -> Node:
    return Node("mul", (left, right))


def _determinant(rows: list[list[Node]]) -> Node:
    """Laplace's expansion along the first row."""
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for column, entry in enumerate(rows[0]):
        minor = _determinant([row[:column] + row[column + 1 :] for row in rows[1:]])
        term = Node("mul", (entry, minor))
        terms.append(Node("neg", (term,)) if column % 2 else term)
    return Node("add", tuple(terms))
