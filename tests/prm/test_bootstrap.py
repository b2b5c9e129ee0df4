"""prm.bootstrap: rows of one problem go together."""

import math

import numpy as np

from prm.bootstrap import bootstrap_statistic


def test_problems_are_resampled_whole() -> None:
    keys = ["a", "a", "b", "b"]
    values = np.array([0.0, 0.0, 1.0, 1.0])
    assert bootstrap_statistic(keys, lambda rows: float(values[rows].mean()), 0, resamples=400) == (0.5, 0.0, 1.0)
    seen: set[tuple[int, ...]] = set()
    bootstrap_statistic(keys, lambda rows: seen.add(tuple(sorted(rows))) or 0.0, 0, resamples=50, strata=[0, 0, 1, 1])
    assert seen == {(0, 1, 2, 3)}  # one problem a stratum: nothing to vary


def test_what_cannot_be_measured_has_no_interval() -> None:
    point, low, high = bootstrap_statistic(["a"], lambda rows: math.nan, 0, resamples=5)
    assert math.isnan(point)
    assert math.isnan(low)
    assert math.isnan(high)
