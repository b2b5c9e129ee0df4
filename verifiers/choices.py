"""Multiple choice: an answer that is an option, the options of a question, and the one that a text settles on."""

import re
from collections.abc import Sequence
from functools import lru_cache

from verifiers.clean import unstyled
from verifiers.extract import DEFAULT_RULES, Extraction, Rule, extract_answer, last_line

_CHOICE = re.compile(
    r"(?i:(?:option|choice|answer):? )?(?:\(([A-J])\)[.:]?(\s*(?![-+*/^=_!<>,.|]).*)|([A-J])(?:[.:)](\s.*|\W*))?)",
    re.DOTALL,
)
_LOWER = re.compile(r"\([a-j]\)\.?")
_LETTERS = re.compile(r"\(?[A-J]\)?(?:\W*(?:,|;|&|\band\b)\W*\(?[A-J]\)?)+|[A-J]{2,6}")  # "A, B and D", "ABD"
_ANOTHER = re.compile(r"(?:and|or|,|&|/)?\s*\(?[A-J]\)?(?:$|[.,;:)]|\s(?:and|or)\b)|(?:and|or)\b")  # "(A) and (B)"
_LISTED = re.compile(r"(?<![\w(])(?:\(([A-J])\)|([A-J])[).:])\s*")


def choice(text: str) -> tuple[str, str] | None:
    """An option's letter, A to J, and the text after it: "(D) Alina", "D.", "\\text{(D)}"; None for anything else."""
    bare = unstyled(text).strip()
    found = _CHOICE.fullmatch(bare.upper() if _LOWER.fullmatch(bare) else bare)
    if found is None:
        return None
    letter, rest = (found[1], found[2]) if found[1] else (found[3], found[4])
    rest = (rest or "").strip()
    return None if _ANOTHER.match(rest) else (letter, rest)


def same_letters(a: str, b: str) -> bool | None:
    """Whether two answers name the same options, "A, B and D" and "ABD"; None where one is no such list, or where both
    are runs of letters, which are a product or a name."""
    a, b = unstyled(a).strip(), unstyled(b).strip()
    if not (_LETTERS.fullmatch(a) and _LETTERS.fullmatch(b)) or (a.isalpha() and b.isalpha()):
        return None
    return set(re.findall("[A-J]", a)) == set(re.findall("[A-J]", b))


@lru_cache(maxsize=1024)
def options(question: str) -> dict[str, str]:
    """The options that a question lists, letter to text: "(A) 5 (B) 6", "A) 5" or "A. 5", from A on without gaps."""
    tail = question[-8_000:]
    marks = list(_LISTED.finditer(tail))
    for first in range(len(marks) - 1, max(-1, len(marks) - 11), -1):
        run = marks[first:]
        letters = [m[1] or m[2] for m in run]
        if len(run) > 1 and letters == [chr(ord("A") + k) for k in range(len(run))]:
            ends = [*(m.start() for m in run[1:]), len(tail)]
            texts = [tail[m.end() : end].strip(" \n,;") for m, end in zip(run, ends, strict=True)]
            return dict(zip(letters, texts, strict=True))
    return {}


# --- the option that a text settles on -------------------------------------------------------------------------------

_CHOICE_START = re.compile(
    r"\W{0,12}(?i:option |choice |answer:? ?)?\W{0,6}([A-HJ]|I(?! [a-z]))(?=$|[^\w'’]|_)(?!\}? ?[-+=*/^_])"
)
_CHOICE_WORD = re.compile(r"(?<![\w'’])([A-HJ])(?![\w'’])(?! [a-z]+ly\b)")
_OPTION = re.compile(r"(?:option|choice|answer) ?$", re.IGNORECASE)
_LOWER_CHOICE = re.compile(r"\W{0,4}([a-j])\W{0,4}")
_AND_ANOTHER = re.compile(r"\W{0,6}(?:(?:and|or)\W{1,6})?\(?[A-J](?:$|[\s).,;}])(?! is| was)")
_ONE_OF = re.compile(r"(?<!\w)[A-J]\W{1,4}(?:and|or)\W{1,4}$")  # "A or B"
_NOT = re.compile(r"\b(?:not|except|isn['’]t)\W{1,3}(?:(?:option|choice|answer) )?\W{0,2}$", re.IGNORECASE)
_ARTICLE = re.compile(r"A [a-z]{2,}")


def extract_choice(text: str, rules: Sequence[Rule] = DEFAULT_RULES) -> Extraction | None:
    """The option letter, A to J, that ``text`` settles on; None where it names none.

    The answer found by :func:`extract_answer` counts if it starts with a letter ("(B) 300", "D. because ..."); else the
    last letter standing by itself in the last line, articles ("A circle") left out.
    """
    found = extract_answer(text, rules)
    if found is None:
        return None
    content = re.sub(r"\\(?:text|mathrm|textbf|mathbf|mbox|rm|bf)\b", " ", found.text[:400])
    lower = _LOWER_CHOICE.fullmatch(content)
    if lower and found.rule != "last line":
        return Extraction(lower.group(1).upper(), found.start, found.end, found.rule)
    start = _CHOICE_START.match(content)
    if start and _AND_ANOTHER.match(content, start.end(1)):
        return None
    if start and not _ARTICLE.match(content, start.start(1)):
        return Extraction(start.group(1), found.start, found.end, found.rule)
    if found.rule in ("boxed", "tag", "hashes", "A:", "whole text"):
        return None
    first, last = last_line(text)
    named = _CHOICE_WORD.finditer(text, first, last)
    letters = [
        m
        for m in named
        if (_OPTION.search(text, max(first, m.start() - 9), m.start()) or not _ARTICLE.match(text, m.start()))
        and not _NOT.search(text, max(first, m.start() - 16), m.start())
    ]
    if not letters or _ONE_OF.search(text, max(first, letters[-1].start() - 14), letters[-1].start()):
        return None
    return Extraction(letters[-1].group(1), *letters[-1].span(1), "last line")
