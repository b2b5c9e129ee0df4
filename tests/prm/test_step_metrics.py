"""prm.step_metrics: PRMScore by hand."""

import math

import pytest

from prm.step_metrics import StepCounts, blind_counts, count_steps


def test_by_hand() -> None:
    counts = count_steps([0.9, 0.6, 0.5, 0.2, 0.7], [1, 0, 1, 0, 1])
    assert counts == StepCounts(2, 1, 1, 1)
    assert counts.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert counts.negative_f1 == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert counts.prm_score == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_blind_guesses() -> None:
    labels = [1, 1, 1, 0]
    assert blind_counts(labels, 1.0) == count_steps([1, 1, 1, 1], labels)
    assert blind_counts(labels, 0.0) == count_steps([0, 0, 0, 0], labels)
    assert blind_counts(labels, 1.0).prm_score == pytest.approx(0.5 * 6 / 7)
    assert blind_counts(labels, 0.5) == StepCounts(1.5, 0.5, 0.5, 1.5)


def test_nothing_to_measure_is_nan() -> None:
    assert math.isnan(count_steps([0.9], [1]).negative_f1)
    assert count_steps([0.1], [1]).f1 == 0.0
