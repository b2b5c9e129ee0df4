"""Advantages: generalised advantage estimation and masked whitening, as pure functions of (B, T) tensors."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def gae(
    rewards: "torch.Tensor", values: "torch.Tensor", actions: "torch.Tensor", *, gamma: float, lam: float
) -> "torch.Tensor":
    """A_t = δ_t + γλ A_{t+1},  δ_t = r_t + γ V_{t+1} − V_t   (Schulman et al. 2016, eq. 16). All (B, T).

    V_t is the value of the state in which token t is chosen. "t+1" is the next action of the row: tokens that are not
    actions (prompt, padding, a tool's output) are stepped over, and V and A are 0 after the last action.
    Returns 0 where ``actions`` is False.
    """
    advantages = rewards.new_zeros(rewards.shape)
    next_value = rewards.new_zeros(len(rewards))
    next_advantage = rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        advantages[:, t] = advantage.where(actions[:, t], advantage.new_zeros(()))
        next_value = values[:, t].where(actions[:, t], next_value)
        next_advantage = advantage.where(actions[:, t], next_advantage)
    return advantages


def masked_mean(values: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """Mean over the places where ``mask`` is True: a scalar; 0 when there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """(x − mean) / √(var + 1e-8) over the places where ``mask`` is True, 0 elsewhere.

    The variance is unbiased, as in TRL and verl. Shapes (B, T). With fewer than two places the values are only centred.
    """
    count = mask.sum()
    mean = masked_mean(values, mask)
    variance = ((values - mean).square() * mask).sum() / (count - 1).clamp(min=1)
    scale = (variance + 1e-8).rsqrt() if count > 1 else values.new_ones(())
    return (values - mean) * scale * mask
