import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from prm import metrics


def test_auc_by_hand() -> None:
    # pairs (right, wrong): .9>.8, .9>.2, .4<.8, .4>.2  -> 3 of 4
    assert metrics.auc([0.9, 0.8, 0.4, 0.2], [1, 0, 1, 0]) == 0.75
    assert metrics.auc([0.5, 0.5, 0.5], [1, 0, 1]) == 0.5
    # .7>.7 counts half, .7>.1 one, .3<.7 none, .3>.1 one -> 2.5 of 4
    assert metrics.auc([0.7, 0.7, 0.3, 0.1], [1, 0, 1, 0]) == 0.625


def test_auc_is_the_mann_whitney_statistic_with_many_ties() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.integers(0, 12, 400) / 11, generator.integers(0, 2, 400)
    u = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert metrics.auc(scores, labels) == pytest.approx(u / (labels.sum() * (1 - labels).sum()), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels"), [([], []), ([0.1, 0.9], [1, 1]), ([0.1], [0]), ([math.nan, 0.2], [0, 1])]
)
def test_auc_without_an_answer_is_nan(scores: list[float], labels: list[int]) -> None:
    assert math.isnan(metrics.auc(scores, labels))


def test_reliability_and_calibration_error_by_hand() -> None:
    p, y = [0.05, 0.15, 0.19, 1.0, 0.92], [0, 1, 0, 1, 1]
    rows = metrics.reliability(p, y)
    assert [(round(r.low, 9), round(r.high, 9), r.count) for r in rows] == [(0.0, 0.1, 1), (0.1, 0.2, 2), (0.9, 1.0, 2)]
    assert [r.fraction_right for r in rows] == [0.0, 0.5, 1.0]
    assert [r.mean_probability for r in rows] == pytest.approx([0.05, 0.17, 0.96])
    # (1*.05 + 2*.33 + 2*.04) / 5
    assert metrics.calibration_error(p, y) == pytest.approx(0.158)
    assert metrics.calibration_error([0.3, 0.7], [0.3, 0.7]) == pytest.approx(0.0)  # soft labels
    assert math.isnan(metrics.calibration_error([], []))


def test_calibration_error_refuses_log_odds() -> None:
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]"):
        metrics.calibration_error([1.2, 0.3], [1, 0])


def test_brier_by_hand() -> None:
    assert metrics.brier([0.8, 0.4], [1, 0]) == pytest.approx((0.04 + 0.16) / 2)
    assert math.isnan(metrics.brier([], []))


def test_step_accuracy_by_hand() -> None:
    assert metrics.step_accuracy([0.8, 0.5, 0.6, 0.1], [1, 1, 0, 0.25]) == 0.75
    assert math.isnan(metrics.step_accuracy([], []))


def test_first_error() -> None:
    assert metrics.first_error([0.9, 0.5, 0.1, 0.2], 0.5) == 2  # a score at the threshold passes
    assert metrics.first_error([0.9, 0.6], 0.5) == -1
    assert metrics.first_error([], 0.5) == -1


def test_first_error_f1_by_hand() -> None:
    # wrong rows: 1 of 3 named exactly; right rows: 3 of 4 left alone; 2 (1/3)(3/4) / (13/12) = 6/13
    score = metrics.first_error_f1([2, 1, -1, -1, -1, -1, 0], [2, 0, 3, -1, -1, -1, -1])
    assert score == metrics.FirstErrorScore(pytest.approx(1 / 3), pytest.approx(3 / 4), pytest.approx(6 / 13))
    assert metrics.first_error_f1([0, 1], [1, -1]).f1 == 0.0
    assert math.isnan(metrics.first_error_f1([-1], [-1]).f1)
    with pytest.raises(ValueError, match="one guess a solution"):
        metrics.first_error_f1([1], [1, -1])


@pytest.mark.parametrize("seed", range(8))
def test_best_threshold_beats_a_fine_grid(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = [generator.integers(0, 40, generator.integers(1, 6)) / 40 for _ in range(30)]
    gold = [int(generator.integers(-1, len(s))) for s in scores]

    def f1(threshold: float) -> float:
        return metrics.first_error_f1([metrics.first_error(s, threshold) for s in scores], gold).f1

    chosen = metrics.best_threshold(scores, gold)
    assert 0 <= chosen <= 1
    assert f1(chosen) == pytest.approx(max(f1(t) for t in np.linspace(0, 1, 161)), abs=1e-12)


def test_best_threshold_takes_the_middle_of_the_widest_best_stretch() -> None:
    # both are judged rightly for thresholds in (.2, .8]
    assert metrics.best_threshold([[0.9, 0.2], [0.8, 0.95]], [1, -1]) == pytest.approx(0.5)
    assert metrics.best_threshold([[0.9, 0.3], [0.4]], [1, -1]) == pytest.approx(0.35)
    assert metrics.best_threshold([[0.9], [0.7]], [-1, -1]) == 0.5
    assert metrics.best_threshold([], []) == 0.5


def test_constant_baseline_by_hand() -> None:
    labels = [1, 1, 1, 0]
    gold = [-1, -1, 1, 1, 1, 0]
    baseline = metrics.constant_baseline(labels, gold)
    assert (baseline.auc, baseline.calibration_error, baseline.brier) == (0.5, 0.0, pytest.approx(0.1875))
    assert baseline.step_accuracy == 0.75
    assert baseline.guess == 1
    assert baseline.first_error == metrics.FirstErrorScore(0.75, 0.0, 0.0)
    assert baseline.brier == pytest.approx(metrics.brier([0.75] * 4, labels))


def test_mixed_guess_is_the_best_coin_toss() -> None:
    gold = [-1, -1, -1, 1, 1, 2, 0]
    mixed = metrics.constant_baseline([1, 0], gold).mixed_first_error
    tosses = np.linspace(0, 1, 100_001)[1:-1]
    error, correct = (1 - tosses) * 0.5, tosses  # half of the wrong rows go wrong at step 1
    assert mixed.f1 == pytest.approx((2 * error * correct / (error + correct)).max(), abs=1e-9)
    assert mixed.f1 == pytest.approx(
        2 * mixed.error_accuracy * mixed.correct_accuracy / sum(list(asdict(mixed).values())[:2])
    )
    assert mixed.f1 == pytest.approx(1.0 / (1 + math.sqrt(0.5)) ** 2)


def test_constant_baseline_without_rows_is_nan_not_a_crash() -> None:
    baseline = metrics.constant_baseline([], [])
    assert math.isnan(baseline.auc)
    assert math.isnan(baseline.step_accuracy)
    assert math.isnan(baseline.mixed_first_error.f1)
