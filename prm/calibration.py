"""Temperature scaling: one number that makes a reward model's probabilities mean what they say."""

import numpy as np
from numpy.typing import ArrayLike

from prm.scorer import sigmoid

LEAST, GREATEST = 0.05, 20.0


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """T in [0.05, 20] that minimises the cross-entropy of σ(logit / T) against labels in [0, 1], both (N,).

    Guo et al. 2017, arXiv:1706.04599, section 4.2. The cross-entropy is convex in a = 1 / T with derivative
    Σ x (σ(a x) − y), so bisection finds its only zero. 1.0 where there is nothing to fit: no steps, or one class only.
    """
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if y.size == 0 or y.min() == y.max():
        return 1.0
    low, high = 1 / GREATEST, 1 / LEAST
    for _ in range(60):
        middle = (low + high) / 2
        if float(x @ (sigmoid(middle * x) - y)) > 0:
            high = middle
        else:
            low = middle
    return 2 / (low + high)
