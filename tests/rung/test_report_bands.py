import math

import numpy as np
import pytest

from rung.report_bands import band, over_seeds


def test_a_band_is_the_mean_and_the_ends_where_all_runs_have_come() -> None:
    """y = x and y = 3x over [0, 4] and [1, 3]: at x = 1, 2, 3 the means are 2, 4, 6."""
    found = band([([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0, 4.0]), ([1.0, 2.0, 3.0], [3.0, 6.0, 9.0])])
    assert found is not None
    assert (found.x, found.mean, found.low, found.high) == ([1, 2, 3], [2, 4, 6], [1, 2, 3], [3, 6, 9])


def test_runs_with_points_at_other_places_are_interpolated() -> None:
    found = band([([0.0, 10.0], [0.0, 10.0]), ([0.0, 4.0, 10.0], [0.0, 8.0, 8.0])])
    assert found is not None
    assert (found.x, found.high) == ([0, 10], [0, 10])
    long = [([float(x) for x in range(1000)], [1.0] * 1000)] * 2
    assert len(band(long).x) == 60  # type: ignore[union-attr]


def test_runs_that_never_meet_have_no_band_and_single_points_one() -> None:
    assert band([([0.0, 1.0], [0.0, 0.0]), ([2.0, 3.0], [0.0, 0.0])]) is None
    assert band([([1.0], [2.0]), ([1.0], [4.0])]).mean == [3.0]  # type: ignore[union-attr]


def test_intervals_over_seeds_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.41, 0.47, 0.52, 0.44]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    assert (over_seeds([0.2, 0.4]).low, over_seeds([0.2, 0.4]).high) == (0.2, 0.4)
    assert math.isnan(over_seeds([0.2]).low)
