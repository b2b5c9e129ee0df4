"""From judged rollouts to experience: forward passes without gradients, the KL penalty, advantages and returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.config import key
from rl.advantages import gae, masked_mean, whiten
from rl.batch import Experience, TokenBatch
from rl.forward import action_logprobs, action_values
from rl.kl import Estimator, kl_estimate

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Metrics = dict[str, float]


@dataclass(frozen=True)
class AdvantageConfig:
    """Discounting, and the KL penalty that keeps the policy near where it started."""

    gamma: float = key(1.0, "discount a token", low=0, high=1)
    lam: float = key(0.95, "λ of GAE: 1 is Monte Carlo, 0 trusts the critic one token ahead", low=0, high=1)
    whiten: bool = key(True, "advantages to mean 0 and variance 1 over the tokens of a step")
    kl_coefficient: float = key(0.01, "β: β·KL(policy || reference) is taken from the reward of each token", low=0)
    kl_estimator: Estimator = key("k1", "k1, k2 or k3; see rl/kl.py")


def estimate_advantages(
    policy: "PreTrainedModel",
    reference: "PreTrainedModel",
    critic: "PreTrainedModel",
    tokens: TokenBatch,
    rewards: "torch.Tensor",
    config: AdvantageConfig,
    *,
    temperature: float,
    micro_tokens: int,
) -> tuple[Experience, Metrics]:
    """Score the tokens with the three models and turn rewards (B, T) into advantages and returns.

    ``logprob_gap`` in the metrics is the largest difference between the engine's log-prob of an action and the
    learner's: near 1e-5 in float32; more means that the two do not run the same model.
    Token t is paid r_t − β·KL_t (Ziegler et al. 2019, eq. 2, by token as in Ouyang et al. 2022); returns are A + V.
    """
    import torch

    shape = tokens.ids.shape
    old_logprobs, reference_logprobs, entropy, values = (rewards.new_zeros(shape) for _ in range(4))
    for model in (policy, critic):
        model.eval()
    with torch.no_grad():
        for rows in tokens.by_length(micro_tokens):
            part = tokens.select(rows)
            width = part.ids.shape[1]
            old_logprobs[rows, :width], entropy[rows, :width] = action_logprobs(policy, part, temperature)
            reference_logprobs[rows, :width], _ = action_logprobs(reference, part, temperature)
            values[rows, :width] = action_values(critic, part)

    kl = kl_estimate(old_logprobs, reference_logprobs, config.kl_estimator) * tokens.actions
    paid = rewards - config.kl_coefficient * kl
    advantages = gae(paid, values, tokens.actions, gamma=config.gamma, lam=config.lam)
    returns = advantages + values
    metrics = {
        "logprob_gap": float((old_logprobs - tokens.sampled_logprobs())[tokens.actions].abs().max()),
        "kl": float(kl_estimate(old_logprobs, reference_logprobs, "k1").sum() / len(tokens.rollouts)),
        "entropy": float(masked_mean(entropy, tokens.actions)),
        "explained_variance": explained_variance(values, returns, tokens.actions),
        "advantage_std": float(advantages[tokens.actions].std()),
    }
    if config.whiten:
        advantages = whiten(advantages, tokens.actions)
    return Experience(tokens, old_logprobs, values, advantages, returns), metrics


def explained_variance(values: "torch.Tensor", returns: "torch.Tensor", actions: "torch.Tensor") -> float:
    """1 − Var(R − V) / Var(R) over the actions: 1 is a perfect critic, 0 one no better than a constant."""
    variance = returns[actions].var()
    return float(1 - (returns - values)[actions].var() / variance.clamp(min=1e-12))
