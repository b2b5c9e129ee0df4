"""What people write for short, in the words that the parser knows: 5'3", 2 sq. cm, o'clock, "for any integer k"."""

import re
from collections.abc import Callable


def _angle(found: re.Match[str]) -> str:
    """An angle by its vertex and its two other points in their order: ∠ABC is ∠CBA and not ∠ACB."""
    return f"{found[2]}_{{{min(found[1], found[3])}{max(found[1], found[3])}}}"


def _system(found: re.Match[str]) -> str:
    """Equations below each other as a list; the text itself where a row is none, as in a function by cases."""
    rows = [row.strip() for row in found["rows"].split("\\\\") if row.strip()]
    if not all(re.fullmatch(r"[^&=]+&?=&?[^&=]+", row) for row in rows):
        return found[0].strip(" $.")
    return ", ".join(row.replace("&", "").rstrip(",; ") for row in rows)


# A mark without which there is nothing to do; what it stands in; what that becomes.
_SHORTHAND: tuple[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    ("'", re.compile(r"^(\d{1,9})\s?'\s?(\d{1,9}(?:\.\d{1,9})?)\s?(?:\"|'')$"), r"\1 feet \2 inches"),
    ("h", re.compile(r"(?<=\d)(\s?)h\s?(\d{1,9}(?:\.\d{1,9})?)\s?m(?:in)?\b"), r"\1hr \2 min"),
    (".", re.compile(r"\b(sq|cu)\.\s?(?=[a-z])"), r"\1 "),
    ("Rs", re.compile(r"\bRs\.?\s?(?=\d)"), r"\\rupee "),
    ("clock", re.compile(r"(?<!\d)(\d{1,2}) o'clock\b"), r"\1:00"),
    ("noon", re.compile(r"^(?:12 )?noon$"), "12:00 PM"),
    ("midnight", re.compile(r"^(?:12 )?midnight$"), "12:00 AM"),
    ("\\!,", re.compile(r"\\!(?=,)"), ""),
    (  # a set in bare braces, "{x | x > 2}"
        "{",
        re.compile(r"^\{(\s?[a-zA-Z]\s?(?:\\in[^{}|:]{1,40}(?:\{[A-Z]\}\s?)?)?(?:[|:]|\\mid)[^{}]{1,200})\}$"),
        r"\\{\1\\}",
    ),
    ("∠", re.compile(r"∠(?=\s?[A-Z]\s?[A-Z]\s?[A-Z](?![A-Za-z]))"), r"\\angle"),
    ("\\angle", re.compile(r"(?:\bm\s?)?\\angle\s?([A-Z])\s?([A-Z])\s?([A-Z])(?![A-Za-z])"), _angle),
    (
        "\\end{",
        re.compile(
            r"^[ $.]*(?:\\left\s?\\\{\s?)?\\begin\{(?P<kind>cases|array|aligned|gathered)\}(?:\{[lcr| ]{1,9}\})?"
            r"(?P<rows>.*?)\\end\{(?P=kind)\}(?:\s?\\right\s?\.?)?[ $.]*$"
        ),
        _system,
    ),
)
_WHOLE_NUMBERS = re.compile(  # "where k is any integer", "for all integers k", "(k ∈ ℤ)"
    r"[(,;]?\s?(?:\\text\s?\{\s?)?(?:\b(?:where|for|with|and)[\s}$]{1,3}(?:(?:any|all|every|some|an)\s)?"
    r"(?:integers?[\s$}]{1,3}([a-zA-Z])|([a-zA-Z])[\s$]{1,3}(?:\\text\s?\{\s?)?(?:is|are)\s(?:an?\s|any\s)?integers?)"
    r"|(?<=\()([a-zA-Z])\s?\\in\s?\\mathbb\s?\{?Z)[\s$})]{0,3}$"
)


def spelt_out(text: str) -> str:
    """``text`` (one line, in ASCII but for ∠) with each shorthand as what it stands for."""
    for mark, written, meant in _SHORTHAND:
        if mark in text:
            text = written.sub(meant, text)
    return text


def whole_numbers_named(text: str) -> str:
    """``text`` without delimiters, with "for any integer k" at its end as ", k \\in \\mathbb{Z}"."""
    if "integer" not in text and "Z" not in text:
        return text
    return _WHOLE_NUMBERS.sub(lambda found: f", {found[found.lastindex or 0]} \\in \\mathbb{{Z}}", text)
