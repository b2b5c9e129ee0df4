"""KL(policy || reference): its estimators from the log-probs of sampled tokens, and the controller of its weight."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Estimator = Literal["k1", "k2", "k3"]
_LARGEST_EXPONENT = 20.0  # e^20 is still far below the largest float32, so a clamped k3 has no Inf on the way back


def kl_estimate(
    logprobs: "torch.Tensor", reference_logprobs: "torch.Tensor", estimator: Estimator, clamp: float | None = None
) -> "torch.Tensor":
    """One number a token; with d = log π(a) − log π_ref(a) for a sampled from π, all shapes (B, T):

    k1 = d (unbiased, high variance, may be negative); k2 = d²/2 (biased, low variance, its gradient is unbiased);
    k3 = e^(−d) − 1 + d (unbiased, never negative)   (Schulman, "Approximating KL", 2020).
    ``clamp`` holds each number within ±clamp, as verl does for k3 and OpenRLHF for all three (10).
    """
    import torch

    d = logprobs - reference_logprobs
    if estimator == "k1":
        k = d
    elif estimator == "k2":
        k = d.square() / 2
    elif clamp is None:
        k = (-d).exp() - 1 + d
    else:
        held = d.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        k = (-held).exp() - 1 + held
    return k if clamp is None else torch.clamp(k, -clamp, clamp)


class KLController:
    """β, the weight of the KL penalty: fixed, or steered so that the KL of a rollout stays near ``target`` (nats).

    e = clip(KL / target − 1, ±0.2),  β ← β (1 + e · rollouts / horizon)   (Ziegler et al. 2019, section 2.2).
    """

    def __init__(self, coefficient: float, target: float | None, horizon: int) -> None:
        self.coefficient, self.target, self.horizon = coefficient, target, horizon

    def update(self, kl: float, rollouts: int) -> None:
        """``kl`` is the mean over ``rollouts`` of the summed log-ratio (k1); without a target nothing changes."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * rollouts / self.horizon

    def state_dict(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.coefficient = state["coefficient"]
