"""Percentile bootstrap of any statistic, over problems rather than rows."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np


def bootstrap_statistic(
    keys: Sequence[Hashable],
    statistic: Callable[[np.ndarray], float],
    seed: int,
    level: float = 0.95,
    resamples: int = 1000,
    strata: Sequence[int] | None = None,
) -> tuple[float, float, float]:
    """(the statistic of all N rows, and the ends of its percentile interval); rows of one key go together.

    ``statistic`` takes row indices (with repetition); ``keys`` (N,) name each row's problem. With ``strata`` (N,) as
    many problems are drawn of each stratum as it has. A resample whose statistic is nan is left out (Efron 1979).
    """
    members: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        members[strata[row] if strata is not None else 0, key].append(row)
    by_stratum: dict[int, list[np.ndarray]] = defaultdict(list)
    for (stratum, _), rows in members.items():
        by_stratum[stratum].append(np.array(rows))
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples if keys else 0):
        drawn = [groups[i] for groups in by_stratum.values() for i in generator.integers(len(groups), size=len(groups))]
        values.append(statistic(np.concatenate(drawn)))
    found = np.array([value for value in values if not math.isnan(value)])
    point = statistic(np.arange(len(keys)))
    if found.size == 0:
        return point, math.nan, math.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return point, float(low), float(high)
