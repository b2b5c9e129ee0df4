"""Advantages as pure functions of tensors: GAE with a critic, baselines from a group without one, masked whitening.

(B, T) is rollouts by tokens. A group is the ``size`` rollouts of one problem, side by side in the batch.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

AdvantageEstimator = Literal["gae", "group", "leave_one_out", "returns"]
Scale = Literal["std", "none"]


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


def returns_to_go(rewards: "torch.Tensor", actions: "torch.Tensor", *, gamma: float) -> "torch.Tensor":
    """G_t = r_t + γ G_{t+1} over the actions of each row, 0 elsewhere: GAE with λ = 1 and no critic. All (B, T)."""
    return gae(rewards, rewards.new_zeros(rewards.shape), actions, gamma=gamma, lam=1.0)


def levels(returns: "torch.Tensor", actions: "torch.Tensor") -> "torch.Tensor":
    """mean_t G_it, what a rollout earns from one of its tokens on: (B, T) -> (B,). With all reward at its end, R."""
    return masked_rows(returns, actions).sum(1) / actions.sum(1).clamp(min=1)


def group_advantages(
    returns: "torch.Tensor", actions: "torch.Tensor", size: int, *, scale: Scale, epsilon: float = 1e-4
) -> "torch.Tensor":
    """A_t = (G_t − b) / (s + ε),  b = Σ_i mean_t G_it / size,  s² = Σ_i mean_t (G_it − b)² / (size − 1).

    ``returns`` G (B, T) are those from token t on. Where all reward is on the last token, b is the mean reward, s its
    unbiased standard deviation, and this is GRPO (Shao et al. 2024, section 4.1.2); ``scale="none"`` leaves the
    division out: Dr. GRPO (Liu et al. 2025). With rewards on steps, b and s are of the returns, not of whole rollouts:
    what is left to earn falls along a solution, and against the mean of the totals every late token would look bad.
    """
    import torch

    mean = levels(returns, actions).view(-1, size).mean(1).repeat_interleave(size)[:, None]
    centred = masked_rows(returns - mean, actions)
    if scale == "none":
        return centred
    spread = torch.sqrt(levels(centred.square(), actions).view(-1, size).sum(1) / max(1, size - 1))
    return centred / (spread.repeat_interleave(size)[:, None] + epsilon)


def leave_one_out_advantages(returns: "torch.Tensor", actions: "torch.Tensor", size: int) -> "torch.Tensor":
    """A_t = G_t − the mean of mean_t G over the other rollouts of the group: RLOO (Ahmadian et al. 2024), (B, T)."""
    groups = levels(returns, actions).view(-1, size)
    others = (groups.sum(1, keepdim=True) - groups) / (size - 1)
    return masked_rows(returns - others.view(-1, 1), actions)


def masked_rows(values: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """``values`` (B, T) where ``mask`` is True and 0 elsewhere, whatever stands there (NaN too)."""
    return values.where(mask, values.new_zeros(()))


def masked_mean(values: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """Mean over the places where ``mask`` is True: a scalar; 0 when there are none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: "torch.Tensor", mask: "torch.Tensor", *, unbiased: bool = True) -> "torch.Tensor":
    """(x − mean) / √(var + 1e-8) over the places where ``mask`` is True, 0 elsewhere. Shapes (B, T).

    The variance is unbiased as in TRL and verl, or biased as in OpenRLHF. Fewer than two places are only centred.
    """
    count = mask.sum()
    mean = masked_mean(values, mask)
    variance = ((values - mean).square() * mask).sum() / (count - int(unbiased)).clamp(min=1)
    scale = (variance + 1e-8).rsqrt() if count > 1 else values.new_ones(())
    return (values - mean) * scale * mask
