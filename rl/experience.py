"""From judged rollouts to experience: forward passes without gradients, the KL penalty, advantages and returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lm import processes
from lm.config import key
from lm.lora import adapter_off
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
from rl.forward import Critic, action_logprobs, action_values, evaluate_actions
from rl.importance import Level, importance_weights
from rl.kl import Estimator, kl_estimate
from rl.losses import Metrics

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


AGREE = 1e-4  # nats: far below any clip of the ratio, and above float32's rounding


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

    What more than ``micro_tokens`` of rollouts would tell no better is read on so many of them: the entropy, where β
    is 0 the KL in the metrics, and ``logprob_gap``, the largest difference between the engine's log-prob of an action
    and the learner's: near 1e-5 in float32; more means that the two do not run the same model. Where it is at most
    ``AGREE`` the engine's log-probs stand for the learner's on the other rollouts as well.
    """
    import torch

    old_logprobs, reference_logprobs, entropy, values = (rewards.new_zeros(tokens.ids.shape) for _ in range(4))
    for model in (policy, critic):
        if model is not None:
            model.eval()
    head = critic if isinstance(critic, torch.nn.Linear) else None
    own = None if isinstance(critic, torch.nn.Linear) else critic
    everything, some = list(range(len(tokens.rollouts))), tokens.sample(micro_tokens)
    sampled = tokens.sampled_logprobs()

    def read_policy(rows: Sequence[int]) -> None:
        found = [torch.zeros_like(old_logprobs) for _ in range(3)]
        for where, part, weight in tokens.my_parts(rows, micro_tokens):
            for total, new in zip(found, evaluate_actions(policy, head, part, temperature), strict=True):
                total[where] += weight * new
        processes.add_up(found)
        for total, new in zip((old_logprobs, entropy, values), found, strict=True):
            total += new

    with torch.no_grad():
        read_policy(some)
        gap = float((old_logprobs - sampled)[some][tokens.actions[some]].abs().max())
        spared = config.old_logprobs == "sampled" and config.importance == "none" and head is None and gap <= AGREE
        if spared and len(some) < len(everything):
            old_logprobs = sampled
        else:
            read_policy(sorted(set(everything) - set(some)))
            gap, some = float((old_logprobs - sampled)[tokens.actions].abs().max()), everything
        if own is not None:
            for where, part, weight in tokens.my_parts(everything, micro_tokens):
                values[where] += weight * action_values(own, part)
            processes.add_up([values])
        compared = everything if kl_coefficient else some
        with adapter_off(reference):
            for where, part, weight in tokens.my_parts(compared, micro_tokens):
                reference_logprobs[where] += weight * action_logprobs(reference, part, temperature)[0]
        processes.add_up([reference_logprobs])

    paid = rewards
    if config.kl_in == "reward" and kl_coefficient:
        kl = kl_estimate(old_logprobs, reference_logprobs, config.kl_estimator, config.kl_clamp)
        paid = rewards - kl_coefficient * kl * tokens.actions
    advantages, returns = _advantages(paid, values, tokens.actions, group, config)
    metrics = {
        "logprob_gap": gap,
        "kl": float((old_logprobs - reference_logprobs)[compared].sum() / len(compared)),
        "entropy": float(masked_mean(entropy[some], tokens.actions[some])),
    }
    if critic is not None:
        metrics["explained_variance"] = explained_variance(values, returns, tokens.actions)
    metrics["advantage_std"] = float(advantages[tokens.actions].std())
    if config.whiten:
        advantages = whiten(advantages, tokens.actions)
    if config.importance != "none":
        advantages, more = _corrected(advantages, old_logprobs, tokens, config.importance, config.importance_cap)
        metrics |= more
    return Experience(tokens, old_logprobs, reference_logprobs, values, advantages, returns), metrics


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


def _corrected(
    advantages: "torch.Tensor", logprobs: "torch.Tensor", tokens: TokenBatch, level: Level, cap: float
) -> "tuple[torch.Tensor, Metrics]":
    weights = importance_weights(logprobs, tokens.sampled_logprobs(), tokens.actions, level=level, cap=cap)
    on = weights[tokens.actions]
    metrics = {"importance_mean": float(on.mean()), "importance_capped": float((on >= cap).float().mean())}
    return advantages * weights, metrics


def explained_variance(values: "torch.Tensor", returns: "torch.Tensor", actions: "torch.Tensor") -> float:
    """1 − Var(R − V) / Var(R) over the actions: 1 is a perfect critic, 0 one no better than a constant."""
    variance = returns[actions].var()
    return float(1 - (returns - values)[actions].var() / variance.clamp(min=1e-12))
