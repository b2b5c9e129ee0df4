"""Built-in problems: seeded, unlimited, with worked solutions and an exact check of every step.

Five families, each in levels 1 to 4 (more operations, larger terms). A worked solution rewrites the problem one
operation at a time, one line a step, and ends in ``#### answer``, so every step denotes either an expression with the
value of the answer or an equation that only the answer solves. That is what :func:`steps_right` checks, in exact
rational arithmetic: a step is right when it says of the answer what the step before it said.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Literal

from verifiers.rational import evaluate
from verifiers.solution import Example, Problem

Split = Literal["train", "validation", "test"]
Worked = tuple[str, list[str], str]  # question, the lines of its solution, answer
Author = Callable[[str, int, int], int]  # the value that somebody gives to (operator, left, right)
ANSWER_MARK = "####"
FAR = 3  # a second number of this much is where authors slip
LARGEST = 9  # numbers of a right solution stay within 0..LARGEST: few enough facts for a tiny model to learn


def _finish(question: str, lines: Sequence[str], answer: Fraction | int) -> Worked:
    return question, [*lines[:-1], f"{ANSWER_MARK} {lines[-1]}"], str(answer)


# -- arithmetic: expressions as nested tuples (operator, left, right) or an int ------------------------------------

Expression = int | tuple[str, "Expression", "Expression"]
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}


def _value(e: Expression) -> int:
    if isinstance(e, int):
        return e
    operator, left, right = e
    return _careful(operator, _value(left), _value(right))


def _show(e: Expression, parent: int = 0, on_right: bool = False) -> str:
    if isinstance(e, int):
        return str(e)
    operator, left, right = e
    level = _PRECEDENCE[operator]
    text = _show(left, level) + operator + _show(right, level, on_right=True)
    return f"({text})" if level < parent or on_right else text


def _reduce(e: Expression, author: Author) -> Expression:
    """Carry out one operation as ``author`` does: the leftmost innermost one."""
    if isinstance(e, int):
        return e
    operator, left, right = e
    if not isinstance(left, int):
        return operator, _reduce(left, author), right
    if not isinstance(right, int):
        return operator, left, _reduce(right, author)
    return author(operator, left, right)


def _careful(operator: str, a: int, b: int) -> int:
    return a + b if operator == "+" else a - b if operator == "-" else a * b


def _slipping(rng: random.Random, slips: float) -> Author:
    """An author who may mix up adding and taking away where the second number is FAR or more: 9-5 is 14, 2+6 is 4."""

    def author(operator: str, a: int, b: int) -> int:
        if operator == "*" or b < FAR or rng.random() >= slips:
            return _careful(operator, a, b)
        return a + b if operator == "-" else abs(a - b)

    return author


def _reductions(e: Expression, author: Author) -> list[str]:
    """All rewrites after the first line, the last being the value that the author arrives at."""
    lines = []
    while not isinstance(e, int):
        e = _reduce(e, author)
        lines.append(_show(e))
    return lines


def _apart(rng: random.Random, value: int) -> Expression:
    """One operation on two numbers that gives ``value``."""
    choices = [("+", a, value - a) for a in range(1, value)]
    choices += [("-", a, a - value) for a in range(value + 1, LARGEST + 1)]
    pairs = [(a, value // a) for a in range(2, 10) if value and value % a == 0 and 2 <= value // a < 10]
    kinds: list[list[tuple[str, int, int]]] = [
        [c for c in choices if c[0] == "+"],
        [c for c in choices if c[0] == "-"],
        [("*", a, b) for a, b in pairs],
    ]
    return rng.choice(rng.choice([k for k in kinds if k]))


def _chain(rng: random.Random, level: int, author: Author) -> Worked:
    """Sums and differences from left to right: ``8+4-3+2``."""
    e: Expression = rng.randint(1, LARGEST)
    for _ in range(level + 1):
        e = _lengthen(rng, e)
    return _finish(_show(e), _reductions(e, author), _value(e))


def _lengthen(rng: random.Random, e: Expression) -> tuple[str, Expression, int]:
    """Add or take away a number that keeps the value within 0..LARGEST."""
    value = _value(e)
    if value == 0 or (value < LARGEST and rng.random() < 0.5):
        return ("+", e, rng.randint(1, LARGEST - value))
    return ("-", e, rng.randint(1, value))


def _nested(rng: random.Random, level: int, author: Author) -> Worked:
    """Parentheses and products, reduced innermost first: ``9-(8-2*(4-3))``."""
    e: Expression = rng.randint(1, LARGEST)
    for _ in range(level + 1):
        e = _deepen(rng, e)
    return _finish(_show(e), _reductions(e, author), _value(e))


def _deepen(rng: random.Random, e: Expression) -> Expression:
    """Replace a number of the innermost operation by an operation that has its value."""
    if isinstance(e, int):
        return _apart(rng, e)
    operator, left, right = e
    if isinstance(left, int) and (not isinstance(right, int) or rng.random() < 0.5):
        return operator, left, _deepen(rng, right)
    return operator, _deepen(rng, left), right


def _linear(rng: random.Random, level: int, author: Author) -> Worked:
    """One unknown: ``3x=12``, ``3x+2=11``, ``2(x+3)=10``, ``4x+3=2x+9``."""
    a = rng.randint(2, LARGEST // 2)
    x = rng.randint(1, LARGEST // a)
    if level == 1:
        return _finish(f"{a}x={a * x}", [str(x)], x)
    if level == 2:
        total = a * x
        b = rng.randint(1, LARGEST)
        sign, right = ("+", total + b) if total + b <= LARGEST else ("-", total - b)
        if right < 0:
            b, right = total, 0
        product = author("-" if sign == "+" else "+", right, b)
        return _finish(f"{a}x{sign}{b}={right}", [f"{a}x={product}", str(Fraction(product, a))], x)
    if level == 3:
        inside = rng.randint(x, LARGEST // a)
        lines = [f"x+{inside - x}={inside}", str(author("-", inside, inside - x))]
        return _finish(f"{a}(x+{inside - x})={a * inside}", lines, x)
    c = rng.randint(1, a - 1)
    b = rng.randint(0, LARGEST - a * x)
    rest, right = a - c, (a - c) * x + b
    rest_text, c_text = ("" if n == 1 else str(n) for n in (rest, c))
    product = author("-", right, b)
    lines = [f"{rest_text}x+{b}={right}", f"{rest_text}x={product}", str(Fraction(product, rest))]
    return _finish(f"{a}x+{b}={c_text}x+{right}", lines, x)


def _fraction(rng: random.Random, level: int, author: Author) -> Worked:
    """Sums of fractions: a common denominator, the sum, then lowest terms."""
    while True:
        denominators = [rng.randint(2, LARGEST)] * 2 if level == 1 else rng.choices([2, 3, 4, 6, 8, 12], k=2)
        if level >= 3:
            denominators.append(rng.choice(denominators))
        numerators = [rng.randint(1, d - 1) for d in denominators]
        common = math.lcm(*denominators)
        scaled = [n * common // d for n, d in zip(numerators, denominators, strict=True)]
        if common <= LARGEST and sum(scaled) <= LARGEST:
            break
    terms = [f"{n}/{d}" for n, d in zip(numerators, denominators, strict=True)]
    lines: list[str] = []
    if any(d != common for d in denominators):
        lines.append("+".join(f"{n}/{common}" for n in scaled))
    top = author("+", scaled[0], scaled[1])
    if len(scaled) == 3:
        lines.append(f"{top}/{common}+{scaled[2]}/{common}")
        top = author("+", top, scaled[2])
    found = str(Fraction(top, common))
    if found != f"{top}/{common}":
        lines.append(f"{top}/{common}")
    return _finish("+".join(terms), [*lines, found], Fraction(sum(scaled), common))


_NAMES = ("Mia", "Tom", "Ana", "Ben", "Ida", "Leo")
_THINGS = ("apples", "pens", "coins", "books", "shells", "cards")
_MORE = ("buys", "finds", "wins", "gets")
_LESS = ("loses", "sells", "eats", "gives away")


def _word(rng: random.Random, level: int, author: Author) -> Worked:
    """A short story of gains and losses: ``Mia has 8 pens. Mia buys 4. Mia loses 3. How many pens?``"""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    e: Expression = rng.randint(1, LARGEST)
    sentences = [f"{name} has {e} {thing}."]
    for position in range(level + 1):
        times = rng.choice([2, 3])
        if position == 0 and rng.random() < 0.25 and _value(e) * times <= LARGEST:
            sentences.append(f"Then {times} times as many.")
            e = ("*", e, times)
            continue
        e = _lengthen(rng, e)
        verb = rng.choice(_MORE if e[0] == "+" else _LESS)
        sentences.append(f"{name} {verb} {e[2]}.")
    return _finish(" ".join([*sentences, f"How many {thing}?"]), [_show(e), *_reductions(e, author)], _value(e))


FAMILIES: dict[str, Callable[[random.Random, int, Author], Worked]] = {
    "chain": _chain,
    "nested": _nested,
    "linear": _linear,
    "fraction": _fraction,
    "word": _word,
}


# -- the source ----------------------------------------------------------------------------------------------------


def split_of(question: str) -> Split:
    """The split that a question belongs to, for ever: by a hash of its text, 80/10/10. So no two splits share one."""
    bucket = int.from_bytes(hashlib.blake2s(question.encode(), digest_size=4).digest(), "big") % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def generate(
    families: Sequence[str], levels: Sequence[int], split: Split, seed: int, slips: float = 0.0
) -> Iterator[Example]:
    """An endless stream of worked problems of ``split``, the same for the same arguments.

    ``slips`` is how often the author of a worked solution mixes up adding and taking away where the second number is
    FAR or more (and goes on from there): the problem and its gold answer stay, the solution may be wrong.
    The stream may repeat a question (small families hold few); :func:`distinct` draws without repeats.
    ``families`` are keys of ``FAMILIES``, ``levels`` are 1 to 4. Raises ValueError for an unknown one.
    """
    for name in families:
        if name not in FAMILIES:
            raise ValueError(f"unknown family {name!r}; there are {', '.join(FAMILIES)}")
    if not families or not levels or not all(1 <= level <= 4 for level in levels):
        raise ValueError(f"need at least one family and levels from 1 to 4, got {list(families)} and {list(levels)}")
    rng = random.Random(f"{seed}/{split}/{','.join(families)}/{','.join(map(str, levels))}")
    while True:
        family, level = rng.choice(list(families)), rng.choice(list(levels))
        question, lines, answer = FAMILIES[family](rng, level, _slipping(random.Random(rng.random()), slips))
        if split_of(question) == split:
            problem = Problem(f"{family}-{level}-{_digest(question)}", question, answer)
            yield Example(problem, "\n".join(lines))


def is_built_in(problem: Problem) -> bool:
    """Whether the problem, by its id, is one that :func:`generate` made and has not been changed."""
    family, _, rest = problem.id.partition("-")
    return family in FAMILIES and bool(problem.answer) and rest.partition("-")[2] == _digest(problem.question)


def _digest(question: str) -> str:
    return hashlib.blake2s(question.encode(), digest_size=5).hexdigest()


def distinct(
    families: Sequence[str],
    levels: Sequence[int],
    split: Split,
    seed: int,
    count: int,
    slips: float = 0.0,
    or_fewer: bool = False,
) -> list[Example]:
    """``count`` worked problems with different questions.

    Raises ValueError when the families hold too few, unless ``or_fewer`` is content with what there are.
    """
    found: dict[str, Example] = {}
    in_vain = 0  # draws since the last new question
    for example in generate(families, levels, split, seed, slips):
        in_vain = in_vain + 1 if example.problem.question in found else 0
        found.setdefault(example.problem.question, example)
        if len(found) == count:
            return list(found.values())
        if in_vain > 1000 + len(found):
            break
    if or_fewer:
        return list(found.values())
    raise ValueError(f"only {len(found)} distinct {split} problems found for {list(families)} at levels {list(levels)}")


# -- the step check ------------------------------------------------------------------------------------------------


def steps_right(problem: Problem, steps: Sequence[str]) -> list[bool]:
    """Whether each step is right given those before it, exactly (rational arithmetic).

    A step is right when it gives the answer the value that the step before it gave, the first one when that is the
    gold answer: up to the first error, exactly the steps that are true of the problem; after it, those that follow.
    A step that says nothing (see :func:`claim`) is wrong, and the next one is held to the last that said something.
    """
    value = evaluate(problem.answer)
    if value is None:
        raise ValueError(f"problem {problem.id!r} has no rational answer: {problem.answer!r}")
    found = []
    for step in steps:
        said = claim(step)
        found.append(said == value)
        value = value if said is None else said
    return found


def claim(step: str) -> Fraction | None:
    """The value that a step gives the answer: that of its expression, or the x for which its linear equation holds.

    None for text that is neither, and for equations that hold for every x or for none.
    """
    left, equals, right = step.strip().removeprefix(ANSWER_MARK).strip().partition("=")
    if not equals:
        return evaluate(left)
    at = [_residual(left, right, Fraction(x)) for x in (0, 1, 2)]
    if at[0] is None or at[1] is None or at[2] is None:
        return None
    slope = at[1] - at[0]
    return -at[0] / slope if slope and at[2] - at[1] == slope else None


def _residual(left: str, right: str, x: Fraction) -> Fraction | None:
    a, b = evaluate(left, {"x": x}), evaluate(right, {"x": x})
    return None if a is None or b is None else a - b
