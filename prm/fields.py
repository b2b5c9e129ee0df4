"""Reading one field of a row that somebody else wrote: the value, or a ValueError that names field and fault."""

from collections.abc import Mapping, Sequence
from typing import Any

from verifiers.solution import Problem, Solution
from verifiers.split import Separator, join_steps, split_steps, steps_at

Row = Mapping[str, Any]


def text(row: Row, name: str, absent: str | None = None) -> str:
    """The text of a field; ``absent`` (where given) stands for a field that is missing or null."""
    value = row.get(name)
    if value is None and absent is not None:
        return absent
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} is {value!r}; it must be text")
    return encodable(value, repr(name))


def encodable(value: str, name: str) -> str:
    """The text, where it is Unicode: JSON can spell half of a surrogate pair, which no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} holds half of a surrogate pair; give valid Unicode") from None
    return value


def texts(row: Row, name: str) -> tuple[str, ...]:
    """The texts of a field that is a list of at least one, each stripped and none blank."""
    return not_blank(sequence(row, name), name)


def not_blank(values: Sequence[Any], name: str) -> tuple[str, ...]:
    if not values:
        raise ValueError(f"{name!r} must be a list of at least one text")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name}[{index}] is {value!r}; a step must be text that is not blank")
        encodable(value, f"{name}[{index}]")
    return tuple(value.strip() for value in values)


def sequence(row: Row, name: str) -> list[Any]:
    """The list of a field; one that is missing or null is empty."""
    value = row.get(name)
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{name!r} is {value!r}; it must be a list")
    return value or []


def mapping(row: Row, name: str) -> Row:
    value = row.get(name)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name!r} is {value!r}; it must be an object")
    return value


def mappings(row: Row, name: str) -> list[Row]:
    """The objects of a field that is a list of them; one that is missing or null is empty."""
    values = sequence(row, name)
    for value in values:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name!r} has {value!r} in it; each must be an object")
    return values


def share(value: Any, name: str) -> float:
    """A truth value, or a number in [0, 1]; anything else (a rating of -1, say) is a ValueError, never a guess."""
    if isinstance(value, bool | int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"{name} is {value!r}; it must be true, false or a number in [0, 1]")


def identity(row: Row, name: str, absent: str) -> str:
    """What names a row: text or a whole number, or else ``absent``."""
    value = row.get(name)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else text(row, name, absent)


def solution_in(row: Row, problem: Problem, separator: Separator) -> Solution:
    """The solution in a row's "text", its "steps", or both.

    A text alone is cut at the ``separator``; steps alone, a list of texts, are joined by it. Both together say where
    the text is cut: at the steps' texts, or at spans [start, end] or {"start", "end"}. ValueError for anything else.
    """
    whole, steps = row.get("text"), row.get("steps")
    if isinstance(whole, str):
        encodable(whole, "the text")
    if isinstance(whole, str) and not steps:
        return Solution(problem, whole, split_steps(whole, separator))
    if not isinstance(steps, list):
        raise ValueError('neither a "text" nor a list of "steps"')
    if all(isinstance(step, str) for step in steps):
        if not isinstance(whole, str):
            encodable("".join(steps), "the text")
            return Solution(problem, *join_steps(steps, separator))
        return Solution(problem, whole, steps_at(whole, _spans_of(steps, whole)))
    if not isinstance(whole, str):
        raise ValueError('"steps" must be texts, or spans of a "text": [start, end] or {"start", "end"}')
    spans = [[s.get("start"), s.get("end")] if isinstance(s, Mapping) else s for s in steps]
    return Solution(problem, whole, steps_at(whole, spans))


def _spans_of(steps: Sequence[str], whole: str) -> list[list[int]]:
    """Where the steps' texts stand in the whole, one after the other."""
    spans, reached = [], 0
    for index, step in enumerate(steps):
        start = whole.find(step.strip(), reached)
        if start < 0 or not step.strip():
            raise ValueError(f"step {index} is not in the text behind the one before; give the text or the steps alone")
        reached = start + len(step.strip())
        spans.append([start, reached])
    return spans
