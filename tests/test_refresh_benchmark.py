"""benchmarks.refresh: what a row of its table says."""

import numpy as np

from benchmarks.refresh import Ended, described, points


def test_a_row_is_in_percent_and_nats() -> None:
    end = Ended(np.array([1.0, 0.0, 0.0, 1.0]), best=0.625, last=0.25, kl=6.04, auc_first=0.9312, auc_own=0.95)
    assert described(end) == "50.0 | 62.5 | 25.0 | 6.0 | 0.931 | 0.950"
    assert points(0.0251, -0.01, 0.06) == "+2.5 [-1.0, +6.0] points"
