"""What the parser builds, against trees written by hand, and what it refuses."""

import pytest

from verifiers.clean import clean
from verifiers.nodes import Node, Unreadable, number
from verifiers.parse import parse


def sym(name: str) -> Node:
    return Node("sym", (), name)


def op(name: str, *args: Node | int, value: object = None) -> Node:
    return Node(name, tuple(number(a) if isinstance(a, int) else a for a in args), value)  # type: ignore[arg-type]


X, Y = sym("x"), sym("y")


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("-x^2", op("neg", op("pow", X, 2))),
        ("2x^2y", op("mul", 2, op("pow", X, 2), Y)),
        ("x^y^2", op("pow", X, op("pow", Y, 2))),
        ("1/2x", op("mul", op("div", 1, 2), X)),
        ("\\frac12x", op("mul", op("div", 1, 2), X)),
        ("\\frac{1}2", op("div", 1, 2)),
        ("\\sqrt13", op("func", 13, 2, value="root")),
        ("\\sqrt[3]{x}", op("func", X, 3, value="root")),
        ("\\sin 2x+1", op("add", op("func", op("mul", 2, X), value="sin"), 1)),
        ("\\sin^2 x", op("pow", op("func", X, value="sin"), 2)),
        ("\\log_2 8", op("func", 8, 2, value="log")),
        ("x\\pm y", op("pm", X, Y, value="±")),
        ("|x|y", op("mul", op("func", X, value="abs"), Y)),
        ("x_{1}", sym("x_1")),
        ("(1,2]", op("group", 1, 2, value="(]")),
        ("1 < x \\le 2", op("chain", 1, X, 2, value=("<", "≤"))),
        ("3 \\text{ cm}^2", op("unit", 3, value="cm ^ 2")),
        ("12^{th}", number(12)),
        ("2 1/2", number(2)._replace(value=number(5).value / 2)),  # type: ignore[operator]
        ("52_8", op("base", value=("52", 8))),
        ("2:30 pm", op("clock", 2, op("unit", 30, value="pm"), value=(870, "pm"))),
        ("\\begin{pmatrix}1&x\\\\2&y\\end{pmatrix}", op("matrix", 1, X, 2, Y, value=(2, 2))),
        ("Even", op("text", value="Even")),
        ("1,2", op("list", 1, 2)),
        ("1,234", number(1234)),
        ("(1,234)", op("group", 1, 234, value="()")),
        ("x \\implies y", Y),
    ],
)
def test_tree(text: str, tree: Node) -> None:
    assert parse(clean(text)) == tree


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing to read"),
        ("1 2", "nothing more was expected"),
        ("(1", "was expected"),
        ("\\strange", "strange"),
        ("\\begin{matrix}1&2\\\\3\\end{matrix}", "ragged"),
        ("{" * 50 + "1" + "}" * 50, "levels deep"),
        ("1/" * 70 + "1", "operations high"),
        ("x" + "+x" * 500, "tokens"),
        ("9" * 4001, "characters"),
        ("a\x00b", "control"),
    ],
)
def test_refusal_says_why(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        parse(clean(text))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("$$ 5 $$.", "5"),
        ("\\(x\\)", "x"),
        ("$\\boxed{\\boxed{7}}$", "7"),
        ("**B**", "B"),
        ("x² ≤ ½", "x^{2} \\le  \\frac{1}{2}"),
        ("\\\\frac{1}{2}", "\\frac{1}{2}"),
        ("1,2,...", "1,2,..."),
        ("７", "7"),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
