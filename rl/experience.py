"""From judged rollouts to experience: the KL penalty, advantages and returns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lm.config import key
from rl.advantages import (
    AdvantageEstimator,
    Scale,
    gae,
    group_advantages,
    leave_one_out_advantages,
    masked_mean,
    returns_to_go,
    whiten,
)
from rl.batch import Experience, TokenBatch
from rl.forward import Critic
from rl.importance import importance_weights
from rl.kl import Estimator, kl_estimate
from rl.losses import Metrics
from rl.readings import read_models

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class AdvantageConfig:
    """Which advantage is estimated, and the KL penalty that keeps the policy near where it started."""

    estimator: AdvantageEstimator = key(
        "gae", "gae learns a critic; group, leave_one_out: against the problem's rollouts; returns: no baseline"
    )
    scale: Scale = key("std", "group only: divide by the spread of the group's returns (GRPO), or not (Dr. GRPO)")
    gamma: float = key(1.0, "discount a token", low=0, high=1)
    lam: float = key(0.95, "λ of GAE: 1 is Monte Carlo, 0 trusts the critic one token ahead", low=0, high=1)
    whiten: bool = key(True, "advantages to mean 0 and variance 1 over the tokens of a step")
    kl_coefficient: float = key(0.03, "β, the weight of KL(policy || reference)", low=0)
    kl_in: Literal["reward", "loss"] = key("reward", "β·KL is taken from each token's reward, or added to the loss")
    kl_estimator: Estimator = key("k1", "k1, k2 or k3; see rl/kl.py (in a loss k1 has no gradient to follow)")
    kl_clamp: float | None = key(None, "a token's KL is held within ± this", low=0)
    kl_target: float | None = key(None, "KL of a rollout, in nats, that β is steered towards; null: β stays", low=0)
    kl_horizon: int = key(10_000, "rollouts in which β may move by its own size, times the error", low=1)
    importance: Literal["none", "token", "sequence"] = key(
        "none", "weigh advantages by π/π_engine, for engines that are not quite the learner (vLLM, lower precision)"
    )
    old_logprobs: Literal["sampled", "recomputed"] = key(
        "sampled", "π_old of the ratio: as the engine gave it, where a part of a step's rollouts agrees; or recomputed"
    )
    importance_cap: float = key(2.0, "such a weight is at most this", low=1)


def estimate_advantages(
    policy: "PreTrainedModel",
    reference: "PreTrainedModel",
    critic: Critic,
    tokens: TokenBatch,
    rewards: "torch.Tensor",
    config: AdvantageConfig,
    *,
    kl_coefficient: float,
    group: int,
    temperature: float,
    micro_tokens: int,
) -> tuple[Experience, Metrics]:
    """Score the tokens with the models and turn rewards (B, T) into advantages and returns.

    ``reference`` may be the policy itself, where that has an adapter: it is read without it.
    ``group`` is how many rollouts each problem has, side by side. With the KL in the reward, token t is paid
    r_t − β·KL_t (Ziegler et al. 2019, eq. 2, by token as in Ouyang et al. 2022).
    """
    sampled = tokens.sampled_logprobs()
    read = read_models(
        policy, reference, critic, tokens, sampled, temperature=temperature, micro_tokens=micro_tokens,
        trust_engine=config.old_logprobs == "sampled" and config.importance == "none",
        whole_reference=kl_coefficient > 0,
    )  # fmt: skip
    paid = rewards
    if config.kl_in == "reward" and kl_coefficient:
        kl = kl_estimate(read.logprobs, read.reference_logprobs, config.kl_estimator, config.kl_clamp)
        paid = rewards - kl_coefficient * kl * tokens.actions
    advantages, returns = _advantages(paid, read.values, tokens.actions, group, config)
    metrics = {
        "logprob_gap": read.gap,
        "kl": float((read.logprobs - read.reference_logprobs)[read.compared].sum() / len(read.compared)),
        "entropy": float(masked_mean(read.entropy[read.rows], tokens.actions[read.rows])),
    }
    if critic is not None:
        metrics["explained_variance"] = explained_variance(read.values, returns, tokens.actions)
    metrics["advantage_std"] = float(advantages[tokens.actions].std())
    if config.whiten:
        advantages = whiten(advantages, tokens.actions)
    if config.importance != "none":
        weights = importance_weights(
            read.logprobs, sampled, tokens.actions, level=config.importance, cap=config.importance_cap
        )
        on = weights[tokens.actions]
        metrics["importance_mean"] = float(on.mean())
        metrics["importance_capped"] = float((on >= config.importance_cap).float().mean())
        advantages = advantages * weights
    return Experience(tokens, read.logprobs, read.reference_logprobs, read.values, advantages, returns), metrics


def _advantages(
    rewards: "torch.Tensor", values: "torch.Tensor", actions: "torch.Tensor", group: int, config: AdvantageConfig
) -> "tuple[torch.Tensor, torch.Tensor]":
    """(advantages, returns): with a critic the returns are A + V, its targets; without one, the rewards to come."""
    if config.estimator == "gae":
        advantages = gae(rewards, values, actions, gamma=config.gamma, lam=config.lam)
        return advantages, advantages + values
    returns = returns_to_go(rewards, actions, gamma=config.gamma)
    if config.estimator == "group":
        return group_advantages(returns, actions, group, scale=config.scale), returns
    if config.estimator == "leave_one_out":
        return leave_one_out_advantages(returns, actions, group), returns
    return returns, returns


def explained_variance(values: "torch.Tensor", returns: "torch.Tensor", actions: "torch.Tensor") -> float:
    """1 − Var(R − V) / Var(R) over the actions: 1 is a perfect critic, 0 one no better than a constant."""
    variance = returns[actions].var()
    return float(1 - (returns - values)[actions].var() / variance.clamp(min=1e-12))
