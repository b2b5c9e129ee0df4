"""prm.calibration: the temperature against a brute-force search."""

import numpy as np
import pytest

from prm.calibration import fit_temperature


def cross_entropy(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    x = logits / temperature
    return float(np.mean(np.logaddexp(0, x) - labels * x))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_least_cross_entropy(scale: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 4000)
    labels = (rng.random(4000) < 1 / (1 + np.exp(-true))).astype(float)
    found = fit_temperature(true * scale, labels)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4000))
    best = grid[np.argmin([cross_entropy(true * scale, labels, t) for t in grid])]
    assert found == pytest.approx(best, rel=0.005)
    assert found == pytest.approx(scale, rel=0.1)


def test_soft_labels_and_bounds() -> None:
    logits = np.array([1.0, -1.0, 2.0])
    soft = 1 / (1 + np.exp(-logits / 2.5))
    assert fit_temperature(logits, soft) == pytest.approx(2.5)
    assert fit_temperature(logits, [1, 0, 1]) == pytest.approx(0.05)  # perfectly told apart
    assert fit_temperature(logits, [0, 1, 0]) == pytest.approx(20.0)  # worse than blind
    assert fit_temperature(logits, [1, 1, 1]) == fit_temperature([], []) == 1.0
