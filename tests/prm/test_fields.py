"""prm.fields: the solution in a row, however its steps are given."""

import pytest

from prm.fields import solution_in
from verifiers.solution import Problem, Solution

PROBLEM = Problem("1", "q", "")
TEXT = "3+4 = 7\n so 7\n\n#### 7"


def spans(row: dict) -> list[tuple[int, int]]:
    found: Solution = solution_in(row, PROBLEM, "line")
    assert all(found.text[step.start : step.end] == step.text for step in found.steps)
    return [(step.start, step.end) for step in found.steps]


def test_text_steps_or_both() -> None:
    assert spans({"text": TEXT}) == spans({"text": TEXT, "steps": None}) == [(0, 7), (9, 13), (15, 21)]
    assert spans({"text": TEXT, "steps": []}) == spans({"text": TEXT})
    assert spans({"steps": ["a", "", "b\nc"]}) == [(0, 1), (2, 2), (3, 6)]  # a blank step is the scorer's to refuse
    assert spans({"text": TEXT, "steps": [[0, 13], {"start": 15, "end": 21}]}) == [(0, 13), (15, 21)]
    assert spans({"text": TEXT, "steps": ["3+4 = 7\n so 7", " #### 7 "]}) == [(0, 13), (15, 21)]
    assert spans({"text": "7 7 7", "steps": ["7", "7"]}) == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, 'neither a "text" nor a list of "steps"'),
        ({"text": 7, "steps": "7"}, 'neither a "text" nor a list of "steps"'),
        ({"steps": [[0, 1]]}, '"steps" must be texts, or spans of a "text"'),
        ({"text": TEXT, "steps": ["so 7", "3+4 = 7"]}, "step 1 is not in the text behind the one before"),
        ({"text": TEXT, "steps": ["so 7", " "]}, "step 1 is not in the text"),
        ({"text": TEXT, "steps": [[0, 99]]}, r"step 0 is \[0, 99\], not"),
        ({"steps": ["\ud800"]}, "half of a surrogate pair"),
    ],
)
def test_what_is_no_solution_is_named(row: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solution_in(row, PROBLEM, "line")
