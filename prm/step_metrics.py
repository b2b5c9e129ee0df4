"""PRMBench's score: F1 of the right steps and of the wrong ones, half and half, from counts of steps."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prm.metrics import harmonic_mean


@dataclass(frozen=True)
class StepCounts:
    """Steps by what they are and what was said of them; "positive" means called right."""

    true_positive: float
    false_positive: float
    true_negative: float
    false_negative: float

    @property
    def f1(self) -> float:
        """F1 of the right steps; nan where there is none."""
        return _f1(self.true_positive, self.false_positive, self.false_negative)

    @property
    def negative_f1(self) -> float:
        """F1 of the wrong steps; nan where there is none, as in PRMBench's multi_solutions."""
        return _f1(self.true_negative, self.false_negative, self.false_positive)

    @property
    def prm_score(self) -> float:
        """0.5 F1 + 0.5 negative F1 (PRMBench, Song et al. 2025, arXiv:2501.03124, section 4.1)."""
        return 0.5 * self.f1 + 0.5 * self.negative_f1


def count_steps(probabilities: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> StepCounts:
    """Counts over steps, both (N,): a step is called right where its probability is above the threshold."""
    said = np.asarray(probabilities, dtype=np.float64) > threshold
    right = np.asarray(labels, dtype=np.float64) > 0.5
    return StepCounts(
        int((said & right).sum()), int((said & ~right).sum()), int((~said & ~right).sum()), int((~said & right).sum())
    )


def blind_counts(labels: ArrayLike, called_right: float) -> StepCounts:
    """Expected counts of a guess that calls a step right with this probability without looking: 1 is a constant."""
    right = float((np.asarray(labels, dtype=np.float64) > 0.5).sum())
    wrong = float(np.size(labels)) - right
    q = called_right
    return StepCounts(q * right, q * wrong, (1 - q) * wrong, (1 - q) * right)


def _f1(hits: float, alarms: float, misses: float) -> float:
    """2PR / (P + R) with P = hits / (hits + alarms) and R = hits / (hits + misses); 0 without a hit."""
    if hits + misses == 0:
        return math.nan
    if hits == 0:
        return 0.0
    return harmonic_mean(hits / (hits + alarms), hits / (hits + misses))
