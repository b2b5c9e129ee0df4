"""prm.ensemble: combinations by hand."""

import numpy as np
import pytest

from prm.ensemble import Combine, Ensemble, combine
from prm.scores import StepScores
from verifiers.solution import Problem, Solution, Step


class Says:
    """A scorer that always says the same."""

    def __init__(self, *probabilities: float, complaint: str | None = None) -> None:
        self.probabilities, self.complaint = probabilities, complaint

    def score(self, solutions, advance=None):  # type: ignore[no-untyped-def]
        return [StepScores(np.array(self.probabilities)) for _ in solutions]

    def measure(self, solutions):  # type: ignore[no-untyped-def]
        return [self.complaint or 7 for _ in solutions]


@pytest.mark.parametrize(
    ("how", "k", "expected"),
    [("mean", 1.0, [0.5, 0.7]), ("min", 1.0, [0.1, 0.6]), ("cautious", 1.0, [0.1, 0.6]), ("cautious", 2.0, [0.0, 0.5])],
)
def test_by_hand(how: Combine, k: float, expected: list[float]) -> None:
    counted: list[int] = []
    solution = Solution(Problem("p", "q", ""), "ab", (Step("a", 0, 1), Step("b", 1, 2)))
    both = Ensemble((Says(0.9, 0.8), Says(0.1, 0.6)), how, k)
    [scores] = both.score([solution], counted.append)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-12)
    assert counted == [1]


def test_complaints_and_what_was_not_said_are_kept() -> None:
    solution = Solution(Problem("p", "q", ""), "a", (Step("a", 0, 1),))
    assert Ensemble((Says(0.5), Says(0.5, complaint="too long"))).measure([solution]) == ["too long"]
    assert Ensemble((Says(0.5), Says(0.5))).measure([solution]) == [14]
    joined = combine(
        [StepScores(np.array([0.5, 1.0]), unsaid=(0,)), StepScores(np.array([0.7, 0.2]), outcome=True)], "mean"
    )
    assert joined.unsaid == ()  # the other model spoke
    assert not joined.outcome
