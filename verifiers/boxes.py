"""Boxed answers: ``\\boxed{...}`` with nested braces, several boxes that make one answer, boxes never closed."""

import re

MAX_BOX = 4_000  # characters in one box
MAX_BOXES = 32

Span = tuple[int, int]
Found = tuple[str, int, int]


def trimmed(body: str, start: int, end: int) -> Found | None:
    piece = body[start:end]
    left = len(piece) - len(piece.lstrip())
    piece = piece.strip()
    return (piece, start + left, start + left + len(piece)) if piece else None


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(
    r"(?:\\|\x08)(?:boxed|fbox|framebox)\b|\x08oxed\b|(?<![\w\\])boxed(?=\{)"
)  # "\b" read as a backspace by a careless JSON writer
_BARE_BOX = re.compile(r"\s*([^\s{}$\\]+)")
_GAP_WORD = re.compile(r"(?:and|or|,|;|&)", re.IGNORECASE)


def matching_brace(text: str, opening: int, limit: int = MAX_BOX) -> int:
    """The index of the brace that closes the one at ``opening``; -1 where there is none within ``limit`` characters."""
    depth = 0
    for found in _BRACE.finditer(text, opening, min(len(text), opening + limit)):
        brace = found.group()
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return found.start()
    return -1


def _box_at(body: str, after: int) -> Span | None:
    """The span of the content of a box whose command ends at ``after``."""
    at = after
    while at < len(body) and body[at] in " \t\n" and at - after < 20:
        at += 1
    if at < len(body) and body[at] == "{":
        close = matching_brace(body, at)
        if close >= 0:
            return at + 1, close
        # A brace was forgotten: the formula's end closes the box.  Text that merely stops there was cut off.
        stops = [stop for mark in ("$", "\n", "\\]", "\\)") if (stop := body.find(mark, at, at + MAX_BOX)) >= 0]
        return (at + 1, min(stops)) if stops else None
    bare = _BARE_BOX.match(body, at)
    return bare.span(1) if bare else None


def boxed(body: str) -> Found | None:
    if "boxed" not in body and "box" not in body and "\x08oxed" not in body:
        return None
    spans: list[Span] = []
    starts: list[int] = []
    end = -1
    for command in list(_BOX.finditer(body))[-MAX_BOXES:]:
        if command.start() < end:
            continue  # inside the box before it
        span = _box_at(body, command.end())
        if span is not None and body[span[0] : span[1]].strip():
            spans.append(span)
            starts.append(command.start())
            end = span[1]
    if not spans:
        return None
    first = len(spans) - 1
    while first > 0 and _joins(body[spans[first - 1][1] + 1 : starts[first]]):
        first -= 1
    if first == len(spans) - 1:
        return trimmed(body, *spans[-1])
    parts = ", ".join(body[start:stop].strip() for start, stop in spans[first:])
    return parts, spans[first][0], spans[-1][1]


_GAP_NOISE = re.compile(r"\\(?:quad|qquad|text|mathrm|textnormal|,|;|!|:|\s|\(|\)|\[|\])|[${}\s~]")


def _joins(gap: str) -> bool:
    """Whether the text between two boxes only lists them: "and", "or", a comma, with at most two words more."""
    if len(gap) > 60 or "\n\n" in gap:
        return False
    words = _GAP_NOISE.sub(" ", gap).replace(",", " , ").replace(";", " ; ").split()
    joined = [word for word in words if _GAP_WORD.fullmatch(word)]
    others = [word for word in words if not _GAP_WORD.fullmatch(word)]
    listed = any(word.isalpha() for word in joined)
    return bool(joined) and len(others) <= (2 if listed else 0) and all(word.isalpha() for word in others)
