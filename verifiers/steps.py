"""Does the arithmetic written in a step hold?  A free labeller that prefers silence to a false alarm.

A step holds if every equation in it that can be worked out is right, fails if one is wrong, and is unknown if there is
none.  Equations are looked for in calculator marks ("<<48/2=24>>"), in running text ("12 x 2 = 24 inches", chains
"a = b = c", "20% of 50 is 10") and in LaTeX ("\\frac{12}{4} = 3", "\\sqrt{18} = 3\\sqrt{2}").  Equations with unknowns
are conditions, not claims, and are never called wrong.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from verifiers.effort import Exhausted, metered
from verifiers.nodes import Unreadable, symbols
from verifiers.parse import parse
from verifiers.rational import evaluate
from verifiers.scalar import same_value
from verifiers.words import FUNCTIONS, MULTIPLIERS, ORDINALS, UNITS

Outcome = Literal["holds", "fails", "unknown"]
MAX_STEP = 8_000  # characters of a step that are read
CLOSE = Fraction(15, 1000)  # relative error below which a difference may come from rounding on the way


@dataclass(frozen=True)
class StepCheck:
    """``detail`` names the part that failed and the right value, or says what was checked."""

    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class _Side:
    """One side of an equation: its arithmetic, and whether it was cut off by an unknown."""

    text: str
    words: tuple[str, ...]
    unit: str  # the word after its last number
    whole: bool
    alone: bool  # nothing but arithmetic stands before it


_MARK = re.compile(r"<<([^<>=]{1,200})=([^<>=]{1,60})>>")
_TOKEN = re.compile(
    r"(?P<num>(?<![\w.])(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)|(?P<eq>=|≈)|(?P<op>[-+*/^()×÷·−–])|"
    r"(?P<pct>%)|(?P<word>[A-Za-z][A-Za-z'’]*)|(?P<other>[^\s])"
)
_PERCENT = re.compile(r"(?<![\d,.])((?:\d|\.\d)[\d,.]*)\s?%")
_AMBIGUOUS = re.compile(r"/ [\d.,]+ / |[-+*/^] [+*/^]|\^ [\d.]+ \^")  # "14 / 1/4", "2 * + 1"
_APPROXIMATE = re.compile(
    r"\b(?:about|approx\w*|round\w*|nearest|estimat\w*|roughly|almost|around|whole|remainder|left ?over)\b|"
    r"≈|\\approx|~",
    re.I,
)
_PERCENT_IS = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?)\s?(?:%|percent) of (?:the )?\$?(\d[\d,]*(?:\.\d+)?) (?:is|equals) "
    r"\$?(\d[\d,]*(?:\.\d+)?)(?![\d%]|\.\d| ?[-+*/x×])"
)
_NAMED_TWICE = re.compile(  # "Total = 3 + 4. Total = 8"
    r"\b(?P<name>[A-Za-z][A-Za-z '’]{0,60}?) {0,3}= {0,3}(?P<worked>[\d.,+*/×÷()^ -]{1,120}?)[ .;]{1,9}"
    r"(?P=name) {0,3}= {0,3}(?P<value>-?\d[\d,]*(?:\.\d+)?)(?![\d%]|\.\d| {0,3}[-+*/^×÷(=]| ?[A-Za-z]\b)"
)
_LATEX = (
    (re.compile(r"\\(?:text|mathrm|textbf|mbox|mathbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), " * "),
    (re.compile(r"\\div(?![A-Za-z])"), " / "),
    (re.compile(r"\\(?:approx|simeq)(?![A-Za-z])"), " ≈ "),
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"((\1)/(\2))"),
    (re.compile(r"\\(?:left|right|,|;|!|quad|displaystyle)(?![A-Za-z])|&|\\\$"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\{,\}"), ","),
)
_PHRASES = (
    (re.compile(r"(?<=\s)\([A-Za-z][A-Za-z ,'’-]{0,60}\)"), " "),  # "80 minutes (homework)"
    (
        re.compile(r"(?<=[a-z])\s?/\s?[A-Za-z]{2,20}|(?<=[a-z]) (?:per|each|every) [a-z]{2,20}(?= *[-+*/×÷=x])"),
        "",
    ),  # "feet/minute"
    (re.compile(r"(?<=[\d)%])\s*[xX]\s*(?=[\d(.])|(?<=[a-z]{2}) [xX] (?=[\d(.])"), " * "),
)
_FORMULA = re.compile(r"\$\$?([^$]{1,600})\$\$?|\\\((.{1,600}?)\\\)|\\\[(.{1,1200}?)\\\]", re.DOTALL)
_OPERATORS = frozenset("+-*/^()")
_SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}


def check_step(step: str, context: str = "") -> StepCheck:
    """Whether the mathematics in ``step`` holds, given the text before it; never raises on any text.

    ``context`` matters only for rounding: words such as "round" in it allow rounded whole numbers.

    >>> check_step("She sold 48/2 = <<48/2=25>>25 clips in May.").detail
    '48/2 = 25: the value is 24'
    """
    text = step[:MAX_STEP]
    rounded = bool(_APPROXIMATE.search(text)) or bool(_APPROXIMATE.search(context[-500:]))
    verdicts = [*_marks(text, rounded), *_percents(text, rounded)]
    plain = _plain(_MARK.sub(" ", text))
    verdicts += [*_equations(plain, rounded), *_named(plain, rounded)]
    if not any(outcome == "fails" for outcome, _ in verdicts):
        with metered():
            verdicts += _formulas(text)
    failed = [detail for outcome, detail in verdicts if outcome == "fails"]
    if failed:
        return StepCheck("fails", failed[0])
    held = [detail for outcome, detail in verdicts if outcome == "holds"]
    return StepCheck("holds", "; ".join(held[:4])) if held else StepCheck("unknown", "nothing that can be worked out")


_Finding = tuple[Outcome, str]
_Token = tuple[str, str]  # kind and text


def _marks(text: str, rounded: bool) -> list[_Finding]:
    found = []
    for mark in _MARK.finditer(text):
        left = evaluate(_fractions(mark[1]))
        found.append(_compare(left, mark[2].strip().lstrip("$"), f"{mark[1].strip()} = {mark[2].strip()}", rounded))
    return found


def _percents(text: str, rounded: bool) -> list[_Finding]:
    found = []
    for claim in _PERCENT_IS.finditer(text):
        share, whole, _part = (Fraction(group.replace(",", "")) for group in claim.groups())
        found.append(_compare(share * whole / 100, claim[3], claim[0], rounded))
    return found


def _named(plain: str, rounded: bool) -> list[_Finding]:
    claims = [m for m in _NAMED_TWICE.finditer(plain) if _OPERATORS & set(m["worked"].strip().lstrip("-"))]
    return [_compare(evaluate(m["worked"].strip(" .,")), m["value"], " ".join(m[0].split()), rounded) for m in claims]


def _fractions(text: str) -> str:
    return _PERCENT.sub(r"(\1/100)", text.replace("$", ""))


def _compare(left: Fraction | None, right: str, shown: str, rounded: bool) -> _Finding:
    """A computed value against a written one: equal, equal after rounding, close, or wrong."""
    percent = right.endswith("%")
    written = evaluate(right.rstrip("% "))
    if left is None or written is None:
        return "unknown", shown
    candidates = (left, left * 100) if percent else (left,)
    places = len(right.rstrip("% ").partition(".")[2]) if re.fullmatch(r"[\d.,% -]+", right) else None
    for value in candidates:
        if value == written or (places and abs(value - written) <= Fraction(1, 10**places)):
            return "holds", shown
        if rounded and places == 0 and abs(value - written) < 1:
            return "holds", shown
    if any(_near(value, written) for value in candidates) or (
        places == 0 and left.denominator != 1 and abs(left - written) < 1
    ):
        return "unknown", shown
    return "fails", f"{shown}: the value is {_shown(left)}"


def _near(a: Fraction, b: Fraction) -> bool:
    """Off by what rounding on the way explains, or by a factor that units do ("50 cents x 3 = $1.50")."""
    if abs(a - b) <= CLOSE * max(abs(a), abs(b)):
        return a.denominator != 1 or b.denominator != 1
    return b != 0 and a / b in (
        100,
        Fraction(1, 100),
        60,
        Fraction(1, 60),
        1000,
        Fraction(1, 1000),
        12,
        Fraction(1, 12),
    )


def _shown(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.10g}" if abs(value) < 10**15 else "a fraction"


def _plain(text: str) -> str:
    """LaTeX arithmetic as plain arithmetic; what is not arithmetic stays and is not read."""
    for _ in range(2):
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    text = re.sub(r"\\[()]|\$|€|£", " ", re.sub(r"\\[\[\]]|\n", " ; ", text))
    text = re.sub(r"\.\.\.+", "…", text)
    for pattern, plain in _PHRASES:
        text = pattern.sub(plain, text)
    return text


def _equations(text: str, rounded: bool) -> list[_Finding]:
    """Every "=" in running text with arithmetic on both sides."""
    tokens = [(m.lastgroup or "", m.group()) for m in _TOKEN.finditer(text)][:4_000]
    found: list[_Finding] = []
    places = [i for i, (kind, _) in enumerate(tokens) if kind == "eq"]
    for number, place in enumerate(places):
        start = places[number - 1] + 1 if number else 0
        end = places[number + 1] if number + 1 < len(places) else len(tokens)
        left = _side_before(tokens, start, place)
        right = _side_after(tokens, place + 1, end)
        found.append(_judge(left, right, rounded or tokens[place][1] == "≈"))
    return found


def _judge(left: _Side | None, right: _Side | None, rounded: bool) -> _Finding:
    if left is None or right is None or not (left.whole and right.whole):
        return "unknown", ""
    shown = f"{left.text} = {right.text}"
    if not (_OPERATORS & set(left.text.lstrip("-")) or _OPERATORS & set(right.text.lstrip("-"))):
        return "unknown", shown
    bare = not _OPERATORS & set(left.text.lstrip("-"))
    if (
        _mixes_units((*left.words, *right.words))
        or (bare and not left.alone)
        or _AMBIGUOUS.search(f"{left.text} = {right.text}")
    ):
        return "unknown", shown
    if left.unit and right.unit and left.unit.rstrip("s") != right.unit.rstrip("s"):
        return "unknown", shown  # "1/4 cup = 2 ounces" converts
    if _OPERATORS & set(right.text.lstrip("-")) and not _OPERATORS & set(left.text.lstrip("-")):
        left, right = right, left
    right_text = right.text
    if _OPERATORS & set(right_text.lstrip("-")):
        value = evaluate(_fractions(right_text))
        if value is None:
            return "unknown", shown
        right_text = str(value) if value.denominator != 1 else str(value.numerator)
    return _compare(evaluate(_fractions(left.text)), right_text, shown, rounded)


def _mixes_units(words: tuple[str, ...]) -> bool:
    """Whether the words name sizes that a bare calculation would confuse: hours and minutes, dozens, cents."""
    lowered = {word.lower() for word in words}
    if lowered & (
        set(MULTIPLIERS) | {"half", "third", "quarter", "twice", "double", "pair", "pairs", "score", "percent"}
    ):
        return True
    sizes = {UNITS[word] for word in lowered if word in UNITS and len(word) > 1}
    return len(sizes) > 1


def _side_before(tokens: list[_Token], start: int, end: int) -> _Side | None:
    """The arithmetic that ends at ``end``: back to the first word that is no unit between a number and a sign."""
    at, depth = end - 1, 0
    while at >= start:
        kind, value = tokens[at]
        if kind == "op":
            depth += (value == ")") - (value == "(")
            if depth < 0:
                break
        elif kind in ("word", "other"):
            measured = at > start and tokens[at - 1][0] in ("num", "pct")
            follows = at + 1 == end or (tokens[at + 1][0] == "op" and tokens[at + 1][1] != "(")
            if kind == "other" or len(value) == 1 or not (measured and follows):
                break
        at -= 1
    before = at
    while before > start and tokens[before][0] == "word":
        before -= 1
    joined = at >= start and tokens[at][0] == "word" and tokens[before][0] == "op" and tokens[before][1] != ")"
    stop = tokens[at] if at >= start else None
    return None if joined else _side(tokens[at + 1 : end], stop, None)


def _side_after(tokens: list[_Token], start: int, end: int) -> _Side | None:
    """The arithmetic that starts at ``start``: on to the first word that no sign follows."""
    at, depth = start, 0
    while at < end:
        kind, value = tokens[at]
        if kind == "op":
            depth += (value == "(") - (value == ")")
            if depth < 0:
                break
        elif kind in ("word", "other"):
            joined = (
                at + 2 < end
                and tokens[at + 1][0] == "op"
                and tokens[at + 1][1] in "+*/×÷·"
                and tokens[at + 2][0] == "num"
            )
            if kind == "other" or at == start or len(value) == 1 or not joined:
                break
        at += 1
    return _side(tokens[start:at], None, tokens[at] if at < len(tokens) else None)


def _side(tokens: list[_Token], before: _Token | None, after: _Token | None) -> _Side | None:
    words = tuple(value for kind, value in tokens if kind == "word")
    parts = [_SIGNS.get(value, value) for kind, value in tokens if kind != "word"]
    while parts and parts[-1] in ("+", "-", "*", "/", "^", "("):
        parts.pop()
    if not any(part[0].isdigit() or part[0] == "." for part in parts):
        return None
    cut = parts[0] in ("+", "*", "/", "^", ")") or (parts[0] == "-" and before is not None)
    cut = cut or (before is not None and before[1] in FUNCTIONS)  # "cos(0) = 1"
    unknowns = [side for side in (before, after) if side is not None and side[0] == "word" and len(side[1]) == 1]
    odd = any(side is not None and side[1] in "\\_{}!|[]√…" for side in (before, after)) or (
        after is not None and after[1] == ":"
    )
    unit = after[1] if after is not None and after[0] == "word" else words[-1] if tokens[-1][0] == "word" else ""
    whole = not cut and not ORDINALS.intersection(words) and not odd and all(side[1] in "aAI" for side in unknowns)
    return _Side(" ".join(parts).replace(" %", "%"), words, unit, whole, before is None and not words)


def _formulas(text: str) -> list[_Finding]:
    """Numeric equations in LaTeX that plain arithmetic cannot read, such as roots; nothing in them is called wrong
    unless both sides are numbers that differ by more than rounding explains."""
    found: list[_Finding] = []
    for match in list(_FORMULA.finditer(text))[:20]:
        body = next(group for group in match.groups() if group is not None)
        if "=" not in body or "\\approx" in body or not re.search(r"\\(?:sqrt|log|sin|cos|tan|pi)|\^", body):
            continue
        try:
            tree = parse(" ".join(body.replace("&", " ").split()).rstrip(" .,"))
        except Unreadable:
            continue
        if tree.op != "chain" or not isinstance(tree.value, tuple) or set(tree.value) != {"="}:
            continue
        for left, right in zip(tree.args, tree.args[1:], strict=False):
            if (
                symbols(left)
                or symbols(right)
                or {left.op, right.op} & {"list", "group", "matrix", "text", "unit", "pm", "chain"}
            ):
                continue
            try:
                verdict = same_value(left, right)[0]
            except Exhausted:
                return found
            if verdict:
                found.append(("holds", body.strip()[:80]))
            elif verdict is False and not _decimal(body):
                found.append(("fails", f"{body.strip()[:80]}: the sides differ"))
    return found


def _decimal(text: str) -> bool:
    return re.search(r"\d\.\d", text) is not None
