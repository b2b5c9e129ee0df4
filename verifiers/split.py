"""Cutting a worked answer into steps, as spans of the text itself so that every model sees the same steps."""

import re
from typing import Literal

from verifiers.solution import Step

_PARAGRAPH_BREAK = re.compile(r"\n(?:[^\S\n]*\n)+")


def split_steps(text: str, separator: Literal["line", "paragraph"] = "line") -> tuple[Step, ...]:
    """The S steps of ``text``: its non-blank lines, or its paragraphs (blocks separated by blank lines).

    Each step has surrounding whitespace stripped and ``step.text == text[step.start:step.end]``; steps never overlap
    and are in order.  Lines end at "\\n" only, so a form feed or U+2028 in a model's text cuts nothing.
    """
    if separator not in ("line", "paragraph"):
        raise ValueError(f"separator is {separator!r}; use 'line' or 'paragraph'")
    steps, start = [], 0
    ends = [
        (m.start(), m.end())
        for m in (re.finditer("\n", text) if separator == "line" else _PARAGRAPH_BREAK.finditer(text))
    ]
    for cut, after in [*ends, (len(text), len(text))]:
        piece = text[start:cut]
        stripped = piece.strip()
        if stripped:
            begin = start + len(piece) - len(piece.lstrip())
            steps.append(Step(stripped, begin, begin + len(stripped)))
        start = after
    return tuple(steps)
