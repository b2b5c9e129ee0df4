"""Numbers with units, angles and times of day, read from the parser's tokens."""

import re
from typing import TYPE_CHECKING

from verifiers.nodes import Node, Unreadable, number
from verifiers.operands import RELATIONS, numeral
from verifiers.units import measure
from verifiers.words import FILLERS, MULTIPLIERS, UNITS

if TYPE_CHECKING:
    from verifiers.parse import Parser

MAX_MEASURES = 6  # in "5 ft 3 in"
_NUMBER = re.compile(r"\d[\d.]*")


def clock(parser: "Parser", parts: list[Node]) -> Node | None:
    """A time of day, "2:30" or "14:05 pm": read off the digits, since 2:05 is no ratio."""
    digits = [value for kind, value in parser.tokens[: parser.at] if kind == "num"]
    half = str(parts[-1].value).lower().replace(".", "") if parts[-1].op == "unit" else ""
    if parser.at < len(parser.tokens) - 1 or len(parts) != 2 or len(digits) != 2 or len(digits[1]) != 2:
        return None
    if not (digits[0].isdigit() and digits[1].isdigit()):
        return None
    if parts[0].op != "num" or (parts[1].op != "num" and not half):
        return None  # "-9:24"
    if half not in ("", "am", "pm") or len(digits[0]) > 2 or int(digits[0]) > 23 or int(digits[1]) > 59:
        return None
    hour = int(digits[0]) % 12 + 12 * (half == "pm") if half else int(digits[0])
    return Node("clock", (parts[0], parts[1]), (hour * 60 + int(digits[1]), half))


def measured(parser: "Parser") -> Node:
    """An expression and the unit after it; words before it that say nothing are passed over."""
    lead: list[str] = []
    while parser.peek()[0] == "text":
        lead.append(parser.peek()[1])
        parser.at += 1
    if lead and (
        parser.at_end() or (parser.peek()[0] == "op" and parser.peek()[1] in (*RELATIONS, *",;)]:", "}", "\\}"))
    ):
        return Node("text", (), " ".join(lead))
    if any(word.lower() not in FILLERS and word.lower() not in UNITS for word in lead):
        raise Unreadable(f"words before mathematics: {' '.join(lead)[:60]}")
    value = parser.expression(0)
    words = unit_words(parser)
    if not words and lead and UNITS.get(lead[-1].lower(), ("",))[0].startswith("money"):
        words = [lead[-1].lower()]
    return _with_unit(value, words) if words else value


def unit_words(parser: "Parser") -> list[str]:
    """ "miles", "cm^2", "square units", "m / s": words, powers and slashes up to the next separator."""
    words: list[str] = []
    while True:
        kind, value = parser.peek()
        if kind == "text":
            words.append(value)
        elif words and kind == "op" and value in ("/", "^", "{", "}", "*", "-", ".", "(", "'", "!"):
            if value == "(" and parser.tokens[parser.at + 1] == ("op", "mod"):
                return words
            words.append({"{": "", "}": ""}.get(value, value))
        elif words and value and (kind in ("num", "sym") or (value == ")" and words.count("(") > words.count(")"))):
            words.append(value)
        else:
            return [word for word in words if word]
        parser.at += 1


def degrees(parser: "Parser", left: Node) -> Node:
    """What "°" makes of a number: a temperature, or an angle with its minutes and seconds (12° 30′ 15″)."""
    kind, value = parser.peek()
    if kind == "sym" and value in ("C", "F", "K"):
        parser.at += 1
        return _with_unit(left, ["°" + value])
    parts = [left]
    for marks in (1, 2):
        following = parser.tokens[parser.at : parser.at + 1 + marks]
        if following[:1] and following[0][0] == "num" and following[1:] == [("op", "'")] * marks:
            parts.append(Node("div", (numeral(following[0][1]), number(60**marks))))
            parser.at += 1 + marks
    return Node("degree", (left if len(parts) == 1 else Node("add", tuple(parts)),))


def _with_unit(value: Node, words: list[str]) -> Node:
    """The value times "million" and its kind; percent and degree words as their signs; anything else as a unit."""
    while words and words[0].lower() in MULTIPLIERS:
        value = Node("mul", (value, number(MULTIPLIERS[words[0].lower()])))
        words = words[1:]
    if words[-2:] == ["below", "zero"]:
        value, words = Node("neg", (value,)), words[:-2]
    if words in (["squared"], ["cubed"]):
        value, words = Node("pow", (value, number(2 if words == ["squared"] else 3))), []
    if not words:
        return value
    mixed = _mixed_units(value, words)
    if mixed is not None:
        return mixed
    name = " ".join(words).lower()
    if name in ("percent", "percentage", "per cent", "pct", "percents", "percentage points"):
        return Node("percent", (value,))
    if name in ("degrees", "degree", "deg"):
        return Node("degree", (value,))
    return Node("unit", (value,), " ".join(words))


def _mixed_units(value: Node, words: list[str]) -> Node | None:
    """ "1 hour 30 minutes": the words after the first number hold further numbers with units.

    "5 miles per 2 hours" and "5 (of 7)" are 5 of something.  Raises ``Unreadable`` where the further number is none of
    these, "5 eggs 7 cows", "1 in 5": what the whole is worth is not told.
    """
    words = " ".join(words).split()
    cut = next((i for i, word in enumerate(words) if _NUMBER.fullmatch(word) and words[max(i - 1, 0)] != "^"), None)
    if cut is None or {"per", "/", "every", "("} & set(words[:cut]):
        return None
    if sum(word.isdigit() for word in words) > MAX_MEASURES:
        raise Unreadable("a quantity of many units")
    if cut and [word.lower() for word in words[:cut]] == ["to"] and len(words) == 2:
        return Node("ratio", (value, numeral(words[1])))
    rest = _with_unit(numeral(words[cut]), words[cut + 1 :])
    whole = summed((Node("unit", (value,), " ".join(words[:cut])), rest)) if cut else None
    if whole is None:
        raise Unreadable("a second number among the words")
    return whole


def summed(parts: tuple[Node, ...]) -> Node | None:
    """ "5 feet, 3 inches" as one quantity in the last unit; None where the units are not different ones of one kind."""
    measures = [measure(str(part.value)) if part.op == "unit" else None for part in parts]
    known = [each for each in measures if each is not None]
    if len(known) < len(parts) or len({kind for kind, _ in known}) > 1 or len({size for _, size in known}) < len(parts):
        return None
    last = known[-1][1]
    terms = (Node("mul", (p.args[0], number(size / last))) for p, (_, size) in zip(parts, known, strict=True))
    return Node("unit", (Node("add", tuple(terms)),), parts[-1].value)
