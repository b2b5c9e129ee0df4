"""Cutting a worked answer into steps, as spans of the text itself so that every model sees the same steps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from verifiers.solution import Step

Separator = Literal["line", "paragraph"]  # between two steps stands a line break, or a blank line
BREAKS: Mapping[Separator, str] = {"line": "\n", "paragraph": "\n\n"}
_PARAGRAPH_BREAK = re.compile(r"\n(?:[^\S\n]*\n)+")


def split_steps(text: str, separator: Separator = "line") -> tuple[Step, ...]:
    """The S steps of ``text``: its non-blank lines, or its paragraphs (blocks separated by blank lines).

    Each step has surrounding whitespace stripped and ``step.text == text[step.start:step.end]``; steps never overlap
    and are in order.  Lines end at "\\n" only, so a form feed or U+2028 in a model's text cuts nothing.
    """
    if separator not in BREAKS:
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


def join_steps(texts: Sequence[str], separator: Separator = "line") -> tuple[str, tuple[Step, ...]]:
    """The texts of S steps as one text, with line breaks or blank lines between them, and their spans in it.

    A step may hold line breaks itself, or nothing: it stays a step, which ``split_steps`` would not know.
    """
    joiner, steps, start = BREAKS[separator], [], 0
    for text in texts:
        steps.append(Step(text, start, start + len(text)))
        start += len(text) + len(joiner)
    return joiner.join(texts), tuple(steps)


def steps_at(text: str, spans: Sequence[Any]) -> tuple[Step, ...]:
    """The steps at ``spans`` [start, end) of ``text``; ValueError unless they are in order, inside it and apart."""
    steps, reached = [], 0
    for index, span in enumerate(spans):
        match span:
            case [int(start), int(end)] if reached <= start < end <= len(text):
                steps.append(Step(text[start:end], start, end))
                reached = end
            case _:
                raise ValueError(f"step {index} is {span!r}, not [start, end] from {reached} on and within {len(text)}")
    return tuple(steps)
