"""Several runs of one arm as one: the mean of their curves in a band, the mean of their results with its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rung.statistics import Interval, mean_interval_over_seeds

POINTS = 60  # where a band is worked out, at most: a picture is some 350 pixels wide
Curve = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Band:
    """The mean over runs at each x, and the lowest and the highest of them; all (P,)."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(curves: Sequence[Curve]) -> Band | None:
    """The band of two or more curves over the stretch that all of them cover; None where they share none.

    Runs have their points at different places (a step samples as many tokens as it happens to), so each is
    interpolated at places that are evenly spread, as many as the run with the fewest points has.
    """
    start, end = max(min(x) for x, _ in curves), min(max(x) for x, _ in curves)
    if start > end:
        return None
    places = np.linspace(start, end, min(POINTS, *(len(x) for x, _ in curves))) if end > start else np.array([start])
    values = np.array([np.interp(places, x, y) for x, y in curves])
    return Band(places.tolist(), values.mean(0).tolist(), values.min(0).tolist(), values.max(0).tolist())


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean over S runs and its 95% interval by Student's t; of two runs the range, of one the value alone.

    With one degree of freedom t is 12.7: an interval of two runs would say nothing that their range does not.
    """
    if len(values) > 2:
        return mean_interval_over_seeds(values)
    mean = sum(values) / len(values)
    return Interval(mean, min(values), max(values)) if len(values) == 2 else Interval(mean, math.nan, math.nan)
