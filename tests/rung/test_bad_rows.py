"""Files that somebody else wrote: whatever a row holds, its fault is named and nothing crashes."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lm.errors import UserError
from prm.label_formats import LeftOutError, parse
from prm.readers import _own
from rung.annotation.tasks import read_candidates
from rung.evaluate_bon import _checked, _pool
from rung.rerank import _candidates
from rung.score import solution_of

ROWS: list[dict[str, Any]] = [
    {
        "id": "a",
        "question": "q",
        "gold_answer": "1",
        "steps": ["a", "b"],
        "labels": [1, -1],
        "first_error": 1,
        "label_type": "x",
    },
    {"prompt": "q", "completions": ["a", "b"], "labels": [True, None]},
    {
        "id": "a",
        "question": "q",
        "levels": [[{"text": "a", "rating": 1, "chosen": True}], [{"text": "b", "rating": -1}]],
    },
    {
        "question": {"problem": "p", "ground_truth_answer": "1"},
        "label": {"steps": [{"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}]},
    },
    {"input": "Q Step 1: a ки\nStep 2: b ки", "label": "Q Step 1: a +\nStep 2: b -"},
    {"question": "q", "reasoning_steps": {"text": "q", "children": [{"text": "a", "mc_value": 1.0, "children": []}]}},
    {"question": "q", "final_answer": "1", "reasoning_steps": [{"solution_prefix": "q a", "mc_value": 0.5}]},
    {"id": "a", "problem": "p", "steps": ["a", "b"], "label": 1},
    {
        "Question": "q",
        "Model_Solution_Steps": ["Step 1: a", "b"],
        "Model_Solution_First_Error_Step": "2",
        "Subject": "m",
    },
    {"problem": "p", "student_incorrect_solution": ["a"], "incorrect_index": 0, "reference_solution": "r"},
    {"idx": "1", "modified_question": "q", "modified_process": ["a", "b"], "error_steps": [2], "classification": "c"},
    {"question": "q", "answer": "1", "steps": ["a"]},
    {
        "id": "1",
        "question": "q",
        "answer": "1",
        "text": "a\nb",
        "steps": [[0, 1], [2, 3]],
        "labels": [1, 0.5],
        "origins": ["x", None],
    },
    {
        "question": "q",
        "gold_answer": "1",
        "samples": [{"response": "1", "correct": True, "ref_prm": {"m": {"min": 0.5}}}],
    },
    {"question": "q", "candidates": ["a", "b"]},
    {"question": "q", "text": "a", "score": 1, "step_scores": [0.5], "correct": None},
]
JUNK: list[Any] = [
    None, True, 0, -1, 3.5, float("nan"), float("inf"), 10**30, -100, "", " ", "x", "Step 1:", "\ud800", [], [[]],
    {}, {"a": 1}, [1], ["x"], [None], [{"text": 1}],
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inside:
        yield (*place, name)
        yield from places(part, (*place, name))


def spoilt(rng: random.Random) -> dict[str, Any]:
    """A good row with one or two of its values replaced by junk, or taken out."""
    row = copy.deepcopy(rng.choice(ROWS))
    for _ in range(rng.choice((1, 1, 2))):
        *way, last = rng.choice(list(places(row)) or [("x",)])
        inside = row
        for name in way:
            inside = inside[name]
        if isinstance(inside, dict) and rng.random() < 0.2:
            inside.pop(last, None)
        else:
            inside[last] = copy.deepcopy(rng.choice(JUNK))
    return row


def pool(row: dict[str, Any]) -> Any:
    checked = _checked("", row)
    try:
        return _pool(checked, ("all",), "file")
    except ValueError as error:
        raise AssertionError("a ValueError after the check would be a crash") from error


READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "labels": lambda row: _own(row, "n", "line") if "text" in row else parse(row, "n"),
    "annotate": lambda row: list(read_candidates(row, "line", "min")),
    "score": lambda row: solution_of(row, "w", "line"),
    "rerank": lambda row: _candidates("line", "w", row),
    "bon": pool,
}


def test_each_good_row_has_its_reader() -> None:
    for row in ROWS:
        assert any(fault_of(read, row) is None for read in READERS.values()), row


def fault_of(read: Callable[[dict[str, Any]], Any], row: dict[str, Any]) -> str | None:
    try:
        read(row)
    except (ValueError, LeftOutError, UserError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_a_row_holds_is_a_crash(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(1000):
        row = spoilt(rng)
        for read in READERS.values():
            assert "\n" not in (fault_of(read, row) or "")
