"""The losses of the RL step. Each returns (loss, metrics); sums over action tokens are divided by ``normaliser``.

``normaliser`` is the number of action tokens in the whole optimizer step, so that cutting a step into micro-batches (or
over processes) changes nothing. All tensors are (B, T); ``actions`` is True at sampled tokens.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Metrics = dict[str, float]


def policy_loss(
    logprobs: "torch.Tensor",
    old_logprobs: "torch.Tensor",
    advantages: "torch.Tensor",
    actions: "torch.Tensor",
    *,
    clip_low: float,
    clip_high: float,
    normaliser: float,
) -> "tuple[torch.Tensor, Metrics]":
    """L = −Σ min(ρ A, clip(ρ, 1 − clip_low, 1 + clip_high) A) / N,  ρ = π(a)/π_old(a)   (Schulman et al. 2017, eq. 7).

    Metrics are sums over the tokens divided by N: ``clip_fraction`` (where the clip binds) and ``approximate_kl``
    (k3 of old to new policy).
    """
    import torch

    log_ratio = (logprobs - old_logprobs).where(actions, logprobs.new_zeros(()))
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    surrogate = torch.minimum(ratio * advantages, clipped * advantages)
    loss = -(surrogate * actions).sum() / normaliser
    with torch.no_grad():
        binds = (clipped * advantages < ratio * advantages) & actions
        metrics = {
            "clip_fraction": float(binds.sum() / normaliser),
            "approximate_kl": float(((ratio - 1 - log_ratio) * actions).sum() / normaliser),
        }
    return loss, metrics


def value_loss(
    values: "torch.Tensor",
    old_values: "torch.Tensor",
    returns: "torch.Tensor",
    actions: "torch.Tensor",
    *,
    clip: float | None,
    normaliser: float,
) -> "tuple[torch.Tensor, Metrics]":
    """L = ½ Σ max((V − R)², (V_clip − R)²) / N,  V_clip = V_old + clip(V − V_old, ±clip).

    As in PPO's code (Engstrom et al. 2020). ``clip=None`` is the plain squared error.
    """
    import torch

    error = (values - returns).square()
    metrics: Metrics = {}
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        clipped_error = (clipped - returns).square()
        metrics["value_clip_fraction"] = float(((clipped_error > error) & actions).sum() / normaliser)
        error = torch.maximum(error, clipped_error)
    return 0.5 * (error * actions).sum() / normaliser, metrics
