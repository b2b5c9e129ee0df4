"""Multiple choice: the option letter that a text settles on."""

import re
from collections.abc import Sequence

from verifiers.extract import DEFAULT_RULES, Extraction, Rule, extract_answer, last_line

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
