"""Do people agree more than chance would have them? Three answers, and how far each person is from the others.

Ratings are (R, U): R annotators, U units (a step, or a pair of solutions), nan where an annotator did not judge a unit.
Every coefficient is 1 for perfect agreement and 0 for chance, and nan where chance cannot be told: too few ratings, or
one value only.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

Level = Literal["nominal", "ordinal"]


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval (normal approximation) and the number of units behind it."""

    mean: float
    low: float
    high: float
    units: int


def cohen_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """(p_o − p_e) / (1 − p_e) over the units both annotators judged; p_e from each one's own shares (Cohen 1960).

    a, b: (U,), nan where not judged.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    values = np.unique(np.concatenate([a, b]))
    if len(values) < 2:
        return math.nan
    observed = float(np.mean(a == b))
    expected = float(sum(np.mean(a == value) * np.mean(b == value) for value in values))
    return (observed - expected) / (1 - expected)


def fleiss_kappa(counts: np.ndarray) -> float:
    """(P̄ − P̄_e) / (1 − P̄_e) for n ratings of each unit, by whomever (Fleiss 1971).

    counts: (U, K), how many of the n ratings of a unit fell into each of K categories; the same n >= 2 in each row.
    """
    counts = np.asarray(counts, dtype=float)
    if counts.size == 0:
        return math.nan
    n = counts[0].sum()
    if n < 2 or not np.all(counts.sum(1) == n):
        raise ValueError("each unit needs the same number of ratings, two or more")
    observed = np.mean(((counts**2).sum(1) - n) / (n * (n - 1)))
    expected = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return math.nan if expected == 1 else float((observed - expected) / (1 - expected))


def krippendorff_alpha(ratings: np.ndarray, level: Level) -> float:
    """1 − D_o / D_e over all pairs of ratings of a unit (Krippendorff 2011), for any pattern of missing ratings.

    ratings: (R, U). "nominal" counts every disagreement alike; "ordinal" weighs it by how many ratings lie between.
    """
    ratings = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    values = np.unique(ratings[~np.isnan(ratings)])
    if len(values) < 2:
        return math.nan
    counts_UK = np.stack([(ratings == value).sum(0) for value in values], axis=1).astype(float)
    m_U = counts_UK.sum(1)
    pairs_UKK = counts_UK[:, :, None] * counts_UK[:, None, :] - counts_UK[:, :, None] * np.eye(len(values))
    coincidences_KK = (pairs_UKK / (m_U - 1)[:, None, None]).sum(0)
    totals_K = coincidences_KK.sum(1)
    distance_KK = _squared_distance(totals_K, level)
    observed = (coincidences_KK * distance_KK).sum()
    expected = (np.outer(totals_K, totals_K) * distance_KK).sum() / (totals_K.sum() - 1)
    return float(1 - observed / expected)


def _squared_distance(totals: np.ndarray, level: Level) -> np.ndarray:
    """δ² between each two of the K values, given how often each was used."""
    if level == "nominal":
        return 1 - np.eye(len(totals))
    reached = np.cumsum(totals) - totals / 2  # ratings below a value, and half of its own
    return np.subtract.outer(reached, reached) ** 2


def category_counts(ratings: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """(U', K) counts for ``fleiss_kappa``: the units that have n >= 2 ratings, for the n that most units have."""
    judged = (~np.isnan(ratings)).sum(0)
    sizes = [n for n in np.unique(judged) if n >= 2]
    if not sizes:
        return np.empty((0, len(values)))
    n = max(sizes, key=lambda size: (int((judged == size).sum()), size))
    chosen = ratings[:, judged == n]
    return np.stack([(chosen == value).sum(0) for value in values], axis=1)


def pairwise_kappas(ratings: np.ndarray) -> dict[tuple[int, int], tuple[float, int]]:
    """(Cohen's kappa, units both judged) of each two annotators that share a unit."""
    judged = ~np.isnan(ratings)
    found = {}
    for i, j in combinations(range(len(ratings)), 2):
        shared = int((judged[i] & judged[j]).sum())
        if shared:
            found[i, j] = (cohen_kappa(ratings[i], ratings[j]), shared)
    return found


def leniency(ratings: np.ndarray) -> list[Mean]:
    """For each annotator: own rating minus the mean of the others', over the units that others judged too.

    Above 0: kinder than the others; below: stricter. With ratings in {−1, 0, 1} it lies in [−2, 2].
    """
    found = []
    for i in range(len(ratings)):
        others = np.delete(ratings, i, axis=0)
        shared = ~np.isnan(ratings[i]) & ~np.isnan(others).all(0)
        differences = ratings[i, shared] - np.nanmean(others[:, shared], axis=0) if shared.any() else np.empty(0)
        found.append(_mean(differences))
    return found


def _mean(values: np.ndarray) -> Mean:
    if not len(values):
        return Mean(math.nan, math.nan, math.nan, 0)
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(mean, mean - half, mean + half, len(values))
