"""Several reward models as one: their mean, their least, or their mean less what they disagree by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prm.scorer import Advance, Scorer
from prm.scores import StepScores
from verifiers.solution import Solution

Combine = Literal["mean", "min", "cautious"]


@dataclass(frozen=True)
class Ensemble:
    """A scorer made of others, step by step: "mean", "min" (worst case) or "cautious", mean − k·std clipped at 0.

    A policy that pleases one PRM's mistake rarely pleases all (Coste et al. 2024, arXiv:2310.02743). The standard
    deviation is the population's, over the members.
    """

    members: tuple[Scorer, ...]
    how: Combine = "mean"
    k: float = 1.0

    def score(self, solutions: Sequence[Solution], advance: Advance | None = None) -> list[StepScores]:
        """As ``StepPRM.score``; each member scores all solutions in turn."""
        scored = [member.score(solutions) for member in self.members]
        if advance is not None:
            advance(len(solutions))
        return [combine(scores, self.how, self.k) for scores in zip(*scored, strict=True)]

    def measure(self, solutions: Sequence[Solution]) -> list[int | str]:
        """The tokens of all members, or the first member's complaint that there is, for each solution."""
        found: list[int | str] = []
        for sizes in zip(*(member.measure(solutions) for member in self.members), strict=True):
            complaints = [size for size in sizes if isinstance(size, str)]
            found.append(complaints[0] if complaints else sum(size for size in sizes if isinstance(size, int)))
        return found


def combine(scores: Sequence[StepScores], how: Combine, k: float = 1.0) -> StepScores:
    """One solution's scores by several models as one ``StepScores``, (S,).

    Who says nothing of a step (``unsaid``) has no vote on it; where nobody says anything, it stands at 0.5.
    """
    silent = [np.isin(np.arange(s.probabilities.size), s.unsaid) for s in scores]
    values = np.ma.array([s.probabilities for s in scores], mask=silent)
    if how == "mean":
        joined = values.mean(0)
    elif how == "min":
        joined = values.min(0)
    else:
        joined = np.clip(values.mean(0) - k * values.std(0), 0.0, 1.0)
    unsaid = tuple(map(int, np.flatnonzero(np.ma.getmaskarray(joined))))
    return StepScores(joined.filled(0.5), outcome=all(s.outcome for s in scores), unsaid=unsaid)
