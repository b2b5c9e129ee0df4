"""prm.symbolic: exact on built-in problems, silent where it cannot tell, a member of ensembles that only vetoes."""

import dataclasses

import numpy as np
import pytest
from toy_models import solution

import prm
from prm.ensemble import combine
from prm.scores import StepScores
from prm.symbolic import SymbolicPRM
from verifiers.families import FAMILIES, distinct, is_built_in
from verifiers.solution import Problem, Solution, Step


def test_built_in_problems_are_checked_exactly() -> None:
    [example] = distinct(("chain",), (2,), "train", 0, 1)
    value = example.problem.answer
    counted: list[int] = []
    scorer = prm.load("symbolic")
    right, wrong = scorer.score(
        [
            solution(f"{value}+1-1\n#### {value}", example.problem),
            solution(f"{value}+1\n#### {value}", example.problem),
        ],
        counted.append,
    )
    np.testing.assert_array_equal(right.probabilities, [1, 1])
    np.testing.assert_array_equal(wrong.probabilities, [0, 0])  # neither says what the one before it said
    assert counted == [1, 1]
    for e in distinct(tuple(FAMILIES), (1, 2, 3, 4), "train", 1, 60):
        [scores] = SymbolicPRM().score([solution(e.solution, e.problem)])
        assert scores.aggregate("min") == 1.0, e


def test_a_problem_is_built_in_only_as_it_was_made() -> None:
    [example] = distinct(("word",), (2,), "train", 0, 1)
    assert is_built_in(example.problem)
    for change in ({"question": "How many?"}, {"answer": ""}, {"id": "word-2-0000000000"}, {"id": "word"}):
        assert not is_built_in(dataclasses.replace(example.problem, **change))


def test_other_problems_are_judged_by_their_equations() -> None:
    text = "She sold 48/2 = 24 clips in May.\nAltogether 48+24 = 73.\nThat is a lot.\n#### 73"
    [scores] = SymbolicPRM().score([solution(text, Problem("g", "clips", "72"))])
    np.testing.assert_array_equal(scores.probabilities, [1, 0, 0.5, 0.5])
    assert scores.unsaid == (2, 3)
    blank = Solution(Problem("g", "", ""), "a\n ", (Step("a", 0, 1), Step(" ", 2, 3)))
    assert SymbolicPRM().measure([blank, Solution(Problem("g", "", ""), "", ())]) == [
        "solution 'g': step 2 is empty; leave it out",
        1,
    ]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("min", [0.6, 0.0, 0.3, 0.5]), ("mean", [0.8, 0.45, 0.3, 0.5]), ("cautious", [0.6, 0, 0.3, 0.5])],
)
def test_in_an_ensemble_silence_is_no_vote(how, expected) -> None:  # type: ignore[no-untyped-def]
    checked = StepScores(np.array([1, 0, 0.5, 0.5]), unsaid=(2, 3))
    model = StepScores(np.array([0.6, 0.9, 0.3, 0.5]), unsaid=(3,))
    joined = combine([checked, model], how)
    np.testing.assert_allclose(joined.probabilities, expected, atol=1e-12)
    assert joined.unsaid == (3,)
