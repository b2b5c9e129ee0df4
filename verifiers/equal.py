"""Whether two final answers are equal: a ladder of rungs from cheap to dear, each answering yes, no or "pass on".

========== ====================================================================================
rung       decides
========== ====================================================================================
string     the same text, or two plain numbers
canonical  the same after delimiters, spacing, styles, unicode signs and case of words are gone
form
exact      rational arithmetic, and polynomial identities at random points of a finite field
structure  lists, tuples, sets, intervals, matrices, equations and inequalities, part by part
numeric    the values at random points to 900 bits
limit      nothing: the text is not mathematics that we read, or is over a limit
time       nothing: the machine was too busy to finish within half a second
========== ====================================================================================
"""

import hashlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from verifiers.choices import choice, same_letters
from verifiers.clean import MAX_ANSWER, clean, unstyled
from verifiers.compare import Comparison, Rung
from verifiers.effort import OutOfTime, metered
from verifiers.extract import extract_answer
from verifiers.nodes import Node, Unreadable
from verifiers.parse import parse
from verifiers.policy import DEFAULT_POLICY, Policy
from verifiers.shape import plain_words


@dataclass(frozen=True)
class Decision:
    """``verdict`` is True, False or None (could not tell); ``rung`` decided it, ``detail`` says why in a few words."""

    verdict: bool | None
    rung: Rung
    detail: str


@dataclass(frozen=True)
class Reading:
    """An answer as understood: its source, cleaned text, its canonical form, its tree, or why there is none."""

    source: str
    text: str
    canonical: str
    tree: Node | None
    listed: Node | None  # the tree with "1,234" read as a list, where that reading differs
    problem: str


_PLAIN = re.compile(r"-?(?:\d{1,300}|\d{1,3}(?:,\d{3}){1,20})(?:\.\d{1,300})?")
_COMMAS = re.compile(r"\d,\d")
_ZEROS = re.compile(r",0\d")  # "7,425,000" is no list
_DECIMAL_COMMA = re.compile(r"-?(?:0,\d+|\d,\d\d|\d{2,},\d\d?|\d+,\d{4,})")  # "1,2" is rather two numbers
_GLUE = re.compile(r"\s+(?=[^\w\s])|(?<=[^\w\s])\s+")
_MINUS = re.compile(r"[-−]\W*(?:\\boxed)?\W*$")
_SIGNS = re.compile(  # mathematics, not words
    r"[\\^_{}<>=+*/()\[\]|\u0300-\u036f\u20d0-\u20ff-]|\d[^\w\s]+\d|\d\W*\?|(?<!['\d.,])[\d.,]+'"
)


def equal(a: str, b: str, policy: Policy = DEFAULT_POLICY) -> bool | None:
    """True where the two final answers are equal, False where they differ, None where that cannot be told.

    Symmetric, and True for any non-blank answer and itself.  LaTeX or plain text, with or without ``$``.
    """
    return decide(a, b, policy).verdict


def decide(a: str, b: str, policy: Policy = DEFAULT_POLICY) -> Decision:
    """Compare two final answers and say which rung of the ladder decided, and why.  Never raises on any text."""
    if not a.strip() or not b.strip():
        return Decision(None, "limit", "an empty answer")
    if a == b:
        return Decision(True, "string", "the same text")
    same = same_numbers(a, b)
    if same is not None:
        return Decision(same, "string", "the same number" if same else "different numbers")
    try:
        left_reading, right_reading = sorted((read(a), read(b)), key=lambda r: r.canonical)
        with metered():
            return _decide(left_reading, right_reading, policy)
    except RecursionError:  # the trees are shallow, but the caller's stack may be nearly full
        return Decision(None, "limit", "nested too deep for the stack that is left")


def same_numbers(a: str, b: str) -> bool | None:
    """Whether two plain decimal numbers are equal; None where one is anything else."""
    if _PLAIN.fullmatch(a) and _PLAIN.fullmatch(b):
        a, b = a.replace(",", ""), b.replace(",", "")
        return a == b or (int(a) == int(b) if "." not in a + b else Fraction(a) == Fraction(b))
    return None


def read(text: str) -> Reading:
    """What an answer is understood to say; short ones are cached, because a gold answer is compared many times."""
    return _read_once(text) if len(text) <= MAX_ANSWER else _read(text)


@lru_cache(maxsize=2048)
def _read_once(text: str) -> Reading:
    return _read(text)


def _read(text: str) -> Reading:
    try:
        cleaned = clean(text)
        canonical = _GLUE.sub("", cleaned)
    except Unreadable as problem:
        squeezed = " ".join(text[:20_000].split()) + (_digest(text) if len(text) > 20_000 else "")
        return Reading(text, text[:4_000], squeezed, None, None, str(problem))
    try:
        tree = parse(cleaned)
    except Unreadable as problem:
        return Reading(text, cleaned, canonical, None, None, str(problem))
    listed: Node | None = None
    if _COMMAS.search(cleaned) and not _ZEROS.search(cleaned):
        try:
            listed = parse(cleaned, commas=False)
        except Unreadable:
            listed = None
        listed = None if listed == tree else listed
    return Reading(text, cleaned, canonical, tree, listed, "")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass")).hexdigest()


def _decide(a: Reading, b: Reading, policy: Policy, *, nested: bool = False) -> Decision:
    if not a.canonical or not b.canonical:
        return Decision(None, "limit", "an empty answer")
    if a.canonical == b.canonical:
        return Decision(True, "canonical form", "the same up to spacing and delimiters")
    letters = None if nested else _same_choice(a, b, policy)
    if letters is not None:
        return letters
    if a.tree is None or b.tree is None:
        decision = _same_words(a, b)
        return decision if decision.verdict or nested else _decide_extracted(a, b, policy) or decision
    decision = _compared(a.tree, b.tree, policy)
    if decision.verdict is not True:
        for left, right in _other_readings(a, b):
            second = _compared(left, right, policy)
            if second.verdict:
                return second
    return decision


def _decide_extracted(a: Reading, b: Reading, policy: Policy) -> Decision | None:
    """The decision on the answers within sentences, "The area is $9$", where either side is one."""
    texts = []
    for reading in (a, b):
        found = extract_answer(reading.source) if reading.tree is None else None
        if found is not None and _MINUS.search(reading.source, max(0, found.start - 12), found.start):
            return None  # "-\\boxed{3}"
        texts.append(found.text if found is not None else reading.text)
    left, right = read(texts[0]), read(texts[1])
    if (left, right) == (a, b) or left.tree is None or right.tree is None:
        return None
    return _decide(left, right, policy, nested=True)


def _compared(a: Node, b: Node, policy: Policy) -> Decision:
    comparison = Comparison(policy)
    try:
        verdict = comparison.same(a, b)
    except Unreadable as problem:
        return Decision(None, "time" if isinstance(problem, OutOfTime) else "limit", str(problem))
    if verdict is None:
        return Decision(None, "limit", "no rung could tell")
    return Decision(verdict, comparison.rung, "equal" if verdict else comparison.detail or "they differ")


def _other_readings(a: Reading, b: Reading) -> list[tuple[Node, Node]]:
    """ "1,234" as a list where the other side is one, and "2,74" as a decimal where the other side has a point."""
    pairs: list[tuple[Node, Node]] = []
    for one, other in ((a, b), (b, a)):
        assert one.tree is not None
        assert other.tree is not None
        if one.listed is not None and other.tree.op in ("list", "group", "chain"):
            pairs.append((one.listed, other.tree))
        if _DECIMAL_COMMA.fullmatch(one.text) and re.fullmatch(r"-?\d+\.\d+", other.text):
            pairs.append((parse(one.text.replace(",", ".")), other.tree))
    return pairs


def _same_choice(a: Reading, b: Reading, policy: Policy) -> Decision | None:
    left, right = choice(a.text), choice(b.text)
    if left is None and right is None:
        same = same_letters(a.text, b.text)
        if same is None:
            return None
        return Decision(same, "canonical form", "the same options" if same else "different options")
    if left is not None and right is not None:
        if left[0] != right[0]:
            return Decision(False, "canonical form", "different options")
        return Decision(True, "canonical form", "the same option")
    (_, rest), other = (left, b) if left is not None else (right, a)  # type: ignore[misc]
    return _decide(read(rest), other, policy, nested=True) if rest else None


def _same_words(a: Reading, b: Reading) -> Decision:
    texts = [unstyled(r.text) for r in (a, b)]
    words = [plain_words(text) for text in texts]
    if words[0] == words[1] and words[0] and not any(_SIGNS.search(text) for text in texts):
        return Decision(True, "canonical form", "the same words")
    problem = a.problem or b.problem
    return Decision(None, "limit", f"cannot read {(a if a.problem else b).text[:60]!r}: {problem}")
