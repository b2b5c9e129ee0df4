"""prm.long_steps: the odds of a mistake by a step's length, by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from prm.ensemble import Ensemble
from prm.loading import Reading, kept_threshold, load_as
from prm.long_steps import LongSteps, lengthened
from prm.scores import StepScores
from verifiers.solution import Problem, Solution
from verifiers.split import join_steps


def solution(*steps: str) -> Solution:
    text, spans = join_steps(steps)
    return Solution(Problem("p", "q", ""), text, spans)


class Told:
    """A scorer that says 0.8 of each step."""

    def score(self, solutions: Sequence[Solution], advance: Any = None) -> list[StepScores]:
        return [StepScores(np.full(len(s.steps), 0.8)) for s in solutions]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        return ["too long" if len(s.steps) > 2 else len(s.steps) for s in solutions]


def test_twice_as_long_is_twice_the_odds() -> None:
    """0.8 is odds of 1/4 against; a step of 20 characters instead of 10 has 1/2, P = 2/3; one of 5 has 1/8, 8/9."""
    [scores, nothing] = LongSteps(Told(), 10).score([solution("x" * 10, "x" * 20, "x" * 5), solution()])
    assert scores.probabilities == pytest.approx([4 / 5, 2 / 3, 8 / 9])
    assert nothing.probabilities.shape == (0,)
    assert LongSteps(Told(), 10).measure([solution("a"), solution("a", "b", "c")]) == [1, "too long"]


def test_what_is_certain_unsaid_or_of_the_whole_stays() -> None:
    three = solution("x" * 30, "x" * 30, "x" * 30)
    some = lengthened(StepScores(np.array([0.0, 1.0, 0.5]), unsaid=(2,)), three, 10)
    assert (some.probabilities.tolist(), some.unsaid) == ([0.0, 1.0, 0.5], (2,))
    whole = lengthened(StepScores(np.full(3, 0.4), outcome=True), three, 10)
    assert whole.outcome
    assert whole.probabilities.tolist() == [0.4] * 3


def test_a_config_asks_for_it_of_the_first_model_alone() -> None:
    """The check of each step calls the first one right and says nothing of the second, however long they are."""
    reading = Reading(step_characters=2, also=("symbolic",), combine="min")
    scorer = load_as(reading, "symbolic", "float32", 1000, None)
    assert isinstance(scorer, Ensemble)
    assert [type(member).__name__ for member in scorer.members] == ["LongSteps", "SymbolicPRM"]
    [scores] = scorer.score([solution("3 + 4 = 7", "so there are seven of them")])
    assert (scores.probabilities.tolist(), scores.unsaid) == ([1.0, 0.5], (1,))
    assert kept_threshold(reading, "no model is read for it") is None
