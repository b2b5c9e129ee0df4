"""Estimators of KL(policy || reference) from the log-probs of sampled tokens (Schulman, "Approximating KL", 2020)."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Estimator = Literal["k1", "k2", "k3"]


def kl_estimate(logprobs: "torch.Tensor", reference_logprobs: "torch.Tensor", estimator: Estimator) -> "torch.Tensor":
    """One number a token; with d = log π(a) − log π_ref(a) for a sampled from π, all shapes (B, T):

    k1 = d (unbiased, high variance, may be negative); k2 = d²/2 (biased, low variance, its gradient is unbiased);
    k3 = e^(−d) − 1 + d (unbiased, never negative).
    """
    d = logprobs - reference_logprobs
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    return (-d).exp() - 1 + d
