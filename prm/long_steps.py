"""A scorer for which a longer step is likelier to hold a mistake."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prm.scorer import Advance, Scorer
from prm.scores import StepScores
from verifiers.solution import Solution


@dataclass(frozen=True)
class LongSteps:
    """A step's odds of being wrong grow with its length: (1 − P) / P = (1 − p) / p · characters / ``characters``.

    p is what ``scorer`` says and ``characters`` the length of the steps it has learnt from: 75 in PRM800K, whose steps
    are sentences. Where a step is a paragraph, as in ProcessBench (200), it has as many more chances to go wrong. An
    outcome model's number stays what it is, and so does the 0.5 of a step of which nothing is said.
    """

    scorer: Scorer
    characters: float

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``."""
        found = self.scorer.score(solutions, advance)
        return [lengthened(s, solution, self.characters) for s, solution in zip(found, solutions, strict=True)]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """As ``StepPRM.measure``."""
        return self.scorer.measure(solutions)


def lengthened(scores: StepScores, solution: Solution, characters: float) -> StepScores:
    """P = p / (p + (1 − p) · length / characters) of each step, (S,)."""
    if scores.outcome:
        return scores
    p = scores.probabilities
    said = ~np.isin(np.arange(p.size), scores.unsaid)
    odds = np.where(said, [len(step.text) / characters for step in solution.steps], 1.0)
    return replace(scores, probabilities=p / (p + (1 - p) * odds))
